"""Freezing by what no longer moves, by hand and on features."""

import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control.rivals import freezing

CKAS = st.lists(
  st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=8
)


def features(seed, rows=16, channels=5):
  return np.random.default_rng(seed).normal(size=(rows, channels))


def rotation(seed, channels=5):
  return np.linalg.qr(features(seed, channels, channels))[0]


def looks(*found, below=0.01):
  """Returns how many units are frozen after each look."""
  state, frozen = freezing.init(), []
  for each in found:
    state = freezing.looked(state, each, below)
    frozen.append(state["frozen"])
  return frozen


def test_features_are_like_themselves_rotated_or_not():
  x = features(0)
  same, rotated, scaled, other = freezing.alignments(
    [x, x, x, x], [x, x @ rotation(1), 3 * x + 2, features(2)]
  )
  assert (same, rotated, scaled) == pytest.approx((1, 1, 1), abs=1e-9)
  assert other < 0.5


def test_what_no_longer_moves_is_frozen():
  # Units 0 and 2 stand still at the second look, unit 1 at the third.
  assert looks((0.9, 0.8, 0.7), (0.905, 0.7, 0.7), (0.9, 0.705, 0.7)) == [
    *(0, 1, 3),
  ]


def test_a_change_of_the_bound_is_a_change():
  assert looks((0.5,), (0.75,), below=0.25) == [0, 0]
  assert looks((0.5,), (0.75,), below=0.2501) == [0, 1]
  assert looks((0.75,), (0.5,), below=0.25) == [0, 0]  # in either direction


def test_a_unit_behind_one_that_moves_is_not_frozen():
  assert looks((0.9, 0.8), (0.5, 0.8)) == [0, 0]


def test_what_is_frozen_stays_so():
  assert looks((0.9, 0.9), (0.9, 0.5), (0.1, 0.2), (0.1, 0.2)) == [0, 1, 1, 2]


def test_freezing_is_undone_when_the_experience_ends():
  state = freezing.looked(freezing.init(), (0.9, 0.8))
  state = freezing.looked(state, (0.9, 0.8))
  assert state["frozen"] == 2
  state = freezing.ended(state)
  assert state == freezing.init() and state["frozen"] == 0
  # The next experience compares with features of its own.
  assert freezing.looked(state, (0.9, 0.8))["frozen"] == 0


def test_features_that_settle_freeze():
  """The first unit rotates, which moves nothing; the second settles late."""
  first = [features(3), features(4)]
  drift = features(5)
  state, frozen = freezing.init(), []
  for step, share in enumerate((0.2, 0.9, 1.5, 1.5, 1.5)):
    now = [first[0] @ rotation(6 + step), first[1] + share * drift]
    state = freezing.looked(state, freezing.alignments(first, now))
    frozen.append(state["frozen"])
  assert frozen == [0, 1, 1, 2, 2]


def test_when_to_look():
  due = [n for n in range(1001) if freezing.is_due(n)]
  assert due == [200, 400, 600, 800, 1000]
  assert [n for n in range(7) if freezing.is_due(n, every=3)] == [3, 6]
  assert [n for n in range(3) if freezing.is_due(n, every=1)] == [1, 2]


@given(CKAS, st.floats(0.001, 1.5))
def test_the_frozen_are_a_run_that_only_grows(found, below):
  frozen = looks(*found, below=below)
  assert frozen[0] == 0 and frozen == sorted(frozen) and frozen[-1] <= 3
  state = freezing.looked(freezing.init(), found[0], below)
  assert json.loads(json.dumps(state)) == state


@given(CKAS, st.floats(0.001, 1), st.floats(0, 1))
def test_a_wider_bound_never_freezes_less(found, below, more):
  wider = looks(*found, below=below + more)
  assert all(
    a <= b for a, b in zip(looks(*found, below=below), wider, strict=True)
  )


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: freezing.is_due(1, 0), "freeze: every=0: give updates"),
    (lambda: looks((0.5,), below=0), "freeze: below=0: give more than 0"),
    (lambda: looks((1.5,)), "freeze: a CKA of 1.5: give 0 to 1"),
    (lambda: looks((0.5,), (0.5, 0.5)), "freeze: 2 units, and there were 1"),
    (
      lambda: freezing.alignments([features(0)], []),
      "features of 1 units before and of 0 after",
    ),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(freezing.is_due) == {"every": 200}
  assert signatures.defaults(freezing.looked) == {"below": 0.01}
