"""One run on eight devices against the same run on one."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[1]

RUNS = """
import json, sys
import jax, numpy as np
import tiny_network
from jcl import base, recipes
from jcl.run import loop, session
from jcl.train import learner as learner_lib

assert len(jax.devices()) == 8

def run(devices, batch_size, accumulate, name):
  stream = tiny_network.stream(tasks=2, per_class=15)
  options = session.Options(accumulate=accumulate)
  job = session.assemble(
    stream, tiny_network.build(), recipes.build(name),
    base.Training(epochs=1, batch_size=batch_size, momentum=0.9),
    options=options)
  made = job.learner
  learner = learner_lib.Learner(
    made.spec, stream.experiences[0].data.x[0], job.ledger, devices=devices)
  job.trainee.learner = job.feed.learner = learner
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    state = event.state
  ids = np.asarray(state.replay.items.ids) if state.replay else np.zeros(0)
  return {
    "params": np.concatenate(
      [np.asarray(x).ravel() for x in jax.tree.leaves(state.train.params)]
    ).tolist(),
    "ids": ids.tolist(),
    "steps": int(state.train.step),
    "loss": [r.loss for r in place.records],
  }

found = []
for case in json.loads(sys.argv[1]):
  found.append([run(jax.devices()[:n], *case) for n in (1, 8)])
print(json.dumps(found))
"""

CASES = [
  (16, 1, "er:buffer=20,minibatch=8"),
  (10, 1, "er:buffer=20,minibatch=5"),  # eight divides neither
  (12, 3, "finetune"),  # nor the parts of an accumulated batch
]


@pytest.fixture(scope="module")
def results():
  flags = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",  # compiles in half the time
  )
  environment = {
    **os.environ,
    "XLA_FLAGS": " ".join(flags),
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(TESTS),
  }
  done = subprocess.run(
    [sys.executable, "-c", RUNS, json.dumps(CASES)],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", range(len(CASES)))
def test_eight_devices_learn_what_one_does(results, case):
  one, eight = results[case]
  assert one["steps"] == eight["steps"] > 0
  assert one["params"] == pytest.approx(eight["params"], rel=1e-4, abs=1e-5)
  assert one["loss"] == pytest.approx(eight["loss"], rel=1e-4)
  # Only memories of the same rows make the same run: ids, slot by slot.
  assert one["ids"] == eight["ids"]
