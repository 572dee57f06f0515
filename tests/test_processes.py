"""Two processes share one run: one result, one set of files."""

from concurrent import futures
import json
import socket

import pytest
import ready

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

  def process(number):
    return ready.call(
      "-c", SCRIPT, address, number, tmp_path / "run", timeout=180
    )

  with futures.ThreadPoolExecutor() as pool:
    ended = list(pool.map(process, range(2)))
  for each in ended:
    assert each.returncode == 0, each.stderr
  first, second = (
    next(
      line for line in each.stdout.splitlines() if line.startswith("accuracy")
    )
    for each in ended
  )
  assert first == second
  lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
  assert len(lines) == 2
  final = json.loads(lines[-1])["accuracy"]
  assert sum(final) / 2 == pytest.approx(float(first.split()[1]))
