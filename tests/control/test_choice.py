"""The choice of sizes: against brute force, and costs by hand."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st
import pytest
import signatures

from jcl.control import choice

Row = choice.Row
NAN, INF = math.nan, math.inf

# What Miro tries on CIFAR-100.
GRID = [
  (20000, 3000),
  (15000, 2000),
  (12000, 2000),
  (10000, 2000),
  (8000, 1000),
  (6000, 1000),
  (5000, 3000),
  (4000, 4000),
  (3000, 5000),
  (2500, 1000),
  (2000, 4000),
  (1500, 5000),
  (1000, 5000),
  (500, 4000),
]

# Few values, so that ties are common.
TABLES = st.lists(
  st.builds(
    Row,
    em=st.sampled_from([0, 10, 20, 40, 80]),
    sb=st.sampled_from([0, 10, 20, 40]),
    accuracy=st.one_of(
      st.none(), st.just(NAN), st.sampled_from([0.0, 10.0, 20.0, 33.3, 50.0])
    ),
  ),
  max_size=12,
)
CUTS = st.sampled_from([0.0, 0.1, 0.2, 0.29, 0.5, 0.7, 0.9, 1.0])
POLICIES = st.sampled_from(["utility", "accuracy", "energy", "log"])


# Choosing


def test_the_cut_line_trades_accuracy_for_energy():
  table = [Row(80, 20, 60), Row(40, 10, 58), Row(10, 10, 50), Row(5, 5, 20)]
  chosen = [choice.choose(table, cut) for cut in (0.25, 0.5, 0.75, 1.0)]
  assert [found.index for found in chosen] == [0, 1, 2, 2]
  assert chosen[2].kept == (0, 1, 2)


def test_each_policy_has_its_row():
  table = [Row(0, 100, 60), Row(0, 40, 56), Row(0, 20, 25), Row(0, 10, 5)]
  for policy, index in [("utility", 1), ("accuracy", 0), ("energy", 3)]:
    assert choice.choose(table, 1.0, policy).index == index
  # m is row 2 of 4; row 0: 0.6 e^2.4 + 0.4 (1 - ln 5) is the largest
  assert choice.choose(table, 1.0, "log").index == 0
  assert choice.choose(table, 1.0, "log", coeffs=(0.0, 1.0)).index == 3


def test_the_log_policy_counts_all_rows():
  table = [Row(0, 10, 50), Row(0, 20, 60), Row(0, 30), Row(0, 40)]
  assert len(choice.choose(table, 0.5).kept) == 1
  assert len(choice.choose(table, 0.5, "log").kept) == 2
  assert len(choice.choose(table, 1.0, "log").kept) == 2


def test_enough_is_the_cheapest_that_gains_nearly_as_much():
  def row(accuracy, energy, noise=1.0):
    return Row(1, 1, accuracy, energy, start=40.0, noise=noise)

  table = [row(45, 1), row(58, 4), row(60, 8), row(59, 2, noise=30.0)]
  for slack, index, kept in [
    (0.0, 2, (2,)),
    (0.05, 2, (2,)),  # 58 is 18 of 20 points
    (0.1, 1, (2, 1)),
    (0.8, 0, (2, 1, 0)),
  ]:
    assert choice.choose(table, slack, "enough") == choice.Choice(index, kept)
  lost = [row(41.9, 1), row(30, 2), Row(1, 1, start=40.0)]
  assert choice.choose(lost, 0.5, "enough") == choice.Choice(None, ())
  assert choice.choose([row(42.1, 1)], 0.0, "enough").index == 0


def test_enough_needs_a_gain():
  """What a row starts from and its noise are 0 unless given."""
  none, some = Row(1, 1, 0.0), Row(1, 1, 0.5)
  assert choice.choose([none], 1.0, "enough") == choice.Choice(None, ())
  assert choice.choose([none, some], 1.0, "enough").kept == (1,)
  twice = Row(1, 1, 4.0, start=2.0, noise=1.0)  # no more than its noise
  assert choice.choose([twice], 1.0, "enough") == choice.Choice(None, ())


def test_results_cannot_be_changed():
  for value, name in (
    (Row(1, 1), "em"),
    (choice.Choice(None, ()), "index"),
    (choice.ProfileCost(1, 1, 1), "trials"),
  ):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(value, name, 2)


def usable(row):
  return (
    row.accuracy is not None and math.isfinite(row.accuracy) and row.energy > 0
  )


def brute_force(table, cutline, policy):
  """Row by row, as one would with pen and paper."""
  left = [i for i, row in enumerate(table) if usable(row)]
  total = len(table) if policy == "log" else len(left)
  keep = max(1, int(cutline * total + 1e-9))
  kept = []
  while left and len(kept) < keep:
    best = left[0]
    for i in left[1:]:
      a, b = table[i], table[best]
      if a.accuracy > b.accuracy or (
        a.accuracy == b.accuracy and a.energy < b.energy
      ):
        best = i
    left.remove(best)
    kept.append(best)
  if not kept:
    return None, []
  median = table[kept[len(kept) // 2]]

  def score(row):
    match policy:
      case "utility":
        return row.accuracy / row.energy
      case "accuracy":
        return row.accuracy
      case "energy":
        return 1 / row.energy
    gain = math.exp(row.accuracy / median.accuracy) if median.accuracy else 0
    return 0.6 * gain + 0.4 * (1 - math.log(row.energy / median.energy))

  winner = None
  for i in sorted(kept):
    if winner is None or (score(table[i]), -table[i].energy) > (
      score(table[winner]),
      -table[winner].energy,
    ):
      winner = i
  return winner, kept


@given(TABLES, CUTS, POLICIES)
def test_choices_equal_brute_force(table, cutline, policy):
  found = choice.choose(table, cutline, policy)
  index, kept = brute_force(table, cutline, policy)
  assert found.kept == tuple(kept)
  if policy == "log" and kept and not table[kept[len(kept) // 2]].accuracy:
    assert found.index in kept  # no accuracy to measure others by
  else:
    assert found.index == index


# Any accuracies and energies: neither goes with the other.
FREE_TABLES = st.lists(
  st.builds(
    Row,
    em=st.just(1),
    sb=st.just(1),
    accuracy=st.floats(0, 100),
    energy=st.floats(1e-3, 1e6),
  ),
  max_size=10,
)


@given(
  st.one_of(TABLES, FREE_TABLES),
  st.lists(st.floats(0, 1), min_size=2, max_size=6),
  st.sampled_from(["utility", "energy", "accuracy"]),
)
def test_raising_the_cut_line_never_raises_energy_or_accuracy(
  table, cuts, policy
):
  # A row that joins the kept ones is not more accurate than these, so that it
  # has a higher utility only where its energy is lower.
  found = [choice.choose(table, cut, policy).index for cut in sorted(cuts)]
  if None in found:
    assert not any(map(usable, table))
    return
  energies = [table[i].energy for i in found]
  accuracies = [table[i].accuracy for i in found]
  assert energies == sorted(energies, reverse=True)
  assert accuracies == sorted(accuracies, reverse=True)


def test_under_the_log_policy_the_cut_line_may_raise_energy():
  # The more rows are kept, the less accurate is the one that others are
  # measured by, which lets accuracy outweigh energy.
  table = [Row(0, 100, 60), Row(0, 40, 56), Row(0, 20, 25), Row(0, 10, 5)]
  found = [choice.choose(table, cut, "log").index for cut in (0.5, 1.0)]
  assert found == [1, 0]


@pytest.mark.parametrize("policy", ["utility", "accuracy", "energy", "log"])
def test_ties_go_to_the_lower_energy_and_then_to_the_lower_index(policy):
  table = [Row(0, 20, 50), Row(0, 10, 25), Row(0, 10, 25), Row(0, 20, 50)]
  index = {"utility": 1, "accuracy": 0, "energy": 1, "log": 0}[policy]
  assert choice.choose(table, 1.0, policy).index == index
  assert choice.choose(table, 0.5, policy).index == 0


@pytest.mark.parametrize(
  "policy", ["utility", "accuracy", "energy", "log", "enough"]
)
def test_rows_without_numbers_are_not_chosen(policy):
  bad = [
    Row(1, 1),
    Row(1, 1, NAN),
    Row(1, 1, INF),
    Row(0, 0, 90.0),
    Row(1, 1, 90.0, NAN),
    Row(1, 1, 90.0, INF),
    Row(1, 1, 90.0, 0.0),
    Row(1, 1, 90.0, -1.0),
  ]
  assert choice.choose(bad, 1.0, policy) == choice.Choice(None, ())
  assert choice.choose([], 1.0, policy) == choice.Choice(None, ())
  assert choice.choose([*bad, Row(9, 9, 1.0)], 1.0, policy).index == len(bad)
  some = [*bad, Row(9, 9, 1.0, 0.75), Row(9, 9, 1.0, 0.5)]
  assert choice.choose(some, 1.0, policy).index == len(bad) + 1


def test_a_median_without_accuracy_is_no_fault():
  table = [Row(0, 9, 50.0), Row(0, 9, 0.0), Row(0, 9, 0.0)]
  assert choice.choose(table, 1.0, "log").index == 0


def test_a_share_that_rounding_lowers_keeps_its_row():
  table = [Row(0, 200 - i, 90 - i / 10) for i in range(100)]
  assert 0.29 * 100 < 29
  assert len(choice.choose(table, 0.29).kept) == 29


def test_energy_is_in_samples_unless_it_is_given():
  assert Row(30, 12).energy == 42
  assert Row(30, 12, None, 7.5).energy == 7.5
  changed = dataclasses.replace(Row(30, 12), accuracy=9.0)
  assert changed == Row(30, 12, 9.0)


# Limits


def test_the_best_row_that_fits():
  table = [Row(80, 20, 60), Row(40, 10, 58), Row(30, 10, 30), Row(5, 5)]
  assert choice.best_fit(table, 100) == choice.Choice(1, (0, 1, 2))
  assert choice.best_fit(table, 100, 0.4).index == 0
  assert choice.best_fit(table, 49) == choice.Choice(2, (2,))
  assert choice.best_fit(table, 39) == choice.Choice(None, ())


@given(TABLES, st.integers(0, 120), CUTS, POLICIES)
def test_what_fits_is_chosen_as_if_there_were_nothing_else(
  table, limit, cutline, policy
):
  found = choice.best_fit(table, limit, cutline, policy)
  fits = [row for row in table if row.em + row.sb <= limit]
  alone = choice.choose(fits, cutline, policy)
  assert [table[i] for i in found.kept] == [fits[i] for i in alone.kept]
  if found.index is None:
    assert alone.index is None
  else:
    assert table[found.index] == fits[alone.index]


@pytest.mark.parametrize(
  "em, sb, limit, classes, expected",
  [
    (2000, 1000, 300, 10, (200, 100)),
    (2000, 1000, 4000, 10, (2000, 1000)),
    (100, 900, 100, 20, (20, 80)),
    (100, 900, 20, 20, (20, 0)),
    (100, 900, 19, 20, None),
    (0, 900, 100, 0, (0, 100)),
    (0, 0, 0, 0, (0, 0)),
    (7, 5, 12, 3, (7, 5)),
    (7, 5, 11, 3, (6, 5)),
  ],
)
def test_scaling_by_hand(em, sb, limit, classes, expected):
  assert choice.scaled(em, sb, limit, classes) == expected


@given(
  st.integers(0, 500),
  st.integers(0, 500),
  st.integers(0, 1200),
  st.integers(0, 60),
)
def test_scaled_sizes_fit_and_have_every_class(em, sb, limit, classes):
  found = choice.scaled(em, sb, limit, classes)
  if found is None:
    assert limit < classes
    return
  assert sum(found) <= limit
  assert found[0] >= classes and 0 <= found[1] <= sb
  assert found[0] <= max(em, classes)
  if em >= classes and em + sb >= limit:
    assert sum(found) == limit
    assert found[0] == classes or found[0] == em * limit // max(1, em + sb)


# Candidates


def test_both_bounds_are_applied_and_repetitions_go():
  grid = [(9, 9), (5, 9), (9, 3), (1, 1), (5, 3)]
  assert choice.clamp_grid(grid, 5, 4) == [(5, 4), (5, 3), (1, 1)]


def test_a_memory_that_cannot_be_filled_is_rejected():
  assert choice.reject(Row(11, 5), 10)
  assert not choice.reject(Row(10, 5), 10)


def test_candidates_by_hand():
  found = choice.candidates(80, 1000, 1000, current=(7, 7), most=20)
  assert found[:4] == [(9, 1), (8, 2), (5, 5), (3, 7)]
  assert found[12:] == [(72, 8), (60, 20), (40, 40), (20, 60), (7, 7)]
  fewer = choice.candidates(80, 1000, 1000, current=(40, 40))
  assert len(fewer) == 14 and (40, 40) in fewer
  assert [sizes for sizes in found if sizes in fewer] == fewer


def test_every_candidate_by_hand():
  found = choice.candidates(96, 999, 999, (48, 48), most=16)
  assert found == [
    *[(11, 1), (9, 3), (6, 6), (3, 9)],
    *[(22, 2), (18, 6), (12, 12), (6, 18)],
    *[(44, 4), (36, 12), (24, 24), (12, 36)],
    *[(87, 9), (72, 24), (48, 48), (24, 72)],
  ]
  # Evenly over the fifteen others: of each half the one in its middle.
  three = choice.candidates(96, 999, 999, (48, 48), most=3)
  assert three == [(3, 9), (12, 36), (48, 48)]
  assert choice.candidates(96, 999, 999, (48, 48), most=1) == [(48, 48)]


def test_what_is_in_use_is_a_candidate_up_to_the_bounds():
  def last(current, **options):
    return choice.candidates(96, 999, 999, current, 20, **options)[-1]

  assert last((95, 1)) == (95, 1)
  assert last((96, 1)) == last((0, 96)) == (24, 72)
  assert last((5, 1), least=(5, 1), least_total=6) == (5, 1)
  assert last((4, 2), least=(5, 1), least_total=6) == (24, 72)
  assert last((5, 1), least=(5, 1), least_total=7) == (24, 72)
  assert last((5, 0), least=(0, 0)) == (24, 72)  # nothing to learn from


def test_candidates_have_an_example_of_every_class():
  found = choice.candidates(80, 1000, 1000, (7, 7), most=20, least=(8, 5))
  assert (7, 7) not in found and (9, 1) not in found
  assert (72, 8) in found and (60, 20) in found
  assert all(em >= 8 and sb >= 5 for em, sb in found)
  assert not choice.candidates(10, 1000, 1000, (7, 7), least=(8, 5))
  found = choice.candidates(80, 1000, 1000, (7, 7), 20, least_total=40)
  assert {sum(pair) for pair in found} == {40, 80}


def test_the_first_task_has_no_memory_to_fill():
  found = choice.candidates(80, 0, 30, current=(0, 30))
  assert found and all(em == 0 and sb <= 30 for em, sb in found)
  assert (0, 30) in found


@given(
  st.integers(0, 3000),
  st.integers(0, 2000),
  st.integers(0, 2000),
  st.tuples(st.integers(0, 3000), st.integers(0, 3000)),
  st.integers(1, 20),
)
def test_candidates_keep_all_bounds(budget, seen, task, current, most):
  found = choice.candidates(budget, seen, task, current, most)
  assert len(found) <= most
  assert len(set(found)) == len(found)
  for em, sb in found:
    assert em + sb <= budget and 0 <= em <= seen and 0 < sb <= task
    assert em > 0 or seen == 0
  em, sb = min(current[0], seen), min(current[1], task)
  if em + sb <= budget and em and sb:
    assert (em, sb) in found


# What it costs


def test_the_cost_of_a_table():
  found = choice.profile_cost(
    GRID,
    rho=0.05,
    trial_epochs=5,
    warmup_epochs=10,
    current_em=2000,
    warmup_sb=200,
    test_images=6000,
  )
  assert found == choice.ProfileCost(33_125, 22_000, 84_000)


def test_joules_by_hand():
  # 3 epochs of 4 steps of 0.5 J, 1000 bytes of 2 mJ, 7 J of evaluation
  assert choice.joules(20, 11, 3, 8, 0.5, 1000, 0.002, 7.0) == 15.0
  assert choice.joules(2, 1, 1, 1, 0.5, 0, 1, 0) == 1.5


@pytest.mark.parametrize(
  "rows, epochs, least, rounds",
  [
    (14, 5, 1, [(1, 14), (2, 7), (5, 4)]),
    (14, 5, 7, [(1, 14), (5, 7)]),
    (14, 1, 1, [(1, 14)]),
    (1, 5, 1, [(5, 1)]),
    (2, 8, 1, [(1, 2), (8, 1)]),
    (3, 5, 9, [(5, 3)]),
    (3, 2, 1, [(1, 3), (2, 2)]),
    (5, 4, 2, [(1, 5), (2, 3), (4, 2)]),
  ],
)
def test_halving_by_hand(rows, epochs, least, rounds):
  assert choice.halving(rows, epochs, least) == rounds


@given(
  st.lists(st.integers(1, 10_000), min_size=1, max_size=20, unique=True),
  st.integers(1, 16),
  st.floats(0, 1),
  st.randoms(use_true_random=False),
)
def test_halving_finds_the_same_row_where_ranks_hold(
  accuracies, epochs, cutline, random
):
  table = [Row(0, random.randint(1, 99), a / 100) for a in accuracies]
  whole = choice.choose(table, cutline)
  least = len(whole.kept)
  rounds = choice.halving(len(table), epochs, least)
  assert rounds[-1][0] == epochs
  left = sorted(range(len(table)), key=lambda i: -table[i].accuracy)
  for _, rows in rounds:
    left = left[:rows]
  found = choice.choose([table[i] for i in left], least / len(left))
  assert left[found.index] == whole.index


# Bad input


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: choice.choose([], 1.5), "cutline=1.5 is no share of the rows"),
    (lambda: choice.choose([], NAN), "cutline=nan"),
    (lambda: choice.choose([], 0.5, "best"), "policy='best': give one of util"),
    (lambda: Row(-1, 2), "em=-1: give 0 or more"),
    (lambda: Row(1, 2, -3.0), "accuracy=-3.0: give 0 or more, or None"),
    (lambda: choice.choose([], -0.1), "cutline=-0.1"),
    (lambda: Row(0, -1), "sb=-1: give 0 or more"),
    (lambda: choice.candidates(9, 9, 9, (1, 1), 0), "most=0: give 1"),
    (lambda: choice.halving(0, 5), "num_rows=0: give 1 or more"),
    (lambda: choice.joules(1, 1, 1, 0, 1, 1, 1, 1), "batch=0: give 1"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(choice.choose) == {
    "policy": "utility",
    "coeffs": (0.6, 0.4),
  }
  assert signatures.defaults(choice.best_fit) == {
    "cutline": 1.0,
    "policy": "utility",
    "coeffs": (0.6, 0.4),
  }
  assert signatures.defaults(choice.candidates) == {
    "most": 14,
    "least": (0, 1),
    "least_total": 1,
  }
  assert signatures.defaults(choice.halving) == {"least": 1}
