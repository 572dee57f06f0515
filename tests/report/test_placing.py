"""Where labels go: exact places, and that none covers another."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from jcl.report import placing

AREA = placing.Box(0, 0, 100, 60)
SIZE = placing.Size(20, 4)


def placed(points, sizes=None, occupied=(), gap=2.0):
  sizes = sizes or [SIZE] * len(points)
  return placing.place(points, sizes, [gap] * len(points), AREA, occupied)


def test_a_label_stands_to_the_right_of_its_point():
  assert placed([(50, 30)]) == [pytest.approx((52, 28, 72, 32))]


def test_where_the_right_is_outside_it_stands_above_or_to_the_left():
  (box,) = placed([(99, 30)])
  assert box.within(AREA)
  assert box.right < 99 or box.bottom > 30 or box.top < 30


def test_a_corner_of_the_label_is_the_nearest_towards_a_corner():
  # All but the place up to the right is taken.
  taken = [placing.Box(0, 0, 100, 31.9), placing.Box(0, 0, 51.9, 60)]
  assert placed([(50, 30)], occupied=taken) == [pytest.approx((52, 32, 72, 36))]


def test_labels_keep_off_what_is_there_even_at_one_point():
  points = [(50, 30)] * 8
  mark = placing.Box(48, 28, 52, 32)
  found = placed(points, occupied=[mark])
  boxes = [mark, *found]
  for i, one in enumerate(boxes):
    assert all(not one.overlap(other) for other in boxes[:i])


def test_where_all_is_full_a_label_covers_the_least():
  full = [placing.Box(0, 0, 100, 60), placing.Box(0, 0, 60, 60)]
  (box,) = placed([(50, 30)], occupied=full)
  assert box.within(AREA) and box.left >= 60


def test_a_label_larger_than_the_area_stands_beside_its_point():
  (box,) = placed([(50, 30)], [placing.Size(200, 4)])
  assert box == pytest.approx((52, 28, 252, 32))


@settings(max_examples=50, deadline=None)
@given(
  st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 60)), min_size=1, max_size=8
  )
)
def test_eight_labels_never_overlap_nor_leave_the_area(points):
  found = placed(points)
  for i, one in enumerate(found):
    assert one.within(AREA)
    assert all(one.overlap(other) < 1e-9 for other in found[:i])


def test_rectangles_that_touch_share_nothing():
  one = placing.Box(0, 0, 1, 1)
  assert one.overlap(placing.Box(1, 0, 2, 1)) == 0
  assert one.overlap(placing.Box(3, 3, 4, 4)) == 0
