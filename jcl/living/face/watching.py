"""A watched folder: what is new there is observed, each example once."""

from collections.abc import Callable, Sequence
import hashlib
import os
from pathlib import Path
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from jcl.living import live as live_lib
from jcl.living.face import folder as folder_lib
from jcl.living.face import intake as intake_lib
from jcl.living.face import memory as memory_lib
from jcl.living.face import pictures, tables
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records

_PAUSE = 0.5  # seconds between looks at least
_SHARE = 10  # times what listing the folder took, to wait until the next look
_BATCH, _BYTES = 64, 1 << 25  # files, or bytes of pixels, taken at once
_PROBLEMS = 100  # that are kept


class _Image(NamedTuple):
  """An image that is about to be taken."""

  file: memory_lib.File
  pixels: np.ndarray


class Watcher:
  """Observes what comes into a folder, in a thread of its own.

  An image in a folder below is an example of the class that the folder is named
  after, one in the folder itself has no label; where it is moved into a folder
  later, that becomes its label. Rows that are appended to tables are examples,
  whose label is a column.

  Args:
    learner: for what its examples are like.
    intake: that takes examples.
    path: of the folder.
    reading: of images.
    label: column of tables that is the label; None: the last one.
    arrived: is called with the source and the labels [N] of what was taken.
    say: is called with a line for the terminal.
    quiet: seconds for which a file has to stay as it is to be whole.
  """

  def __init__(
    self,
    learner: live_lib.Live,
    intake: intake_lib.Intake,
    path: Path,
    reading: pictures.Reading,
    label: str | None,
    arrived: Callable[[str, Sequence[str | None]], None],
    say: Callable[[str], None],
    quiet: float = folder_lib.QUIET,
  ) -> None:
    self.path, self.problems = path, dict[str, str]()
    self._learner, self._intake, self._memory = learner, intake, intake.memory
    self._folder = folder_lib.Folder(path, quiet)
    self._reading, self._label = reading, label
    self._arrived, self._say = arrived, say
    # Files that are no examples, or not yet, as they were looked at last.
    self._passed: dict[str, tuple[int, int]] = {}
    self._pause = _PAUSE  # seconds until the next look
    self._stops = threading.Event()
    self._thread = threading.Thread(
      target=self._run, name="jcl watching", daemon=True
    )

  def start(self) -> None:
    """Begins to look."""
    self._thread.start()

  def stop(self) -> None:
    """Returns once nothing more is observed."""
    self._stops.set()
    if self._thread.ident is not None:
      self._thread.join()

  def status(self) -> dict[str, Any]:
    """Returns what was found, ready for JSON."""
    return {
      "files": len(self._memory.files),
      "tables": len(self._memory.tables),
      "problems": list(self.problems.values())[-_PROBLEMS:],
    }

  def look(self) -> None:
    """Observes all that is new and whole now.

    Raises:
      StoreError: where the disk or the store is full; what was not taken is
        tried again at the next look.
    """
    known = {
      name: (each.size, each.changed)
      for name, each in list(self._memory.files.items())
    }
    began = time.monotonic()
    found = self._folder.whole({**known, **self._passed})
    self._pause = max(_PAUSE, _SHARE * (time.monotonic() - began))
    images: list[_Image] = []
    for each in found:
      if self._stops.is_set():
        break
      if each.is_table:
        self._rows(each)
        continue
      image = self._image(each)
      if image is not None:
        images.append(image)
      size = sum(image.pixels.nbytes for image in images)
      if len(images) >= _BATCH or size >= _BYTES:
        self._take(images)
        images = []
    self._take(images)
    for name in list(self.problems):
      file = name.partition("@")[0]
      if file and not os.path.lexists(self._path(file)):
        del self.problems[name]

  def _run(self) -> None:
    while not self._stops.is_set():
      try:
        self.look()
        self.problems.pop("", None)
      except records.StoreError:
        self._problem("", "the disk or the store is full: files wait")
      except Exception as error:  # the folder is looked at again
        self._problem("", f"looking failed ({errors.reason(error, 90)})")
      self._stops.wait(self._pause)

  def _problem(self, name: str, told: str) -> None:
    """Keeps a problem until its file is read, and tells it once."""
    if self.problems.get(name) == told:
      return
    self.problems.pop(name, None)
    self.problems[name] = told
    if len(self.problems) > _PROBLEMS:
      del self.problems[next(iter(self.problems))]
    self._say(told)

  def _pass(self, found: folder_lib.Found, told: str = "") -> None:
    """Leaves a file alone until it changes."""
    self._passed[found.name] = found.size, found.changed
    if told:
      self._problem(found.name, told)

  # Images.

  def _image(self, found: folder_lib.Found) -> _Image | None:
    """Reads an image; None where it is none, or was taken before."""
    try:
      data = found.path.read_bytes()
      facts = found.path.stat()
    except FileNotFoundError:
      return None  # moved meanwhile: it is found where it is next time
    except OSError as error:
      reason = error.strerror or error
      self._problem(found.name, f"{found.name} cannot be read: {reason}")
      return None
    if (facts.st_size, facts.st_mtime_ns) != (found.size, found.changed):
      return None  # it is written to again
    digest = hashlib.sha256(data).hexdigest()
    file = memory_lib.File(*found[:1], *found[2:4], digest, found.label)
    if self._is_known(file):
      return None
    try:
      pixels = self._reading.pixels(
        data, found.name, self._learner.arrivals.example
      )
    except UsageError as error:
      self._pass(found, str(error))
      return None
    return _Image(file, pixels)

  def _is_known(self, file: memory_lib.File) -> bool:
    """Notes a file that was taken before, under this or another name."""
    same = self._memory.same(file.digest)
    own = [each for each in same if each.name == file.name]
    gone = [each for each in same if not os.path.lexists(self._path(each.name))]
    if not own + gone:
      return False
    before = (own + gone)[0]
    label = file.label or before.label
    if label != before.label:
      assert label is not None
      try:
        self._intake.label([before.id], [label])
        self._say(f"{file.name}: {before.name} is {label}")
      except UsageError:  # the example is lost: there is nothing to label
        pass
    moved = file._replace(label=label, id=before.id)
    self._intake.say(lambda: self._memory.moved(before.name, moved))
    self.problems.pop(file.name, None)
    return True

  def _take(self, images: list[_Image]) -> None:
    """Takes images; those of another shape than the first are left out."""
    if not images:
      return
    shape = images[0].pixels.shape
    fitting = [each for each in images if each.pixels.shape == shape]
    files = [each.file for each in fitting]
    x = np.stack([each.pixels for each in fitting])
    try:
      self._intake.take(
        x,
        [each.label for each in files],
        lambda first: self._memory.begin_files(first, files),
      )
    except UsageError as error:  # the learner has examples of another kind
      for file in files:
        self._passed[file.name] = file.size, file.changed
        self._problem(file.name, f"{file.name}: {errors.reason(error)}")
      return
    for file in files:
      self.problems.pop(file.name, None)
      self._passed.pop(file.name, None)
    self._arrived(files[0].name, [each.label for each in files])
    # The others are read again at the next look, and refused with a reason.

  def _path(self, name: str) -> Path:
    return self.path.joinpath(*name.split("/"))

  # Tables.

  def _rows(self, found: folder_lib.Found) -> None:
    """Takes the rows that a table has more than at the last look."""
    try:
      table = self._memory.tables.get(found.name)
      if table is None or not table.dialect:
        form = tables.recognised(found.path, found.name, self._label)
        if form is None:
          self._pass(found)
          return
        self._intake.say(lambda: self._memory.found_table(found.name, form))
        table = self._memory.tables[found.name]
      while rows := tables.appended(found.path, found.name, table):
        self._take_rows(found.name, rows)
        if self._stops.is_set():
          return
      self._pass(found)
    except (UsageError, OSError) as error:
      self._pass(found, errors.reason(error))

  def _take_rows(self, name: str, rows: list[tables.Row]) -> None:
    """Takes rows in their order, and passes over those that are none."""
    start = 0
    while start < len(rows):
      stop = start
      good = rows[start].x is not None
      while (
        stop < len(rows)
        and (rows[stop].x is not None) == good
        and stop - start < 16 * _BATCH
      ):
        stop += 1
      part = rows[start:stop]
      if good:
        self._take_part(name, part)
      else:
        last = part[-1]
        for row in part:
          if row.why:
            self._problem(f"{name}@{row.start}", row.why)
        self._intake.say(
          lambda last=last: self._memory.passed(name, *last[:3])  # type: ignore
        )
      start = stop

  def _take_part(self, name: str, part: list[tables.Row]) -> None:
    x = np.stack([row.x for row in part if row.x is not None])
    ends = [(row.start, row.end, row.crc) for row in part]
    self._intake.take(
      x,
      [row.label for row in part],
      lambda first: self._memory.begin_rows(first, name, ends),
    )
    self._arrived(name, [row.label for row in part])
