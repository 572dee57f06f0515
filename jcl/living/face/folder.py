"""Files of a watched folder, and which of them are written completely.

The folder is looked at again and again. That needs nothing of the operating
system and works on shares of other machines too, which tell of no changes; and
a file would have to be waited for anyway, until nobody writes to it any more.
"""

from collections.abc import Iterator
import os
from pathlib import Path
import time
from typing import NamedTuple
import unicodedata

from jcl.living.face import tables
from jcl.streams import folders, images

QUIET = 1.0  # seconds for which a file has to stay as it is to be whole


class Found(NamedTuple):
  """A file as it lies there.

  Attributes:
    name: its path below the watched folder, with "/" between the parts.
    path: to open it by.
    size: bytes.
    changed: time of its last change, in nanoseconds.
    label: name of the folder that it is in; None in the watched folder itself.
  """

  name: str
  path: Path
  size: int
  changed: int
  label: str | None

  @property
  def is_table(self) -> bool:
    """Whether its rows are examples; else it is an image, which is one."""
    return self.path.suffix.lower() in tables.SUFFIXES


class Folder:
  """A folder whose files are told once they are whole.

  Args:
    path: of the folder.
    quiet: seconds for which a file has to stay as it is.
  """

  def __init__(self, path: Path, quiet: float = QUIET) -> None:
    self.path, self._quiet = path, quiet
    # Size and time of files that are new or have changed, and since when.
    self._seen: dict[str, tuple[int, int, float]] = {}

  def whole(self, known: dict[str, tuple[int, int]]) -> list[Found]:
    """Returns new and changed files that are whole, the oldest first.

    Args:
      known: size and time of last change of files that are not new, by name.
    """
    now, found, seen = time.monotonic(), [], {}
    for each in self._files():
      stamp = each.size, each.changed
      if known.get(each.name) == stamp:
        continue
      *before, since = self._seen.get(each.name, (0, 0, now))
      if tuple(before) != stamp:
        since = now
      seen[each.name] = (*stamp, since)
      # Of a table, whole lines are read, however often some are appended.
      if each.size and (each.is_table or now - since >= self._quiet):
        found.append(each)
    self._seen = seen
    return sorted(found, key=lambda each: (each.changed, each.name))

  def _files(self) -> Iterator[Found]:
    """Yields images and tables, in the folder and in those below it."""
    suffixes = {*images.suffixes(), *tables.SUFFIXES}
    for place, below, names in os.walk(self.path):
      below[:] = sorted(n for n in below if not folders.is_foreign(n))
      inside = os.path.relpath(place, self.path)
      parts = [] if inside == "." else Path(inside).parts
      # Systems write accented letters as one character or as two.
      label = unicodedata.normalize("NFC", parts[0]) if parts else None
      for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if folders.is_foreign(name) or suffix not in suffixes:
          continue
        path = Path(place, name)
        try:
          facts = path.stat()
        except OSError:  # moved meanwhile: it is found where it is next time
          continue
        whole = "/".join((*parts, name))
        yield Found(whole, path, facts.st_size, facts.st_mtime_ns, label)
