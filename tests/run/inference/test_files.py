"""Models in files: whole, of the right network, and never executed."""

import errno
import json
import os
import pickle
import subprocess
import sys

from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.networks import catalogue
from jcl.run import session

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
METHOD = recipes.er(buffer=8, minibatch=4)


class Net(nn.Module):
  activation: str = "relu"
  classes: int = 4

  @nn.compact
  def __call__(self, x):
    x = getattr(nn, self.activation)(nn.Dense(8)(x))
    return nn.Dense(self.classes)(x)


def learn(network, workdir=None, method=METHOD):
  return session.learn(
    tiny_network.stream(), network, method, workdir=workdir, epochs=1,
    learning_rate=0.1, options=session.Options(progress=False),
  )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("w") / "er" / "seed_0"
  network = catalogue.build("mlp", (4,), 4, width=6)
  return folder, learn(network, folder)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  result = learn(jcl.from_linen(Net(), (4,), 4))
  return result, result.save(tmp_path_factory.mktemp("m") / "own")


def test_a_run_leaves_its_model_in_its_folder(run):
  folder, result = run
  expected = result.predict_scores(X)
  for path in (folder, folder / "model.npz", folder.parents[1]):
    found = jcl.load_model(path)
    np.testing.assert_array_equal(found.predict_scores(X), expected)
    assert found.class_names == result.class_names


def test_a_run_that_is_over_writes_its_model_once(run):
  folder, result = run
  before = (folder / "model.npz").stat().st_mtime_ns
  again = learn(catalogue.build("mlp", (4,), 4, width=6), folder)
  assert (folder / "model.npz").stat().st_mtime_ns == before
  np.testing.assert_array_equal(
    again.predict_scores(X), result.predict_scores(X)
  )
  (folder / "model.npz").rename(folder / "moved")  # of a version without it
  learn(catalogue.build("mlp", (4,), 4, width=6), folder)
  assert (folder / "model.npz").exists()


def test_a_network_of_ones_own_has_to_be_given(own):
  result, path = own
  with pytest.raises(ValueError, match=r"'Net': build it again.*network="):
    jcl.load_model(path)
  found = jcl.load_model(path, network=jcl.from_linen(Net(), (4,), 4))
  np.testing.assert_array_equal(
    found.predict_scores(X), result.predict_scores(X)
  )


@pytest.mark.parametrize(
  "network, told",
  [
    (jcl.from_linen(Net("tanh"), (4,), 4), "computes other scores"),
    (jcl.from_linen(Net(classes=3), (4,), 3), "has 3 classes"),
    (jcl.from_linen(Net(), (5,), 4), r"takes \(5,\)"),
    (catalogue.build("mlp", (4,), 4), "are not those of network 'mlp'"),
    ("mlp", "network='mlp': give a network"),
    (Net(), "network=Net.*jcl.from_linen"),
  ],
)
def test_another_network_than_was_trained_is_refused(own, network, told):
  with pytest.raises(ValueError, match=told) as caught:
    jcl.load_model(own[1], network=network)
  assert len(str(caught.value)) < 500


def test_what_is_no_model_is_told(tmp_path, run):
  with pytest.raises(FileNotFoundError, match="there is no"):
    jcl.load_model(tmp_path / "none")
  with pytest.raises(FileNotFoundError, match="holds no model.npz"):
    jcl.load_model(tmp_path)
  for name in ("a", "b"):
    run[1].save(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "x")
    (tmp_path / name).mkdir()
    (tmp_path / "x").rename(tmp_path / name / "model.npz")
  with pytest.raises(ValueError, match="holds 2 models: give one, such as"):
    jcl.load_model(tmp_path)
  np.savez(tmp_path / "other.npz", x=X)
  (tmp_path / "text").write_text("text")
  (tmp_path / "empty").write_bytes(b"")
  with open(tmp_path / "pickled", "wb") as file:
    pickle.dump(Net(), file)
  for name in ("other.npz", "text", "empty", "pickled"):
    with pytest.raises(ValueError, match="is no model of jcl"):
      jcl.load_model(tmp_path / name)


def changed(path, **changes):
  """Rewrites a model with some arrays and facts changed."""
  with np.load(path) as kept:
    arrays = dict(kept)
  about = json.loads(arrays["about"].tobytes())
  for name, value in changes.items():
    if name in arrays:
      arrays[name] = value
    else:
      about[name] = value
  told = json.dumps(about).encode()
  arrays["about"] = np.frombuffer(told, np.uint8)
  np.savez(path, **arrays)
  return path


@pytest.mark.parametrize(
  "changes, told",
  [
    ({"format": 2}, "format 2"),
    ({"origin": {"model": "mlp", "options": {"widht": 6}}}, "cannot be built"),
    ({"origin": {"model": "later", "options": {}}}, "network=..."),
    ({"a0": np.zeros((4, 6), np.float32)}, "does not run with the weights"),
    ({"predictor": "oracle"}, "damaged"),
    ({"a0": np.full(6, 9, np.float32)}, "other scores"),
    ({"a1": np.array([{}], object)}, "damaged"),
    ({"input_shape": "x"}, "cannot be built"),
  ],
)
def test_files_that_do_not_fit_are_told(run, tmp_path, changes, told):
  path = run[1].save(tmp_path / "model.npz")
  with pytest.raises(ValueError, match=told):
    jcl.load_model(changed(path, **changes))


@pytest.fixture(scope="module")
def content(run, tmp_path_factory):
  path = run[1].save(tmp_path_factory.mktemp("c") / "model.npz")
  return path.read_bytes(), path.with_name("damaged")


@given(st.data())
def test_damage_is_told_whatever_it_hits(content, data):
  whole, path = content
  place = data.draw(st.integers(0, len(whole) - 1))
  if data.draw(st.booleans()):
    path.write_bytes(whole[:place])
  else:
    flipped = whole[place] ^ data.draw(st.integers(1, 255))
    path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
  try:
    jcl.load_model(path)  # of some bytes nothing depends
  except ValueError as error:
    assert len(str(error)) < 500


@pytest.mark.parametrize(
  "error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()]
)
def test_a_model_is_written_as_a_whole(run, tmp_path, monkeypatch, error):
  path = run[1].save(tmp_path / "m")
  before = path.read_bytes()

  def fail(*args):
    raise error

  monkeypatch.setattr(os, "fsync", fail)
  with pytest.raises(type(error)):
    run[1].save(path)
  assert path.read_bytes() == before
  assert [each.name for each in tmp_path.iterdir()] == ["m"]


def test_a_model_goes_where_its_path_says(run, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert run[1].save("~/m.npz") == tmp_path / "m.npz"
  with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
    run[1].save(tmp_path / "nowhere" / "m.npz")
  network = tiny_network.build()
  learn(network, "~/run")
  assert (tmp_path / "run" / "model.npz").exists()
  found = jcl.load_model("~/run", network=network).class_names
  assert found == ("0", "1", "2", "3")


def test_a_predictor_of_ones_own_is_no_file(tmp_path):
  def scores(network_apply, params, stats, x, fitted):
    return -network_apply(params, stats, x, ()).logits

  predictor = base.Predictor(lambda *args: (), scores)
  method = METHOD._replace(predictor=predictor)
  result = learn(tiny_network.build(), tmp_path / "w", method)
  assert result.predict(X).shape == (5,)
  with pytest.raises(ValueError, match="predictor of its own"):
    result.save(tmp_path / "m")
  assert not (tmp_path / "w" / "model.npz").exists()


# What learns, solves, saves or reports, and takes memory once imported.
_HEAVY = {"matplotlib", "numba", "orbax", "pandas", "scipy", "sklearn"}


def test_another_process_predicts_the_same_and_imports_little(run):
  folder, result = run
  code = (
    "import sys, numpy as np, jcl\n"
    "x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)\n"
    "print(*jcl.load_model(sys.argv[1]).predict(x))\n"
    "print(*{name.partition('.')[0] for name in sys.modules})\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, str(folder)],
    capture_output=True,
    text=True,
    check=True,
  )
  found, modules = done.stdout.splitlines()
  assert found.split() == list(map(str, result.predict(X)))
  assert "jcl" in modules and not _HEAVY & set(modules.split())
