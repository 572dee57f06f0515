"""Images for student, teacher and stream, row by row."""

import numpy as np
import pytest
import signatures

from jcl.serving import image_pool
from jcl.streams import manifest, sources


def images(labels, channels=1, first=0):
  numbers = first + np.arange(len(labels), dtype=np.uint8)
  shape = (len(labels), 2, 3, channels)
  return np.broadcast_to(numbers[:, None, None, None], shape).copy()


def source(train=(0, 1, 2, 0, 1, 2), test=(0, 1, 2), channels=1, **options):
  return sources.arrays(
    images(train, channels),
    np.array(train),
    images(test, channels, 100),
    np.array(test),
    **options,
  )


def test_training_and_test_images_of_the_first_classes():
  x, y = image_pool.pool(source(), classes=2, enlarge=2)
  assert x.shape == (6, 4, 6, 1) and x.dtype == np.uint8
  assert x[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 100, 101]
  assert y.tolist() == [0, 1, 0, 1, 0, 1] and y.dtype == np.int32
  x, y = image_pool.pool(source(), classes=3)
  assert x.shape == (9, 2, 3, 1) and len(y) == 9


def test_pixels_are_repeated_where_they_are():
  one = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
  data = sources.arrays(np.repeat(one, 6, 0), np.array([0, 1] * 3), scale=10.0)
  x, _ = image_pool.pool(data, classes=2, enlarge=2)
  # Ten is full white: 255 / 10 a step, rounded.
  rows = np.round(25.5 * np.arange(6)).reshape(2, 3)
  np.testing.assert_array_equal(x[0, ..., 0], rows.repeat(2, 0).repeat(2, 1))
  bright = sources.arrays(
    np.full((6, 2, 2, 3), 20, np.uint8), np.array([0, 1] * 3), scale=10.0
  )
  assert (image_pool.pool(bright, 2)[0] == 255).all()


def test_every_class_needs_an_image_for_each_part():
  assert image_pool.PARTS == 3
  image_pool.check(source(), 3)
  image_pool.check(source(test=(0, 0, 1, 1, 1, 2), channels=3), 3)
  few = source(train=(0, 1, 2, 0, 1), test=(0, 1, 2, 2))
  image_pool.check(few, 3)
  few = source(train=(0, 1, 2, 0, 1), test=(0, 1, 2))
  with pytest.raises(
    ValueError, match="class '2' .* has 2 images: every class"
  ):
    image_pool.check(few, 3)
  image_pool.check(few, 2)
  for classes in (1, 4):
    with pytest.raises(ValueError, match=f"classes={classes}: give 2 to .* 3$"):
      image_pool.check(source(), classes)
  for wrong in (
    source(channels=2),
    sources.arrays(np.zeros((6, 4), np.uint8), np.array([0, 1] * 3)),
    sources.arrays(
      np.zeros((6, 2, 2, 1), np.float32), np.array([0, 1] * 3), scale=1.0
    ),
  ):
    with pytest.raises(ValueError, match="systems serve images"):
      image_pool.check(wrong, 2)


def test_the_teacher_has_seen_every_condition_once():
  found = image_pool.EVERYWHERE
  assert len(set(found)) == len(found) and {each.mix for each in found} == {"A"}
  for name in ("light", "place", "weather"):
    values = {getattr(each, name) for each in found}
    assert len(values) > 1
  assert image_pool.BASE == (manifest.Attributes(),)


def test_unrelated_images_in_rounds():
  labels, rows = np.array([0, 1, 2, 1, 0]), np.array([1, 3, 4])
  conditions = image_pool.EVERYWHERE[:2]
  made = image_pool.stills(labels, rows, each=4, seed=7, conditions=conditions)
  assert (made.classes, made.num_images) == (3, 5)
  assert (made.fps, made.segment_seconds, made.segments) == (4, 1, conditions)
  generator = np.random.default_rng((7, 29))
  order = np.concatenate([generator.permutation(rows) for _ in range(3)])[:8]
  assert made.source.tolist() == order.tolist()
  assert made.label.tolist() == labels[order].tolist()
  assert made.track.tolist() == list(range(8))
  most = manifest.SHIFT
  shift = generator.integers(-most, most + 1, (8, 2), np.int8)
  np.testing.assert_array_equal(made.shift, shift)
  gain = generator.integers(980, 1021, 8, np.int16)
  np.testing.assert_array_equal(made.gain, gain)
  plate = generator.integers(0, manifest.PLATE, (8, 2), np.uint8)
  np.testing.assert_array_equal(made.plate, plate)
  assert made.strengths == manifest.Strengths() and made.name == "stills"
  assert image_pool.stills(labels, rows, each=1, seed=0).segments == (
    image_pool.BASE
  )
  for each, some in ((0, rows), (1, rows[:0])):
    with pytest.raises(ValueError, match=f"each={each} of {len(some)} rows"):
      image_pool.stills(labels, some, each=each, seed=0)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(image_pool.pool) == {"classes": 9, "enlarge": 1}
  assert signatures.defaults(image_pool.check) == {"classes": 9}
