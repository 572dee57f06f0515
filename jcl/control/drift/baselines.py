"""Systems that DaCapo is compared with on equal hardware, and an upper bound.

Ekya: Bhardwaj et al., "Ekya: Continuous Learning of Video Analytics Models on
Edge Compute Servers", NSDI 2022, https://arxiv.org/abs/2012.10557. EOMU:
edge-assisted on-device model update, ACM Multimedia 2023. Both have the form in
which Kim et al., "DaCapo", ISCA 2024, https://arxiv.org/abs/2403.14353, compare
with them, with these departures: all systems share rows, precision, learning
rate, labels and first weights; Ekya's trials take time; frames are labelled
only after they have arrived, and trained on only after they were labelled.
"""

from collections.abc import Callable, Sequence
import dataclasses
from fractions import Fraction
import itertools
import math
from typing import Annotated, Literal

import numpy as np

from jcl.control.drift import allocation, microprofile, sampling, times
from jcl.control.drift import ekya as scheduler
from jcl.control.drift import eomu as policy
from jcl.control.drift.phases import (
  WAIT,
  Label,
  Phase,
  Phases,
  Retrain,
  System,
  Trials,
  View,
)
from jcl.control.drift.windows import at_least_one, lasting, static
from jcl.options import bounds, errors, kinds
from jcl.options.errors import UsageError

# Brightness is divided by the standard deviation of natural images, a quarter
# of full white (ImageNet's channels have 0.22 to 0.23).
_SPREAD = 0.25


@dataclasses.dataclass(frozen=True)
class _Configurations:
  """Ekya's ways to retrain: shares of the labels and numbers of epochs."""

  times: times.Times
  fractions: tuple[float, ...]
  epochs: tuple[int, ...]
  share: float  # of a fraction that its trial takes
  trial_epochs: int
  by: Literal["accuracy", "estimate"]

  def part(self, ids: np.ndarray, fraction: float) -> np.ndarray:
    """Returns an even part of labelled frames."""
    wanted = max(1, round(fraction * len(ids)))
    return ids[sampling.even(len(ids), wanted)]

  def trial(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames to train a copy on, and those to validate it on."""
    shown = self.part(ids, self.share)
    if len(shown) < 2:
      shown = ids[:2]
    validates = np.arange(len(shown)) % 5 == min(4, len(shown) - 1)
    return shown[~validates], shown[validates]

  def trial_seconds(self, train: np.ndarray, valid: np.ndarray) -> Fraction:
    """Returns the seconds of a trial, validated at first and every epoch."""
    once = self._retraining(0, len(valid))
    return once + self.trial_epochs * self._retraining(len(train), len(valid))

  def retraining_seconds(self, ids: np.ndarray, epochs: int) -> Fraction:
    """Returns the seconds of a retraining without validation."""
    return self._retraining(len(ids), 0, epochs)

  def pick(
    self, sets: Sequence[np.ndarray], accuracies: np.ndarray, left: Fraction
  ) -> tuple[
    tuple[np.ndarray, int] | None, dict[str, float], list[dict[str, float]]
  ]:
    """Picks the way to retrain that promises most.

    Args:
      sets: frames to train on, by fraction.
      accuracies: [fractions, trial_epochs + 1] reached in trials.
      left: seconds of the window that remain.

    Returns:
      Frames and epochs, None where no way fits; a note of the expected worth;
      and all ways that fit, with their predicted seconds and worth.
    """
    ways = []
    for size, (ids, curve) in enumerate(zip(sets, accuracies, strict=True)):
      reached = microprofile.extrapolate(
        curve[0],
        curve[-1],
        self.trial_epochs,
        self.epochs,
        end=max(self.epochs),
      )
      for count, after in zip(self.epochs, map(float, reached), strict=True):
        took = self.retraining_seconds(ids, count)
        worth = self._worth(float(curve[0]), after, took, left)
        if worth is not None:
          ways.append((worth, took, size, count))
    told: list[dict[str, float]] = [
      {
        "frames": len(sets[size]),
        "epochs": count,
        "seconds": float(took),
        "expected": worth,
      }
      for worth, took, size, count in ways
    ]
    if not ways:
      return None, {}, told
    worth, _, size, count = max(ways)
    return (sets[size], count), {"expected": worth}, told

  def _worth(
    self, before: float, after: float, took: Fraction, left: Fraction
  ) -> float | None:
    if self.by == "accuracy":
      return after if took <= left else None
    return scheduler.estimate(
      scheduler.Stream(before, (scheduler.Inference(0, 1.0),)),
      scheduler.Retraining(after, took),
      1,
      1.0,
      left,
    )

  def _retraining(self, train: int, valid: int, epochs: int = 1) -> Fraction:
    return allocation.retraining_seconds(
      self.times.kernels, train, valid, self.times.batch, epochs
    )


def ekya(
  seconds: times.Times,
  *,
  window: kinds.Count = 120,
  rate: kinds.Share = 0.0,
  fractions: Sequence[kinds.PositiveShare] = (0.23, 0.616, 1.0),
  epochs: Sequence[kinds.Count] = (2, 3, 4, 5, 6, 7, 8, 9, 10),
  share: kinds.PositiveShare = 0.1,
  trial_epochs: kinds.Count = 5,
  by: Literal["accuracy", "estimate"] = "accuracy",
) -> System:
  """Tries configurations on a part of each window's labels, takes the best.

  Windows and rows are those of DaCapo-Spatial. At the start of a window, for
  each share of the labels, a copy is trained on a tenth of that share and its
  accuracy extrapolated. Of the configurations that fit the rest of the window,
  the one of the highest expected accuracy is trained, and among equals the
  longest: otherwise a trial too short to show a gain would end all training.
  The new weights serve as soon as they are trained. With one stream and fixed
  rows there is nothing for Ekya's scheduler to steal.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: share of a window's frames that is labelled; 0 as for
      `systems.dacapo_spatial`.
    fractions: of the labelled frames to train on.
    epochs: numbers of epochs to choose among.
    share: of a fraction that its trial takes; one frame in five validates.
    trial_epochs: of a trial.
    by: "accuracy" compares expected accuracies after training, as DaCapo's
      authors ran it; "estimate" compares means over the rest of the window, as
      published for Ekya.

  Raises:
    ValueError: for numbers out of range; when run, for trials or a rate that do
      not fit the window.
  """
  at_least_one(window=window, trial_epochs=trial_epochs, epochs=min(epochs))
  for name, value in (("share", share), *(("fractions", f) for f in fractions)):
    if not 0 < value <= 1:
      raise UsageError(f"{name}={value}: give shares in (0, 1]")
  if by not in ("accuracy", "estimate"):
    raise UsageError(f"by={by!r}: give 'accuracy' or 'estimate'")
  ways = _Configurations(
    seconds, tuple(fractions), tuple(epochs), share, trial_epochs, by
  )
  return System("ekya", lambda view: _ekya(ways, window, rate, view))


def _ekya(
  ways: _Configurations, window: int, rate: float, view: View
) -> Phases:
  """Yields the phases of `ekya`."""
  plan = static(ways.times, window, rate, 2, view.fps)
  start, samples = 0, None

  def choose(view: View) -> np.ndarray:
    return start + sampling.even(view.seen - start, plan.num_labels)

  for index in itertools.count():
    parts = plan.window(index)
    start = parts.retrain.start
    if samples is not None:
      sets = [ways.part(samples, fraction) for fraction in ways.fractions]
      trials = tuple(map(ways.trial, sets))
      took = sum((ways.trial_seconds(*each) for each in trials), Fraction(0))
      if took >= plan.retrain_seconds:
        raise UsageError(
          f"trials take {float(took):.4g} s of "
          f"{float(plan.retrain_seconds):.4g} s: give fewer fractions or "
          "trial_epochs, a lower rate, or a longer window"
        )
      tried = yield Phase(
        "profile",
        took,
        Trials(trials, ways.trial_epochs),
        reason=f"{len(sets)} shares of the labels are tried in every window",
      )
      # Frames arrive whole, so the rest of the window is counted from here.
      left = lasting(range(view.seen, parts.label.start), view.fps)
      chosen, note, told = ways.pick(sets, tried.accuracies, left)
      if chosen is not None:
        ids, count = chosen
        yield Phase(
          "retrain",
          ways.retraining_seconds(ids, count),
          Retrain(ids, ids[:0], count),
          note,
          f"{errors.count(count, 'epoch')} on "
          f"{errors.count(len(ids), 'frame')} are expected to give "
          f"{100 * note['expected']:.1f} %, the most of {len(told)} ways",
          told,
        )
    rest = lasting(range(view.seen, parts.label.start), view.fps)
    if rest > 0:
      reason = "the window has no time left to retrain in, or no labels"
      yield Phase(WAIT, rest, reason=reason)
    stop = lasting(range(view.seen, parts.label.stop), view.fps)
    reason = f"each window labels {plan.num_labels} of its frames"
    found = yield Phase("label", stop, Label(choose), reason=reason)
    samples = found.ids


def eomu(
  seconds: times.Times,
  *,
  window: kinds.Count = 10,
  rate: kinds.PositiveShare = 0.19,
  warmup: kinds.NonNegative = 480,
  start: Annotated[int, bounds.Range(1, policy.MOST_EPOCHS)] = 15,
) -> System:
  """Labels frames that differ from the one before, retrains if accuracy fell.

  In every window, such frames of the window before are labelled and trained on,
  for as many epochs as a random walk gives and the window has time for. The new
  weights serve from the next window.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: of a window's frames that may be labelled, in (0, 1].
    warmup: seconds from the start in which every window retrains.
    start: epochs at which the random walk starts.

  Raises:
    ValueError: for numbers out of range.
  """
  at_least_one(window=window, start=start)
  kernels, batch = seconds.kernels, seconds.batch

  def keys_of(view: View, shown: np.ndarray) -> np.ndarray:
    pixels = view.pixels(shown).astype(np.float32) / (255 * _SPREAD)
    if pixels.shape[-1] == 1:
      pixels = np.repeat(pixels, 3, axis=-1)
    keys = policy.thin(policy.key_frames(pixels), len(shown), rate)
    most = int((window - 1 / view.fps) / seconds.label)
    return shown[keys[:most]]

  def epochs_for(num: int, left: Fraction) -> int:
    """Returns the most epochs that fit the rest of the window."""
    one = allocation.retraining_seconds(kernels, num, 0, batch)
    return math.floor(left / one)

  def run(view: View) -> Phases:
    frames = window * view.fps
    generator = np.random.default_rng((view.seed, 23))
    history, count = policy.History(), start
    yield Phase(WAIT, window, reason="no window is over yet")
    for index in itertools.count(1):
      shown = np.arange((index - 1) * frames, index * frames)
      keys = keys_of(view, shown)
      note: dict[str, float] = {"keys": len(keys)}
      work, reason = None, "no frame of the window before differs much"
      if len(keys):
        lasts = allocation.labelling_seconds(kernels, len(keys))
        differ = f"{len(keys)} frames of the window before differ"
        found = yield Phase(
          "label", lasts, Label(_constant(keys)), reason=differ
        )
        current = 100 * float(np.mean(found.served))
        retrain, history = policy.observe(
          history, current, (index - 1) * window, warmup=warmup
        )
        note |= {"acc_label": current, "trigger": retrain}
        reason = f"{current:.1f} % of the labels were served rightly"
        left = lasting(range(view.seen, (index + 1) * frames), view.fps)
        if retrain:
          count = policy.choose_epochs(
            generator,
            current,
            len(keys),
            seconds.label,
            seconds.train / batch,
            num_frames=frames,
            start=count,
          )
          made = min(count, epochs_for(len(keys), left))
          if made:
            work = Retrain(found.ids, found.ids[:0], made)
      rest = lasting(range(view.seen, (index + 1) * frames), view.fps)
      kind = "retrain" if work else WAIT
      yield Phase(kind, rest, work, note, reason)

  return System("eomu", run)


def oracle(
  seconds: times.Times,
  *,
  window: kinds.Count = 120,
  samples: kinds.Count = 720,
  epochs: kinds.Count = 10,
  causal: bool = False,
) -> System:
  """Trains on each window in no time, keeps the epoch best on the next window.

  An upper bound, not a system: labelling and training take no time, and the
  epoch is chosen by the true classes of frames to come. With `causal`, one in
  five of the window's own samples chooses the epoch and is not trained on.

  Args:
    seconds: of the kernels, which are not charged.
    window: seconds.
    samples: number of a window's frames that are trained on.
    epochs: that are trained, of which one is kept.
    causal: chooses the epoch without looking ahead.

  Raises:
    ValueError: for numbers below 1.
  """
  del seconds
  at_least_one(window=window, samples=samples, epochs=epochs)

  def run(view: View) -> Phases:
    frames = window * view.fps
    chosen = sampling.even(frames, min(samples, frames))
    reason = "every window is labelled and learned when it is over"
    yield Phase(WAIT, window, reason=reason)
    while True:
      ids = view.seen - frames + chosen
      found = yield Phase("label", 0, Label(_constant(ids)), reason=reason)
      train, valid = found.ids, view.seen + chosen
      if causal:
        judges = np.arange(len(ids)) % 5 == 4
        train, valid = found.ids[~judges], found.ids[judges]
      work = Retrain(train, valid, epochs, keep="best")
      yield Phase("retrain", 0, work, reason=reason)
      yield Phase(WAIT, window, reason=reason)

  return System("oracle", run, causal)


def _constant(ids: np.ndarray) -> Callable[[View], np.ndarray]:
  """Returns a function that always chooses these frames."""
  return lambda _: ids
