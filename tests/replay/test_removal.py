"""Examples that stop being shown, and what a run needs to be taken up again."""

import json
import types

import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.recipes import bounds
from jcl.replay import feed as feeds
from jcl.replay import forgetting, removal
from jcl.run import session

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


def test_a_run_repeats_itself_and_its_feed_is_kept(stream, learn):
  first, second = learn(method(), epochs=3), learn(method(), epochs=3)
  assert tiny_network.same_bits(first.state, second.state)
  made = feed(10)
  made._errors.observe(np.array([0, 0, 1]), np.array([True, False, True]))
  made.removed = [2]
  again = feed(10)
  again.restore(json.loads(json.dumps(made.state())))
  assert again.removed == [2] and again.index == made.index
  assert again._errors.state() == made._errors.state()
  assert feed(10, opened=False).state()["errors"] is None


def test_what_trains_on_other_examples_is_refused(stream, network):
  with pytest.raises(ValueError, match="leave removal out"):
    session.assemble(stream, network, method(trains_on="seen"), base.Training())
  with pytest.raises(ValueError, match="share=1.5"):
    removal.check(method()._replace(removal=base.Removal(share=1.5)))


def test_sparse_kernels_need_whole_steps():
  with pytest.raises(ValueError, match="replay='ring'"):
    recipes.sparcl(replay="ring")
  with pytest.raises(ValueError, match="change=0"):
    recipes.sparcl(change=0)
  with pytest.raises(
    ValueError,
    match=r"gradients=0.8 .* sparsity=0.9 .* more than 0.9, such as 0.92, or 0",
  ):
    recipes.sparcl(sparsity=0.9, gradients=0.8)


class Stream:
  """Experiences of so many examples each, in no order."""

  ordered = False

  def __init__(self, count):
    self.experiences = [types.SimpleNamespace(data=range(count))] * 3

  def first_id(self, index):
    return 10 * index


def feed(count, index=0, opened=True, **changes):
  """The feed of an experience of so many examples."""
  learner = types.SimpleNamespace(method=method(**changes))
  made = removal.Removal(Stream(count), learner, None, 0)
  made._source = Source(count)
  if opened:
    made.arrive(index)
    made.open(base.Allocation(1))
  return made


class Source:
  own = True

  def __init__(self, count):
    self._count = count

  def __len__(self):
    return self._count


def test_answers_are_noted_by_row_of_the_experience():
  made, seen = feed(10, index=2), []
  made._errors = types.SimpleNamespace(
    observe=lambda ids, right: seen.append((ids.tolist(), right.tolist()))
  )
  ids = np.array([[20, 27, -1], [21, 22, 23]])
  difficulty = np.array([[0.49, 0.5, 0.0], [1.0, 0.2, 0.7]])
  sent = feeds.Sent(0, 1, ids)
  made.learned(sent, difficulty)
  assert seen == [
    ([0, 7, -1], [True, False, True]),
    ([1, 2, 3], [False, True, False]),
  ]
  made.learned(sent, difficulty[:, :2])  # pads are cut off
  assert seen[2] == ([0, 7], [True, False])
  assert not made.knows(2, now=1) and made.knows(1, now=1)
  made._errors = None
  made.learned(sent, difficulty)
  assert made.order(1).tolist() == made._whole_order(1).tolist()


def test_who_is_due_leaves_once():
  made = feed(10)
  made._errors.observe(np.arange(10), np.arange(10) < 6)
  due = forgetting.removals(10, 0.5, 1, 2)
  whole = made._whole_order(0)
  assert made.order(0).tolist() == whole.tolist()
  first = made.order(1)
  assert len(made.removed) == due[1] and max(made.removed) < 6
  left = [i for i in made._whole_order(1) if i not in made.removed]
  assert first.tolist() == left
  assert made.order(1).tolist() == left
  made.order(2)
  assert len(made.removed) == 5 and made.removed == sorted(made.removed)
  made.arrive(1)
  made.open(base.Allocation(1))  # another experience, of which none has left
  assert made.removed == []
