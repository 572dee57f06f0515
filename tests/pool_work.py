"""What processes of a pool do in tests."""

import os
import pathlib
import signal
import time


def maker(shared):
  def work(asked, tell):
    kind, value = asked
    if kind == "where":
      threads = os.environ["OMP_NUM_THREADS"]
      return os.getpid(), sorted(os.sched_getaffinity(0)), threads
    if kind == "once":  # dies, but for the second time
      path = pathlib.Path(shared) / value
      if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
      return "lived"
    if kind == "ever":
      os.kill(os.getpid(), signal.SIGKILL)
    if kind == "fail":
      raise ValueError(value)
    if kind == "wait":
      tell(0.5)
      time.sleep(value)
    if kind == "slow":
      time.sleep(value)
      return os.getpid()
    return value

  return work


def broken(shared):
  raise RuntimeError(f"nothing works in {shared}")
