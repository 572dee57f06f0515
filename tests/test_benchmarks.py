"""Tests of the commands that compare steps and convolutions."""

import numpy as np
import pytest
import ready

EXPERIMENTS = ready.ROOT / "experiments"


@pytest.fixture
def contenders(monkeypatch):
  monkeypatch.syspath_prepend(str(EXPERIMENTS))
  import contenders

  return contenders


def run(name, *arguments):
  return ready.call(EXPERIMENTS / name, *arguments)


def test_convolutions_are_compared():
  done = run("convolutions.py", "--quick", "--batch=2")
  assert done.returncode == 0, done.stderr
  _, peak, header, *lines = done.stdout.splitlines()
  assert float(peak.split()[-2]) > 0
  assert {"xla", "shifted", "im2col"} <= set(header.split())
  assert len(lines) % 3 == 2  # images take no gradient


def test_steps_are_compared(tmp_path):
  out = tmp_path / "table.csv"
  done = run(
    "benchmark.py", "--quick", "--seconds=0.01", f"--out={out}",
    "--contenders=jcl,jax",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  header, ours, theirs = out.read_text().splitlines()
  assert header.split(",")[:3] == ["workload", "who", "ms a step"]
  assert ours.startswith("mlp_10,jcl,") and ",1.00" in ours
  assert theirs.startswith("mlp_10,jax,")


def test_workloads_that_do_not_exist():
  done = run("benchmark.py", "--workloads=mlp_11")
  assert done.returncode != 0
  assert "'mlp_11': choose from mlp_10, mlp_64" in done.stderr


@pytest.mark.parametrize("name", ["jcl", "jax"])
@pytest.mark.parametrize("replays", [False, True])
def test_both_sides_train(contenders, name, replays):
  options = {"width": 5, "depth": 1}
  work = contenders.Workload("mlp", options, (4, 4, 1), 8, replays)
  contenders.CONTENDERS[name](work)(3)


def test_a_contender_that_is_not_installed_says_so(contenders, capsys):
  contenders.CONTENDERS["nobody"] = lambda work: __import__("nobody_at_all")
  contenders.main("nobody", "mlp_10")
  assert "ModuleNotFoundError" in capsys.readouterr().out


def test_networks_of_peers_are_as_large(contenders):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  import jax
  import peers

  from jcl.networks import catalogue

  for work in contenders.WORKLOADS.values():
    network = catalogue.build(work.model, work.shape, 10, **work.options)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    ours = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    theirs = sum(p.numel() for p in peers.build(work, 10).parameters())
    assert ours == theirs, work
    x = torch.zeros(2, work.shape[2], *work.shape[:2])
    assert peers.build(work, 10)(x).shape == (2, 10)
