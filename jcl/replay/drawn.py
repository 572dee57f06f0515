"""A feed whose examples are drawn by a rule, not shuffled."""

from typing import Any

import numpy as np

from jcl import keys
from jcl.replay import feed
from jcl.streams import draws


class Drawn(feed.Feed):
  """Shows examples in the order that the method's `draw` gives.

  Order and number of an epoch's examples follow from the arguments of the run
  and the updates that are planned for the experience.
  """

  def __init__(self, *args: Any) -> None:
    super().__init__(*args)
    self._planned = 0  # updates of the experience

  def plan(self, updates: int) -> bool:
    before, self._planned = self._planned, updates
    draw = self.learner.method.draw
    return draw is not None and draws.windowed(draw) and updates != before

  def _whole_order(self, epoch: int) -> np.ndarray:
    draw = self.learner.method.draw
    assert draw is not None
    wanted = self._planned * self.learner.stream_rows
    rng = keys.rng(self.seed, keys.Purpose.ORDER, self.index, epoch)
    return draws.drawn(draw, self.source.labels, wanted, rng)
