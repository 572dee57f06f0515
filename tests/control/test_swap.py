"""The share of replayed examples that is exchanged follows the storage."""

import types

import pytest
import signatures

from jcl import base
from jcl.control import swap


def asked(state, counts, most=1.0, moment="epoch", room=10):
  held = types.SimpleNamespace(room=room, classes=4, exchanges=lambda: counts)
  decision = base.Decision(base.Allocation(3, em=7, swap=0.9))
  seen = base.Observation(
    0, 1, 10, base.Cost(), moment=moment, decision=decision, held=held
  )
  return swap.backed_off(most).decide(state, seen)


def test_an_experience_begins_with_what_storage_bears():
  state = swap.backed_off(0.75).init()
  assert state == {"target": 0.75, "calm": 0, "counts": [0, 0]}
  decision, after = asked(state, (5, 5), 0.75, "experience")
  assert decision.allocation.swap == 0.75 and decision.allocation.em == 7
  assert after == state and not decision.changes


def test_where_storage_lags_the_share_is_halved_and_comes_back():
  state = swap.backed_off(1.0).init()
  decision, state = asked(state, (5, 15))
  assert decision.allocation.swap == state["target"] == 0.5
  [change] = decision.changes
  assert change.kind == "swap"
  assert "lags: 25% of 20 exchanges were done" in change.reason
  assert "100% -> 50%" in change.reason
  # Of the next epoch 20 were made in time, then 20 more: it may double.
  decision, state = asked(state, (25, 15))
  assert not decision.changes and state["calm"] == 1
  decision, state = asked(state, (45, 15))
  assert decision.allocation.swap == 1.0
  assert "keeps up: 100% of 20" in decision.changes[0].reason
  assert state["counts"] == [45, 15]


def test_the_share_never_exceeds_the_recipe_s():
  state = {"target": 0.2, "calm": 1, "counts": [0, 0]}
  decision, state = asked(state, (10, 0), most=0.3)
  assert state["target"] == pytest.approx(0.3)
  decision, state = asked({**state, "calm": 1}, (20, 0), most=0.3)
  assert not decision.changes and state["target"] == pytest.approx(0.3)


def test_an_epoch_without_exchanges_tells_nothing():
  state = {"target": 0.5, "calm": 1, "counts": [3, 4]}
  decision, after = asked(state, (3, 4))
  assert not decision.changes and after == state
  decision, after = asked(state, (0, 9), room=3)  # training waits
  assert not decision.changes and after == state
  assert asked(state, (3, 9), room=4)[1]["target"] == 0.25


@pytest.mark.parametrize("counts, share", [((5, 5), 50), ((0, 9), 0)])
def test_half_or_none_of_the_exchanges_are_a_lag(counts, share):
  decision, state = asked(swap.backed_off(1.0).init(), counts)
  assert state == {"target": 0.5, "calm": 0, "counts": list(counts)}
  [change] = decision.changes
  assert f"{share}% of {sum(counts)} exchanges" in change.reason


def test_the_share_of_the_recipe_is_no_change_of_itself():
  state = {"target": 0.3, "calm": 1, "counts": [0, 0]}
  decision, after = asked(state, (10, 0), most=float("0.3"))
  assert not decision.changes and after["target"] == 0.3


def test_bounds_of_what_backs_off():
  assert swap.back_off(0.0, 1.0, 0) == (0.0, 1)
  assert swap.back_off(1.0, 1.0, 0) == (1.0, 1)
  assert swap.back_off(0.25, 1.0, 2) == (0.5, 0)
  with pytest.raises(ValueError, match="target=-0.5 is no share"):
    swap.back_off(-0.5, 1.0, 0)
  with pytest.raises(ValueError, match="completion=inf is no share"):
    swap.back_off(0.5, float("inf"), 0)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(swap.back_off) == {"floor": 0.01}
