"""Readers of files answer damage by nothing but their documented errors."""

import os
from pathlib import Path
import subprocess
import sys

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def run(*arguments):
  return subprocess.run(
    [sys.executable, *arguments, "--quick"],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def test_no_reader_answers_damage_otherwise():
  done = run(str(EXPERIMENTS / "fuzz_readers.py"))
  assert done.returncode == 0, done.stdout
  rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
  assert {row[2].strip() for row in rows} == {"200"}
  assert len(rows) > 10 and {row[5].strip() for row in rows} == {"0"}


def test_other_errors_and_long_messages_are_found():
  program = f"""
import sys
sys.path.insert(0, {str(EXPERIMENTS)!r})
import fuzz_samples
from jcl.options.errors import UsageError

def read(folder):
  if (folder / "a").read_bytes()[:1] < b"a":
    return {{}}["no key"]
  raise UsageError("x" * 9999)

fuzz_samples.READERS = {{
  "bad": lambda place: fuzz_samples.Reader([{{"a": b"a file"}}], read)
}}
import fuzz_readers
from absl import app

app.run(fuzz_readers.main)
"""
  done = run("-c", program)
  assert done.returncode == 1, done.stderr
  assert "KeyError at <string>" in done.stdout
  assert "long message" in done.stdout
