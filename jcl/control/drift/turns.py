"""Phases of retraining and labelling in turns, and the samples between them.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353. A turn labels N_l
images; a retraining trains on 3 N_l samples of a buffer and validates on N_l;
the buffer holds the labels of ten turns. When to do which is a system's
decision.
"""

from collections.abc import Mapping
import dataclasses
from fractions import Fraction

import numpy as np

from jcl.control.drift import allocation, buffer, sampling, times
from jcl.control.drift.phases import Label, Labelled, Phase, Retrain, View


@dataclasses.dataclass(frozen=True)
class Turns:
  """Makes phases, and keeps their samples in proportion."""

  times: times.Times
  labels: int  # N_l
  epochs: int = 1  # of a retraining
  compat: bool = False  # draws and strides exactly as published
  horizon: int = 10  # turns whose labels the buffer holds

  def retrain(
    self,
    held: buffer.Buffer,
    note: Mapping[str, float],
    reason: str,
  ) -> Phase:
    """Retrains on samples drawn from the buffer, which stays as it is.

    Args:
      held: the samples.
      note: figures for the log.
      reason: one line.
    """
    drawn = self._drawn(held)
    work = Retrain(held.ids[drawn.train], held.ids[drawn.valid], self.epochs)
    lasts = self._retraining(len(drawn.train), len(drawn.valid), self.epochs)
    return Phase("retrain", lasts, work, note, reason)

  def label(
    self,
    view: View,
    kind: str,
    num: int,
    since: int,
    reason: str,
    recheck: bool = False,
  ) -> Phase:
    """Labels `num` of the frames from `since` to the end of the phase.

    Args:
      view: of the frames that have arrived.
      kind: of the phase.
      num: frames to label.
      since: the first frame that may be labelled.
      reason: one line.
      recheck: also predicts them with the weights at that time, which costs
        that much.
    """
    missing = num - (view.seen - since)
    lasts = self.labelling_seconds(num)
    if recheck:
      lasts += self._retraining(0, num)
    lasts = max(lasts, Fraction(missing, view.fps))
    stride = sampling.paper if self.compat else sampling.even

    def choose(view: View) -> np.ndarray:
      return since + stride(view.seen - since, num)

    return Phase(kind, lasts, Label(choose, recheck), reason=reason)

  def push(
    self, held: buffer.Buffer, found: Labelled, cycle: int
  ) -> buffer.Buffer:
    """Returns the buffer with the labelled frames at its front."""
    capacity = self.horizon * self.labels
    return buffer.push(held, found.ids, found.labels, cycle, capacity=capacity)

  def labelling_seconds(self, num: int) -> Fraction:
    """Returns the seconds of labelling `num` images."""
    return allocation.labelling_seconds(self.times.kernels, num)

  def _drawn(self, held: buffer.Buffer) -> buffer.Draw:
    """Draws the samples of a retraining; fewer while the buffer is short."""
    draw = buffer.draw_paper if self.compat else buffer.draw_robust
    if len(held.ids) >= 4 * self.labels:
      return draw(held, 3 * self.labels, self.labels)
    part = len(held.ids) // 4
    return draw(held, max(1, len(held.ids) - part), max(1, part))

  def _retraining(self, train: int, valid: int, epochs: int = 1) -> Fraction:
    return allocation.retraining_seconds(
      self.times.kernels, train, valid, self.times.batch, epochs
    )
