"""aL-SAR by hand, and that what it saves becomes updates."""

import itertools
import json
import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jcl.control.rivals import al_sar

FISHER, BACKWARD, TOTAL = (0.1, 0.3, 0.6), (1, 1, 2), 8
BLOCKS = st.lists(
  st.tuples(st.floats(0, 10), st.floats(0.01, 10)), min_size=1, max_size=8
)


def test_information_per_cost_by_hand():
  found = al_sar.information_per_cost(FISHER, BACKWARD, TOTAL)
  assert found == pytest.approx([1, 1.028571, 0.8], abs=1e-6)


@pytest.mark.parametrize(
  "ratio, values, number",
  [
    (1, (1, 1.028571, 0.857143), 1),
    (0.5, (0.5, 0.578571, 0.557143), 1),
    (0.1, (0.1, 0.218571, 0.317143), 2),
    (2, (2, 1.928571, 1.457143), 0),
  ],
)
def test_how_many_blocks_freeze(ratio, values, number):
  found = al_sar.objective(FISHER, BACKWARD, TOTAL, ratio)
  assert found == pytest.approx(values, abs=1e-6)
  assert al_sar.frozen(FISHER, BACKWARD, TOTAL, ratio) == number


def test_few_numbers_are_allowed():
  def number(ratio, allowed):
    return al_sar.frozen(FISHER, BACKWARD, TOTAL, ratio, allowed)

  assert number(1, (2, 0)) == 0  # 1 : .857
  assert number(0.5, (0, 2)) == 2  # .5 : .557
  assert number(0.1, (0, 1)) == 1


def test_of_equal_numbers_the_smaller_is_taken():
  # I/C is 1 and 2 / 3; r and r / 2 + 1 / 4 are equal at r = 1 / 2.
  assert al_sar.objective((1, 1), (1, 1), 4, 0.5) == [0.5, 0.5]
  assert al_sar.frozen((1, 1), (1, 1), 4, 0.5) == 0


def test_without_information_nothing_freezes():
  assert al_sar.frozen((0, 0, 0), BACKWARD, TOTAL, 0.1) == 0


def test_the_first_updates_train_everything():
  state = al_sar.init(3)
  numbers = []
  for _ in range(6):
    number, state = al_sar.decide(state, 5.0, BACKWARD, TOTAL, 0.5, full=0.5)
    numbers.append(number)
    state = al_sar.learned(state, (10, 30, 60), number)
  assert numbers == [0, 0, 0, 1, 1, 1]  # r is 1 for batches that are all alike
  # Three full updates of the running mean, .001 each.
  share = 1 - 0.999**3
  expected = [share * 10, share * 30, share * 60]
  assert state["fisher"] == pytest.approx(expected)
  assert state["updates"] == 6 and state["norm"] == 5.0


def test_a_share_of_batches_trains_everything():
  state = {"fisher": list(FISHER), "norm": 1.0, "updates": 9}

  def number(draw, full):
    return al_sar.decide(state, 1.0, BACKWARD, TOTAL, draw, full)[0]

  assert number(0.19, 0.2) == 0 and number(0.2, 0.2) == 1
  assert number(0.0, 0.0) == 1 and number(0.999, 1.0) == 0


def test_an_unusual_batch_trains_more():
  state = {"fisher": list(FISHER), "norm": 4.0, "updates": 3}
  for norm, number in ((8.0, 0), (4.0, 1), (0.4, 2)):
    found, after = al_sar.decide(state, norm, BACKWARD, TOTAL, 0.5, full=0)
    assert found == number
    assert after["norm"] == pytest.approx(4 + 0.001 * (norm - 4))
  assert state["norm"] == 4.0  # states are not changed in place


def test_without_any_gradient_yet_a_batch_is_a_usual_one():
  state = {"fisher": list(FISHER), "norm": None, "updates": 3}
  number, state = al_sar.decide(state, 0.0, BACKWARD, TOTAL, 0.5, full=0)
  assert number == 1 and state["norm"] == 0
  number, _ = al_sar.decide(state, 7.0, BACKWARD, TOTAL, 0.5, full=0)
  assert number == 1


def test_a_frozen_update_tells_nothing_of_the_blocks():
  state = {"fisher": list(FISHER), "norm": 1.0, "updates": 9}
  after = al_sar.learned(state, (), 1)
  assert after == {**state, "updates": 10}
  assert json.loads(json.dumps(after)) == after


def test_what_was_used_little_is_replayed_more():
  found = al_sar.retrieval([0, 1, 3], temperature=1.0)
  total = 1 + math.exp(-1) + math.exp(-3)
  assert found == pytest.approx(
    [1 / total, math.exp(-1) / total, math.exp(-3) / total]
  )
  assert al_sar.retrieval([1e9, 1e9], 0.1) == [0.5, 0.5]
  assert al_sar.retrieval([0, 1e9], 0.1) == [1, 0]
  assert al_sar.retrieval([], 1.0) == []
  assert al_sar.used([4, 2, 0], [0, 2], decay=0.5) == [3, 1, 1]


@given(BLOCKS, st.floats(0, 100), st.floats(1.01, 3))
def test_the_objective_is_largest_at_the_number(blocks, ratio, factor):
  fisher, backward = zip(*blocks, strict=True)
  total = factor * sum(backward)
  values = al_sar.objective(fisher, backward, total, ratio)
  number = al_sar.frozen(fisher, backward, total, ratio)
  assert 0 <= number < len(blocks)
  if any(fisher):
    assert values[number] == max(values)
    assert all(value < values[number] for value in values[:number])


@given(BLOCKS, st.floats(0, 50), st.floats(0, 50))
def test_a_batch_with_more_to_learn_never_freezes_more(blocks, ratio, more):
  fisher, backward = zip(*blocks, strict=True)
  total = 1.5 * sum(backward)
  few, many = (
    al_sar.frozen(fisher, backward, total, each)
    for each in (ratio + more, ratio)
  )
  values = al_sar.objective(fisher, backward, total, ratio + more)
  assert few <= many or values[few] == pytest.approx(values[many])


@given(BLOCKS, st.floats(0, 1000), st.lists(st.integers(0, 7), min_size=1))
def test_saved_operations_turn_into_updates(blocks, limit, numbers):
  _, backward = zip(*blocks, strict=True)
  total = 1.5 * sum(backward)
  costs = [
    al_sar.cost(backward, total, min(n, len(blocks) - 1)) for n in numbers
  ]
  full = al_sar.updates(limit, itertools.repeat(total))
  assert al_sar.updates(limit, itertools.cycle(costs)) >= full


def test_updates_by_hand():
  assert al_sar.cost(BACKWARD, TOTAL, 0) == 8
  assert al_sar.cost(BACKWARD, TOTAL, 2) == 6
  assert al_sar.updates(24, itertools.repeat(8)) == 3
  assert al_sar.updates(24, itertools.repeat(6)) == 4
  assert al_sar.updates(23, itertools.repeat(8)) == 2
  assert al_sar.updates(24, [8]) == 1


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: al_sar.init(0), "blocks=0: give 1 or more"),
    (
      lambda: al_sar.information_per_cost((1,), (1, 2), 8),
      "information of 1 blocks and costs of 2",
    ),
    (lambda: al_sar.information_per_cost((), (), 8), "of 0 blocks"),
    (
      lambda: al_sar.information_per_cost((-1,), (1,), 8),
      "information of -1: give 0",
    ),
    (
      lambda: al_sar.information_per_cost((1,), (8,), 8),
      "a full step of 8 and backward passes of 8.0: the step costs more",
    ),
    (lambda: al_sar.objective((1,), (1,), 8, -1), "ratio=-1 of gradients"),
    (lambda: al_sar.objective((1,), (1,), 8, math.inf), "ratio=inf"),
    (
      lambda: al_sar.decide(al_sar.init(1), math.inf, (1,), 8, 0.5, 0.5),
      "norm=inf of a gradient",
    ),
    (
      lambda: al_sar.frozen((1,), (1,), 8, 1, (1,)),
      r"allowed=\[1\]: give numbers of blocks to freeze, 0 to 0",
    ),
    (lambda: al_sar.frozen((1,), (1,), 8, 1, ()), r"allowed=\[\]"),
    (
      lambda: al_sar.decide(al_sar.init(1), math.nan, (1,), 8, 0.5, 0.5),
      "norm=nan of a gradient",
    ),
    (
      lambda: al_sar.decide(al_sar.init(1), 1, (1,), 8, 0.5, 2),
      "full=2: give the share",
    ),
    (
      lambda: al_sar.learned(al_sar.init(2), (1,), 0),
      "squared gradients of 1 blocks, and there are 2",
    ),
    (lambda: al_sar.updates(1, [0]), "an update's cost of 0"),
    (lambda: al_sar.retrieval([1], 0), "temperature=0: give more"),
    (lambda: al_sar.retrieval([1], math.inf), "temperature=inf"),
    (lambda: al_sar.used([1], [0], 2), "decay=2 of uses"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_the_constants_are_those_of_the_program():
  assert (al_sar.RATE, al_sar.WARMUP) == (0.001, 3)
