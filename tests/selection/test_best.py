"""The best set within a share, the head first or free."""

import numpy as np
import pytest
import signatures
import tiny_network

from jcl.selection import best, settings
from jcl.selection.settings import Knapsack
from jcl.selection.times import TensorTimes

NETWORK = tiny_network.build()  # kernel and bias of three units
# Forward 6 seconds, backward 12: a full step takes 18.
TIMES = TensorTimes(
  (1.0,) * 6, (1.0,) * 6, (1.0,) * 6, (0.0,) * 6, 0.0, "timed"
)


def case(scores, **options) -> best.Case:
  ones = np.ones(6)
  return best.Case(
    Knapsack(**options),
    1200,
    1.0,
    NETWORK.tensors,
    np.asarray(scores, float),
    ones,
    ones,
    ones,
    np.arange(6) >= 4,
  )


def test_seconds_count_the_chain_and_what_trains():
  # From the output down to the tensor 3, and the gradients of two tensors.
  assert case([1.0] * 6).seconds([0, 0, 0, 1, 0, 1]) == 3 + 2


@pytest.mark.parametrize(
  "share, chosen",
  [
    (10 / 18, [4, 5]),  # the head alone: 6 + 2 + 2
    (12 / 18, [3, 4, 5]),
    (13 / 18, [3, 4, 5]),  # the tensor 1 takes 4: three of chain and its own
    (14 / 18, [1, 4, 5]),
    (1.0, [1, 3, 4, 5]),
  ],
)
def test_the_head_and_the_best_beside_it(share, chosen):
  found = best.with_head(case([0, 5, 0, 1, 0, 0]), TIMES, share)
  assert np.flatnonzero(found).tolist() == chosen


def test_a_share_below_the_heads_says_what_it_takes():
  with pytest.raises(ValueError, match=r"rho=0\.5: .* takes 0\.5556 "):
    best.with_head(case([1.0] * 6), TIMES, 0.5)


def test_nothing_worth_training_leaves_the_head_or_a_part_of_it():
  nothing = case([-1.0] * 6)
  with pytest.warns(UserWarning, match="the head trains until"):
    assert best.with_head(nothing, TIMES, 1.0).tolist() == [0] * 4 + [1] * 2
  with pytest.warns(UserWarning, match="the head trains until"):
    assert best.free(nothing, TIMES, 1.0).tolist() == [0] * 4 + [1] * 2
  with pytest.warns(UserWarning, match="only what fits of the head"):
    assert best.free(nothing, TIMES, 8 / 18).tolist() == [0] * 5 + [1]


def test_blocks_train_as_one():
  one = case([9, -1, 0, 0, 0, 0], granularity="block")
  assert best.free(one, TIMES, 1.0).tolist() == [1, 1, 0, 0, 0, 0]
  other = case([9, -1, 0, 0, 0, 0])
  assert best.free(other, TIMES, 1.0).tolist() == [1, 0, 0, 0, 0, 0]


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(settings.Importance) == {
    "metric": "update",
    "point": "after",
    "step": "optimizer",
    "probes": 1,
    "fresh_pair": False,
  }
  assert signatures.defaults(settings.Knapsack) == {
    "cost_model": "arrival",
    "mode": "exact",
    "granularity": "tensor",
    "menu": 0,
    "always_train_head": True,
  }
