import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.cost import program_cost
from jcl.objectives import projection, supervised
from jcl.replay import reservoir
from jcl.selection import mask
from jcl.train import augment as augmentation
from jcl.train import slots, step_spec
from jcl.train import step as step_lib

NETWORK = tiny_network.build()
FINETUNE = recipes.finetune()
PLAIN = augmentation.Preprocess(np.float32(0), np.float32(1))
SCOPE = tiny_network.scope()
KEY = jax.random.key(7)
# Machine code that is slower and takes less time to make.
QUICK = {"xla_backend_optimization_level": 0}
MASKS = st.lists(st.booleans(), min_size=6, max_size=6).filter(any)


def start(
  optimizer,
  selection=tiny_network.EVERYTHING,
  method=FINETUNE,
  network=NETWORK,
):
  params, stats = network.init(jax.random.key(1))
  trained, _ = mask.split(params, network, selection)
  example = jax.tree.map(lambda leaf: leaf[0], tiny_network.batch())
  return base.LearnerState(
    base.TrainState(
      jnp.int32(0), params, stats, slots.together(optimizer).init(trained)
    ),
    method.replay.init(example),
    method.objective.init(params, stats),
    (),
  )


def specify(optimizer=None, method=FINETUNE, **more):
  """What steps with an optax transformation are made from."""
  given = {"network": NETWORK, "preprocess": PLAIN, **more}
  norms = given.pop("norms", None)
  training = base.Training(optimizer=optimizer or optax.sgd(0.1), norms=norms)
  return step_spec.StepSpec(method=method, training=training, **given)


def build(
  optimizer, selection=tiny_network.EVERYTHING, method=FINETUNE, **more
):
  step = step_lib.build_step(specify(optimizer, method, **more), selection)
  return jax.jit(step, compiler_options=QUICK)


def close(first, second, rtol=1e-6, atol=1e-7):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), first, second
  )


def full_gradient(params, batch, scope=SCOPE):
  """By hand: every parameter's gradient of the mean cross-entropy."""

  def loss(params):
    _, stats = NETWORK.init(jax.random.key(1))
    logits = NETWORK.apply(params, stats, batch.x).logits
    logits = jnp.where(scope.head, logits, -1e9)
    chosen = jax.nn.log_softmax(logits)[np.arange(len(batch.y)), batch.y]
    return -(chosen * batch.weight).sum() / batch.weight.sum()

  return jax.grad(loss)(params)


@settings(max_examples=12)
@given(MASKS)
def test_selected_gradients_are_those_of_full_training(chosen):
  selection = base.Selection(tuple(chosen))
  spy = supervised.cross_entropy()._replace(
    track=lambda state, traced: traced.grads
  )
  optimizer = optax.sgd(0.1)
  state = start(optimizer, selection)
  batch = tiny_network.batch()
  spec = specify(optimizer, FINETUNE._replace(objective=spy))
  step = step_lib.build_step(spec, selection)
  after, _ = step(KEY, state, batch, SCOPE)
  expected, _ = mask.split(
    full_gradient(state.train.params, batch), NETWORK, selection
  )
  assert jax.tree.structure(after.objective) == jax.tree.structure(expected)
  close(after.objective, expected)


@pytest.mark.parametrize("chosen", [(0, 1, 0, 0, 1, 1), (0, 0, 0, 0, 1, 0)])
def test_frozen_tensors_and_statistics_keep_their_bits(chosen):
  selection = base.Selection(tuple(map(bool, chosen)))
  optimizer = optax.adamw(0.1, weight_decay=0.1)
  state = start(optimizer, selection)
  step = build(optimizer, selection)
  reached = state
  for seed in range(3):
    batch = tiny_network.batch(seed=seed)
    reached, _ = step(KEY, reached, batch, SCOPE)
  trained, frozen = mask.split(reached.train.params, NETWORK, selection)
  before, untouched = mask.split(state.train.params, NETWORK, selection)
  assert tiny_network.same_bits(frozen, untouched)
  for old, new in zip(
    tiny_network.leaves(before), tiny_network.leaves(trained), strict=True
  ):
    assert (old != new).any()
  # Only units with a selected tensor are in training mode.
  calls = [int(reached.train.stats[u]["calls"]) for u in ("first", "second")]
  assert calls == [3 if chosen[1] else 0, 0]
  assert int(reached.train.step) == 3


@pytest.mark.parametrize(
  "optimizer", [optax.sgd(0.1, momentum=0.9), optax.adam(0.01)]
)
def test_three_steps_equal_the_masked_optimizer(optimizer):
  selection = base.Selection((False, True, True, False, False, True))
  state = start(optimizer, selection)
  step = build(optimizer, selection)
  params = state.train.params
  chosen = mask.as_mask(params, NETWORK, selection)
  others = jax.tree.map(lambda yes: not yes, chosen)
  masked = optax.chain(
    optax.masked(optimizer, chosen),
    optax.masked(optax.set_to_zero(), others),
  )
  slots = masked.init(params)
  for seed in range(3):
    batch = tiny_network.batch(seed=seed)
    state, _ = step(KEY, state, batch, SCOPE)
    updates, slots = masked.update(full_gradient(params, batch), slots, params)
    params = optax.apply_updates(params, updates)
  close(state.train.params, params)


def test_head_alone_costs_fewer_operations_and_less_memory():
  costs = []
  for selection in (tiny_network.EVERYTHING, tiny_network.HEAD):
    optimizer = optax.adam(0.1)
    state = start(optimizer, selection)
    step = build(optimizer, selection)
    batch = tiny_network.batch(256)
    compiled = step.lower(KEY, state, batch, SCOPE).compile()
    costs.append(program_cost.of_compiled(compiled))
  everything, head = costs
  assert head.flops < 0.75 * everything.flops
  assert head.temp_bytes < everything.temp_bytes
  assert head.argument_bytes < everything.argument_bytes  # optimiser slots


@pytest.mark.parametrize("weight", [(1,) * 8, (1, 1, 1, 1, 1, 0, 0, 0)])
def test_accumulated_parts_equal_the_whole_batch(weight):
  optimizer = optax.sgd(0.1, momentum=0.9)
  batch = tiny_network.batch(8, weight=weight)
  results = [
    build(optimizer, accumulate=parts)(KEY, start(optimizer), batch, SCOPE)
    for parts in (1, 2, 4)
  ]
  (whole, info), *cut = results
  for state, cut_info in cut:
    close(state.train.params, whole.train.params)
    close(cut_info, info)


def test_accumulated_replay_is_one_mean_over_all_examples():
  method = recipes.er(buffer=8, minibatch=4)
  optimizer = optax.sgd(0.1)
  state = start(optimizer, method=method)
  state = state._replace(
    replay=method.replay.add(
      jax.random.key(0), state.replay, tiny_network.batch(8, seed=5)
    )
  )
  batch = tiny_network.batch(6, weight=(1, 1, 1, 1, 0, 0))
  (whole, _), (cut, _) = (
    build(optimizer, method=method, accumulate=parts)(KEY, state, batch, SCOPE)
    for parts in (1, 2)
  )
  close(cut.train.params, whole.train.params)


def stacked(num_batches):
  parts = [tiny_network.batch(seed=seed) for seed in range(num_batches)]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


@pytest.mark.parametrize("num_steps", [4, 2])
def test_a_program_takes_as_many_steps_as_it_is_told(num_steps):
  method = recipes.er(buffer=10, minibatch=3)
  optimizer = optax.sgd(0.1, momentum=0.9)
  step = step_lib.build_step(
    specify(optimizer, method), tiny_network.EVERYTHING
  )
  batches = stacked(4)
  state = start(optimizer, method=method)
  program = jax.jit(step_lib.build_program(step, 4))
  together, infos = program(KEY, state, batches, np.int32(num_steps), SCOPE)
  losses = []
  for i in range(num_steps):
    one = jax.tree.map(lambda leaf, i=i: leaf[i], batches)
    state, info = jax.jit(step)(KEY, state, one, SCOPE)
    losses.append(float(info.loss))
  close(together.train, state.train)
  assert tiny_network.same_bits(together.replay, state.replay)
  np.testing.assert_allclose(infos.loss[:num_steps], losses, 1e-6)
  assert not np.any(infos.examples[num_steps:])
  assert int(together.train.step) == num_steps


def test_a_program_of_one_step_is_the_step():
  optimizer = optax.sgd(0.1)
  step = step_lib.build_step(specify(optimizer), tiny_network.EVERYTHING)
  state, batches = start(optimizer), stacked(1)
  program = jax.jit(step_lib.build_program(step, 1))
  one, infos = program(KEY, state, batches, np.int32(1), SCOPE)
  other, info = jax.jit(step)(KEY, state, tiny_network.batch(), SCOPE)
  assert tiny_network.same_bits(one, other)
  assert infos.loss.shape == (1,) and infos.loss[0] == info.loss


@pytest.mark.parametrize(
  "method",
  [FINETUNE, recipes.er(), recipes.er(one_loss=False), recipes.agem()],
  ids=["finetune", "er", "er with two losses", "agem"],
)
def test_padded_rows_change_nothing(method):
  optimizer = optax.sgd(0.1)
  batch = tiny_network.batch()
  rows = jax.tree.map(
    lambda leaf: np.concatenate([leaf, leaf[:2]]), batch
  )._replace(
    ids=np.array([*range(6), -1, -1], np.int32),
    weight=np.array([1.0] * 6 + [0.0] * 2, np.float32),
  )
  rows.x[6:] = 50.0
  step = build(optimizer, method=method)
  state = start(optimizer, method=method)
  plain, info = step(KEY, state, batch, SCOPE)
  padded, padded_info = step(KEY, state, rows, SCOPE)
  close(padded.train.params, plain.train.params)
  difficulty = padded_info.difficulty[: len(batch.y)]
  close(padded_info._replace(difficulty=difficulty), info)
  if state.replay:
    assert int(padded.replay.seen) == int(plain.replay.seen)
    kept = np.asarray(padded.replay.items.weight) > 0
    assert -1 not in np.asarray(padded.replay.items.ids)[kept]


def test_bytes_are_normalised_inside_the_step():
  raw = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)
  batch = tiny_network.batch()
  optimizer = optax.sgd(0.1)
  state = start(optimizer)
  mean = np.array([100, 110, 120, 130], np.float32)
  preprocess = augmentation.Preprocess(mean, np.float32(50))
  bytes_, _ = build(optimizer, preprocess=preprocess)(
    KEY, state, batch._replace(x=raw), SCOPE
  )
  x = ((raw - mean) / 50).astype(np.float32)
  floats, _ = build(optimizer)(KEY, state, batch._replace(x=x), SCOPE)
  close(bytes_.train.params, floats.train.params)


def test_memory_keeps_raw_inputs_and_shows_augmented_ones():
  method = recipes.er(buffer=6, minibatch=2)
  preprocess = dataclasses.replace(PLAIN, augment=lambda key, x: x + 1)
  optimizer = optax.sgd(0.1)
  batch = tiny_network.batch()
  state = start(optimizer, method=method)
  step = build(optimizer, method=method, preprocess=preprocess)
  after, _ = step(KEY, state, batch, SCOPE)
  np.testing.assert_array_equal(after.replay.items.x, batch.x)
  moved, _ = build(optimizer, method=method)(
    KEY, state, batch._replace(x=batch.x + 1), SCOPE
  )
  close(after.train.params, moved.train.params)


def test_a_key_decides_and_the_step_count_changes_it():
  network = tiny_network.build(noise=0.5)
  optimizer = optax.sgd(0.1)
  state = start(optimizer, network=network)
  step, batch = build(optimizer, network=network), tiny_network.batch()
  first, again, other = (
    step(jax.random.key(seed), state, batch, SCOPE)[0] for seed in (7, 7, 8)
  )
  assert tiny_network.same_bits(first, again)
  assert not tiny_network.same_bits(first.train.params, other.train.params)
  later = state._replace(train=state.train._replace(step=jnp.int32(1)))
  moved, _ = step(KEY, later, batch, SCOPE)
  assert not tiny_network.same_bits(first.train.params, moved.train.params)


def test_reference_gradient_corrects_through_project():
  method = FINETUNE._replace(
    objective=projection.agem(), replay=reservoir.reservoir(6, 6)
  )
  method = method._replace(replay=method.replay._replace(when="never"))
  optimizer = optax.sgd(1.0)
  state = start(optimizer, method=method)
  batch = tiny_network.batch()
  opposed = batch._replace(y=(batch.y + 1) % 4)  # wants the contrary
  state = state._replace(
    replay=method.replay.add(jax.random.key(0), state.replay, opposed)
  )
  after, _ = build(optimizer, method=method)(KEY, state, batch, SCOPE)
  flat = lambda tree: np.concatenate(  # noqa: E731
    [leaf.ravel() for leaf in tiny_network.leaves(tree)]
  )
  params = state.train.params
  g, r = (
    flat(full_gradient(params, batch)),
    flat(full_gradient(params, opposed)),
  )
  assert g @ r < 0
  expected = g - (g @ r) / (r @ r) * r
  taken = flat(params) - flat(after.train.params)
  np.testing.assert_allclose(taken, expected, rtol=1e-4, atol=1e-6)
  assert abs(taken @ r) < 1e-5


def test_right_answers_are_counted_before_the_update_and_without_pads():
  params, stats = NETWORK.init(jax.random.key(1))
  batch = tiny_network.batch(weight=(1, 1, 1, 1, 0, 0))
  logits = np.asarray(NETWORK.apply(params, stats, batch.x).logits)
  head = np.array([True, True, True, False])
  scope = SCOPE._replace(head=head)
  right = np.where(head, logits, -np.inf).argmax(1) == batch.y
  optimizer = optax.sgd(5.0)
  _, info = build(optimizer)(KEY, start(optimizer), batch, scope)
  assert float(info.correct) == right[:4].sum()
  assert float(info.examples) == 4


def test_hardness_rises_from_right_and_sure_to_wrong_and_sure():
  batch = tiny_network.batch(5)._replace(y=np.array([0, 2, 0, 2, 1], np.int32))
  head = np.array([True, True, True, False])
  sure, unsure = [9e4, 0, 0, 9e5], [1.0, 0.0, 1.0, 9.0]
  logits = jnp.array([sure, unsure, [0, 0, 0, 7], sure, unsure], jnp.float32)
  info = step_lib.summarise(
    jnp.float32(0.5), logits, batch, SCOPE._replace(head=head)
  )
  p = np.exp([1.0, 0.0, 1.0]) / np.exp([1.0, 0.0, 1.0]).sum()
  half = -0.5 * (p * np.log(p)).sum() / np.log(3)
  # The first of equals is the answer: 0, so the second row is wrong.
  expected = [0, 1 - half, 0.5, 1, 1 - half]
  np.testing.assert_allclose(info.difficulty, expected, rtol=1e-6)
  assert float(info.correct) == 2 and float(info.loss) == 0.5


def test_hardness_of_one_and_of_two_classes():
  batch = tiny_network.batch(1)._replace(y=np.zeros(1, np.int32))
  logits = jnp.array([[2.0, 1.0, 0.0, 0.0]])
  found = []
  for head in ([1, 0, 0, 0], [1, 1, 0, 0]):
    scope = SCOPE._replace(head=np.array(head, bool))
    info = step_lib.summarise(jnp.float32(0), logits, batch, scope)
    found.append(float(info.difficulty[0]))
  p = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
  half = -0.5 * (p * np.log2(p)).sum()
  assert found == [0, pytest.approx(half, rel=1e-6)]


def test_parts_of_a_batch_that_weighs_nothing_leave_all_as_it_is():
  optimizer = optax.sgd(0.1)
  state = start(optimizer)
  batch = tiny_network.batch(4, weight=(0, 0, 0, 0))
  after, info = build(optimizer, accumulate=2)(KEY, state, batch, SCOPE)
  assert tiny_network.same_bits(after.train.params, state.train.params)
  assert float(info.loss) == 0


def test_parts_have_their_own_keys_and_hand_statistics_on():
  drawn = []

  def loss(forward, inputs):
    batch, key = inputs.batch, inputs.key
    out = forward(inputs.params, inputs.stats, batch.x, key)
    drawn.append(jax.random.key_data(key).tolist())
    return jnp.mean(out.logits), base.Aux(
      out.stats, out.logits, {"rows": batch.x}, {"part": jnp.sum(batch.ids)}
    )

  method = FINETUNE._replace(objective=base.Objective(loss))
  optimizer = optax.sgd(0.1)
  spec = specify(optimizer, method, accumulate=3)
  step = step_lib.build_step(spec, tiny_network.EVERYTHING)
  after, _ = step(KEY, start(optimizer), tiny_network.batch(6), SCOPE)
  assert len({tuple(key) for key in drawn}) == 3
  assert int(after.train.stats["first"]["calls"]) == 3


def test_parts_count_by_their_examples():
  def loss(trained, inputs):
    total = jnp.sum(inputs.batch.weight)
    aux = base.Aux(
      inputs.stats + 1,
      inputs.batch.x,
      {"rows": inputs.batch.ids},
      {"total": total},
    )
    return trained * total, aux

  batch = tiny_network.batch(4, weight=(1, 1, 1, 0))
  memory = tiny_network.batch(2, weight=(1, 1))
  inputs = base.LossInputs((), 0, batch, (memory,), SCOPE, (), KEY)
  found, aux, gradient = step_lib._mean_gradient(
    loss, jnp.float32(2), inputs, 2
  )
  # The first part has two examples and a replayed one, the second one of each.
  assert float(gradient) == pytest.approx(3 / 5 * 2 + 2 / 5 * 1)
  assert float(found) == pytest.approx(2 * float(gradient))
  assert aux.stats == 2 and float(aux.info["total"]) == 1.5
  np.testing.assert_array_equal(aux.logits, batch.x)
  assert aux.extras["rows"].tolist() == [0, 1, 2, 3]


def test_rows_that_a_host_adds_are_the_draws():
  fed = recipes.er(buffer=8, minibatch=2)
  plain = fed._replace(
    objective=fed.objective._replace(num_draws=2),
    replay=fed.replay._replace(on_host=True),
  )
  preprocess = dataclasses.replace(PLAIN, augment=lambda key, x: x + 1)
  batch = tiny_network.batch(7)._replace(extras={"logits": np.ones((7, 4))})
  spec = specify(method=plain, preprocess=preprocess)
  shown = spec.draw(KEY, (), batch, SCOPE)
  assert shown.stream.ids.tolist() == [0, 1, 2]
  assert shown.stream.extras == {}
  assert [part.ids.tolist() for part in shown.memory] == [[3, 4], [5, 6]]
  assert [len(part.y) for part in shown.batches] == [3, 2, 2]
  for part, seen in zip(
    (shown.stream, *shown.memory), shown.batches, strict=True
  ):
    np.testing.assert_array_equal(part.x + 1, seen.x)
    np.testing.assert_array_equal(part.y, seen.y)


def test_draws_and_augmentations_have_their_own_keys():
  method = recipes.er(buffer=8, minibatch=3)
  method = method._replace(objective=method.objective._replace(num_draws=2))
  keys = []

  def noted(key, x):
    keys.append(jax.random.key_data(key).tolist())
    return x

  example = jax.tree.map(lambda leaf: leaf[0], tiny_network.batch())
  kept = method.replay.add(
    jax.random.key(0), method.replay.init(example), tiny_network.batch(8)
  )
  preprocess = dataclasses.replace(PLAIN, augment=noted)
  spec = specify(method=method, preprocess=preprocess)
  shown = spec.draw(KEY, kept, tiny_network.batch(), SCOPE)
  first, second = (part.ids.tolist() for part in shown.memory)
  assert first != second
  assert len({tuple(key) for key in keys}) == 3
  others = {
    tuple(jax.random.key_data(key).tolist())
    for key in (shown.loss_key, shown.keep_key)
  }
  assert len(others) == 2


@pytest.mark.parametrize(
  ("norms", "expected"),
  [
    ("batch", ("second", "head")),
    ("frozen", ("head",)),  # the only one without statistics
    ("moving", ("first", "second", "head")),
  ],
)
def test_units_in_training_mode(norms, expected):
  selection = base.Selection((False, False, True, False, False, True))
  assert step_spec.modes(NETWORK, selection, norms) == expected
  spec = specify(norms=norms)
  forward = spec.forward(selection)
  assert forward.training == spec.modes(selection) == expected
  assert forward.trained == ("second", "head")


def test_the_gradient_of_every_tensor_is_that_of_what_may_be_chosen():
  method = FINETUNE
  params, stats = NETWORK.init(jax.random.key(1))
  state, batch = start(optax.sgd(0.1)), tiny_network.batch()
  gradient = step_lib.build_gradient(specify(method=method))
  close(
    gradient(KEY, params, state, batch, SCOPE), full_gradient(params, batch)
  )
  only = method._replace(
    selector=method.selector._replace(candidates=lambda _: tiny_network.HEAD)
  )
  found = step_lib.build_gradient(specify(method=only))(
    KEY, params, state, batch, SCOPE
  )
  expected = full_gradient(params, batch)
  close(found["head"], expected["head"])
  assert not any(leaf.any() for leaf in tiny_network.leaves(found["first"]))


def test_what_a_loss_reads_is_alike_for_all_selections():
  state = start(optax.adam(0.1))._replace(selector=(1,), parked=(2,))
  read = step_lib.readable(state)
  assert read.train.opt_state == read.selector == read.parked == ()
  assert read.train.params is state.train.params
  assert read.replay is state.replay


def test_a_hook_is_shown_the_first_batch_and_keeps_what_the_hook_returns():
  def hook(forward, inputs):
    noted = inputs.batch.ids, len(inputs.memory)
    return noted, {"seen": forward.network.name}

  hook_program = step_lib.build_batch_hook(
    specify(), hook, tiny_network.EVERYTHING
  )
  batches = stacked(2)._replace(ids=np.array([[5] * 6, [9] * 6]))
  state = start(optax.sgd(0.1))
  after = hook_program(KEY, state, batches, SCOPE)
  assert after.objective[0].tolist() == [5] * 6 and after.objective[1] == 0
  assert after.train.stats == {"seen": "tiny"}
  assert after.train.params is state.train.params


def test_convolutions_are_found_inside_calls():
  kernel = jnp.ones((3, 3, 1, 1))

  def convolve(x):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def looped(x):
    return jax.lax.fori_loop(0, 2, lambda i, y: jax.jit(convolve)(y), x)

  x = jnp.ones((1, 4, 4, 1))
  for function, expected in (
    (convolve, True),
    (jax.checkpoint(convolve), True),
    (looped, True),
    (jnp.tanh, False),
  ):
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    assert step_lib.has_convolution(jaxpr) is expected


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(step_spec.StepSpec)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(step_spec.StepSpec) == {"accumulate": 1}
