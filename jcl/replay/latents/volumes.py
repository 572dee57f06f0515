"""Folders of a trunk's latents on disk: what lies there, and making room."""

import contextlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

import filelock

from jcl.replay.store import writer


def listed(folder: Path) -> list[Path]:
  """Returns the volumes in the folder of a trunk, in their order."""
  if not folder.is_dir():
    return []
  return sorted(path for path in folder.iterdir() if path.name.isdecimal())


def size(folder: Path) -> int:
  """Returns the bytes of all files below a folder."""
  total = 0
  for where, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(OSError):  # removed meanwhile
        total += os.stat(os.path.join(where, name)).st_size
  return total


def removed(volume: Path) -> bool:
  """Removes a volume unless a process adds to it; tells whether it did."""
  try:
    with filelock.FileLock(volume / writer.LOCK, timeout=0):
      shutil.rmtree(volume, ignore_errors=True)
  except OSError:  # a lock that another process holds included
    return False
  if not listed(volume.parent):
    shutil.rmtree(volume.parent, ignore_errors=True)
  return True


def noted(path: Path) -> dict[str, Any]:
  """Returns what is noted on a trunk; nothing where that cannot be read."""
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError):
    return {}
  return found if isinstance(found, dict) else {}
