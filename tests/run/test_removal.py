"""Examples that stop being shown, and what a run needs to be taken up again."""

import types

import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.recipes import bounds
from jcl.replay import forgetting
from jcl.run import checkpoint, removal, session

REMOVAL = base.Removal(share=0.5, every=1, until=2)


def method(**changes):
  return bounds.finetune()._replace(removal=REMOVAL, **changes)


def test_epochs_get_shorter(stream, learn):
  result = learn(method(), epochs=4)
  for record, experience in zip(
    result.records, stream.experiences, strict=True
  ):
    count = len(experience.data)
    gone = forgetting.removals(count, 0.5, 1, 2)
    sizes = [count, count - gone[1], *[count - gone[1] - gone[2]] * 2]
    assert record.examples == sum(sizes)


def test_a_run_repeats_itself_and_its_place_is_kept(learn):
  first, second = learn(method(), epochs=3), learn(method(), epochs=3)
  assert tiny_network.same_bits(first.state, second.state)
  noted = forgetting.Forgetting(3)
  noted.observe(np.array([0, 0, 1]), np.array([True, False, True]))
  place = checkpoint.loop.Place(removed=[2], forgetting=noted)
  again = checkpoint.place_from_json(checkpoint.place_to_json(place))
  assert again.removed == [2]
  assert again.forgetting.state() == noted.state()


def test_what_trains_on_other_examples_is_refused(stream, network):
  with pytest.raises(ValueError, match="leave removal out"):
    session.assemble(stream, network, method(gather="seen"), base.Training())
  with pytest.raises(ValueError, match="share=1.5"):
    removal.check(method()._replace(removal=base.Removal(share=1.5)))


def test_sparse_kernels_need_whole_steps():
  with pytest.raises(ValueError, match="replay='ring'"):
    recipes.sparcl(replay="ring")
  with pytest.raises(ValueError, match="change=0"):
    recipes.sparcl(change=0)


def test_answers_are_noted_by_row_of_the_experience():
  seen = []
  place = types.SimpleNamespace(
    experience=2,
    epoch=1,
    removed=[],
    forgetting=types.SimpleNamespace(
      observe=lambda ids, right: seen.append((ids.tolist(), right.tolist()))
    ),
  )
  stream = types.SimpleNamespace(first_id=lambda experience: 10 * experience)
  learner = types.SimpleNamespace(method=method())
  setting = types.SimpleNamespace(stream=stream, learner=learner, seed=0)
  ids = np.array([[20, 27, -1], [21, 22, 23]])
  hardness = np.array([[0.49, 0.5, 0.0], [1.0, 0.2, 0.7]])
  removal.observe(setting, place, ids, hardness)
  assert seen == [
    ([0, 7, -1], [True, False, True]),
    ([1, 2, 3], [False, True, False]),
  ]
  removal.observe(setting, place, ids, hardness[:, :2])  # pads are cut off
  assert seen[2] == ([0, 7], [True, False])
  assert removal.waits(setting, place, 2) and not removal.waits(
    setting, place, 1
  )
  place.forgetting = None
  removal.observe(setting, place, ids, hardness)
  order = np.arange(4)
  assert removal.remaining(setting, place, order, 1) is order
  learner.method = bounds.finetune()
  assert not removal.waits(setting, place, 2)


def test_who_is_due_leaves_once():
  place = types.SimpleNamespace(
    experience=0, removed=[], forgetting=forgetting.Forgetting(10)
  )
  place.forgetting.observe(np.arange(10), np.arange(10) < 6)
  learner = types.SimpleNamespace(method=method())
  setting = types.SimpleNamespace(learner=learner, seed=0)
  due = forgetting.removals(10, 0.5, 1, 2)
  order = np.arange(10)[::-1]
  assert removal.remaining(setting, place, order, 0).tolist() == order.tolist()
  first = removal.remaining(setting, place, order, 1)
  assert len(place.removed) == due[1] and max(place.removed) < 6
  assert first.tolist() == [i for i in order if i not in place.removed]
  again = removal.remaining(setting, place, order, 1)
  assert again.tolist() == first.tolist()
  removal.remaining(setting, place, order, 2)
  assert len(place.removed) == 5 and place.removed == sorted(place.removed)
