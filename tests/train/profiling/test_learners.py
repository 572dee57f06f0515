import math

from flax import linen as nn
import jax
import numpy as np
import optax
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.networks import catalogue, chain, layers
from jcl.networks.sparsity import dynamic
from jcl.run import loop, session
from jcl.train import gather
from jcl.train.profiling import learners

NETWORK = catalogue.build("mlp", (4,), 4, width=8, depth=2)


def prepared(training=None, **options):
  training = {"momentum": 0.9} if training is None else training
  job = session.assemble(
    tiny_network.stream(),
    NETWORK,
    recipes.er(buffer=8, minibatch=4),
    base.Training(batch_size=6, **training),
    options=session.Options(**options),
  )
  learner = job.learner
  source = gather.Experiences(job.stream, [0])
  rows = np.resize(
    np.arange(24, dtype=np.int32),
    (learner.steps_per_dispatch, learner.batch_size),
  )
  batches = learner.put_batches(source.batch(rows))
  return learner, batches, loop.scope_of(job, 0)


def test_counting_is_exact_and_repeats():
  learner, batches, scope = prepared()
  one, two = (
    learners.profile(learner, "analytic", batches, scope) for _ in range(2)
  )
  assert one == two and one.method == "analytic"
  assert len(one.forward) == len(NETWORK.tensors)
  assert learner.ledger.totals()["probe"].seconds > 0


@pytest.mark.parametrize(
  ("method", "executor"),
  [("timed", "whole"), ("calibrated", "whole"), ("calibrated", "pieces")],
)
def test_measured_once_and_kept(tmp_path, method, executor):
  learner, batches, scope = prepared(executor=executor, steps_per_dispatch=2)
  how = learners.Kept(tmp_path, "here"), learners.Effort(4, 2)
  one = learners.profile(learner, method, batches, scope, *how)
  two = learners.profile(learner, method, batches, scope, *how)
  assert one == two and one.method == method
  assert len(list(tmp_path.iterdir())) == 1
  # Noise may hide all that a full step takes longer than the least one.
  assert 0 < one.least_share <= 1 and one.compile_seconds > 0
  # Times are those of one update, however many a dispatch makes.
  assert one.full < 1.0
  spent = learner.ledger.totals()
  assert spent["probe"].seconds + spent["compile"].seconds > 0


@pytest.mark.parametrize("method", ["analytic", "timed"])
@pytest.mark.parametrize(
  "changes",
  [
    {"schedule": "cosine:warmup=0.1"},
    {"learning_rate": optax.linear_schedule(0.1, 0.0, 9), "optimizer": "adam"},
    {"optimizer": optax.chain(optax.clip(1.0), optax.adamw(1e-3))},
  ],
)
def test_rates_that_change_are_profiled_too(method, changes):
  learner, batches, scope = prepared(training=changes)
  effort = learners.Effort(rounds=1)
  found = learners.profile(learner, method, batches, scope, effort=effort)
  assert found.method == method
  assert len(found.update) == len(NETWORK.tensors) and found.full > 0


def test_slots_that_are_no_tensor_s_go_with_any_selection():
  rule = optax.chain(optax.clip(1.0), optax.adamw(1e-3))
  learner, batches, scope = prepared(training={"optimizer": rule})
  state, _ = learner.init(jax.random.key(0))
  run_step = learners.stepper(learner, state, batches, scope)
  run_step(tiny_network.HEAD)()


def test_the_learner_is_as_it_was():
  learner, batches, scope = prepared()
  before, _ = learner.init(jax.random.key(0))
  effort = learners.Effort(selections=3, rounds=1)
  learners.profile(learner, "calibrated", batches, scope, effort=effort)
  after, _ = learner.init(jax.random.key(0))
  assert tiny_network.same_bits(before, after)


def test_mistakes_are_told():
  learner, batches, scope = prepared()
  with pytest.raises(ValueError, match="profile='guess'"):
    learners.profile(learner, "guess", batches, scope)


def test_what_is_taken_unless_told_otherwise():
  assert (learners.NOWHERE, learners.EFFORT) == ((None, ""), (16, 20))
  assert signatures.defaults(learners.Effort) == {
    "selections": 16,
    "rounds": 20,
  }


class Filters(nn.Module):
  size: int

  @nn.compact
  def __call__(self, x, training):
    x = x.reshape(-1, 8, 8, 1) if x.ndim == 2 else x
    x = nn.relu(nn.Conv(4, (self.size, self.size))(x))
    return x.reshape(len(x), -1) if self.size == 3 else x


def test_records_tell_the_operations_that_zeros_would_save(stream, learn):
  units = [("stem", Filters(1)), ("conv", Filters(3))]
  units.append(("head", layers.Head(stream.num_classes)))
  network = chain.chain("conv", units, stream.example_shape, stream.num_classes)
  method = recipes.sparcl(sparsity=0.75, gradients=0.8, minibatch=4)
  result = learn(method, network=network)
  (kernel,) = dynamic.densities(result.state.train.opt_state)
  for record in result.records:
    dense, effective = record.effective_flops
    assert 0 < effective < dense
  saved = dense - effective
  again = learn(method._replace(sparsity=None), network=network)
  assert all(record.effective_flops == () for record in again.records)
  # Of its kernel's products, forward and backward, most meet a zero.
  (tensor,) = (t for t in network.tensors if "/".join(t.path) == kernel)
  rows = 10 + 2 * 4  # of the stream, and two batches of the memory
  product = 2 * rows * 8 * 8 * math.prod(tensor.shape)
  assert 0.6 * 0.75 * product < saved < 3 * product


def test_times_are_those_of_one_update(monkeypatch):
  learner, batches, scope = prepared(steps_per_dispatch=4)
  prior = learners.profile(learner, "analytic", batches, scope)
  seen = []

  def measured(network, prior, run_step, *, count, rounds):
    seen.append((count, rounds))
    return prior

  monkeypatch.setattr(learners.calibrated, "profile", measured)
  found = learners.profile(
    learner, "calibrated", batches, scope, effort=learners.Effort(5, 6)
  )
  assert seen == [(5, 6)]
  assert found.full == pytest.approx(prior.full / 4)


def test_timed_units_read_as_many_rows_as_a_step(monkeypatch):
  learner, batches, scope = prepared()

  def measured(network, params, stats, x, *, rounds, norms, optimizer):
    batch = learner.preprocess.normalise(batches.x[0])
    rows = np.resize(np.arange(6), learner.rows_per_step)
    np.testing.assert_array_equal(x, batch[rows])
    assert (len(x), rounds, norms) == (10, 3, learner.spec.norms)
    return "done"

  monkeypatch.setattr(learners.timed, "profile", measured)
  effort = learners.Effort(rounds=3)
  found = learners.profile(learner, "timed", batches, scope, effort=effort)
  assert found == "done"


def test_operations_of_a_step_are_counted_once():
  assert learners._dense_flops.cache_info().maxsize == 8
  rule = optax.sgd(0.1)
  found = learners._dense_flops(NETWORK, 6, "frozen", rule)
  assert found is learners._dense_flops(NETWORK, 6, "frozen", rule)
  assert found.about["unit"] == "flops" and found.about["batch"] == 6
  # A scaled gradient is added to each weight.
  assert found.update == tuple(
    2.0 * math.prod(t.shape) for t in NETWORK.tensors
  )
