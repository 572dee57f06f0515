"""Orders of a training set that are drawn by a rule, not shuffled passes.

Prabhu et al., "Computationally Budgeted Continual Learning: What Does Matter?",
CVPR 2023, https://arxiv.org/abs/2303.11165, compare such rules.
"""

import numpy as np

from jcl import base


def drawn(
  draw: base.Draw, labels: np.ndarray, wanted: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns the order [n] int32 in which an epoch shows a training set.

  "uniform" draws as many examples as there are, with replacement; "balanced"
  does so with every class as likely, within which examples are alike. "recent"
  shuffles the last `wanted` examples, and "recency" as many that a reservoir
  keeps which takes new examples `alpha` times as often as a fair one.

  Args:
    draw: the rule.
    labels: [N] classes of the examples, in the order of the stream.
    wanted: examples that updates are going to show.
    rng: draws; the same generator gives the same order.

  >>> rng = np.random.default_rng(0)
  >>> sorted(drawn(base.Draw("recent"), np.zeros(5, int), 3, rng).tolist())
  [2, 3, 4]
  """
  count = len(labels)
  if draw.by == "recent":
    found = rng.permutation(np.arange(max(0, count - wanted), count))
  elif draw.by == "recency":
    found = rng.permutation(_kept(count, wanted, draw.alpha, rng))
  elif draw.by == "balanced":
    found = _balanced(labels, draw.counts, rng)
  else:
    found = rng.integers(0, max(count, 1), count)
  return found.astype(np.int32)


def windowed(draw: base.Draw) -> bool:
  """Tells whether a rule looks at how many examples are going to be shown."""
  return draw.by in ("recent", "recency")


def _balanced(
  labels: np.ndarray, counts: bool, rng: np.random.Generator
) -> np.ndarray:
  """Draws classes, and an example of each class drawn, [N] of each.

  Args:
    labels: [N] of the examples.
    counts: whether an example is the likelier the more its class has.
    rng: draws.
  """
  _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
  weights = sizes.astype(np.float64) ** 2 if counts else np.ones(len(sizes))
  if not len(sizes):
    return np.zeros(0, np.int64)
  classes = rng.choice(len(sizes), len(labels), p=weights / weights.sum())
  places = rng.integers(0, sizes[classes])
  starts = np.cumsum(sizes) - sizes
  return np.argsort(inverse, kind="stable")[starts[classes] + places]


def _kept(
  count: int, seats: int, alpha: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns what a reservoir keeps of `count` examples, one offered at a time.

  The n-th of them, counted from 1, is taken with probability `alpha` times
  `seats` / n, and then takes the place of any other.
  """
  found = np.arange(min(count, seats))
  if count <= seats:
    return found
  later = np.arange(seats, count)
  takes = rng.random(len(later)) < alpha * seats / (later + 1)
  places = rng.integers(0, seats, len(later))
  for place, example in zip(places[takes], later[takes], strict=True):
    found[place] = example
  return found
