"""Prediction in batches of few sizes, and what images are taken for."""

import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl.networks import mlp
from jcl.networks.mx import layers
from jcl.serving import teacher
from jcl.train import augment

NETWORK = tiny_network.build()
PARAMS, STATS = NETWORK.init(jax.random.key(0))
PLAIN = augment.Preprocess(np.zeros(4, np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize(
  ("rows", "count", "sizes"),
  [
    (40, 0, []),
    (40, 1, [1]),
    (40, 2, [16]),
    (40, 16, [16]),
    (40, 17, [40]),
    (40, 40, [40]),
    (40, 41, [40, 1]),
    (40, 95, [40, 40, 16]),
    (8, 5, [8]),
    (8, 9, [8, 1]),
    (1, 2, [1, 1]),
  ],
)
def test_batches_have_few_sizes(rows, count, sizes):
  predictor = teacher.Predictor(NETWORK, PLAIN, rows)
  seen = []

  def call(params, stats, x):
    seen.append(len(x))
    return x[:, :4] * 2

  predictor._call = call
  x = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
  found = predictor(PARAMS, STATS, x)
  assert seen == sizes
  assert found.shape == (count, 4) and found.dtype == np.float32
  np.testing.assert_array_equal(found, 2 * x)


def test_a_teacher_labels_as_its_network_does():
  mean, std = np.float32([1, 2, 3, 4]), np.float32([2, 2, 1, 1])
  made = teacher.Teacher(NETWORK, PARAMS, STATS, mean=mean, std=std)
  x = np.random.default_rng(0).integers(0, 9, (5, 4)).astype(np.uint8)
  logits = NETWORK.apply(PARAMS, STATS, (x - mean) / std).logits
  found = made.label(x)
  assert found.tolist() == np.argmax(logits, -1).tolist()
  assert found.dtype == np.int32 and len(set(found.tolist())) > 1
  assert signatures.defaults(teacher.Teacher) == {"rows": 128}


def test_channels_are_standardised_apart():
  images = np.zeros((2, 1, 2, 3), np.uint8)
  images[..., 0] = [[[0, 20]], [[40, 60]]]
  images[..., 1] = 7
  images[..., 2] = [[[0, 0]], [[1, 1]]]
  mean, std = teacher.standardisation(images)
  np.testing.assert_allclose(mean, [30, 7, 0.5])
  np.testing.assert_allclose(std, [np.sqrt(500), 1, 1], rtol=1e-6)
  assert mean.dtype == std.dtype == np.float32


def test_what_a_precision_computes_in(monkeypatch):
  asked = []
  monkeypatch.setattr(
    layers, "policy", lambda network, **given: asked.append(given) or "other"
  )
  network = mlp.mlp((4,), 3, width=4)
  assert teacher.precise(network) is network
  assert teacher.precise(network, "mx") == "other"
  teacher.precise(network, "mx9", "stochastic")
  assert asked == [
    {"fmt_infer": "mx6", "rounding": "rne"},
    {"fmt_infer": "mx9", "rounding": "stochastic"},
  ]
  with pytest.raises(ValueError, match="precision='mx6': give float32, mx"):
    teacher.precise(network, "mx6")
