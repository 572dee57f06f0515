"""Bicubic interpolation is that of jax.image and of Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jcl.networks import resize

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
  ("shape", "side"),
  [((5, 7), 12), ((8, 8), 8), ((9, 12), 5), ((3, 20), 10), ((1, 2), 4)],
)
def test_images_grow_and_shrink_as_by_jax(shape, side):
  x = RNG.normal(size=(2, *shape, 3)).astype(np.float32)
  found = resize.bicubic(jnp.asarray(x), side)
  wanted = jax.image.resize(x, (2, side, side, 3), "cubic")
  np.testing.assert_allclose(found, wanted, atol=2e-6)
  assert found.dtype == jnp.float32


@pytest.mark.parametrize("side", [12, 4])
def test_smooth_images_are_those_of_pillow(side):
  rows, columns = np.mgrid[:8, :8]
  pixels = (100 + 9 * rows + 5 * columns).astype(np.uint8)
  image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
  x = jnp.asarray(pixels[None, :, :, None], jnp.float32)
  found = resize.bicubic(x, side)[0, :, :, 0]
  assert np.abs(found - np.asarray(image, np.float32)).max() < 1.1  # rounded


def test_weights_by_hand():
  # Between two pixels: at half the distance, -1/16, 9/16, 9/16, -1/16.
  middle = resize.matrix(9, 3)[1]
  assert middle[4] == middle.max() and middle[:4].tolist() == (
    middle[:4:-1].tolist()
  )
  doubled = resize.matrix(8, 16)[7]  # a quarter ahead of pixel 4
  t = np.array([1.75, 0.75, 0.25, 1.25])
  near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -(t**3) / 2 + 2.5 * t**2 - 4 * t + 2
  by_hand = np.where(t < 1, near, far)
  np.testing.assert_allclose(doubled[[5, 4, 3, 2]], by_hand, atol=1e-6)
  np.testing.assert_allclose(resize.matrix(7, 30).sum(axis=1), 1, atol=1e-6)


def test_taps_are_the_matrix_without_zeros():
  index, weights = resize.taps(30, 11)
  full = np.zeros((11, 30), np.float32)
  np.put_along_axis(full, index, weights, axis=1)
  np.testing.assert_array_equal(full, resize.matrix(30, 11))
  assert index.shape[1] < 16


@pytest.mark.parametrize(
  ("shape", "products"), [((4, 4), 2), ((9, 9), 0), ((4, 9), 1), ((6, 4), 1)]
)
def test_sides_that_grow_are_products_and_those_that_shrink_are_none(
  shape, products
):
  program = jax.make_jaxpr(lambda x: resize.bicubic(x, 6))(
    jnp.ones((1, *shape, 2))
  )
  assert str(program).count("dot_general[") == products


def test_weights_are_computed_once():
  assert resize.matrix(6, 3) is resize.matrix(6, 3)
  assert resize.taps(6, 30) is resize.taps(6, 30)
