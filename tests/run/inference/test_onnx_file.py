"""Models as ONNX graphs, run by ONNX Runtime."""

import json
import sys

import numpy as np
import pytest
import tiny_network
from untrained import NAMES, PREDICTORS, SHELF, calling, inputs_of, made, near

import jcl

REASON = "converts and runs ONNX; pip install jcl[onnx]"
pytest.importorskip("jax2onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)


def same(each, path):
  """Asserts that a graph gives the scores of a model; returns its property."""
  quiet = onnxruntime.SessionOptions()
  quiet.log_severity_level = 3
  session = onnxruntime.InferenceSession(
    path, quiet, providers=["CPUExecutionProvider"]
  )
  for count in (1, 5):
    x = inputs_of(each, count)
    near(session.run(["scores"], {"x": x})[0], each.predict_scores(x))
  return json.loads(session.get_modelmeta().custom_metadata_map["about"])


@pytest.mark.parametrize("name", SHELF.keys() - {"bfloat16"})
def test_networks_give_the_same_scores(name, tmp_path):
  each = made(SHELF[name](), dtype=np.uint8)
  path = each.export(tmp_path, format="onnx")
  assert path == tmp_path / "model.onnx"
  about = same(each, path)
  assert about["dtype"] == "uint8"
  assert about["input_shape"] == list(each.inputs.network.input_shape)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictors_give_the_same_scores(name, tmp_path):
  each = made(None, *PREDICTORS[name])
  about = same(each, each.export(tmp_path, format="onnx"))
  assert about["class_names"] == list(NAMES)
  assert about["learned"] == list(NAMES[:3])


REFUSED = {
  "mlp": SHELF["bfloat16"],  # no such products on CPUs
  "tiny": tiny_network.build,  # asks for the length of its input
  "Calling": calling,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_pass_is_told_by_name(name, tmp_path):
  each = made(REFUSED[name]())
  told = f"network '{name}' with logits cannot be exported as onnx"
  with pytest.raises(jcl.UsageError, match=told):
    each.export(tmp_path, format="onnx")
  assert not list(tmp_path.iterdir())


def test_the_converter_leaves_jax_as_it_was(tmp_path):
  x = inputs_of(made(), 5)
  before = made().predict_scores(x)
  made().export(tmp_path, format="onnx")
  np.testing.assert_array_equal(made().predict_scores(x), before)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  with pytest.raises(ImportError, match=r'install "jcl\[onnx\]"'):
    made().export(tmp_path, format="onnx")
