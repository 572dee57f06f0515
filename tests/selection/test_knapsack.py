"""Selections of tensors within a backward time, by every mode."""

import dataclasses
import functools
import time

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import optimize, sparse
import signatures

from jcl.selection import knapsack

MODES = ["exact", "brute", "greedy", "reference"]
CONVENTIONS = ["arrival", "inclusive", "exclusive"]

# Four tensors, output side first, as the examples are worked by hand:
# (time to pass, time of the weight gradient, importance).
EXAMPLE = [(1, 2, 3), (2, 2, 2), (2, 1, 5), (1, 4, 4)]
WITNESS = [(0, 3, 6), (2, 1, 4), (1, 1, 5), (10, 1, 1)]


def columns(rows) -> list[np.ndarray]:
  """Returns arrays in execution order."""
  return [np.array(column[::-1]) for column in zip(*rows, strict=True)]


def numbers(solution) -> list[int]:
  """Returns the chosen tensors, counted from 1 at the output side."""
  return [k + 1 for k, yes in enumerate(solution.mask[::-1]) if yes]


def to_arrival(past, kernel, convention) -> np.ndarray:
  """Turns times to pass a tensor into times to reach it, execution order.

  `kernel` marks tensors that need not be passed to form their own gradient,
  under the "arrival" convention; "inclusive" has none, "exclusive" only such.
  """
  free = {
    "arrival": np.asarray(kernel, bool),
    "inclusive": np.zeros(len(past), bool),
    "exclusive": np.ones(len(past), bool),
  }[convention]
  own = np.where(free, 0, past)
  after = np.append(np.where(free, past, 0)[1:], 0)
  return own + after


@functools.cache
def subsets(num_tensors) -> np.ndarray:
  """Returns all masks [2**N, N], lexicographically ascending."""
  return np.indices((2,) * num_tensors).reshape(num_tensors, -1).T.astype(bool)


def enumerate_best(past, kernel, convention, weight_grad, importance, budget):
  """Finds (mask, value, time) by the time model's definition, not by arrival.

  Of equal values the least time, then the first mask. Arrays hold integers.
  """
  masks = subsets(len(past))
  chain = np.maximum.accumulate(masks, axis=1)  # deepest tensor and all after
  deepest = np.cumsum(chain, axis=1) == 1
  free = {
    "arrival": deepest & np.asarray(kernel, bool),
    "inclusive": np.zeros_like(deepest),
    "exclusive": deepest,
  }[convention]
  times = masks @ weight_grad + (chain & ~free) @ past
  fits = times <= budget
  masks, times = masks[fits], times[fits]
  values = masks @ importance
  first = np.lexsort((np.arange(len(masks)), times, -values))[0]
  return tuple(masks[first].tolist()), values[first], times[first]


def integer_instance(seed):
  random = np.random.default_rng(seed)
  count = random.integers(1, 13)
  past = random.integers(0, 9, count)
  weight_grad = random.integers(0, 9, count)
  # Few distinct importances: ties are frequent.
  importance = random.integers(-2, 7, count)
  kernel = random.random(count) < 0.5
  budget = int(random.uniform(0, 1.05) * (past.sum() + weight_grad.sum()))
  return past, kernel, weight_grad, importance, budget


def real_instance(seed, most=14):
  random = np.random.default_rng(seed)
  count = random.integers(1, most + 1)
  arrival = random.gamma(0.5, 1, count) * (random.random(count) < 0.7)
  weight_grad = random.gamma(0.5, 1, count) * (random.random(count) < 0.7)
  weight_grad[0] += 0.1  # something takes time
  importance = random.lognormal(0, 1, count)
  least = (np.cumsum(arrival[::-1])[::-1] + weight_grad).min()
  total = arrival.sum() + weight_grad.sum()
  return arrival, weight_grad, importance, random.uniform(least, total)


# Examples worked by hand


@pytest.mark.parametrize("mode", MODES)
def test_the_worked_example(mode):
  # Without rounding: the whole backward pass takes 15 units.
  found = knapsack.select(*columns(EXAMPLE), 9, mode=mode, resolution=15)
  assert found == knapsack.Solution((False, True, False, True), 8.0, 8.0, 1.0)


@pytest.mark.parametrize("mode", ["exact", "brute"])
def test_the_worked_example_where_the_deepest_need_not_be_passed(mode):
  past, weight_grad, importance = columns(EXAMPLE)
  arrival = to_arrival(past, None, "exclusive")
  assert arrival.tolist() == [2, 2, 1, 0]
  found = knapsack.select(arrival, weight_grad, importance, 9, mode=mode)
  assert found == knapsack.Solution((False, True, True, True), 10.0, 8.0, 1.0)


@pytest.mark.parametrize("mode", ["exact", "brute"])
@pytest.mark.parametrize(
  "budget, chosen, value, duration",
  [
    (3, [1], 3, 3),
    (5, [1], 3, 3),
    (6, [3], 5, 6),
    (7, [3], 5, 6),  # as good as 1 and 2, in less time
    (8, [1, 3], 8, 8),
    (9, [1, 3], 8, 8),
    (10, [1, 2, 3], 10, 10),
    (12, [1, 2, 3], 10, 10),  # 1, 3 and 4 would take 13
    (13, [1, 3, 4], 12, 13),
    (14, [1, 3, 4], 12, 13),
    (15, [1, 2, 3, 4], 14, 15),
    (100, [1, 2, 3, 4], 14, 15),
  ],
)
def test_the_worked_example_at_every_budget(
  budget, chosen, value, duration, mode
):
  found = knapsack.select(*columns(EXAMPLE), budget, mode=mode)
  assert numbers(found) == chosen
  assert (found.value, found.time) == (value, duration)
  assert found.slack == budget - duration


@pytest.mark.parametrize(
  "mode, chosen, value",
  [
    ("exact", [2, 3], 9),
    ("brute", [2, 3], 9),
    # A better cell at the same depth hides tensor 2 alone.
    ("reference", [1], 6),
  ],
)
def test_a_case_that_the_published_programme_misses(mode, chosen, value):
  found = knapsack.select(*columns(WITNESS), 5, mode=mode, resolution=19)
  assert numbers(found) == chosen
  assert found.value == value


def test_the_published_programme_never_reaches_the_input():
  arrays = columns(EXAMPLE)
  for budget in (13, 15, 100):
    published = knapsack.select(
      *arrays, budget, mode="reference", resolution=15
    )
    assert numbers(published) == [1, 2, 3]
    assert knapsack.select(*arrays, budget).mask[0]
  alone = knapsack.select([1], [2], [1], 3, mode="reference", resolution=3)
  assert alone == knapsack.Solution((False,), 0.0, 0.0, 3.0)


def test_the_published_programme_shrinks_the_budget_twice():
  # 2.5 of 10 units becomes 2 each, 8 of 10 remain; the whole budget becomes
  # int(1 * 0.8 * 8) = 6, three tensors. The free one keeps the depth in bounds.
  weight_grad = [0, 2.5, 2.5, 2.5, 2.5]
  arrays = np.zeros(5), weight_grad, [1, 1, 2, 3, 4]
  found = knapsack.select(*arrays, 10, mode="reference", resolution=10)
  assert numbers(found) == [1, 2, 3]
  assert knapsack.select(*arrays, 10).value == 11


def test_the_published_programme_may_exceed_the_budget():
  # On a grid of 30 units each weight gradient takes 0.77 of one, hence none.
  weight_grad = np.append(0, np.full(39, 0.9))
  arrays = np.zeros(40), weight_grad, np.ones(40)
  found = knapsack.select(*arrays, 1.0, mode="reference", resolution=30)
  assert numbers(found) == list(range(1, 40))
  assert found.time == pytest.approx(39 * 0.9)
  assert found.slack == pytest.approx(1 - 39 * 0.9)
  exact = knapsack.select(*arrays, 1.0, resolution=30)
  assert numbers(exact) == [1, 40]


def test_greedy_takes_the_best_depth_and_then_worth_per_time():
  # Depth 3 forces the third tensor, the second fits beside it: 5. Depth 4 is
  # free, takes the first for its worth per time, and nothing else fits: 4.1.
  rows = [(0, 3, 4), (0, 2, 2.5), (0, 2, 2.5), (0, 0, 0.1)]
  greedy = knapsack.select(*columns(rows), 4, mode="greedy")
  assert (numbers(greedy), greedy.value) == ([2, 3], 5)
  exact = knapsack.select(*columns(rows), 4)
  assert (numbers(exact), exact.value) == ([2, 3, 4], pytest.approx(5.1))


# Against other ways to the same answer


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("mode", ["exact", "brute"])
def test_enumeration_by_definition_agrees(mode, convention):
  checked = 0
  for seed in range(260):
    past, kernel, weight_grad, importance, budget = integer_instance(seed)
    arrival = to_arrival(past, kernel, convention)
    expected = enumerate_best(
      past, kernel, convention, weight_grad, importance, budget
    )
    if expected[1] == 0 and (importance > 0).any():
      with pytest.raises(ValueError, match="no tensor of positive importance"):
        knapsack.select(arrival, weight_grad, importance, budget, mode=mode)
      continue
    found = knapsack.select(arrival, weight_grad, importance, budget, mode=mode)
    assert (found.mask, found.value, found.time) == expected
    checked += 1
  assert checked >= 190  # of each convention


def test_mixed_integer_programming_agrees():
  count = 40
  for seed in range(6):
    random = np.random.default_rng(seed)
    arrival = random.integers(0, 50, count)
    weight_grad = random.integers(0, 50, count)
    importance = random.integers(-10, 100, count)
    total = arrival.sum() + weight_grad.sum()
    budget = int((0.15 + 0.15 * seed) * total)
    # Unknowns: the mask, then the chain, which holds a tensor's own mask and
    # the chain of the tensor before it in execution order.
    eye = sparse.eye_array(count)
    earlier = sparse.eye_array(count, k=-1)
    solved = optimize.milp(
      np.concatenate([-importance, np.zeros(count)]),
      integrality=np.ones(2 * count),
      bounds=optimize.Bounds(0, 1),
      constraints=[
        optimize.LinearConstraint(
          np.concatenate([weight_grad, arrival])[None], ub=budget
        ),
        optimize.LinearConstraint(sparse.hstack([eye, -eye]), ub=0),
        optimize.LinearConstraint(
          sparse.hstack([0 * eye, earlier - eye]), ub=0
        ),
      ],
    )
    assert solved.success
    found = knapsack.select(arrival, weight_grad, importance, budget)
    assert found.value == pytest.approx(-solved.fun, abs=1e-6)
    assert found.time <= budget


def published(arrival, weight_grad, importance, budget, resolution):
  """The recursion of the paper's section 6, a mask in each cell."""
  past, costs, worth = (
    np.asarray(x)[::-1] for x in (arrival, weight_grad, importance)
  )
  total = past.sum() + costs.sum()
  past = np.floor(past * resolution / total).astype(int).tolist()
  costs = np.floor(costs * resolution / total).astype(int).tolist()
  disco = (sum(past) + sum(costs)) / resolution
  limit = int(budget / total * disco * (sum(past) + sum(costs)))
  depth = len(past) - 1
  for k in range(len(past)):
    if sum(past[: k + 1]) > limit:
      depth = k
      break
  # (value, mask, whether the row's own tensor is in it)
  rows = [[(np.float32(0), (), True)] * (limit + 1)]
  best = rows[0][0]
  for k in range(1, depth + 1):
    row = []
    for t in range(limit + 1):
      cell = (*rows[k - 1][t][:2], False)
      for p in range(k - 1, -1, -1):
        rest = t - costs[k - 1] - sum(past[p:k])
        if rest < 0 or not rows[p][rest][2]:
          continue
        value = rows[p][rest][0] + np.float32(worth[k - 1])
        if value > cell[0]:
          cell = (value, (*rows[p][rest][1], k), True)
      row.append(cell)
      if cell[0] > best[0]:
        best = cell
    rows.append(row)
  return list(best[1])


def test_the_published_recursion_cell_by_cell_agrees():
  worse = 0
  for seed in range(150):
    arrays = real_instance(seed, most=9)
    resolution = 10 + seed % 30
    found = knapsack.select(*arrays, mode="reference", resolution=resolution)
    assert numbers(found) == published(*arrays, resolution)
    worse += found.value < knapsack.select(*arrays, mode="brute").value
  assert worse > 10  # it is not optimal


# Properties


@pytest.mark.parametrize("resolution", [100, 1_000, 10_000])
def test_the_real_time_fits_the_budget(resolution):
  for seed in range(1_000):
    *arrays, budget = real_instance(seed)
    found = knapsack.select(*arrays, budget, resolution=resolution)
    arrival, weight_grad, importance = arrays
    mask = np.array(found.mask)
    chain = arrival[np.argmax(mask) :].sum()
    assert mask.any()
    assert found.time == pytest.approx(chain + weight_grad[mask].sum())
    assert found.value == pytest.approx(importance[mask].sum())
    assert found.time <= budget
    assert found.slack == budget - found.time


@pytest.mark.parametrize("resolution", [100, 1_000])
def test_a_grid_costs_no_more_than_a_unit_per_tensor(resolution):
  for seed in range(100):
    *arrays, budget = real_instance(seed, most=10)
    found = knapsack.select(*arrays, budget, resolution=resolution)
    best = knapsack.select(*arrays, budget, mode="brute")
    greedy = knapsack.select(*arrays, budget, mode="greedy")
    assert greedy.value <= found.value <= best.value + 1e-12
    unit = sum(array.sum() for array in arrays[:2]) / resolution
    try:
      less = knapsack.select(
        *arrays, budget - len(found.mask) * unit, mode="brute"
      )
    except ValueError:
      continue
    assert found.value >= less.value - 1e-12


INTEGERS = st.lists(
  st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6)),
  min_size=1,
  max_size=8,
)


@settings(max_examples=40)
@given(INTEGERS)
def test_value_never_falls_with_the_budget(rows):
  arrays = columns(rows)
  least = (np.cumsum(arrays[0][::-1])[::-1] + arrays[1]).min()
  total = arrays[0].sum() + arrays[1].sum()
  values = [
    knapsack.select(*arrays, budget).value for budget in range(least, total + 1)
  ]
  assert values == sorted(values)
  assert values[-1] == arrays[2].sum()


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(MODES))
def test_units_do_not_matter(seed, mode):
  arrival, weight_grad, importance, budget = real_instance(seed)
  first = knapsack.select(arrival, weight_grad, importance, budget, mode=mode)
  second = knapsack.select(
    arrival / 1024, weight_grad / 1024, importance * 8, budget / 1024, mode=mode
  )
  assert second.mask == first.mask


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_free_tensors_are_taken(seed):
  arrival, weight_grad, importance, budget = real_instance(seed)
  found = np.array(
    knapsack.select(arrival, weight_grad, importance, budget).mask
  )
  reached = np.maximum.accumulate(found)
  assert found[reached & (weight_grad == 0)].all()


# Ties


@pytest.mark.parametrize("mode", ["exact", "brute", "greedy"])
@pytest.mark.parametrize(
  "rows, budget, chosen",
  [
    # less time goes before depth: 2 takes 2, 1 takes 3
    ([(0, 3, 1), (1, 1, 1)], 3, [2]),
    # equal times: the shallower
    ([(0, 2, 1), (1, 1, 1)], 2, [1]),
    # equal times and depths: the one whose deepest differing tensor is out
    ([(0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 5)], 2, [1, 4]),
    ([(0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 5)], 3, [1, 2, 4]),
    # all alike
    ([(0, 1, 1)] * 4, 2, [1, 2]),
    # what adds nothing is left out, be it free
    ([(0, 1, 1), (0, 0, 0), (0, 0, 0)], 1, [1]),
  ],
)
def test_ties(rows, budget, chosen, mode):
  found = knapsack.select(*columns(rows), budget, mode=mode)
  assert numbers(found) == chosen


@pytest.mark.parametrize("mode", ["exact", "brute"])
@pytest.mark.parametrize(
  "rows, budget, chosen, duration",
  [
    # 1 and 2 are worth 9 as well, in 7
    ([(0, 2, 4), (1, 4, 5), (1, 0, 4)], 7, [2, 3], 6),
    # 1 and 4 are worth 11 as well, in 6
    ([(1, 4, 5), (0, 2, 4), (1, 3, 5), (0, 0, 6)], 6, [3, 4], 5),
  ],
)
def test_ties_between_sets_that_greed_does_not_find(
  rows, budget, chosen, duration, mode
):
  found = knapsack.select(*columns(rows), budget, mode=mode)
  assert (numbers(found), found.time) == (chosen, duration)
  greedy = knapsack.select(*columns(rows), budget, mode="greedy")
  assert numbers(greedy) != chosen


def test_the_published_programme_takes_useful_tensors_alone():
  # Within 3 units, 2 only equals 1 and is not taken, so 3 cannot follow it.
  rows = [(0, 3, 4), *WITNESS[1:]]
  arrays = columns(rows)
  found = knapsack.select(*arrays, 5, mode="reference", resolution=19)
  assert (numbers(found), found.value) == ([3], 5)
  assert numbers(knapsack.select(*arrays, 5)) == [2, 3]


def test_the_published_programme_adds_in_single_precision():
  rows = [(0, 1, 1), (0, 1, 1e-9), (0, 1, 0)]
  arrays = columns(rows)
  found = knapsack.select(*arrays, 2, mode="reference", resolution=3)
  assert numbers(found) == [1]  # 1 + 1e-9 is no more than 1
  assert numbers(knapsack.select(*arrays, 2)) == [1, 2]


# Edges


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("importance", [[-1, -2, -3], [0, 0, 0], [0, -1, 0]])
def test_nothing_worth_training_is_the_empty_mask(mode, importance):
  found = knapsack.select([1, 1, 1], [1, 1, 1], importance, 2, mode=mode)
  assert found == knapsack.Solution((False,) * 3, 0.0, 0.0, 2.0)


@pytest.mark.parametrize("mode", ["exact", "brute", "greedy"])
def test_one_tensor(mode):
  found = knapsack.select([0.25], [0.5], [2.0], 0.75, mode=mode)
  assert found == knapsack.Solution((True,), 2.0, 0.75, 0.0)


@pytest.mark.parametrize("mode", ["exact", "brute", "greedy"])
@pytest.mark.parametrize("resolution", [1, 10, 10_000])
def test_the_whole_budget_trains_all_that_is_worth_it(mode, resolution):
  for seed in range(20):
    random = np.random.default_rng(seed)
    arrival, weight_grad = random.random((2, 15))
    importance = random.normal(size=15)
    importance[0] = 1  # the input-most
    forward, backward = random.random(), arrival.sum() + weight_grad.sum()
    budget = knapsack.backward_budget(1.0, forward, backward)
    found = knapsack.select(
      arrival,
      weight_grad,
      importance,
      budget,
      mode=mode,
      resolution=resolution,
    )
    assert found.mask == tuple((importance > 0).tolist())


@pytest.mark.parametrize("mode", ["exact", "brute", "greedy"])
def test_rounding_of_a_sum_does_not_count(mode):
  # 0.1 + 0.1 + 0.1 is more than 0.3 in float64.
  arrays = np.zeros(4), [1.0, 0.1, 0.1, 0.1], [1, 1, 1, 1]
  found = knapsack.select(*arrays, 0.3, mode=mode)
  assert numbers(found) == [1, 2, 3]
  assert found.slack == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("resolution", [1, 2, 3, 7, 10_000])
def test_a_single_tensor_that_fits_is_found_on_any_grid(resolution):
  arrays = [2.5, 5.0, 0.5], [4.0, 1.5, 1.5], [1, 4, 1]
  found = knapsack.select(*arrays, 7.0, resolution=resolution)
  assert found == knapsack.Solution((False, True, False), 4.0, 7.0, 0.0)


def test_free_backward_passes():
  arrays = np.zeros(3), np.zeros(3), [1, -1, 1]
  for mode in ("exact", "brute", "greedy"):
    assert knapsack.select(*arrays, 0, mode=mode).mask == (True, False, True)
  # one short of the input, as published
  published = knapsack.select(*arrays, 0, mode="reference")
  assert published.mask == (False, False, True)


def test_a_solution_is_plain_and_frozen():
  found = knapsack.select(*columns(EXAMPLE), 9)
  assert all(type(yes) is bool for yes in found.mask)
  assert {type(found.value), type(found.time), type(found.slack)} == {float}
  with pytest.raises(dataclasses.FrozenInstanceError):
    found.value = 0


def test_arguments_are_left_alone():
  arrays = [array.astype(float) for array in columns(EXAMPLE)]
  copies = [array.copy() for array in arrays]
  for mode in MODES:
    knapsack.select(*arrays, 9, mode=mode)
  for array, copy in zip(arrays, copies, strict=True):
    np.testing.assert_array_equal(array, copy)


def test_a_deep_network_takes_little_time():
  random = np.random.default_rng(0)
  arrival, weight_grad = random.gamma(0.5, 1, (2, 214))
  importance = random.lognormal(0, 1, 214)
  budget = 0.95 * (arrival.sum() + weight_grad.sum())
  durations = []
  for _ in range(5):
    start = time.process_time()
    knapsack.select(arrival, weight_grad, importance, budget)
    durations.append(time.process_time() - start)
  assert min(durations) < 0.1


# What is refused


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"arrival": [1, 1]}, r"have shapes \(2,\), \(3,\), \(3,\): give arrays"),
    ({"importance": [[1, 1, 1]]}, r"\(3,\), \(3,\), \(1, 3\)"),
    ({"arrival": [1, NAN, 1]}, r"arrival\[1\]=nan: give a finite time of 0"),
    ({"arrival": [1, 1, -1]}, r"arrival\[2\]=-1.0: give a finite time of 0"),
    ({"weight_grad": [INF, 1, 1]}, r"weight_grad\[0\]=inf: give a finite time"),
    ({"weight_grad": [1, -2, 1]}, r"weight_grad\[1\]=-2.0"),
    (
      {"importance": [1, 1, NAN]},
      r"importance\[2\]=nan: give a finite number",
    ),
    ({"importance": [1, -INF, 1]}, r"importance\[1\]=-inf"),
    ({"budget": NAN}, "budget=nan: give a finite time"),
    ({"budget": INF}, "budget=inf: give a finite time"),
    (
      {"mode": "fast"},
      "mode='fast': give one of exact, reference, brute, greedy",
    ),
    ({"resolution": 0}, "resolution=0: give 1 or more"),
  ],
)
def test_bad_arguments_are_refused(changes, message):
  given = {
    "arrival": [1, 1, 1],
    "weight_grad": [1, 1, 1],
    "importance": [1, 1, 1],
    "budget": 4,
  }
  with pytest.raises(ValueError, match=message):
    knapsack.select(**(given | changes))


def test_scalars_are_no_arrays():
  with pytest.raises(ValueError, match=r"have shapes \(\), \(\), \(\)"):
    knapsack.select(1, 1, 1, 1)


def test_enumeration_has_its_limit():
  ones = np.ones(21)
  with pytest.raises(ValueError, match="20 tensors at most, not 21"):
    knapsack.select(ones, ones, ones, 5, mode="brute")


def test_enumeration_reaches_its_limit():
  arrays = np.zeros(20), np.arange(20), np.ones(20)
  found = knapsack.select(*arrays, 10, mode="brute")
  assert found == knapsack.select(*arrays, 10)
  assert found.value == 5  # 0 + 1 + 2 + 3 + 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("budget", [3.2, 0, -1])
def test_a_budget_too_small_names_the_least_one(mode, budget):
  # The head is not worth training, the middle takes 0.2 + 1.1 + 3 with the
  # chain, the deepest 0.2 + 1.1 + 1 + 1.
  arrays = [1, 1.1, 0.2], [1, 3, 0.1], [1, 1, -1]
  with pytest.raises(ValueError, match=f"budget={budget}.*: no ten") as caught:
    knapsack.select(*arrays, budget, mode=mode)
  least = float(str(caught.value).removesuffix(" or more").split()[-1])
  assert least == pytest.approx(3.3)
  assert knapsack.select(*arrays, least).mask == (True, False, False)


# From the share of a step to the budget of its backward pass


@pytest.mark.parametrize(
  "share, part",
  [
    (11 / 30, 0.05),
    (0.4, 0.10),
    (16 / 30, 0.30),
    (0.6, 0.40),
    (0.7, 0.55),
    (1.0, 1.0),
    (1 / 3, 0.0),
  ],
)
def test_shares_where_the_backward_pass_is_twice_the_forward(share, part):
  found = knapsack.backward_budget(share, 7.0, 14.0)
  assert found == pytest.approx(part * 14, abs=1e-12)


@settings(max_examples=50)
@given(
  st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1, exclude_min=True)
)
def test_a_budget_and_the_forward_pass_make_the_share(forward, backward, part):
  least = forward / (forward + backward)
  share = min(1.0, least + part * (1 - least))
  budget = knapsack.backward_budget(share, forward, backward)
  whole = forward + backward
  assert forward + budget == pytest.approx(share * whole)
  assert 0 <= budget <= backward
  assert knapsack.backward_budget(1, forward, backward) == backward
  assert knapsack.backward_budget(least, forward, backward) == pytest.approx(
    0, abs=1e-12 * whole
  )


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((0.2, 1, 3), "share=0.2: .* between 0.25 .* and 1 of a full one"),
    ((-1, 1, 3), "share=-1: .* between 0.25"),
    ((1.01, 1, 3), "share=1.01: "),
    ((NAN, 1, 3), "share=nan: "),
    ((0.5, -1, 3), "forward=-1: give a finite time of 0 or more"),
    ((0.5, 1, INF), "backward=inf: give a finite time of 0 or more"),
    ((0.5, NAN, 1), "forward=nan"),
    ((0.5, 0, 0), "forward and backward are both 0"),
  ],
)
def test_unreachable_shares_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    knapsack.backward_budget(*arguments)


def test_solutions_cannot_be_changed():
  found = knapsack.select(*columns(EXAMPLE), 9)
  with pytest.raises(dataclasses.FrozenInstanceError):
    found.value = 0.0


def test_the_coarsest_grid():
  arrays = columns(EXAMPLE)
  assert knapsack.select(*arrays, 15, resolution=1).mask == (True,) * 4
  assert knapsack.select(*arrays, 14.9, resolution=1).time <= 14.9
  for resolution in (0, 0.9, float("nan")):
    with pytest.raises(ValueError, match="resolution=.*give 1 or more"):
      knapsack.select(*arrays, 9, resolution=resolution)


def test_defaults():
  assert signatures.defaults(knapsack.select) == {
    "mode": "exact",
    "resolution": 10000,
  }
