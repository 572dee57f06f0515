"""Fits to step times whose truth is known."""

import dataclasses
import inspect
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
import signatures

from jcl import base
from jcl.networks import mlp, resnet
from jcl.selection.times import TensorTimes
from jcl.train.profiling import analytic, calibrated


@pytest.fixture(scope="module")
def network():
  return resnet.slim_resnet18((16, 16, 3), 10, filters=4)


@pytest.fixture(scope="module")
def prior(network):
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
  return analytic.profile(network, params, stats, x)


def units(network):
  return [tensor.unit for tensor in network.tensors]


def distorted(prior, names, *, arrival, training, always):
  """The prior with each unit's times multiplied by factors of its own."""
  unit = [list(dict.fromkeys(names)).index(name) for name in names]

  def scaled(values, factors):
    return tuple((np.array(values) * np.array(factors)[unit]).tolist())

  return TensorTimes(
    forward=tuple(always * each for each in prior.forward),
    arrival=scaled(prior.arrival, arrival),
    weight_grad=scaled(prior.weight_grad, training),
    update=scaled(prior.update, training),
    fixed=always * prior.fixed,
    method="timed",
  )


def random_truth(prior, network, spread, seed=0):
  random = np.random.default_rng(seed)
  count = len(network.units)
  factors = np.exp(spread * random.normal(size=(2, count)))
  return distorted(
    prior,
    units(network),
    arrival=2.0 * factors[0],
    training=5.0 * factors[1],
    always=3.0,
  )


def steps(truth, selections):
  return np.array([truth.step(each.trainable) for each in selections])


def rows(selections):
  return np.array([each.trainable for each in selections])


def random_selections(network, count, seed=1):
  random = np.random.default_rng(seed)
  for _ in range(count):
    chosen = random.random(len(network.tensors)) < random.random()
    chosen[: random.integers(len(chosen))] = False
    chosen[-1] |= not chosen.any()
    yield base.Selection(tuple(map(bool, chosen)))


def test_two_factors_for_all_units_are_found_exactly(network, prior):
  truth = random_truth(prior, network, spread=0.0)
  chosen = calibrated.masks(network)
  fitted = calibrated.fit(
    rows(chosen), steps(truth, chosen), prior, units(network)
  )
  for name in ("forward", "arrival", "weight_grad", "update", "fixed"):
    np.testing.assert_allclose(
      getattr(fitted, name), getattr(truth, name), rtol=1e-6
    )
  assert fitted.method == "calibrated"
  assert fitted.closure == pytest.approx(1)
  assert fitted.about["greatest_error"] < 1e-6
  assert fitted.about["masks"] == len(chosen) == 16


@pytest.mark.parametrize("seed", range(3))
def test_units_of_their_own_speed_under_noise(network, prior, seed):
  """Half as fast or twice: the masks' times are met, and those of others."""
  truth = random_truth(prior, network, spread=0.5, seed=seed)
  chosen = calibrated.masks(network)
  noise = np.random.default_rng(seed).normal(scale=0.01, size=len(chosen))
  seconds = steps(truth, chosen) * (1 + noise)
  fitted = calibrated.fit(rows(chosen), seconds, prior, units(network))
  assert fitted.full == pytest.approx(truth.full, rel=0.03)
  assert fitted.about["rms_error"] < 0.02
  assert fitted.closure == pytest.approx(1, abs=0.05)
  unseen = list(random_selections(network, 50))
  errors = steps(fitted, unseen) / fitted.full - steps(truth, unseen) / (
    truth.full
  )
  plain = steps(prior, unseen) / prior.full - steps(truth, unseen) / truth.full
  assert np.abs(errors).max() < 0.05
  assert np.sqrt(np.mean(errors**2)) < np.sqrt(np.mean(plain**2)) / 3


def test_a_slow_unit_is_told_apart(network, prior):
  names = list(network.units)
  slow = names.index("block_3")
  ones = np.ones(len(names))
  training = np.where(np.arange(len(names)) == slow, 4.0, 1.0)
  truth = distorted(
    prior, units(network), arrival=ones, training=training, always=1.0
  )
  chosen = calibrated.masks(network, count=2 * len(names) + 1)
  fitted = calibrated.fit(
    rows(chosen), steps(truth, chosen), prior, units(network)
  )
  members = np.array(units(network)) == "block_3"
  ratio = (
    np.array(fitted.weight_grad)[members] / np.array(truth.weight_grad)[members]
  )
  np.testing.assert_allclose(ratio, ratio[0])
  # The prior says a quarter; it still draws the unit to the others a little.
  assert 0.65 < ratio[0] < 1.05


def test_units_that_no_mask_reaches_follow_the_others(network, prior):
  truth = random_truth(prior, network, spread=0.0)
  names = units(network)
  head = names.index("block_5")
  # Only the last units ever train.
  chosen = [
    base.Selection(tuple(i >= start for i in range(len(names))))
    for start in range(head, len(names), 3)
  ]
  fitted = calibrated.fit(rows(chosen), steps(truth, chosen), prior, names)
  np.testing.assert_allclose(fitted.arrival, truth.arrival, rtol=1e-3)
  assert math.isnan(fitted.closure)


def test_a_prior_in_flops_serves_as_well(network, prior):
  truth = random_truth(prior, network, spread=0.3)
  chosen = calibrated.masks(network)
  seconds = steps(truth, chosen)
  large = dataclasses.replace(
    prior,
    **{
      name: tuple(1e11 * each for each in getattr(prior, name))
      for name in ("forward", "arrival", "weight_grad", "update")
    },
    fixed=1e11 * prior.fixed,
  )
  fits = [
    calibrated.fit(rows(chosen), seconds, each, units(network))
    for each in (prior, large)
  ]
  np.testing.assert_allclose(fits[0].arrival, fits[1].arrival, rtol=1e-6)


def test_times_below_any_sum_stay_non_negative(network, prior):
  """A program that gets faster the more it trains: no time turns negative."""
  chosen = calibrated.masks(network)
  seconds = 2.0 - rows(chosen).mean(1)
  fitted = calibrated.fit(rows(chosen), seconds, prior, units(network))
  assert min(fitted.arrival + fitted.weight_grad + fitted.update) >= 0
  assert fitted.about["greatest_error"] > 0.01


def test_what_fit_rejects(network, prior):
  chosen = rows(calibrated.masks(network))
  seconds = np.ones(len(chosen))
  names = units(network)
  fit = calibrated.fit
  with pytest.raises(ValueError, match=r"give \[S, 62\]"):
    fit(chosen[:, 1:], seconds, prior, names)
  with pytest.raises(ValueError, match="one time per mask, and 3 masks"):
    fit(chosen[:2], seconds[:2], prior, names)
  with pytest.raises(ValueError, match="above 0"):
    fit(chosen, 0 * seconds, prior, names)
  with pytest.raises(ValueError, match="select a tensor"):
    fit(np.zeros_like(chosen), seconds, prior, names)


def test_masks_spread_over_the_depth(network):
  chosen = rows(calibrated.masks(network))
  assert len(chosen) == len({tuple(row) for row in chosen}) == 16
  assert chosen[0].all()
  starts = [units(network).index(unit) for unit in network.units]
  for row in chosen[1:]:
    first = int(np.argmax(row))
    assert first in starts
    assert row.sum() == 1 or row[first:].all()
  singles = [int(np.argmax(row)) for row in chosen if row.sum() == 1]
  assert min(singles) == 0 and max(singles) == starts[-1]
  deep = [int(np.argmax(row)) for row in chosen if row.sum() > 1]
  assert max(deep) == starts[-1]


def test_small_networks_have_fewer_masks():
  tiny = mlp.mlp((4,), 3, width=5, depth=1)
  assert 3 <= len(calibrated.masks(tiny)) < 16
  assert len(calibrated.masks(tiny, 3)) == 3
  with pytest.raises(ValueError, match="count=2"):
    calibrated.masks(tiny, 2)


@pytest.fixture
def clock(monkeypatch):
  """A clock that only programs move on."""
  now = [0.0]

  def advance(seconds):
    now[0] += seconds

  monkeypatch.setattr(
    calibrated, "time", types.SimpleNamespace(perf_counter=lambda: now[0])
  )
  return advance


def test_measuring_warms_up_takes_turns_and_medians(clock):
  ran = []

  def program(name, seconds):
    def run():
      calls = ran.count(name)
      ran.append(name)
      # Slow at first, and once an outlier.
      clock(50.0 if calls < 3 or calls == 5 else seconds)

    return run

  seconds = calibrated.measure([program("a", 1.0), program("b", 2.0)], 5)
  np.testing.assert_allclose(seconds, [1.0, 2.0])
  assert len(ran) == 2 * (3 + 5)
  turns = [tuple(ran[i : i + 2]) for i in range(0, len(ran), 2)]
  assert {frozenset(turn) for turn in turns} == {frozenset("ab")}
  assert len(set(turns)) == 2  # the order changes
  with pytest.raises(ValueError, match="rounds=0"):
    calibrated.measure([], 0)
  assert calibrated.measure([], 1).shape == (0,)


def test_profile_times_steps_and_their_compiles(network, prior, clock):
  truth = random_truth(prior, network, spread=0.0)

  def run_step(selection):
    clock(7.0)
    return lambda: clock(truth.step(selection.trainable))

  times = calibrated.profile(network, prior, run_step, rounds=3)
  assert times.compile_seconds == pytest.approx(7.0)
  assert times.full == pytest.approx(truth.full, rel=1e-6)
  assert times.about["rounds"] == 3
  with pytest.raises(ValueError, match="network 'mlp' 4"):
    calibrated.profile(mlp.mlp((4,), 3, width=5, depth=1), prior, run_step)


def test_items_evenly_spread_with_both_ends():
  items = [10, 11, 12, 13, 14]
  assert calibrated._spread(items, 3) == [10, 12, 14]
  assert calibrated._spread(items, 2) == [10, 14]
  assert calibrated._spread(items, 1) == [14]
  assert calibrated._spread(items, 0) == calibrated._spread([], 3) == []
  assert calibrated._spread(items, 9) == items


def test_as_few_masks_as_a_fit_takes(network, prior):
  assert len(calibrated.masks(network, 3)) == 3
  with pytest.raises(ValueError, match="count=2"):
    calibrated.masks(network, 2)
  assert calibrated._NOISE == 0.02 and calibrated._SPREAD == 1  # as `fit` says
  defaults = {
    name: parameter.default
    for function in (calibrated.profile, calibrated.masks, calibrated.measure)
    for name, parameter in inspect.signature(function).parameters.items()
    if name in ("count", "rounds")
  }
  assert defaults == {"count": 16, "rounds": 20}


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(calibrated.profile) == {"count": 16, "rounds": 20}
  assert signatures.defaults(calibrated.masks) == {"count": 16}
  assert signatures.defaults(calibrated.measure) == {"rounds": 20}


def small(**changes):
  values = {
    "forward": (0.25, 0.25),
    "arrival": (1.0, 1.0),
    "weight_grad": (0.75, 0.5),
    "update": (0.25, 0.5),
    "fixed": 0.5,
    "method": "analytic",
    **changes,
  }
  return TensorTimes(**values)


MASKS = [[True, True], [False, True], [True, False]]


def test_masks_of_a_small_network_in_order():
  network = mlp.mlp((4,), 3, width=5, depth=4)
  assert units(network)[::2] == list(network.units)
  found = [
    [i for i, trains in enumerate(each.trainable) if trains]
    for each in calibrated.masks(network, 6)
  ]
  everything = list(range(10))
  assert found == [everything, everything[2:], everything[8:], [0], [4], [8]]
  assert len(calibrated.masks(network, 5)) == 5


def test_a_gradient_that_costs_nothing_still_has_the_prior_s_scale():
  prior, seconds = small(), np.array([20.0, 15.0, 15.0])
  # A constant of 10 and 5 per tensor that trains explain all; arrival of 1
  # takes its factor from 20 seconds over a prior of 5.
  found = calibrated.fit(MASKS, seconds, prior, ["a", "b"])
  full, arrival, training = 20.0, 4.0, 5.0
  rows = [
    [full, 2 * 0 + arrival, arrival, training, training],
    [full, 0, arrival, 0, training],
    [full, arrival, arrival, training, 0],
  ]
  pull = 0.02 * full
  rows += [[0, *(pull * np.eye(4)[i])] for i in range(4)]
  wanted = [*seconds, *[pull] * 4]
  solved = optimize.nnls(np.array(rows), np.array(wanted))[0]
  np.testing.assert_allclose(found.arrival, arrival * solved[1:3], rtol=1e-6)
  np.testing.assert_allclose(
    found.weight_grad, training * solved[3:] * [0.75, 0.5], rtol=1e-6
  )
  assert found.always == pytest.approx(full * solved[0])
  assert max(found.arrival) > 0
  errors = np.array([found.step(mask) for mask in MASKS]) / seconds - 1
  assert found.about["rms_error"] == pytest.approx(np.sqrt((errors**2).mean()))
  assert found.about["greatest_error"] == pytest.approx(np.abs(errors).max())
  assert found.backward_total == pytest.approx(
    20 - found.always - sum(found.update)
  )


def test_a_prior_without_a_forward_pass_has_a_constant():
  prior = small(forward=(0.0, 0.0), fixed=0.0)
  seconds = [5.0 + small().step(mask) for mask in MASKS]
  found = calibrated.fit(MASKS, seconds, prior, ["a", "a"])
  assert found.fixed == pytest.approx(6.0, rel=0.01)
  assert found.forward == (0, 0)


def test_several_full_steps_are_averaged():
  prior = small()
  masks = [*MASKS, [True, True]]
  seconds = [small().step(mask) for mask in masks]
  seconds[0] += 0.02
  seconds[3] -= 0.02
  found = calibrated.fit(masks, seconds, prior, ["a", "a"])
  assert found.backward_total == pytest.approx(
    prior.full - found.always - sum(found.update)
  )


@pytest.mark.parametrize(
  "masks, seconds, names, message",
  [
    (MASKS, [1, 1, 1], ["a"], "1 units for a prior of 2"),
    ([True, True], [1, 1], ["a", "a"], r"masks of shape \(2,\)"),
    (MASKS, [1, 1], ["a", "a"], r"3 masks and times of shape \(2,\)"),
    (MASKS, [1, 1, np.inf], ["a", "a"], "must be finite"),
    (MASKS, [1, 1, np.nan], ["a", "a"], "must be finite"),
    (MASKS, [1, 1, -1], ["a", "a"], "above 0"),
  ],
)
def test_arguments_of_a_fit_that_do_not_fit(masks, seconds, names, message):
  with pytest.raises(ValueError, match=message):
    calibrated.fit(masks, seconds, small(), names)
