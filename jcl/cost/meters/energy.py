"""Energy from samples, counters and trials: arithmetic without a sensor."""

from collections.abc import Sequence
import itertools
import math


def integrate(times: Sequence[float], power: Sequence[float]) -> float:
  """Returns the energy under sampled power, by the trapezoid rule.

  Args:
    times: [N] seconds, not decreasing; the steps may differ.
    power: [N] watts at those times.

  Returns:
    Joules; 0 for fewer than two samples.

  Raises:
    ValueError: for lists of different lengths, values that are not finite, or
      a time before the previous one.

  >>> integrate([0.0, 1.0, 3.0], [10.0, 20.0, 20.0])
  55.0
  """
  if len(times) != len(power):
    raise ValueError(
      f"{len(times)} times and {len(power)} powers: give one power per time"
    )
  if not all(map(math.isfinite, (*times, *power))):
    raise ValueError("times and powers must be finite: leave out lost samples")
  steps = [after - before for before, after in itertools.pairwise(times)]
  if steps and min(steps) < 0:
    first = next(i for i, step in enumerate(steps) if step < 0)
    raise ValueError(
      f"times[{first + 1}]={times[first + 1]} lies before "
      f"times[{first}]={times[first]}: sort the samples by time"
    )
  return math.fsum(
    0.5 * (power[i] + power[i + 1]) * step for i, step in enumerate(steps)
  )


def counter_delta(a: float, b: float, wrap: float = math.inf) -> float:
  """Returns how far a counter went from `a` to `b`.

  A counter that stands lower than before has passed its end once. Passing the
  end twice cannot be noticed, so a counter must be read often enough. A counter
  without an end must have been reset, and the count since then is returned.

  Args:
    a: the earlier value, from 0 to `wrap`.
    b: the later value, in the same unit.
    wrap: the value at which the counter starts over; infinite: it has no end.

  Raises:
    ValueError: for a value outside of the counter's range.

  >>> counter_delta(5.0, 7.0), counter_delta(95.0, 5.0, wrap=100.0)
  (2.0, 10.0)
  """
  if not wrap > 0:
    raise ValueError(f"wrap={wrap}: give the range of the counter, above 0")
  for name, value in (("a", a), ("b", b)):
    if not 0 <= value <= wrap or value == math.inf:
      raise ValueError(f"{name}={value} is no value of a counter up to {wrap}")
  if b >= a:
    return b - a
  return b if wrap == math.inf else wrap - a + b


def extrapolate(
  trial_joules: float,
  trial_epochs: float,
  trial_batches: float,
  batch: int,
  em: int,
  sb: int,
  epochs: float,
) -> float:
  """Extrapolates the joules of a short trial to a whole training.

  Energy is assumed to be proportional to the examples shown: a trial of few
  epochs on a part of the data gives the joules per example, which the training
  pays for each of `em + sb` examples in each of its epochs.

  Args:
    trial_joules: spent by the trial, all epochs.
    trial_epochs: passes that the trial made.
    trial_batches: batches in each pass.
    batch: examples per batch.
    em: examples in the episodic memory of the training.
    sb: examples in its stream buffer.
    epochs: passes that the training makes.

  Raises:
    ValueError: for a trial without epochs, batches or examples, or negative
      amounts.

  >>> extrapolate(40.0, 2, 10, batch=10, em=300, sb=100, epochs=5)
  400.0
  """
  for name, value in (
    ("trial_epochs", trial_epochs),
    ("trial_batches", trial_batches),
    ("batch", batch),
  ):
    if not 0 < value < math.inf:
      raise ValueError(f"{name}={value}: give more than 0, a trial that ran")
  for name, value in (
    ("trial_joules", trial_joules),
    ("em", em),
    ("sb", sb),
    ("epochs", epochs),
  ):
    if not 0 <= value < math.inf:
      raise ValueError(f"{name}={value}: give 0 or more")
  per_example = trial_joules / (trial_epochs * trial_batches * batch)
  return per_example * (em + sb) * epochs
