"""Regularisation in function space, as a recipe."""

import numpy as np
import pytest

from jcl.recipes import bounds
from jcl.recipes.fdr import fdr


def test_memory_has_the_outputs_of_the_end_of_an_experience(
  learn, network, stream
):
  result = learn(fdr(buffer=60))
  items = result.state.replay.items
  x = (np.asarray(items.x, np.float32) - stream.mean) / stream.std
  train = result.state.train
  logits = network.apply(train.params, train.stats, x).logits
  same = np.isclose(logits, items.extras["logits"], atol=1e-4).all(axis=1)
  assert np.asarray(items.weight).all()
  last = np.asarray(items.task) == 4
  assert 0 < last.sum() < 30
  np.testing.assert_array_equal(same, last)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_forgets_less_than_finetuning(learn, seed):
  options = {"epochs": 5, "seed": seed}
  plain = learn(bounds.finetune(), **options)
  held = learn(fdr(buffer=200, minibatch=32, alpha=3.0), **options)
  assert held.average_accuracy > plain.average_accuracy + 0.1
  first, second = (run.records[-1].accuracy_task for run in (plain, held))
  assert np.mean(second) > np.mean(first)


def test_bad_options():
  with pytest.raises(ValueError, match="alpha weighs a loss and is -0.5"):
    fdr(alpha=-0.5)
  with pytest.raises(ValueError, match="keeps nothing"):
    fdr(buffer=0)
