import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.run import session
from jcl.selection import fixed, mask
from jcl.train import augment as augmentation
from jcl.train import choosing, chunks, executors, hooks, scoring, step_spec
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers

NETWORK = tiny_network.build()
DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")


def make(method=None, network=NETWORK, training=optimizers.DEFAULTS, **options):
  spec = step_spec.StepSpec(
    network,
    method or recipes.er(buffer=10, minibatch=4),
    training,
    augmentation.Preprocess(np.float32(0), np.float32(1)),
    options.pop("accumulate", 1),
    options.pop("sparsity", None),
  )
  return learner_lib.Learner(
    spec, np.zeros(4, np.float32), ledger_lib.Ledger(DEVICE), **options
  )


def test_nothing_compiles_again_for_experiences_and_part_filled_chunks():
  # 30 and 30 examples in batches of 7: chunks of 4 steps and of 1.
  stream = tiny_network.stream(tasks=2, per_class=15)
  job = session.assemble(
    stream,
    NETWORK,
    recipes.er(buffer=10, minibatch=4),
    base.Training(epochs=2, batch_size=7),
    options=session.Options(steps_per_dispatch=4),
  )
  counts = []
  learner = job.learner
  from jcl.run import loop

  state, place = loop.start(job)
  for event in loop.run(job, state, place):
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
  chunk = dispatch(learner, tiny_network.batch(learner.batch_size))
  chunk = chunk._replace(batches=learner.put_batches(chunk.batches))
  state, info = chunks.run(ready, jax.random.key(1), state, chunk, scope)
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
  allowance = choosing.Allowance(None, 1.0)
  state, chosen = choosing.choose(learner, key, state, (), scope, allowance)
  assert chosen == tiny_network.HEAD
  state = choosing.switch(learner, state, everything, chosen)
  slots = tiny_network.leaves(state.train.opt_state)
  assert len(slots) < len(tiny_network.leaves(marked))
  assert all((leaf == 3).all() for leaf in slots)
  template = learner.template(chosen)
  assert jax.tree.structure(template) == jax.tree.structure(state)
  same = choosing.switch(learner, state, chosen, chosen)
  assert tiny_network.same_bits(same, state)


def test_an_experience_has_an_update_at_least():
  """Schedules of the rate divide by the number."""
  learner = make()
  for planned, expected in ((0, 1), (1, 1), (2, 2)):
    scope = learner.timed(base.Scope(*[None] * 4), 7, planned)
    assert (int(scope.first), int(scope.planned)) == (7, expected)


def dispatch(learner, *batches):
  """Batches as the chunk of one dispatch [K, B, ...]."""
  batches = batches or (tiny_network.batch(),)
  missing = learner.steps_per_dispatch - len(batches)
  rows = (*batches, *(batches[:1] * missing))
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
  return chunks.Chunk(stacked, stacked.ids, len(batches))


def test_restart_draws_parameters_and_keeps_the_rest():
  learner = make()
  state, selection = learner.init(jax.random.key(0))
  state = hooks.add(learner, jax.random.key(1), state, dispatch(learner))
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
  after = hooks.add(learner, jax.random.key(1), state, dispatch(learner, batch))
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
    scoring.outputs(plain, state, x, "features"),
    taps["second"],
    rtol=1e-5,
    atol=1e-6,
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


def test_bounds_of_a_batch():
  def check(method=None, accumulate=1, **changes):
    training = dataclasses.replace(optimizers.DEFAULTS, **changes)
    method = method or recipes.finetune()
    plain = augmentation.Preprocess(np.float32(0), np.float32(1))
    spec = step_spec.StepSpec(NETWORK, method, training, plain, accumulate)
    return executors.check_batch(spec)

  assert check(batch_size=1) == 1
  assert check(batch_size=6, accumulate=6) == 6
  with pytest.raises(ValueError, match="batch_size=None must be at least 1"):
    check(batch_size=None)
  rows = recipes.finetune()
  needy = rows._replace(
    objective=rows.objective._replace(least_rows=5, least_replayed=0)
  )
  assert check(needy, batch_size=5) == 5
  with pytest.raises(ValueError, match="takes 5 examples .* batch_size=4"):
    check(needy, batch_size=4)
  replay = recipes.er(buffer=10, minibatch=4)
  needy = replay._replace(objective=replay.objective._replace(least_replayed=5))
  with pytest.raises(ValueError, match="5 replayed .* minibatch=4"):
    check(needy)
  # Without draws the memory's size of a draw is of no matter.
  replay = replay._replace(objective=rows.objective)
  assert check(replay, accumulate=5) == 10


def test_pieces_refuse_what_they_cannot_do():
  learner = make(recipes.finetune(), executor="pieces", accumulate=2)
  with pytest.raises(ValueError, match="on one device and in one part"):
    learner.step_program(tiny_network.EVERYTHING)
  with pytest.raises(ValueError, match="executor='fast': choose from auto"):
    make(executor="fast")


def test_rows_of_an_update_and_those_that_a_host_adds():
  learner = make(recipes.er(buffer=10, minibatch=4), accumulate=2)
  assert (learner.stream_rows, learner.batch_size) == (10, 10)
  assert (learner.rows_per_step, learner.fed_rows) == (14, 0)
  method = recipes.build("derpp:minibatch=4+carm:em=20,sb=30")
  fed = make(method)
  assert (fed.rows_per_step, fed.fed_rows) == (18, 8)
  assert fed.steps_per_dispatch == 8  # exchanges come between dispatches
  batch = tiny_network.batch(10)
  stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch)
  whole = chunks.with_draws(fed, stacked)
  assert whole.x.shape == (2, 18, 4) and whole.ids.shape == (2, 18)
  np.testing.assert_array_equal(whole.x[:, :10], stacked.x)
  assert not whole.x[:, 10:].any() and not whole.weight[:, 10:].any()
  assert whole.extras["logits"].shape == (2, 18, 4)
  assert not whole.extras["logits"].any()
  assert chunks.with_draws(learner, stacked) is stacked
  odd = make(
    recipes.finetune(),
    training=dataclasses.replace(optimizers.DEFAULTS, batch_size=9),
    accumulate=3,
  )
  assert (odd.batch_size, odd.replay_share) == (9, 0)


def test_rates_that_are_known_and_those_that_are_not():
  scope = base.Scope(*[None] * 4)

  def rate(**changes):
    learner = make(training=dataclasses.replace(optimizers.DEFAULTS, **changes))
    found = learner.rate(np.int32(4), scope)
    assert isinstance(found, float)
    return found

  assert rate(learning_rate=0.25) == 0.25
  assert rate(learning_rate=lambda step: jnp.float32(step) / 8) == 0.5
  own = rate(optimizer=optax.sgd(0.75), learning_rate=None)
  assert own == optimizers.DEFAULTS.learning_rate


def test_a_method_that_never_updates_selects_nothing():
  method = recipes.finetune()
  selector = method.selector._replace(candidates=mask.nothing)
  learner = make(method._replace(selector=selector))
  assert not learner.updates
  state, selection = learner.init(jax.random.key(0))
  assert selection == mask.nothing(NETWORK) and state.train.opt_state == {}
  head = method.selector._replace(candidates=lambda _: tiny_network.HEAD)
  assert make(method._replace(selector=head)).updates


def test_a_learner_for_another_network_or_method():
  method = recipes.finetune()
  learner = make(method, steps_per_dispatch=3)
  other = tiny_network.build(num_classes=5)
  er = recipes.er(buffer=10, minibatch=4)
  for made, network, rules in (
    (learner.rebuilt(), NETWORK, method),
    (learner.rebuilt(other), other, method),
    (learner.rebuilt(method=er), NETWORK, er),
  ):
    assert made.network is network and made.method is rules
    assert made.ledger is learner.ledger and made.steps_per_dispatch == 3


def test_running_variances_are_unbiased_where_asked(monkeypatch):
  other = tiny_network.build()
  monkeypatch.setattr(learner_lib.variances, "unbiased", lambda network: other)
  for variance, network in (("unbiased", other), ("biased", NETWORK)):
    training = dataclasses.replace(optimizers.DEFAULTS, variance=variance)
    assert make(training=training).network is network


@pytest.mark.parametrize("takes", [False, True])
def test_parts_are_made_ahead_where_steps_are_made_of_parts(takes):
  asked = []
  learner = make()
  learner.__dict__["takes_pieces"] = takes
  learner.__dict__["_pieces"] = types.SimpleNamespace(
    prepare_all=lambda: asked.append(0), gradient=lambda *given: given
  )
  learner.prepare_all()
  assert len(asked) == takes
  if takes:
    assert learner.gradient(1, 2, 3, 4, 5) == (1, 2, 3, 4, 5)


def test_weights_and_switches_that_nothing_changes():
  learner = make(recipes.finetune())
  state, everything = learner.init(jax.random.key(0))
  assert choosing.switch(learner, state, everything, everything) is state


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(learner_lib.Learner) == {
    "steps_per_dispatch": 0,
    "executor": "auto",
  }
  assert signatures.defaults(learner_lib.Learner.step_program) == {
    "exact": True
  }
