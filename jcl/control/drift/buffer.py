"""The labelled samples that a student is retrained on.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353: samples enter at
the front, classes interleaved; the oldest samples leave at the back. Each
retraining draws from every class in proportion to its samples in the buffer,
and splits the draw into a part to train on and a part to validate on.

There are two forms of draw. "paper" splits each draw anew, so that a sample
trained on in one cycle may be validated on in the next. "robust" splits by the
role that each sample got for good when it was pushed.
"""

from typing import NamedTuple

import numpy as np

from jcl.options.errors import UsageError

NUM_TRAIN = 324  # samples per retraining
NUM_VALID = 108  # samples that a retraining is validated on
NUM_LABEL = 108  # samples of a labelling phase
NUM_AFTER_DRIFT = 432  # samples in the buffer at the end of labelling for drift
CAPACITY = 1080  # samples in a full buffer


class Buffer(NamedTuple):
  """`Q` samples, newest first. A value: pushing makes another buffer."""

  ids: np.ndarray  # [Q] int64, of frames
  labels: np.ndarray  # [Q] int64
  cycles: np.ndarray  # [Q] int64, the cycle in which the sample was pushed
  valid: np.ndarray  # [Q] bool, role in the robust draw; true: to validate on
  dealt: int  # roles given so far, those of dropped samples included


class Draw(NamedTuple):
  """Positions in a buffer, class after class, no position twice."""

  train: np.ndarray  # [<= N_t + N_v] int64
  valid: np.ndarray  # [<= N_t + N_v] int64


def empty() -> Buffer:
  """Returns a buffer without samples."""
  none = np.empty(0, np.int64)
  return Buffer(none, none, none, np.empty(0, bool), 0)


def cleared(buffer: Buffer) -> Buffer:
  """Drops all samples, as after a drift; later roles continue the sequence."""
  return empty()._replace(dealt=buffer.dealt)


def push(
  buffer: Buffer,
  ids: np.ndarray,
  labels: np.ndarray,
  cycle: int,
  *,
  capacity: int = CAPACITY,
  every: int = 4,
) -> Buffer:
  """Puts new samples at the front and drops the oldest beyond the capacity.

  Classes take turns in rising order: each moves its oldest new sample to the
  front, until no new sample is left.

  Roles of the robust draw are dealt to the new samples sorted by class, and the
  sequence continues from one push to the next: every class gives nearly the
  same share to validation, all classes together exactly one sample in `every`.

  Args:
    buffer: the samples so far; it is not changed.
    ids: [N] of the frames, oldest first.
    labels: [N] classes, from 0.
    cycle: the cycle in which they were labelled; it is only stored.
    capacity: the most samples that the result holds.
    every: one sample in `every` is for validation.

  Raises:
    ValueError: for ids and labels that do not match, a negative label, or a
      number below 1.
  """
  ids, labels = np.asarray(ids, np.int64), np.asarray(labels, np.int64)
  if ids.ndim != 1 or ids.shape != labels.shape:
    raise ValueError(
      f"ids {ids.shape} and labels {labels.shape}: give one label per id"
    )
  if labels.size and labels.min() < 0:
    raise ValueError(f"label {labels.min()}: classes count from 0")
  for name, value in (("capacity", capacity), ("every", every)):
    if value < 1:
      raise ValueError(f"{name}={value}: give 1 or more")
  by_class = np.argsort(labels, kind="stable")
  counts = np.unique(labels, return_counts=True)[1]
  turn = np.empty(len(ids), np.int64)  # number of earlier samples of its class
  turn[by_class] = np.concatenate([np.arange(n) for n in counts] or [turn])
  place = np.empty(len(ids), np.int64)
  place[by_class] = buffer.dealt + np.arange(len(ids))
  front = np.lexsort((labels, turn))[::-1]
  valid = place % every == every - 1

  def joined(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.concatenate([new, old])[:capacity]

  return Buffer(
    joined(ids[front], buffer.ids),
    joined(labels[front], buffer.labels),
    joined(np.full(len(ids), cycle), buffer.cycles),
    joined(valid[front], buffer.valid),
    buffer.dealt + len(ids),
  )


def shares(counts: np.ndarray, num: int) -> np.ndarray:
  """Divides a draw among classes, in proportion to their samples.

  Each class gives floor(num * q_c / Q) samples. The missing ones are taken one
  by one from the classes in order that have more, sweep after sweep.

  Args:
    counts: [C] samples of each class, q_c; their sum is Q.
    num: samples to draw.

  Returns:
    [C] int64, whose sum is `num`.

  Raises:
    ValueError: if there are fewer samples than `num`.

  >>> shares(np.array([5, 3, 2]), 6).tolist()
  [4, 1, 1]
  """
  counts = np.asarray(counts, np.int64)
  total = int(counts.sum())
  if num < 0 or total < num:
    raise UsageError(
      f"{num} samples cannot be drawn from {total}: label more before you "
      "retrain, or draw fewer"
    )
  drawn = num * counts // max(total, 1)
  while missing := num - int(drawn.sum()):
    drawn[np.flatnonzero(drawn < counts)[:missing]] += 1
  return drawn


def stratified(labels: np.ndarray, num: int) -> list[np.ndarray]:
  """Draws positions of every class at a constant stride, front first.

  Args:
    labels: [Q], front of the buffer first.
    num: positions to draw.

  Returns:
    For every class with a share, in rising order, its positions [m_c]: among
    the q_c samples of the class the 0th, s-th, 2s-th and so on, where s =
    floor(q_c / m_c).

  Raises:
    ValueError: as `shares`.
  """
  classes, counts = np.unique(labels, return_counts=True)
  drawn = shares(counts, num)
  return [
    np.flatnonzero(labels == label)[:: count // m][:m]
    for label, count, m in zip(classes, counts, drawn, strict=True)
    if m
  ]


def draw_paper(
  buffer: Buffer, num_train: int = NUM_TRAIN, num_valid: int = NUM_VALID
) -> Draw:
  """Draws and splits as published.

  With n = N_t + N_v and k = floor(n / N_v), the 0th, k-th, 2k-th and so on of a
  class's m_c positions validate, floor(m_c * N_v / n) of them. As published, a
  class for which this is 0 still gives its 0th position: a class with a single
  sample is never trained on, and the parts may differ from the sizes asked for.

  Args:
    buffer: with at least n samples.
    num_train: N_t, 1 or more.
    num_valid: N_v, 1 or more.

  Raises:
    ValueError: if the buffer holds too few, or for numbers below 1.
  """
  num = _total(num_train, num_valid)
  train, valid = [], []
  for positions in stratified(buffer.labels, num):
    wanted = max(1, len(positions) * num_valid // num)
    validates = np.zeros(len(positions), bool)
    validates[:: num // num_valid][:wanted] = True
    train.append(positions[~validates])
    valid.append(positions[validates])
  return Draw(np.concatenate(train), np.concatenate(valid))


def draw_robust(
  buffer: Buffer, num_train: int = NUM_TRAIN, num_valid: int = NUM_VALID
) -> Draw:
  """Draws each part from the samples of its role.

  No sample is ever trained on and validated on. A part is smaller than asked
  for if the buffer has too few samples of its role.

  Args:
    buffer: with at least N_t + N_v samples.
    num_train: N_t, 1 or more.
    num_valid: N_v, 1 or more.

  Raises:
    ValueError: if the buffer holds too few, all have one role, or for numbers
      below 1.
  """
  num = _total(num_train, num_valid)
  if len(buffer.ids) < num:
    shares(np.array([len(buffer.ids)]), num)  # raises the error
  parts = []
  for role, wanted in ((False, num_train), (True, num_valid)):
    pool = np.flatnonzero(buffer.valid == role)
    if not len(pool):
      raise UsageError(
        f"none of {len(buffer.ids)} samples is there to "
        f"{'validate' if role else 'train'} on: push more, or another `every`"
      )
    drawn = stratified(buffer.labels[pool], min(wanted, len(pool)))
    parts.append(pool[np.concatenate(drawn)])
  return Draw(*parts)


def _total(num_train: int, num_valid: int) -> int:
  for name, value in (("num_train", num_train), ("num_valid", num_valid)):
    if value < 1:
      raise ValueError(f"{name}={value}: give 1 sample or more")
  return num_train + num_valid
