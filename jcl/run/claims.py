"""Claims of a run to its folder: lock, identity, and what to do on errors."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import errno
import json
from pathlib import Path
import shutil
from typing import Any

from jcl.options import errors
from jcl.report import encoding, lines
from jcl.run import identity

FILES = ("config.json",)


class WorkdirError(RuntimeError):
  """A work directory that cannot be used; the message says what to do."""


def claim(
  path: Path,
  config: Mapping[str, Any],
  resume: bool = True,
  defaults: Mapping[str, Any] | None = None,
) -> None:
  """Writes which run a folder belongs to, or checks that it is this run's.

  Args:
    path: of the folder.
    config: settings that identify the run; anything `encoding.encode` takes.
    resume: whether to compare with the settings that are there; False replaces
      them.
    defaults: of settings that other versions may lack; see
      `identity.differences`.

  Raises:
    WorkdirError: where `resume` is set and the folder was made with another
      configuration, listing what differs; or where it cannot be written.
  """
  file, mine = path / FILES[0], encoding.encode(config)
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
      theirs, mine, encoding.encode(defaults) if defaults else None
    )
    if found:
      raise WorkdirError(
        f"{path} was made with other settings: {identity.told(found)}. Give "
        "those settings again to go on, another --workdir to keep both, or "
        "--noresume to start over"
      )
  with explained(path):
    lines.write_atomically(file, json.dumps(mine, indent=2, sort_keys=True))


def clear(path: Path, names: Iterable[str]) -> None:
  """Removes the entries of these names from a folder, and nothing else."""
  for name in names:
    entry = path / name
    if entry.is_dir() and not entry.is_symlink():
      shutil.rmtree(entry, ignore_errors=True)
    else:
      entry.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Holds the lock of a folder, which one process at a time can have.

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
# Errors that nothing but writing meets.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@contextlib.contextmanager
def explained(path: Path | None, *, writing: bool = True) -> Iterator[None]:
  """Turns a failure to write into a message that says what to do.

  Args:
    path: of the file or folder that the block writes to; None leaves errors as
      they are.
    writing: whether the block does nothing but write; False explains only those
      errors that nothing but writing meets, such as a full disk.

  Raises:
    WorkdirError: in place of an OSError that is explained.
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
