"""Progress bars, and the errors of those who save."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import sys
from typing import Any

from absl import logging

from jcl.run import loop, surroundings


def _is_wanted(record: Any) -> bool:
  return record.levelno < 40 or "/orbax/" not in record.pathname


@contextlib.contextmanager
def quiet_savers() -> Iterator[None]:
  """Silences the threads of checkpoints that cannot be written.

  The main thread raises the same errors, and reports them once. Where the block
  fails, the threads stay silenced, as they may report even later.
  """
  before, logger = sys.unraisablehook, logging.get_absl_logger()

  def hook(raised):
    if str(raised.exc_value) != "Event loop is closed":
      before(raised)

  sys.unraisablehook = hook
  logger.addFilter(_is_wanted)
  yield
  sys.unraisablehook = before
  logger.removeFilter(_is_wanted)


@contextlib.contextmanager
def counted(
  title: str, unit: str, shown: bool = True
) -> Iterator[Callable[[int, int], None]]:
  """Shows a progress bar, which the yielded function moves.

  The bar is hidden where standard error is no terminal.

  Args:
    title: in front of the bar.
    unit: of the counts, such as "step".
    shown: False hides the bar everywhere.

  Yields:
    A function of two counts: done, and in all.
  """
  import tqdm

  quiet = not (shown and surroundings.is_terminal(sys.stderr))
  with tqdm.tqdm(desc=title, unit=unit, disable=quiet) as bar:

    def move(done: int, total: int) -> None:
      bar.total = total
      bar.update(done - bar.n)

    yield move


class Progress:
  """Progress bar over the updates of a run; a context manager.

  The total assumes that later experiences get as many epochs as the present
  one, and follows the decisions of the run.

  Args:
    job: of the run.
    place: cursor at which the run begins or is resumed.
    recipe: whose "name" the bar shows.
    shown: False hides the bar; None hides it where standard error is no
      terminal.
  """

  def __init__(
    self,
    job: loop.Job,
    place: loop.Cursor,
    recipe: Mapping[str, Any],
    shown: bool | None = None,
  ) -> None:
    import tqdm

    shown = surroundings.is_terminal(sys.stderr) if shown is None else shown
    self._count = len(job.stream.experiences)
    self._bar = tqdm.tqdm(
      total=job.expected_steps(place),
      initial=place.step,
      desc=f"{recipe['name']} seed {job.seed}",
      unit="step",
      disable=not shown,
      dynamic_ncols=True,
      mininterval=0.2,
    )
    self._job = job
    self._accuracy = ""

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.close()

  def note(self, event: loop.Event) -> None:
    """Moves the bar to the step of an event."""
    if self._bar.disable:
      return
    place = event.place
    if event.kind == "experience":
      record = place.records[-1]
      row = record.accuracy[: record.experience + 1]
      self._accuracy = f"{sum(row) / len(row):.1%}"
    if event.kind == "begin":
      self._bar.total = self._job.expected_steps(place)
    shown = {
      "experience": f"{min(place.experience + 1, self._count)}/{self._count}"
    }
    if event.kind == "paused":
      latest = place.decisions[-1]["kind"] if place.decisions else ""
      shown["paused"] = "no memory" if latest == "paused" else "no budget"
    if "loss" in event.scalars:
      shown["loss"] = f"{event.scalars['loss']:.3f}"
    if self._accuracy:
      shown["accuracy"] = self._accuracy
    self._bar.set_postfix(shown, refresh=False)
    self._bar.update(place.step - self._bar.n)
