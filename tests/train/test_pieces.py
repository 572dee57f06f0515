"""Steps in pieces do what whole steps do, for every recipe and selection."""

import dataclasses
import types

from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.cost import devices, program_cost
from jcl.cost import ledger as ledger_lib
from jcl.networks import chain, layers
from jcl.selection import mask
from jcl.train import augment as augmentation
from jcl.train import (
  background,
  calls,
  choosing,
  footprint,
  pieces,
  plan,
  step_spec,
)
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers

DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")
KEY = jax.random.key(5)
SIDE = 4


class Convolution(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    y = nn.Conv(2, (3, 3), use_bias=False, name="conv")(x)
    y = nn.relu(layers.norm(training, "norm")(y))
    return y + x if x.shape == y.shape else y


class Pool(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    x = nn.Dense(5, name="dense")(x.mean(axis=(1, 2)))
    return nn.Dropout(0.5, deterministic=not training)(nn.relu(x))


NETWORK = chain.chain(
  "small",
  [
    ("first", Convolution()),
    ("second", Convolution()),
    ("pool", Pool()),
    ("head", layers.Head(4)),
  ],
  (SIDE, SIDE, 2),
  4,
)
COUNT = len(NETWORK.tensors)


def learner(method, executor, **training):
  options = {"batch_size": 6, "momentum": 0.9, **training}
  complete = optimizers.complete(base.Training(**options))
  preprocess = augmentation.Preprocess(np.float32(0.1), np.float32(2))
  return learner_lib.Learner(
    step_spec.StepSpec(NETWORK, method, complete, preprocess),
    np.zeros(NETWORK.input_shape, np.float32),
    ledger_lib.Ledger(DEVICE),
    executor=executor,
    steps_per_dispatch=1,
    devices=jax.devices()[:1],
  )


def batch(seed):
  x = np.random.default_rng(seed).normal(size=(1, 6, *NETWORK.input_shape))
  drawn = jax.tree.map(lambda leaf: leaf[None], tiny_network.batch(6))
  return drawn._replace(x=x.astype(np.float32))


def advance(one, selections, steps=2, exact=True, task=1):
  """Trains `steps` updates under each selection; returns state and infos."""
  state, selection = one.init(jax.random.key(1))
  scope = one.put(tiny_network.scope(task=task))
  infos = []
  for following in selections:
    state = choosing.switch(one, state, selection, following)
    selection = following
    program = one.step_program(selection, exact=exact)
    for _ in range(steps):
      batches = one.put_batches(batch(len(infos)))
      state, info = program.call(KEY, state, batches, np.int32(1), scope)
      infos.append(jax.tree.map(np.asarray, info))
  return state, infos


def close(first, second):
  for one, other in zip(
    jax.tree.leaves(first), jax.tree.leaves(second), strict=True
  ):
    np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def some(*indices):
  return base.Selection(tuple(i in indices for i in range(COUNT)))


EVERYTHING = mask.everything(NETWORK)
SEQUENCE = (EVERYTHING, some(3, 5, 10))


@pytest.mark.parametrize(
  "text",
  [
    "er:buffer=8,minibatch=6,one_loss=False",
    "agem:buffer=8,minibatch=5",
    "lwf",
    "ewc:strength=3.0",
    "si:strength=2.0",
  ],
)
def test_pieces_do_what_whole_steps_do(text):
  method = recipes.build(text)
  whole = advance(learner(method, "whole"), SEQUENCE)
  pieces = advance(learner(method, "pieces"), SEQUENCE)
  close(whole, pieces)


@pytest.mark.parametrize(
  ("norms", "optimizer"), [("batch", "adam"), ("frozen", "sgd")]
)
def test_every_mode_and_optimiser(norms, optimizer):
  options = {"norms": norms, "optimizer": optimizer, "learning_rate": 0.01}
  method = recipes.finetune()
  whole = advance(learner(method, "whole", **options), SEQUENCE)
  one = learner(method, "pieces", **options)
  state, infos = advance(one, SEQUENCE)
  close(whole, (state, infos))
  _, stats = NETWORK.init(jax.random.key(1))
  assert tiny_network.same_bits(stats, state.train.stats) == (norms == "frozen")


ONE = learner(recipes.finetune(), "pieces")
OTHER = learner(recipes.finetune(), "whole")


@settings(max_examples=4)
@given(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT).filter(any))
def test_any_selection_with_parts_that_serve_and_with_exact_ones(chosen):
  selection = base.Selection(tuple(chosen))
  serving, _ = advance(ONE, (selection,), exact=False)
  exact, _ = advance(ONE, (selection,))
  whole, _ = advance(OTHER, (selection,))
  close(serving, whole)
  close(exact, whole)
  before, _ = ONE.init(jax.random.key(1))
  _, frozen = mask.split(before.train.params, NETWORK, selection)
  _, after = mask.split(exact.train.params, NETWORK, selection)
  assert tiny_network.same_bits(frozen, after)


def test_a_new_selection_of_whole_blocks_finds_most_parts_there():
  one = learner(recipes.finetune(), "pieces")
  one.step_program(EVERYTHING, exact=False)
  units = [tensor.unit for tensor in NETWORK.tensors]
  trained = base.Selection(tuple(unit != "first" for unit in units))
  one.step_program(trained, exact=False)
  before = set(one.compiler)
  other = base.Selection(tuple(unit in ("second", "head") for unit in units))
  one.step_program(other, exact=False)
  new = {key[1] for key in set(one.compiler) - before if key[0] == "piece"}
  # The blocks between the two pass the gradient on for the first time.
  assert new <= {"forward", "backward"}
  again = set(one.compiler)
  one.step_program(trained, exact=False)
  assert set(one.compiler) == again


def test_blocks_that_compute_the_same_share_their_programs():
  one = learner(recipes.finetune(), "pieces")
  one.step_program(some(COUNT - 1))
  plain = [key for key in one.compiler if key[1] == "plain"]
  assert len(plain) == 2  # first and second as one, pool


def test_what_is_compiled_ahead_is_what_is_asked_for():
  one = learner(recipes.finetune(), "pieces")
  one.prepare(some(3, 5))
  program = one.step_program(some(3, 5))
  asked = set(one.compiler)
  one.prepare(some(3, 5))
  assert set(one.compiler) == asked
  assert program.cost.flops > 0


def test_parts_of_all_selections_of_whole_blocks_are_made_ahead():
  noted = []
  # A unit without tensors is passed through, and trains with none.
  network = dataclasses.replace(NETWORK, units=("flat", *NETWORK.units))
  pieces.Pieces.prepare_all(
    types.SimpleNamespace(
      _network=network,
      prepare=lambda chosen, exact: noted.append((chosen.trainable, exact)),
    )
  )
  units = [tensor.unit for tensor in NETWORK.tensors]
  wanted = [NETWORK.units]
  for deepest in range(4):
    wanted += [NETWORK.units[deepest:], NETWORK.units[deepest : deepest + 1]]
  assert noted == [
    (tuple(unit in trained for unit in units), False) for trained in wanted
  ]


def test_a_shallow_selection_costs_less_and_keeps_less():
  deep = ONE.step_program(EVERYTHING).cost
  shallow = ONE.step_program(some(COUNT - 1)).cost
  assert shallow.flops < 0.6 * deep.flops
  assert shallow.temp_bytes < 0.7 * deep.temp_bytes
  whole = OTHER.step_program(EVERYTHING).cost
  assert deep.flops == pytest.approx(whole.flops, rel=0.1)


@pytest.mark.parametrize("text", ["finetune", "derpp:buffer=8,minibatch=6"])
def test_the_probe_has_the_same_gradient_and_leaves_no_trace(text):
  method = recipes.build(text)
  whole = OTHER if text == "finetune" else learner(method, "whole")
  state, _ = advance(whole, (EVERYTHING,))
  before = jax.tree.map(np.array, state)
  params = jax.tree.map(lambda leaf: 1.1 * leaf, state.train.params)
  found = []
  for one in (whole, ONE if text == "finetune" else learner(method, "pieces")):
    scope = one.put(tiny_network.scope(task=1))
    shown = jax.tree.map(lambda leaf: leaf[0], one.put_batches(batch(9)))
    found.append(one.gradient(KEY, params, state, shown, scope))
    assert tiny_network.same_bits(before, state)
  close(*found)


def test_losses_that_need_the_network_whole_say_so():
  def output(forward, inputs, **options):
    x = inputs.batch.x
    return forward(inputs.params, inputs.stats, x, inputs.key, **options)

  def deep(forward, inputs):
    out = output(forward, inputs, taps=("pool",))
    value = jnp.sum(out.taps["pool"])
    return value, base.Aux(out.stats, out.logits, {}, {})

  def twice(forward, inputs):
    out = output(forward, inputs)
    shifted = inputs.batch.x + out.logits.sum()
    out = forward(inputs.params, inputs.stats, shifted, inputs.key)
    return out.logits.sum(), base.Aux(out.stats, out.logits, {}, {})

  def asks(**options):
    def loss(forward, inputs):
      out = output(forward, inputs, **options)
      return out.logits.sum(), base.Aux(out.stats, out.logits, {}, {})

    return loss

  def computed(forward, inputs):
    stats = jax.tree.map(lambda leaf: leaf + 1, inputs.stats)
    out = output(forward, inputs._replace(stats=stats))
    return out.logits.sum(), base.Aux(out.stats, out.logits, {}, {})

  def alone(forward, inputs):
    x = inputs.batch.x
    return jnp.sum(x), base.Aux(inputs.stats, x, {}, {})

  def units(forward, inputs):
    return jnp.float32(len(forward.trained)), base.Aux(inputs.stats, 0, {}, {})

  for loss, message in (
    (deep, "outputs of pool"),
    (twice, "depends on"),
    (asks(evaluate=True), "for evaluation mode"),
    (asks(start="pool"), "for a part from pool"),
    (computed, "computes statistics"),
    (units, "which units train"),
    (alone, "does not call the network"),
  ):
    method = recipes.finetune()
    method = method._replace(objective=base.Objective(loss))
    with pytest.raises(calls.NotApartError, match=message):
      learner(method, "pieces").step_program(EVERYTHING)


def test_networks_that_are_no_chain_say_so():
  spec = step_spec.StepSpec(
    tiny_network.build(),
    recipes.finetune(),
    optimizers.DEFAULTS,
    augmentation.Preprocess(np.float32(0), np.float32(1)),
  )
  one = learner_lib.Learner(
    spec,
    np.zeros(4, np.float32),
    ledger_lib.Ledger(DEVICE),
    executor="pieces",
    devices=jax.devices()[:1],
  )
  with pytest.raises(ValueError, match="not a plain chain"):
    one.step_program(tiny_network.EVERYTHING)


def test_what_is_computed_from_what():
  x, y = jnp.ones(3), jnp.ones(3)
  assert calls.depends(lambda a, b: a + b, x, y)
  assert calls.depends(lambda a, b: (b, jnp.sin(b) * a), x, y)
  assert not calls.depends(lambda a, b: b * 2, x, y)
  assert not calls.depends(lambda a, b: 1.0, x, y)
  assert not calls.depends(lambda a, b: b, {"one": x, "two": x}, y)
  assert calls.depends(lambda a, b: a["two"], {"one": x, "two": x}, y)
  pair = {"one": x, "two": y}
  assert calls._same(pair, dict(pair))
  assert not calls._same(pair, {"one": x, "two": jnp.copy(y)})
  assert not calls._same(pair, {"one": x})


def test_what_every_block_does():
  network, method = tiny_network.build(), recipes.finetune()
  plain = augmentation.Preprocess(np.float32(0), np.float32(1))
  second = base.Selection((False, False, True, False, False, False))
  batch = step_spec.StepSpec(network, method, optimizers.DEFAULTS, plain)
  assert plan.uses(batch, second, True) == (
    plan.Use(False, False),
    plan.Use(True, True, (1,), ("second/kernel",), False),
    plan.Use(False, True, (), (), True),
  )
  # Parts for all tensors of a block serve; of one the gradient is dropped.
  assert plan.uses(batch, second, False) == (
    plan.Use(False, False),
    plan.Use(True, True, (0, 1), (None, "second/kernel"), False),
    plan.Use(False, True, (), (), True),
  )
  both = base.Selection((True, False, False, False, False, True))
  held = dataclasses.replace(optimizers.DEFAULTS, norms="frozen")
  frozen = dataclasses.replace(batch, training=held)
  assert plan.uses(frozen, both, True) == (
    plan.Use(False, True, (1,), ("first/kernel",), False),
    plan.Use(False, True, (), (), True),
    plan.Use(True, True, (0,), ("head/bias",), True),
  )


def test_bytes_and_operations_of_a_composition():
  def program(flops, moved, out, alias, temp, shape):
    cost = program_cost.ProgramCost(
      flops=flops,
      bytes_accessed=moved,
      argument_bytes=0.0,
      output_bytes=out,
      alias_bytes=alias,
      temp_bytes=temp,
    )
    return background.Program(None, cost, out=shape)

  meter = footprint.Meter()
  given = meter.tokens(jax.ShapeDtypeStruct((2, 3), jnp.float32))
  assert meter.live == 24
  made = jax.ShapeDtypeStruct((5,), jnp.int16)
  first = meter.run(program(5.0, 7.0, 40.0, 8.0, 100.0, made), given)
  assert meter.live == 34  # at most 24 + 132
  second = meter.run(program(2.0, 3.0, 10.0, 0.0, 130.0, made), first)
  del first
  assert meter.live == 34  # at most 34 + 140
  third = meter.run(program(1.0, 1.0, 10.0, 0.0, 0.0, made), second)
  assert meter.live == 44
  assert meter.cost() == program_cost.ProgramCost(
    flops=8.0,
    bytes_accessed=11.0,
    argument_bytes=24.0,
    output_bytes=24.0,
    alias_bytes=24.0,
    temp_bytes=174.0 - 24.0,
  )
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))
  assert footprint._bytes(keys) == 24
  del given, second, third
  assert meter.live == 0


@pytest.mark.parametrize(
  ("changes", "takes"),
  [
    ({}, True),
    ({"every": 0}, False),
    ({"steps": 2}, False),
    ({"convolves": False}, False),
    ({"told": ""}, False),
    ({"platform": "gpu"}, False),
    ({"fails": True}, False),
  ],
)
def test_where_pieces_are_worth_it(changes, takes, monkeypatch):
  given = {"every": 1, "steps": 1, "convolves": True, "told": "no kernels"}
  given |= {"platform": "cpu", "fails": False} | changes
  method = recipes.finetune()
  method = method._replace(
    selector=method.selector._replace(every=given["every"])
  )

  def in_pieces(learner):
    if given["fails"]:
      raise ValueError("no chain")
    return True

  monkeypatch.setattr(learner_lib.lowering, "why_not", lambda: given["told"])
  monkeypatch.setattr(learner_lib.executors, "in_pieces", in_pieces)
  monkeypatch.setattr(
    learner_lib.Learner, "platform", property(lambda self: given["platform"])
  )
  one = learner(method, "auto")
  one.__dict__["convolves"] = given["convolves"]
  one.__dict__["steps_per_dispatch"] = given["steps"]
  assert one.takes_pieces is takes
  assert learner(method, "pieces").takes_pieces
  assert not learner(method, "whole").takes_pieces
