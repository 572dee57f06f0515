"""Exchange rate: how many samples leave memory, which of them, how often.

Samples that have just been replayed make room for others of their class from
storage: Lee et al., "CarM: Hierarchical Episodic Memory for Continual
Learning", DAC 2022, https://arxiv.org/abs/2110.07276. The speed of storage says
how many: Ma et al., "Cost-effective On-device Continual Learning over Memory
Hierarchy with Miro", MobiCom 2023, https://arxiv.org/abs/2308.06053.

A *ratio* is the share of replayed samples that leave, in an epoch that swaps.
An *interval* p lets every p-th epoch swap; a negative one, -p, all others. The
*target* is the share over all epochs.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

# Rounding puts a product such as 0.1 * 30 this far off a whole number at most.
_ROUNDING = 1e-9

_LONGEST = 5  # epochs, the interval below which the ratio falls instead


def swap_count(ratio: float, n: int) -> int:
  """Returns the published number of swaps per batch, ceil(ratio * n).

  Rounding up inflates small counts: with one replayed sample in each batch, any
  ratio above 0 swaps it. `take` does not.

  Args:
    ratio: in [0, 1].
    n: replayed samples in the batch.

  Raises:
    ValueError: for a ratio out of its range, or a negative `n`.
  """
  _check(ratio, n)
  return math.ceil(ratio * n - _ROUNDING)


def take(carry: float, ratio: float, n: int) -> tuple[int, float]:
  """Returns the number of swaps of a batch, and the fraction carried on.

  Each batch carries the fraction of a sample that it did not swap to the next
  one, so that over any run of batches, whatever their ratios, the number of
  swaps is within one of sum(ratio * n).

  Args:
    carry: fraction carried on by the batch before, in [0, 1]; 0 for the first.
    ratio: in [0, 1].
    n: replayed samples in the batch.

  Returns:
    (count, carry): at most `n` samples, and the next batch's `carry`.

  Raises:
    ValueError: for a carry or ratio out of its range, or a negative `n`.
  """
  _check(ratio, n)
  if not 0 <= carry <= 1:
    raise ValueError(f"carry={carry}: give 0, or what the last call returned")
  owed = carry + ratio * n
  count = min(n, math.floor(owed + _ROUNDING))
  return count, max(0.0, owed - count)


def ladder(target: float) -> tuple[float, int]:
  """Returns the ratio and the interval of a target, as Miro steps down.

  From 100 % to 20 % the interval grows, and below that the ratio falls: 50 % is
  (1, 2), 25 % (1, 4), 20 % (1, 5), and 10 % is (0.5, 5). Other targets take the
  longest interval of 5 or less that can reach them.

  Args:
    target: in [0, 1].

  Returns:
    (ratio, interval), whose `average_ratio` is the target.

  Raises:
    ValueError: for a target out of its range.
  """
  _check(target)
  interval = max(
    each
    for each in range(1, _LONGEST + 1)
    if average_ratio(1.0, each) >= target - _ROUNDING
  )
  return min(1.0, target * interval), interval


def average_ratio(ratio: float, interval: int) -> float:
  """Returns the ratio over all epochs, including those that do not swap.

  Args:
    ratio: in [0, 1].
    interval: p or -p, not 0.

  Raises:
    ValueError: for a ratio out of its range, or an interval of 0.
  """
  _check(ratio)
  _check_interval(interval)
  share = 1 / abs(interval)
  return ratio * (share if interval > 0 else 1 - share)


def in_interval(epoch: int, interval: int) -> bool:
  """Returns whether an epoch swaps.

  With interval p those are the epochs 0, p, 2p and so on, so that the shortest
  training swaps, and with -p all others.

  Args:
    epoch: counted from 0.
    interval: p or -p, not 0.

  Raises:
    ValueError: for an interval of 0.
  """
  _check_interval(interval)
  return (epoch % abs(interval) == 0) == (interval > 0)


def gate_scores(
  logits: ArrayLike, targets: ArrayLike, num_classes: int
) -> np.ndarray:
  """Computes how hard each sample is, by CarM's gate.

  With h the entropy of the prediction over ln(num_classes), the largest there
  is: h / 2 where the prediction is right, and 1 - h / 2 where it is wrong. So
  the order from low to high is right and certain, right and unsure, wrong and
  unsure, wrong and certain. Departure: CarM's program divides the entropy by
  the number of classes, not by its logarithm.

  Args:
    logits: [N, K] floats; -inf for classes that are masked.
    targets: [N] class indices below K.
    num_classes: classes that are not masked.

  Returns:
    [N] float64 in [0, 1]; the low ones leave first.

  Raises:
    ValueError: for arrays of other shapes, targets out of range, or a row of
      logits that makes no prediction.
  """
  logits = np.asarray(logits, np.float64)
  targets = np.asarray(targets)
  if logits.ndim != 2 or targets.shape != logits.shape[:1]:
    raise ValueError(
      f"logits {logits.shape} and targets {targets.shape}: give [N, K] and [N]"
    )
  if num_classes < 1:
    raise ValueError(f"num_classes={num_classes}: give 1 or more")
  if ((targets < 0) | (targets >= logits.shape[1])).any():
    raise ValueError(
      f"targets from {targets.min()} to {targets.max()} for logits of "
      f"{logits.shape[1]} classes: give class indices"
    )
  top = logits.max(axis=1, initial=-np.inf)
  if not np.isfinite(top).all():  # a NaN is the maximum of its row
    raise ValueError(
      "the logits of a sample have no finite maximum: leave out samples whose "
      "prediction is lost"
    )
  weight = np.exp(logits - top[:, None])
  probability = weight / weight.sum(axis=1, keepdims=True)
  # Where a probability is 0, so is its part in the entropy.
  log = np.log(np.where(probability > 0, probability, 1.0))
  entropy = -(probability * log).sum(axis=1)
  largest = math.log(num_classes)
  half = np.clip(entropy / largest, 0, 1) / 2 if largest else 0 * entropy
  return np.where(logits.argmax(axis=1) == targets, half, 1 - half)


def swap_out(
  logits: ArrayLike,
  targets: ArrayLike,
  batch_index: ArrayLike,
  em_filled: int,
  ratio: float,
  balanced: bool,
) -> np.ndarray:
  """Chooses the easiest of a batch's replayed samples, as CarM's gate does.

  `swap_count(ratio, n)` of the `n` replayed samples leave, those of the lowest
  `gate_scores`. Where the choice is balanced, each class gives
  floor(ratio * its samples), and the classes with the largest fractional parts
  give one more each until the count is reached, the lower class first.
  Departure: CarM draws these classes at random.

  Args:
    logits: [B, K] of the batch; -inf for classes that are masked.
    targets: [B] class indices below K.
    batch_index: [B] where each sample comes from: below `em_filled`, the slot
      in the episodic memory; from there on, the stream buffer.
    em_filled: slots of the memory that are in use.
    ratio: in [0, 1].
    balanced: whether every class gives its share.

  Returns:
    Entries of `batch_index`, which are slots in memory, easiest first; the
    sample that is earlier in the batch first between equal ones.

  Raises:
    ValueError: as `gate_scores` for the replayed samples, or for a ratio out of
      its range.
  """
  _check(ratio)
  slots = np.asarray(batch_index)
  replayed = slots < em_filled
  if replayed.shape != np.shape(targets):
    raise ValueError(
      f"batch_index {slots.shape} and targets {np.shape(targets)}: give [B] "
      "and [B]"
    )
  logits, slots = np.asarray(logits)[replayed], slots[replayed]
  labels = np.asarray(targets)[replayed]
  scores = gate_scores(logits, labels, max(1, logits.shape[1]))
  count = swap_count(ratio, len(slots))
  return slots[leaving(scores, labels, count, ratio if balanced else None)]


def leaving(
  scores: np.ndarray,
  labels: np.ndarray,
  count: int,
  share: float | None = None,
) -> np.ndarray:
  """Chooses which replayed samples leave: those of the lowest scores.

  Of equal scores the earlier sample leaves first. Runs and `swap_out` share
  this rule.

  Args:
    scores: [N] floats, such as `gate_scores`, or random ones for a random
      choice.
    labels: [N] classes of the samples.
    count: samples that leave, at most N.
    share: of each class that leaves, about, for a balanced choice; None takes
      the lowest scores whatever their classes.

  Returns:
    [count] int64 positions in `scores`, lowest score first.
  """
  order = np.argsort(scores, kind="stable")
  if share is None:
    return order[:count]
  return evenly(order, labels, share, count)


def evenly(
  order: np.ndarray, labels: np.ndarray, ratio: float, count: int
) -> np.ndarray:
  """Chooses the same share of every class, those first in the order.

  Args:
    order: [N] int64 positions in `labels`, all different.
    labels: [N] classes of the samples.
    ratio: share of each class, about.
    count: positions to choose, at most N; off the ratio by less than one
      sample per class.

  Returns:
    [count] int64 positions, in the given order.
  """
  ranked = labels[order]
  classes, sizes = np.unique(ranked, return_counts=True)
  taken = np.zeros(len(order), bool)
  for label, share in zip(classes, _shares(ratio * sizes, count), strict=True):
    taken[np.flatnonzero(ranked == label)[:share]] = True
  return order[taken]


def _shares(exact: np.ndarray, total: int) -> np.ndarray:
  """Rounds to whole numbers of a given sum, by largest fractional parts."""
  whole = np.floor(exact + _ROUNDING).astype(int)
  fraction = np.round(exact - whole, 9)
  by_fraction = np.argsort(-fraction, kind="stable")
  whole[by_fraction[: total - whole.sum()]] += 1
  return whole


def _check(ratio: float, n: int = 0) -> None:
  if not 0 <= ratio <= 1:
    raise ValueError(f"{ratio} is no share of samples: give one from 0 to 1")
  if n < 0:
    raise ValueError(f"n={n}: give 0 samples or more")


def _check_interval(interval: int) -> None:
  if interval == 0:
    raise ValueError(
      "interval=0: give p for every p-th epoch, or -p for all others"
    )
