"""Statistics beside an objective: what is summed, and what is passed on."""

import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base
from jcl.networks import expand
from jcl.objectives import keeping, statistics, supervised
from jcl.train import augment, step_spec

NETWORK = tiny_network.build()
PARAMS, STATS = NETWORK.init(jax.random.key(0))
BATCH = tiny_network.batch(weight=[1, 1, 0, 1, 1, 0])


def forward_of(network=NETWORK, mean=0.5, std=2.0):
  preprocess = augment.Preprocess(np.float32(mean), np.float32(std))
  return step_spec.Forward(network, preprocess)


def inputs_of(state, params=PARAMS, stats=STATS, batch=BATCH):
  key = jax.random.key(0)
  return base.LossInputs(
    params, stats, batch, (), tiny_network.scope(), state, key
  )


def kept(objective, forward=None, params=PARAMS, stats=STATS):
  forward = forward or forward_of()
  network = forward.network
  state = objective.init(params, stats, *objective.sizes(network))
  inputs = inputs_of(state, params, stats)
  return objective.accumulate(forward, inputs)


def test_features_of_what_weighs_are_summed():
  objective = keeping.statistics(supervised.cross_entropy())
  found = kept(objective)
  x = (BATCH.x - 0.5) / 2
  rows = NETWORK.apply(PARAMS, STATS, x, taps=("second",)).taps["second"]
  expected = statistics.add(
    statistics.zeros(4, tiny_network.WIDTH), rows, BATCH.y, BATCH.weight
  )
  for mine, other in zip(found.sums[:-1], expected[:-1], strict=True):
    np.testing.assert_allclose(mine, other, atol=1e-5)
  assert found.inner == () and np.sum(found.sums.rows) == 4


def test_another_tap_may_be_read():
  objective = keeping.statistics(supervised.cross_entropy(), tap="first")
  first = NETWORK.apply(
    PARAMS, STATS, (BATCH.x - 0.5) / 2, taps=("first",)
  ).taps["first"]
  rows = np.asarray(first)[BATCH.weight > 0]
  np.testing.assert_allclose(
    kept(objective).sums.shift, rows.mean(axis=0), atol=1e-5
  )


def test_all_hooks_of_the_objective_go_on():
  """Each hook doubles or adds to a number, which is all the state there is."""

  def of_inputs(forward, inputs):
    del forward
    return inputs.state + 1

  def of_batch(forward, inputs):
    del forward
    return inputs.state + 10, {"moved": inputs.state}

  inner = base.Objective(
    loss=lambda forward, inputs: (inputs.state * 2, forward),
    reference=lambda forward, inputs: (inputs.state * 3, forward),
    init=lambda params, stats, size: size,
    sizes=lambda network: (5,),
    track=lambda state, traced: state + traced,
    begin=lambda state, params, stats, scope: state + params,
    finish=lambda state, params, stats, scope: state + scope,
    accumulate=of_inputs,
    review=of_inputs,
    first_batch=of_batch,
    last_batch=of_batch,
    num_draws=2,
    least_rows=3,
  )
  objective = keeping.statistics(inner)
  assert objective.num_draws == 2 and objective.least_rows == 3
  state = objective.init(PARAMS, STATS, *objective.sizes(NETWORK))
  assert state.inner == 5
  inputs = inputs_of(state)
  assert objective.loss("forward", inputs) == (10, "forward")
  assert objective.reference("forward", inputs)[0] == 15
  assert objective.track(state, 4) == state._replace(inner=9)
  assert objective.begin(state, 2, None, None) == state._replace(inner=7)
  assert objective.finish(state, None, None, 3) == state._replace(inner=8)
  assert objective.review(None, inputs) == state._replace(inner=6)
  for hook in (objective.first_batch, objective.last_batch):
    assert hook(None, inputs) == (state._replace(inner=15), {"moved": 5})
  after = objective.accumulate(forward_of(), inputs)
  assert after.inner == 6 and after.sums.begun


def test_hooks_that_are_not_there_stay_away():
  objective = keeping.statistics(supervised.cross_entropy())
  for name in ("reference", "track", "begin", "finish", "review"):
    assert getattr(objective, name) is None


def digests(forward=None, params=PARAMS, stats=STATS):
  objective = keeping.statistics(supervised.cross_entropy())
  return np.asarray(kept(objective, forward, params, stats).sums.source)


def test_rows_know_where_they_come_from():
  ours = digests()
  assert ours.dtype == np.uint32 and ours[0] and ours[1]
  np.testing.assert_array_equal(ours, digests())
  head = {**PARAMS, "head": jax.tree.map(lambda a: a + 1, PARAMS["head"])}
  np.testing.assert_array_equal(ours, digests(params=head))
  kernel = np.array(PARAMS["first"]["kernel"])
  kernel[0, 0] = np.nextafter(kernel[0, 0], 9)
  moved = {**PARAMS, "first": {**PARAMS["first"], "kernel": kernel}}
  assert (ours != digests(params=moved)).tolist() == [True, False, False]
  swapped = {**PARAMS["first"], "kernel": np.roll(PARAMS["first"]["kernel"], 1)}
  assert (ours != digests(params={**PARAMS, "first": swapped}))[0]
  for other in (forward_of(mean=0.25), forward_of(std=1.0)):
    assert (ours != digests(other)).tolist() == [False, True, False]


def test_rows_know_their_random_expansion():
  expansion = base.Expansion(5, "fourier", trunk=False)

  def of(seed, gamma):
    network = expand.expanded(NETWORK, expansion, seed, gamma)
    return digests(forward_of(network), *network.init(jax.random.key(0)))

  ours = of(1, 0.5)
  np.testing.assert_array_equal(ours, of(1, 0.5))
  for other in (of(2, 0.5), of(1, 0.25)):
    assert (ours != other).tolist() == [False, False, True]


def test_the_first_source_is_kept():
  rule = keeping.sums()
  state = rule.zeros(4, 2)
  for source in ([1, 2, 3], [4, 5, 6]):
    state = rule.add(
      state,
      np.ones((1, 2), np.float32),
      np.zeros(1, np.int32),
      np.ones(1, np.float32),
      lambda source=source: np.array(source, np.uint32),
    )
  assert state.source.tolist() == [1, 2, 3] and state.rows[0] == 2


@pytest.mark.parametrize(
  ("tree", "digest"),
  [
    ({"a": np.arange(3, dtype=np.float32)}, 1450671965),
    (
      {"a": {"b": np.array([True, False])}, "c": np.uint8([7, 200])},
      823946334,
    ),
    ({}, 0),
  ],
)
def test_digests_stay_what_they_are(tree, digest):
  """Devices compare theirs, whatever their versions."""
  assert int(keeping._digest(tree)) == digest


def test_all_units_up_to_the_tap_are_told():
  ours = digests()
  second = jax.tree.map(lambda leaf: leaf + 1, PARAMS["second"])
  moved = digests(params={**PARAMS, "second": second})
  assert (ours != moved).tolist() == [True, False, False]
  calls = {**STATS, "second": {"calls": np.float32(5)}}
  assert (ours != digests(stats=calls)).tolist() == [True, False, False]


def test_a_place_within_a_unit_has_the_units_source():
  objective = keeping.statistics(supervised.cross_entropy())
  assert objective.sizes(NETWORK) == ((), 4, tiny_network.WIDTH)
  state = objective.init(PARAMS, STATS, *objective.sizes(NETWORK))
  given = forward_of(), inputs_of(state)
  whole, place = (
    keeping._source(*given, tap) for tap in ("second", "second/map")
  )
  np.testing.assert_array_equal(whole, place)
  assert np.any(whole != keeping._source(*given, "first"))


def test_features_are_read_in_evaluation_mode():
  modes, plain = [], forward_of()

  class Noted:
    network, normalisation = NETWORK, plain.normalisation

    def __call__(self, *args, evaluate=False, **options):
      modes.append(evaluate)
      return plain(*args, evaluate=evaluate, **options)

  kept(keeping.statistics(supervised.cross_entropy()), Noted())
  assert modes == [True]


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(keeping.sums) == {"decay": 1.0}
