"""ETuner's waiting by hand, and over streams that are made up."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jcl.control import curves
from jcl.control.rivals import lazy
from jcl.control.rivals.lazy import Waiting

POINTS = [(1, 0.5), (2, 0.6), (4, 0.64)]
ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def run(waiting, accuracies, changes=(), requests=None):
  """Returns the batches of each round, and the last state."""
  state, rounds = lazy.init(waiting), []
  for i, accuracy in enumerate(accuracies):
    if i in changes:
      state = lazy.changed(state, waiting)
    state = lazy.requested(state, (requests or {}).get(i, 0))
    trains, state = lazy.arrived(state, waiting)
    if trains:
      rounds.append(state["gathered"])
      state = lazy.trained(state, accuracy, waiting)
  return rounds, state


# By hand


def test_the_curve_says_what_doubling_adds():
  found = lazy.curve(POINTS)
  assert found.a == pytest.approx(0.69, abs=1e-6)
  assert found.b == pytest.approx(0.188571, abs=1e-6)
  assert found.gain(4, 8) == pytest.approx(0.023571, abs=1e-6)
  assert not lazy.gains(found, 4, 4, asked=0.05)  # waits
  assert lazy.gains(found, 4, 4, asked=0.02)  # trains


def test_how_many_batches_a_gain_takes():
  found = lazy.curve(POINTS)
  # .188571 (1/4 - 1/(4 + n)) >= .02 from n = 2.95 on.
  assert lazy.needed(found, 4, 0.02, most=8) == 3
  assert lazy.needed(found, 4, 0.02, most=2) == 2
  assert lazy.needed(found, 4, 0.05, most=8) == 8  # .047 is all there is
  assert lazy.needed(found, 4, 1e-9, most=8) == 1
  assert lazy.needed(found, 4, 0.0, most=8) == 8
  assert lazy.needed(found, 4, -0.1, most=8) == 8
  flat = lazy.curve([(1, 0.5), (2, 0.5), (3, 0.5)])
  assert lazy.needed(flat, 3, 0.01, most=8) == 8


def test_without_a_gain_it_trains_twice_in_eight_experiences():
  waiting = Waiting(most=4)
  assert run(waiting, [0.5] * 8)[0] == [4, 4]
  # Nothing before was known: with one and two accuracies it waits as before.
  assert run(waiting, [0.5] * 17)[0] == [4, 4, 4, 4]


def test_a_change_of_scenario_brings_the_first_wait_back():
  waiting = Waiting(first=2, most=4)
  state = lazy.changed(lazy.init(waiting), waiting)
  assert state["wait"] == 2
  rounds, state = run(waiting, [0.5] * 10, changes=[4])
  assert rounds == [4, 2, 2, 2]  # three accuracies of its own, by then
  assert state["points"] == [[2, 0.5], [4, 0.5], [6, 0.5]]
  assert state["wait"] == 4  # and these say that there is no gain


def test_a_change_trains_on_what_was_gathered():
  waiting = Waiting(first=1, most=4)
  rounds, _ = run(waiting, [0.5] * 4, changes=[3])
  assert rounds == [4]
  state = {**lazy.init(waiting), "gathered": 2}
  assert not lazy.due(state, waiting)
  assert lazy.due(lazy.changed(state, waiting), waiting)


def test_a_start_of_its_own():
  assert run(Waiting(first=1, most=4, start=1), [0.5] * 8)[0] == [1, 1, 1, 4]


def test_while_much_is_gained_it_waits_for_as_much_again():
  waiting = Waiting(first=1, most=8, start=1)
  state = lazy.init(waiting)
  for gathered, accuracy in ((1, 0.5), (1, 0.6), (2, 0.64)):
    state = {**state, "gathered": gathered}
    state = lazy.trained(state, accuracy, waiting)
  # .04 again is what .188571 (1/4 - 1/k) gives at k = 26.4.
  assert state["points"] == [[1, 0.5], [2, 0.6], [4, 0.64]]
  assert state["wait"] == 8 and state["learned"] == 4
  wide = Waiting(first=1, most=50, start=1)
  again = lazy.trained(
    {**state, "points": state["points"][:2], "learned": 2, "gathered": 2},
    0.64,
    wide,
  )
  assert again["wait"] == 23


def test_noise_makes_a_curve_flat():
  waiting = Waiting(first=1, most=50, start=1, noise=0.2)
  state = {
    **lazy.init(waiting),
    "points": [[1, 0.5], [2, 0.6]],
    "learned": 2,
    "gathered": 2,
  }
  assert lazy.trained(state, 0.64, waiting)["wait"] == 50


def test_requests_shorten_the_wait():
  assert [lazy.shortened(8, n) for n in (0, 1, 2, 3, 6, 7, 254, 255)] == [
    *(8, 7, 7, 6, 6, 5, 1, 1),
  ]
  assert lazy.shortened(8, 10**9, first=3) == 3
  assert lazy.shortened(2, 10**9, first=3) == 2  # never longer than without
  rounds, state = run(Waiting(most=4), [0.5] * 8, requests={0: 3})
  assert rounds == [2, 4]  # requests count until the next round alone
  assert state["gathered"] == 2 and state["requests"] == 0


def test_merging_saves_what_rounds_cost_beside_their_steps():
  before = lazy.cost(8, fixed=10, steps=80, step=1)
  after = lazy.cost(2, fixed=10, steps=80, step=1)
  assert (before, after) == (160, 100)
  assert after / before - 1 == -0.375
  assert lazy.cost(3, fixed=2, steps=10, step=0.5) == 11


# Whatever comes


@given(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_requests_never_lengthen_the_wait(wait, requests, more):
  found = lazy.shortened(wait, requests)
  assert lazy.shortened(wait, requests + more) <= found <= wait
  expected = max(min(1, wait), wait - math.floor(math.log2(1 + requests)))
  assert found == expected


@given(
  ACCURACIES, st.integers(1, 4), st.integers(0, 6), st.sets(st.integers(0, 30))
)
def test_waits_keep_their_bounds_and_lose_no_batch(
  accuracies, first, more, changes
):
  waiting = Waiting(first=first, most=first + more)
  rounds, state = run(waiting, accuracies, changes)
  assert all(1 <= batches <= first + more for batches in rounds)
  assert sum(rounds) + state["gathered"] == len(accuracies)
  assert state["gathered"] < first + more
  assert json.loads(json.dumps(state)) == state


@given(ACCURACIES, st.dictionaries(st.integers(0, 29), st.integers(0, 99)))
def test_requests_never_delay_the_next_round(accuracies, requests):
  waiting = Waiting(most=6)
  state = {"with": lazy.init(waiting), "without": lazy.init(waiting)}
  for i in range(len(accuracies)):
    state["with"] = lazy.requested(state["with"], requests.get(i, 0))
    sooner, state["with"] = lazy.arrived(state["with"], waiting)
    later, state["without"] = lazy.arrived(state["without"], waiting)
    assert sooner or not later
    if sooner:
      break


@given(ACCURACIES)
def test_states_are_not_changed_in_place(accuracies):
  waiting = Waiting(first=1, most=3)
  state = lazy.init(waiting)
  for accuracy in accuracies:
    before = json.dumps(state)
    _, after = lazy.arrived(state, waiting)
    lazy.changed(after, waiting)
    lazy.requested(after)
    found = lazy.trained(after, accuracy, waiting)
    assert json.dumps(state) == before
    state = found


@given(
  st.lists(
    st.tuples(st.integers(1, 40), st.floats(0, 1)),
    min_size=3,
    max_size=8,
    unique_by=lambda point: point[0],
  ),
  st.floats(0.001, 0.3),
)
def test_what_is_needed_gains_what_is_asked(points, asked):
  found = lazy.curve(points)
  learned = max(points)[0]
  number = lazy.needed(found, learned, asked, most=100)
  if number < 100:
    assert lazy.gains(found, learned, number, asked - 1e-6)
    assert number == 1 or not lazy.gains(
      found, learned, number - 1, asked + 1e-6
    )


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: Waiting(first=0), "lazy: first=0, most=8: give numbers"),
    (lambda: Waiting(first=3, most=2), "lazy: first=3, most=2"),
    (lambda: Waiting(start=9), "lazy: start=9: give 1 to 8"),
    (lambda: Waiting(noise=-1), "lazy: noise=-1"),
    (lambda: Waiting(noise=math.inf), "lazy: noise=inf"),
    (lambda: lazy.shortened(1, -1), "lazy: -1 requests"),
    (lambda: lazy.requested(lazy.init(Waiting()), -1), "lazy: -1 requests"),
    (
      lambda: lazy.trained(lazy.init(Waiting()), 0.5, Waiting()),
      "lazy: a round of no batches",
    ),
    (
      lambda: lazy.trained(lazy.init(Waiting()), 50, Waiting()),
      "lazy: an accuracy of 50: give a share",
    ),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert Waiting() == Waiting(first=1, most=8, start=None, noise=0.0)
  assert curves.LEAST_POINTS == 3
