"""A learner that is asked from outside: what it answers, and what it tells."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import math
import threading
import time
from typing import Any

import numpy as np

from jcl import base
from jcl.living import live as live_lib
from jcl.living.face import intake as intake_lib
from jcl.living.face import pictures
from jcl.living.face.refusals import Refused
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.replay.store import records

_LATEST = 20  # arrivals, predictions and decisions that are told
_SHOWN = 8  # labels of each
_RETRY = 30.0  # seconds until learning is tried again after it failed
_LASTS = 5.0  # seconds of learning after which a failure is over


class Box:
  """Answers for a learner. Any thread may call its methods.

  Args:
    learner: that is open; whoever made it closes it.
    intake: through which examples go.
    reading: of images.
    about: what is told of the learner as it is, ready for JSON.
    say: is called with a line for whoever watches the terminal.
  """

  def __init__(
    self,
    learner: live_lib.Live,
    intake: intake_lib.Intake,
    reading: pictures.Reading,
    about: Mapping[str, Any],
    say: Callable[[str], None],
  ) -> None:
    self.learner, self.reading = learner, reading
    self.watch: Callable[[], dict[str, Any]] = dict  # status of a folder
    self._intake, self._about, self._say = intake, dict(about), say
    self._arrivals = deque[dict[str, Any]](maxlen=_LATEST)
    self._predictions = deque[dict[str, Any]](maxlen=_LATEST)
    self._problem, self._again = "", -math.inf
    self._stops = threading.Event()
    self._thread = threading.Thread(
      target=self._keep_learning, name="jcl device", daemon=True
    )
    self._reporting = threading.Lock()

  @property
  def example(self) -> np.ndarray | None:
    """An example like all others, None before the first one."""
    return self.learner.arrivals.example

  def start(self) -> None:
    """Learns from now on, whenever something has arrived."""
    self._thread.start()

  def stop(self) -> None:
    """Starts learning no more; the learner goes on until it is closed."""
    self._stops.set()
    if self._thread.ident is not None:
      self._thread.join()

  # Requests.

  def observe(self, x: Any, labels: Sequence[Any] | None) -> dict[str, Any]:
    """Takes examples in; returns their ids once they are on disk.

    Raises:
      UsageError: for inputs and labels that do not serve.
      Refused: where the disk or the store is full.
    """
    with self._storing():
      ids = self._intake.observe(x, labels).tolist()
    self.arrived("request", len(ids), labels)
    return {"ids": ids}

  def label(self, ids: Sequence[int], labels: Sequence[Any]) -> dict[str, Any]:
    """Gives examples their labels; they are on disk when it returns."""
    with self._storing():
      self._intake.label(ids, labels)
    return {"labelled": len(ids)}

  def end(self) -> dict[str, Any]:
    """Ends the open experience, which is learned as soon as may be."""
    with self._storing():
      return {"experience": self._intake.end()}

  def predict(self, x: np.ndarray) -> dict[str, Any]:
    """Returns labels and their probabilities by the latest model.

    Raises:
      UsageError: for inputs that do not serve.
      Refused: before anything is learned.
    """
    try:
      latest = self.learner.latest()
    except UsageError:
      raise nothing_yet() from None
    found = latest.probabilities(x)
    best = found.argmax(-1)
    labels = [latest.labels[i] for i in best.tolist()]
    shares = np.round(found[np.arange(len(best)), best], 6).tolist()
    self._predictions.append(
      {
        "at": time.time(),
        "count": len(labels),
        "label": labels[:_SHOWN],
        "probability": shares[:_SHOWN],
      }
    )
    return {"label": labels, "probability": shares}

  def report(self) -> bytes:
    """Returns the page of the report, made anew.

    Raises:
      Refused: before anything is learned.
    """
    with self._reporting:
      try:
        return self.learner.report().read_bytes()
      except UsageError:
        raise nothing_yet() from None

  def status(self) -> dict[str, Any]:
    """Returns what has arrived, what is learned and what it costs, for JSON."""
    told = self.learner.status()
    learning, latest = self.learner.learning, self._labels()
    costs = {name: _cost(each) for name, each in learning.cost.items()}
    due = told["experiences"] - told["learned"]
    return {
      **self._about,
      "time": time.time(),
      "examples": told["examples"],
      "unlabelled": told["unlabelled"],
      "open": told["open"],
      "experiences": told["experiences"],
      "learned": told["learned"],
      "classes": list(latest),
      "state": self._state(due, told["outcome"]),
      "problem": self._problem or None,
      "now": self._now() if due else None,
      "costs": costs,
      "decisions": self._decisions(),
      "arrivals": list(self._arrivals)[::-1],
      "predictions": list(self._predictions)[::-1],
      "watch": self.watch() or None,
    }

  def arrived(
    self, source: str, count: int, labels: Sequence[Any] | None = None
  ) -> None:
    """Notes that examples have arrived, for the status."""
    self._arrivals.append(
      {
        "at": time.time(),
        "source": source,
        "count": count,
        "label": None if labels is None else list(labels[:_SHOWN]),
      }
    )

  # What it tells.

  @contextlib.contextmanager
  def _storing(self) -> Iterator[None]:
    """Tells a full disk or store without naming its folder."""
    try:
      yield
    except records.StoreError as error:
      self._say(str(error))
      raise Refused(
        507,
        "the disk or the store of examples is full or fails: nothing was taken",
        {"Retry-After": "60"},
      ) from error

  def _labels(self) -> tuple[Any, ...]:
    try:
      return self.learner.latest().labels
    except UsageError:
      return ()

  def _state(self, due: int, outcome: str) -> str:
    if self._problem:
      return "failed"
    if not due:
      return "idle"
    return "paused" if outcome == "paused" else "learning"

  def _now(self) -> dict[str, Any] | None:
    """Returns how far the experience is that is being learned."""
    at = self.learner.learning.standing
    if at is None or not at.begun or at.decision is None:
      return None
    return {
      "experience": at.experience + 1,
      "updates": at.totals.steps,
      "planned": at.planned,
      "reason": at.decision.reason,
    }

  def _decisions(self) -> list[dict[str, Any]]:
    found = list(self.learner.learning.records)[: -_LATEST - 1 : -1]
    return [_decision(each) for each in found]

  def _keep_learning(self) -> None:
    """Has the learner learn, and try again some time after it failed."""
    while not self._stops.wait(0.5):
      if time.monotonic() < self._again:
        continue
      try:
        if self._intake.failures:
          raise self._intake.failures.popleft()
        self.learner.start()  # raises what stopped it before
        if time.monotonic() > self._again + _LASTS:
          self._problem = ""
      except Exception as error:
        # The learner has logged where it is from.
        self._problem = "learning failed; the terminal tells why"
        self._again = time.monotonic() + _RETRY
        self._say(
          f"learning failed ({errors.reason(error)}): predictions go on, and "
          f"it is tried again in {_RETRY:.0f} s"
        )


def nothing_yet() -> Refused:
  """Returns the refusal of what needs a model before there is one."""
  return Refused(
    409,
    "nothing is learned yet: observe examples with labels, and wait until they "
    "are learned",
    {"Retry-After": "10"},
  )


def _decision(record: base.Record) -> dict[str, Any]:
  """Returns what a record tells of an experience, ready for JSON."""
  spent = sum(record.costs.values(), base.Cost())
  return {
    "experience": record.experience + 1,
    "classes": list(record.class_names),
    "examples": record.examples,
    "updates": record.steps,
    "epochs": record.decision.epochs,
    "online_accuracy": _finite(record.online_accuracy),
    "reason": record.decision.reason,
    **_cost(spent),
  }


def _cost(cost: base.Cost) -> dict[str, float | None]:
  return {k: _finite(v) for k, v in dataclasses.asdict(cost).items()}


def _finite(value: float | None) -> float | None:
  return value if value is not None and math.isfinite(value) else None
