"""The latest model of a live learner, in a file beside its checkpoints."""

from pathlib import Path
import threading
import time

from jcl.run import workdir
from jcl.run.inference import files
from jcl.run.inference import model as models

# A model follows the last one this many times as late as its writing took, but
# not later than so many seconds.
_TIMES, _MOST_SECONDS = 20.0, 1.0


class Latest:
  """Writes the latest model, and skips those that another one follows at once.

  Any thread may call its methods.

  Args:
    folder: of the file; None writes nothing.
  """

  def __init__(self, folder: Path | None) -> None:
    self._folder = folder
    self._lock = threading.Lock()
    self._unwritten: models.Model | None = None
    self._timer: threading.Timer | None = None  # writes it later
    self._failed: workdir.WorkdirError | None = None  # there
    self._due = 0.0  # when another model may be written

  def keep(self, made: models.Model) -> None:
    """Writes a model, in a moment where the last one was written just now.

    Raises:
      WorkdirError: where this one cannot be written, or the last one could not.
    """
    if self._folder is None:
      return
    with self._lock:
      self._unwritten = made
      self._tell()
      wait = self._due - time.monotonic()
      if wait <= 0:
        self._write()
      elif self._timer is None:
        self._timer = threading.Timer(wait, self._late)
        self._timer.daemon = True  # what has no time left is learned anew
        self._timer.start()

  def flush(self) -> None:
    """Returns when the latest model is on disk.

    Raises:
      WorkdirError: where it cannot be written.
    """
    with self._lock:
      if self._timer is not None:
        self._timer.cancel()
        self._timer = None
      self._failed = None  # as it is tried again
      self._write()

  def _late(self) -> None:
    with self._lock:
      if self._timer is None:  # it was flushed meanwhile
        return
      self._timer = None
      try:
        self._write()
      except workdir.WorkdirError as error:
        self._failed = error

  def _write(self) -> None:
    if self._unwritten is None or self._folder is None:
      return
    start = time.monotonic()
    with workdir.explained(self._folder):
      files.save(self._unwritten, self._folder / files.NAME)
    self._unwritten, end = None, time.monotonic()
    self._due = end + min(_TIMES * (end - start), _MOST_SECONDS)

  def _tell(self) -> None:
    """Raises what stopped a late write, once."""
    failed, self._failed = self._failed, None
    if failed is not None:
      raise failed
