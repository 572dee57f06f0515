"""Run folders made up of numbers that look like those of a run."""

import json
import math

import numpy as np
import pytest

from jcl import base
from jcl.report import encoding, summarising, summary


def make_record(experience, num_experiences, random, ceiling=0.9):
  """A record whose accuracies fall by a tenth per later experience."""
  tests = np.arange(num_experiences)
  age = experience - tests
  noise = random.normal(0, 0.01, num_experiences)
  accuracy = np.where(age >= 0, ceiling - 0.1 * age + noise, 0.0)
  seconds = 10.0 + random.uniform()
  return base.Record(
    experience=experience,
    classes=(2 * experience, 2 * experience + 1),
    decision=base.Decision(
      base.Allocation(2, rho=0.5),
      limit=base.Cost(60.0, math.inf, math.inf, math.inf),
      reason="the share <asked> for",
    ),
    trained=(4, 10),
    parameters=(4_000, 10_000),
    steps=50,
    examples=3_200,
    loss=1.0 / (experience + 1),
    online_accuracy=0.5,
    accuracy=tuple(np.clip(accuracy, 0, 1).tolist()),
    accuracy_task=tuple(np.clip(accuracy + 0.05, 0, 1).tolist()),
    accuracy_class=tuple(np.repeat(np.clip(accuracy, 0, 1), 2).tolist()),
    memory={
      "examples": 100,
      "bytes": 76_800,
      "per_class": [20] * (2 * num_experiences),
    },
    costs={
      "train": base.Cost(seconds, 400.0, 1e12, 5e9),
      "evaluate": base.Cost(1.0, 30.0, 1e11, 1e9),
    },
    peak_bytes=10**9 + experience,
  )


@pytest.fixture
def records():
  """Three finished experiences."""
  random = np.random.default_rng(0)
  return [make_record(index, 3, random) for index in range(3)]


@pytest.fixture
def step_memory():
  """Bytes of a step by part, as a summary holds them."""
  return {
    "trunk": 200,
    "weights": 400,
    "gradients": 300,
    "slots": 300,
    "replay": 1000,
    "objective": 50,
    "batch": 20,
    "kept": 4000,
    "peak": 6000,
  }


@pytest.fixture(scope="session")
def write_run():
  """Writes a run folder and returns its path."""

  def write(
    folder,
    recipe="replay",
    options=None,
    seed=0,
    done=3,
    num_experiences=3,
    ceiling=0.9,
    **context,
  ):
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    made = [
      make_record(index, num_experiences, random, ceiling)
      for index in range(done)
    ]
    points = []
    for step in range(10, 50 * done + 1, 10):
      row = [0.4] * num_experiences
      points.append(
        {
          "step": step,
          "experience": (step - 1) // 50,
          "loss": 2.0 / step + 0.1 * random.uniform(),
          "online_accuracy": 0.5 + 0.1 * random.uniform(),
          "seconds": step * 0.2,
          "steps_per_second": 5.0,
        }
      )
      if step % 50 == 20:
        points.append({"step": step, "accuracy": row, "accuracy_task": row})
    summarised = summarising.summarise(
      made,
      initial={
        "accuracy": [0.1] * num_experiences,
        "accuracy_task": [0.5] * num_experiences,
      },
      test_sizes=[100] * num_experiences,
      anytime=[point for point in points if "accuracy" in point],
      context={
        "recipe": {"name": recipe, "options": options or {}},
        "stream": {"name": "made up", "classes": 2 * num_experiences},
        "network": {"name": "mlp"},
        "training": {"learning_rate": 0.1, "epochs": 2},
        "seed": seed,
        "num_experiences": num_experiences,
        "joules_source": "modelled (from the data sheet)",
        "environment": {
          "device": "a CPU",
          "git_revision": "0123abc",
          "versions": {"jax": "0.10.2"},
        },
        **context,
      },
    )
    (folder / "summary.json").write_text(json.dumps(summarised))
    lines = [json.dumps(encoding.to_json(record)) + "\n" for record in made]
    (folder / "records.jsonl").write_text("".join(lines))
    lines = [json.dumps(point) + "\n" for point in points]
    (folder / "curve.jsonl").write_text("".join(lines))
    return folder

  return write


@pytest.fixture
def runs(write_run, tmp_path):
  """Four runs: two recipes, two seeds each, over three experiences."""
  return [
    summary.read_run(
      write_run(tmp_path / f"{recipe}{seed}", recipe=recipe, seed=seed)
    )
    for recipe in ("er", "finetune")
    for seed in range(2)
  ]
