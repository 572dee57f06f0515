"""Parts of a step's memory, counted by hand where they can be."""

import dataclasses
import math
import types

import jax
import numpy as np
import signatures
import tiny_network

from jcl import base, recipes
from jcl.cost import devices, program_cost, step_memory
from jcl.cost import ledger as ledger_lib
from jcl.networks import catalogue
from jcl.selection import fixed, mask
from jcl.train import augment as augmentation
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import step_spec

DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")
EVERYTHING, HEAD = tiny_network.EVERYTHING, tiny_network.HEAD
# Of the tiny network: parameters of 4 -> 8 -> 8 -> 4, two counts of calls.
PARAMS, TOP, COUNTS = 4 * (40 + 72 + 36), 4 * 36, 4 * 2
ROW = 16 + 4 * 4  # bytes: four numbers, class, task, id and weight


def make(method, network, dtype=np.float32, **options):
  training = base.Training(batch_size=6, learning_rate=0.1, momentum=0.0)
  given = options.pop("training", base.Training())
  spec = step_spec.StepSpec(
    network,
    method,
    optimizers.complete(given.over(training)),
    augmentation.Preprocess(np.float32(0), np.float32(1)),
    options.pop("accumulate", 1),
  )
  return learner_lib.Learner(
    spec,
    np.zeros(network.input_shape, dtype),
    ledger_lib.Ledger(DEVICE),
    devices=jax.devices()[:1],
    **options,
  )


def total(memory):
  parts = dataclasses.asdict(memory)
  return sum(parts.values()) - parts["peak"]


def test_parts_counted_by_hand():
  learner = make(
    recipes.er(buffer=10, minibatch=4),
    tiny_network.build(),
    training=base.Training(optimizer="adam"),
    steps_per_dispatch=4,
  )
  assert not step_memory.is_compiled(learner, HEAD)
  found = step_memory.split(learner, HEAD)
  assert step_memory.is_compiled(learner, HEAD)
  assert not step_memory.is_compiled(learner, EVERYTHING)
  assert found.weights == PARAMS + COUNTS
  assert found.gradients == TOP
  assert found.slots == 2 * TOP + 2 * 4  # moments, and each tensor's steps
  assert found.batch == 4 * 6 * ROW
  # Beside the examples it counts those offered.
  assert 10 * ROW < found.replay <= 10 * ROW + 64
  assert found.objective == found.trunk == 0
  assert found.peak == learner.step_program(HEAD).cost.peak_bytes
  assert found.kept == found.peak - total(found) + found.kept > 0


def test_what_an_objective_and_a_selector_hold_is_counted():
  learner = make(recipes.ewc(), tiny_network.build())
  state = learner.template(EVERYTHING)
  found = step_memory.split(learner, EVERYTHING)
  assert (
    found.objective == program_cost.num_bytes(state.objective) >= 2 * PARAMS
  )
  assert found.gradients == PARAMS
  assert found.slots == found.replay == 0
  selector = fixed.head_only()._replace(slots="keep")
  learner = make(
    recipes.finetune()._replace(selector=selector),
    tiny_network.build(),
    training=base.Training(momentum=0.9),
  )
  # Momentum of the head, blank places for all, and when each one left.
  assert step_memory.split(learner, HEAD).slots == TOP + PARAMS + 2 * 6 * 4


def test_pieces_tell_their_own_peak():
  network = catalogue.build("mlp", (4,), 4, width=8, depth=2)
  learner = make(recipes.er(buffer=10, minibatch=4), network, executor="pieces")
  everything = mask.everything(network)
  found = step_memory.split(learner, everything)
  assert step_memory.is_compiled(learner, everything)
  assert not step_memory.is_compiled(learner, everything, exact=False)
  assert found.batch == 6 * ROW
  assert found.weights == found.gradients == PARAMS
  assert found.peak == learner.step_program(everything).cost.peak_bytes
  assert found.peak <= total(found)


def test_a_trunk_beside_the_step_is_counted():
  class Trunk:
    weight_bytes, peak_bytes = 1000, 5000

  learner = make(recipes.er(buffer=10, minibatch=4), tiny_network.build())
  alone = step_memory.split(learner, HEAD)
  beside = step_memory.split(learner, HEAD, trunk=Trunk())
  held = alone.weights + alone.slots + alone.replay
  assert beside.trunk == 1000
  assert beside.peak == max(alone.peak + 1000, 5000 + held)
  Trunk.peak_bytes = 10**6
  larger = step_memory.split(learner, HEAD, trunk=Trunk())
  assert larger.peak == 10**6 + held == total(larger)


def test_a_backend_that_tells_nothing_has_no_split(monkeypatch):
  learner = make(recipes.finetune(), tiny_network.build())
  cost = dataclasses.replace(
    learner.step_program(HEAD).cost, temp_bytes=math.nan
  )
  monkeypatch.setattr(
    learner,
    "step_program",
    lambda selection, exact: learner_lib.Program(None, cost),
  )
  assert step_memory.split(learner, HEAD) is None


class Given:
  """A learner of four rows and two replayed ones, on two devices."""

  network = tiny_network.build()
  mesh = types.SimpleNamespace(size=2)
  batch_size, fed_rows, steps_per_dispatch = 4, 2, 3

  def __init__(self, peak, fed_rows=2):
    self.fed_rows, self.peak = fed_rows, peak
    row = jax.tree.map(lambda leaf: leaf[0], tiny_network.batch(1))
    self.example = row._replace(extras={"logits": np.zeros(4, np.float32)})

  def step_program(self, selection, exact=True):
    cost = program_cost.ProgramCost(0.0, 0.0, self.peak, 0.0, 0.0, 0.0)
    return types.SimpleNamespace(cost=cost)

  def template(self, selection):
    params, stats = self.network.init(jax.random.key(0))
    train = base.TrainState(np.int32(0), params, stats, ())
    return base.LearnerState(train, (), (), ())


def test_rows_from_the_host_have_their_extras():
  known = PARAMS + COUNTS + TOP
  found = step_memory.split(Given(10_000.0), HEAD)
  assert found.batch == 3 * (4 + 2) // 2 * (ROW + 16)
  assert found.kept == 10_000 - known - found.batch
  assert found.peak == 10_000 and found.trunk == 0
  without = step_memory.split(Given(10_000.0, fed_rows=0), HEAD)
  assert without.batch == 3 * 4 // 2 * ROW
  assert step_memory.split(Given(100.0), HEAD).kept == 0


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(step_memory.split) == {"exact": True}
  assert signatures.defaults(step_memory.is_compiled) == {"exact": True}
