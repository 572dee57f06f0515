"""Examples that stop being shown, and what a run needs to be taken up again."""

import numpy as np
import pytest
import tiny_network

from jcl import base, checkpoint, recipes, removal, session
from jcl.recipes import bounds
from jcl.sparsity import data

REMOVAL = base.Removal(share=0.5, every=1, until=2)


def method(**changes):
  return bounds.finetune()._replace(removal=REMOVAL, **changes)


def test_epochs_get_shorter(stream, learn):
  result = learn(method(), epochs=4)
  for record, experience in zip(
    result.records, stream.experiences, strict=True
  ):
    count = len(experience.data)
    gone = data.removals(count, 0.5, 1, 2)
    sizes = [count, count - gone[1], *[count - gone[1] - gone[2]] * 2]
    assert record.examples == sum(sizes)


def test_a_run_repeats_itself_and_its_place_is_kept(learn):
  first, second = learn(method(), epochs=3), learn(method(), epochs=3)
  assert tiny_network.same_bits(first.state, second.state)
  noted = data.Forgetting(3)
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
