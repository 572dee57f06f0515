"""Systems of Kim et al., "DaCapo", ISCA 2024, and their simplest rival.

"DaCapo: Accelerating Continuous Learning in Autonomous Systems for Video
Analytics". Each function takes the times of the hardware, equal for all systems
in a comparison, and returns a system. `build` reads one from a text such as
"dacapo:drift=robust".
"""

from collections.abc import Callable
import dataclasses
from fractions import Fraction
import itertools
from typing import Annotated, Literal

import numpy as np

from jcl.control.drift import (
  allocation,
  baselines,
  buffer,
  detection,
  sampling,
  times,
)
from jcl.control.drift.phases import Label, Phase, Retrain, System
from jcl.control.drift.windows import at_least_one, lasting, static
from jcl.errors import UsageError
from jcl.options import kinds, spec

Drift = Literal["paper", "robust", "never"]


def dacapo(
  seconds: times.Times,
  *,
  labels: kinds.Count = buffer.NUM_LABEL,
  first: kinds.Count = 4,
  drift: Drift = "paper",
  threshold: float = detection.THRESHOLD,
  level: kinds.InnerShare = detection.LEVEL,
  design: Annotated[float, kinds.Range(1)] = 3.0,
  epochs: kinds.Count = 1,
  compat: bool = False,
) -> System:
  """Retrains and labels in turns; where drift is seen, forgets and labels more.

  DaCapo-Spatiotemporal. In proportion to the images labelled per turn, three
  times as many train, as many validate, and the buffer holds ten times as many.
  Departures, unless `compat`: a sample validates or trains for good, and frames
  to label are spread over all of a turn. Where the teacher is faster than the
  camera, labelling lasts until enough frames have come.

  Args:
    seconds: of the kernels.
    labels: N_l, images of a labelling phase.
    first: times as many images are labelled at the start and after a drift, the
      normal phase included; with 1 a drift is answered by forgetting alone.
    drift: "paper" compares accuracies as served with the threshold; "robust"
      tests whether the weights just validated do worse on the new labels, at
      the cost of predicting those again; "never" asks nothing.
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
  draw = buffer.draw_paper if compat else buffer.draw_robust
  stride = sampling.paper if compat else sampling.even
  num_train, num_valid = 3 * labels, labels
  kernels, batch = seconds.kernels, seconds.batch

  def label(view, kind, num, since, note):
    """Labels `num` of the frames from `since` to the end of the phase."""
    missing = num - (view.seen - since)
    lasts = allocation.labelling_seconds(kernels, num)
    recheck = drift == "robust" and kind == "label"
    if recheck:
      lasts += allocation.retraining_seconds(kernels, 0, num, batch)
    lasts = max(lasts, Fraction(missing, view.fps))

    def choose(view):
      return since + stride(view.seen - since, num)

    return Phase(kind, lasts, Label(choose, recheck), note)

  def push(held, found, cycle):
    return buffer.push(
      held, found.ids, found.labels, cycle, capacity=10 * labels
    )

  def judge(trained, found):
    """Returns the decision, and the figures that it was made by."""
    served = 100 * float(np.mean(found.served))
    valid = 100 * trained.correct / max(trained.num, 1)
    note = {"acc_label": served, "acc_valid": valid}
    if drift == "never" or not trained.num:
      return note
    if drift == "paper":
      return {"drift": bool(detection.paper(served, valid, threshold)), **note}
    p_value = detection.p_value(
      int(found.now.sum()),
      len(found.now),
      trained.correct,
      trained.num,
      design=design,
    )
    return {"drift": bool(p_value <= level), "p": float(p_value), **note}

  def run(view):
    note: dict[str, float] = {}
    num = first * labels
    found = yield label(view, "first_label", num, view.seen, note)
    held = push(buffer.empty(), found, 0)
    for cycle in itertools.count(1):
      wanted = num_train + num_valid
      if len(held.ids) < wanted:  # `first` is small: draw what there is
        part = len(held.ids) // 4
        drawn = draw(held, max(1, len(held.ids) - part), max(1, part))
      else:
        drawn = draw(held, num_train, num_valid)
      since = view.seen
      lasts = allocation.retraining_seconds(
        kernels, len(drawn.train), len(drawn.valid), batch, epochs
      )
      work = Retrain(held.ids[drawn.train], held.ids[drawn.valid], epochs)
      trained = yield Phase("retrain", lasts, work, note)
      found = yield label(view, "label", labels, since, {})
      note = judge(trained, found)
      if note.get("drift"):
        held = buffer.cleared(held)
      held = push(held, found, cycle)
      if note.get("drift") and first > 1:
        num = (first - 1) * labels
        found = yield label(view, "extra_label", num, view.seen, note)
        held, note = push(held, found, cycle), {}

  return System("dacapo", run)


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

  DaCapo-Spatial: retraining on what was labelled in the window before, then
  labelling, of frames of the whole window. Weights serve from the end of the
  first phase.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: share of a window's frames that is labelled; 0 takes as many as
      labelling and retraining leave time for, as the published rates nearly do.
    epochs: of a retraining.
    active: labels the frames that the student was least certain of, instead of
      a constant stride.
    compat: strides exactly as published.

  Raises:
    ValueError: for numbers below 1; when run, for a rate that does not fit.
  """
  at_least_one(window=window, epochs=epochs)
  stride = sampling.paper if compat else sampling.even

  def run(view):
    plan = static(seconds, window, rate, epochs, view.fps)
    start = 0

    def choose(view):
      if active:
        shown = np.arange(start, view.seen)
        chosen = sampling.least_certain(view.confidence(shown), plan.num_labels)
      else:
        chosen = stride(view.seen - start, plan.num_labels)
      return start + chosen

    work = None
    for index in itertools.count():
      parts = plan.window(index)
      start = parts.retrain.start
      yield Phase("retrain", lasting(parts.retrain, view.fps), work)
      found = yield Phase(
        "label", lasting(parts.label, view.fps), Label(choose)
      )
      work = Retrain(found.ids, found.ids[:0], epochs)

  return System("dacapo_spatial", run)


def frozen(seconds: times.Times, *, window: kinds.Count = 10) -> System:
  """Serves with the weights it begins with, for ever.

  Args:
    seconds: of the kernels, none of which runs.
    window: seconds per phase; it makes no difference to what is served.
  """
  del seconds
  at_least_one(window=window)

  def run(view):
    del view
    while True:
      yield Phase("wait", window)

  return System("frozen", run)


def choices() -> dict[str, Callable[..., System]]:
  """Returns the systems by name."""
  return {
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
    text: name and options, in the notation of `spec.parse`; also its name.
    seconds: of the kernels.

  Raises:
    ValueError: for unknown names, options or values.
  """
  name, options = spec.read(text)
  system = spec.call("system", choices(), name, seconds, **options)
  return dataclasses.replace(system, name=text)


def describe() -> dict[str, str]:
  """Returns one line about each system, by name."""
  return spec.describe(choices())
