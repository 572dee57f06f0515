"""Rounds of trials by hand, and what they cost whatever the arms."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jcl.control import thirds
from jcl.control.thirds import Found, Round


def test_nine_arms_and_one_is_left():
  assert thirds.rounds(9, 54) == [Round(9, 3), Round(3, 9)]
  tried = []

  def trial(arm, cost):
    tried.append((arm, cost))
    return arm % 5

  found = thirds.best(9, 54, trial)
  assert tried == [*((i, 3) for i in range(9)), (3, 9), (4, 9), (8, 9)]
  assert found == Found(4, 54, (0, 1, 2, 3, 4, 0, 1, 2, 3))


@pytest.mark.parametrize(
  "arms, expected",
  [
    (1, []),
    (2, [(2, 30.0)]),
    (3, [(3, 20.0)]),
    (4, [(4, 7.5), (2, 15.0)]),
    (10, [(10, 2.0), (4, 5.0), (2, 10.0)]),
    (27, [(27, 20 / 27), (9, 20 / 9), (3, 20 / 3)]),
  ],
)
def test_rounds_by_hand(arms, expected):
  found = thirds.rounds(arms, 60)
  assert [each.arms for each in found] == [number for number, _ in expected]
  costs = [cost for _, cost in expected]
  assert [each.cost for each in found] == pytest.approx(costs)


def test_a_later_trial_decides():
  """The arm that is best at first falls behind when it is tried further."""
  spent = [0.0, 0.0, 0.0, 0.0]

  def trial(arm, cost):
    spent[arm] += cost
    return (0.5, 0.1 * spent[arm], 0.2, 0.1)[arm]

  found = thirds.best(4, 16, trial)  # 2 each, then 4 each of two
  assert found.arm == 1 and found.scores == (0.5, pytest.approx(0.6), 0.2, 0.1)
  assert spent == [6, 6, 2, 2] and found.spent == 16


def test_of_equal_arms_the_cheaper_is_better():
  assert thirds.survivors([1.0, 1.0, 1.0], 2) == [0, 1]
  assert thirds.survivors([1.0, 1.0, 1.0], 2, costs=[3, 2, 1]) == [2, 1]
  assert thirds.survivors([1.0, 1.1, 1.0], 2, costs=[3, 9, 1]) == [1, 2]
  assert thirds.best(3, 6, lambda arm, cost: 0.5, costs=[2, 1, 3]).arm == 1


def test_trials_that_come_to_nothing_are_out():
  assert thirds.survivors([None, math.nan, 0.1], 3) == [2]
  found = thirds.best(9, 54, lambda arm, cost: 0.1 if arm == 7 else None)
  assert found.arm == 7 and found.spent == 27  # one is left after a round
  found = thirds.best(9, 54, lambda arm, cost: math.nan)
  assert found.arm is None and found.spent == 27
  # It came to nothing later: its earlier score counts no more.
  costs = []

  def fails(arm, cost):
    costs.append(cost)
    return None if cost > 3 else arm

  assert thirds.best(9, 54, fails).arm is None
  assert sum(costs) == 54


def test_one_arm_needs_no_trial():
  def never(arm, cost):
    raise AssertionError

  assert thirds.best(1, 54, never) == Found(0, 0.0, (None,))


@given(st.integers(2, 500), st.floats(0.01, 1e6))
def test_rounds_share_the_budget(arms, budget):
  found = thirds.rounds(arms, budget)
  assert 3 ** (len(found) - 1) < arms <= 3 ** len(found)
  assert found[0].cost == pytest.approx(budget / (arms * len(found)))
  for each in found:
    assert each.arms * each.cost == pytest.approx(budget / len(found))
  for before, after in zip(found, found[1:], strict=False):
    assert after.arms == math.ceil(before.arms / 3)
    assert before.cost < after.cost <= 3 * before.cost * (1 + 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(1, 100))
def test_the_best_is_found_where_ranks_hold(scores, budget):
  found = thirds.best(len(scores), budget, lambda arm, cost: scores[arm])
  assert found.arm == scores.index(max(scores))
  assert found.spent <= budget * (1 + 1e-9)


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: thirds.rounds(0, 1), "arms=0: give 1 or more"),
    (lambda: thirds.rounds(2, 0), "a budget of 0 for trials: give more"),
    (lambda: thirds.rounds(2, math.nan), "a budget of nan"),
    (lambda: thirds.rounds(2, math.inf), "a budget of inf"),
    (lambda: thirds.survivors([1.0], 1, [1, 2]), "2 costs of 1 arms"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()
