"""Memory of the files that were observed, so that none is observed twice.

A learner's log counts its examples, and gives them their numbers in order. So
the memory says ahead of each batch which files or rows it consists of and what
number its first example will have. Of all that is said, only the last batch can
be in doubt after a crash, and the log decides: it has taken as many of the
batch as it holds examples from that number on. Where a batch was not taken
whole, this is written down before anything else is taken, whoever brings it.
"""

from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jcl.living.log import journal as journal_lib


class File(NamedTuple):
  """A file that was taken, as it was then.

  Attributes:
    name: its path below the watched folder, with "/" between the parts.
    size: bytes.
    changed: time of its last change, in nanoseconds.
    digest: of its content.
    label: that it had; None: none.
    id: of the example; -1 before it is taken.
  """

  name: str
  size: int
  changed: int
  digest: str
  label: str | None
  id: int = -1


@dataclasses.dataclass
class Table:
  """A table whose rows are taken as they are appended.

  Attributes:
    dialect: how it is written, as `tables.Form` keeps it.
    end: bytes of it that were read.
    start: of the last record that was read.
    crc: checksum of that record, by which an altered table is noticed.
  """

  dialect: Mapping[str, Any]
  start: int = 0
  end: int = 0
  crc: int = 0


class Memory:
  """Files and rows that were taken. One thread at a time may call its methods.

  Args:
    path: of its file, made where absent.
    count: examples that the learner's log holds now.

  Raises:
    StoreError: where the file cannot be opened, or written.
  """

  def __init__(self, path: Path, count: int) -> None:
    self.files: dict[str, File] = {}
    self.tables: dict[str, Table] = {}
    self._named: dict[str, list[str]] = {}  # names of files, by digest
    self._doubt: dict[str, Any] | None = None  # the batch that was begun last
    self._journal = journal_lib.Journal(path, writable=True)
    try:
      for _, value in self._journal.values:
        self._apply(value)
      self._journal.values = []
      self.settle(count)
    except BaseException:
      self._journal.close()
      raise

  @property
  def notes(self) -> list[str]:
    """Damage that was found when it was opened."""
    return list(self._journal.notes)

  def same(self, digest: str) -> list[File]:
    """Returns the files that were taken with this content."""
    return [self.files[name] for name in self._named.get(digest, ())]

  def begin_files(self, first: int, files: list[File]) -> None:
    """Says which files the next examples are.

    Args:
      first: number of the first example.
      files: an example each.
    """
    rows = [list(each[:-1]) for each in files]
    self._say({"op": "files", "first": first, "files": rows})

  def begin_rows(
    self, first: int, table: str, ends: list[tuple[int, int, int]]
  ) -> None:
    """Says which rows of a table the next examples are.

    Args:
      first: number of the first example.
      table: its name.
      ends: start, end and checksum of each row's record.
    """
    rows = [list(each) for each in ends]
    self._say({"op": "rows", "first": first, "table": table, "rows": rows})

  def settle(self, count: int) -> None:
    """Decides on the batch that was begun last.

    Args:
      count: examples that the learner's log holds.

    Raises:
      StoreError: where the disk is full; nothing else may be taken then.
    """
    if self._doubt is None:
      return
    size = len(_items(self._doubt))
    taken = min(max(count - self._doubt["first"], 0), size)
    if taken < size:
      self._journal.append({"op": "taken", "count": taken})
    self._take(taken)

  def found_table(self, name: str, dialect: Mapping[str, Any]) -> None:
    """Remembers how a table is written."""
    self._say({"op": "table", "table": name, "dialect": dict(dialect)})

  def passed(self, table: str, start: int, end: int, crc: int) -> None:
    """Remembers that a table's records up to `end` are left out."""
    self._say({"op": "passed", "table": table, "row": [start, end, crc]})

  def moved(self, before: str, file: File) -> None:
    """Remembers that a file has another name, or another label, now."""
    self._say({"op": "moved", "from": before, "to": list(file)})

  def close(self) -> None:
    """Releases the file."""
    self._journal.close()

  def _say(self, value: dict[str, Any]) -> None:
    assert self._doubt is None, "settle what was begun before"
    self._journal.append(value)
    self._apply(value)

  def _apply(self, value: dict[str, Any]) -> None:
    op = value["op"]
    if op == "taken":
      self._take(value["count"])
      return
    if self._doubt is not None:  # more was said later: it was taken whole
      self._take(len(_items(self._doubt)))
    if op in ("files", "rows"):
      self._doubt = value
    elif op == "table":
      known = self.tables.setdefault(value["table"], Table({}))
      known.dialect = value["dialect"]
    elif op == "passed":
      self._read(value["table"], value["row"])
    elif op == "moved":
      self._forget(value["from"])
      self._note(File(*value["to"]))

  def _take(self, count: int) -> None:
    """Remembers the first files or rows of the batch in doubt as taken."""
    value, self._doubt = self._doubt, None
    if value is None:
      return
    for position, item in enumerate(_items(value)[:count]):
      if value["op"] == "files":
        self._note(File(*item)._replace(id=value["first"] + position))
      else:
        self._read(value["table"], item)

  def _read(self, table: str, row: list[int]) -> None:
    # A line that told of the table may be damaged: then it is found anew.
    found = self.tables.setdefault(table, Table({}))
    found.start, found.end, found.crc = row

  def _note(self, file: File) -> None:
    self._forget(file.name)
    self.files[file.name] = file
    self._named.setdefault(file.digest, []).append(file.name)

  def _forget(self, name: str) -> None:
    before = self.files.pop(name, None)
    if before is not None:
      names = self._named[before.digest]
      names.remove(name)
      if not names:
        del self._named[before.digest]


def _items(value: Mapping[str, Any]) -> list[list[Any]]:
  return value["files" if value["op"] == "files" else "rows"]
