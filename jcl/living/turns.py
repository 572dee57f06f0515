"""Turns at Python's interpreter: learning gives way to predictions.

One thread at a time computes in Python. Another one that needs the interpreter
waits until that thread lets go of it, or has had it for 5 ms. A prediction
needs it again when its compiled program has run, and would wait so long for a
learner that computes in Python. So learning looks between small pieces of its
work whether a prediction is being made, and lets it end. No setting of the
process is touched.
"""

import time

# A prediction that takes longer than the first of these times, in seconds, goes
# on beside learning; the other one is between two looks at whether it ended.
_MOST, _LOOK = 1e-3, 1e-4


class Turns:
  """Tells a thread that learns of predictions that are being made.

  A prediction is made within the block of a `with` statement. Any thread may
  make one, or several threads at once.
  """

  def __init__(self) -> None:
    # One entry for each prediction: adding and taking one is a single step of
    # the interpreter.
    self._made: list[None] = []

  def __enter__(self) -> None:
    self._made.append(None)

  def __exit__(self, *_: object) -> None:
    self._made.pop()

  def give(self) -> None:
    """Waits for predictions that are being made, a moment at most."""
    if not self._made:
      return
    until = time.perf_counter() + _MOST
    while self._made and time.perf_counter() < until:
      time.sleep(_LOOK)
