"""The student: a network that serves and is retrained.

Its retraining is that of Kim et al., "DaCapo: Accelerating Continuous Learning
in Autonomous Systems for Video Analytics", ISCA 2024,
https://arxiv.org/abs/2403.14353: stochastic gradient descent with a learning
rate of 1e-3, momentum 0.9, weight decay 1e-4, batches of 16, and a new state of
the optimiser for each retraining. Instead, any method can be given whose memory
and objective need no whole experiences, to train a part of the tensors or to
replay old samples.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.cost import devices as descriptions
from jcl.cost import gemms
from jcl.cost import ledger as ledger_lib
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.run import finite
from jcl.selection import mask
from jcl.serving.teacher import Predictor
from jcl.streams import batching
from jcl.train import augment as augmentation
from jcl.train import choosing, chunks, hooks, slots, step_spec
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train.profiling import learners

TRAINING = base.Training(
  learning_rate=1e-3,
  batch_size=16,
  optimizer="sgd",
  momentum=0.9,
  weight_decay=1e-4,
  head="all",
)
PRETRAINING = base.Training(
  learning_rate=2e-3, batch_size=64, optimizer="adam", head="all"
)
Weights = base.LearnerState

_PROBING = 3  # purpose of random draws


class Student:
  """A network that serves and is retrained.

  Weights are values, passed in and returned. They are a `base.LearnerState`:
  serving reads `train.params` and `train.stats`; memories and other state stay
  with them. An instance only keeps compiled programs, so it can serve any
  number of runs.

  Args:
    network: the model; see `teacher.precise`.
    method: how it is retrained; None: every tensor, on the samples alone.
    mean: of raw inputs, see `teacher.standardisation`.
    std: of raw inputs.
    training: hyper-parameters that the method leaves open.
    augment: augmentation of samples, see `train.augment.CHOICES`.
    rows: the most images predicted at once.
    carry: keeps the optimiser's state from one retraining to the next.
    devices: to train on; None: the first device.

  Raises:
    ValueError: for a method that needs more than samples in order.
  """

  def __init__(
    self,
    network: base.Network,
    method: base.Method | None = None,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    training: base.Training = TRAINING,
    augment: str = "none",
    rows: int = 128,
    carry: bool = False,
    devices: Iterable[jax.Device] | None = None,
  ) -> None:
    method = method or bounds.finetune()
    _check(method)
    preprocess = augmentation.Preprocess(
      mean, std, augmentation.build(augment, network.input_shape)
    )
    self.network, self.method = network, method
    complete = optimizers.complete(method.training.over(training))
    self._learner = learner_lib.Learner(
      step_spec.StepSpec(network, method, complete, preprocess),
      np.zeros(network.input_shape, np.uint8),
      ledger_lib.Ledger(descriptions.detect()),
      devices=list(devices or jax.devices()[:1]),
    )
    self._predictor = Predictor(network, preprocess, rows)
    self._carry = carry
    every = np.ones(network.num_classes, bool)
    scope = base.Scope(np.zeros((), np.int32), every, every, every)
    self._scope = self._learner.put(scope)

  @property
  def batch_size(self) -> int:
    """New samples in an update."""
    return self._learner.stream_rows

  @functools.cached_property
  def training_share(self) -> float:
    """Cost of an update over one that trains all tensors, without replay.

    The cost is counted in multiplications, those of replayed samples included.
    A method whose selection changes during a run counts as training all.
    """
    learner, selector = self._learner, self.method.selector
    share = learner.rows_per_step / learner.stream_rows
    if selector.num_probes or selector.profile:
      return share
    params, _ = jax.eval_shape(self.network.init, jax.random.key(0))
    state, key = selector.init(params), jax.random.key(0)
    for _ in range(2):  # a first selection may train more than later ones
      state = selector.update(key, state, None)
    selection = selector.choose(state, self.network, None, 1.0)
    return share * gemms.training_share(self.network, selection)

  def begin(self, params: base.Params, stats: base.Stats) -> Weights:
    """Returns the first weights of a run, with empty memories."""
    method = self.method
    objective = method.objective
    state = base.LearnerState(
      base.TrainState(jnp.int32(0), params, stats, {}),
      method.replay.init(self._learner.example),
      objective.init(params, stats, *objective.sizes(self.network)),
      method.selector.init(params),
    )
    return self._learner.put(jax.tree.map(jnp.array, state))

  def predict(self, weights: Weights, images: np.ndarray) -> np.ndarray:
    """Returns logits [n, C] float32 for raw images [n, ...]."""
    return self._predictor(weights.train.params, weights.train.stats, images)

  def accuracy(
    self, weights: Weights, images: np.ndarray, labels: np.ndarray
  ) -> float:
    """Returns the share of images [n, ...] predicted as labelled [n]."""
    right = np.argmax(self.predict(weights, images), axis=1) == labels
    return float(np.mean(right))

  def retrain(
    self,
    weights: Weights,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int = 1,
    seed: int = 0,
  ) -> Weights:
    """Returns the weights after some epochs; see `passes`."""
    for passed in self.passes(weights, images, labels, epochs, seed):
      weights = passed
    return weights

  def passes(
    self,
    weights: Weights,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int = 1,
    seed: int = 0,
  ) -> Iterator[Weights]:
    """Yields the weights after every epoch of one retraining.

    The tensors that train are selected once, before the first epoch. The given
    weights are not changed; the yielded ones are copies.

    Args:
      weights: the weights before retraining.
      images: [n, ...] raw.
      labels: [n] classes.
      epochs: passes over the images.
      seed: of order, augmentation and draws.

    Raises:
      NonFiniteLossError: for a loss that is not finite.
    """
    learner = self._learner
    classes = tuple(map(str, range(self.network.num_classes)))
    labels = np.asarray(labels, np.int32)
    source = _Samples(
      learner, base.Dataset("samples", np.asarray(images), labels, classes)
    )
    updates = epochs * batching.num_batches(len(labels), learner.stream_rows)
    scope = learner.timed(self._scope, weights.train.step, updates)
    state, selection = self._started(weights, source, seed, scope)
    objective = self.method.objective
    state = hooks.begin(learner, state, self._scope)
    program = learner.step_program(selection)
    key = jax.random.key(seed)
    for epoch in range(epochs):
      order = batching.epoch_order(len(labels), seed, 0, epoch)
      losses = []
      for chunk in chunks.of_order(learner, source, order):
        state, info = chunks.run(program, key, state, chunk, scope)
        # Waits, so that frames are served between two dispatches.
        losses.append(jax.block_until_ready(info.loss))
      if not np.isfinite(np.concatenate([np.zeros(1), *losses])).all():
        raise finite.NonFiniteLossError(
          f"the loss of a retraining became infinite or no number in epoch "
          f"{epoch}: give the student another model or a lower learning rate, "
          f"or look for extreme values in the {len(labels)} images it was shown"
        )
      passed = jax.tree.map(jnp.copy, state)
      if epoch == epochs - 1 and objective.finish is not None:
        passed = hooks.finish(learner, passed, self._scope)
      if not self._carry:
        passed = passed._replace(
          train=passed.train._replace(opt_state={}), parked=()
        )
      yield passed

  def _started(
    self, weights: Weights, source: "_Samples", seed: int, scope: base.Scope
  ) -> tuple[base.LearnerState, base.Selection]:
    """Returns the first state of a retraining, and the tensors that train."""
    learner, method = self._learner, self.method
    state = jax.tree.map(jnp.copy, weights)
    old = self._selected(state.train.opt_state)
    if not state.train.opt_state:
      blank = choosing.blank(learner, state.train.params)
      parked = slots.park(
        method.selector.slots,
        self.network,
        learner.spec.optimizer,
        state.train.params,
      )
      state = state._replace(
        train=state.train._replace(opt_state=blank), parked=learner.put(parked)
      )
    generator = np.random.default_rng((seed, _PROBING))
    probes = []
    for _ in range(method.selector.num_probes):
      drawn = generator.permutation(len(source))[: learner.stream_rows]
      rows = chunks.rows_of(drawn.astype(np.int32), learner)
      batches = learner.put_batches(source.batch(rows))
      probes.append(jax.tree.map(lambda leaf: leaf[0], batches))
    times = self._profile if method.selector.profile else None
    state, chosen = choosing.choose(
      learner,
      jax.random.key(seed),
      state,
      tuple(probes),
      scope,
      choosing.Allowance(times, 1.0),
    )
    return choosing.switch(learner, state, old, chosen), chosen

  def _selected(self, opt_state: Any) -> base.Selection:
    """Returns the tensors with optimiser slots; all, if there are no slots."""
    if not opt_state:
      return mask.everything(self.network)
    named = map(slots.name, self.network.tensors)
    return base.Selection(tuple(name in opt_state for name in named))

  @functools.cached_property
  def _profile(self) -> Any:
    learner = self._learner
    size = learner.batch_size
    x = np.zeros((size, *self.network.input_shape), np.uint8)
    data = base.Dataset("", x, np.zeros(size, np.int32), ("",))
    rows = np.broadcast_to(np.arange(size), (learner.steps_per_dispatch, size))
    return learners.profile(
      learner,
      self.method.selector.profile,
      learner.put_batches(_Samples(learner, data).batch(rows)),
      self._scope,
    )


class _Samples:
  """The training set of a retraining: labelled images."""

  def __init__(self, learner: learner_lib.Learner, data: base.Dataset) -> None:
    self._learner, self._data = learner, data

  def __len__(self) -> int:
    return len(self._data)

  def batch(self, rows: np.ndarray) -> base.Batch:
    return chunks.with_draws(
      self._learner, batching.gather(self._data, 0, rows)
    )


def pretrain(
  network: base.Network,
  images: np.ndarray,
  labels: np.ndarray,
  *,
  mean: np.ndarray,
  std: np.ndarray,
  epochs: int,
  seed: int,
  training: base.Training = PRETRAINING,
) -> tuple[base.Params, base.Stats]:
  """Pre-trains a network from its first weights.

  The last quarter of the epochs has a tenth of the learning rate.

  Args:
    network: the model.
    images: [n, ...] raw.
    labels: [n] classes.
    mean: of raw inputs.
    std: of raw inputs.
    epochs: passes over the images.
    seed: of first weights and order.
    training: hyper-parameters.

  Returns:
    Parameters and running statistics, on the host.
  """
  if callable(training.learning_rate):
    raise UsageError("give a number for learning_rate: it falls at the end")
  learned = network.init(jax.random.key(seed))
  late = epochs // 4
  for part, share in ((epochs - late, 1.0), (late, 0.1)):
    rate = (training.learning_rate or 0.0) * share
    student = Student(
      network,
      mean=mean,
      std=std,
      training=dataclasses.replace(training, learning_rate=rate),
    )
    weights = student.begin(*learned)
    weights = student.retrain(weights, images, labels, part, seed)
    learned = weights.train.params, weights.train.stats
  return jax.tree.map(np.asarray, learned)


def _check(method: base.Method) -> None:
  """Raises for methods that need whole experiences, or the host's loop."""
  objective, replay = method.objective, method.replay
  wrong = {
    "a memory hierarchy": method.hierarchy is not None,
    "pruning": method.pruning is not None or method.prune is not None,
    "weights held at zero": method.sparsity is not None,
    "examples that leave": method.removal is not None,
    "columns": method.columns,
    "rounds on the memory": method.interlude is not None,
    "weights rewritten between updates": method.rewrite is not None,
    "draws by a rule of its own": method.draw is not None,
    "new parameters per experience": method.restart,
    "a training set of its own": method.trains_on != "current",
    "a memory that is filled between experiences": (
      replay.rebuild is not None or replay.when not in ("step", "never")
    ),
    "a predictor that reads the memory": method.predictor.reads_memory,
    "second looks at an experience": any(
      each is not None
      for each in (
        objective.accumulate,
        objective.review,
        objective.first_batch,
        objective.last_batch,
      )
    ),
    f"profile={method.selector.profile} by the clock, which no run repeats": (
      method.selector.profile not in ("", "analytic")
    ),
  }
  for what, needed in wrong.items():
    if needed:
      raise UsageError(
        f"the recipe needs {what}, which retraining on a stream of frames does "
        "not have: give one such as finetune, er, freeze or elastic"
      )
