"""Real kills of processes that write to a log, a few of them."""

import os
from pathlib import Path
import subprocess
import sys

HERE = Path(__file__).parent


def test_kills_lose_nothing_that_was_acknowledged(tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      str(HERE / "log_crash.py"),
      "--kills=25",
      f"--folder={tmp_path / 'log'}",
    ],
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert "25 kills" in done.stdout and ": 0 wrong" in done.stdout
  assert int(done.stdout.split(", ")[1].split()[0]) > 100
