"""The labelled samples that a student is retrained on.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024: samples enter at the front, classes interleaved;
the oldest leave at the back. Each retraining draws from all classes in
proportion to what the buffer holds of them, and splits the draw in two.

There are two forms of draw. "paper" splits anew each time, so that a sample
trained on in one cycle may be validated on in the next. "robust" splits by the
role that each sample got once, when it was pushed.
"""

from typing import NamedTuple

import numpy as np

from jcl.errors import UsageError

NUM_TRAIN = 324  # samples per retraining
NUM_VALID = 108  # samples that a retraining is validated on
NUM_LABEL = 108  # samples of a labelling phase
NUM_AFTER_DRIFT = 432  # samples in the buffer once a drift was answered
CAPACITY = 1080  # samples in a full buffer


class Buffer(NamedTuple):
  """`Q` samples, newest first. A value: pushing makes another one."""

  ids: np.ndarray  # [Q] int64, of frames
  labels: np.ndarray  # [Q] int64
  cycles: np.ndarray  # [Q] int64, in which the sample was pushed
  valid: np.ndarray  # [Q] bool, its role in the robust draw
  dealt: int  # roles given so far, to samples long gone too


class Draw(NamedTuple):
  """Positions in a buffer, class after class, no position twice."""

  train: np.ndarray  # [<= N_t + N_v] int64
  valid: np.ndarray  # [<= N_t + N_v] int64


def empty() -> Buffer:
  """Returns a buffer that nothing was pushed to."""
  none = np.empty(0, np.int64)
  return Buffer(none, none, none, np.empty(0, bool), 0)


def cleared(buffer: Buffer) -> Buffer:
  """Drops all samples, as after a drift; roles go on where they were."""
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
  """Puts samples before those of the buffer, and drops what is then too old.

  Classes take turns in rising order, each moving its oldest new sample to the
  front, until none is left.

  Roles of the robust draw are dealt over the new samples in order of class, and
  on from one push to the next: every class gives nearly the same share to
  validation, and the whole exactly one sample in `every`.

  Args:
    buffer: to push to; it is left as it is.
    ids: [N] of the frames, oldest first.
    labels: [N] classes, from 0.
    cycle: in which they were labelled; only remembered.
    capacity: the most samples that the result holds.
    every: one in so many samples is for validation.

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
  turn = np.empty(len(ids), np.int64)  # how many of its class come before
  turn[by_class] = np.concatenate([np.arange(n) for n in counts] or [turn])
  place = np.empty(len(ids), np.int64)
  place[by_class] = buffer.dealt + np.arange(len(ids))
  front = np.lexsort((labels, turn))[::-1]
  valid = place % every == every - 1

  def joined(new, old):
    return np.concatenate([new, old])[:capacity]

  return Buffer(
    joined(ids[front], buffer.ids),
    joined(labels[front], buffer.labels),
    joined(np.full(len(ids), cycle), buffer.cycles),
    joined(valid[front], buffer.valid),
    buffer.dealt + len(ids),
  )


def shares(counts: np.ndarray, num: int) -> np.ndarray:
  """Shares out a draw among classes, in proportion to what they hold.

  floor(num * q_c / Q) each; what is missing then goes one by one to the classes
  in order that have more, sweep after sweep.

  Args:
    counts: [C] samples of each class, q_c, which make Q.
    num: samples to draw.

  Returns:
    [C] int64, of sum `num`.

  Raises:
    ValueError: if there are fewer samples than `num`.
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
    For every class that gives any, in rising order, its positions [m_c]: of its
    own q_c the 0th, s-th, 2s-th and so on, where s = floor(q_c / m_c).

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

  Of each class's m_c positions the 0th, k-th, 2k-th and so on, k = floor(n /
  N_v), validate, until they are floor(m_c * N_v / n); n is N_t + N_v. A class
  for which that is none still gives its 0th, as published: one with a single
  sample is never trained on, and the parts may have other sizes than asked for.

  Args:
    buffer: of n samples at least.
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

  No sample is ever trained on and validated on. A part that has too few samples
  of its role is smaller than asked for.

  Args:
    buffer: of N_t + N_v samples at least.
    num_train: N_t, 1 or more.
    num_valid: N_v, 1 or more.

  Raises:
    ValueError: if the buffer holds too few, all have one role, or for numbers
      below 1.
  """
  num = _total(num_train, num_valid)
  if len(buffer.ids) < num:
    shares(np.array([len(buffer.ids)]), num)  # says what is wrong
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
