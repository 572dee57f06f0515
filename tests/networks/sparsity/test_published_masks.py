"""The filter masks of LightCL's published program."""

import jax
import numpy as np
import pytest

from jcl.networks import catalogue, resnet
from jcl.networks.sparsity import masked, published, structured

RESNET = catalogue.build("resnet18", (32, 32, 3), 10)


def arrays(network):
  generator = np.random.default_rng(0)
  shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree.map(
    lambda leaf: generator.standard_normal(leaf.shape, np.float32), shapes
  )


@pytest.mark.parametrize(
  ("filters", "sparsity", "kept"),
  [(64, 0.2, 52), (128, 0.2, 103), (256, 0.7, 78), (512, 0.8, 103)]
  # At 0 nothing goes; one filter stays in any case.
  + [(16, 0.0, 16), (16, 0.99, 1)],
)
def test_filters_that_stay(filters, sparsity, kept):
  kernel = np.random.default_rng(0).standard_normal((3, 3, 2, filters))
  mask = published.filters(kernel, sparsity)
  means = kernel.mean(axis=(0, 1, 2))
  assert mask.sum() == kept
  assert means[mask].min() > means[~mask].max(initial=-np.inf)


def test_signs_count_and_equals_stay_together():
  kernel = np.float32([[-9, 1, 2, 2, 3], [0, 1, 2, 2, 3]])
  # n is 2, so that the third smallest mean is the threshold.
  mask = published.filters(kernel, 0.6)
  np.testing.assert_array_equal(mask, [False, False, True, True, True])


def test_overall_sparsity_of_resnet18():
  masks = published.masks(RESNET, arrays(RESNET), structured.by_stage(RESNET))
  leaves = jax.tree.leaves(masks)
  size, alive = sum(m.size for m in leaves), sum(m.sum() for m in leaves)
  assert size == 11_173_962
  assert 1 - alive / size == pytest.approx(0.904, abs=0.001)
  kept = {
    unit: int(layers["conv_1"]["kernel"].any(axis=(0, 1, 2)).sum())
    for unit, layers in masks.items()
    if unit.startswith("block")
  }
  assert list(kept.values()) == [52, 52, 103, 103, 78, 78, 103, 103]


def test_the_walk_from_layer_to_layer():
  network = resnet._resnet("small", (8, 8, 1), 3, (1, 1), 4)
  params = arrays(network)
  masks = published.masks(network, params, lambda unit: 0.5)

  def own(unit, layer):
    return published.filters(params[unit][layer]["kernel"], 0.5)

  def outer(inputs, outputs):
    kernel = np.ones((3, 3, len(inputs), len(outputs)), bool)
    return kernel & inputs[:, None] & outputs

  stem, first = own("stem", "conv"), own("block_0", "conv_1")
  np.testing.assert_array_equal(
    masks["stem"]["conv"]["kernel"], outer(np.ones(1, bool), stem)
  )
  for kind in ("scale", "bias"):
    np.testing.assert_array_equal(masks["stem"]["norm"][kind], stem)
  block = masks["block_1"]
  inner, second = own("block_1", "conv_0"), own("block_1", "conv_1")
  # The skip path does not count: what the block before wrote last does.
  np.testing.assert_array_equal(block["conv_0"]["kernel"], outer(first, inner))
  np.testing.assert_array_equal(block["conv_1"]["kernel"], outer(inner, second))
  shortcut = own("block_1", "conv_shortcut")
  np.testing.assert_array_equal(
    block["conv_shortcut"]["kernel"],
    np.broadcast_to(shortcut, (1, 1, 4, 8)),
  )
  np.testing.assert_array_equal(block["norm_shortcut"]["bias"], shortcut)
  head = masks["head"]["dense"]
  np.testing.assert_array_equal(
    head["kernel"], np.broadcast_to(shortcut[:, None], (8, 3))
  )
  assert head["bias"].all()

  zeros = masked.apply(params, masks)
  assert jax.tree.all(
    jax.tree.map(lambda z, m: np.all((z == 0) == ~m), zeros, masks)
  )


def test_networks_of_another_form():
  bottleneck = resnet._resnet(
    "bottleneck", (8, 8, 1), 3, (1,), 2, bottleneck=True
  )
  dense = catalogue.build("mlp", (4,), 3, width=4)
  for network, unit in ((bottleneck, "block_0"), (dense, "dense_0")):
    with pytest.raises(ValueError, match=f"unit '{unit}' .* published form"):
      published.masks(network, arrays(network), lambda unit: 0.5)
