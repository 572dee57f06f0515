import os
from pathlib import Path
import subprocess
import sys

SCRIPT = Path(__file__).parents[1] / "experiments" / "mx_overhead.py"


def run(*arguments):
  return subprocess.run(
    [sys.executable, str(SCRIPT), *arguments],
    capture_output=True,
    text=True,
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
    },
  )


def test_steps_in_mx_are_compared_with_steps_in_float32():
  done = run("--quick")
  assert done.returncode == 0, done.stderr
  header, plain, ours = done.stdout.splitlines()
  assert header.split()[:3] == ["form", "ms/step", "ratio"]
  assert plain.split()[0] == "float32" and plain.split()[2] == "1.00"
  assert ours.split()[0] == "mx9:rne" and float(ours.split()[2]) > 0


def test_forms_that_do_not_exist():
  done = run("--quick", "--forms=mx8:rne")
  assert done.returncode != 0
  assert "--forms=mx8:rne: fmt='mx8': choose from" in done.stderr
