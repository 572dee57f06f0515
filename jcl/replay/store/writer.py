"""The writer of a store: appends records to the last segment, durably."""

from collections.abc import Mapping
import os
from pathlib import Path
import threading
import time
from typing import Any, Literal

import filelock
import numpy as np

from jcl.replay.store import contents as contents_lib
from jcl.replay.store import records, segments

Fsync = Literal["always", "batch"] | float

SEGMENT_BYTES = 2**30
SEGMENT_RECORDS = 2**20
# A flush updates the open segment's index if it lacks more bytes than this,
# which is about the most that opening has to scan after a crash.
INDEX_BYTES = 2**26
LOCK = ".lock"
_sync = getattr(os, "fdatasync", os.fsync)


def claim(folder: Path) -> filelock.BaseFileLock:
  """Takes a folder for writing, made where absent, and returns its lock.

  Raises:
    StoreError: for a folder in use, not writable, or with other files.
  """
  try:
    if folder.is_dir() and not segments.numbers(folder):
      ours = {".index", ".partial"}
      other = sorted(
        path.name
        for path in folder.iterdir()
        if path.name != LOCK and path.suffix not in ours
      )
      if other:
        raise records.StoreError(
          f"{folder} holds files but no store, such as {other[0]}: give an "
          "empty folder or one that is not there"
        )
    if not folder.is_dir():
      folder.mkdir(parents=True)
      segments.sync_folder(folder.parent)
    # Another thread than the one that opened the store may close it.
    lock = filelock.FileLock(folder / LOCK, thread_local=False)
    lock.acquire(timeout=0)
    return lock
  except filelock.Timeout:
    raise records.StoreError(
      f'{folder} is in use: wait for it, or open it with mode="r"'
    ) from None
  except OSError as error:
    raise records.failure("write to", folder, error) from error


class Writer:
  """Adds examples to a store; any thread may call its methods.

  At first it writes missing index files, and begins a segment if the last one
  is damaged or there is none.

  Raises:
    OSError: where a segment cannot be made.
  """

  def __init__(
    self, contents: contents_lib.Contents, fsync: Fsync, segment_bytes: int
  ) -> None:
    self._contents = contents
    self._fsync, self._segment_bytes = fsync, segment_bytes
    self._lock = threading.RLock()
    self._syncing = threading.Lock()
    self._synced = time.monotonic()
    self._broken = ""  # why it takes nothing more
    for path in contents.folder.glob("*.partial"):
      path.unlink()
    for segment in contents.segments:
      if segment is not self._grows() and segment.covered != segment.end:
        contents.save(segment)
    if self._grows() is None:
      contents.begin()

  def append(
    self,
    x: np.ndarray,
    extras: Mapping[str, np.ndarray],
    names: list[str],
    tasks: np.ndarray,
    run: str,
  ) -> np.ndarray:
    """Writes examples and returns their ids; see `Store.append`.

    Args:
      x: [N, ...].
      extras: [N, ...] each.
      names: [N] of classes.
      tasks: [N] integers.
      run: name.
    """
    layout = records.layout_of(x, extras)
    with self._lock:
      self._check()
      text = layout.text
      numbers, fresh = self._contents.names.define(
        {"classes": names, "runs": [run], "layouts": [text]}
      )
      batch = records.encode(
        layout,
        x,
        extras,
        {
          "label": [numbers["classes"][name] for name in names],
          "run": numbers["runs"][run],
          "layout": numbers["layouts"][text],
          "task": tasks,
        },
      )
      first, done = self._contents.index.count, 0
      try:
        while done < len(batch):
          if taken := self._write(batch[done:], fresh):
            done, fresh = done + taken, {}
      except OSError as error:
        wrapped = records.failure("add to", self._contents.folder, error)
        raise records.StoreError(
          f"{wrapped}; the first {done} of {len(batch)} examples were stored"
        ) from error
      if self._due():
        self.flush()
      return np.arange(first, first + done, dtype=np.int64)

  def flush(self) -> None:
    """Returns once all added examples are on disk; see `Store.flush`."""
    with self._lock:
      self._check()
      segment = self._contents.segments[-1]
    self._sync(segment)  # others go on adding meanwhile
    with self._lock:
      self._synced = time.monotonic()
      if segment.end - segment.covered > INDEX_BYTES:
        self._sync(segment)  # an index covers nothing that a crash can take
        self._contents.save(segment)

  def close(self) -> None:
    """Flushes and writes the index; nothing can be added afterwards."""
    with self._lock:
      if not self._broken:
        self.flush()
        segment = self._contents.segments[-1]
        if segment.covered != segment.end:
          self._contents.save(segment)
      self._broken = "it is closed"

  def _sync(self, segment: contents_lib.Segment) -> None:
    # One at a time: the kernel tells of a failure once.
    with self._syncing:
      self._check()
      try:
        _sync(segment.fd)
      except OSError as error:
        # The kernel may have dropped the bytes that it could not write, so that
        # a second attempt would seem to succeed.
        self._broken = "an earlier flush failed"
        raise records.failure("flush", self._contents.folder, error) from error

  def _grows(self) -> contents_lib.Segment | None:
    """Returns the segment that can be added to, if there is one."""
    held = self._contents
    last = held.segments[-1] if held.segments else None
    newest = last is not None and last.number + 1 == held.next_number
    return last if last is not None and newest and last.sound else None

  def _write(self, batch: np.ndarray, fresh: Mapping[str, Any]) -> int:
    """Writes as much of a batch as fits the segment; returns how many.

    If the last segment is full, begins another one and writes nothing.
    """
    held = self._contents
    segment, first, size = held.segments[-1], held.index.count, batch.itemsize
    present = first - segment.first_id
    head = records.definition(fresh, first, held.seed) if fresh else b""
    space = self._segment_bytes - segment.end - len(head)
    room = min(space // size, SEGMENT_RECORDS - present)
    if room < 1 and present:
      self.flush()
      held.save(segment)
      held.begin()
      return 0
    batch = batch[: max(room, 1)]
    batch["id"] = ids = np.arange(first, first + len(batch))
    records.seal(batch, held.seed)
    try:
      _write_all(segment.fd, head, segment.end)
      _write_all(segment.fd, batch.view(np.uint8).data, segment.end + len(head))
    except BaseException:
      # Bytes of an interrupted write must not stay before the next batch.
      try:
        os.ftruncate(segment.fd, segment.end)
      except OSError:
        self._broken = "a failed write could not be undone"
      raise
    begin = segment.end + len(head)
    segment.end = begin + size * len(batch)
    held.names.learn(fresh)
    columns = {name: batch[name] for name in ("layout", "label", "run", "task")}
    held.index.extend(
      ids, {"offset": begin + size * np.arange(len(batch)), **columns}
    )
    return len(batch)

  def _due(self) -> bool:
    if isinstance(self._fsync, str):
      return self._fsync == "always"
    return time.monotonic() - self._synced >= self._fsync

  def _check(self) -> None:
    if self._broken:
      raise records.StoreError(
        f"{self._contents.folder} takes nothing more: {self._broken}; open it "
        "again"
      )


def _write_all(fd: int, content: Any, offset: int) -> None:
  content = memoryview(content)
  while len(content):
    written = os.pwrite(fd, content, offset)
    content, offset = content[written:], offset + written
