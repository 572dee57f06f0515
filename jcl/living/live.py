"""A learner with a folder: it observes, learns and predicts while it runs."""

from collections.abc import Callable, Sequence
import contextlib
import os
from pathlib import Path
import threading
import time
from typing import Any, Self

from absl import logging
import numpy as np

from jcl import base
from jcl.living import answers as answers_lib
from jcl.living import dealing, interpreter, learning, reader
from jcl.living import ending as ending_lib
from jcl.living import settings as settings_lib
from jcl.living import turns as turns_lib
from jcl.living.log import labels
from jcl.options.errors import UsageError
from jcl.report import page, summary
from jcl.run import interrupts, session
from jcl.run.inference import model as models

_POLL = 0.5  # seconds between looks at what a budget allows


class Live(answers_lib.Predicts):
  """A learner that takes data as it arrives; `jcl.live` makes one.

  Any thread may call any method. What `observe`, `label` and `end_experience`
  returned on is on disk. Predictions come from the latest model that was handed
  over whole, and wait for no learning.

  Args:
    arrivals: which keep the examples.
    settings: of the learner.
    ending: when experiences end.
    folder: of the learner; None keeps everything in memory.
  """

  def __init__(
    self,
    arrivals: dealing.Kept,
    settings: settings_lib.Settings,
    ending: ending_lib.Ending,
    folder: Path | None,
  ) -> None:
    self.settings, self.folder = settings, folder
    self.arrivals, self.ending = arrivals, ending
    self._answers: answers_lib.Answers | None = None
    self._dealing = dealing.Dealing(arrivals, ending)
    self._turn = threading.Lock()  # of learning
    self._news = threading.Condition()  # for the thread beside
    self._said = 0  # times that there was news
    self._thread: threading.Thread | None = None
    self._stops = False  # whether that thread is to stop
    self._around = contextlib.ExitStack()  # of what lasts as long as it
    self._failed: BaseException | None = None
    self._outcome: learning.Outcome = "learned"
    run = None if folder is None else folder / reader.RUN
    build = settings.model if callable(settings.model) else None
    if folder is not None:
      self._answers = reader.load(folder, build)
    self.turns = turns = turns_lib.Turns()
    self.learning = learning.Learning(
      arrivals, settings, run, self._publish, give_way=turns.give
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __len__(self) -> int:
    """Returns the number of examples that were acknowledged."""
    return len(self.arrivals)

  # What arrives.

  def observe(self, x: Any, label: Any = None) -> np.ndarray:
    """Takes examples in, and returns once they are on disk.

    Args:
      x: [N, ...] raw inputs, all like the first ones.
      label: [N] labels: text, numbers or anything hashable that JSON holds, and
        None for what is not known; None alone: nothing is.

    Returns:
      Ids [N] int64, for `label`.

    Raises:
      UsageError: for inputs of another shape or type, for values that are not
        finite, and for a label that is none; nothing is taken in then.
      StoreError: where the disk is full, or what is not learned fills the
        bound of the store.
    """
    self._check()
    ids = self._dealing.add(dealing.batch(x, label), self._answers)
    self._tell()
    return ids

  def label(self, ids: Any, label: Any) -> None:
    """Gives examples their labels later, or others than they had.

    An example without a label joins the open experience. One that was learned
    with another label keeps its place: where the memory on the device still
    holds it, it has the new label when the next experience begins.

    Args:
      ids: [N] of `observe`, or one.
      label: [N], or one.
    """
    self._check()
    one = np.ndim(ids) == 0
    given = [label] if one else label
    ids = np.atleast_1d(np.asarray(ids, np.int64))
    self._dealing.label(ids, given)
    self._tell()

  def end_experience(self) -> int:
    """Ends the open experience, and returns its number.

    Raises:
      UsageError: where it has no labelled example.
    """
    self._check()
    number = self._dealing.end()
    self._tell()
    return number

  # Learning.

  def learn(self, seconds: float | None = None) -> learning.Outcome:
    """Learns all that has arrived, as far as the budget allows it now.

    Args:
      seconds: after which it stops, to go on at the next call; None: never.

    Returns:
      "learned" where nothing is left, "paused" where the budget makes it wait,
      and "stopped" where its time was up.

    Raises:
      Interrupted: after SIGINT or SIGTERM, once everything is saved.
    """
    self._check()
    if self._thread is not None:
      raise UsageError("learning goes on beside already: call stop() first")
    until = None if seconds is None else time.monotonic() + seconds
    with interrupts.signals() as signals:
      outcome = self._advance(
        lambda: bool(signals) or _reached(until), self.ending.demanded
      )
      if signals:
        raise session.Interrupted(signals[0], self.folder)
    return outcome

  def start(self, *, answer_soon: bool = False) -> None:
    """Learns beside the caller from now on, whenever something has arrived.

    Args:
      answer_soon: whether Python's interpreter is set up for answers that wait
        less, until `stop`: in the whole process, threads take turns more often,
        and collections of garbage leave out all that is there now.
    """
    self._check()
    if self._thread is not None:
      return
    if answer_soon:
      self._around.enter_context(interpreter.answering_soon())
    self._stops = False
    self._thread = threading.Thread(
      target=self._beside, name="jcl learning", daemon=True
    )
    self._thread.start()

  def stop(self) -> None:
    """Stops learning beside, and returns once its state is saved."""
    thread, self._thread = self._thread, None
    if thread is not None:
      with self._news:
        self._stops = True
        self._news.notify_all()
      thread.join()
    self._around.close()
    self._check()

  def close(self) -> None:
    """Saves everything and leaves the folder; a second call does nothing."""
    try:
      self.stop()
    finally:
      with self._turn, self._dealing.lock, contextlib.ExitStack() as stack:
        stack.callback(self.arrivals.close)
        stack.callback(self.learning.close)

  # What it knows.

  @property
  def classes_(self) -> np.ndarray:
    """Labels that are learned, in the order in which they arrived, [K]."""
    found = self._answers
    return answers_lib.array(()) if found is None else found.classes

  def latest(self) -> answers_lib.Answers:
    found = self._answers
    if found is None:
      raise answers_lib.none_yet()
    return found

  def evaluate(self, x: Any, label: Sequence[Any]) -> float:
    """Returns the share of inputs [N, ...] whose labels [N] are predicted."""
    found = self.predict(x)
    pairs = zip(dealing.keys(label, len(found)), found, strict=True)
    return float(np.mean([key == labels.key(each) for key, each in pairs]))

  def export(
    self,
    path: str | os.PathLike[str],
    *,
    format: models.Format = "stablehlo",
  ) -> Path:
    """Writes the latest model as a program that runs without jcl.

    Scores are in the order of `classes_`, and minus infinity behind them. See
    `run.inference.export.export` for arguments and errors.
    """
    return self.latest().model.export(path, format=format)

  def status(self) -> dict[str, Any]:
    """Returns what has arrived, what is learned, and what it has cost."""
    held, learned = self.arrivals, self.learning.learned
    spent = sum(self.learning.cost.values(), base.Cost())
    return {
      "examples": len(self),
      "unlabelled": held.unlabelled_count,
      "open": held.open_count,
      "experiences": held.count,
      "learned": learned,
      "classes": len(self.classes_),
      "learning": self._thread is not None,
      "outcome": self._outcome,
      "seconds": spent.seconds,
      "joules": spent.joules,
      "flops": spent.flops,
    }

  def report(self) -> Path:
    """Writes a page of what was learned, spent and decided; returns its path.

    Raises:
      UsageError: for a learner without a folder, or before it learned.
    """
    if self.folder is None:
      raise UsageError("a learner in memory has no report: give it a folder")
    self.learning.summarise()
    run = self.folder / reader.RUN
    if not summary.is_run(run):
      raise answers_lib.none_yet()
    return page.write([summary.read_run(run)], self.folder)

  # How it does so.

  def _publish(self, made: models.Model) -> None:
    """Serves a model from now on; its programs are compiled before."""
    before = self._answers
    known = int(np.count_nonzero(made.seen))
    told = tuple(self.arrivals.classes[:known])
    made = made if before is None else made.following(before.model)
    if self.folder is not None and told != (before and before.labels):
      reader.keep_labels(self.folder, told)
    self._answers = answers_lib.Answers(made, told)

  def _advance(self, stop: Callable[[], bool], ends: bool) -> learning.Outcome:
    """Learns what has ended, the open experience included where it ends."""
    with self._turn:
      self._dealing.end_for_learning(ends)
      self._outcome = self.learning.advance(stop)
      self.learning.release()
      self.arrivals.flush()
      return self._outcome

  def _beside(self) -> None:
    """Learns until `stop`, whenever something has arrived."""
    try:
      while not self._stops:
        said = self._said
        outcome = self._advance(lambda: self._stops, self.ending.demanded)
        # What arrived meanwhile may not have been seen.
        timed = self.ending.timed and self.arrivals.open_count > 0
        polls = outcome == "paused" or timed
        with self._news:
          while not self._stops and self._said == said:
            if not self._news.wait(_POLL if polls else None):
              break
    except BaseException as error:  # told by the next call of any method
      logging.exception("learning has stopped")
      self._failed = error

  def _tell(self) -> None:
    with self._news:
      self._said += 1
      self._news.notify_all()

  def failure(self) -> BaseException | None:
    """Returns what stopped learning beside, which is told once."""
    failed, self._failed = self._failed, None
    if failed is not None:
      self._thread = None
    return failed

  def _check(self) -> None:
    """Raises what stopped the thread beside."""
    failed = self.failure()
    if failed is not None:
      raise failed


def _reached(until: float | None) -> bool:
  return until is not None and time.monotonic() >= until
