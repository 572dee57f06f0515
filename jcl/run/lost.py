"""One line in place of a page where a run loses one of its processes.

JAX's service ends a process at once where another one is gone, by `abort`, with
pages about its insides; no Python runs any more. A process beside this one
reads what native code writes to standard error: it passes on what is not about
that, and has the last word.
"""

from collections.abc import Iterator
import contextlib
import os
import re
import subprocess
import sys

_ABOUT = re.compile(
  rb"^[WEF]\d{4} .*(coordination_service|client\.h|preemption_sync)"
)
_FATAL = re.compile(rb"^F\d{4} ")
_CHATTER = re.compile(rb"^\[Gloo\] Rank \d+ is connected")


@contextlib.contextmanager
def watched(last_words: str) -> Iterator[None]:
  """Has another process read what native code writes to standard error.

  Args:
    last_words: what it says where this process is ended by JAX's service.
  """
  sys.stderr.flush()
  real = os.dup(2)
  watcher = subprocess.Popen(
    [sys.executable, "-S", __file__, last_words],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    stderr=real,
    start_new_session=True,  # Ctrl-C is for this process
  )
  assert watcher.stdin is not None
  os.dup2(watcher.stdin.fileno(), 2)
  watcher.stdin.close()
  before = sys.stderr
  sys.stderr = open(real, "w", buffering=1, errors="backslashreplace")
  try:
    yield
  finally:
    sys.stderr.flush()
    os.dup2(real, 2)  # the watcher reads the end, and ends
    sys.stderr = before
    watcher.wait(10)


def watch(last_words: str) -> None:
  """Passes on what standard input has, until a run loses a process."""
  lost = fatal = False
  for line in sys.stdin.buffer:
    lost = lost or bool(_ABOUT.match(line))
    fatal = fatal or (lost and bool(_FATAL.match(line)))
    if not lost and not _CHATTER.match(line):
      os.write(2, line)
  if fatal:
    os.write(2, last_words.encode() + b"\n")


if __name__ == "__main__":
  watch(sys.argv[1])
