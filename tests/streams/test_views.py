from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import ndimage

from jcl import base
from jcl.streams import views

IMAGES = (
  np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
)


class Counting:
  """An array that remembers how many rows were read."""

  def __init__(self, x):
    self.x, self.shape, self.dtype, self.num_read = x, x.shape, x.dtype, 0

  def __getitem__(self, index):
    self.num_read += len(index)
    return self.x[index]


def test_a_view_reads_only_what_is_asked_for():
  x = Counting(IMAGES)
  view = views.View(x, np.array([4, 2, 0]), lambda batch: 255 - batch)
  assert view.shape == (3, 6, 6, 3) and len(view) == 3 and x.num_read == 0
  np.testing.assert_array_equal(view[np.array([2, 0])], 255 - IMAGES[[0, 4]])
  assert x.num_read == 2
  np.testing.assert_array_equal(view[1], 255 - IMAGES[2])
  np.testing.assert_array_equal(np.asarray(view), 255 - IMAGES[[4, 2, 0]])
  np.testing.assert_array_equal(view[:2], 255 - IMAGES[[4, 2]])


def test_take_carries_labels_and_groups():
  toy = base.Dataset(
    "toy", IMAGES, np.arange(5), tuple("abcde"), group=np.arange(5) * 10
  )
  taken = views.take(toy, np.array([3, 1]))
  assert taken.y.tolist() == [3, 1] and taken.group.tolist() == [30, 10]
  nested = views.take(taken, np.array([1]))
  np.testing.assert_array_equal(nested.x[np.array([0])], IMAGES[[1]])


def test_permute_keeps_the_channels_of_a_pixel_together():
  order = np.roll(np.arange(36), -1)
  moved = views.permute(order)(IMAGES)
  np.testing.assert_array_equal(moved[:, 0, 0], IMAGES[:, 0, 1])
  np.testing.assert_array_equal(moved[:, 5, 5], IMAGES[:, 0, 0])
  assert views.num_positions((6, 6, 3)) == 36
  assert views.num_positions((4, 5)) == 20


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_permute_is_undone_by_its_inverse(order):
  x = np.arange(24).reshape(2, 3, 4)
  there = views.permute(np.array(order))
  back = views.permute(np.argsort(order))
  np.testing.assert_array_equal(back(there(x)), x)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_move_pixels_exactly(turns):
  turned = views.rotate(90.0 * turns, 6, 6)(IMAGES)
  assert turned.dtype == np.uint8
  np.testing.assert_array_equal(turned, np.rot90(IMAGES, turns, axes=(1, 2)))


@pytest.mark.parametrize("shape", [(7, 7), (5, 8)])
@pytest.mark.parametrize("degrees", [17.0, 123.0, -40.0])
def test_rotation_is_that_of_scipy_inside_the_image(shape, degrees):
  rng = np.random.default_rng(1)
  x = rng.normal(size=(2, *shape, 1)).astype(np.float32)
  x[:, [0, -1]] = x[:, :, [0, -1]] = 0  # the two treat the border differently
  expected = ndimage.rotate(
    x, degrees, axes=(1, 2), reshape=False, order=1, mode="grid-constant"
  )
  np.testing.assert_allclose(
    views.rotate(degrees, *shape)(x), expected, atol=1e-5
  )


@pytest.mark.parametrize("same", [True, False])
def test_joined_parts_are_read_as_one(same):
  arrays = [np.arange(20.0).reshape(10, 2) + 100 * i for i in range(3)]
  parts = [
    views.View(arrays[0 if same else i], np.arange(i, 10, i + 1), transform)
    for i, transform in enumerate([None, np.negative, None])
  ]
  whole = np.concatenate([np.asarray(part) for part in parts])
  joined = views.Joined([*parts, arrays[2]])
  whole = np.concatenate([whole, arrays[2]])
  assert len(joined) == len(whole) and joined.shape == whole.shape
  rows = np.random.default_rng(0).permutation(len(whole))[:17]
  np.testing.assert_array_equal(joined[rows], whole[rows])
  assert joined[rows[:0]].shape == (0, 2)


def test_rows_and_types_of_views_and_of_joined_parts():
  view = views.View(IMAGES, np.array([4, 2]))
  found = np.asarray(view, np.float32)
  assert found.dtype == np.float32 and found.tolist() == IMAGES[[4, 2]].tolist()
  joined = views.Joined([view, IMAGES])
  assert joined[1].tolist() == IMAGES[2].tolist()
  assert joined[:3].tolist() == IMAGES[[4, 2, 0]].tolist()
  assert joined[-1].shape == (6, 6, 3) and joined.dtype == np.uint8
  assert len(joined._sources) == 1 and len(joined) == 7


def test_joined_data_sets_have_no_groups():
  toy = base.Dataset(
    "toy", IMAGES, np.arange(5), tuple("abcde"), group=np.arange(5)
  )
  plain = views.take(
    base.Dataset("t", IMAGES, np.arange(5), tuple("abcde")), np.array([3])
  )
  assert plain.group is None and plain.y.tolist() == [3]
  joined = views.join([toy, plain])
  assert joined.group is None and joined.y.tolist() == [0, 1, 2, 3, 4, 3]
  assert joined.name == "toy" and joined.x[5].tolist() == IMAGES[3].tolist()


def test_turned_whole_numbers_are_rounded_and_others_are_not():
  matrix = np.array([[0.5, 0.5], [0, 1]], np.float32)
  for dtype, expected in ((np.uint8, [4, 6]), (np.float32, [3.75, 6])):
    x = np.array([1.5, 6]).astype(dtype).reshape(1, 1, 2, 1)
    found = views._rotate(matrix, x)
    assert found.dtype == dtype and found.shape == x.shape
    assert found.ravel().tolist() == expected
