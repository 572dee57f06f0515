"""Progress of a run as event files, for TensorBoard and similar readers."""

from collections.abc import Mapping
import contextlib
import math
from pathlib import Path
import time
from typing import Any

from jcl import base, metrics

_FLUSH_SECONDS = 10.0  # between two flushes to disk, at least
TEST_SETS = 50  # with more of them, only their mean is written


class EventWriter:
  """Writes scalars to an event file in `folder`; a context manager.

  The calling thread does the writing, so that a failure is raised there.

  Args:
    folder: where the event file lies; it is made if needed.
    resume_step: of a run that resumes, the updates that it had made. Readers
      then drop all points of earlier writers after that step, so that no point
      shows twice.
  """

  def __init__(
    self, folder: str | Path, resume_step: int | None = None
  ) -> None:
    from tensorboardX import event_file_writer
    from tensorboardX.proto import event_pb2, summary_pb2

    self._event: Any = event_pb2.Event
    self._summary: Any = summary_pb2.Summary
    Path(folder).mkdir(parents=True, exist_ok=True)
    self._writer = event_file_writer.EventsWriter(
      str(Path(folder) / "events"),
      # File names hold whole seconds, within which a short run may resume.
      "" if resume_step is None else f".from_{resume_step}",
    )
    self._flushed = time.monotonic()
    if resume_step is not None:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._writer.write_event(
        self._event(
          step=resume_step + 1, wall_time=time.time(), session_log=start
        )
      )

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one point per name at `step`; skips values that are not finite."""
    # One event for all values is much faster than one for each.
    points = [
      self._summary.Value(tag=name, simple_value=float(value))
      for name, value in values.items()
      if math.isfinite(value)
    ]
    if points:
      told = self._summary(value=points)
      self._writer.write_event(
        self._event(step=step, wall_time=time.time(), summary=told)
      )
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self._writer.flush()
      self._flushed = time.monotonic()

  def record(self, record: base.Record, step: int) -> None:
    """Writes the figures of an experience at its last `step`.

    Accuracy is the mean over the test sets seen so far and, if there are at
    most `TEST_SETS` of them, the accuracy on each.
    """
    values = {
      "experience/loss": record.loss,
      "experience/online_accuracy": record.online_accuracy,
      "experience/epochs": record.decision.epochs,
      "experience/tensors_trained": record.trained[0],
      "experience/parameters_trained": record.parameters[0],
      "memory/peak_bytes": record.peak_bytes,
    }
    for name in ("accuracy", "accuracy_task"):
      row = getattr(record, name)
      seen = metrics.macro_average(row[: record.experience + 1])
      values[f"{name}/seen"] = seen
      if len(row) <= TEST_SETS:
        values |= {f"{name}/test_{test}": each for test, each in enumerate(row)}
    for account, cost in record.costs.items():
      for unit in ("seconds", "joules", "flops", "bytes"):
        values[f"{unit}/{account}"] = getattr(cost, unit)
    self.scalars(step, values)

  def close(self) -> None:
    """Writes all points that are still in memory, and closes the file."""
    try:
      self._writer.close()
    except OSError:
      # The writer left its file open, and from Python 3.13 on a file that
      # cannot be flushed raises once more when it is garbage-collected.
      with contextlib.suppress(OSError):
        self._writer._py_recordio_writer.close()
      raise

  def __enter__(self) -> "EventWriter":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()
