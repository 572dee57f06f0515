"""Windows of fixed length, into which several systems divide the stream."""

from fractions import Fraction

from jcl.control.drift import allocation, times
from jcl.options.errors import UsageError


def static(
  seconds: times.Times, window: int, rate: float, epochs: int, fps: int
) -> allocation.Static:
  """Returns the allocation of windows that retrain, then label.

  Args:
    seconds: of the kernels.
    window: seconds.
    rate: share of a window's frames that is labelled; 0: the largest share that
      leaves time to retrain on all labelled frames.
    epochs: of a retraining.
    fps: frames per second.

  Raises:
    ValueError: if labelling and retraining do not fit a window.
  """
  kernels, frames = seconds.kernels, window * fps
  if rate:
    return allocation.Static(kernels, rate, window, fps, epochs, seconds.batch)

  def fits(num: int) -> bool:
    training = allocation.retraining_seconds(
      kernels, num, 0, seconds.batch, epochs
    )
    return training + allocation.labelling_seconds(kernels, num) <= window

  low, high = 0, frames  # `low` fits; time rises with the number
  while low < high:
    middle = (low + high + 1) // 2
    low, high = (middle, high) if fits(middle) else (low, middle - 1)
  if not low:
    raise UsageError(
      f"window={window} is too short to label a frame and train on it: give "
      "more seconds"
    )
  # A rate is rounded down to whole frames, so half a frame is added.
  share = float(Fraction(2 * low + 1, 2 * frames)) if low < frames else 1.0
  return allocation.Static(kernels, share, window, fps, epochs, seconds.batch)


def lasting(frames: range, fps: int) -> Fraction:
  """Returns the seconds in which these frames arrive."""
  return Fraction(len(frames), fps)


def at_least_one(**numbers: float) -> None:
  """Checks that options are counts.

  Raises:
    ValueError: for a number below 1, with its name.
  """
  for name, value in numbers.items():
    if value < 1:
      raise UsageError(f"{name}={value}: give 1 or more")
