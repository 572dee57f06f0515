"""The tensors worth most within a share of a full step's time."""

import collections
import dataclasses
import inspect
import itertools
import warnings

from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base
from jcl.networks import linen
from jcl.selection import chain, elastic, importance, knapsack, menu
from jcl.selection.settings import Importance, Knapsack
from jcl.selection.times import TensorTimes

TINY = tiny_network.build()
KINDS = ("kernel", "bias", "scale", "shift", "other")

# Two of the knapsack's examples, output side first: (time to reach, time of
# the weight gradient, importance).
EXAMPLE = [(1, 2, 3), (2, 2, 2), (2, 1, 5), (1, 4, 4)]
WITNESS = [(0, 3, 6), (2, 1, 4), (1, 1, 5), (10, 1, 1)]


def network_of(units, kinds=None) -> base.Network:
  """Returns a network that has tensors and nothing else."""
  kinds = kinds or ["other"] * len(units)
  counts = collections.Counter()
  tensors = []
  for unit, kind in zip(units, kinds, strict=True):
    counts[unit] += 1
    path = (unit, f"{kind}{counts[unit]}")
    tensors.append(base.Tensor(path, unit, kind, (1,)))

  def nothing(*_args, **_kwargs):
    raise AssertionError("choosing needs no run")

  return base.Network(
    "bare",
    tuple(dict.fromkeys(units)),
    tuple(tensors),
    nothing,
    nothing,
    (1,),
    2,
    None,
  )


def profile_of(arrival, weight_grad, *, forward=0.0, update=None, fixed=0.0):
  count = len(arrival)
  return TensorTimes(
    (forward / count,) * count,
    tuple(map(float, arrival)),
    tuple(map(float, weight_grad)),
    tuple(update) if update is not None else (0.0,) * count,
    fixed,
    "analytic",
  )


def state_of(network, scores):
  """Returns the state that holds scores given in the network's order."""
  by_path = {
    tensor.path: score
    for tensor, score in zip(network.tensors, scores, strict=True)
  }
  ordered = [by_path[path] for path in sorted(by_path)]
  return {"scores": np.asarray(ordered, np.float32)}


def made(rho=0.533, interval=3, **options):
  """Returns a selector of options that stand beside each other, as in text."""
  groups = {
    "importance": Importance,
    "knapsack": Knapsack,
  }
  for name, kind in groups.items():
    named = [field.name for field in dataclasses.fields(kind)]
    given = {key: options.pop(key) for key in named if key in options}
    options[name] = kind(**given)
  return elastic.elastic(rho, interval, **options)


def choose(network, times, scores, rho, budget=1.0, **options):
  selector = made(rho=rho, **options)
  state = state_of(network, scores)
  return selector.choose(state, network, times, budget).trainable


def worked(rows, forward):
  """Returns one of the knapsack's examples as network, times and scores."""
  arrival, weight_grad, scores = (
    column[::-1] for column in zip(*rows, strict=True)
  )
  network = network_of([f"unit{k}" for k in range(len(rows))])
  return network, profile_of(arrival, weight_grad, fixed=forward), scores


def random_case(seed, count=None):
  """Returns a network of units that may alternate, times and scores."""
  random = np.random.default_rng(seed)
  count = count or int(random.integers(1, 11))
  units = random.integers(0, 4, count - 1).tolist()
  if random.random() < 0.7:
    units.sort()
  kinds = random.choice(KINDS, count).tolist()
  network = network_of([f"u{unit}" for unit in units] + ["head"], kinds)
  # The name of a unit says nothing of its place.
  drawn = random.gamma(0.5, 1, (4, count)) * (random.random((4, count)) < 0.7)
  times = TensorTimes(*map(tuple, drawn.tolist()), fixed=0.1, method="analytic")
  return network, times, random.normal(0.5, 1, count)


def head_of(network):
  return tuple(t.unit == network.units[-1] for t in network.tensors)


def head_share(network, times, cost_model="arrival"):
  way = chain.times_of(times, network.tensors, cost_model)
  return (
    dataclasses.replace(times, arrival=tuple(way)).step(head_of(network))
    / times.full
  )


# From a share to a selection


@pytest.mark.parametrize(
  "rho, part",
  [(11 / 30, 0.05), (0.4, 0.10), (16 / 30, 0.30), (0.6, 0.40), (0.7, 0.55)],
)
def test_shares_where_the_backward_pass_is_twice_the_forward(rho, part):
  # A hundred tensors of one unit of time each, without a chain.
  network = network_of([f"unit{k:03}" for k in range(100)])
  times = profile_of(np.zeros(100), np.ones(100), forward=50)
  scores = np.arange(1, 101)
  chosen = choose(network, times, scores, rho, always_train_head=False)
  assert sum(chosen) == round(100 * part)
  assert all(chosen[-sum(chosen) :])  # the most important ones
  # The controller's budget holds where it is less.
  again = choose(network, times, scores, 1.0, rho, always_train_head=False)
  assert again == chosen


@pytest.mark.parametrize(
  "mode, rows, rho, forward, chosen",
  [
    # The whole backward pass takes 15, of which 9 are allowed.
    ("exact", EXAMPLE, 10 / 16, 1, [1, 3]),
    ("reference", EXAMPLE, 10 / 16, 1, [1, 3]),
    ("brute", EXAMPLE, 10 / 16, 1, [1, 3]),
    # 5 of 19
    ("exact", WITNESS, 18 / 32, 13, [2, 3]),
    ("brute", WITNESS, 18 / 32, 13, [2, 3]),
    ("greedy", WITNESS, 18 / 32, 13, [2, 3]),
    ("reference", WITNESS, 18 / 32, 13, [1]),
    # All of it: the published programme never reaches the input.
    ("exact", EXAMPLE, 1.0, 1, [1, 2, 3, 4]),
    ("reference", EXAMPLE, 1.0, 1, [1, 2, 3]),
  ],
)
def test_examples_worked_by_hand(mode, rows, rho, forward, chosen):
  network, times, scores = worked(rows, forward)
  resolution = round(times.backward) if mode == "reference" else 10_000
  found = choose(
    network,
    times,
    scores,
    rho,
    mode=mode,
    resolution=resolution,
    always_train_head=False,
  )
  assert [4 - k for k in range(4) if found[k]] == sorted(chosen, reverse=True)


def test_the_head_is_paid_first():
  # The knapsack alone leaves the head out; with it, 9 - 3 - 2 - 2 - 1 = 1.
  network, times, _ = worked(EXAMPLE, 1)
  scores = [4, 5, 2, 0.5]
  free = choose(network, times, scores, 10 / 16, always_train_head=False)
  assert free == (False, True, True, False)
  assert choose(network, times, scores, 10 / 16) == (False, True, False, True)
  # Even where it is worth less than nothing.
  scores = [4, 5, 2, -9]
  assert choose(network, times, scores, 10 / 16) == (False, True, False, True)


def test_a_full_share_trains_all_that_is_worth_it():
  network = network_of(["a", "a", "b", "c", "head"])
  times = profile_of(
    [0.1, 0.2, 0.3, 0.7, 0.1], [1.1, 1e-14, 3.3, 0.1, 1e-9], forward=0.7
  )
  assert choose(network, times, [1, 1, 1, 1, 1], 1.0) == (True,) * 5
  found = choose(network, times, [1e-9, 0, -1, 1, -1], 1.0)
  assert found == (True, False, False, True, True)


def test_one_tensor():
  network = network_of(["head"])
  times = profile_of([1], [2], forward=1)
  for head in (True, False):
    chosen = choose(network, times, [1], 1.0, always_train_head=head)
    assert chosen == (True,)
    with pytest.raises(ValueError, match="rho=0.9: .* 1.0000"):
      choose(network, times, [1], 0.9, always_train_head=head)


def test_equal_scores_choose_less_time_and_then_the_shallower():
  network = network_of(["a", "b", "c", "head"])
  scores = [1, 1, 1, 1]
  times = profile_of([0, 0, 0, 0], [2, 1, 3, 1], forward=1)
  assert choose(network, times, scores, 3 / 8) == (False, True, False, True)
  times = profile_of([0, 0, 0, 0], [2, 2, 2, 2], forward=1)
  assert choose(network, times, scores, 5 / 9) == (False, False, True, True)


# What holds for every network


@settings(max_examples=150)
@given(
  st.integers(0, 10**6),
  st.floats(0, 1),
  st.sampled_from(["exact", "greedy", "brute"]),
  st.sampled_from(["tensor", "block"]),
  st.sampled_from([0, 2, 3, 5]),
  st.sampled_from(["arrival", "inclusive"]),
  st.booleans(),
  st.integers(10, 1000),
)
def test_a_step_stays_within_its_share(
  seed, part, mode, granularity, size, cost_model, head, resolution
):
  network, times, scores = random_case(seed)
  least = times.least_share
  if head:
    least = head_share(network, times, cost_model)
  share = min(1.0, least + part * (1 - least))
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    chosen = choose(
      network,
      times,
      scores,
      share,
      mode=mode,
      granularity=granularity,
      menu=size if head else 0,
      cost_model=cost_model,
      always_train_head=head,
      resolution=resolution,
    )
  assert any(chosen)
  assert times.step(chosen) <= share * times.full * (1 + 1e-9)
  if head:
    trained = zip(head_of(network), chosen, strict=True)
    assert all(yes for in_head, yes in trained if in_head)


def share_within(seed, least):
  """Returns a share from the least feasible one to 1."""
  return least + np.random.default_rng(seed).random() * (1 - least)


@pytest.mark.parametrize("head", [True, False])
def test_no_set_that_fits_is_worth_more(head):
  """By enumeration and the profile's own clock."""
  for seed in range(80):
    network, times, scores = random_case(seed)
    scores = np.float32(scores).astype(float)
    scores[-1] = abs(scores[-1])  # something is worth training
    least = head_share(network, times) if head else times.least_share
    share = share_within(seed, least)
    masks = np.array(list(itertools.product([False, True], repeat=len(scores))))
    if head:
      masks = masks[masks[:, -1]]
    within = share * times.full * (1 + 1e-13)
    fits = masks[[times.step(mask) <= within for mask in masks]]
    best = (fits @ scores).max()
    if best <= 0:
      continue
    chosen = choose(
      network, times, scores, share, mode="brute", always_train_head=head
    )
    assert scores[np.array(chosen)].sum() == pytest.approx(best)


def test_blocks_are_whole_and_no_others_are_worth_more():
  for seed in range(120):
    network, times, scores = random_case(seed)
    scores = np.abs(scores) - 0.3
    scores[-1] = 1
    share = share_within(seed, head_share(network, times))
    units = np.array([tensor.unit for tensor in network.tensors])
    chosen = np.array(
      choose(network, times, scores, share, granularity="block", mode="brute")
    )
    whole = np.isin(units, list(set(units[chosen])))
    np.testing.assert_array_equal(whole, chosen)
    best = max(
      scores[mask].sum()
      for count in range(len(network.units))
      for others in itertools.combinations(network.units[:-1], count)
      for mask in [np.isin(units, [*others, "head"])]
      if times.step(mask) <= share * times.full * (1 + 1e-13)
    )
    assert scores[chosen].sum() == pytest.approx(best)


@pytest.mark.parametrize("head", [True, False])
def test_all_that_is_worth_it_trains_where_all_fits(head):
  for seed in range(200):
    network, times, scores = random_case(seed)
    scores[-1] = abs(scores[-1])
    chosen = choose(network, times, scores, 1.0, always_train_head=head)
    assert chosen == tuple((scores > 0).tolist())


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_names_do_not_matter(seed, random):
  """Their sorted order is that of the scores, not that of the tensors."""
  network, times, scores = random_case(seed, count=10)
  share = (1 + head_share(network, times)) / 2
  names = [f"n{k}" for k in range(len(network.units))]
  random.shuffle(names)
  names = dict(zip(network.units, names, strict=True))
  renamed = dataclasses.replace(
    network,
    units=tuple(names[unit] for unit in network.units),
    tensors=tuple(
      dataclasses.replace(
        t, path=(names[t.unit], t.path[1]), unit=names[t.unit]
      )
      for t in network.tensors
    ),
  )
  for options in ({}, {"granularity": "block"}, {"menu": 4}):
    first = choose(network, times, scores, share, **options)
    assert choose(renamed, times, scores, share, **options) == first


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(-20, 20))
def test_the_scale_of_scores_does_not_matter(seed, power):
  network, times, scores = random_case(seed)
  scores[-1] = 1
  share = (1 + head_share(network, times)) / 2
  first = choose(network, times, scores, share)
  assert choose(network, times, scores * 2.0**power, share) == first


# Where little is worth training


def test_where_nothing_is_worth_it_the_head_trains():
  network = network_of(["a", "b", "b", "head", "head"])
  times = profile_of([1, 1, 1, 1, 1], [2, 2, 2, 2, 2], forward=5)
  for scores in ([-1.0] * 5, [0.0] * 5):
    for options in ({}, {"menu": 3}, {"always_train_head": False}):
      with pytest.warns(UserWarning, match="the head trains until"):
        chosen = choose(network, times, scores, 0.8, **options)
      assert chosen == (False, False, False, True, True)


def test_a_head_that_does_not_fit_trains_in_part():
  network = network_of(["a", "head", "head"])
  times = profile_of([1, 4, 1], [2, 2, 2], forward=5)
  options = {"always_train_head": False}
  # 5 + 1 + 2 of 17 for the last; the head takes 14.
  with pytest.warns(UserWarning, match="only what fits of the head trains"):
    chosen = choose(network, times, [1, -1, -1], 8 / 17, **options)
  assert chosen == (False, False, True)
  with pytest.raises(ValueError, match=r"between 0.4706 and 1"):
    choose(network, times, [1, -1, -1], 0.47, **options)
  # The last is slow to form; the one before it takes 5 + 3 of 38.
  times = profile_of([1, 1, 0], [1, 2, 28], forward=5)
  with pytest.warns(UserWarning):
    chosen = choose(network, times, [-1, -1, -1], 8 / 38, **options)
  assert chosen == (False, True, False)


def test_no_warning_where_only_the_head_fits():
  network = network_of(["a", "head"])
  times = profile_of([1, 1], [2, 1], forward=5)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert choose(network, times, [9, 1], 0.7) == (False, True)


def test_a_head_beyond_the_budget_names_the_least_share():
  network = network_of(["a", "head", "head"])
  times = profile_of([1, 4, 1], [2, 2, 2], forward=5)
  least = r"rho=0.8: a step that trains the head takes 0.8236 of a full one"
  with pytest.raises(ValueError, match=least):
    choose(network, times, [1, 1, 1], 0.8)
  assert choose(network, times, [1, 1, 1], 0.8236) == (False, True, True)
  # by the controller's budget too
  with pytest.raises(ValueError, match="rho=0.3: a step that trains the head"):
    choose(network, times, [1, 1, 1], 1.0, 0.3)


# Menus


def test_a_menu_bounds_the_selections():
  random = np.random.default_rng(0)
  names = [f"u{k}" for k in range(8) for _ in range(2)]
  network = network_of([*names, "head"])
  times = profile_of(*random.gamma(1, 1, (2, 17)), forward=5)
  for size in (2, 3, 6):
    found = {
      choose(
        network,
        times,
        random.lognormal(0, 2, 17),
        0.6,
        budget,
        menu=size,
      )
      for budget in (1.0, 0.55, 0.45)
      for _ in range(30)
    }
    assert len(found) <= size
    assert len(found) >= 2
    units = np.array([tensor.unit for tensor in network.tensors])
    for mask in found:
      chosen = set(units[np.array(mask)])
      assert (np.isin(units, list(chosen)) == np.array(mask)).all()


def test_entries_of_a_menu():
  # Three units of two before the head, all alike: 1 to reach, 2 to train.
  network = network_of(["a", "b", "c", "head"])
  arrival, training = np.ones(4), np.full(4, 2.0)

  def entries(budget, size):
    made = menu.prepare(
      network.tensors, head_of(network), arrival, training, budget, size
    )
    return ["".join("-x"[yes] for yes in mask) for mask in made]

  # 12 is everything; two depths, filled from either end, differ below it.
  assert entries(12, 9) == ["---x", "xxxx", "-xxx", "--xx"]
  assert entries(10, 9) == ["---x", "-xxx", "xx-x", "x-xx", "--xx"]
  assert entries(8, 9) == ["---x", "--xx", "x--x", "-x-x"]
  assert entries(10, 2) == ["---x", "-xxx"]
  assert entries(10, 3) == ["---x", "-xxx", "x-xx"]
  assert entries(3, 9) == ["---x"]


def test_the_best_entry_that_fits_is_chosen():
  network = network_of(["a", "b", "c", "head"])
  times = profile_of([1] * 4, [2] * 4)
  options = {"menu": 9}

  def pick(scores, rho, budget=1.0):
    chosen = choose(network, times, scores, rho, budget, **options)
    return "".join("-x"[yes] for yes in chosen)

  assert pick([5, 1, 1, 1], 10 / 12) == "x-xx"  # the lesser mask
  assert pick([0, 0, 2, 1], 10 / 12) == "--xx"  # less time
  assert pick([5, 2, 1, 1], 10 / 12) == "xx-x"
  assert pick([1, 2, 2, 1], 10 / 12) == "-xxx"
  assert pick([-1, -1, 2, 1], 10 / 12) == "--xx"
  assert pick([-1, -1, -1, 1], 10 / 12) == "---x"
  # The menu is that of rho: no new entries where a controller allows less.
  assert pick([5, 5, 1, 1], 10 / 12, 8 / 12) == "--xx"


# How far the chain reaches


def test_three_readings_of_the_chain():
  # Two dense layers with an activation between, then the head.
  kinds = ["kernel", "bias", "kernel", "bias"]
  network = network_of(["a", "a", "head", "head"], kinds)
  # To the first kernel nothing; to the first bias through the second kernel.
  times = profile_of([0, 5, 0, 2], [1, 1, 1, 1])

  def way(cost_model):
    return chain.times_of(times, network.tensors, cost_model).tolist()

  assert way("arrival") == [0, 5, 0, 2]
  assert way("inclusive") == [0, 0, 5, 2]
  assert way("exclusive") == [0, 5, 0, 2]
  # A bias after a bias: what runs between comes before the earlier one.
  kinds = ["kernel", "scale", "shift", "kernel"]
  network = network_of(["a", "a", "a", "head"], kinds)
  times = profile_of([7, 3, 5, 2], [1, 1, 1, 1])
  assert way("inclusive") == [0, 7 + 3, 0, 5 + 2]
  assert way("exclusive") == [7 + 3, 0, 5, 2]
  with pytest.raises(ValueError, match="cost_model='other': give one of arr"):
    way("other")


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_readings_agree_where_they_should(seed):
  network, times, _ = random_case(seed)
  ways = {
    name: np.cumsum(chain.times_of(times, network.tensors, name)[::-1])[::-1]
    for name in chain.COST_MODELS
  }
  kernel = np.array([tensor.kind == "kernel" for tensor in network.tensors])
  assert (ways["inclusive"] >= ways["arrival"] - 1e-12).all()
  assert (ways["exclusive"] <= ways["arrival"] + 1e-12).all()
  np.testing.assert_allclose(
    ways["exclusive"][kernel], ways["arrival"][kernel], atol=1e-12
  )
  assert ways["inclusive"][0] == pytest.approx(ways["arrival"][0])


def test_the_reading_changes_the_choice():
  network = network_of(["a", "b", "head"], ["kernel"] * 3)
  times = profile_of([2, 3, 1], [1, 1, 1], forward=1)
  scores = [9, 1, 1]
  # 1 + 6 + 2 of 10 for the first and the head. Told to carry the gradient
  # past the deepest one too, the way to the second is longer.
  assert choose(network, times, scores, 0.9) == (True, False, True)
  chosen = choose(network, times, [1, 9, 1], 0.7)
  assert chosen == (False, True, True)
  chosen = choose(network, times, [1, 9, 1], 0.7, cost_model="inclusive")
  assert chosen == (False, False, True)


def test_the_part_of_the_head_is_chosen_by_real_times():
  # Carried past the head, the gradient takes 3 + 1 of the 2 allowed.
  network = network_of(["a", "head"], ["kernel"] * 2)
  times = profile_of([2, 1], [1, 1], forward=1)
  options = {"cost_model": "inclusive", "always_train_head": False}
  with pytest.warns(UserWarning, match="the head trains"):
    chosen = choose(network, times, [1, 1], 0.5, **options)
  assert chosen == (False, True)


# Scores


def probe_of(params, scale=1.0):
  return base.Probe(
    params,
    (tiny_network.batch(), tiny_network.batch(seed=1)),
    lambda params, batch, key: jax.tree.map(lambda p: scale * p, params),
    lambda grads, params: jax.tree.map(lambda p, g: p - 0.5 * g, params, grads),
    0.5,
  )


@pytest.fixture(scope="module")
def params():
  return jax.tree.map(np.asarray, TINY.init(jax.random.key(0))[0])


@pytest.mark.parametrize(
  "build, options, expected",
  [
    (made, {}, lambda w: (0.25 * w**2).sum()),
    (made, {"point": "before"}, lambda w: (0.5 * w**2).sum()),
    (made, {"step": "sgd"}, lambda w: (0.25 * w**2).sum()),
    (
      made,
      {"point": "before", "fresh_pair": True},
      lambda w: (0.5 * w**2).sum(),
    ),
    (elastic.grad_norm, {}, lambda w: abs(w).sum()),
    (elastic.magnitude, {}, lambda w: abs(w).sum()),
  ],
)
def test_scores_of_a_known_loss(params, build, options, expected):
  # of w ** 2 / 2, whose gradient is w
  selector = build(**options)
  state = selector.init(params)
  assert state["scores"].tolist() == [0.0] * 6
  found = selector.update(jax.random.key(0), state, probe_of(params))
  assert found["scores"].dtype == np.float32
  wanted = [
    expected(params[unit][name]) for unit, name in importance.paths(params)
  ]
  np.testing.assert_allclose(found["scores"], wanted, rtol=1e-4)
  assert state["scores"].tolist() == [0.0] * 6


def test_the_order_of_dicts_does_not_matter(params):
  selector = elastic.elastic(0.8)
  times = profile_of(np.ones(6), np.arange(6), forward=6)
  # OrderedDict keeps its order in JAX too.
  turned = collections.OrderedDict(
    (unit, collections.OrderedDict(reversed(params[unit].items())))
    for unit in reversed(params)
  )
  states = [
    selector.update(jax.random.key(0), selector.init(tree), probe_of(tree))
    for tree in (params, turned)
  ]
  np.testing.assert_array_equal(states[0]["scores"], states[1]["scores"])
  first, second = (selector.choose(state, TINY, times, 1.0) for state in states)
  assert first == second
  assert sum(first.trainable) == 3


class Shared(nn.Module):
  """One layer in two places, and another between them."""

  @nn.compact
  def __call__(self, x):
    twice = nn.Dense(3, name="twice", use_bias=False)
    x = nn.tanh(twice(x))
    x = nn.tanh(nn.Dense(3, name="between", use_bias=False)(x))
    return nn.Dense(2, name="head", use_bias=False)(nn.tanh(twice(x)))


class Turn(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    return nn.tanh(nn.Dense(3, use_bias=False)(x)), None


class Scanned(nn.Module):
  """Three layers whose kernels are one stacked array."""

  @nn.compact
  def __call__(self, x):
    layers = nn.scan(
      Turn, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
    )
    x, _ = layers(name="layers")(x, None)
    return nn.Dense(2, name="head", use_bias=False)(x)


def test_an_array_used_twice_is_one_tensor_at_its_first_place():
  network = linen.from_linen(Shared(), (3,), 2)
  assert [t.unit for t in network.tensors] == ["twice", "between", "head"]
  times = profile_of([1, 1, 1], [2, 1, 1], forward=3)
  # The later place alone would be reached; the gradient is not whole there.
  scores = [9, 1, 1]
  assert choose(network, times, scores, 8.5 / 10) == (False, True, True)
  assert choose(network, times, scores, 9 / 10) == (True, False, True)


def test_layers_under_a_scan_are_one_tensor():
  network = linen.from_linen(Scanned(), (3,), 2)
  assert [t.shape for t in network.tensors] == [(3, 3, 3), (3, 2)]
  times = profile_of([3, 1], [3, 1], forward=3)
  assert choose(network, times, [1, 1], 0.9) == (False, True)
  assert choose(network, times, [1, 1], 1.0) == (True, True)


# What is refused


def test_fields_of_the_selector():
  selector = elastic.elastic()
  assert (selector.every, selector.num_probes) == (3, 1)
  assert (selector.profile, selector.slots) == ("analytic", "reset")
  selector = made(
    0.4, 2, probes=3, fresh_pair=True, profile="calibrated", slots="keep"
  )
  assert (selector.every, selector.num_probes) == (2, 6)
  assert (selector.profile, selector.slots) == ("calibrated", "keep")
  # The weights need no batch, but without one nobody asks for them.
  assert elastic.magnitude(0.4, 5).num_probes == 1
  assert elastic.magnitude(0.4, 5).every == 5
  assert elastic.grad_norm(0.4, 5).num_probes == 1


@pytest.mark.parametrize(
  "options, message",
  [
    ({"rho": 0}, "rho=0: give a share above 0, 1 at most"),
    ({"rho": 1.01}, "rho=1.01: "),
    ({"rho": -0.5}, "rho=-0.5: "),
    ({"rho": float("nan")}, "rho=nan: "),
    ({"rho": "half"}, "rho='half': "),
    ({"interval": 0}, "interval=0: give a whole number, 1 or more"),
    ({"interval": 1.5}, "interval=1.5: "),
    ({"probes": 0}, "probes=0: "),
    ({"resolution": 0}, "resolution=0: "),
    ({"menu": 1}, "menu=1: give 0 for none, or 2 or more"),
    ({"menu": -2}, "menu=-2: "),
    ({"metric": "fisher"}, "metric='fisher': give one of update, gradient, w"),
    ({"point": "during"}, "point='during': give one of after, before"),
    ({"step": "adam"}, "step='adam': give one of optimizer, sgd"),
    ({"profile": ""}, "profile='': give one of analytic, timed, calibrated"),
    ({"cost_model": "none"}, "cost_model='none': give one of arrival, incl"),
    ({"mode": "fast"}, "mode='fast': give one of exact, reference, greedy"),
    ({"granularity": "unit"}, "granularity='unit': give one of tensor, block"),
    ({"slots": "drop"}, "slots='drop': give one of reset, keep, decay"),
    (
      {"menu": 4, "always_train_head": False},
      "menu=4: its entries all train the head",
    ),
    ({"metric": "weight", "fresh_pair": True}, "fresh_pair is about metric='u"),
  ],
)
def test_bad_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    made(**options)


def test_states_and_profiles_of_other_networks_are_refused():
  selector = elastic.elastic(0.9)
  times = profile_of(np.ones(6), np.ones(6))
  state = {"scores": np.ones(6, np.float32)}
  with pytest.raises(ValueError, match="give the profile that its `profile`"):
    selector.choose(state, TINY, None, 1.0)
  short = profile_of(np.ones(5), np.ones(5))
  with pytest.raises(ValueError, match="of 5 tensors, network 'tiny' has 6"):
    selector.choose(state, TINY, short, 1.0)
  with pytest.raises(ValueError, match=r"shape \(4,\) for the 6 tensors of"):
    selector.choose({"scores": np.ones(4)}, TINY, times, 1.0)
  for bad in (np.nan, np.inf):
    # Sorted: first/bias, first/kernel, head/bias, head/kernel, ...
    scores = np.float32([1, 1, 1, bad, 1, 1])
    with pytest.raises(ValueError, match="score of head/kernel is not finite"):
      selector.choose({"scores": scores}, TINY, times, 1.0)


def test_a_set_chosen_equals_the_knapsacks_own():
  network, times, scores = random_case(5, count=10)
  scores = np.float32(np.abs(scores))
  chosen = choose(network, times, scores, 0.7, always_train_head=False)
  found = knapsack.select(
    times.arrival, times.training, scores, times.budget(0.7)
  )
  assert chosen == found.mask
  assert 0 < sum(chosen) < 10


def test_defaults():
  assert signatures.defaults(elastic.elastic) == {
    "rho": 0.533,
    "interval": 3,
    "profile": "analytic",
    "resolution": 10000,
    "slots": "reset",
    "trunk": 0,
  }
  given = inspect.signature(elastic.elastic).parameters
  assert vars(given["importance"].default) == {
    "metric": "update",
    "point": "after",
    "step": "optimizer",
    "probes": 1,
    "fresh_pair": False,
  }
  assert vars(given["knapsack"].default) == {
    "cost_model": "arrival",
    "mode": "exact",
    "granularity": "tensor",
    "menu": 0,
    "always_train_head": True,
  }
  ablation = {"rho": 0.533, "interval": 3, "profile": "analytic"}
  assert signatures.defaults(elastic.magnitude) == ablation
  assert signatures.defaults(elastic.grad_norm) == ablation
