"""Written derivatives are those that JAX derives."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.networks import derivatives, layers

SHAPES = [(6, 3), (4, 5, 5, 3), (2, 7, 3), (1, 1)]


def _arrays(*shapes, offset=0.0):
  rng = np.random.default_rng(len(shapes))
  return [
    jnp.asarray(rng.normal(offset, 1, shape), jnp.float32) for shape in shapes
  ]


def _normalised(layer, x, scale, bias):
  size = x.shape[-1]
  variables = {
    "params": {"scale": scale, "bias": bias},
    "batch_stats": {"mean": jnp.ones(size), "var": jnp.full(size, 2.0)},
  }
  return layer.apply(variables, x, mutable="batch_stats")


def _both(x, scale, bias, dy):
  """Results of a layer, its statistics and derivatives: ours, then Flax's."""

  def of(layer):
    def apply(*arrays):
      return _normalised(layer, *arrays)

    y, back, stats = jax.vjp(apply, x, scale, bias, has_aux=True)
    return y, stats, back(dy)

  options = {"use_running_average": False, "momentum": 0.9}
  return of(layers.BatchNorm(**options)), of(nn.BatchNorm(**options))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_batch_normalisation_is_that_of_flax(shape, offset):
  x, scale, bias, dy = _arrays(shape, shape[-1:], shape[-1:], shape)
  ours, theirs = _both(x + offset, scale, bias, dy)
  np.testing.assert_allclose(
    ours[0], theirs[0], rtol=1e-5, atol=1e-5 + offset / 1e5
  )
  for one, other in zip(
    *map(jax.tree.leaves, (ours[1], theirs[1])), strict=True
  ):
    np.testing.assert_array_equal(one, other)
  for one, other in zip(ours[2], theirs[2], strict=True):
    assert one.dtype == other.dtype
    # Far from zero, what both lose by rounding is the variance's first digits.
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4 + offset / 1e3)


def test_the_derivative_is_the_limit_of_differences():
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 5, 4, 3))
    scale, bias = rng.normal(size=(2, 3))
    y = jnp.asarray

    def total(x, scale, bias):
      x, axes = y(x), (0, 1)
      mean, var = x.mean(axes), x.var(axes)
      out = derivatives.batch_normalised(x, mean, var, y(scale), y(bias), 1e-5)
      return (out * dy).sum()

    grads = jax.grad(total, argnums=(0, 1, 2))(x, scale, bias)
    for place, grad in enumerate(grads):
      given = [x, scale, bias]
      at = (0,) * given[place].ndim
      step = np.zeros_like(given[place])
      step[at] = 1e-6
      sides = []
      for sign in (1, -1):
        moved = list(given)
        moved[place] = given[place] + sign * step
        sides.append(total(*moved))
      assert float(grad[at]) == pytest.approx(
        float(sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-8
      )


def test_running_statistics_are_used_where_nothing_trains():
  x, scale, bias = _arrays((6, 3), (3,), (3,))
  found = [
    _normalised(kind(use_running_average=True), x, scale, bias)
    for kind in (layers.BatchNorm, nn.BatchNorm)
  ]
  for one, other in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_array_equal(one, other)


def test_half_precision_gives_half_and_sums_in_full():
  arrays = _arrays((64, 3), (3,), (3,), (64, 3))
  ours, theirs = _both(*(each.astype(jnp.bfloat16) for each in arrays))
  assert ours[0].dtype == jnp.bfloat16
  assert all(each.dtype == jnp.float32 for each in jax.tree.leaves(ours[1]))
  for one, other in zip(ours[2], theirs[2], strict=True):
    assert one.dtype == other.dtype == jnp.bfloat16
    difference = np.abs(np.subtract(one, other, dtype=np.float32)).max()
    assert difference < 0.02 * np.abs(np.asarray(other, np.float32)).max()


@pytest.mark.parametrize(
  "dtype, close", [("float32", 1e-5), ("bfloat16", 0.03)]
)
def test_attention_is_that_of_jax(dtype, close):
  *inputs, dout = (each.astype(dtype) for each in _arrays(*[(2, 5, 3, 4)] * 4))
  results = []
  for attend in (derivatives.attention, jax.nn.dot_product_attention):
    out, back = jax.vjp(attend, *inputs)
    results.append((out, *back(dout)))
  for one, other in zip(*results, strict=True):
    assert one.dtype == other.dtype == dtype
    scale = np.abs(np.asarray(other, np.float32)).max()
    difference = np.abs(np.subtract(one, other, dtype=np.float32)).max()
    assert difference < close * scale
