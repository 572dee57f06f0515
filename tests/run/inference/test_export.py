"""Models for other runtimes: equal where jcl cannot be imported, and whole."""

import dataclasses
import errno
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import ready
import tiny_network
from untrained import NAMES, PREDICTORS, SHELF, calling, inputs_of, made, near

import jcl
from jcl import base, recipes
from jcl.networks import catalogue
from jcl.run import session

pytest.importorskip("flatbuffers", reason="JAX writes programs by flatbuffers")
safetensors = pytest.importorskip("safetensors")

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "tutorials" / "export.md"
X = np.random.default_rng(0).normal(size=(17, 4)).astype(np.float32)


def read(path):
  """Returns a function of inputs and what a file says about it."""
  with safetensors.safe_open(path, "np") as file:
    about = json.loads(file.metadata()["about"])
    weights = {name: file.get_tensor(name) for name in file.keys()}
  programs = {
    int(name.partition(".")[2] or 0): jax.export.deserialize(
      bytearray(weights.pop(name))
    )
    for name in list(weights)
    if name.partition(".")[0] == "program"
  }

  def scores(x):
    rows = min((each for each in programs if each >= len(x)), default=0)
    padded = np.resize(x, (rows or len(x), *x.shape[1:]))
    return np.asarray(programs[rows].call(weights, padded))[: len(x)]

  return scores, about


def same(each, path, counts=(1, 5, 17)):
  """Asserts that a file gives the scores of a model; returns what it says."""
  scores, about = read(path)
  for count in counts:
    x = inputs_of(each, count)
    near(scores(x), each.predict_scores(x))
  return about


def snippet():
  """Returns the code of the page that reads a file."""
  blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
  (found,) = [block for block in blocks if "safe_open" in block]
  return found


ALONE = """
import sys

class Without:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in sys.argv[1].split(","):
      raise ImportError(f"{name} is not to be imported here")

sys.meta_path.insert(0, Without())
"""


def alone(code, *, folder):
  """Runs code in a process that finds jax, numpy and safetensors alone."""
  without = "jcl,flax,optax,orbax,chex,sklearn,scipy.optimize,pandas"
  done = subprocess.run(
    [sys.executable, "-c", ALONE + code, without],
    cwd=folder,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_a_process_without_jcl_gives_the_same_bits(tmp_path):
  each = made()
  np.save(tmp_path / "x.npy", X)
  each.export(tmp_path / "model.safetensors")
  code = snippet().replace("np.zeros", "(lambda *_: np.load('x.npy'))")
  assert code != snippet()
  told = alone(
    code + "np.save('scores.npy', scores)\nprint(*names, sep=',')\n",
    folder=tmp_path,
  )
  found = np.load(tmp_path / "scores.npy")
  scores, _ = read(tmp_path / "model.safetensors")
  np.testing.assert_array_equal(found, scores(X))
  np.testing.assert_allclose(found, each.predict_scores(X), 1e-6, 1e-6)
  assert told.strip().split(",") == each.predict(X).tolist()


def test_a_process_without_jcl_has_none(tmp_path):
  with pytest.raises(AssertionError, match="jcl is not to be imported"):
    alone("import jcl\n", folder=tmp_path)


@pytest.mark.parametrize("name", SHELF)
def test_networks_take_any_number_of_rows(name, tmp_path):
  each = made(SHELF[name](), dtype=np.uint8)
  about = same(each, each.export(tmp_path), counts=(5,))
  assert about["rows"] is None and about["platforms"] == ["cpu", "cuda", "tpu"]
  assert about["dtype"] == "uint8"
  assert about["input_shape"] == list(each.inputs.network.input_shape)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_go_into_the_program(name, tmp_path):
  each = made(None, *PREDICTORS[name])
  about = same(each, each.export(tmp_path / "m.safetensors"))
  assert about["rows"] is None
  assert about["class_names"] == list(NAMES)
  assert about["learned"] == list(NAMES[:3])


def test_a_network_of_a_fixed_batch_has_a_program_for_each_size(tmp_path):
  each = made(tiny_network.build())  # asks for the length of its input
  about = same(each, each.export(tmp_path))
  assert about["rows"] == [1, 16, 256]


def test_weights_are_no_part_of_the_program(tmp_path):
  def size(width):
    network = catalogue.build("mlp", (4,), 4, width=width)
    path = made(network).export(tmp_path)
    with safetensors.safe_open(path, "np") as file:
      assert "params/dense_0/dense/kernel" in file.keys()
      return file.get_tensor("program").nbytes

  assert abs(size(8) - size(400)) < 500


def test_weights_of_few_bits_stay_as_they_are(tmp_path):
  each = made()
  cast = jax.tree.map(lambda leaf: leaf.astype(jax.numpy.bfloat16), each.params)
  each = dataclasses.replace(each, params=cast)
  path = each.export(tmp_path)
  same(each, path)
  with safetensors.safe_open(path, "np") as file:
    assert file.get_tensor("params/head/dense/bias").dtype == "bfloat16"


def test_a_result_exports_its_model(tmp_path):
  result = session.learn(
    tiny_network.stream(),
    catalogue.build("mlp", (4,), 4, width=6),
    recipes.icarl(buffer=8, minibatch=4),
    epochs=1,
    options=session.Options(progress=False),
  )
  path = result.export(tmp_path / "new.safetensors")
  assert path == tmp_path / "new.safetensors"
  same(result.model, path)
  kept = jcl.load_model(result.save(tmp_path / "model.npz"))
  same(kept, kept.export(path))  # a second time, in place of the first


def test_what_cannot_be_a_program_is_told_by_name(tmp_path):
  each = made(calling())
  with pytest.raises(jcl.UsageError, match="network 'Calling' with logits can"):
    each.export(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_program_of_other_scores_is_not_written(tmp_path):
  calls = []

  def scores(apply, params, stats, x, fitted):
    calls.append(x)
    return apply(params, stats, x, ()).logits * len(calls)

  each = made(None, base.Predictor(lambda *args: (), scores))
  with pytest.raises(jcl.UsageError, match="predictor of its own gives other"):
    each.export(tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("path", "format", "message"),
  [
    ("m.npz", "stablehlo", r"m.npz: give a name that ends in \.safetensors"),
    ("m.onnx", "stablehlo", r"ends in \.safetensors"),
    ("m.safetensors", "onnx", r"ends in \.onnx"),
    ("none/m.safetensors", "stablehlo", "there is no folder .*none; make it"),
    ("m.tflite", "tflite", "format='tflite' is not known: give one of stable"),
  ],
)
def test_names_that_do_not_serve_are_told(path, format, message, tmp_path):
  with pytest.raises(jcl.UsageError, match=message):
    made().export(tmp_path / path, format=format)
  assert not list(tmp_path.iterdir())


def test_a_missing_package_is_told(tmp_path, monkeypatch):
  def serialize(self):
    raise ImportError("Please install 'flatbuffers'")

  monkeypatch.setattr(jax.export.Exported, "serialize", serialize)
  with pytest.raises(ImportError, match=r'install "jcl\[export\]"'):
    made().export(tmp_path)


@pytest.mark.parametrize(
  "error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()]
)
def test_a_file_is_replaced_as_a_whole(error, tmp_path, monkeypatch):
  path = made().export(tmp_path)
  before = path.read_bytes()

  def fail(*args):
    raise error

  monkeypatch.setattr(os, "fsync", fail)
  with pytest.raises(type(error)):
    made(tiny_network.build()).export(tmp_path)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:]
import test_export
os.fsync = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
test_export.made().export("model.safetensors")
"""


def test_a_kill_half_way_leaves_no_file_of_that_name(tmp_path):
  folder = Path(__file__).parent
  places = map(str, [ROOT, folder.parents[1], folder])
  done = ready.call("-c", KILLED, *places, cwd=tmp_path)
  assert done.returncode == -signal.SIGKILL, done.stderr
  assert not (tmp_path / "model.safetensors").exists()
  path = made().export(tmp_path)  # what is left does no harm
  assert [each.name for each in tmp_path.iterdir()] == [path.name]
