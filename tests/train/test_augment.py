import jax
import numpy as np
import pytest
import signatures

from jcl.train import augment

KEY = jax.random.key(3)


def images(count=16, channels=2, dtype=np.uint8):
  values = np.arange(1, count * 5 * 4 * channels + 1) % 251
  return values.reshape(count, 5, 4, channels).astype(dtype)


@pytest.mark.parametrize("name", augment.CHOICES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_dtype_stay_and_the_key_decides(name, dtype):
  x = images(dtype=dtype)
  function = jax.jit(augment.build(name, x.shape[1:]))
  y, again = function(KEY, x), function(KEY, x)
  assert y.shape == x.shape and y.dtype == x.dtype
  np.testing.assert_array_equal(y, again)
  if name == "none":
    np.testing.assert_array_equal(y, x)
  else:
    assert (y != x).any()
    assert (y != function(jax.random.key(4), x)).any()


def test_flip_mirrors_whole_images_left_to_right():
  x = images(200)
  y = np.asarray(augment.flip(KEY, x))
  same = (y == x).all(axis=(1, 2, 3))
  mirrored = (y == x[:, :, ::-1]).all(axis=(1, 2, 3))
  assert (same ^ mirrored).all()
  assert 70 < mirrored.sum() < 130  # one half; 4 standard deviations are 28


def test_crop_cuts_a_window_from_the_padded_image():
  x = images(64)
  y = np.asarray(augment.crop(KEY, x, padding=1))
  found = set()
  for before, after in zip(x, y, strict=True):
    padded = np.pad(before, ((1, 1), (1, 1), (0, 0)))
    places = [
      (i, j)
      for i in range(3)
      for j in range(3)
      if (padded[i : i + 5, j : j + 4] == after).all()
    ]
    assert len(places) == 1
    found.update(places)
  assert found == {(i, j) for i in range(3) for j in range(3)}


def test_mistakes_are_told():
  with pytest.raises(ValueError, match="'blur' is not known.*crop_flip"):
    augment.build("blur", (8, 8, 3))
  with pytest.raises(ValueError, match=r"\(64,\): use augment='none'"):
    augment.build("flip", (64,))
  assert augment.build("none", (64,)) is augment.none


def test_the_usual_crop_moves_by_four_pixels_at_most():
  x = np.zeros((400, 9, 9, 1), np.uint8)
  x[:, 4, 4] = 1
  y = np.asarray(augment.build("crop", (9, 9, 1))(KEY, x))
  assert (y.sum(axis=(1, 2, 3)) == 1).all()
  _, rows, columns, _ = np.nonzero(y)
  assert set(rows) == set(columns) == set(range(9))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(augment.crop) == {"padding": 4}
