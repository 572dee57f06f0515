"""A run's folder: lock, identity, checkpoints, records, curve and summary."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import json
from pathlib import Path
import time
from typing import Any

from absl import logging
import jax

from jcl import base
from jcl.report import (
  encoding,
  events,
  hierarchy,
  lines,
  selections,
  summarising,
  summary,
)
from jcl.run import (
  checkpoint,
  claims,
  entries,
  identity,
  loop,
  measurements,
  memory_notes,
)
from jcl.run import curve as curve_lib
from jcl.run.claims import WorkdirError as WorkdirError
from jcl.run.claims import claim as claim
from jcl.run.claims import explained as explained
from jcl.run.claims import locked as locked
from jcl.run.inference import files, model
from jcl.selection import times as times_lib

# Parts of a run's description that may differ when the run is resumed.
_MAY_DIFFER = (
  "trunk_cache",
  "environment",
  "joules_source",
  "class_names",
  "notes",
)
# Writing a summary takes time: an experience that ends gets a new one only
# where the last is this many times as old as its writing took. Nobody waits for
# the summary of a run without an end: whoever asks has it written.
_LEAST_TIMES, _LEAST_TIMES_ENDLESS = 20.0, 100.0
_POINTS = 200  # of the curve of a run without an end, at least


write_atomically = lines.write_atomically


class Folder:
  """Files of one run; with `path` None nothing is kept on disk.

  The folder is locked from construction to `close`. `about` identifies the run:
  a folder that another run made is refused. Where several processes share a
  run, the first one writes, and checkpoints are made where all processes are
  together: at the ends of experiences and at a stop that all agree on.

  Args:
    path: of the folder, made where absent.
    about: what identifies the run, JSON-ready.
    defaults: of settings that other versions may lack; see
      `identity.differences`.
    resume: go on from the latest checkpoint; False starts over.
    checkpoint_seconds: time between checkpoints within an experience.
    endless: whether the run may go on for ever: records may then be summed up
      on the way, see `shortening`, and the oldest points of the curve go.
    before_save: called ahead of every checkpoint, which may refer to what it
      makes durable.

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
    endless: bool = False,
    before_save: Callable[[], None] = lambda: None,
  ) -> None:
    self.path, self._before_save = path, before_save
    self._writes = jax.process_index() == 0
    self._about = encoding.encode(about)
    self._curve = curve_lib.Curve(path, _POINTS if endless else None)
    self._summarised = 0.0, 0.0  # when, and what it took, in seconds
    self._endless = endless
    self._stack = contextlib.ExitStack()
    self._checkpoints: checkpoint.Checkpoints | None = None
    self._events: events.EventWriter | None = None
    if path is None:
      return
    with explained(path), contextlib.ExitStack() as stack:
      path.mkdir(parents=True, exist_ok=True)
      if self._writes:
        stack.enter_context(locked(path))
        if not resume:
          claims.clear(path, entries.ALL)
        mine = {k: v for k, v in self._about.items() if k not in _MAY_DIFFER}
        claim(path, mine, defaults=defaults)
      self._records = lines.Lines(path / "records.jsonl")
      # Lines that are written anew have no mark to which one could go back.
      self._checkpoints = checkpoint.Checkpoints(
        path / checkpoint.FILES[0],
        checkpoint_seconds,
        records=None if endless else self._records,
      )
      stack.callback(self._checkpoints.close)
      self._stack = stack.pop_all()

  def restore(
    self, template_fn: Callable[[loop.Cursor], base.LearnerState]
  ) -> checkpoint.Snapshot | None:
    """Returns the latest intact checkpoint, or None.

    Args:
      template_fn: see `checkpoint.Checkpoints.restore`.

    Raises:
      CheckpointError: as `checkpoint.Checkpoints.restore` does.
      WorkdirError: where the folder cannot be read.
    """
    if self._checkpoints is None or self.path is None:
      return None
    with explained(self.path):
      snapshot = self._checkpoints.restore(template_fn)
    if snapshot is not None:
      self._curve.restore(snapshot.curve)
    return snapshot

  def begin(self, job: loop.Job, at: loop.Cursor) -> None:
    """Brings the files in line with where the run stands.

    Args:
      job: of the run, whose feed is open.
      at: cursor of the run, kept up to date by the caller.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    self._job, self._at = job, at
    self._begun = at.step  # of this process
    self._noted = self._read_summary()
    if at.step:
      if moved := identity.moved(self._noted, self._about):
        logging.warning("taken up elsewhere: %s", moved)
    self._memory = memory_notes.MemoryNotes(self._noted)
    with job.stream.held_out.open() as test_sets:
      self._test_sizes = [len(data) for data in test_sets]
    if not self._curve.is_begun:
      self._curve.begin(job.expected_steps(at))
    if self.path is None or not self._writes:
      return
    with explained(self.path), job.ledger.timed("write"):
      self._curve.cut(at)
      if self._records.mark.count == len(at.records) > 0:
        self._records.cut()
      else:  # there are none, or the checkpoint itself holds them
        self._records.replace(map(encoding.to_json, at.records))
      self.summarise()
      self._events = events.EventWriter(
        self.path / "events", at.step if at.step else None
      )
      self._stack.callback(self._events.close)
      if job.learner.method.hierarchy is not None:
        # Drawn once, when the run has ended: drawing takes none of its time.
        self._stack.callback(self._draw, self.path)

  def turn(self, job: loop.Job, **told: Any) -> None:
    """Goes on with another job of the run, as where more data has arrived.

    Args:
      job: in place of that of `begin`.
      **told: parts of the run's description that have changed.
    """
    self._job = job
    self._about |= encoding.encode(told)

  def read_profile(self) -> times_lib.TensorTimes | None:
    """Returns the profile that the run began with, None before."""
    if self.path is None:
      return None
    with explained(self.path):
      return measurements.read_times(self.path)

  def write_profile(
    self, times: times_lib.TensorTimes, network: base.Network
  ) -> None:
    """Writes the times by which the run chooses tensors; see `measurements`.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    if self.path is None or not self._writes:
      return
    with explained(self.path):
      measurements.write_times(self.path, times, network)

  def write_generality(
    self, units: Sequence[str], records: Sequence[Mapping[str, Any]]
  ) -> None:
    """Writes how stable and plastic each unit was, where anything is known.

    Args:
      units: names of the units, input side first.
      records: of the experiences; see `generality.follow.Follower.records`.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    if self.path is None or not self._writes or not records:
      return
    with explained(self.path):
      measurements.write_units(self.path, units, records)

  def note(self, event: loop.Event, stop: bool = False) -> None:
    """Files an event; saves a checkpoint where one is due, or at a stop.

    Args:
      event: of the run, the latest.
      stop: whether the run ends here, to be resumed.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    at, point = event.place, None
    if event.kind == "evaluated":
      point = self._curve.evaluated(event)
    if self.path is None or self._checkpoints is None:
      return
    if self._writes:
      self._write(event, point, stop)
    if self._saves(event, stop):
      with explained(self.path), self._job.ledger.timed("checkpoint"):
        self._before_save()
        ledger, gathered = self._job.ledger.state(), self._curve.state()
        self._job.save(at)
        if self._writes:
          self._curve.sync()
        self._checkpoints.save(
          checkpoint.Snapshot(event.state, at, ledger, gathered)
        )

  def _saves(self, event: loop.Event, stop: bool) -> bool:
    """Tells whether a checkpoint is to be made at an event."""
    assert self._checkpoints is not None
    end = event.kind == "experience"
    if jax.process_count() > 1:  # clocks differ, and all save together
      return end or stop
    if stop or self._checkpoints.due():
      return True
    count = len(self._job.stream.experiences)
    last = event.place.experience == count and not self._endless
    return end and (last or self._checkpoints.pays())

  def _write(
    self, event: loop.Event, point: Mapping[str, Any] | None, stop: bool
  ) -> None:
    """Writes an event's point, if it has or fills one, and its record."""
    assert self.path is not None and self._events is not None
    at, end = event.place, event.kind == "experience"
    point = point or self._curve.add(event)
    if not (point or end or stop):
      return
    with explained(self.path), self._job.ledger.timed("write"):
      if point:
        self._curve.write(point)
        shown = ("loss", "online_accuracy", "steps_per_second")
        numbers = {f"train/{k}": v for k, v in point.items() if k in shown}
        self._events.scalars(at.step, numbers)
      if end:
        self._add_record(at.records)
        self._events.record(at.records[-1], at.step)
      when, took = self._summarised
      times = _LEAST_TIMES_ENDLESS if self._endless else _LEAST_TIMES
      if stop or (end and time.monotonic() - when >= times * took):
        self.summarise()

  def _add_record(self, records: Sequence[base.Record]) -> None:
    if self._records.mark.count + 1 == len(records):
      self._records.append(encoding.to_json(records[-1]))
    else:  # some were summed up
      self._records.replace(map(encoding.to_json, records))

  def summarise(self) -> dict[str, Any]:
    """Returns the summary so far, and writes it where there is a folder."""
    at, start = self._at, time.monotonic()
    if at.step > self._begun:
      self._memory.update(self._job, at)
    initial = None
    if at.initial is not None:
      initial = dict(
        zip(("accuracy", "accuracy_task"), at.initial, strict=True)
      )
    found = summarising.summarise(
      at.records,
      initial=initial,
      test_sizes=self._test_sizes,
      anytime=self._curve.evaluations,
      context={**self._about, **self._memory.found},
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
    """Writes the trained model where this process trained, or none is there.

    A model whose predictor has no name, which no file can hold, is left out.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    if self.path is None or not self._writes or not made.predictor.name:
      return
    path = self.path / files.NAME
    if self._at.step == self._begun and path.exists():
      return
    with explained(self.path), self._job.ledger.timed("write"):
      files.save(made, path)

  def wait(self) -> None:
    """Returns when the latest checkpoint is on disk.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    if self.path is not None and self._checkpoints is not None:
      with explained(self.path), self._job.ledger.timed("checkpoint"):
        self._checkpoints.wait()

  def finish(self) -> dict[str, Any]:
    """Waits for pending writes; returns the summary of the whole run.

    Raises:
      WorkdirError: where the folder cannot be written.
    """
    self.wait()
    with explained(self.path), self._job.ledger.timed("write"):
      return self.summarise()

  def _closing(self) -> Mapping[str, base.Cost]:
    """Returns the costs by account since the last record was made."""
    ended = summarising.count(self._at.records)
    done = self._noted.get("experiences") == ended
    if done and self._at.step == self._begun and "closing" in self._noted:
      return self._noted["closing"]  # of a run that had ended before
    return self._job.ledger.pending()

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
    """Waits for pending writes and unlocks the folder.

    Raises:
      WorkdirError: where a write that was pending fails.
    """
    if self.path is not None:
      with explained(self.path):
        self._stack.close()
