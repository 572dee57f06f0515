import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_runs_that_are_killed_end_as_if_they_were_not():
  command = [
    sys.executable,
    "experiments/crash_resume.py",
    "--kills=3",
    "--epochs=2",
    "--model=mlp:width=16,depth=1",
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr[-2000:]
  assert "   3 kills in all" in done.stdout
  same, runs = re.findall(r"identical (\d+) of (\d+) runs", done.stdout)[-1]
  assert same == runs and int(runs) >= 1
