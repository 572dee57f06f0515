"""Checkpoints that survive a kill at any moment: one pytree and one JSON.

Arrays and host state are written by Orbax, asynchronously and atomically (a
checkpoint appears under its name only when complete). Every array carries a
CRC-32 that is checked on reading; a damaged checkpoint is set aside with a
warning and the one before it is used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import time
from typing import Any
import zlib

from absl import logging
import jax
import numpy as np

from jcl import base
from jcl.report import lines
from jcl.run import cursor, cursor_json

# From format 3 on, feed, trainee and controller save their own states.
_FORMAT = 3

FILES = ("checkpoints",)  # of a run's folder

# Errors by which the system refuses to read an intact file at the moment.
_OF_THE_SYSTEM = (
  errno.EACCES,
  errno.EPERM,
  errno.EMFILE,
  errno.ENFILE,
  errno.ENOMEM,
)

# Errors by which the system refuses to write a checkpoint.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

# Saving takes time: an experience that ends gets a checkpoint only where the
# last one is this many seconds old, and this many times as old as saving took.
_LEAST_SECONDS, _LEAST_TIMES = 2.0, 20.0


class CheckpointError(RuntimeError):
  """A checkpoint that does not fit the run that reads it."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
  """All that resuming a run needs."""

  state: base.LearnerState
  place: cursor.Cursor
  ledger: Mapping[str, Any]
  curve: Mapping[str, Any]  # sums for its next point, see `curve.Curve.state`


class Checkpoints:
  """A run's checkpoints in one folder.

  Args:
    folder: of the checkpoints; made where absent.
    every_seconds: time between checkpoints in the middle of an experience.
    keep: number of the latest checkpoints to keep; two at least, so that one is
      left when the newest is damaged.
    records: file that holds the run's records, up to the last one at each save;
      None writes all records into every checkpoint.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    every_seconds: float = 60.0,
    keep: int = 2,
    records: lines.Lines | None = None,
  ) -> None:
    import orbax.checkpoint as ocp

    self._ocp = ocp
    self._every_seconds = every_seconds
    self._last_save, self._took = time.monotonic(), 0.0
    self._records = records
    options = ocp.CheckpointManagerOptions(
      max_to_keep=max(keep, 2),
      enable_async_checkpointing=True,
      create=True,
      cleanup_tmp_directories=True,  # what a kill left half written
    )
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def due(self) -> bool:
    """Tells whether `every_seconds` have passed since the last save."""
    return time.monotonic() - self._last_save >= self._every_seconds

  def pays(self) -> bool:
    """Tells whether another save is worth its time.

    Asked at moments that suit a checkpoint, such as the end of an experience.
    """
    least = max(_LEAST_SECONDS, _LEAST_TIMES * self._took)
    return self.due() or time.monotonic() - self._last_save >= least

  def save(self, snapshot: Snapshot) -> None:
    """Copies a snapshot and starts writing it in the background.

    Raises:
      OSError: where this save, or the one before, cannot be written.
    """
    start = time.monotonic()
    self._save(snapshot)
    self._last_save = time.monotonic()
    self._took = self._last_save - start

  def _save(self, snapshot: Snapshot) -> None:
    mark = None
    if self._records is not None:
      self._records.sync()  # first: the checkpoint refers to these records
      mark = self._records.mark
    arrays, described = {}, []
    for i, (path, leaf) in enumerate(_leaves(snapshot.state)):
      # A copy: the device reuses the buffer in the next step.
      value = np.array(leaf)
      described.append(
        {
          "path": path,
          "shape": list(value.shape),
          "dtype": str(value.dtype),
          "crc32": _crc(value),
        }
      )
      if value.size:
        arrays[f"a{i}"] = value
    host = {
      "format": _FORMAT,
      "arrays": described,
      "place": cursor_json.to_json(snapshot.place, mark),
      "ledger": dict(snapshot.ledger),
      "curve": dict(snapshot.curve),
    }
    ocp = self._ocp
    with _as_os_error():
      self._manager.save(
        (self._manager.latest_step() or 0) + 1,
        args=ocp.args.Composite(
          arrays=ocp.args.StandardSave(arrays), host=ocp.args.JsonSave(host)
        ),
      )

  def restore(
    self, template_fn: Callable[[cursor.Cursor], base.LearnerState]
  ) -> Snapshot | None:
    """Returns the latest intact snapshot, or None where there is none.

    Args:
      template_fn: returns the shapes and dtypes of the `LearnerState` at a
        cursor; ValueError where the cursor cannot be of this run.

    Raises:
      CheckpointError: where an intact checkpoint is of another model (the
        message lists the arrays that differ) or of another format, cannot be
        read at the moment, or where no checkpoint fits the file of records.
    """
    missing = ""
    for number in sorted(self._manager.all_steps(), reverse=True):
      try:
        arrays, host = self._read(number)
        known = self._known(host["place"])
        place = cursor_json.from_json({**host["place"], "records": known})
        ledger, curve = dict(host["ledger"]), dict(host["curve"])
      except (CheckpointError, MemoryError):
        raise
      except lines.MissingLinesError as error:
        logging.warning("checkpoint %d cannot be used: %s", number, error)
        missing = missing or str(error)
        continue
      except Exception as error:  # Orbax raises any of them for a damaged file.
        if _error_number(error) in _OF_THE_SYSTEM:
          raise _unread(f"checkpoint {number}", error) from error
        self._set_aside(number, error)
        continue
      try:
        template = template_fn(place)
      except ValueError as error:
        self._set_aside(number, error)
        continue
      state = _assemble(template, arrays, host["arrays"])
      return Snapshot(state, place, ledger, curve)
    if missing:
      raise CheckpointError(
        f"{missing}, and the checkpoints need them: bring the file back, or "
        "start over with --noresume"
      )
    return None

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays of the latest intact checkpoint by their paths.

    Paths are those in a `LearnerState`, such as ".train.step". Without a
    checkpoint there is no array.

    Raises:
      CheckpointError: for a checkpoint of another format.
    """
    for number in sorted(self._manager.all_steps(), reverse=True):
      try:
        arrays, host = self._read(number)
      except (CheckpointError, MemoryError):
        raise
      except Exception as error:  # Orbax raises any of them for a damaged file.
        logging.warning("checkpoint %d cannot be used: %s", number, error)
        continue
      paths = [str(about["path"]) for about in host["arrays"]]
      return dict(zip(paths, arrays, strict=True))
    return {}

  def _set_aside(self, number: int, error: Exception) -> None:
    """Deletes a damaged checkpoint, so that the one before it is used."""
    logging.warning(
      "checkpoint %d is damaged (%s): using the one before it",
      number,
      str(error).splitlines()[0] if str(error) else type(error).__name__,
    )
    self._manager.delete(number)

  def _known(self, place: Mapping[str, Any]) -> list[Any]:
    """Returns the records of a saved place, as JSON."""
    known = place["records"]
    if isinstance(known, list):
      return known
    if self._records is None:
      return []
    mark = lines.Mark(**known)
    try:
      return self._records.read(mark)
    except OSError as error:
      raise _unread(str(self._records.path), error) from error

  def _read(self, number: int) -> tuple[list[np.ndarray], dict[str, Any]]:
    ocp = self._ocp
    restored = self._manager.restore(
      number,
      args=ocp.args.Composite(
        arrays=ocp.args.StandardRestore(), host=ocp.args.JsonRestore()
      ),
    )
    host = restored["host"]
    if host.get("format") != _FORMAT:
      raise CheckpointError(
        f"checkpoint {number} has format {host.get('format')}, this version of "
        f"jcl reads {_FORMAT}: go on with the version that wrote it, "
        "or use a new work directory"
      )
    arrays = []
    for i, about in enumerate(host["arrays"]):
      empty = np.zeros(about["shape"], np.dtype(about["dtype"]))
      value = np.asarray(restored["arrays"][f"a{i}"]) if empty.size else empty
      if _crc(value) != about["crc32"]:
        raise ValueError(f"the checksum of {about['path']} does not match")
      arrays.append(value)
    return arrays, host

  def wait(self) -> None:
    """Returns when all saves so far are on disk.

    Raises:
      OSError: where one cannot be written.
    """
    with _as_os_error():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for pending writes and releases the folder.

    Raises:
      OSError: where a write that is pending fails.
    """
    self.wait()
    with _as_os_error():  # closing raises the errors of threads that wrote late
      self._manager.close()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
  """Turns errors that Orbax raises where it cannot write into an OSError."""
  try:
    yield
  except OSError:
    raise
  except Exception as error:
    number = _error_number(error)
    if number is None:
      raise
    raise OSError(number, os.strerror(number)) from error


def _error_number(error: BaseException | None) -> int | None:
  """Returns the system's number of an error, or of an error that led to it."""
  while error is not None:
    if isinstance(error, OSError) and error.errno:
      return error.errno
    told = str(error)
    if found := re.search(r"os_error_code='(\d+)'", told):
      return int(found[1])
    for number in (*_OF_WRITING, *_OF_THE_SYSTEM):
      if os.strerror(number) in told:
        return number
    # Where a message names no disk, memory of the host or a device ran out.
    if told.startswith("RESOURCE_EXHAUSTED"):
      return errno.ENOMEM
    error = error.__cause__ or error.__context__
  return None


def _unread(what: str, error: BaseException) -> CheckpointError:
  reason = os.strerror(_error_number(error) or errno.EIO)
  return CheckpointError(
    f"{what} cannot be read ({reason}): nothing was changed; see to it that it "
    "can and run the same command again, or start over with --noresume"
  )


def _leaves(state: base.LearnerState) -> list[tuple[str, Any]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(state)
  return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _crc(value: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(value).tobytes())


def _assemble(
  template: base.LearnerState,
  arrays: Sequence[np.ndarray],
  described: Sequence[Mapping[str, Any]],
) -> base.LearnerState:
  expected = {
    path: (tuple(leaf.shape), str(leaf.dtype))
    for path, leaf in _leaves(template)
  }
  found = {a["path"]: (tuple(a["shape"]), a["dtype"]) for a in described}
  if found != expected:
    names = sorted(expected.keys() | found.keys())
    differing = [
      f"{name}: saved {found.get(name)}, this run has {expected.get(name)}"
      for name in names
      if found.get(name) != expected.get(name)
    ]
    raise CheckpointError(
      "the checkpoint is of another model; use a new work directory, or the "
      "flags it was made with. Arrays that differ: "
      + "; ".join(differing[:5])
      + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
    )
  by_path = dict(zip([a["path"] for a in described], arrays, strict=True))
  leaves = [by_path[path] for path, _ in _leaves(template)]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)
