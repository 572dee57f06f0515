"""Systems that DaCapo is compared with, on the same hardware, and its ceiling.

Ekya: Bhardwaj et al., "Ekya: Continuous Learning of Video Analytics Models on
Edge Compute Servers", NSDI 2022. EOMU: edge-assisted on-device model update,
ACM Multimedia 2023. Both in the form in which Kim et al., "DaCapo", ISCA 2024,
compare with them, with these departures: all systems share rows, precision,
learning rate, labels and the weights they begin with; what Ekya spends on
trials takes time; and frames are labelled only after they have arrived, trained
on only after they were labelled.
"""

from collections.abc import Callable, Sequence
import itertools
import math
from typing import Literal

import numpy as np

from jcl.control.drift import allocation, microprofile, sampling, times
from jcl.control.drift import ekya as scheduler
from jcl.control.drift import eomu as policy
from jcl.control.drift.phases import Label, Phase, Retrain, System, Trials, View
from jcl.control.drift.windows import at_least_one, lasting, static
from jcl.errors import UsageError
from jcl.options import kinds

# A change of brightness counts by the spread of natural images, a quarter of
# full white (ImageNet's channels have 0.22 to 0.23).
_SPREAD = 0.25


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

  Windows and rows as of DaCapo-Spatial. At a window's start, for each share of
  the labels, a copy is trained on a tenth of it and its accuracy extrapolated;
  of the configurations that fit what is left of the window, the one that looks
  best is trained, of equals the longest: a trial too short to show anything
  would otherwise end all training. Its weights serve as soon as it is done. One
  stream and fixed rows leave a scheduler nothing to steal.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: share of a window's frames that is labelled; 0 as for
      `systems.dacapo_spatial`.
    fractions: of the labelled frames to train on.
    epochs: to choose among.
    share: of a fraction that its trial takes, one in five of it to validate.
    trial_epochs: of a trial.
    by: "accuracy" after training, as DaCapo's authors ran it; "estimate", the
      mean over what is left of the window, as published for Ekya.

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
  kernels, batch = seconds.kernels, seconds.batch

  def part(ids, fraction):
    """An even part of labelled frames."""
    wanted = max(1, round(fraction * len(ids)))
    return ids[sampling.even(len(ids), wanted)]

  def trial(ids):
    """Part of the frames to train a copy on, and to validate it."""
    shown = part(ids, share)
    if len(shown) < 2:
      shown = ids[:2]
    validates = np.arange(len(shown)) % 5 == min(4, len(shown) - 1)
    return shown[~validates], shown[validates]

  def trying(train, valid):
    """Seconds: every epoch is validated, and the weights before the first."""
    once = allocation.retraining_seconds(kernels, 0, len(valid), batch)
    return once + trial_epochs * allocation.retraining_seconds(
      kernels, len(train), len(valid), batch
    )

  def pick(sets, accuracies, left):
    """Frames and epochs to train, None where nothing fits; what is expected."""
    ways = []
    for size, (ids, curve) in enumerate(zip(sets, accuracies, strict=True)):
      reached = microprofile.extrapolate(
        curve[0], curve[-1], trial_epochs, epochs, end=max(epochs)
      )
      for count, after in zip(epochs, map(float, reached), strict=True):
        took = allocation.retraining_seconds(kernels, len(ids), 0, batch, count)
        worth: float | None = after if took <= left else None
        if by == "estimate":
          worth = scheduler.estimate(
            scheduler.Stream(float(curve[0]), (scheduler.Inference(0, 1.0),)),
            scheduler.Retraining(after, took),
            1,
            1.0,
            left,
          )
        if worth is not None:
          ways.append((worth, took, size, count))
    if not ways:
      return None, {}
    worth, _, size, count = max(ways)
    return (sets[size], count), {"expected": worth}

  def run(view):
    plan = static(seconds, window, rate, 2, view.fps)
    start, samples = 0, None

    def choose(view):
      return start + sampling.even(view.seen - start, plan.num_labels)

    for index in itertools.count():
      parts = plan.window(index)
      start = parts.retrain.start
      if samples is not None:
        sets = [part(samples, fraction) for fraction in fractions]
        trials = tuple(map(trial, sets))
        took = sum(trying(*each) for each in trials)
        if took >= plan.retrain_seconds:
          raise UsageError(
            f"trials take {float(took):.4g} s of "
            f"{float(plan.retrain_seconds):.4g} s: give fewer fractions or "
            "trial_epochs, a lower rate, or a longer window"
          )
        tried = yield Phase("profile", took, Trials(trials, trial_epochs))
        # Frames came as a whole: what is left is counted from there.
        left = lasting(range(view.seen, parts.label.start), view.fps)
        chosen, note = pick(sets, tried.accuracies, left)
        if chosen is not None:
          ids, count = chosen
          lasts = allocation.retraining_seconds(
            kernels, len(ids), 0, batch, count
          )
          work = Retrain(ids, ids[:0], count)
          yield Phase("retrain", lasts, work, note)
      rest = lasting(range(view.seen, parts.label.start), view.fps)
      if rest > 0:
        yield Phase("wait", rest)
      stop = lasting(range(view.seen, parts.label.stop), view.fps)
      found = yield Phase("label", stop, Label(choose))
      samples = found.ids

  return System("ekya", run)


def eomu(
  seconds: times.Times,
  *,
  window: kinds.Count = 10,
  rate: kinds.PositiveShare = 0.19,
  warmup: kinds.NonNegative = 480,
  start: kinds.Count = 15,
) -> System:
  """Labels frames that differ from the one before, retrains if it got worse.

  In every window those of the window before are labelled and trained on, for
  as many epochs as a random walk says and the window leaves time for. Weights
  serve from the next window.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: of a window's frames that may be labelled, in (0, 1].
    warmup: seconds in which it always retrains.
    start: epochs that the random walk starts from.

  Raises:
    ValueError: for numbers out of range.
  """
  at_least_one(window=window, start=start)
  kernels, batch = seconds.kernels, seconds.batch

  def keys_of(view, shown):
    pixels = view.pixels(shown).astype(np.float32) / (255 * _SPREAD)
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
      pixels = np.repeat(pixels, 3, axis=-1)
    keys = policy.thin(policy.key_frames(pixels), len(shown), rate)
    most = int((window - 1 / view.fps) / seconds.label)
    return shown[keys[:most]]

  def epochs_for(num, left):
    """The most epochs that the rest of the window leaves time for."""
    one = allocation.retraining_seconds(kernels, num, 0, batch)
    return math.floor(left / one)

  def run(view):
    frames = window * view.fps
    generator = np.random.default_rng((view.seed, 23))
    history, count = policy.History(), start
    yield Phase("wait", window)
    for index in itertools.count(1):
      shown = np.arange((index - 1) * frames, index * frames)
      keys = keys_of(view, shown)
      note: dict[str, float] = {"keys": len(keys)}
      work = None
      if len(keys):
        lasts = allocation.labelling_seconds(kernels, len(keys))
        found = yield Phase("label", lasts, Label(_constant(keys)))
        current = 100 * float(np.mean(found.served))
        retrain, history = policy.observe(
          history, current, (index - 1) * window, warmup=warmup
        )
        note |= {"acc_label": current, "trigger": retrain}
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
      yield Phase("retrain" if work else "wait", rest, work, note)

  return System("eomu", run)


def oracle(
  seconds: times.Times,
  *,
  window: kinds.Count = 120,
  samples: kinds.Count = 720,
  epochs: kinds.Count = 10,
  causal: bool = False,
) -> System:
  """Trains on each window for nothing, and keeps the epoch best on the next.

  A ceiling, not a system: labelling and training take no time, and the epoch
  is chosen by the truth of frames to come. With `causal` it is chosen by one in
  five of the window's own samples, which are then not trained on.

  Args:
    seconds: of the kernels, which are not charged.
    window: seconds.
    samples: of a window's frames that are trained on.
    epochs: to choose among.
    causal: see above.

  Raises:
    ValueError: for numbers below 1.
  """
  del seconds
  at_least_one(window=window, samples=samples, epochs=epochs)

  def run(view):
    frames = window * view.fps
    chosen = sampling.even(frames, min(samples, frames))
    yield Phase("wait", window)
    while True:
      ids = view.seen - frames + chosen
      found = yield Phase("label", 0, Label(_constant(ids)))
      train, valid = found.ids, view.seen + chosen
      if causal:
        judges = np.arange(len(ids)) % 5 == 4
        train, valid = found.ids[~judges], found.ids[judges]
      yield Phase("retrain", 0, Retrain(train, valid, epochs, keep="best"))
      yield Phase("wait", window)

  return System("oracle", run, causal)


def _constant(ids: np.ndarray) -> Callable[[View], np.ndarray]:
  """Returns what chooses these frames."""
  return lambda _: ids
