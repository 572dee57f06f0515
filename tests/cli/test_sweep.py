"""`jcl sweep`: what it asks for, and that each of its runs is as alone."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import ready

RUN = Path(__file__).parents[2] / "run.py"
TINY = (
  *("--model=mlp:width=4,depth=1", "--batch_size=100", "--epochs=1"),
  *("--recipe=er:buffer=20", "--stream=class_incremental:tasks=2"),
)
# As a process of a sweep with one processor for each.
ALONE = """
import os, runpy, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
  "words, told",
  [
    (["--seed=one"], "--seed=one: write whole numbers, as in --seed=0,1,2"),
    (["--seed="], "different numbers from 0"),
    (["--seed=0,0"], "different numbers from 0"),
    (["--workers=0"], "--workers=0: "),
    (["--epochs=1,1"], "--epochs=1,1: write each value once"),
    (["--epochs=1,-1"], "--epochs=-1: "),
    (["--epochs=1,many"], "--epochs=1,many"),
    (["--workers=2", "--meter=rapl"], "a sensor sees all workers at once"),
    (["--workers_memory=some"], "'some' is no limit of bytes"),
    (["--recipe=a b", "--compare=a+b", "--compare=a-b"], "one folder"),
    (["more"], "unexpected arguments ['more']"),
  ],
)
def test_what_is_wrong_is_told_at_once(jcl_command, words, told):
  status, said = jcl_command("sweep", *words)
  assert status == 2 and told in said
  assert not Path("runs").exists()


def test_one_run_takes_one_value(jcl_command):
  status, said = jcl_command("learn", "--flops_budget=1e6,2e6")
  assert status == 2
  assert "--flops_budget=1000000.0,2000000.0: jcl learn takes one" in said
  assert (
    "--workers, which is for jcl sweep"
    in jcl_command("learn", "--workers=2")[1]
  )


def test_a_recipe_that_does_not_exist_is_told_before_any_run(jcl_command):
  status, said = jcl_command(
    "sweep", "--compare=nothing", "--workers=1", "--workdir=s", *TINY
  )
  assert status == 2
  assert "no recipe is called 'nothing'" in said
  assert not list(Path("s").rglob("records.jsonl"))


def learned(place):
  """Returns a run's weights and its matrix of accuracies."""
  with np.load(place / "model.npz") as file:
    arrays = {name: file[name] for name in file.files}
  lines = (place / "records.jsonl").read_text().splitlines()
  return arrays, [json.loads(line)["accuracy"] for line in lines]


def test_runs_of_a_sweep_are_as_alone(jcl_command, tmp_path):
  words = ("sweep", "--learning_rate=0.1,0.3", "--workdir=s", "--compare=none")
  status, said = jcl_command(*words, *TINY, "--workers=2")
  assert status == 0, said
  assert "2 runs; 2 workers of" in said

  status, said = jcl_command(*words, *TINY, "--seed=0,3", "--workers=2")
  assert status == 0, said
  assert "4 runs, 2 of them finished" in said
  with open("s/sweep.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert [(row["recipe"], row["learning_rate"]) for row in rows] == [
    ("er:buffer=20", "0.1"),
    ("er:buffer=20", "0.3"),
  ]
  assert {row["runs"] for row in rows} == {"2"}
  assert len({row["class-incremental accuracy mean"] for row in rows}) > 1
  assert Path("s/report.html").stat().st_size > 0

  one = (
    *("learn", "--learning_rate=0.3", "--seed=3", "--compare=none"),
    f"--workdir={tmp_path / 'alone'}",
  )
  code = ALONE.replace("sys.argv[0]", repr(str(RUN)))
  threads = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
  done = ready.call("-c", code, *one, *TINY, env={**os.environ, **threads})
  assert done.returncode == 0, done.stderr
  values = "epochs=1-batch_size=100-learning_rate=0.3"
  ours, accuracies = learned(
    next(Path("s/er-buffer=20").glob(f"{values}/seed_3"))
  )
  theirs, expected = learned(tmp_path / "alone/er-buffer=20/seed_3")
  assert accuracies == expected
  assert ours.keys() == theirs.keys()
  for name, array in ours.items():
    np.testing.assert_array_equal(array, theirs[name])
