"""Units timed one by one: sums, shares and what is charged to whom."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures

from jcl import base
from jcl.networks import mlp
from jcl.train.profiling import analytic, calibrated, store, timed
from tests import tiny_network


@pytest.fixture(scope="module")
def network():
  return mlp.mlp((6,), 3, width=16, depth=2)


@pytest.fixture(scope="module")
def inputs(network):
  return (*network.init(jax.random.key(0)), jnp.ones((4, 6)))


def test_profile_of_a_real_chain(network, inputs):
  times = timed.profile(network, *inputs, rounds=3)
  assert len(times.forward) == len(network.tensors)
  assert times.method == "timed"
  assert times.closure == pytest.approx(1) or times.backward == 0
  assert times.always > 0 and times.compile_seconds > 0
  assert times.about["rounds"] == 3
  # Noise may leave nothing to close on.
  assert (times.about["closure"] is None) == (times.backward == 0)


@pytest.fixture
def made_up(monkeypatch):
  """Puts numbers in the place of what the clock says."""

  def use(whole, blocks):
    values = [*whole, *(value for block in blocks for value in block)]

    def measure(programs, rounds):
      assert len(programs) == len(values)
      for program in programs:
        program()
      return np.array(values, float)

    monkeypatch.setattr(calibrated, "measure", measure)

  return use


def test_units_times_are_taken_apart(network, inputs, made_up):
  units = list(network.units)
  assert len(units) == 3
  # Forward, and with gradients of parameters, of the input, of both.
  blocks = [(1, 5, 4, 8), (1, 6, 4, 9), (1, 3, 2, 4)]
  made_up((3, 18, 2), blocks)
  times = timed.profile(network, *inputs)
  sums = {
    unit: [
      sum(
        value
        for value, tensor in zip(
          getattr(times, name), network.tensors, strict=True
        )
        if tensor.unit == unit
      )
      for name in ("arrival", "weight_grad")
    ]
    for unit in units
  }
  # Parameters' gradients: both less the input's. To the first tensor: the
  # parameters' less forward and that. To the input: both less the parameters'.
  expected = {
    units[2]: [3 - 1 - 2, 4 - 2],
    units[1]: [(4 - 3) + 6 - 1 - 5, 9 - 4],
    units[0]: [(9 - 6) + 5 - 1 - 4, 8 - 4],
  }
  total = sum(map(sum, expected.values()))
  scale = (18 - 3) / total
  for unit, pair in expected.items():
    np.testing.assert_allclose(sums[unit], np.array(pair) * scale)
  assert times.about["closure"] == pytest.approx(total / 15)
  assert times.backward == pytest.approx(15) == times.backward_total
  assert times.always == pytest.approx(3)
  assert sum(times.update) == pytest.approx(2)


def test_within_a_unit_the_prior_decides(network, inputs, made_up):
  made_up((3, 18, 2), [(1, 5, 4, 8), (1, 6, 4, 9), (1, 3, 2, 4)])
  times = timed.profile(network, *inputs)
  prior = analytic.profile(network, *inputs)
  kernel, bias = 0, 1
  assert network.tensors[kernel].unit == network.tensors[bias].unit
  assert times.weight_grad[kernel] / times.weight_grad[bias] == pytest.approx(
    prior.weight_grad[kernel] / prior.weight_grad[bias]
  )


def test_noise_never_turns_a_time_negative(network, inputs, made_up):
  made_up((3, 2, 1), [(5, 1, 4, 2), (1, 0.5, 0.6, 0.4), (9, 1, 1, 1)])
  times = timed.profile(network, *inputs)
  assert times.backward == 0 and times.about["closure"] is None
  assert min(times.arrival + times.weight_grad) >= 0
  assert store.from_json(store.to_json(times)) == times


def test_a_unit_without_tensors_passes_its_time_on(network, inputs, made_up):
  def flat(params, stats, x, training, key):
    del params, training, key
    return jnp.tanh(x), stats

  middle = base.Block("flat", flat)
  first, second, head = network.blocks
  wider = dataclasses.replace(
    network,
    units=(*network.units[:2], "flat", "head"),
    blocks=(first, second, middle, head),
  )
  made_up((0, 16, 1), [(1, 5, 4, 8), (1, 6, 4, 9), (1, 1, 3, 3), (1, 3, 2, 4)])
  times = timed.profile(wider, *inputs)
  place = [tensor.unit for tensor in network.tensors].index(network.units[1])
  arrival = sum(times.arrival[place : place + 2])
  # The head's input gradient, the flat unit's, and nothing of its own.
  total = 2 + (1 + 2) + 5 + 3 + 4
  assert arrival == pytest.approx((1 + 2) * 16 / total)


def test_what_it_rejects(network, inputs):
  tiny = tiny_network.build()
  with pytest.raises(ValueError, match="'analytic' or 'calibrated'"):
    timed.profile(
      tiny, *tiny.init(jax.random.key(0)), jnp.ones((2, 4)), rounds=1
    )
  params, stats, _ = inputs
  with pytest.raises(ValueError, match="give a batch"):
    timed.profile(network, params, stats, jnp.ones((2, 5)))


def test_seconds_of_a_unit_by_hand():
  unit = timed._Seconds(forward=1.0, params=4.0, input=5.0, both=7.0)
  assert (unit.weight_grad, unit.leaving, unit.inside) == (2, 3, 1)
  noisy = timed._Seconds(forward=3.0, params=2.5, input=2.75, both=2.0)
  assert (noisy.weight_grad, noisy.leaving, noisy.inside) == (0, 0, 0)
  assert timed._rows([*map(float, range(8))]) == [[0, 1, 2, 3], [4, 5, 6, 7]]
  assert timed._in_proportion([1.0, 3.0], 8.0) == [2, 6]
  assert timed._in_proportion([0.0, 0.0], 8.0) == [4, 4]


def test_gradients_of_parameters_of_the_input_and_of_both(
  network, inputs, monkeypatch
):
  monkeypatch.setattr(timed, "_compiled", lambda function, *args: function)
  subject = timed.subjects.Subject(network, *inputs, "batch", optax.sgd(0.1))
  programs, whole, _ = timed._programs(subject)
  pulled = [each.args[1] for each in programs if "_pull" in str(each)]
  assert pulled == [(0,), (1,), (0, 1)] * 3 and whole == 3


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(timed.profile) == {"norms": "frozen", "rounds": 20}


def test_units_without_a_backward_pass(network, inputs, made_up):
  made_up((3, 18, 2), [(1, 1, 1, 1)] * 3)
  times = timed.profile(network, *inputs)
  assert times.backward == 0 and times.about["closure"] == 0
  assert times.backward_total == 15


def test_compiling_is_timed(network, inputs, monkeypatch):
  monkeypatch.setattr(
    calibrated, "measure", lambda programs, rounds: np.ones(len(programs))
  )
  start = time.perf_counter()
  times = timed.profile(network, *inputs)
  assert 0 < times.compile_seconds < time.perf_counter() - start
