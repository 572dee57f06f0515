"""Channels to take out at once, and the networks left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl import base
from jcl.cost import program_cost
from jcl.networks import catalogue, resnet, shrink
from jcl.networks.sparsity import structured
from jcl.train.profiling import analytic

HALF = lambda unit: 0.5  # noqa: E731


def small(filters=4):
  return resnet._resnet("small", (8, 8, 1), 3, (1, 1), filters)


def arrays(network, seed=0):
  """Random parameters and statistics, variances above zero."""
  generator = np.random.default_rng(seed)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree.map(
    lambda leaf: (
      generator.uniform(0.2, 1, leaf.shape).astype(np.float32)
      * generator.choice(np.float32([-1, 1]), leaf.shape) ** (leaf.ndim > 1)
    ),
    shapes,
  )


def test_stages_of_resnet18():
  network = catalogue.build("resnet18", (32, 32, 3), 10)
  shares = structured.by_stage(network)
  assert list(shares) == list(network.units[:-1])
  assert list(shares.values()) == [0.2] * 5 + [0.7] * 2 + [0.8] * 2
  shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
  ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
  masks = structured.masks(network, ones, shares)
  kept = {group.name: int(mask.sum()) for group, mask in masks.items()}
  assert [kept[f"block_{i}/conv_0/kernel:3"] for i in range(8)] == [
    *(51, 51, 102, 102, 77, 77, 102, 102)
  ]
  assert kept["stem/conv/kernel:3"] == 51  # that of the whole first stage
  assert kept["block_6/conv_1/kernel:3"] == 102


def test_stages_of_other_networks():
  assert structured.by_stage(small()) == {
    "stem": 0.7,
    "block_0": 0.7,
    "block_1": 0.8,
  }
  flat = catalogue.build("mlp", (4,), 3, width=5)
  assert set(structured.by_stage(flat, last=0.4).values()) == {0.4}


def test_importance_sums_over_kernels_whose_outputs_are_added():
  network = small()
  params, _ = arrays(network)
  united = shrink.groups(network)[0]
  assert [p.path[0] for p in structured.writers(united)] == ["stem", "block_0"]
  expected = sum(
    np.abs(params[unit][conv]["kernel"]).sum(axis=(0, 1, 2), dtype=np.float64)
    for unit, conv in (("stem", "conv"), ("block_0", "conv_1"))
  )
  found = structured.importance(united, params)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_most_important_stay_and_equals_by_index():
  network = catalogue.build("mlp", (2,), 3, width=5, depth=1)
  (group,) = shrink.groups(network)
  params, _ = arrays(network)
  kernel = np.float32([[1, -3, 2, 0, 2], [1, 0, 0, -2, 0]])
  params["dense_0"]["dense"]["kernel"] = kernel

  def kept(sparsity):
    masks = structured.masks(network, params, {"dense_0": sparsity})
    return np.flatnonzero(masks[group]).tolist()

  assert kept(0.0) == [0, 1, 2, 3, 4]
  assert kept(0.4) == [0, 1, 2]
  assert kept(0.6) == [0, 1]
  assert kept(0.99) == [1]  # one stays in any case


def test_channels_that_one_writer_keeps_all_keep():
  network = small()
  united, *_ = shrink.groups(network)
  shares = {"stem": 0.75, "block_0": 0.25, "block_1": 0.5}
  masks = structured.masks(network, arrays(network)[0], shares)
  assert masks[united].sum() == 3


def test_a_smaller_network_that_computes_the_same():
  network = small()
  params, stats = arrays(network)
  masks = structured.masks(network, params, HALF)
  assert all(mask.sum() == mask.size / 2 for mask in masks.values())
  smaller, *cut = shrink.shrink(network, params, stats, masks)
  zeros = [shrink.zero(network, tree, masks) for tree in (params, stats)]
  generator = np.random.default_rng(1)
  x = generator.standard_normal((3, 8, 8, 1), np.float32)

  def logits(network, params, stats):
    options = {"xla_backend_optimization_level": 0}
    apply = jax.jit(lambda *a: network.apply(*a).logits)
    compiled = apply.lower(params, stats, x).compile(compiler_options=options)
    return compiled(params, stats, x)

  ours, theirs = logits(smaller, *cut), logits(network, *zeros)
  assert np.ptp(theirs) > 1e-2
  np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

  # Whatever a branch reads is there: what it loses is zero before it reads.
  for group, mask in masks.items():
    for part in structured.writers(group):
      kernel = zeros[0]
      for name in part.path:
        kernel = kernel[name]
      alive = np.abs(np.asarray(kernel)).sum(axis=(0, 1, 2)) > 0
      np.testing.assert_array_equal(alive, mask)


def test_fewer_operations_and_bytes():
  network = small(filters=16)
  params, stats = arrays(network)
  masks = structured.masks(network, params, HALF)
  smaller, *cut = shrink.shrink(network, params, stats, masks)

  def figures(network, params, stats):
    x = jax.ShapeDtypeStruct((4, *network.input_shape), jnp.float32)
    flops = analytic.flops(network, params, stats, x).full
    return flops, program_cost.num_bytes(params)

  before, after = figures(network, params, stats), figures(smaller, *cut)
  assert after[0] < 0.3 * before[0]
  assert after[1] < 0.3 * before[1]
  assert after[1] == 4 * sum(np.prod(t.shape) for t in smaller.tensors)


def test_units_without_a_sparsity():
  network = small()
  params, _ = arrays(network)
  with pytest.raises(ValueError, match="no sparsity is given for unit 'block_"):
    structured.masks(network, params, {"stem": 0.5})
  with pytest.raises(ValueError, match="sparsity is 1.5"):
    structured.masks(network, params, lambda unit: 1.5)


def test_defaults():
  assert signatures.defaults(structured.by_stage) == {
    "last": 0.8,
    "before": 0.7,
    "others": 0.2,
  }


def test_stages_by_number():
  def shares(widths):
    units = (*[f"unit_{i}" for i in range(len(widths))], "head")
    tensors = [
      base.Tensor((unit, "w"), unit, "kernel", (3, 3, 1, width))
      for unit, width in zip(units, widths, strict=False)
    ]
    tensors += [
      base.Tensor((units[0], "b"), units[0], "bias", (77,)),
      base.Tensor(("head", "w"), "head", "kernel", (4, 99)),
    ]
    network = base.Network(
      "some", units, tuple(tensors), None, None, (4,), 3, None
    )
    return list(structured.by_stage(network).values())

  assert shares([8]) == [0.8]
  assert shares([8, 16]) == [0.7, 0.8]
  assert shares([8, 8, 16, 32]) == [0.2, 0.2, 0.7, 0.8]
  assert shares([4, 8, 16, 32, 32]) == [0.2, 0.2, 0.7, 0.8, 0.8]
  # A width that returns is another stage.
  assert shares([8, 16, 8]) == [0.2, 0.7, 0.8]
