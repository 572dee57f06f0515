"""The study of ways to keep latents, on its smallest data."""

import os
from pathlib import Path
import subprocess
import sys

SCRIPT = Path(__file__).parents[3] / "experiments" / "latent_codecs.py"


def test_the_study_makes_its_table(tmp_path):
  command = [
    *(sys.executable, SCRIPT, "--quick", "--seeds=1"),
    *("--row=images", "--row=uint8", f"--workdir={tmp_path}"),
  ]
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
  }
  done = subprocess.run(
    list(map(str, command)), env=environment, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  header, *lines = (tmp_path / "table.csv").read_text().splitlines()
  rows = {
    line.split(",")[0]: dict(
      zip(header.split(","), line.split(","), strict=True)
    )
    for line in lines
  }
  images, coded = rows["images"], rows["uint8"]
  assert images["bytes / example"] == coded["bytes / example"] == "64.0"
  assert images["held"] == coded["held"] == "25.0"
  done_, saved = (f"trunk {what} GFLOP" for what in ("done", "saved"))
  assert float(images[done_]) > 5 * float(coded[done_]) > 0
  assert float(coded[saved]) > 0 == float(images[saved])
  assert float(images["train GFLOP"]) > float(coded["train GFLOP"])
  assert (tmp_path / "uint8" / "seed_0" / "trunk.json").exists()
