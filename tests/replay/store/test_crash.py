"""The studies of the store, run small: among them real kills."""

import os
from pathlib import Path
import re
import subprocess
import sys

ROOT = Path(__file__).parents[3]


def run(script, *arguments):
  done = subprocess.run(
    [sys.executable, str(ROOT / "experiments" / script), *arguments],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def test_kills_lose_nothing_and_opening_is_light(tmp_path):
  out = run(
    "store_crash.py",
    "--parts=kills,open",
    "--kills=15",
    "--records=200_000",
    f"--folder={tmp_path}",
  )
  found = re.search(
    r"15 kills, (\d+) records acknowledged, (\d+) stored .*: 0 lost, 0 wrong",
    out,
  )
  assert found and int(found[2]) >= int(found[1]) > 100
  assert re.search(r"open: .* B of memory a record", out)
  assert not list(tmp_path.iterdir())


def test_formats_are_compared(tmp_path):
  out = run(
    "store_formats.py",
    "--thin=300",
    "--rounds=1",
    "--formats=jcl.replay.store,SQLite",
    f"--folder={tmp_path}",
  )
  for name in ("preads", "jcl.replay.store", "SQLite"):
    rows = [line for line in out.splitlines() if line.startswith(f"| {name} |")]
    assert [row.split("|")[-2].strip() for row in rows] == ["100%", "100%"]
