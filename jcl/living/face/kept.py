"""Settings of a device, and who holds its folder: files beside the learner."""

from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import json
import os
from pathlib import Path
import time
from typing import Any

from jcl.living.face import pictures
from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError
from jcl.report import lines
from jcl.run import workdir
from jcl.streams import images

_SETTINGS, _HOLDER = "device.json", "holder.json"
NOTHING = "none"  # in place of a folder to watch


@dataclasses.dataclass(frozen=True)
class Settings:
  """How examples come in, beside requests; None where it was not said.

  Attributes:
    watch: folder that is watched; "none" for none.
    label: column of tables that is the label; None: the last one.
    image_size: pixels in height and width that images are resized to.
    color: channels of images.
  """

  watch: str | None = None
  label: str | None = None
  image_size: int | None = None
  color: images.Color | None = None

  @property
  def reading(self) -> pictures.Reading:
    """How images become examples."""
    return pictures.Reading(self.image_size, self.color)

  @property
  def watched(self) -> Path | None:
    """The folder that is watched."""
    return None if self.watch in (None, NOTHING) else Path(str(self.watch))


def settled(folder: Path, given: Settings) -> Settings:
  """Returns what is given, and what the folder keeps where nothing is.

  Raises:
    UsageError: for a damaged file, and for a folder to watch that is none.
  """
  file, before = folder / _SETTINGS, {}
  if file.exists():
    try:
      before = dataclasses.asdict(Settings(**json.loads(file.read_text())))
    except (ValueError, TypeError) as error:
      raise UsageError(
        f"{file} is damaged ({errors.reason(error, 90)}): remove it, and give "
        "the flags of the first start again"
      ) from error
  if given.watch not in (None, NOTHING):
    whole = str(Path(str(given.watch)).expanduser().absolute())
    given = dataclasses.replace(given, watch=whole)
  now = {k: v for k, v in dataclasses.asdict(given).items() if v is not None}
  found = Settings(**{**before, **now})
  watched = found.watched
  if watched is None:
    return found
  if not watched.is_dir():
    raise MissingFileError(
      f"--watch={watched}: there is no such folder; make it, or give "
      f"--watch={NOTHING}"
    )
  inside = watched.resolve().is_relative_to(folder.resolve())
  if inside or folder.resolve().is_relative_to(watched.resolve()):
    raise UsageError(
      f"--watch={watched} and the learner's folder {folder} lie within each "
      "other: give folders apart"
    )
  return found


def keep(folder: Path, settings: Settings) -> None:
  """Writes settings, for later starts that give none."""
  with workdir.explained(folder):
    text = json.dumps(dataclasses.asdict(settings), indent=2)
    lines.write_atomically(folder / _SETTINGS, text)


@contextlib.contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
  """Tells other processes who holds the folder, for as long as the block."""
  told = {"pid": os.getpid(), "address": address, "since": time.time()}
  file = folder / _HOLDER
  with workdir.explained(folder):
    lines.write_atomically(file, json.dumps(told))
  try:
    yield
  finally:
    with contextlib.suppress(OSError):
      file.unlink(missing_ok=True)


def holder(folder: Path) -> str:
  """Returns who holds a folder that is in use."""
  import psutil

  found: dict[str, Any] = {}
  with contextlib.suppress(OSError, ValueError):
    found = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
  try:
    number, address = int(found["pid"]), str(found["address"])
    since = datetime.datetime.fromtimestamp(float(found["since"]))
    if psutil.pid_exists(number):
      return (
        f"process {number} serves it at {address} since {since:%Y-%m-%d %H:%M}"
      )
  except (KeyError, TypeError, ValueError, OverflowError, OSError):
    pass  # damaged, or left by a process that was killed
  return "another process holds it"
