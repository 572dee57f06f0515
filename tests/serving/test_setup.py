"""Who plays on a set of images, and what is refused before any work."""

import numpy as np
from PIL import Image
import pytest
import tiny_network

from jcl.serving import setup
from jcl.streams import sources

PARTS = {"student": "mlp:width=4,depth=1", "teacher": "mlp:width=4,depth=1"}


@pytest.fixture
def images():
  generator = np.random.default_rng(0)
  return generator.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
  for i, pixels in enumerate(images):
    path = tmp_path / "train" / "ab"[i % 2] / f"{i:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
  return tmp_path


def test_images_that_are_decoded_when_read_are_served_like_arrays(
  folder, images, tmp_path
):
  read = sources.load("image_folder", folder)
  assert read.test is None and not isinstance(read.train.x, np.ndarray)
  order = np.r_[0:12:2, 1:12:2]  # as files lie in their folders
  held = sources.arrays(images[order], np.repeat([0, 1], 6))
  chosen = setup.roles(read, **PARTS)
  assert chosen == setup.roles(held, **PARTS) and chosen.classes == 2
  small = chosen._replace(stills=(8, 8), epochs=(1, 1))
  made = [
    setup.Assets(source, small, tmp_path / name).learned("student", 0)
    for name, source in (("read", read), ("held", held))
  ]
  assert tiny_network.same_bits(*made)


@pytest.mark.parametrize(
  "shape, dtype, told",
  [
    ((12, 8), np.float32, r"shape \(8,\) and dtype float32"),
    ((12, 8, 3), np.float32, r"shape \(8, 3\)"),
    ((12, 8, 8), np.uint8, r"x\[..., None\]"),
    ((12, 8, 8, 3), np.float32, "dtype uint8"),
    ((12, 8, 8, 2), np.uint8, "1 or 3 channels"),
  ],
)
def test_what_no_camera_shows_is_refused(shape, dtype, told):
  source = sources.arrays(np.ones(shape, dtype), np.arange(12) % 2)
  with pytest.raises(ValueError, match=told):
    setup.roles(source)


def test_a_class_of_too_few_images_is_named(images):
  y = np.arange(12) % 2
  y[-1] = 2
  source = sources.arrays(images, y, class_names=("cat", "dog", "owl"))
  with pytest.raises(ValueError, match="'owl' of arrays has 1 images"):
    setup.roles(source)
  with pytest.raises(ValueError, match="classes=1"):
    setup.roles(sources.arrays(images, np.zeros(12, int)))
