"""The folder of a log: its writer's lock, and the version of its format."""

import json
from pathlib import Path

import filelock

from jcl.options import errors
from jcl.replay.store import records, segments

FORMAT = 1
JOURNAL, EXAMPLES = "journal", "examples"
_META, _LOCK = "log.json", ".lock"
_META_LINE = json.dumps({"log": "jcl.live", "format": FORMAT}).encode() + b"\n"


class InUse(records.StoreError):
  """A log that another process writes to."""


def claim(folder: Path) -> filelock.BaseFileLock:
  """Takes a folder for writing, made where absent, and returns its lock.

  Raises:
    InUse: for a folder that another process writes to.
    StoreError: for one that is not writable.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK, thread_local=False)
    lock.acquire(timeout=0)
  except filelock.Timeout:
    raise InUse(
      f"{folder} is in use by another writer: wait for it, or open it with "
      "readonly=True"
    ) from None
  except OSError as error:
    raise records.failure("write to", folder, error) from error
  return lock


def prepare(folder: Path, writable: bool) -> None:
  """Checks the version of a log; makes an empty log where there is none.

  Raises:
    StoreError: for a log of a later version; without `writable`, for none.
    OSError: where a file cannot be read or made.
  """
  path = folder / _META
  try:
    about = json.loads(path.read_text(encoding="utf-8"))
    found = about["format"]
  except (FileNotFoundError, ValueError, TypeError, KeyError):
    found = None  # none yet, or damaged: the log is there all the same
  if found is None:
    if writable:
      (folder / EXAMPLES).mkdir(exist_ok=True)
      segments.replace(path, [_META_LINE])
      segments.sync_folder(folder.parent)
    elif not (folder / EXAMPLES).is_dir():
      raise records.StoreError(f"{folder} holds no log: give the folder of one")
  elif found != FORMAT:
    raise records.StoreError(
      f"{folder} is a log of format {errors.short(found)} and this jcl reads "
      f"{FORMAT}: use the version of jcl that wrote it"
    )


def meta_bytes() -> int:
  """Returns the bytes of the file that tells the version."""
  return len(_META_LINE)
