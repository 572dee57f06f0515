"""Real kills of processes that write to a log, a few of them."""

from pathlib import Path

import ready


def test_kills_lose_nothing_that_was_acknowledged(tmp_path):
  done = ready.call(
    Path(__file__).with_name("log_crash.py"),
    "--kills=25",
    f"--folder={tmp_path / 'log'}",
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert "25 kills" in done.stdout and ": 0 wrong" in done.stdout
  assert int(done.stdout.split(", ")[1].split()[0]) > 100
