"""Which examples need not be shown again."""

import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.replay import forgetting as forgetting_lib

NEVER = np.iinfo(np.int64).max


def watched(*rounds, size=5):
  """Examples 0, 1, ... after rounds of answers, such as "101"."""
  forgetting = forgetting_lib.Forgetting(size)
  for answers in rounds:
    correct = [answer == "1" for answer in answers]
    forgetting.observe(np.arange(len(answers)), np.array(correct))
  return forgetting


def rng():
  return np.random.default_rng(0)


def test_events_are_right_answers_that_turn_wrong():
  forgetting = watched("11001", "01010", "10011", "11110")
  counts = forgetting.counts(np.arange(5)).tolist()
  assert counts == [1, 1, 0, 0, 2]
  assert watched("00", "10").counts(np.array([1, 0])).tolist() == [NEVER, 0]


def test_padding_and_repeats():
  forgetting = forgetting_lib.Forgetting(3)
  forgetting.observe(
    np.array([2, -1, 2, 2, 0, 2]), np.array([1, 0, 0, 1, 1, 0], bool)
  )
  assert forgetting.counts(np.arange(3)).tolist() == [0, NEVER, 2]
  forgetting.observe(np.array([], int), np.array([], bool))
  forgetting.observe(np.array([0]), np.array([False]))
  assert forgetting.counts(np.array([0])) == [1]


@given(
  st.lists(st.tuples(st.integers(-1, 3), st.booleans()), max_size=30),
  st.integers(1, 30),
)
def test_batches_do_not_matter(sights, size):
  forgetting = forgetting_lib.Forgetting(4)
  for start in range(0, len(sights), size):
    ids, correct = zip(*sights[start : start + size], strict=True)
    forgetting.observe(np.array(ids), np.array(correct))
  for example in range(4):
    answers = [right for i, right in sights if i == example]
    events = sum(
      a and not b for a, b in zip(answers, answers[1:], strict=False)
    )
    expected = events if any(answers) else NEVER
    assert forgetting.counts(np.array([example])) == [expected]


def test_the_least_forgotten_leave():
  # Events: 2, 0, 1, 0, never learned, and 0 of one that is no candidate.
  rounds = ("111101", "010101", "111101", "011101")
  candidates = np.array([4, 3, 2, 1, 0])
  for count, expected in enumerate(
    [[], None, [1, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
  ):
    dropped = watched(*rounds, size=6).drop(count, candidates, rng())
    assert expected is None or dropped.tolist() == expected


def test_equals_leave_at_random_and_alike_for_a_seed():
  forgetting = forgetting_lib.Forgetting(1000)
  forgetting.observe(np.arange(1000), np.ones(1000, bool))
  dropped = forgetting.drop(100, np.arange(1000), rng())
  assert len(set(dropped)) == 100
  assert 400 < dropped.mean() < 600
  again = forgetting_lib.Forgetting(1000).drop(100, np.arange(1000), rng())
  np.testing.assert_array_equal(again, dropped)


def test_counts_begin_anew():
  forgetting = watched("11", "01", "10", "00", size=2)
  forgetting.drop(1, np.arange(2), rng())
  assert forgetting.counts(np.arange(2)).tolist() == [NEVER, NEVER]
  # A right answer from before is no longer known.
  forgetting.observe(np.array([0, 1]), np.array([False, True]))
  assert forgetting.counts(np.arange(2)).tolist() == [NEVER, 0]


def test_state_goes_through_json():
  forgetting = watched("11001", "01010", "10011")
  state = json.loads(json.dumps(forgetting.state()))
  other = watched("01110")
  other.restore(state)
  assert other.state() == forgetting.state()
  for each in (forgetting, other):
    each.observe(np.arange(5), np.zeros(5, bool))
  np.testing.assert_array_equal(
    other.counts(np.arange(5)), forgetting.counts(np.arange(5))
  )
  with pytest.raises(ValueError, match="of 5 examples, not 4"):
    forgetting_lib.Forgetting(4).restore(state)


def test_published_removals():
  assert forgetting_lib.removals(10_000) == dict.fromkeys((5, 10, 15, 20), 750)
  assert forgetting_lib.removals(7, share=0.5, every=1, until=2) == {1: 2, 2: 2}


@given(st.integers(0, 10_000), st.floats(0, 0.99), st.integers(1, 9))
def test_removals_are_even(size, share, times):
  found = forgetting_lib.removals(size, share, every=2, until=2 * times)
  assert list(found) == list(range(2, 2 * times + 1, 2))
  assert sum(found.values()) == int(np.floor(share * size + 0.5))
  assert max(found.values()) - min(found.values()) <= 1


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: forgetting_lib.Forgetting(0), "num_examples=0"),
    (
      lambda: watched("1").observe(np.array([5]), np.array([True])),
      "5 is not .* to 4:",
    ),
    (lambda: watched("1").observe(np.array([1]), np.ones(2)), r"\(1,\), corr"),
    (lambda: watched("1").drop(3, np.arange(2), rng()), "count=3 of 2"),
    (lambda: watched("1").drop(-1, np.arange(2), rng()), "count=-1 of 2"),
    (lambda: watched("1").drop(1, np.array([-1]), rng()), "id -1"),
    (lambda: forgetting_lib.removals(10, share=1.0), "share=1.0"),
    (lambda: forgetting_lib.removals(10, share=-0.1), "share=-0.1"),
    (lambda: forgetting_lib.removals(10, every=0), "every=0, until=20"),
    (lambda: forgetting_lib.removals(10, every=5, until=4), "every=5, until=4"),
  ],
)
def test_mistakes_are_told(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(forgetting_lib.removals) == {
    "share": 0.3,
    "every": 5,
    "until": 20,
  }
