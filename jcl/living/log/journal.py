"""A file of JSON values, one a line, each with a checksum of its own.

A line is durable when `append` returns, or `flush` where it is not waited for.
A crash can leave half a line, always the last one, which is cut off when the
file is next opened for writing. Damage elsewhere costs the lines it touches,
and no others.
"""

from collections.abc import Iterable
from concurrent import futures
import contextlib
import json
import os
from pathlib import Path
import threading
from typing import Any
import zlib

from jcl.options import errors
from jcl.replay.store import records, segments

Value = dict[str, Any]
_sync = getattr(os, "fdatasync", os.fsync)


class Journal:
  """A journal, open for appending or for reading alone.

  Args:
    path: of the file; made where it is absent and `writable`.
    writable: whether lines may be added; half a last line is then cut off.

  Raises:
    StoreError: where the file cannot be opened or read.
  """

  def __init__(self, path: Path, writable: bool) -> None:
    self.path = path
    self.notes: list[str] = []  # what is damaged
    self.values: list[tuple[int, Value]] = []  # bytes and value of each line
    self.size = 0  # bytes of whole lines
    self._fd = -1
    self._broken = False
    # The line that is not waited for, its place, and what tells of its sync.
    self._late: tuple[bytes, int, futures.Future[None]] | None = None
    self._beside = futures.ThreadPoolExecutor(1, "jcl journal")
    self._flushing = threading.Lock()
    try:
      if writable:
        fresh = not path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if fresh:
          segments.sync_folder(path.parent)
      self._read(path.read_bytes() if path.exists() else b"")
      if writable and os.fstat(self._fd).st_size > self.size:
        os.ftruncate(self._fd, self.size)
        os.fsync(self._fd)
    except OSError as error:
      self.close()
      raise records.failure("open", path, error) from error

  def append(self, value: Value, wait: bool = True) -> None:
    """Adds a line, durably, or nothing.

    Args:
      value: of the line.
      wait: until the line is on disk. Else it goes there meanwhile, and `flush`
        waits for it, as does all that is written later.

    Raises:
      StoreError: where the disk is full or fails; the lines before stay.
    """
    self.flush()
    if self._fd < 0 or self._broken:
      why = "an earlier write failed" if self._broken else "it is closed"
      raise records.StoreError(
        f"{self.path} takes nothing more: {why}; open it again"
      )
    data = encode(value)
    try:
      _write(self._fd, data, self.size)
      if wait:
        _sync(self._fd)
    except BaseException as error:
      # Bytes of an interrupted write must not stay before the next line.
      try:
        os.ftruncate(self._fd, self.size)
      except OSError:
        self._broken = True
      if isinstance(error, OSError):
        raise records.failure("add to", self.path, error) from error
      raise
    self.size += len(data)
    if not wait:
      try:
        synced = self._beside.submit(_sync, self._fd)
      except RuntimeError as error:  # there is no thread to be had
        synced = futures.Future()
        synced.set_exception(OSError(str(error)))
      self._late = data, self.size - len(data), synced

  def flush(self) -> None:
    """Returns when all lines are on disk.

    Raises:
      StoreError: where the disk does not take one that was not waited for;
        the next call tries again.
    """
    with self._flushing:
      if self._late is None:
        return
      data, offset, synced = self._late
      if synced.exception() is not None:
        # The kernel may have dropped the bytes that it could not write.
        try:
          _write(self._fd, data, offset)
          _sync(self._fd)
        except OSError as error:
          raise records.failure("add to", self.path, error) from error
      self._late = None

  def replace(self, values: Iterable[Value]) -> None:
    """Replaces all lines at once; after an error, the old ones stay.

    Raises:
      StoreError: where the disk is full or fails.
    """
    lines = [encode(value) for value in values]
    self.flush()
    try:
      segments.replace(self.path, lines)
      fd = os.open(self.path, os.O_RDWR)
    except OSError as error:
      raise records.failure("write", self.path, error) from error
    os.close(self._fd)
    self._fd, self.size, self._broken = fd, sum(map(len, lines)), False

  def close(self) -> None:
    """Releases the file; nothing can be added afterwards.

    Raises:
      StoreError: as `flush` does; the file is released all the same.
    """
    try:
      self.flush()
    finally:
      self._beside.shutdown()
      if self._fd >= 0:
        os.close(self._fd)
        self._fd, self._late = -1, None

  def _read(self, data: bytes) -> None:
    at, damaged = 0, 0
    for line in data.splitlines(keepends=True):
      at += len(line)
      whole = line.endswith(b"\n")
      value = decode(line) if whole else None
      if value is not None:
        self.values.append((len(line), value))
      damaged += whole and value is None
      self.size = at if whole else self.size
    if damaged:
      lines = errors.count(damaged, "line")
      self.notes.append(
        f"{self.path.name}: {lines} damaged; what they said is lost"
      )


def encode(value: Value) -> bytes:
  """Returns the line of a value: checksum, JSON and a line feed."""
  text = json.dumps(value, separators=(",", ":")).encode()
  return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Value | None:
  """Returns the value of a whole line; None where it is damaged."""
  crc, text = line[:8], line[9:-1]
  if crc != b"%08x" % zlib.crc32(text):
    return None
  with contextlib.suppress(ValueError, RecursionError):
    value = json.loads(text)
    return value if isinstance(value, dict) else None
  return None


def _write(fd: int, data: bytes, offset: int) -> None:
  left = memoryview(data)
  while left:
    written = os.pwrite(fd, left, offset)
    left, offset = left[written:], offset + written
