"""Display of a sweep: one line of progress, a table and a growing report."""

from collections.abc import Sequence
from concurrent import futures
import contextlib
from pathlib import Path
import sys
import time

from jcl.cli import sweep_table
from jcl.cli.sweep_grid import Arm, Sweep
from jcl.report import apart, summary
from jcl.run import surroundings

# A report that grows may take this share of the time.
_SHARE = 0.05
_FIRST_GUESS = 5.0  # seconds that a report takes, before one is written
_NAMED = 3  # runs that the line of progress names


def line(text: str) -> None:
  """Prints a line at once."""
  print(text, flush=True)


class Display:
  """Shows how far a sweep is; a context manager.

  Args:
    sweep: that is shown.
    threads: of each process.
  """

  def __init__(self, sweep: Sweep, threads: int) -> None:
    import tqdm

    self._sweep, self._threads = sweep, threads
    self._table = sweep_table.Table(sweep)
    places = [sweep.place(*run) for run in sweep.runs()]
    self._reports = _Reports(sweep.folder, places)
    self._at: dict[str, float] = {}  # shares of runs on their way, by name
    self._shown = surroundings.is_terminal(sys.stderr)
    self._bar = tqdm.tqdm(
      total=sweep.size,
      desc="sweep",
      unit="run",
      disable=not self._shown,
      dynamic_ncols=True,
      bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
      "{postfix}",
    )

  def __enter__(self) -> "Display":
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.close()
    self._reports.close()

  def begin(self, left: int) -> None:
    """Tells what is to be done.

    Args:
      left: runs that are not finished yet.
    """
    sweep = self._sweep
    self._bar.n = self._bar.initial = sweep.size - left
    done = f", {sweep.size - left} of them finished" * (left < sweep.size)
    self.say(
      f"{sweep.size} runs{done}; {sweep.workers} workers of {self._threads} "
      f"thread{'s' * (self._threads > 1)} each"
    )

  def found(self, arm: Arm, seed: int) -> bool:
    """Looks for a run; tells whether it is finished, and then shows it."""
    place = self._sweep.place(arm, seed)
    if not summary.is_run(place):
      return False
    run = summary.read_run(place)
    if not run.finished:
      return False
    self._table.add(arm, run)
    self._reports.add(place)
    return True

  def at(self, name: str, share: float) -> None:
    """Notes the share of a run that is done."""
    self._at[name] = share
    self.refresh()

  def ended(self, name: str) -> None:
    """Notes that a run is not on its way any more."""
    self._at.pop(name, None)
    self.refresh()
    if not self._shown:
      line(f"{name}: {self._table.count} of {self._sweep.size} runs finished")

  def refresh(self) -> None:
    """Moves the line of progress, and has a report written where one is due."""
    self._bar.n = min(
      self._table.count + sum(self._at.values()), self._bar.total
    )
    names = [f"{name} {share:.0%}" for name, share in self._at.items()]
    told = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
    self._bar.set_postfix_str(
      f"{self._table.count} runs; {told}", refresh=False
    )
    self._bar.refresh()
    self._table.write()
    self._reports.grow()

  def say(self, text: str) -> None:
    """Prints a line above that of progress."""
    with self._bar.external_write_mode(sys.stdout):
      line(text)

  def expect_end(self) -> None:
    """Has the last report's process get ready."""
    self._reports.expect_end()

  def finish(self) -> None:
    """Writes table and report, and prints both."""
    self._bar.close()
    self._table.write()
    if self._table.count:
      line(self._reports.finish())
      line(f"table: {self._table.path}")


class _Reports:
  """The report of a sweep, which grows as runs end.

  Args:
    folder: of the report.
    order: folders of all runs, as the report lists them.
  """

  def __init__(self, folder: Path, order: Sequence[Path]) -> None:
    self._folder, self._order = folder, order
    self._ready: set[Path] = set()  # of runs that have ended
    self._thread = futures.ThreadPoolExecutor(1, "report")
    self._writing: futures.Future[str] | None = None
    self._last: apart.Writer | None = None
    self._written = 0  # runs in the report
    self._ended, self._took = time.monotonic(), _FIRST_GUESS

  def add(self, place: Path) -> None:
    """Adds a run that has ended."""
    self._ready.add(place)

  def grow(self) -> None:
    """Has a report written beside the runs, where that takes little."""
    if self._writing is not None and not self._writing.done():
      return
    due = self._ended + self._took / _SHARE
    if len(self._ready) > self._written and time.monotonic() > due:
      self._written = len(self._ready)
      self._writing = self._thread.submit(self._write, self._places())

  def expect_end(self) -> None:
    """Has a process get ready for the last report."""
    if self._last is None:
      self._last = apart.Writer()

  def finish(self) -> str:
    """Writes the report of all runs; returns what is to be printed."""
    if self._writing is not None:
      with contextlib.suppress(Exception):  # the last one tells of its own
        self._writing.result()
    self.expect_end()
    assert self._last is not None
    return self._last.write(self._places(), self._folder)

  def close(self) -> None:
    """Ends what gets ready."""
    self._thread.shutdown(wait=False, cancel_futures=True)
    if self._last is not None:
      self._last.close()

  def _places(self) -> list[Path]:
    return [place for place in self._order if place in self._ready]

  def _write(self, places: Sequence[Path]) -> str:
    started = time.monotonic()
    try:
      with apart.Writer() as writer:
        return writer.write(places, self._folder)
    finally:
      self._ended = time.monotonic()
      self._took = self._ended - started
