"""Python's interpreter, set up for a process that answers while it learns.

Threads take turns at the interpreter. Both settings hold for a whole process,
so that only a process of one's own may have them, or one whose owner asks.
"""

from collections.abc import Iterator
import contextlib
import gc
import sys

_SWITCH_SECONDS = 5e-4  # 5 ms is Python's own


def answer_soon() -> None:
  """Shortens what an answer waits for while another thread computes.

  A thread that asks for the interpreter has it sooner. Objects that are there
  now, modules and compiled programs as a rule, are left out when garbage is
  collected, which stops all threads: with hundreds of thousands of objects for
  tenths of a second.
  """
  gc.collect()
  gc.freeze()
  sys.setswitchinterval(_SWITCH_SECONDS)


@contextlib.contextmanager
def answering_soon() -> Iterator[None]:
  """Sets the interpreter up as `answer_soon` does, and back at the end."""
  before = sys.getswitchinterval()
  answer_soon()
  try:
    yield
  finally:
    gc.unfreeze()
    sys.setswitchinterval(before)
