"""One run from start to end, as a library call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
import math
import os
from pathlib import Path
import signal
from typing import Any

from absl import logging
import numpy as np

from jcl import base
from jcl.cost import devices
from jcl.cost.meters import meter as meters
from jcl.options import parameters
from jcl.replay import feeds
from jcl.replay.tiers import limits
from jcl.run import (
  arguments,
  console,
  description,
  interrupts,
  loop,
  together,
)
from jcl.run import workdir as workdir_lib
from jcl.run.assembling import Options as Options
from jcl.run.assembling import assemble as assemble
from jcl.run.assembling import complete as complete
from jcl.run.assembling import suited as suited
from jcl.run.generality import follow
from jcl.run.inference import files
from jcl.run.inference import model as models
from jcl.streams import stream as stream_lib
from jcl.train import chunks, gather, scoring
from jcl.train import optimizer as optimizers
from jcl.train.profiling import learners, store

LEAD = 32  # updates between a choice and its training, where no profile tells


class Interrupted(Exception):
  """A signal stopped the run; it was saved and can be resumed."""

  def __init__(self, number: int, folder: Path | None) -> None:
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

  def export(
    self,
    path: str | os.PathLike[str],
    *,
    format: models.Format = "stablehlo",
  ) -> Path:
    """Writes the model as a program that runs without jcl; returns its path.

    See `inference.export.export` for arguments and errors.
    """
    return self.model.export(path, format=format)

  def __getstate__(self) -> Any:
    raise TypeError(
      "a Result holds functions, which do not pickle: write result.save(path) "
      "and jcl.load_model(path) for the model; result.summary and "
      "result.records pickle as they are"
    )

  @property
  def average_accuracy(self) -> float:
    """Final class-incremental accuracy, averaged over the test sets."""
    return self.summary["class_incremental"]["final_average_accuracy"]


def run(
  job: loop.Job,
  workdir: str | os.PathLike[str] | None = None,
  options: Options = Options(),
  context: Mapping[str, Any] | None = None,
  *,
  watch: Callable[[loop.Event], None] | None = None,
) -> Result:
  """Carries out an assembled run, or the rest of it.

  Args:
    job: from `assemble`.
    workdir: folder of the run; None keeps everything in memory.
    options: the same as given to `assemble`.
    context: what the summary should say of the run, such as its recipe's name
      and options; a resumed run must give the same, except under
      "environment".
    watch: is told every event, for a display of one's own.

  Raises:
    WorkdirError: where the work directory is in use, was made with other
      arguments, or cannot be written.
    ValueError: where the meter's sensor cannot be read any more.
    Interrupted: after SIGINT or SIGTERM, once everything is saved.
    loop.NonFiniteLossError: where the loss leaves the finite numbers.
  """
  arguments.check_folder(workdir)
  about = description.of(job, options, context or {})
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
    stopped = stack.enter_context(interrupts.signals())
    stack.enter_context(job.ledger.metered())
    job = stack.enter_context(fed(job, folder.path, options.memory_budget))
    state, place = _begun(job, folder)
    profiled(job, options, folder)
    job.restore(place)
    folder.begin(job, place)
    bar = stack.enter_context(
      console.Progress(job, place, about["recipe"], _shown(options))
    )
    events, follower = _followed(job, options, folder.path, state, place)
    agrees = together.Stopping(stopped)
    for event in events:
      state = event.state
      bar.note(event)
      if watch is not None:
        watch(event)
      stops = agrees(event.kind == "experience")
      folder.note(event, stop=stops)
      if stops:
        raise Interrupted(agrees.number, folder.path)
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


def _shown(options: Options) -> bool | None:
  """Returns whether a progress bar is shown: by the first process alone."""
  return options.progress if together.is_first() else False


def _followed(
  job: loop.Job,
  options: Options,
  folder: Path | None,
  state: base.LearnerState,
  place: loop.Cursor,
) -> tuple[Iterator[loop.Event], follow.Follower | None]:
  """Returns the events of a run, and who follows its units, if anyone does."""
  events = loop.run(job, state, place)
  if not options.diagnose:
    return events, None
  probes = follow.held_out(job.stream, size=options.diagnose)
  path = folder and folder / "generality.npz"
  follower = follow.Follower(job, probes, path)
  return follow.from_events(events, follower), follower


def _begun(
  job: loop.Job, folder: workdir_lib.Folder
) -> tuple[base.LearnerState, loop.Cursor]:
  """Returns where a run goes on: at its latest checkpoint, or at the start."""
  snapshot = folder.restore(job.template)
  if snapshot is None:
    return loop.start(job)
  job.ledger.restore(snapshot.ledger)
  place = snapshot.place
  logging.info(
    "resuming at experience %d, step %d", place.experience, place.step
  )
  return job.learner.put(snapshot.state), place


@contextlib.contextmanager
def fed(
  job: loop.Job,
  folder: Path | None = None,
  limit: limits.Limit | str | None = None,
) -> Iterator[loop.Job]:
  """Opens the feed that a run's method asks for; see `feeds.opened`.

  At the end, a trunk's outputs on disk are left to other processes.
  """
  parts = job.stream, job.learner, job.ledger, job.seed
  with contextlib.ExitStack() as stack:
    if job.latents is not None:
      stack.callback(job.latents.close)
    feed = stack.enter_context(feeds.opened(*parts, folder, limit))
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
    scoring.fitted(learner, state, memory),
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
      learner.put_batches(chunks.with_draws(learner, source.batch(rows))),
      loop.scope_of(job, 0),
      learners.Kept(
        # Processes measure together: none may have a profile that is kept.
        None
        if options.cache_dir is None or together.shared()
        else Path(options.cache_dir),
        devices.describe(job.ledger.device),
      ),
    )
    if together.shared():
      told = together.text_of_first(json.dumps(store.to_json(times)))
      times = store.from_json(json.loads(told))
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
    learn,
    training,
    parameters.fields(base.Training),
    parameters.fields(Options),
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
