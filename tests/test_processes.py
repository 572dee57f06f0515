"""Two processes share one run: one result, one set of files."""

from concurrent import futures
import json
import os
import signal
import socket
import tempfile
import time

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


TINY = (
  *("learn", "--model=mlp:width=4,depth=1", "--batch_size=100", "--epochs=1"),
  *("--recipe=er:buffer=20", "--stream=class_incremental:tasks=2"),
  *("--compare=none", "--patience=60"),
)


def free_address():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{free.getsockname()[1]}"


def both(folder, *words, second=()):
  """Learns by two processes; `second` are words of the second alone."""
  place = (f"--coordinator={free_address()}", "--num_processes=2")

  def process(number):
    return ready.call(
      *(ready.ROOT / "run.py", *TINY, *place, f"--process_id={number}"),
      *(f"--workdir={folder}", *words, *(second if number else ())),
      timeout=180,
    )

  with futures.ThreadPoolExecutor() as pool:
    return list(pool.map(process, range(2)))


def test_two_processes_learn_as_one(tmp_path):
  address = free_address()

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


def test_two_processes_by_flags_and_then_one(tmp_path):
  """They end by one clock; one process goes on where two have stopped."""
  first, second = both(tmp_path, "--seconds_budget=1000")
  assert first.returncode == second.returncode == 0, first.stderr
  assert "report: " in first.stdout and "report: " not in second.stdout
  assert (tmp_path / "report.html").exists()
  records = tmp_path / "er-buffer=20" / "seed_0" / "records.jsonl"
  lines = records.read_text().splitlines()
  assert len(lines) == 2 and json.loads(lines[-1])["steps"] > 0

  # As after a stop behind the first experience.
  folder = records.parent / "checkpoints"
  assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
  for path in sorted((folder / "2").rglob("*"), reverse=True):
    path.rmdir() if path.is_dir() else path.unlink()
  (folder / "2").rmdir()
  alone = ready.call(
    *(ready.ROOT / "run.py", *TINY, f"--workdir={tmp_path}"),
    "--seconds_budget=1000",
  )
  assert alone.returncode == 0, alone.stderr
  again = records.read_text().splitlines()
  assert again[0] == lines[0] and len(again) == 2
  assert json.loads(again[1])["accuracy"] == pytest.approx(
    json.loads(lines[1])["accuracy"], abs=0.05
  )


def test_what_differs_between_processes_is_told_to_both(tmp_path):
  for each in both(tmp_path, second=["--learning_rate=0.5", "--seed=1"]):
    assert each.returncode == 2
    assert "learning_rate is None for process 0 and 0.5 for" in each.stderr
    assert "seed is ['0'] for process 0 and ['1'] for process 1" in each.stderr
  assert not list(tmp_path.rglob("records.jsonl"))


def test_a_process_that_is_left_alone_ends_with_one_line(tmp_path):
  place = (f"--coordinator={free_address()}", "--num_processes=2")
  with tempfile.TemporaryFile("w+") as out, open(os.devnull) as nothing:
    running = [
      ready.begin(
        *(ready.ROOT / "run.py", *TINY, *place, f"--process_id={number}"),
        *(f"--workdir={tmp_path}", "--epochs=10000"),
        streams=[nothing.fileno(), out.fileno(), out.fileno()],
      )
      for number in range(2)
    ]
    until = time.monotonic() + 120
    while not list(tmp_path.rglob("curve.jsonl")):
      assert time.monotonic() < until
      time.sleep(0.2)
    os.kill(running[0].pid, signal.SIGKILL)
    started = time.monotonic()
    assert running[1].wait(90) not in (0, None)
    assert time.monotonic() - started < 60
    running[0].wait(10)
    out.seek(0)
    told = out.read()
  assert "process 1 of 2: another process of this run has ended" in told
  assert "Check failure stack trace" not in told and "Traceback" not in told


@pytest.mark.parametrize(
  "words, told",
  [
    (["--coordinator=h:1"], "--num_processes and --process_id missing"),
    (["--coordinator=h", "--num_processes=2", "--process_id=0"], "host and"),
    (["--coordinator=h:1", "--num_processes=2", "--process_id=2"], "0 to 1"),
    (["--distributed", "--process_id=2"], "leave out --coordinator"),
    (["--num_processes=0"], "--num_processes=0: "),
    (["--patience=0"], "--patience=0.0: "),
  ],
)
def test_flags_that_do_not_say_which_processes(words, told):
  done = ready.call(ready.ROOT / "run.py", "learn", *words)
  assert done.returncode == 2 and told in done.stderr
