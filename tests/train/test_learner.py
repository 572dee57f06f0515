import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes, session
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.selection import fixed, mask
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
      counts.append(sorted(str(key[0]) for key in learner._programs))
  assert counts[0] == counts[1]
  assert sum("'step'" in name for name in counts[1]) == 1
  assert len(counts[1]) == len(set(counts[1]))


def test_a_new_selection_compiles_once_and_is_charged():
  learner = make()
  key = jax.random.key(0)
  state, selection = learner.init(key)
  scope = learner.put(tiny_network.scope())
  first = learner.step_program(selection, key, state, scope)
  again = learner.step_program(selection, key, state, scope)
  assert first is again
  before = learner.ledger.totals()["compile"].seconds
  trained, _ = mask.split(state.train.params, NETWORK, tiny_network.HEAD)
  head = state._replace(
    train=state.train._replace(opt_state=learner._optimizer.init(trained))
  )
  other = learner.step_program(tiny_network.HEAD, key, head, scope)
  assert other.cost.flops < first.cost.flops
  assert learner.ledger.totals()["compile"].seconds > before


def test_selecting_keeps_the_slots_of_what_stays():
  training = dataclasses.replace(
    optimizers.DEFAULTS, optimizer="adam", batch_size=6
  )
  method = recipes.finetune()._replace(selector=fixed.head_only())
  learner = make(method, training=training)
  state, everything = learner.init(jax.random.key(0))
  marked = jax.tree.map(lambda leaf: leaf + 3, state.train.opt_state)
  state = state._replace(train=state.train._replace(opt_state=marked))
  decision = base.Decision(1)
  key, probe = jax.random.key(1), tiny_network.batch()
  state, chosen = learner.select(key, state, everything, decision, probe)
  assert chosen == tiny_network.HEAD
  slots = tiny_network.leaves(state.train.opt_state)
  assert len(slots) < len(tiny_network.leaves(marked))
  assert all((leaf == 3).all() for leaf in slots)
  template = learner.template(chosen)
  assert jax.tree.structure(template) == jax.tree.structure(state)
  same, again = learner.select(key, state, chosen, decision, probe)
  assert again == chosen and tiny_network.same_bits(same, state)


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
    plain.features(state, x), taps["second"], rtol=1e-5, atol=1e-6
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
