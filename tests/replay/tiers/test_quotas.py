"""Seats per class: small cases, and balance whatever happens to a memory."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jcl.replay.tiers import quotas

COUNTS = st.dictionaries(st.integers(0, 9), st.integers(0, 30), max_size=7)
SIZES = st.integers(0, 80)
REMAINDERS = st.sampled_from(["drop", "spread"])


def sizes(residents):
  return {label: len(ids) for label, ids in residents.items()}


# Water filling


@pytest.mark.parametrize(
  "counts, size, spread, drop",
  [
    ({0: 10, 1: 10, 2: 10}, 15, [5, 5, 5], [5, 5, 5]),
    ({0: 10, 1: 10, 2: 10}, 17, [6, 6, 5], [5, 5, 5]),
    ({0: 2, 1: 10, 2: 10}, 15, [2, 7, 6], [2, 7, 6]),
    ({0: 0, 1: 10, 2: 10}, 5, [0, 3, 2], [0, 3, 2]),
    ({0: 2, 1: 10, 2: 10}, 8, [2, 3, 3], [2, 3, 3]),
    ({0: 2, 1: 10, 2: 10}, 7, [2, 3, 2], [2, 2, 2]),  # all have two
    ({0: 5, 1: 3}, 7, [4, 3], [4, 3]),  # one class at the top: no remainder
    ({0: 3, 1: 0, 2: 4}, 100, [3, 0, 4], [3, 0, 4]),
    ({2: 5, 0: 5, 1: 5}, 2, [1, 1, 0], [0, 0, 0]),
    ({}, 5, [], []),
  ],
)
def test_seats_by_hand(counts, size, spread, drop):
  assert list(quotas.water_fill(counts, size).values()) == spread
  assert list(quotas.water_fill(counts, size, "drop").values()) == drop


def poured(counts, size):
  """One seat at a time to the emptiest class that can fill it."""
  seats = dict.fromkeys(sorted(counts), 0)
  for _ in range(size):
    able = [label for label in seats if seats[label] < counts[label]]
    if able:
      seats[min(able, key=lambda label: (seats[label], label))] += 1
  return seats


@given(COUNTS, SIZES)
def test_spread_seats_are_those_poured_one_by_one(counts, size):
  found = quotas.water_fill(counts, size)
  assert found == poured(counts, size)
  assert list(found) == sorted(counts)


@given(COUNTS, SIZES)
def test_seats_are_dropped_where_all_classes_are_equally_full(counts, size):
  drop = quotas.water_fill(counts, size, "drop")
  spread = quotas.water_fill(counts, size)
  able = [label for label in counts if drop[label] < counts[label]]
  if drop != spread:
    (level,) = set(drop.values())
    assert level == min(spread.values())
    assert 0 < size - sum(drop.values()) < len(able)
  elif able and sum(drop.values()) < size:
    raise AssertionError("seats are empty that a class could fill")


# The ring


def test_a_new_class_takes_its_share_from_the_old_ones():
  residents = {0: [1, 2, 3], 1: [4, 5, 6]}
  arrivals = {2: [7, 8, 9]}
  assert quotas.ring_update(residents, arrivals, 6) == {
    0: [2, 3],
    1: [5, 6],
    2: [8, 9],
  }
  assert residents == {0: [1, 2, 3], 1: [4, 5, 6]}


def test_the_remainder_is_dropped_or_spread():
  arrivals = {label: list(range(5)) for label in range(7)}
  drop = quotas.ring_update({}, arrivals, 20, "drop")
  assert list(sizes(drop).values()) == [2] * 7
  spread = quotas.ring_update({}, arrivals, 20)
  assert list(sizes(spread).values()) == [3] * 6 + [2]


def test_a_class_that_comes_back_adds_to_its_residents():
  residents = {0: [1, 2], 1: [3, 4, 5, 6]}
  found = quotas.ring_update(residents, {0: [7, 8, 9], 1: [10]}, 8)
  assert found == {0: [1, 2, 8, 9], 1: [3, 4, 5, 6]}


def test_a_short_class_leaves_its_seats_empty():
  arrivals = {0: [1], 1: list(range(20)), 2: list(range(20))}
  assert sizes(quotas.ring_update({}, arrivals, 20)) == {0: 1, 1: 7, 2: 7}
  assert sizes(quotas.ring_update({}, arrivals, 20, "drop")) == {
    0: 1,
    1: 6,
    2: 6,
  }


def test_a_class_without_seats_is_still_counted():
  found = quotas.ring_update({0: [1], 1: [2]}, {2: [3]}, 2)
  assert found == {0: [1], 1: [2], 2: []}
  assert quotas.ring_update(found, {}, 3, "drop") == {0: [1], 1: [2], 2: []}
  assert quotas.ring_update({}, {}, 3) == {}


# Shrinking


def test_every_class_keeps_as_much_and_its_latest():
  residents = {label: list(range(10)) for label in range(3)}
  assert quotas.shrink(residents, 15) == {
    label: [5, 6, 7, 8, 9] for label in range(3)
  }
  assert quotas.shrink(residents, 0) == {0: [], 1: [], 2: []}
  assert quotas.shrink(residents, 31) == residents


def test_seats_stay_empty_where_all_classes_are_equally_full():
  residents = {0: [1, 2], 1: [3, 4, 5, 6], 2: [7, 8, 9, 10]}
  for size, expected in (
    (9, {0: [1, 2], 1: [3, 4, 5, 6], 2: [8, 9, 10]}),
    (7, {0: [1, 2], 1: [5, 6], 2: [9, 10]}),
    (5, {0: [2], 1: [6], 2: [10]}),
    (2, {0: [], 1: [], 2: []}),
  ):
    assert quotas.shrink(residents, size, "drop") == expected


@given(COUNTS, SIZES, REMAINDERS)
def test_what_stays_is_the_end_of_what_was_there(counts, size, remainder):
  residents = {label: list(range(n)) for label, n in counts.items()}
  found = quotas.shrink(residents, size, remainder)
  assert sum(sizes(found).values()) <= size
  for label, ids in residents.items():
    assert ids[len(ids) - len(found[label]) :] == found[label]


# Top-up


@pytest.mark.parametrize(
  "counts, stored, size, supply",
  [
    ({0: 7, 1: 7, 2: 2}, {0: 50, 1: 50, 2: 50}, 20, {0: 0, 1: 0, 2: 4}),
    ({0: 7, 1: 7, 2: 2}, {0: 50, 1: 50, 2: 3}, 20, {0: 2, 1: 1, 2: 1}),
    ({0: 1}, {0: 4, 1: 4}, 4, {0: 1, 1: 2}),
    ({0: 3}, {}, 9, {0: 0}),  # storage has less than the memory
    ({}, {}, 9, {}),
  ],
)
def test_top_ups_by_hand(counts, stored, size, supply):
  assert quotas.top_up(counts, stored, size) == supply


def test_a_dropped_remainder_is_not_topped_up():
  stored = dict.fromkeys(range(7), 9)
  supply = quotas.top_up({}, stored, 20, "drop")
  assert supply == dict.fromkeys(range(7), 2)
  # A class that is short of samples leaves its seats to the others.
  supply = quotas.top_up({0: 1}, {**stored, 0: 1}, 20, "drop")
  assert supply == {0: 0, 1: 4, **dict.fromkeys(range(2, 7), 3)}


STEPS = st.lists(
  st.one_of(
    st.tuples(
      st.just("arrive"),
      st.dictionaries(
        st.integers(0, 6), st.tuples(st.integers(1, 15), st.integers(1, 15))
      ),
    ),
    st.tuples(st.just("resize"), st.integers(0, 60)),
  ),
  max_size=8,
)


@given(st.integers(0, 60), STEPS)
def test_a_memory_stays_balanced_whatever_happens(size, steps):
  residents, stored, ids = {}, {}, iter(range(10_000))
  for what, value in steps:
    if what == "resize":
      size = value
      residents = quotas.shrink(residents, size)
    else:
      arrivals = {}
      for label, (new, trimmed) in value.items():
        arrived = [next(ids) for _ in range(new)]
        stored.setdefault(label, []).extend(arrived)
        arrivals[label] = arrived[:trimmed]
      residents = quotas.ring_update(residents, arrivals, size)
    supply = quotas.top_up(sizes(residents), sizes(stored), size)
    for label, count in supply.items():
      away = [i for i in stored[label] if i not in residents[label]]
      assert count <= len(away)
      residents[label] = residents[label] + away[:count]
    held = sizes(residents)
    assert sum(held.values()) == min(size, sum(sizes(stored).values()))
    # A class that does not hold all it has is nobody's inferior by two.
    cut = [n for label, n in held.items() if n < len(stored[label])]
    assert not cut or max(held.values()) <= min(cut) + 1


# Trimming


@pytest.mark.parametrize(
  "counts, size, kept",
  [
    ({0: 10, 1: 10, 2: 10}, 10, [4, 3, 3]),
    ({0: 1, 1: 2, 2: 7}, 5, [1, 1, 3]),  # 0.5, 1 and 3.5
    ({1: 1, 0: 1}, 1, [1, 0]),
    ({0: 3, 1: 4}, 9, [3, 4]),
    ({0: 0}, 2, [0]),
    ({}, 2, []),
  ],
)
def test_trimmed_counts_by_hand(counts, size, kept):
  assert list(quotas.trim_counts(counts, size).values()) == kept


@given(COUNTS, SIZES)
def test_trimmed_counts_are_exact_and_proportional(counts, size):
  found = quotas.trim_counts(counts, size)
  total = sum(counts.values())
  assert sum(found.values()) == min(size, total)
  for label, count in counts.items():
    assert 0 <= found[label] <= count
    assert abs(found[label] * total - count * min(size, total)) < max(1, total)


# Trials


def test_a_trial_keeps_a_sample_of_each_class():
  found = quotas.trial_subset(500, 768, 0.05, 50, 2)
  assert found == quotas.Subset((1,) * 50, (19, 19))
  assert quotas.trial_subset(49, 0, 0.05, 50).em == (1, 1) + (0,) * 48
  assert quotas.trial_subset(100, 0, 0.29, 2).em == (15, 14)
  assert quotas.trial_subset(0, 100, 0.5, 0, 2) == quotas.Subset((), (25, 25))


@given(
  st.integers(0, 500),
  st.integers(0, 500),
  st.floats(0, 1, exclude_min=True),
  st.integers(1, 60),
)
def test_a_trial_is_no_larger_than_what_is_tried(em, sb, rho, classes):
  found = quotas.trial_subset(em, sb, rho, classes)
  assert len(found.em) == len(found.sb) == classes
  assert sum(found.em) <= em and sum(found.sb) <= sb
  assert em < classes or min(found.em) >= 1
  assert max(found.em) - min(found.em) <= 1


def test_parts_of_a_trial_cannot_be_changed():
  found = quotas.trial_subset(4, 4, 1, 2)
  assert found == quotas.Subset((2, 2), (2, 2))
  with pytest.raises(dataclasses.FrozenInstanceError):
    found.em = ()


def test_a_seat_for_every_class_is_just_enough():
  assert quotas.trial_subset(3, 3, 0.1, 3) == quotas.Subset((1,) * 3, (0,) * 3)
  assert quotas.trial_subset(2, 3, 0.5, 3) == quotas.Subset(
    (1, 0, 0), (1, 0, 0)
  )
  assert quotas.trial_subset(0, 0, 0.5, 0) == quotas.Subset((), ())


# Bad input


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: quotas.water_fill({0: 1}, -1), "size=-1: give 0 seats"),
    (lambda: quotas.water_fill({3: -1}, 1), r"counts\[3\]=-1: give 0 samples"),
    (lambda: quotas.shrink({}, 1, "keep"), "remainder='keep': give 'drop' or"),
    (lambda: quotas.ring_update({}, {}, -2), "size=-2"),
    (lambda: quotas.top_up({0: 4}, {0: 9}, 3), "4 residents .* size=3 seats"),
    (lambda: quotas.top_up({}, {0: -9}, 3), r"stored\[0\]=-9"),
    (lambda: quotas.trim_counts({0: 4}, -3), "size=-3"),
    (lambda: quotas.trial_subset(4, 4, 0.0, 2), "rho=0.0 is no share"),
    (lambda: quotas.trial_subset(4, -4, 0.5, 2), "sb=-4: give 0 or more"),
    (lambda: quotas.trial_subset(-1, 4, 0.5, 2), "em=-1: give 0 or more"),
    (lambda: quotas.trial_subset(4, 4, 1.01, 2), "rho=1.01 is no share"),
    (lambda: quotas.trial_subset(4, 4, 0.5, -1), "classes=-1: give 0"),
    (lambda: quotas.trial_subset(4, 4, 0.5, 2, -1), "new_classes=-1"),
    (lambda: quotas.top_up({}, {}, 3, "keep"), "remainder='keep'"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_which_class_gets_a_seat_that_is_left_over():
  update = quotas.ring_update
  assert update({}, {0: [1, 2, 3]}, 2) == {0: [2, 3]}
  # Of three seats for two classes, the third goes to who can fill it.
  assert update({0: [1]}, {0: [2], 1: [3]}, 3) == {0: [1, 2], 1: [3]}
  assert update({0: [1]}, {1: [2, 3, 4]}, 3) == {0: [1], 1: [3, 4]}
  assert update({0: [1, 2, 3]}, {1: [4]}, 3) == {0: [2, 3], 1: [4]}
  found = quotas.top_up({0: 3}, {0: 9, 1: 9, 2: 9}, 4)
  assert found == {0: 0, 1: 1, 2: 0}


def test_a_share_below_nothing_is_refused():
  with pytest.raises(ValueError, match="rho=-0.5 is no share"):
    quotas.trial_subset(4, 4, -0.5, 2)
