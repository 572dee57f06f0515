"""EOMU, an edge-assisted baseline: key frames, a trigger and a random walk.

"Edge-assisted on-device model update", EOMU, ACM Multimedia 2023, in the form
in which Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous
Systems for Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353,
compare with it. In windows of ten seconds, the frames that differ most from the
frame before are labelled; if the model got worse on them, it is retrained, for
a number of epochs that a random walk finds.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from jcl.options.errors import UsageError

_LUMA = np.array([0.299, 0.587, 0.114])
_SIGMA = 0.8  # of the Gaussian over three pixels
MOST_EPOCHS = 30
_MOST_TRIES = 100
_MOST_REJECTS = 5  # in a row


class History(NamedTuple):
  """State of the trigger."""

  accuracies: tuple[float, ...] = ()  # percent, oldest first
  warm: bool = False  # the warm-up is over


def key_frames(
  frames: np.ndarray, *, threshold: float = 0.5, share: float = 0.4
) -> np.ndarray:
  """Returns the frames that are brighter than the frame before in many pixels.

  The difference max(0, next - current), at most 1, is turned to grey, smoothed
  over 3x3 pixels and compared with the threshold.

  Args:
    frames: [n, height, width, 3] float, normalised: each channel less its mean,
      divided by its standard deviation.
    threshold: a pixel with a larger difference has changed.
    share: a frame with a larger share of changed pixels is a key frame.

  Returns:
    [k] int64 positions, rising; never 0, which has no frame before it.

  Raises:
    ValueError: for frames of another shape, or of whole numbers.
  """
  from scipy import ndimage

  if frames.ndim != 4 or frames.shape[-1] != 3:
    raise ValueError(f"frames {frames.shape}: give [n, height, width, 3]")
  if not np.issubdtype(frames.dtype, np.floating):
    raise ValueError(
      f"frames are {frames.dtype}: normalise them, (x / 255 - mean) / std"
    )
  rise = np.clip(frames[1:] - frames[:-1], 0, 1) @ _LUMA
  smooth = ndimage.gaussian_filter(
    rise, _SIGMA, radius=1, axes=(1, 2), mode="mirror"
  )
  changed = (smooth > threshold).mean(axis=(1, 2))
  return np.flatnonzero(changed > share) + 1


def thin(keys: np.ndarray, num_frames: int, rate: float) -> np.ndarray:
  """Keeps at most floor(num_frames * rate) key frames, at a constant stride.

  DaCapo's code has the same stride, floor(keys / most), but keeps all key
  frames that it hits, which may be more than `most`.

  Args:
    keys: [k] positions.
    num_frames: of the window.
    rate: share of the frames that may be labelled, in (0, 1].

  Returns:
    [<= k] positions.

  Raises:
    ValueError: for a rate that allows no frame.

  >>> thin(np.arange(9), num_frames=20, rate=0.2).tolist()
  [0, 2, 4, 6]
  """
  most = math.floor(num_frames * rate + 1e-9)
  if not 0 < rate <= 1 or most < 1:
    raise UsageError(
      f"rate={rate} of {num_frames} frames: give a share that is a frame or "
      "more, 1 at most"
    )
  return keys[:: max(1, len(keys) // most)][:most]


def triggers(accuracies: Sequence[float], current: float) -> bool:
  """Returns whether `current` is below the past mean less a deviation.

  In the weighted mean of past accuracies, the newest has weight 1 and each
  older one 1/e of the next weight. The deviation is the standard deviation of
  the past accuracies as a population.

  Args:
    accuracies: percent, oldest first; an empty past never triggers.
    current: percent.

  >>> triggers([90.0, 92.0], 85.0), triggers([90.0, 92.0], 91.0)
  (True, False)
  """
  if not accuracies:
    return False
  past = np.asarray(accuracies, float)
  weights = np.exp(-np.arange(len(past))[::-1])
  usual = np.average(past, weights=weights) - past.std()
  return bool(usual > current)


def observe(
  history: History, current: float, seconds: float, *, warmup: float = 480
) -> tuple[bool, History]:
  """Decides whether to retrain after a window, and stores its accuracy.

  During the warm-up the answer is always yes; after it, the past starts empty.

  Args:
    history: `History()` at first.
    current: percent of the window's key frames predicted right.
    seconds: from the start of the stream to the start of the window.
    warmup: seconds.

  Returns:
    Whether to retrain, and the history with this window.

  Raises:
    ValueError: for a value that is no percentage.
  """
  if not 0 <= current <= 100:
    raise ValueError(f"current={current}: give percent, 0 to 100")
  if seconds < warmup:
    return True, History((*history.accuracies, current))
  past = history.accuracies if history.warm else ()
  return triggers(past, current), History((*past, current), True)


def utility(
  epochs: int,
  current: float,
  num_keys: int,
  label_seconds: float,
  train_seconds: float,
  num_frames: int = 300,
) -> float:
  """Computes the utility of a retraining, which falls with its length.

  It is max(0, c - (n / N) * (t_l * n + epochs * n * t_t)).

  Args:
    epochs: passes over the key frames.
    current: c, accuracy in percent.
    num_keys: n, key frames that are labelled and trained on.
    label_seconds: t_l, per key frame.
    train_seconds: t_t, per key frame and epoch.
    num_frames: N, of the window.

  >>> utility(10, 80.0, 30, label_seconds=0.01, train_seconds=0.005)
  79.82
  """
  takes = num_keys * (label_seconds + epochs * train_seconds)
  return max(0.0, current - num_keys / num_frames * takes)


def choose_epochs(
  generator: np.random.Generator,
  current: float,
  num_keys: int,
  label_seconds: float,
  train_seconds: float,
  *,
  num_frames: int = 300,
  start: int = 15,
) -> int:
  """Finds a number of epochs by a random walk.

  Each try proposes one epoch more, one less or the same, from 1 to 30. A
  proposal is accepted if its utility is higher, otherwise with probability
  exp(gain / (utility + 1e-5)). The walk ends after 100 tries or five rejected
  in a row; as published, it returns the last proposal, accepted or not.

  Args:
    generator: gives two draws per try: the step, then the chance.
    current: as for `utility`.
    num_keys: as for `utility`.
    label_seconds: as for `utility`.
    train_seconds: as for `utility`.
    num_frames: as for `utility`.
    start: epochs to walk from, 1 to 30.

  Raises:
    ValueError: for a start that is no allowed number of epochs.
  """
  if not 1 <= start <= MOST_EPOCHS:
    raise UsageError(f"start={start}: give 1 to {MOST_EPOCHS} epochs")

  def worth(epochs: int) -> float:
    return utility(
      epochs, current, num_keys, label_seconds, train_seconds, num_frames
    )

  here = proposed = start
  rejects = 0
  for _ in range(_MOST_TRIES):
    step = int(generator.integers(-1, 2))
    proposed = min(max(here + step, 1), MOST_EPOCHS)
    gain = worth(proposed) - worth(here)
    chance = generator.random()
    if gain > 0 or math.exp(gain / (worth(proposed) + 1e-5)) > chance:
      here, rejects = proposed, 0
      continue
    rejects += 1
    if rejects == _MOST_REJECTS:
      break
  return proposed
