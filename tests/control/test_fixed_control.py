"""The same effort for every experience."""

import pytest
import signatures

from jcl import base
from jcl.control import fixed


def test_every_experience_gets_the_same():
  controller = fixed.fixed(3, budget=0.5)
  state = controller.init()
  for index in range(3):
    seen = base.Observation(index, 3, 100, base.Cost(seconds=1e9))
    decision, state = controller.decide(state, seen)
    assert (decision.epochs, decision.allocation.rho) == (3, 0.5)
    assert decision.limit == base.UNLIMITED
    assert decision.reason == "3 epochs for every experience"


def test_the_least_and_the_most_effort():
  decision, _ = fixed.fixed(1).decide((), None)
  assert (decision.epochs, decision.allocation.rho) == (1, 1.0)
  assert decision.reason == "1 epoch for every experience"
  nothing, _ = fixed.fixed(0).decide((), None)
  assert (nothing.epochs, nothing.reason) == (
    0,
    "0 epochs for every experience",
  )
  assert fixed.fixed(1, 1e-9).decide((), None)[0].allocation.rho == 1e-9
  with pytest.raises(ValueError, match="budget of -0.1"):
    fixed.fixed(1, -0.1)


@pytest.mark.parametrize(
  "epochs, budget, message",
  [
    (-1, 1.0, "epochs=-1: give a number of passes, 0 for recipes"),
    (-2, 1.0, "epochs=-2"),
    (1, 0.0, "budget of 0.0 is no share: give more than 0"),
    (1, 1.5, "1 at most for full training"),
    (1, float("nan"), "budget of nan is no share"),
  ],
)
def test_impossible_efforts_are_refused(epochs, budget, message):
  with pytest.raises(ValueError, match=message):
    fixed.fixed(epochs, budget)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(fixed.fixed) == {"budget": 1.0}


def test_a_share_of_replayed_rows_is_one():
  decision, _ = fixed.fixed(1, replay=0.25).decide((), None)
  assert decision.allocation.replay == 0.25
  for share in (0.0, 1.0, -0.5, 1.5):
    with pytest.raises(ValueError, match=f"replay={share}: give the share"):
      fixed.fixed(1, replay=share)
