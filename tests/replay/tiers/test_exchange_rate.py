"""Exchanges: published points, exact rates, and the gate by hand."""

import fractions
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control import swap
from jcl.replay.tiers import exchange_rate

RATIOS = st.floats(0.0, 1.0)
INF, NAN = math.inf, math.nan


# How many


@pytest.mark.parametrize(
  "ratio, n, count",
  [
    (0.0, 9, 0),
    (1.0, 9, 9),
    (0.5, 9, 5),
    (0.5, 1, 1),
    (0.01, 3, 1),
    (0.1, 30, 3),  # 0.1 * 30 is above 3 in floating point
    (0.5, 0, 0),
  ],
)
def test_the_published_count(ratio, n, count):
  assert exchange_rate.swap_count(ratio, n) == count


@given(st.lists(st.tuples(RATIOS, st.integers(0, 40)), max_size=60))
def test_carried_counts_are_within_a_sample_at_all_times(batches):
  carry, done, wanted = 0.0, 0, fractions.Fraction(0)
  for ratio, n in batches:
    count, carry = exchange_rate.take(carry, ratio, n)
    assert 0 <= count <= n and 0 <= carry <= 1
    done += count
    wanted += fractions.Fraction(ratio) * n
    assert abs(done - wanted) < 1 + 1e-6


@pytest.mark.parametrize("percent", [1, 5, 10, 20, 50, 100])
def test_ratios_are_met_with_less_than_a_replayed_sample_per_batch(percent):
  sizes = np.random.default_rng(0).binomial(10, 0.09, size=2_000)
  carry, done = 0.0, 0
  for n in sizes:
    count, carry = exchange_rate.take(carry, percent / 100, int(n))
    done += count
  assert done / sizes.sum() == pytest.approx(percent / 100, abs=0.001)


# How often


@pytest.mark.parametrize(
  "target, ratio, interval",
  [
    (1.0, 1.0, 1),
    (0.75, 0.75, 1),
    (0.5, 1.0, 2),
    (1 / 3, 1.0, 3),
    (0.25, 1.0, 4),
    (0.2, 1.0, 5),
    (0.1, 0.5, 5),
    (0.01, 0.05, 5),
    (0.0, 0.0, 5),
  ],
)
def test_the_ladder(target, ratio, interval):
  assert exchange_rate.ladder(target) == (pytest.approx(ratio), interval)


@given(RATIOS)
def test_the_ladder_meets_its_target(target):
  ratio, interval = exchange_rate.ladder(target)
  assert 0 <= ratio <= 1 and 1 <= interval <= 5
  assert exchange_rate.average_ratio(ratio, interval) == pytest.approx(target)


def test_average_ratios():
  assert exchange_rate.average_ratio(0.5, 5) == pytest.approx(0.1)
  assert exchange_rate.average_ratio(1.0, -4) == 0.75
  assert exchange_rate.average_ratio(1.0, -1) == 0.0


@given(st.integers(-6, 6).filter(bool), st.integers(1, 5))
def test_the_epochs_that_swap_make_the_average(interval, times):
  epochs = range(abs(interval) * times)
  share = np.mean(
    [exchange_rate.in_interval(epoch, interval) for epoch in epochs]
  )
  assert share == pytest.approx(exchange_rate.average_ratio(1.0, interval))


def test_the_first_epoch_swaps():
  found = [exchange_rate.in_interval(epoch, 3) for epoch in range(5)]
  assert found == [True, False, False, True, False]
  assert [exchange_rate.in_interval(epoch, -3) for epoch in range(5)] == [
    not swap for swap in found
  ]


# Backing off


def test_a_lag_halves_and_two_calm_epochs_double():
  target, calm, seen = 1.0, 0, []
  for completion in [1, 1, 0.5, 0.89, 0.95, 0.98, 0.95, 1, 1, 1, 1, 1, 1]:
    target, calm = swap.back_off(target, completion, calm)
    seen.append(target)
  assert seen[:6] == [1, 1, 0.5, 0.25, 0.25, 0.25]
  assert seen[6:] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 1.0]


@given(RATIOS, st.lists(st.floats(0.0, 1.0), max_size=30))
def test_the_target_keeps_its_bounds(start, completions):
  target, calm = start, 0
  for completion in completions:
    before = target
    target, calm = swap.back_off(target, completion, calm)
    assert min(start, 0.01) <= target <= 1
    assert target <= before or completion >= 0.98
    assert calm in (0, 1)


def test_the_floor():
  assert swap.back_off(0.015, 0.0, 1) == (0.01, 0)
  assert swap.back_off(0.25, 0.0, 0, floor=0.2) == (0.2, 0)
  assert swap.back_off(0.005, 0.0, 0) == (
    0.005,
    0,
  )  # it does not raise


@pytest.mark.parametrize(
  "completion, calm, expected",
  [
    (0.9, 1, (0.5, 0)),  # no lag, but not calm either
    (0.98, 0, (0.5, 1)),
    (0.98, 1, (1.0, 0)),
    (7.0, 1, (1.0, 0)),
    (0.8999, 1, (0.25, 0)),
  ],
)
def test_thresholds_of_a_lag(completion, calm, expected):
  assert swap.back_off(0.5, completion, calm) == expected


def test_numbers_out_of_range():
  for call in (
    lambda: exchange_rate.take(-0.1, 0.5, 1),
    lambda: exchange_rate.take(1.1, 0.5, 1),
    lambda: exchange_rate.take(0, 0.5, -1),
    lambda: exchange_rate.swap_count(1.1, 1),
    lambda: exchange_rate.swap_count(-0.1, 1),
    lambda: exchange_rate.ladder(1.1),
    lambda: exchange_rate.average_ratio(0.5, 0),
    lambda: exchange_rate.in_interval(0, 0),
    lambda: swap.back_off(0.5, -0.1, 0),
    lambda: swap.back_off(0.5, INF, 0),
    lambda: swap.back_off(0.5, NAN, 0),
  ):
    with pytest.raises(ValueError, match="give"):
      call()
  assert exchange_rate.take(1, 0.0, 1) == (1, 0)
  assert exchange_rate.take(1, 1.0, 2) == (2, 1)  # no more than there are
  assert exchange_rate.take(0.25, 0.25, 1) == (0, 0.5)


# The gate


def test_scores_by_hand():
  even = [0.0, 0.0]
  sure = [1000.0, 0.0]
  found = exchange_rate.gate_scores([sure, even, even, sure], [0, 0, 1, 1], 2)
  np.testing.assert_allclose(found, [0, 0.5, 0.5, 1])


def test_the_order_of_leaving():
  logits = [[4, 0, 0], [1, 0, 0], [1, 0, 0], [4, 0, 0]]
  found = exchange_rate.gate_scores(logits, [0, 0, 1, 1], 3)
  assert sorted(found) == found.tolist()
  assert found[1] < 0.5 < found[2]


def test_masked_classes_do_not_count():
  found = exchange_rate.gate_scores([[0, 0, -INF], [5, -INF, -INF]], [0, 0], 2)
  np.testing.assert_allclose(found, [0.5, 0])
  assert exchange_rate.gate_scores([[3.0], [3.0]], [0, 0], 1).tolist() == [0, 0]


@given(
  st.integers(1, 6).flatmap(
    lambda k: st.lists(
      st.tuples(
        st.lists(st.floats(-1e3, 1e3), min_size=k, max_size=k),
        st.integers(0, k - 1),
      ),
      min_size=1,
      max_size=8,
    )
  )
)
def test_scores_are_shares(rows):
  logits = np.array([row for row, _ in rows])
  targets = np.array([target for _, target in rows])
  found = exchange_rate.gate_scores(logits, targets, logits.shape[1])
  assert ((found >= 0) & (found <= 1)).all()
  right = logits.argmax(axis=1) == targets
  assert (found[right] <= 0.5).all() and (found[~right] >= 0.5).all()


# Which


def test_the_easiest_leave_and_new_samples_do_not():
  logits = [[9, 0], [0, 9], [1, 0], [9, 0], [0, 9]]
  targets = [0, 0, 0, 0, 1]
  index = [7, 3, 5, 12, 1]  # 12 is in the stream buffer
  for ratio, slots in [
    (0.0, []),
    (0.1, [7]),
    (0.5, [7, 1]),
    (0.75, [7, 1, 5]),
    (1.0, [7, 1, 5, 3]),
  ]:
    found = exchange_rate.swap_out(
      logits, targets, index, 10, ratio, balanced=False
    )
    assert found.tolist() == slots


def test_a_batch_without_replay_swaps_nothing():
  for balanced in (False, True):
    found = exchange_rate.swap_out([[1.0, 0.0]], [0], [4], 4, 1.0, balanced)
    assert found.tolist() == []


def test_a_balanced_choice_takes_from_every_class():
  # Class 0 is all easier than class 1, which is easier than class 2.
  targets = np.repeat([0, 1, 2], [4, 3, 3])
  logits = np.zeros((10, 3))
  logits[np.arange(10), targets] = np.repeat([9, 6, 3], [4, 3, 3])
  index = np.arange(10)
  free = exchange_rate.swap_out(logits, targets, index, 10, 0.5, balanced=False)
  assert np.bincount(targets[free], minlength=3).tolist() == [4, 1, 0]
  # 2, 1.5 and 1.5 of 5: the half goes to the lower class
  even = exchange_rate.swap_out(logits, targets, index, 10, 0.5, balanced=True)
  assert np.bincount(targets[even], minlength=3).tolist() == [2, 2, 1]
  assert even.tolist() == [0, 1, 4, 5, 7]


@given(
  st.lists(st.integers(0, 3), min_size=1, max_size=30),
  RATIOS,
  st.integers(0, 40),
  st.booleans(),
  st.integers(0, 100),
)
def test_choices_have_the_published_size_and_fair_parts(
  targets, ratio, em_filled, balanced, seed
):
  random = np.random.default_rng(seed)
  targets = np.array(targets)
  logits = random.normal(size=(len(targets), 4))
  index = random.permutation(40)[: len(targets)]
  found = exchange_rate.swap_out(
    logits, targets, index, em_filled, ratio, balanced
  )
  replayed = index < em_filled
  assert len(found) == exchange_rate.swap_count(ratio, int(replayed.sum()))
  assert len(set(found.tolist())) == len(found)
  assert set(found.tolist()) <= set(index[replayed].tolist())
  scores = dict(
    zip(index, exchange_rate.gate_scores(logits, targets, 4), strict=True)
  )
  order = [scores[slot] for slot in found]
  assert order == sorted(order)
  groups = [targets == label for label in range(4)] if balanced else [replayed]
  for group in groups:
    slots = index[group & replayed]
    left = np.isin(slots, found)
    if balanced:
      assert abs(left.sum() - ratio * len(slots)) < 1 + 1e-6
    gone, stays = slots[left], slots[~left]
    if len(gone) and len(stays):
      assert max(scores[i] for i in gone) <= min(scores[i] for i in stays)


def test_of_equal_scores_the_earlier_sample_leaves_first():
  scores, labels = np.tile([1.0, 0.0], 20), np.repeat([0, 1], 20)
  found = exchange_rate.leaving(scores, labels, 22)
  assert found.tolist() == [*range(1, 40, 2), 0, 2]
  found = exchange_rate.leaving(scores, labels, 4, share=0.1)
  assert found.tolist() == [1, 3, 21, 23]


# Bad input


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: exchange_rate.swap_count(1.1, 3), "1.1 is no share of samples"),
    (lambda: exchange_rate.swap_count(NAN, 3), "nan is no share"),
    (lambda: exchange_rate.swap_count(0.5, -3), "n=-3: give 0 samples or more"),
    (lambda: exchange_rate.take(1.5, 0.5, 3), "carry=1.5: give 0, or what"),
    (lambda: exchange_rate.ladder(-0.1), "-0.1 is no share"),
    (
      lambda: exchange_rate.average_ratio(0.5, 0),
      "interval=0: give p for every",
    ),
    (lambda: exchange_rate.in_interval(3, 0), "interval=0"),
    (lambda: swap.back_off(0.5, NAN, 0), "completion=nan is no share"),
    (lambda: swap.back_off(2.0, 1.0, 0), "2.0 is no share"),
    (
      lambda: exchange_rate.gate_scores([1.0], [0], 1),
      r"logits \(1,\) and targets",
    ),
    (
      lambda: exchange_rate.gate_scores([[1.0]], [1], 1),
      "targets from 1 to 1 for",
    ),
    (lambda: exchange_rate.gate_scores([[1.0]], [0], 0), "num_classes=0"),
    (
      lambda: exchange_rate.gate_scores([[1, NAN]], [0], 2),
      "no finite maximum",
    ),
    (lambda: exchange_rate.gate_scores([[-INF]], [0], 1), "no finite maximum"),
    (
      lambda: exchange_rate.swap_out([[1.0]], [0], [0, 1], 2, 1.0, False),
      r"batch_index \(2,\) and targets \(1,\)",
    ),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(swap.back_off) == {"floor": 0.01}


def test_a_carry_is_never_below_nothing():
  # Rounding leaves the sum just below one sample, which is swapped.
  carry = 0.7 + 0.1 + 0.1
  assert carry + 0.1 < 1
  assert exchange_rate.take(carry, 0.1, 1) == (1, 0.0)


def test_a_target_within_rounding_of_a_step_is_that_step():
  assert exchange_rate.ladder(0.2 + 5e-10) == (1.0, 5)


def test_uncertainty_is_measured_by_the_classes_that_are_not_masked():
  found = exchange_rate.gate_scores([[0, 0, 0], [0, 0, 0]], [0, 1], 2)
  assert found.tolist() == [0.5, 0.5]
  found = exchange_rate.gate_scores([[0.0, 0.0]], [0], 1)
  assert found.tolist() == [0.0]
  # Both entropies are above ln(2), and below ln(3) in this order.
  logits = [[0.1, 0, 0], [1.0, 0, 0]]
  found = exchange_rate.swap_out(logits, [0, 0], [0, 1], 2, 0.5, False)
  assert found.tolist() == [1]


@pytest.mark.parametrize(
  "logits, targets, message",
  [
    ([[[1.0]]], [0], "give .N, K. and .N."),
    ([[1.0]], [0, 0], "give .N, K. and .N."),
    ([[1.0], [1.0]], [0], "give .N, K. and .N."),
    ([[1.0]], [-1], "targets from -1 to -1 for logits of 1 classes"),
    ([[1.0]], [2], "targets from 2 to 2 for logits of 1 classes"),
    ([[1.0], [1.0]], [0, 1], "targets from 0 to 1 for logits of 1 classes"),
  ],
)
def test_what_has_no_score(logits, targets, message):
  with pytest.raises(ValueError, match=message):
    exchange_rate.gate_scores(logits, targets, 1)


def test_more_targets_than_places_are_refused():
  with pytest.raises(ValueError, match="give .B. and .B."):
    exchange_rate.swap_out([[1.0]], [0, 0], [0], 2, 1.0, False)
