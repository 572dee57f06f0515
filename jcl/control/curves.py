"""Learning curves: power laws fitted to what was judged, and when to stop.

A score after k epochs, rounds or joules is taken to follow a - b k^-c with
b >= 0. The decay c is one of a grid, so that a and b follow in closed form, by
weighted least squares; a fit takes well under a millisecond and needs no
weights of a network.

Power laws: Kadra et al., "Scaling Laws for Hyperparameter Optimization",
NeurIPS 2023, https://arxiv.org/abs/2302.00441, whose networks predict the three
constants that are fitted here. With c = 1 alone the curve is the one by which
Li et al., "ETuner", https://arxiv.org/abs/2401.16694, forecast. The rule that
stops: Lee et al., "Cost-Sensitive Freeze-thaw Bayesian Optimization for
Efficient Hyperparameter Tuning", NeurIPS 2025,
https://arxiv.org/abs/2510.21379, with a price where they have a utility that
the user states.

What is this project's own: the grid, the noise that a curve has to exceed, the
prior for c and its spread.
"""

from collections.abc import Sequence
import dataclasses
import math

from jcl.options.errors import UsageError

GRID = tuple(i / 10 for i in range(1, 21))  # of the decay c

# Three constants are fitted, so that fewer different k tell nothing.
LEAST_POINTS = 3

# Below this share of the values, a rise is the rounding of floats.
_ROUNDING = 1e-12
# Bounds of k: squares of k^-2 are floats between them.
_LEAST_K, _MOST_K = 1e-30, 1e30

Point = tuple[float, float]  # (k, score)


@dataclasses.dataclass(frozen=True)
class Prior:
  """The decay to expect, from curves fitted before.

  Jumps at task changes break any curve over several experiences. So each
  experience has a curve of its own, and of those before it only the decay is
  kept.
  """

  c: float  # expected, above 0
  spread: float = 0.5  # standard deviation of ln c, above 0

  def __post_init__(self) -> None:
    for name in ("c", "spread"):
      value = getattr(self, name)
      if not 0 < value < math.inf:
        raise UsageError(f"{name}={value} of a curve's prior: give more than 0")


@dataclasses.dataclass(frozen=True)
class Curve:
  """The score a - b k^-c, which never falls as k grows.

  JSON holds what `dataclasses.asdict` makes of it.

  >>> Curve(a=0.8, b=0.4, c=1.0).at(8)
  0.75
  """

  a: float  # that it approaches
  b: float  # 0 or more; 0 where the forecast is the last value
  c: float  # above 0
  noise: float = 0.0  # standard deviation of the points about it

  @property
  def rises(self) -> bool:
    """Tells whether it forecasts any gain."""
    return self.b > 0

  def at(self, k: float) -> float:
    """Returns the score at k > 0."""
    return self.a - self.b * _power(k, self.c) if self.rises else self.a

  def gain(self, start: float, end: float) -> float:
    """Returns what the score gains from k = start to k = end, 0 or more.

    Args:
      start: above 0.
      end: `start` or more.
    """
    return max(0.0, self.at(end) - self.at(start))

  def reaches(self, score: float) -> float:
    """Returns the k at which it reaches a score; infinity for never.

    Returns 0 where a curve that does not rise lies at the score or above it.
    """
    if not self.rises:
      return 0.0 if score <= self.a else math.inf
    if score >= self.a:
      return math.inf
    exponent = (math.log(self.b) - math.log(self.a - score)) / self.c
    return math.exp(exponent) if exponent < math.log(_MOST_K) else math.inf


def fit(
  points: Sequence[Point],
  weights: Sequence[float] | None = None,
  prior: Prior | None = None,
  noise: float = 0.0,
  most: float = math.inf,
  grid: Sequence[float] = GRID,
) -> Curve:
  """Fits a curve to scores, or forecasts the last of them.

  For each c of the grid, a and b >= 0 minimise the weighted squares; the c with
  the least squares S wins, or with a prior the one with the least
  n/2 ln(S + n noise^2) + (ln c - ln prior.c)^2 / (2 prior.spread^2), where n is
  the number of points: exact points are believed against the prior, and noisy
  ones are not.

  The forecast is the last value, b = 0, where fewer than three different k are
  known, and where the curve rises over them by no more than the noise: the
  standard deviation about the curve, or `noise` where that is larger. Three
  points lie close to some curve whatever they are, so that only `noise` tells
  whether they mean anything.

  What falls, such as the accuracy on old classes, is fitted by its negative,
  see `net_gain`.

  Args:
    points: (k, score) each, k between 1e-30 and 1e30, in any order; of equal k,
      the later counts as the last.
    weights: of the points, above 0, such as the number of judged examples; None
      for equal ones.
    prior: of the decay; None where none is known.
    noise: standard error of a score, in its unit.
    most: the score that nothing exceeds, such as 1 for an accuracy as a share.
    grid: values of c to try; (1.0,) for ETuner's curve.

  Raises:
    UsageError: for no points, or numbers out of their range.

  >>> curve = fit([(1, 0.5), (2, 0.6), (4, 0.64)], grid=(1.0,))
  >>> round(curve.a, 6), round(curve.b, 6)
  (0.69, 0.188571)
  """
  weights = [1.0] * len(points) if weights is None else list(weights)
  _check(points, weights, noise, most, grid)
  order = sorted(range(len(points)), key=lambda i: points[i][0])
  ks = [float(points[i][0]) for i in order]
  scores = [float(points[i][1]) for i in order]
  total = math.fsum(weights)
  shares = [weights[i] / total for i in order]
  last = Curve(scores[-1], 0.0, 1.0 if prior is None else prior.c)
  if len(set(ks)) < LEAST_POINTS:
    return last
  least = (_ROUNDING * max(map(abs, scores))) ** 2
  best, lowest = last, math.inf
  for c in sorted(
    grid, reverse=True
  ):  # of equal ones that which promises least
    a, b = _solved([_power(k, c) for k in ks], scores, shares, most)
    curve = Curve(a, b, c)
    square = math.fsum(
      share * (score - curve.at(k)) ** 2
      for k, score, share in zip(ks, scores, shares, strict=True)
    )
    value = _score(square + noise**2 + least, len(ks), c, prior)
    if value < lowest:
      free = max(1, len(ks) - LEAST_POINTS)
      found = math.sqrt(square * len(ks) / free)
      best, lowest = dataclasses.replace(curve, noise=found), value
  rise = best.gain(ks[0], ks[-1])
  if rise <= max(best.noise, noise, math.sqrt(least)):
    return dataclasses.replace(last, noise=best.noise)
  return best


def carried(
  prior: Prior | None, curve: Curve, share: float = 0.5
) -> Prior | None:
  """Returns the prior for the next experience.

  ln c moves by `share` of the way to the curve's; a curve that forecasts the
  last value tells nothing of c and changes nothing.

  Args:
    prior: of this experience.
    curve: fitted to all of this experience.
    share: in (0, 1].
  """
  if not 0 < share <= 1:
    raise UsageError(f"share={share} of a curve's prior: give more than 0 to 1")
  if not curve.rises:
    return prior
  if prior is None:
    return Prior(curve.c)
  mean = (1 - share) * math.log(prior.c) + share * math.log(curve.c)
  return dataclasses.replace(prior, c=math.exp(mean))


def net_gain(
  new: Curve, old: Curve, classes: tuple[int, int], start: float, end: float
) -> float:
  """Returns what the accuracy over all classes gains, below 0 for a loss.

  While an experience is learned, accuracy on its classes rises, and on those
  before it falls. The mean over classes is what counts.

  Args:
    new: of the accuracy on the experience's classes.
    old: of the negative accuracy on the classes before it.
    classes: how many are new, and how many old; one of them at least.
    start: as for `Curve.gain`.
    end: as for `Curve.gain`.

  >>> rises, falls = Curve(0.8, 0.4, 1.0), Curve(-0.5, 0.1, 1.0)
  >>> round(net_gain(rises, falls, (2, 6), 4, 8), 6)
  0.003125
  """
  total = sum(classes)
  if min(classes) < 0 or not total:
    raise UsageError(
      f"{classes[0]} new and {classes[1]} old classes: give one or more"
    )
  gained, lost = new.gain(start, end), old.gain(start, end)
  return (classes[0] * gained - classes[1] * lost) / total


def goes_on(gain: float, price: float, cost: float) -> bool:
  """Tells whether the next epoch is worth its cost.

  Training stops where the forecast gain is below what is paid for it.

  Args:
    gain: of the next epoch, by the curve.
    price: in gain per unit of cost, 0 or more. Where there are several limits,
      see `pacing.charged`.
    cost: of the next epoch.

  >>> goes_on(0.005, price=0.001, cost=8), goes_on(0.005, price=0.001, cost=4)
  (False, True)
  """
  return gain >= price * cost


def _power(k: float, c: float) -> float:
  return math.exp(-c * math.log(k))


def _solved(
  powers: Sequence[float],
  scores: Sequence[float],
  shares: Sequence[float],
  most: float,
) -> Point:
  """Returns a <= most and b >= 0 that minimise the weighted squares.

  Args:
    powers: k^-c of each point.
    scores: of each point, at most `most`.
    shares: weight of each point, all together 1.
    most: infinity for no bound on a.
  """
  x = math.fsum(map(_product, shares, powers))
  y = math.fsum(map(_product, shares, scores))
  xx = math.fsum(w * (p - x) ** 2 for w, p in zip(shares, powers, strict=True))
  xy = math.fsum(
    w * (p - x) * (s - y)
    for w, p, s in zip(shares, powers, scores, strict=True)
  )
  if xx <= 0 or xy >= 0:
    return y, 0.0
  b = -xy / xx
  if y + b * x <= most:
    return y + b * x, b
  squares = math.fsum(w * p * p for w, p in zip(shares, powers, strict=True))
  below = math.fsum(
    w * p * (most - s) for w, p, s in zip(shares, powers, scores, strict=True)
  )
  return most, below / squares


def _product(first: float, second: float) -> float:
  return first * second


def _score(square: float, n: int, c: float, prior: Prior | None) -> float:
  """Returns what the best c minimises; `square` is of a point."""
  if prior is None:
    return square
  # ln of the sum of squares is that of their mean but for a constant.
  fits = n / 2 * math.log(square) if square > 0 else -math.inf
  return fits + (math.log(c / prior.c) / prior.spread) ** 2 / 2


def _check(
  points: Sequence[Point],
  weights: Sequence[float],
  noise: float,
  most: float,
  grid: Sequence[float],
) -> None:
  if not points:
    raise UsageError("a learning curve of no points: give (k, score) of one")
  if len(weights) != len(points):
    raise UsageError(
      f"{len(weights)} weights of {len(points)} points: give one for each"
    )
  for k, score in points:
    if not _LEAST_K <= k <= _MOST_K:
      raise UsageError(f"k={k} of a learning curve: give 1e-30 to 1e30")
    if not -math.inf < score <= most or score == math.inf:
      raise UsageError(
        f"a score of {score}: give a finite one, at most {most:g}"
      )
  for weight in weights:
    if not 0 < weight < math.inf:
      raise UsageError(f"a weight of {weight}: give more than 0")
  if not 0 <= noise < math.inf:
    raise UsageError(f"noise={noise}: give a standard error of 0 or more")
  if not grid or not all(0 < c < math.inf for c in grid):
    raise UsageError(f"grid={tuple(grid)}: give values of c above 0")
