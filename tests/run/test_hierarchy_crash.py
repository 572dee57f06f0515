"""Real processes over a memory hierarchy, killed at random moments."""

import re

import ready


def test_what_was_acknowledged_outlives_kills():
  done = ready.call(
    "experiments/hierarchy_crash.py", "--kills=3", "--epochs=1", cwd=ready.ROOT
  )
  assert done.returncode == 0, done.stdout + done.stderr[-2000:]
  assert "    3 kills in all" in done.stdout
  assert "0 lost, 0 wrong, 0 on which" in done.stdout
  assert ": 0 missing" in done.stdout
  same, runs = re.findall(r"identical (\d+) of (\d+) runs", done.stdout)[-1]
  assert same == runs and int(runs) >= 1
