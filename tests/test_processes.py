"""Two processes share one run: one result, one set of files."""

import json
import os
from pathlib import Path
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import jcl
stream = jcl.class_incremental(jcl.load("digits"), tasks=2)
network = jcl.build_network("mlp", stream.example_shape, 10, width=16, depth=1)
result = jcl.learn(
  stream, network, jcl.recipes.er(buffer=50), epochs=1, batch_size=10,
  workdir=sys.argv[3],
)
print("accuracy", result.average_accuracy)
"""


def test_two_processes_learn_as_one(tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(Path(__file__).parent.parent),
  }
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, address, str(i), str(tmp_path / "run")],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
    )
    for i in range(2)
  ]
  try:
    told = [process.communicate(timeout=180) for process in processes]
  finally:
    for process in processes:
      process.kill()
  for process, (_, errors) in zip(processes, told, strict=True):
    assert process.returncode == 0, errors
  first, second = (
    next(line for line in out.splitlines() if line.startswith("accuracy"))
    for out, _ in told
  )
  assert first == second
  lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
  assert len(lines) == 2
  final = json.loads(lines[-1])["accuracy"]
  assert sum(final) / 2 == pytest.approx(float(first.split()[1]))
