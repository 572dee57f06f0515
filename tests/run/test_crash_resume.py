import re

import ready


def test_runs_that_are_killed_end_as_if_they_were_not():
  done = ready.call(
    "experiments/crash_resume.py",
    "--kills=3",
    "--epochs=2",
    "--model=mlp:width=16,depth=1",
    cwd=ready.ROOT,
  )
  assert done.returncode == 0, done.stdout + done.stderr[-2000:]
  assert "   3 kills in all" in done.stdout
  same, runs = re.findall(r"identical (\d+) of (\d+) runs", done.stdout)[-1]
  assert same == runs and int(runs) >= 1
