import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes, session
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.selection import fixed
from jcl.train import choosing
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import step as step_lib

NETWORK = tiny_network.build()
DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")


def make(method=None, network=NETWORK, training=optimizers.DEFAULTS, **options):
  return learner_lib.Learner(
    network,
    method or recipes.er(buffer=10, minibatch=4),
    training,
    step_lib.Preprocess(np.float32(0), np.float32(1)),
    np.zeros(4, np.float32),
    ledger_lib.Ledger(DEVICE),
    **options,
  )


def test_nothing_compiles_again_for_experiences_and_part_filled_chunks():
  # 30 and 30 examples in batches of 7: chunks of 4 steps and of 1.
  stream = tiny_network.stream(tasks=2, per_class=15)
  setting = session.assemble(
    stream,
    NETWORK,
    recipes.er(buffer=10, minibatch=4),
    base.Training(epochs=2, batch_size=7),
    options=session.Options(steps_per_dispatch=4),
  )
  counts = []
  learner = setting.learner
  from jcl import loop

  state, place = loop.start(setting)
  for event in loop.run(setting, state, place):
    if event.kind == "experience":
      counts.append(sorted(str(key[0]) for key in learner.compiler))
  assert counts[0] == counts[1]
  assert sum("step" in name for name in counts[1]) == 1
  assert len(counts[1]) == len(set(counts[1]))


def test_a_new_selection_compiles_once_and_is_charged():
  learner = make()
  _, selection = learner.init(jax.random.key(0))
  first = learner.step_program(selection)
  assert first is learner.step_program(selection)
  before = learner.ledger.totals()["compile"].seconds
  other = learner.step_program(tiny_network.HEAD)
  assert other.cost.flops < first.cost.flops
  assert learner.ledger.totals()["compile"].seconds > before


def test_a_program_made_ahead_is_the_one_that_is_used():
  learner = make()
  learner.prepare(tiny_network.HEAD)
  ready = learner.step_program(tiny_network.HEAD)
  assert ready is learner.step_program(tiny_network.HEAD)
  assert learner.compiler.ahead_seconds > 0
  state, selection = learner.init(jax.random.key(0))
  state = choosing.switch(learner, state, selection, tiny_network.HEAD)
  scope = learner.put(tiny_network.scope())
  batches, used = dispatch(learner, tiny_network.batch(learner.batch_size))
  batches = learner.put_batches(batches)
  state, info = ready.call(
    jax.random.key(1), state, batches, np.int32(used), scope
  )
  assert np.isfinite(info.loss[0]) and int(state.train.step) == 1


def test_switching_keeps_the_slots_of_what_stays():
  training = dataclasses.replace(
    optimizers.DEFAULTS, optimizer="adam", batch_size=6
  )
  method = recipes.finetune()._replace(selector=fixed.head_only())
  learner = make(method, training=training)
  state, everything = learner.init(jax.random.key(0))
  marked = jax.tree.map(lambda leaf: leaf + 3, state.train.opt_state)
  state = state._replace(train=state.train._replace(opt_state=marked))
  scope, key = learner.put(tiny_network.scope()), jax.random.key(1)
  state, chosen = choosing.choose(learner, key, state, (), scope, None, 1.0)
  assert chosen == tiny_network.HEAD
  state = choosing.switch(learner, state, everything, chosen)
  slots = tiny_network.leaves(state.train.opt_state)
  assert len(slots) < len(tiny_network.leaves(marked))
  assert all((leaf == 3).all() for leaf in slots)
  template = learner.template(chosen)
  assert jax.tree.structure(template) == jax.tree.structure(state)
  same = choosing.switch(learner, state, chosen, chosen)
  assert tiny_network.same_bits(same, state)


def dispatch(learner, *batches):
  """Batches as one dispatch [K, B, ...], and how many of the K there are."""
  batches = batches or (tiny_network.batch(),)
  missing = learner.steps_per_dispatch - len(batches)
  rows = (*batches, *(batches[:1] * missing))
  return jax.tree.map(lambda *leaves: np.stack(leaves), *rows), len(batches)


def test_restart_draws_parameters_and_keeps_the_rest():
  learner = make()
  state, selection = learner.init(jax.random.key(0))
  state = learner.add(jax.random.key(1), state, *dispatch(learner))
  state = state._replace(train=state.train._replace(step=jnp.int32(9)))
  fresh = learner.restart(jax.random.key(2), state, selection)
  assert int(fresh.train.step) == 9
  assert tiny_network.same_bits(fresh.replay, state.replay)
  assert not tiny_network.same_bits(fresh.train.params, state.train.params)


def test_adding_stores_what_the_objective_needs():
  learner = make(recipes.der(buffer=10, minibatch=2))
  state, _ = learner.init(jax.random.key(0))
  batch = tiny_network.batch(4)
  params, stats = tiny_network.leaves(state.train.params), state.train.stats
  expected = NETWORK.apply(state.train.params, stats, batch.x).logits
  expected = np.asarray(expected)
  after = learner.add(jax.random.key(1), state, *dispatch(learner, batch))
  items = after.replay.items
  np.testing.assert_allclose(
    items.extras["logits"][:4], expected, rtol=1e-5, atol=1e-6
  )
  assert np.asarray(items.weight).sum() == 4
  for before, now in zip(
    params, tiny_network.leaves(after.train.params), strict=True
  ):
    np.testing.assert_array_equal(before, now)


def test_shares_slots_and_features():
  learner = make()  # batches of 10 and 4 replayed
  assert learner.replay_share == pytest.approx(4 / 14)
  assert learner.memory_slots == 10
  plain = make(recipes.finetune())
  assert plain.replay_share == 0 and plain.memory_slots == 0
  state, _ = plain.init(jax.random.key(0))
  x = tiny_network.batch().x
  taps = NETWORK.apply(
    state.train.params, state.train.stats, x, taps=("second",)
  ).taps
  np.testing.assert_allclose(
    plain.outputs(state, x, "features"), taps["second"], rtol=1e-5, atol=1e-6
  )


def test_convolutions_are_dispatched_singly_on_a_processor():
  def convolving(params, stats, x, **options):
    y = jax.lax.conv(
      x.reshape(-1, 1, 2, 2), jnp.ones((1, 1, 1, 1)), (1, 1), "SAME"
    )
    return NETWORK.apply(params, stats, y.reshape(-1, 4), **options)

  network = dataclasses.replace(NETWORK, apply=convolving)
  on_cpu = jax.devices()[0].platform == "cpu"
  assert make(network=network).steps_per_dispatch == (1 if on_cpu else 32)
  assert make().steps_per_dispatch == 32
  assert make(network=network, steps_per_dispatch=3).steps_per_dispatch == 3


@pytest.mark.parametrize(
  "changes, options, message",
  [
    ({"batch_size": 0}, {}, "batch_size=0 must be at least 1"),
    ({}, {"accumulate": 3}, "accumulate=3 must divide batch_size=10"),
    ({}, {"accumulate": 0}, "accumulate=0"),
    ({}, {"accumulate": 5}, "must also divide the 4 replayed"),
    ({"learning_rate": -1.0}, {}, "learning_rate=-1.0"),
  ],
)
def test_mistakes_are_told(changes, options, message):
  training = dataclasses.replace(optimizers.DEFAULTS, **changes)
  with pytest.raises(ValueError, match=message):
    make(training=training, **options)


def test_a_recipe_that_needs_features_says_so():
  network = dataclasses.replace(NETWORK, features=None)
  with pytest.raises(ValueError, match="give `features`"):
    make(recipes.icarl(), network=network)
