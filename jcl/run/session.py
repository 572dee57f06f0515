"""One run from start to end, as a library call."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import math
import os
from pathlib import Path
import platform
import signal
import subprocess
import sys
import time
from typing import Annotated, Any

from absl import logging
import jax
import numpy as np

from jcl import base, keys
from jcl.control import assembly
from jcl.control import fixed as fixed_control
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.cost.meters import meter as meters
from jcl.errors import UsageError
from jcl.networks import shrink
from jcl.options import kinds, spec
from jcl.replay import feeds, removal
from jcl.replay.latents import stream as latent_streams
from jcl.replay.tiers import limits
from jcl.run import (
  arguments,
  console,
  identity,
  loop,
  pruning,
  trainee,
)
from jcl.run import workdir as workdir_lib
from jcl.run.generality import follow
from jcl.run.inference import files
from jcl.run.inference import model as models
from jcl.selection import fixed
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import augment as augmentation
from jcl.train import gather
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import step as step_lib
from jcl.train.kernels import lowering
from jcl.train.profiling import learners

LEAD = 32  # updates between a choice and its training, where no profile tells


class Interrupted(Exception):
  """A signal stopped the run; it was saved and can be resumed."""

  def __init__(self, number: int, folder: Path | None):
    super().__init__(
      f"stopped by {signal.Signals(number).name}; "
      + (
        f"saved in {folder}: run the same command to go on"
        if folder
        else "nothing was saved, since no work directory was given"
      )
    )
    self.number = number


@dataclasses.dataclass(frozen=True)
class Options:
  """How a run is carried out; what it learns is in its other arguments."""

  augment: str = "none"
  accumulate: kinds.Count = 1
  steps_per_dispatch: kinds.Natural = 0  # 0: chosen
  executor: str = "auto"  # or "pieces" or "whole"; see `train.learner`
  # Updates between choosing tensors and training them, while their programs
  # compile; -1: by the profile, or LEAD. It decides what a run computes.
  lead: Annotated[int, kinds.Range(-1)] = -1
  # Where profiles are kept between runs; None: with the run.
  cache_dir: str | None = None
  # Updates between evaluations; 0: at the end of experiences only.
  evaluate_every: kinds.Natural = 0
  checkpoint_seconds: kinds.OrInfinity = 60.0
  # Bytes that a memory hierarchy may take, such as "64MiB"; a file that says
  # so and may be rewritten at any time; or "auto".
  memory_budget: str | None = None
  # How outputs of a frozen trunk are kept, see `latents.codecs.fit`: "raw",
  # "uint8", "pq:32"; "" computes them anew. And in how many bytes at most.
  trunk_cache: str = ""
  trunk_bytes: kinds.Size | None = None
  # Held-out examples of an experience by which units are followed: what each
  # experience made them lose and change. 0 for none.
  diagnose: kinds.Natural = 0
  resume: bool = True
  progress: bool | None = None  # None: where standard error is a terminal


@dataclasses.dataclass(frozen=True)
class Result:
  """Outcome of a run: figures, records, learned state and model."""

  summary: dict[str, Any]
  records: tuple[base.Record, ...]
  state: base.LearnerState
  folder: Path | None
  network: base.Network  # as it ended, smaller where channels were pruned
  model: models.Model  # for raw inputs

  def predict(self, x: Any, among: Sequence[Any] | None = None) -> np.ndarray:
    """Classes of raw inputs by name, [N]; see `inference.model.Model`."""
    return self.model.predict(x, among)

  def predict_scores(
    self, x: Any, among: Sequence[Any] | None = None
  ) -> np.ndarray:
    """Scores of raw inputs [N, C]; see `inference.model.Model`."""
    return self.model.predict_scores(x, among)

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of all classes of the stream, [C]."""
    return self.model.class_names

  def save(self, path: str | os.PathLike[str]) -> Path:
    """Writes the model to a file for `jcl.load_model`; returns its path.

    Raises:
      OSError: where it cannot be written.
      ValueError: for a predictor of one's own, which no file can hold.
    """
    return files.save(self.model, path)

  def __getstate__(self):
    raise TypeError(
      "a Result holds functions, which do not pickle: write result.save(path) "
      "and jcl.load_model(path) for the model; result.summary and "
      "result.records pickle as they are"
    )

  @property
  def average_accuracy(self) -> float:
    """Final class-incremental accuracy, averaged over the test sets."""
    return self.summary["class_incremental"]["final_average_accuracy"]


def complete(method: base.Method, training: base.Training) -> base.Training:
  """Returns full hyper-parameters: the method's, else these, else defaults."""
  given = method.training.over(training)
  return optimizers.complete(given.over(method.defaults))


def assemble(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int = 0,
  options: Options = Options(),
  controller: base.Controller | None = None,
  device: devices.Device | None = None,
  meter: meters.Meter | None = None,
) -> loop.Job:
  """Puts the parts of a run together and checks that they fit.

  Args:
    stream: what is learned.
    network: the model; its input shape and classes must be the stream's.
    method: the recipe.
    training: hyper-parameters for all that the method leaves open; what both
      leave open is taken from `optimizer.complete`.
    seed: decides initialisation, order, replay and augmentation.
    options: how to carry it out.
    controller: decides each experience's effort; the method's own goes first,
      and where there is neither every experience gets `training.epochs`.
    device: prices joules that no meter measures; detected where absent.
    meter: counts joules while the run goes on, see `meters.named.find`; None
      and one that only models leave all of them to the device.

  Raises:
    UsageError: where parts do not fit, saying which and what to change.
  """
  arguments.check_parts(stream=stream, network=network, method=method)
  seed = arguments.seed(seed)
  if network.num_classes != stream.num_classes:
    raise UsageError(
      f"network {network.name!r} has {network.num_classes} outputs, but the "
      f"stream has {stream.num_classes} classes: build it with "
      f"num_classes={stream.num_classes}"
    )
  if tuple(network.input_shape) != tuple(stream.example_shape):
    raise UsageError(
      f"network {network.name!r} takes inputs {network.input_shape}, but "
      f"examples of the stream have shape {stream.example_shape}: build it "
      f"with input_shape={stream.example_shape}"
    )
  training, options = complete(method, training), spec.checked_fields(options)
  removal.check(method)
  if method.prune is not None:
    params, _ = network.init(_first_key(seed))
    network = shrink.narrow(network, method.prune(network, params))
  inputs = models.Inputs(network, stream.mean, stream.std, stream.dtype)
  content = functools.partial(_content, stream)
  latents = None
  if options.trunk_cache:
    made = _behind_trunk(stream, network, method, training, seed, options)
    stream = dataclasses.replace(made.stream, name=stream.name)
    network, latents = made.network, made.cache
  preprocess = step_lib.Preprocess(
    stream.mean,
    stream.std,
    augmentation.build(options.augment, stream.example_shape),
  )
  if options.memory_budget != "auto":
    limits.parse(options.memory_budget)  # tells of nonsense at once
  device = device or devices.detect()
  ledger = ledger_lib.Ledger(device, meter=meter)
  if latents is not None:
    latents.charge_to(ledger)
  learner = learner_lib.Learner(
    network,
    method,
    training,
    preprocess,
    stream.experiences[0].data.x[[0]][0],
    ledger,
    accumulate=options.accumulate,
    steps_per_dispatch=options.steps_per_dispatch,
    executor=options.executor,
    sparsity=_sparsity(stream, network, method, training, seed),
  )
  held, classes = learner.memory_slots, int(stream.classes_trained.sum())
  if method.replay.rebuild is not None and held < classes:
    raise UsageError(
      f"a memory of {held} examples cannot hold one of each of {classes} "
      f"classes: give the recipe buffer={classes} or more"
    )
  assert training.epochs is not None
  effort = (
    method.controller or controller or fixed_control.fixed(training.epochs)
  )
  kind = trainee.Trainee if method.pruning is None else pruning.Pruned
  return loop.Job(
    stream,
    kind(learner, seed),
    assembly.for_run(effort, method.hierarchy, seed),
    ledger,
    seed,
    feeds.plain(stream, learner, ledger, seed),
    options.evaluate_every,
    latents=latents,
    inputs=inputs,
    content=content,
  )


def _content(stream: stream_lib.Stream) -> str:
  with stream.held_out.open() as test_sets:
    learned = [each.data for each in stream.experiences]
    return identity.content([*learned, *test_sets])


def _behind_trunk(stream, network, method, training, seed, options):
  """Returns stream, tail and cache of a run on a frozen trunk's outputs."""
  if method.trunk is None or not network.pretrained:
    what = "no frozen trunk" if method.trunk is None else "no learned weights"
    raise UsageError(
      f"trunk_cache={options.trunk_cache!r} keeps what a frozen, learned trunk "
      f"makes of examples, and it has {what}: give a recipe such as "
      "lightcl or er+freeze:until=0.7, and a network with learned weights"
    )
  return latent_streams.prepare(
    stream,
    network,
    fixed.first_trained(network, method.trunk),
    options.trunk_cache,
    key=_first_key(seed),
    budget=options.trunk_bytes,
    augment=options.augment,
    rows=training.batch_size,
  )


def _first_key(seed) -> base.Key:
  """Returns the key of the weights that a run begins with: `loop.start`."""
  return keys.key(seed, keys.Purpose.INIT)


def _sparsity(stream, network, method, training, seed):
  if method.sparsity is None:
    return None
  examples = len(stream.experiences[0].data)
  updates = batching.num_batches(examples, training.batch_size)
  params, _ = network.init(_first_key(seed))
  return method.sparsity(network, params, updates, training.epochs)


def run(
  job: loop.Job,
  workdir: str | os.PathLike[str] | None = None,
  options: Options = Options(),
  context: Mapping[str, Any] | None = None,
) -> Result:
  """Carries out an assembled run, or the rest of it.

  Args:
    setting: from `assemble`.
    workdir: folder of the run; None keeps everything in memory.
    options: the same as given to `assemble`.
    context: what the summary should say of the run, such as its recipe's name
      and options; a resumed run must give the same, except under
      "environment".

  Raises:
    WorkdirError: where the work directory is in use, was made with other
      arguments, or cannot be written.
    ValueError: where the meter's sensor cannot be read any more.
    Interrupted: after SIGINT or SIGTERM, once everything is saved.
    loop.NonFiniteLossError: where the loss leaves the finite numbers.
  """
  arguments.check_folder(workdir)
  about = _about(job, options, context or {})
  if workdir is not None and job.content is not None:
    about["content"] = job.content()
  folder = workdir_lib.Folder(
    None if workdir is None else Path(workdir).expanduser(),
    about,
    defaults={
      "training": dataclasses.asdict(optimizers.complete(base.Training())),
      "options": dataclasses.asdict(Options()),
    },
    resume=options.resume,
    checkpoint_seconds=options.checkpoint_seconds,
  )
  with contextlib.ExitStack() as stack:
    stack.enter_context(console.quiet_savers())
    stack.enter_context(workdir_lib.explained(folder.path, writing=False))
    stack.callback(folder.close)
    stack.callback(job.learner.compiler.close)
    stopped = stack.enter_context(console.signals())
    stack.enter_context(job.ledger.metered())
    job = stack.enter_context(fed(job, folder.path, options.memory_budget))
    snapshot = folder.restore(job.template)
    if snapshot is None:
      state, place = loop.start(job)
    else:
      job.ledger.restore(snapshot.ledger)
      state, place = job.learner.put(snapshot.state), snapshot.place
      logging.info(
        "resuming at experience %d, step %d", place.experience, place.step
      )
    profiled(job, options, folder)
    job.restore(place)
    folder.begin(job, place)
    bar = stack.enter_context(
      console.Progress(job, place, about["recipe"], options.progress)
    )
    events = loop.run(job, state, place)
    follower = None
    if options.diagnose:
      probes = follow.held_out(job.stream, size=options.diagnose)
      path = folder.path and folder.path / "generality.npz"
      follower = follow.Follower(job, probes, path)
      events = follow.from_events(events, follower)
    for event in events:
      state = event.state
      bar.note(event)
      folder.note(event, stop=bool(stopped))
      # Processes that share a run stop together, between experiences.
      if stopped and (jax.process_count() == 1 or event.kind == "experience"):
        raise Interrupted(stopped[0], folder.path)
    if follower is not None:
      folder.write_generality(follower.units, follower.records)
    made = trained(job, state)
    folder.write_model(made)
    return Result(
      folder.finish(),
      tuple(place.records),
      state,
      folder.path,
      job.learner.network,
      made,
    )


@contextlib.contextmanager
def fed(
  job: loop.Job,
  folder: Path | None = None,
  limit: limits.Limit | str | None = None,
) -> Iterator[loop.Job]:
  """Opens the feed that a run's method asks for; see `feeds.opened`."""
  parts = job.stream, job.learner, job.ledger, job.seed
  with feeds.opened(*parts, folder, limit) as feed:
    yield dataclasses.replace(job, feed=feed)


def trained(job: loop.Job, state: base.LearnerState) -> models.Model:
  """Returns the classifier of raw inputs that a run has trained."""
  stream, learner = job.stream, job.learner
  predictor = learner.method.predictor
  memory = job.feed.memory() if predictor.reads_memory else None
  params, stats = state.train.params, state.train.stats
  if job.trunk is not None:
    ahead = job.trunk.arrays
    params, stats = {**ahead[0], **params}, {**ahead[1], **stats}
  return models.of(
    job.inputs
    or models.Inputs(learner.network, stream.mean, stream.std, stream.dtype),
    params,
    stats,
    predictor,
    learner.fitted(state, memory),
    stream.class_names,
    stream.classes_seen(len(stream.experiences) - 1),
  )


def profiled(
  job: loop.Job,
  options: Options = Options(),
  folder: workdir_lib.Folder | None = None,
) -> None:
  """Gives a run's trainee the profile that its selector needs.

  A resumed run goes on with the profile that it began with, which its folder
  holds.
  """
  learner = job.learner
  method = learner.method.selector.profile
  if not method:
    return
  times = None if folder is None else folder.read_profile()
  if times is None:
    source = gather.Experiences(job.stream, [0])
    rows = np.resize(
      np.arange(len(source), dtype=np.int32),
      (learner.steps_per_dispatch, learner.batch_size),
    )
    times = learners.profile(
      learner,
      method,
      learner.put_batches(learner.with_draws(source.batch(rows))),
      loop.scope_of(job, 0),
      folder=None if options.cache_dir is None else Path(options.cache_dir),
      device=devices.describe(job.ledger.device),
    )
    if folder is not None:
      folder.write_profile(times, learner.network)
  ahead = options.lead
  if ahead < 0:
    ahead = LEAD
    if times.compile_seconds > 0:  # False where it is unknown
      ahead = math.ceil(1.5 * times.compile_seconds / times.full)
  job.trainee.times, job.trainee.compile_ahead = times, ahead


def learn(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  *,
  seed: int = 0,
  workdir: str | os.PathLike[str] | None = None,
  options: Options = Options(),
  controller: base.Controller | None = None,
  context: Mapping[str, Any] | None = None,
  meter: meters.Meter | None = None,
  **training: Any,
) -> Result:
  """Learns a stream and returns what came of it.

  With a work directory, the run writes `records.jsonl`, `curve.jsonl`,
  `summary.json`, event files and checkpoints there, and picks up where it
  stopped when called again with the same arguments.

  Args:
    stream: what is learned.
    network: the model.
    method: the recipe, such as `jcl.recipes.er(buffer=500)`.
    seed: decides initialisation, order, replay and augmentation.
    workdir: folder of the run; None keeps everything in memory.
    options: how to carry it out.
    controller: decides each experience's effort; see `assemble`.
    context: what the summary should say of the run, such as its recipe's name
      and options; a resumed run must give the same, except under
      "environment".
    meter: counts the run's joules, which are modelled without; see `assemble`.
    **training: fields of `base.Training`, such as `epochs=1`.

  Raises:
    UsageError: where parts do not fit, or for an unknown name.
    WorkdirError: where the work directory is in use, was made with other
      arguments, or cannot be written.
    Interrupted: after SIGINT or SIGTERM, once everything is saved.
    loop.NonFiniteLossError: where the loss leaves the finite numbers.
  """
  arguments.check_names(
    learn, training, spec.fields(base.Training), spec.fields(Options)
  )
  job = assemble(
    stream,
    network,
    method,
    base.Training(**training),
    seed,
    options,
    controller,
    meter=meter,
  )
  return run(job, workdir, options, context)


def _about(job, options, context) -> dict[str, Any]:
  """Description of a run; `workdir` says which parts must match to resume."""
  learner, stream = job.learner, job.stream
  training = optimizers.told(learner.training)
  carried = dataclasses.asdict(options)
  for name in (
    "checkpoint_seconds",
    "resume",
    "progress",
    "cache_dir",
    "memory_budget",
  ):
    del carried[name]
  return {
    "recipe": {"name": "custom", "options": {}},
    **context,
    "stream": {
      "name": stream.name,
      "experiences": len(stream.experiences),
      "classes": stream.num_classes,
      "examples": sum(len(e.data) for e in stream.experiences),
      "scenario": stream.scenario,
    },
    "network": {
      "name": learner.network.name,
      "tensors": len(learner.network.tensors),
    },
    "class_names": list(stream.class_names),
    "notes": list(stream.notes),
    "num_experiences": len(stream.experiences),
    "training": training,
    "options": carried,
    "seed": job.seed,
    # It may turn from measured to partly measured as the run goes on.
    "joules_source": lambda: job.ledger.source,
    **_cached(job.latents),
    "environment": {
      "device": devices.describe(job.ledger.device),
      "versions": _versions(),
      "git_revision": _git_revision(),
      "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
      "command": sys.argv,
      **context.get("environment", {}),
    },
  }


def _cached(latents) -> dict[str, Any]:
  """Report on the kept outputs of a trunk, read when a summary is made."""
  if latents is None:
    return {}
  return {"trunk_cache": lambda: dataclasses.asdict(latents.report())}


def _versions() -> dict[str, str]:
  import importlib.metadata as metadata

  found = {
    "python": platform.python_version(),
    "convolutions": lowering.describe(),
  }
  for name in ("jcl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"):
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[name] = metadata.version(name)
  return found


def _git_revision() -> str | None:
  command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
  try:
    done = subprocess.run(
      command,
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  return done.stdout.strip() or None
