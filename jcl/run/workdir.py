"""A run's folder: lock, identity, checkpoints, records, curve and summary."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import errno
import json
from pathlib import Path
import time
from typing import Any

from absl import logging
import jax

from jcl import base, errors
from jcl.cost import step_memory
from jcl.metrics import generality as measures
from jcl.report import (
  events,
  generality,
  hierarchy,
  lines,
  profile,
  selections,
  summary,
)
from jcl.run import checkpoint, identity, loop
from jcl.run.inference import files, model
from jcl.selection import mask
from jcl.selection import times as times_lib
from jcl.train.profiling import store

# Parts of a run's description that may differ when it is taken up again.
_MAY_DIFFER = (
  "trunk_cache",
  "environment",
  "joules_source",
  "class_names",
  "notes",
)
# Parts of "environment" of whose change a resumed run warns.
_TOLD = ("device", "versions")
CURVE_POINTS = 100  # of a run, about: dispatches between them are averaged
# Writing a summary takes time: an experience that ends gets a new one only
# where the last is this many times as old as its writing took.
_LEAST_TIMES = 20.0


write_atomically = lines.write_atomically


class WorkdirError(RuntimeError):
  """A work directory that cannot be used; the message says what to do."""


class Folder:
  """Files of one run; with `path` None nothing is kept on disk.

  It is locked from construction to `close`. `about` identifies the run: a
  folder made by another is refused. Where several processes share a run, the
  first one writes, and checkpoints are made at the ends of experiences only,
  which all of them reach together.

  Args:
    path: the folder, made where absent.
    about: what identifies the run, JSON-ready.
    defaults: of settings that other versions may lack; see
      `identity.differences`.
    resume: go on from the latest checkpoint; False starts over.
    checkpoint_seconds: time between checkpoints within an experience.

  Raises:
    WorkdirError: where the folder is in use, belongs to another run, or
      cannot be written.
  """

  def __init__(
    self,
    path: Path | None,
    about: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
  ) -> None:
    self.path = path
    self._writes = jax.process_index() == 0
    self._about = summary.encode(about)
    self._curve: list[dict[str, Any]] = []
    self._summarised = 0.0, 0.0  # when, and what it took, in seconds
    self._stack = contextlib.ExitStack()
    self._checkpoints: checkpoint.Checkpoints | None = None
    self._events: events.EventWriter | None = None
    self._stretch: Stretch | None = None
    self._step_memory: dict[str, Any] = {}
    self._split: dict[tuple[base.Selection, bool], Any] = {}
    if path is None:
      return
    with explained(path), contextlib.ExitStack() as stack:
      path.mkdir(parents=True, exist_ok=True)
      if self._writes:
        stack.enter_context(locked(path))
        if not resume:
          _clear(path)
        mine = {k: v for k, v in self._about.items() if k not in _MAY_DIFFER}
        claim(path, mine, defaults=defaults)
      self._records = lines.Lines(path / "records.jsonl")
      self._points = lines.Lines(path / "curve.jsonl")
      self._checkpoints = checkpoint.Checkpoints(
        path / "checkpoints", checkpoint_seconds, records=self._records
      )
      stack.callback(self._checkpoints.close)
      self._stack = stack.pop_all()

  def restore(
    self, template_fn: Callable[[loop.Cursor], base.LearnerState]
  ) -> checkpoint.Snapshot | None:
    """Returns the latest intact checkpoint, or None."""
    if self._checkpoints is None or self.path is None:
      return None
    with explained(self.path):
      snapshot = self._checkpoints.restore(template_fn)
    if snapshot is not None:
      self._stretch = Stretch(**snapshot.curve)
    return snapshot

  def begin(self, job: loop.Job, at: loop.Cursor) -> None:
    """Brings the files in line with where the run stands."""
    self._job, self._at = job, at
    self._begun = at.step  # by this process
    self._noted = self._read_summary()
    self._say_what_moved()
    self._step_memory = {
      k: self._noted[k] for k in summary.STEP_MEMORY if k in self._noted
    }
    with job.stream.held_out.open() as test_sets:
      self._test_sizes = [len(data) for data in test_sets]
    if self._stretch is None:
      steps = job.expected_steps(at)
      self._stretch = Stretch(max(1, steps // CURVE_POINTS))
    if self.path is None or not self._writes:
      return
    with explained(self.path), job.ledger.timed("write"):
      if self._points.path.exists():
        # What lies beyond will be logged again.
        self._curve = [
          point
          for point in _read_points(self._points.path)
          if point["step"] <= (at.evaluated if "accuracy" in point else at.step)
        ]
      self._points.replace(map(summary.encode, self._curve))
      if self._records.mark.count == len(at.records) > 0:
        self._records.cut()
      else:  # there are none, or the checkpoint itself holds them
        self._records.replace(map(summary.to_json, at.records))
      self.summarise()
      self._events = events.EventWriter(
        self.path / "events", at.step if at.step else None
      )
      self._stack.callback(self._events.close)
      if job.tiers is not None:
        # Drawn once, so that the run's own time is free of it.
        self._stack.callback(self._draw, self.path)

  def _say_what_moved(self) -> None:
    """Warns where machine or versions are not those that the run began with."""
    old = self._noted.get("environment")
    new = self._about.get("environment")
    if not self._at.step or not (isinstance(old, dict) and new):
      return
    moved = identity.differences(
      {k: old.get(k) for k in _TOLD if old.get(k)},
      {k: new.get(k) for k in _TOLD if old.get(k)},
    )
    if moved:
      logging.warning("taken up elsewhere: %s", identity.told(moved))

  def read_profile(self) -> times_lib.TensorTimes | None:
    """Returns the profile that the run began with, None before."""
    path = None if self.path is None else self.path / "profile.json"
    if path is None or not path.exists():
      return None
    with explained(path):
      return store.from_json(json.loads(path.read_text(encoding="utf-8")))

  def write_profile(
    self, times: times_lib.TensorTimes, network: base.Network
  ) -> None:
    """Keeps what the run's selections are chosen by, as data and picture."""
    if self.path is None or not self._writes:
      return
    text = json.dumps(store.to_json(times), indent=1, allow_nan=False)
    with explained(self.path):
      frame = profile.table(times, network.tensors)
      frame.to_csv(self.path / "profile.csv", index=False)
      figure = profile.picture(times, network.tensors)
      figure.savefig(self.path / "profile.png", dpi=120)
      write_atomically(self.path / "profile.json", text)

  def write_generality(
    self, units: Sequence[str], records: Sequence[Mapping[str, Any]]
  ) -> None:
    """Keeps how stable and plastic each unit was, as data and picture."""
    if self.path is None or not self._writes or not records:
      return
    known = {"units": list(units), "records": list(records)}
    with explained(self.path):
      write_atomically(self.path / "generality.json", json.dumps(known))
      ms, lp = measures.table(records)
      figure = generality.picture(units, ms, lp)
      figure.savefig(self.path / "generality.png", dpi=120)

  def note(self, event: loop.Event, stop: bool = False) -> None:
    """Files an event; saves a checkpoint where one is due, or at a stop."""
    at = event.place
    if event.kind == "evaluated":
      self._curve.append(_point(at, event.scalars))
    if self.path is None or self._checkpoints is None:
      return
    if self._writes:
      self._write(event, stop)
    if self._saves(event, stop):
      assert self._stretch is not None
      with explained(self.path), self._job.ledger.timed("checkpoint"):
        ledger = self._job.ledger.state()
        gathered = dataclasses.asdict(self._stretch)
        self._job.save(at)
        if self._writes:
          self._points.sync()
        self._checkpoints.save(
          checkpoint.Snapshot(event.state, at, ledger, gathered)
        )

  def _saves(self, event: loop.Event, stop: bool) -> bool:
    """Tells whether a checkpoint is to be made at an event."""
    assert self._checkpoints is not None
    end = event.kind == "experience"
    if jax.process_count() > 1:
      return end
    if stop or self._checkpoints.due():
      return True
    count = len(self._job.stream.experiences)
    last = event.place.experience == count
    return end and (last or self._checkpoints.pays())

  def _write(self, event: loop.Event, stop: bool) -> None:
    assert self.path is not None and self._events is not None
    assert self._stretch is not None
    at, point = event.place, None
    end = event.kind == "experience"
    if event.kind == "evaluated":
      point = self._curve[-1]
    elif scalars := self._stretch.add(at.step, event.scalars, end=end):
      point = _point(at, scalars)
      self._curve.append(point)
    if not (point or end or stop):
      return
    with explained(self.path), self._job.ledger.timed("write"):
      if point:
        self._points.append(summary.encode(point))
        shown = ("loss", "online_accuracy", "steps_per_second")
        numbers = {f"train/{k}": v for k, v in point.items() if k in shown}
        self._events.scalars(at.step, numbers)
      if end:
        self._records.append(summary.to_json(at.records[-1]))
        self._events.record(at.records[-1], at.step)
      when, took = self._summarised
      if stop or (end and time.monotonic() - when >= _LEAST_TIMES * took):
        self.summarise()

  def summarise(self) -> dict[str, Any]:
    """Returns the summary so far, and writes it where there is a folder."""
    at, start = self._at, time.monotonic()
    self._note_step_memory()
    initial = None
    if at.initial is not None:
      initial = dict(
        zip(("accuracy", "accuracy_task"), at.initial, strict=True)
      )
    found = summary.summarise(
      at.records,
      initial=initial,
      test_sizes=self._test_sizes,
      anytime=[point for point in self._curve if "accuracy" in point],
      context={**self._about, **self._step_memory},
      closing=self._closing(),
    )
    if self.path is not None and self._writes:
      text = json.dumps(found, indent=2)
      write_atomically(self.path / "summary.json", text)
      choices = [c for r in self._at.records for c in r.choices]
      if self._job.learner.method.selector.every and choices:
        network = self._job.learner.network
        figure = selections.picture(choices, network.tensors)
        figure.savefig(self.path / "selections.png", dpi=120)
    end = time.monotonic()
    self._summarised = end, end - start
    return found

  def write_model(self, made: model.Model) -> None:
    """Writes the trained model where this process trained, or none is there."""
    if self.path is None or not self._writes or not made.predictor.name:
      return
    path = self.path / files.NAME
    if self._at.step == self._begun and path.exists():
      return
    with explained(self.path), self._job.ledger.timed("write"):
      files.save(made, path)

  def finish(self) -> dict[str, Any]:
    """Waits for what is being written; returns the summary of the whole run."""
    if self.path is not None and self._checkpoints is not None:
      with explained(self.path), self._job.ledger.timed("checkpoint"):
        self._checkpoints.wait()
    with explained(self.path), self._job.ledger.timed("write"):
      return self.summarise()

  def _closing(self) -> Mapping[str, base.Cost]:
    """Returns what was spent since the last record was made."""
    done = self._noted.get("experiences") == len(self._at.records)
    if done and self._at.step == self._begun and "closing" in self._noted:
      return self._noted["closing"]  # of a run that had ended before
    return self._job.ledger.pending()

  def _note_step_memory(self) -> None:
    """Takes down what the latest update's program needs, compiling nothing."""
    at, trainee = self._at, self._job.trainee
    learner = trainee.learner
    if at.step == self._begun:
      return
    # Up to the switch, what was chosen last may still be compiling in a thread.
    settled = at.step > trainee.switch_step
    wanted = {"step_memory": (trainee.selection, settled)}
    everything = mask.everything(learner.network)
    if settled and trainee.selection != everything:
      wanted["step_memory_full"] = everything, True
    for name, key in wanted.items():
      selection, exact = key
      if key not in self._split:
        if not step_memory.is_compiled(learner, selection, exact=exact):
          continue
        found = step_memory.split(
          learner, selection, exact=exact, trunk=self._job.trunk
        )
        self._split[key] = None if found is None else summary.encode(found)
      if self._split[key] is not None:
        self._step_memory[name] = self._split[key]

  def _read_summary(self) -> dict[str, Any]:
    """Returns the last summary, empty where there is none or it is damaged."""
    path = None if self.path is None else self.path / "summary.json"
    if path is None or not path.exists():
      return {}
    with contextlib.suppress(ValueError, RecursionError):  # it is written anew
      noted = json.loads(path.read_text(encoding="utf-8"))
      return noted if isinstance(noted, dict) else {}
    return {}

  def _draw(self, path: Path) -> None:
    hierarchy.save(summary.read_run(path))

  def close(self) -> None:
    """Waits for what is being written and gives the folder free."""
    if self.path is not None:
      with explained(self.path):
        self._stack.close()


@dataclasses.dataclass
class Stretch:
  """Averages what dispatches report until there is enough for a point.

  Its fields are saved with a checkpoint, so that the points of a resumed run
  are those of one that never stopped.
  """

  every: int  # updates in a point
  begun: int = 0  # step at which the present stretch begins
  step: int = 0  # up to which it has come
  sums: dict[str, float] = dataclasses.field(default_factory=dict)

  def add(
    self, step: int, scalars: Mapping[str, float], end: bool
  ) -> dict[str, float] | None:
    """Takes in what led up to `step`; returns a point where one is full.

    Means count by updates, "seconds" is their sum and "steps_per_second"
    follows from it. `end` closes the stretch early.
    """
    count = step - self.step
    self.step = step
    for name, value in scalars.items():
      weight = 1 if name == "seconds" else count
      self.sums[name] = self.sums.get(name, 0.0) + weight * value
    total = step - self.begun
    if not total or not (end or total >= self.every):
      return None
    point = {
      name: value if name == "seconds" else value / total
      for name, value in self.sums.items()
    }
    point["steps_per_second"] = total / max(point["seconds"], 1e-9)
    self.begun, self.sums = step, {}
    return point


def claim(
  path: Path,
  config: Mapping[str, Any],
  resume: bool = True,
  defaults: Mapping[str, Any] | None = None,
) -> None:
  """Notes which run a folder belongs to, or checks that it is this one's.

  Args:
    path: the folder.
    config: what identifies its run.
    resume: whether to check; False writes it anew.
    defaults: of settings that other versions may lack; see
      `identity.differences`.

  Raises:
    WorkdirError: where `resume` is set and the folder was made with another
      configuration, listing what differs; or where it cannot be written.
  """
  file, mine = path / "config.json", summary.encode(config)
  if resume and file.exists():
    try:
      theirs = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
      raise WorkdirError(
        f"{file} is damaged ({error}): give another --workdir, or --noresume "
        "to start over"
      ) from error
    if not isinstance(theirs, dict):
      raise WorkdirError(
        f"{file} is damaged: give another --workdir, or --noresume to start "
        "over"
      )
    found = identity.differences(
      theirs, mine, summary.encode(defaults) if defaults else None
    )
    if found:
      raise WorkdirError(
        f"{path} was made with other settings: {identity.told(found)}. Give "
        "those settings again to go on, another --workdir to keep both, or "
        "--noresume to start over"
      )
  with explained(path):
    write_atomically(file, json.dumps(mine, indent=2, sort_keys=True))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Holds the folder's lock.

  Raises:
    WorkdirError: where another process holds it.
  """
  import filelock

  lock = filelock.FileLock(path / ".lock")
  with explained(path):
    try:
      lock.acquire(timeout=0)
    except filelock.Timeout:
      raise WorkdirError(
        f"{path} is in use by another run: wait for it, or give another "
        "--workdir"
      ) from None
  try:
    yield
  finally:
    lock.release()


_AGAIN = "run the same command again"
_GOES_ON = f"{_AGAIN}; it goes on from the last checkpoint"
_HINTS = {
  errno.ENOSPC: f"the disk is full: free some space and {_GOES_ON}",
  errno.EDQUOT: f"the disk quota is used up: free some space and {_GOES_ON}",
  errno.EROFS: f"the file system is read-only: mount it otherwise and {_AGAIN},"
  " or give another --workdir",
  errno.EACCES: f"permission is denied: ask for it and {_AGAIN}, or give "
  "another --workdir",
  errno.EPERM: f"permission is denied: ask for it and {_AGAIN}, or give "
  "another --workdir",
  errno.ENOENT: f"it was moved or removed: put it back and {_GOES_ON}",
  errno.ENOTEMPTY: "others changed it meanwhile: see to it that none do and "
  + _GOES_ON,
  errno.EEXIST: f"there is a file of that name: move it and {_AGAIN}, or give "
  "another --workdir",
  errno.ENOTDIR: f"a part of its path is a file: move it and {_AGAIN}, or give "
  "another --workdir",
  errno.ENAMETOOLONG: "its name is too long: give a shorter --workdir and "
  + _AGAIN,
  errno.EFBIG: "a file would be larger than is allowed: raise that limit and "
  + _GOES_ON,
}
# Errors that writing alone can meet.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@contextlib.contextmanager
def explained(path: Path | None, *, writing: bool = True) -> Iterator[None]:
  """Turns a failure to write into a message that says what to do.

  Args:
    path: that is written to; None leaves errors as they are.
    writing: whether the block does nothing but write; otherwise only errors
      that writing alone can meet are explained, such as a full disk.
  """
  try:
    yield
  except OSError as error:
    if path is None or not (writing or error.errno in _OF_WRITING):
      raise
    hint = _HINTS.get(error.errno or 0)
    hint = hint or f"{errors.short(str(error), 120)}: {_GOES_ON}"
    raise WorkdirError(
      f"cannot write to {errors.names([path], width=200)}: {hint}"
    ) from error


def _point(at: loop.Cursor, scalars: Mapping[str, Any]) -> dict[str, Any]:
  return {"step": at.step, "experience": at.experience, **scalars}


def _read_points(path: Path) -> Iterable[dict[str, Any]]:
  """Yields the intact points of a curve; a kill may have cut the last short."""
  for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
    with contextlib.suppress(ValueError, RecursionError):
      point = json.loads(line)
      if isinstance(point, dict) and isinstance(point.get("step"), int):
        yield point


def _clear(path: Path) -> None:
  """Removes what an earlier run wrote, and nothing else."""
  import shutil

  for name in ("checkpoints", "events", "store", "extras"):
    shutil.rmtree(path / name, ignore_errors=True)
  kept = (
    "config.json curve.jsonl generality.json generality.npz generality.png "
    "hierarchy.png model.npz profile.csv profile.json "
    "profile.png records.jsonl selections.png summary.json trials.png"
  )
  for name in kept.split():
    (path / name).unlink(missing_ok=True)
