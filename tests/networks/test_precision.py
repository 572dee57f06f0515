"""Networks that compute in bfloat16 and store float32."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.networks import catalogue, linen, precision

PLAIN = catalogue.build("conv1d", (8, 3), 4, width=4, depth=2)
HALF = precision.with_precision(PLAIN, "bfloat16")
PARAMS, STATS = PLAIN.init(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (5, 8, 3))


def dtypes(tree):
  return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def test_stored_arrays_and_outputs_are_float32():
  out = HALF.apply(PARAMS, STATS, X, training=HALF.units, taps=("conv_1",))
  assert dtypes((HALF.init(jax.random.key(0)), out)) == {jnp.dtype("float32")}
  grads = jax.eval_shape(
    jax.grad(lambda p: HALF.apply(p, STATS, X).logits.sum()), PARAMS
  )
  assert dtypes(grads) == {jnp.dtype("float32")}


def test_products_are_bfloat16():
  program = jax.make_jaxpr(lambda *args: HALF.apply(*args).logits)(
    PARAMS, STATS, X
  )
  products = [
    equation.outvars[0].aval.dtype
    for equation in program.jaxpr.eqns
    if equation.primitive.name in ("dot_general", "conv_general_dilated")
  ]
  assert len(products) == 3 and set(products) == {jnp.dtype("bfloat16")}


def test_results_agree_to_the_precision_of_bfloat16():
  plain = PLAIN.apply(PARAMS, STATS, X, training=PLAIN.units)
  half = HALF.apply(PARAMS, STATS, X, training=HALF.units)
  np.testing.assert_allclose(half.logits, plain.logits, atol=0.1)
  assert (half.logits != plain.logits).any()
  for one, two in zip(
    jax.tree.leaves(half.stats), jax.tree.leaves(plain.stats), strict=True
  ):
    np.testing.assert_allclose(one, two, atol=0.02)


def test_blocks_by_hand_equal_apply():
  x = X
  for block in HALF.blocks:
    x, _ = block.apply(
      PARAMS[block.name], STATS.get(block.name, {}), x, True, None
    )
  out = HALF.apply(PARAMS, STATS, X, training=HALF.units)
  np.testing.assert_array_equal(x, out.logits)
  assert x.dtype == jnp.float32


def test_integer_statistics_keep_their_type():
  class Counting(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      calls = self.variable("counters", "calls", lambda: jnp.int32(0))
      if train:
        calls.value += 1
      return nn.Dense(2)(x)

  network = precision.with_precision(
    linen.from_linen(Counting(), (3,), 2), "bfloat16"
  )
  params, stats = network.init(jax.random.key(0))
  out = network.apply(params, stats, jnp.ones((2, 3)), training=("Dense_0",))
  assert out.stats["calls"]["counters"].dtype == jnp.int32
  assert out.stats["calls"]["counters"] == 1


def test_float32_is_the_network_itself():
  assert precision.with_precision(PLAIN, "float32") is PLAIN


def test_other_types():
  with pytest.raises(ValueError, match="'float16'.*float32 or bfloat16"):
    precision.with_precision(PLAIN, "float16")


def test_only_the_last_block_gives_float32():
  x, seen = X, []
  for block in HALF.blocks:
    x, updated, *_ = block.apply(
      PARAMS[block.name], STATS.get(block.name, {}), x, True, None
    )
    seen.append(x.dtype)
    assert dtypes(updated) <= {jnp.dtype("float32")}
  assert len(seen) == 3
  assert seen == [*[jnp.dtype("bfloat16")] * 2, jnp.dtype("float32")]


def test_origins_tell_the_precision():
  assert PLAIN.origin and HALF.origin == {
    **PLAIN.origin,
    "precision": "bfloat16",
  }
  bare = dataclasses.replace(PLAIN, origin=None, blocks=None)
  half = precision.with_precision(bare, "bfloat16")
  assert half.origin is None and half.blocks is None
