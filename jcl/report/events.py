"""Progress as event files, for TensorBoard and what else reads them."""

from collections.abc import Mapping
import contextlib
import math
from pathlib import Path
import time
from typing import Any

from jcl import base, metrics

_FLUSH_SECONDS = 10.0  # between two flushes to disk, at least
TEST_SETS = 50  # each has a curve of its own where there are no more


class EventWriter:
  """Writes scalars to an event file in `folder`; a context manager.

  It writes in the calling thread, so that a failure to write is raised there.

  A run that resumes gives the number of updates it had made, `resume_step`:
  readers then drop what an earlier writer logged after that step, so that no
  point shows twice.
  """

  def __init__(self, folder: str | Path, resume_step: int | None = None):
    from tensorboardX import event_file_writer
    from tensorboardX.proto import event_pb2, summary_pb2

    self._event: Any = event_pb2.Event
    self._summary: Any = summary_pb2.Summary
    Path(folder).mkdir(parents=True, exist_ok=True)
    self._writer = event_file_writer.EventsWriter(
      str(Path(folder) / "events"),
      # File names count whole seconds, in which a short run may come back.
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
    """Writes one point per name at `step`; what is not finite is left out."""
    # One event for all takes a fraction of the time of one for each.
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
    """Writes what an experience did, achieved and cost, at its last `step`.

    Accuracy is the mean over the test sets seen and, where there are up to
    `TEST_SETS`, that on each test set.
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
    """Writes what is still held back; nothing may be written after it."""
    try:
      self._writer.close()
    except OSError:
      # The writer leaves its file open then, and from Python 3.13 on a file
      # that cannot be flushed complains once more as it is collected.
      with contextlib.suppress(OSError):
        self._writer._py_recordio_writer.close()
      raise

  def __enter__(self) -> "EventWriter":
    return self

  def __exit__(self, *_) -> None:
    self.close()
