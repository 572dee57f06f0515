"""Work in processes of its own, some of which are killed, for crash tests."""

from collections.abc import Callable
import os
import pickle
import signal
import time
import traceback
from typing import Any


def killed(work: Callable[[], None], seconds: float) -> bool:
  """Does work in a process for a while; returns whether SIGKILL ended it."""
  pid = os.fork()
  if not pid:
    child(work)
  until = time.monotonic() + seconds
  while time.monotonic() < until:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
      return _was_killed(status)
    time.sleep(0.01)
  os.kill(pid, signal.SIGKILL)
  return _was_killed(os.waitpid(pid, 0)[1])


def _was_killed(status: int) -> bool:
  if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
    raise RuntimeError("the process failed")
  return os.WIFSIGNALED(status)


def in_child(function: Callable[..., Any], *args: Any) -> Any:
  """Returns what a function does in a process of its own."""
  read_end, write_end = os.pipe()
  pid = os.fork()
  if not pid:
    os.close(read_end)

    def work() -> None:
      with os.fdopen(write_end, "wb") as pipe:
        pickle.dump(function(*args), pipe)

    child(work)
  os.close(write_end)
  with os.fdopen(read_end, "rb") as pipe:
    data = pipe.read()
  _, status = os.waitpid(pid, 0)
  if status:
    raise RuntimeError(f"{function.__name__} failed for {args}")
  return pickle.loads(data)


def child(work: Callable[[], Any]) -> None:
  """Ends this process once the work is done, with 1 where it fails."""
  try:
    work()
  except BaseException:
    traceback.print_exc()
    os._exit(1)
  os._exit(0)
