"""Binds a method to a network, and compiles, runs and prices what it needs."""

from collections.abc import Callable, Hashable, Iterable
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.base import jaxprs
from jcl.cost import ledger as ledger_lib
from jcl.networks import variances
from jcl.options.errors import UsageError
from jcl.selection import mask
from jcl.train import (
  augment,
  background,
  executors,
  pieces,
  rewriting,
  slots,
  step_spec,
)
from jcl.train import evaluate as evaluation
from jcl.train import optimizer as optimizers
from jcl.train import step as step_lib
from jcl.train.kernels import effort, lowering

MAX_STEPS_PER_DISPATCH = 32
_TIERED_STEPS = 8
EXECUTORS = ("auto", "pieces", "whole")

Program = background.Program


class Learner:
  """Everything that learning runs on the device.

  States are values that pass through; what an instance keeps is its compiled
  programs. Every call is filed in the ledger, compilation under "compile".

  Args:
    spec: what the steps are made from.
    example: one raw input, to fix shapes and dtype.
    ledger: where work is filed.
    steps_per_dispatch: updates per call of the device; 0 chooses: up to 32,
      one where a CPU would have to convolve inside a loop.
    executor: "whole" compiles the step of each selection as one program,
      "pieces" composes it on the host of parts that serve every selection;
      "auto" takes pieces where tensors are chosen more than once and XLA
      convolves on a CPU, and whole steps elsewhere.
    devices: those to train on, data-parallel; default all.

  Raises:
    ValueError: where the parts cannot work together.
  """

  def __init__(
    self,
    spec: step_spec.StepSpec,
    example: np.ndarray,
    ledger: ledger_lib.Ledger,
    *,
    steps_per_dispatch: int = 0,
    executor: str = "auto",
    devices: Iterable[jax.Device] | None = None,
  ) -> None:
    devices = list(jax.devices() if devices is None else devices)
    self._rebuild = functools.partial(
      Learner,
      example=example,
      ledger=ledger,
      steps_per_dispatch=steps_per_dispatch,
      executor=executor,
      devices=devices,
    )
    if spec.training.variance == "unbiased":
      network = variances.unbiased(spec.network)
      spec = dataclasses.replace(spec, network=network)
    self.spec, self.ledger = spec, ledger
    network, method = spec.network, spec.method
    self.mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    self.stream_rows = executors.check_batch(spec)
    # Padded, so that devices and parts get equal numbers of rows.
    unit = math.lcm(len(devices), spec.accumulate)
    self.batch_size = -(-self.stream_rows // unit) * unit
    self.example = self._one_example(example)
    self.compiler = background.Compiler(ledger)
    self.tested: evaluation.TestSets | None = None  # test sets scored last
    # Statistics that a predictor was solved from last, and what came of it.
    self.solved: tuple[list[Any], Any] | None = None
    self._steps_per_dispatch = steps_per_dispatch
    if executor not in EXECUTORS:
      raise UsageError(
        f"executor={executor!r}: choose from {', '.join(EXECUTORS)}"
      )
    self._executor = executor
    method.objective.sizes(network)  # tells of places that do not exist
    if method.replay.rebuild is not None and network.features is None:
      raise UsageError(
        f"the recipe needs features, but network {network.name!r} names "
        "none: give `features`, the unit whose output feeds the head"
      )

  @property
  def network(self) -> base.Network:
    """The model."""
    return self.spec.network

  @property
  def method(self) -> base.Method:
    """The recipe."""
    return self.spec.method

  @property
  def training(self) -> base.Training:
    """Complete hyper-parameters."""
    return self.spec.training

  @property
  def preprocess(self) -> augment.Preprocess:
    """Augmentation and normalisation of raw inputs."""
    return self.spec.preprocess

  def timed(self, scope: base.Scope, first: Any, planned: int) -> base.Scope:
    """Returns a scope with the first update and the number of updates.

    Args:
      scope: of the experience.
      first: updates of the run before those of the experience.
      planned: number of the experience's updates, for schedules of the rate.
    """
    times = np.asarray(first, np.int32), np.asarray(max(planned, 1), np.int32)
    begun, number = self.put(times)
    return scope._replace(first=begun, planned=number)

  def rate(self, step: base.Array, scope: base.Scope) -> float:
    """Returns the learning rate of an update.

    An optimiser of one's own does not tell its rate: the default one is taken.
    """
    if optimizers.is_own(self.training):
      return float(optimizers.DEFAULTS.learning_rate)  # type: ignore[arg-type]
    now = optimizers.rate(self.training, self.method.restart, step, scope)
    return now if isinstance(now, float | int) else float(now)

  def rebuilt(
    self,
    network: base.Network | None = None,
    method: base.Method | None = None,
    training: base.Training | None = None,
  ) -> "Learner":
    """Returns a learner like this one with other parts."""
    return self._rebuild(self.spec.with_parts(network, method, training))

  @property
  def rows_per_step(self) -> int:
    """Examples of an update, those of the stream and replayed ones."""
    draws = self.method.objective.num_draws * self.method.replay.num_samples
    return self.stream_rows + draws

  @property
  def fed_rows(self) -> int:
    """Rows of a dispatched batch that a memory on the host adds."""
    return self.spec.fed_rows

  @property
  def replay_share(self) -> float:
    """Share of an update's examples that the memory supplies."""
    return 1 - self.stream_rows / self.rows_per_step

  @functools.cached_property
  def memory_slots(self) -> int:
    """Examples that the memory holds when full; 0 without one."""
    replay = jax.eval_shape(lambda: self.method.replay.init(self.example))
    return replay.items.y.shape[0] if replay else 0

  def init(self, key: base.Key) -> tuple[base.LearnerState, base.Selection]:
    """Returns the state before any learning, with every tensor selected.

    Nothing is selected where the method never trains anything.
    """
    which = mask.everything if self.updates else mask.nothing
    selection = which(self.network)
    return self.begun(key, selection), selection

  def begun(
    self, key: base.Key, selection: base.Selection
  ) -> base.LearnerState:
    """Returns a state before any learning, with some tensors selected."""
    name, init = ("begun", selection), self.network.init
    fresh = functools.partial(self._fresh, selection)
    if self.spec.sparsity is not None:
      # All in one program: XLA rounds weights that it draws apart otherwise.
      return self.run("train", name, lambda key: fresh(*init(key)), key)
    # The network's arrays take a program of their own, most of the work: JAX
    # keeps it for all selections, and for all learners of this network.
    arrays = self.run("train", "network", init, key, once=True)
    return self.run("train", name, fresh, *arrays, donate=(0, 1))

  @property
  def updates(self) -> bool:
    """Whether the method learns by updates of parameters."""
    candidates = self.method.selector.candidates
    return candidates is None or any(candidates(self.network).trainable)

  def template(self, selection: base.Selection) -> base.LearnerState:
    """Returns shapes and dtypes of a state under `selection`, no arrays."""
    arrays = jax.eval_shape(self.network.init, jax.random.key(0))
    return jax.eval_shape(functools.partial(self._fresh, selection), *arrays)

  def restart(
    self, key: base.Key, state: base.LearnerState, selection: base.Selection
  ) -> base.LearnerState:
    """Returns the state with new parameters and a fresh optimiser."""
    train = self.begun(key, selection).train
    return state._replace(train=train._replace(step=state.train.step))

  def _fresh(
    self, selection: base.Selection, params: base.Params, stats: base.Stats
  ) -> base.LearnerState:
    spec, method = self.spec, self.method
    if spec.sparsity is not None:
      params = spec.sparsity.start(params)
    trained, _ = mask.split(params, spec.network, selection)
    opt_state = spec.optimizer.init(trained)
    return base.LearnerState(
      base.TrainState(jnp.int32(0), params, stats, opt_state),
      method.replay.init(self.example),
      method.objective.init(
        params, stats, *method.objective.sizes(self.network)
      ),
      method.selector.init(params),
      slots.park(method.selector.slots, spec.network, spec.optimizer, params),
      rewriting.fresh(method, spec.network, params),
    )

  @functools.cached_property
  def steps_per_dispatch(self) -> int:
    """Updates that one call of the device makes at most."""
    if self._executor == "pieces":
      return 1
    if self._steps_per_dispatch:
      return self._steps_per_dispatch
    if self.platform == "cpu" and self.convolves:
      return 1
    # Exchanges between memory and storage happen between dispatches.
    tiered = self.method.hierarchy is not None
    return _TIERED_STEPS if tiered else MAX_STEPS_PER_DISPATCH

  @functools.cached_property
  def takes_pieces(self) -> bool:
    """Whether steps are composed on the host of separately compiled parts."""
    if self._executor != "auto":
      return self._executor == "pieces"
    worthwhile = self.method.selector.every and self.steps_per_dispatch == 1
    if not worthwhile or self.platform != "cpu" or not self.convolves:
      return False
    # Beside kernels of oneDNN, what pieces compute again takes longer than what
    # a whole step saves in compiling is worth.
    if not lowering.why_not():
      return False
    try:
      return bool(self._pieces)
    except ValueError:  # network or method must stay whole
      return False

  @property
  def platform(self) -> str:
    """Kind of device, as JAX names it."""
    return self.mesh.devices.flat[0].platform

  @functools.cached_property
  def convolves(self) -> bool:
    """Whether the network has a convolution."""
    x = jnp.zeros((1, *np.shape(self.example.x)), self.example.x.dtype)
    arrays = jax.eval_shape(self.network.init, jax.random.key(0))

    def logits(params, stats):
      normal = self.preprocess.normalise(x)
      return self.network.apply(params, stats, normal).logits

    return step_lib.has_convolution(jaxprs.trace(logits, *arrays))

  def step_program(
    self, selection: base.Selection, *, exact: bool = True
  ) -> Program:
    """Compiles, or returns from the cache, the train step of `selection`.

    Args:
      selection: which tensors train.
      exact: False lets pieces that train all tensors of a block serve.
    """
    return self._steps.compose(selection, exact)

  def prepare(self, selection: base.Selection) -> None:
    """Has a thread compile what `step_program` will return."""
    self._steps.prepare(selection, True)

  def prepare_all(self) -> None:
    """Has a thread compile the parts that any selection may need."""
    if self.takes_pieces:
      self._pieces.prepare_all()

  @functools.cached_property
  def _steps(self) -> executors.Executor:
    return self._pieces if self.takes_pieces else executors.whole_steps(self)

  @functools.cached_property
  def _pieces(self) -> pieces.Pieces:
    with self.ledger.timed("compile"):
      return executors.in_pieces(self)

  def put_batches(self, batches: base.Batch) -> base.Batch:
    """Moves [K, B, ...] host batches to the devices, split along B."""
    return jax.device_put(batches, self.batch_sharding)

  def put(self, tree: Any) -> Any:
    """Moves a host tree to every device."""
    return jax.device_put(tree, self.sharding())

  def sharding(self, *axes: str | None) -> Any:
    """How arrays lie on the devices; without axes, whole on each."""
    spec = jax.sharding.PartitionSpec(*axes)
    return jax.sharding.NamedSharding(self.mesh, spec)

  @property
  def batch_sharding(self) -> Any:
    """How batches [K, B, ...] lie on the devices."""
    return self.sharding(None, "data")

  def gradient(
    self,
    key: base.Key,
    params: base.Params,
    state: base.LearnerState,
    batch: base.Batch,
    scope: base.Scope,
  ) -> base.Params:
    """Returns the loss's gradient of every tensor; nothing else changes."""
    if self.takes_pieces and self.method.selector.candidates is None:
      return self._pieces.gradient(key, params, state, batch, scope)
    gradient = step_lib.build_gradient(self.spec)
    args = key, params, step_lib.readable(state), batch, scope
    return self.run("probe", "gradient", gradient, *args)

  def run(
    self,
    account: str,
    name: Hashable,
    fn: Callable[..., Any],
    *args: Any,
    donate: tuple[int, ...] = (),
    once: bool = False,
  ) -> Any:
    """Calls a pure function, compiled on first use under its name.

    One that is called `once` is compiled with less care for its speed.
    """
    program = self.compiled((name,), fn, args, donate, once)
    cost = program.cost
    with self.ledger.timed(account, cost.flops, cost.bytes_accessed):
      return jax.block_until_ready(program.call(*args))

  def compiled(
    self,
    name: Hashable,
    fn: Callable[..., Any],
    args: Any,
    donate: tuple[int, ...] = (),
    once: bool = False,
  ) -> Program:
    leaves, structure = jax.tree.flatten(args)
    shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
    cache_key = (name, structure, tuple(shapes))
    build = functools.partial(
      background.compile_program,
      fn,
      args,
      donate_argnums=donate,
      out_shardings=self.sharding(),
      compiler_options=effort.options(once=once),
    )
    return self.compiler.get(cache_key, build)

  def _one_example(self, x: np.ndarray) -> base.Batch:
    zero = np.zeros((), np.int32)
    return base.Batch(
      x=np.asarray(x),
      y=zero,
      task=zero,
      ids=zero,
      weight=np.zeros((), np.float32),
      extras=self.method.objective.stores(self.network),
    )
