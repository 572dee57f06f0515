"""EfficientNet-Lite: published counts, padding, normalisers and dropout."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl.cost import gemms
from jcl.networks import catalogue, efficientnet, external, resize
from jcl.options.errors import UsageError

LITES = (efficientnet._LITE0, efficientnet._LITE1, efficientnet._LITE2)


@functools.cache
def build(name, side=96, channels=3, classes=1000):
  return catalogue.build(name, (side, side, channels), classes)


def multiply_adds(network):
  return sum(math.prod(gemm[:4]) for gemm in gemms.of(network)) / 1e6


@pytest.mark.parametrize(
  ("name", "side", "parameters", "millions"),
  [
    ("efficientnet_lite0", 224, 4_652_008, 385.2),
    ("efficientnet_lite0", 96, 4_652_008, 71.8),
    ("efficientnet_lite1", 240, 5_416_680, 600.2),
    # Of the published file: 6,150,168 numbers less 58,096 running statistics.
    ("efficientnet_lite2", 260, 6_092_072, None),
  ],
)
def test_published_counts(name, side, parameters, millions):
  network = build(name, side)
  assert sum(math.prod(t.shape) for t in network.tensors) == parameters
  assert network.features == "last"
  if millions is not None:
    assert multiply_adds(network) == pytest.approx(millions, abs=0.05)


def test_units_and_names_of_their_arrays():
  network = build("efficientnet_lite0")
  blocks = [f"block_{i}" for i in range(16)]
  assert network.units == ("stem", *blocks, "last", "head")
  sources = external.sources(network)
  names = {path: source.name for path, source in sources.items()}
  assert len(set(names.values())) == len(names) == 296 - 49  # without counters
  assert names["stem", "norm", "var"] == "_bn0.running_var"
  assert names["block_0", "filter_norm", "scale"] == "_blocks.0._bn1.weight"
  assert names["block_3", "expand_norm", "mean"] == (
    "_blocks.3._bn0.running_mean"
  )
  assert names["head", "dense", "kernel"] == "_fc.weight"


def test_blocks_as_published():
  lite0, lite1, lite2 = (
    list(efficientnet._blocks(size, 0.2)) for size in LITES
  )
  skips = [i for i, block in enumerate(lite0) if block.skip]
  assert skips == [2, 4, 6, 7, 9, 10, 12, 13, 14]
  assert [block.features for block in lite0] == (
    [16, *[24] * 2, *[40] * 2, *[80] * 3, *[112] * 3, *[192] * 4, 320]
  )
  assert [block.features for block in lite2] == (
    [16, *[24] * 3, *[48] * 3, *[88] * 4, *[120] * 4, *[208] * 5, 352]
  )
  assert len(lite1) == len(lite2) == 21
  assert [block.drop for block in lite0] == [
    pytest.approx(0.2 * i / 16) for i in range(16)
  ]
  assert [size.dropout for size in LITES] == [0.2, 0.2, 0.3]


def test_stages_are_those_of_table_1():
  """Of Tan and Le, 2019; widths are rounded to multiples of eight later."""
  assert efficientnet._STAGES == (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
  )


@pytest.mark.parametrize(
  ("side", "kernel", "edges"),
  [(6, 3, (0, 1)), (6, 5, (1, 2)), (7, 3, (1, 1)), (7, 5, (2, 2))],
)
def test_padding_depends_on_the_side(side, kernel, edges):
  module = efficientnet._conv(2, "conv", kernel, 2, depthwise=True)
  x = jax.random.normal(jax.random.key(0), (1, side, side, 2))
  variables = module.init(jax.random.key(1), x)
  wanted = jax.lax.conv_general_dilated(
    x,
    variables["params"]["kernel"],
    (2, 2),
    (edges, edges),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=2,
  )
  np.testing.assert_allclose(module.apply(variables, x), wanted, atol=1e-6)


def test_an_odd_side_of_lite1():
  """A side of 240 pixels leads to 15, and from there to 8."""
  network = build("efficientnet_lite1", 240)
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((1, 240, 240, 3), jnp.float32)
  out = jax.eval_shape(
    lambda *args: network.apply(*args, taps=("block_14", "block_15")),
    params,
    stats,
    x,
  )
  assert out.taps["block_14"].shape[1:3] == (15, 15)
  assert out.taps["block_15"].shape[1:3] == (8, 8)


def test_normalisers():
  norm = efficientnet._norm(True, "norm")
  x = jnp.array([[1.0], [3.0]])
  variables = norm.init(jax.random.key(0), x)
  y, moved = norm.apply(variables, x, mutable=["batch_stats"])
  np.testing.assert_allclose(y[1], 1 / np.sqrt(1.001), rtol=1e-6)
  stats = moved["batch_stats"]
  np.testing.assert_allclose(stats["mean"], [0.02], rtol=1e-5)
  np.testing.assert_allclose(stats["var"], [1.0], rtol=1e-5)


def test_stochastic_depth_leaves_whole_examples_out():
  block = efficientnet._Block(1, 4, 3, 1, True, 0.5)
  x = jax.random.normal(jax.random.key(0), (64, 3, 3, 4))
  variables = block.init(jax.random.key(1), x, False)

  def run(training, seed=None):
    rngs = None if seed is None else {"dropout": jax.random.key(seed)}
    mutable = ["batch_stats"] if training else []
    return block.apply(variables, x, training, rngs=rngs, mutable=mutable)[0]

  own = run(True) - x  # without a key, nothing is left out
  shown = run(True, 0) - x
  kept = np.abs(shown).max(axis=(1, 2, 3)) > 0
  assert 16 < kept.sum() < 48
  np.testing.assert_allclose(shown[kept], 2 * own[kept], atol=1e-5)
  np.testing.assert_array_equal(run(False, 0), run(False))


def test_dropout_ahead_of_the_head():
  head = efficientnet._Head(3, 0.5)
  x = jnp.ones((4, 10))
  variables = head.init(jax.random.key(0), x, False)
  still = head.apply(variables, x, False)
  moved = head.apply(variables, x, True, rngs={"dropout": jax.random.key(0)})
  assert np.abs(moved - still).max() > 0.1
  np.testing.assert_array_equal(head.apply(variables, x, True), still)


def test_grey_is_three_equal_channels_and_sides_are_resized():
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 1))
  resized = efficientnet._Stem(8)
  variables = resized.init(jax.random.key(1), x, False)
  assert variables["params"]["conv"]["kernel"].shape == (3, 3, 3, 32)
  found = resized.apply(variables, x, False)
  larger = jnp.repeat(resize.bicubic(x, 8), 3, axis=-1)
  wanted = efficientnet._Stem(None).apply(variables, larger, False)
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  assert found.shape == (2, 4, 4, 32)


@pytest.mark.parametrize("side", [None, 8, 12])
def test_the_stem_brings_images_to_the_side(side, monkeypatch):
  monkeypatch.setattr(efficientnet, "_blocks", lambda size, drop_path: ())
  network = efficientnet.efficientnet_lite0((8, 10, 3), 2, side=side)
  assert network.units == ("stem", "last", "head")
  x = jax.ShapeDtypeStruct((1, 8, 10, 3), jnp.float32)
  out = jax.eval_shape(
    lambda *args: network.apply(*args, taps=("stem",)),
    *jax.eval_shape(network.init, jax.random.key(0)),
    x,
  )
  expected = (4, 5) if side is None else (side // 2, side // 2)
  assert out.taps["stem"].shape[1:3] == expected


@pytest.mark.parametrize(
  ("shape", "options", "message"),
  [
    ((8, 8, 2), {}, "images of 1 or 3 channels.*mobilenet"),
    ((8, 3), {}, "efficientnet_lite0 reads images"),
    ((8, 8, 3), {"side": 0}, "side=0: give a whole number from 1"),
    ((8, 8, 3), {"dropout": 1.0}, "dropout=1.0: give a number"),
  ],
)
def test_what_is_refused(shape, options, message):
  with pytest.raises(UsageError, match=message):
    catalogue.build("efficientnet_lite0", shape, 2, **options)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(efficientnet.efficientnet_lite0) == {
    "dropout": 0.2,
    "drop_path": 0.2,
  }
  assert signatures.defaults(efficientnet.efficientnet_lite1) == {
    "dropout": 0.2,
    "drop_path": 0.2,
  }
  assert signatures.defaults(efficientnet.efficientnet_lite2) == {
    "dropout": 0.3,
    "drop_path": 0.2,
  }
