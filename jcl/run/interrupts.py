"""Signals that ask a process to end, collected instead of obeyed at once."""

from collections.abc import Iterator
import contextlib
import signal


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
  """Collects SIGINT and SIGTERM in a list instead of dying at once.

  A second signal raises KeyboardInterrupt at once, for those who cannot wait.
  Outside the main thread the signals act as before.

  Yields:
    The numbers of the signals received so far; the list grows.
  """
  received: list[int] = []

  def handle(number, frame):
    del frame
    if received:
      raise KeyboardInterrupt
    received.append(number)

  before = {}
  # Only the main thread may set handlers.
  with contextlib.suppress(ValueError):
    for number in (signal.SIGINT, signal.SIGTERM):
      before[number] = signal.signal(number, handle)
  try:
    yield received
  finally:
    for number, handler in before.items():
      # None: a handler that a host program set, and Python cannot set again.
      if handler is not None:
        signal.signal(number, handler)
