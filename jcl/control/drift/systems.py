"""The systems of DaCapo, one of ours, and serving without retraining.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353. Each function
takes the times of the hardware, equal for all systems in a comparison, and
returns a system. `build` reads a system from a text such as
"dacapo:drift=robust".
"""

from collections.abc import Callable, Mapping
import dataclasses
import itertools
from typing import Annotated, Literal

import numpy as np

from jcl.control.drift import (
  baselines,
  buffer,
  detection,
  pausing,
  sampling,
  times,
)
from jcl.control.drift import turns as turns_lib
from jcl.control.drift.phases import (
  WAIT,
  Label,
  Labelled,
  Phase,
  Phases,
  Retrain,
  Retrained,
  System,
  View,
)
from jcl.control.drift.windows import at_least_one, lasting, static
from jcl.options import bounds, kinds, parameters, spec
from jcl.options.errors import UsageError

Drift = Literal["paper", "robust", "never"]


def dacapo(
  seconds: times.Times,
  *,
  labels: kinds.Count = buffer.NUM_LABEL,
  first: kinds.Count = 4,
  drift: Drift = "paper",
  threshold: float = detection.THRESHOLD,
  level: kinds.InnerShare = detection.LEVEL,
  design: Annotated[float, bounds.Range(1)] = 3.0,
  epochs: kinds.Count = 1,
  compat: bool = False,
) -> System:
  """Retrains and labels in turns; where drift is seen, forgets and labels more.

  DaCapo-Spatiotemporal. A turn labels N_l images; a retraining trains on 3 N_l
  samples and validates on N_l; the buffer holds 10 N_l. Departures, unless
  `compat`: a sample keeps its role, training or validation, and frames to label
  are spread over a whole turn. If the teacher is faster than the camera,
  labelling lasts until enough frames have arrived.

  Args:
    seconds: of the kernels.
    labels: N_l, images of a labelling phase.
    first: factor by which more images are labelled at the start and after a
      drift, the normal phase included; with 1, a drift only clears the buffer.
    drift: "paper" compares accuracies as served with the threshold; "robust"
      tests whether the weights just validated do worse on the new labels, which
      costs another prediction of them; "never" tests nothing.
    threshold: for "paper", in percentage points.
    level: for "robust", share of false alarms.
    design: for "robust", see `detection.robust`: frames of one object are right
      or wrong together, and of twenty in a row about three are labelled.
    epochs: of a retraining.
    compat: draws and strides exactly as published.

  Raises:
    ValueError: for another test, or numbers below 1.
  """
  if drift not in ("paper", "robust", "never"):
    raise UsageError(f"drift={drift!r}: give 'paper', 'robust' or 'never'")
  at_least_one(labels=labels, first=first, epochs=epochs)
  if drift == "robust":
    detection.robust(1, 1, 1, 1, level=level, design=design)  # checks both
  turns = turns_lib.Turns(seconds, labels, epochs, compat)
  way = _Spatiotemporal(turns, first, drift, threshold, level, design)
  return System("dacapo", way.phases)


@dataclasses.dataclass(frozen=True)
class _Spatiotemporal:
  """The phases of `dacapo`; the fields are its arguments."""

  turns: turns_lib.Turns
  first: int
  drift: Drift
  threshold: float
  level: float
  design: float

  def phases(self, view: View) -> Phases:
    """Yields a first labelling, then retraining and labelling in turns."""
    note: dict[str, float] = {}
    turns, labels = self.turns, self.turns.labels
    num, reason = self.first * labels, "nothing is labelled yet"
    found = yield turns.label(view, "first_label", num, view.seen, reason)
    held = turns.push(buffer.empty(), found, 0)
    reason, tested = f"{num} frames are labelled", False
    for cycle in itertools.count(1):
      since, retrain = view.seen, turns.retrain(held, note, reason)
      if tested:
        retrain = dataclasses.replace(retrain, candidates=self._ways(retrain))
      trained = yield retrain
      reason = "labels follow each retraining, and test for drift"
      recheck = self.drift == "robust"
      found = yield turns.label(view, "label", labels, since, reason, recheck)
      note = self._judged(trained, found)
      reason, tested = _why(note), "drift" in note
      if note.get("drift"):
        held = buffer.cleared(held)
      held = turns.push(held, found, cycle)
      if note.get("drift") and self.first > 1:
        num = (self.first - 1) * labels
        extra = turns.label(view, "extra_label", num, view.seen, reason)
        ways = self._ways(turns.retrain(held, {}, ""))
        found = yield dataclasses.replace(extra, note=note, candidates=ways)
        held, note = turns.push(held, found, cycle), {}
        reason, tested = f"{num} more frames are labelled", False

  def _ways(self, retrain: Phase) -> list[dict[str, float | str]]:
    """Returns what a test for drift chooses from, with predicted seconds."""
    ways: list[dict[str, float | str]] = [
      {"kind": "retrain", "seconds": float(retrain.seconds)}
    ]
    if self.first > 1:
      num = (self.first - 1) * self.turns.labels
      lasts = self.turns.labelling_seconds(num)
      ways.append({"kind": "extra_label", "seconds": float(lasts)})
    return ways

  def _judged(self, trained: Retrained, found: Labelled) -> dict[str, float]:
    """Returns whether the stream drifted, with the figures that decided it."""
    served = 100 * float(np.mean(found.served))
    valid = 100 * trained.correct / max(trained.num, 1)
    note = {"acc_label": served, "acc_valid": valid}
    if self.drift == "never" or not trained.num:
      return note
    if self.drift == "paper":
      drifted = detection.paper(served, valid, self.threshold)
      return {"drift": bool(drifted), **note}
    if found.now is None:
      raise ValueError("labels without a second prediction: ask for `recheck`")
    p_value = detection.p_value(
      int(found.now.sum()),
      len(found.now),
      trained.correct,
      trained.num,
      design=self.design,
    )
    return {"drift": bool(p_value <= self.level), "p": float(p_value), **note}


def _why(note: Mapping[str, float]) -> str:
  """Returns the outcome of a test for drift in words."""
  told = (
    f"{note['acc_label']:.1f} % of the labels were served rightly, "
    f"{note['acc_valid']:.1f} % in validation"
  )
  if "p" in note:
    told += f", p = {note['p']:.2g}"
  if "drift" not in note:
    return f"drift is not tested: {told}"
  return f"{'drift' if note['drift'] else 'no drift'}: {told}"


def dacapo_spatial(
  seconds: times.Times,
  *,
  window: kinds.Count = 120,
  rate: kinds.Share = 0.0,
  epochs: kinds.Count = 2,
  active: bool = False,
  compat: bool = False,
) -> System:
  """Retrains and labels once per window, each for a fixed time.

  DaCapo-Spatial: retraining on the labels of the window before, then labelling
  frames of the whole window. New weights serve from the end of the retraining.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: share of a window's frames that is labelled; 0: the largest share for
      which labelling and retraining fit the window, nearly as published.
    epochs: of a retraining.
    active: labels the frames of which the student was least certain, instead of
      frames at a constant stride.
    compat: strides exactly as published.

  Raises:
    ValueError: for numbers below 1; when run, for a rate that does not fit.
  """
  at_least_one(window=window, epochs=epochs)
  stride = sampling.paper if compat else sampling.even

  def run(view: View) -> Phases:
    plan = static(seconds, window, rate, epochs, view.fps)
    start = 0

    def choose(view: View) -> np.ndarray:
      if active:
        shown = np.arange(start, view.seen)
        chosen = sampling.least_certain(view.confidence(shown), plan.num_labels)
      else:
        chosen = stride(view.seen - start, plan.num_labels)
      return start + chosen

    work = None
    reason = "nothing is labelled yet"
    for index in itertools.count():
      parts = plan.window(index)
      start = parts.retrain.start
      lasts = lasting(parts.retrain, view.fps)
      yield Phase("retrain", lasts, work, reason=reason)
      reason = f"each window labels {plan.num_labels} of its frames"
      lasts = lasting(parts.label, view.fps)
      found = yield Phase("label", lasts, Label(choose), reason=reason)
      reason = f"{len(found.ids)} frames of the window before are labelled"
      work = Retrain(found.ids, found.ids[:0], epochs)

  return System("dacapo_spatial", run)


def auto(
  seconds: times.Times,
  *,
  labels: kinds.Count = buffer.NUM_LABEL,
  first: kinds.Count = 4,
  horizon: Annotated[int, bounds.Range(4)] = 4,
  level: kinds.InnerShare = detection.LEVEL,
  watch: kinds.InnerShare = 0.1,
  design: Annotated[float, bounds.Range(1)] = 3.0,
  patience: kinds.Count = 2,
  start: kinds.Count = 2,
  most: kinds.Count = 8,
) -> System:
  """As `dacapo`, but pauses while retraining gains nothing told from noise.

  Ours, to save energy: see `pausing`. Rows that pause compute nothing.

  Args:
    seconds: of the kernels.
    labels: N_l, as for `dacapo`.
    first: as for `dacapo`.
    horizon: turns whose labels the buffer holds; `dacapo` has 10.
    level: as for `dacapo` with its robust test.
    watch: share of tests that find a doubt where there is no drift, and end the
      pauses; a larger one retrains more.
    design: as for `dacapo`.
    patience: retrainings that are judged together.
    start: pauses behind the first retrainings that gain nothing.
    most: pauses in a row at most.

  Raises:
    ValueError: for numbers out of range.
  """
  at_least_one(labels=labels, first=first)
  rules = pausing.Rules(level, watch, design, patience, start, most)
  turns = turns_lib.Turns(seconds, labels, horizon=horizon)
  return System("auto", pausing.Pausing(turns, first, rules).phases)


def frozen(seconds: times.Times, *, window: kinds.Count = 10) -> System:
  """Serves with its first weights, never retrains.

  Args:
    seconds: of the kernels, none of which runs.
    window: seconds per phase; no result depends on it.
  """
  del seconds
  at_least_one(window=window)

  def run(view: View) -> Phases:
    del view
    while True:
      yield Phase(WAIT, window, reason="it never retrains")

  return System("frozen", run)


def choices() -> dict[str, Callable[..., System]]:
  """Returns the systems by name."""
  return {
    "auto": auto,
    "dacapo": dacapo,
    "dacapo_spatial": dacapo_spatial,
    "ekya": baselines.ekya,
    "eomu": baselines.eomu,
    "frozen": frozen,
    "oracle": baselines.oracle,
  }


def build(text: str, seconds: times.Times) -> System:
  """Returns the system that a text such as "dacapo:drift=robust" describes.

  Args:
    text: name and options, in the notation of `spec.parse`; it becomes the name
      of the system.
    seconds: of the kernels.

  Raises:
    ValueError: for unknown names, options or values.
  """
  name, options = spec.read(text)
  system = spec.call("system", choices(), name, seconds, **options)
  return dataclasses.replace(system, name=text)


def describe() -> dict[str, str]:
  """Returns the first line of each system's description, by name."""
  return parameters.describe(choices())
