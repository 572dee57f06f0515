import numpy as np
import pytest

from jcl.streams import joining, sources, views


def source(
  labels, name, *, shape=(2,), test=False, dtype=np.float32, **options
):
  x = np.zeros((len(labels), *shape), dtype)
  x.reshape(len(x), -1)[:, 0] = np.arange(len(x))
  held = (x, labels) if test else (None, None)
  return sources.arrays(x, labels, *held, name=name, **options)


def test_classes_are_joined_by_name():
  joined = joining.join([source(list("cac"), "a"), source(list("abb"), "b")])
  assert joined.test is None
  assert joined.train.class_names == ("a", "c", "b")
  assert joined.train.y.tolist() == [1, 0, 1, 0, 2, 2]
  assert joined.train.group.tolist() == [0, 0, 0, 1, 1, 1]
  assert joined.train.group_names == ("a", "b")
  x = joined.train.x
  assert np.asarray(x[np.array([5, 0, 3])])[:, 0].tolist() == [2, 0, 0]


def test_sources_of_one_name_are_told_apart():
  joined = joining.join([source([0, 1], "arrays")] * 2)
  assert joined.train.group_names == ("arrays 0", "arrays 1")
  assert joined.train.name == "arrays" and joined.train.num_classes == 2
  joined = joining.join([source([0, 1], name) for name in "abca"])
  assert joined.train.name == "a-and-2-more"
  assert joined.train.group_names == ("a 0", "b", "c", "a 3")


def test_a_missing_test_set_is_held_out_where_others_have_one():
  joined = joining.join(
    [source([0, 1] * 5, "a", test=True), source([1, 2] * 5, "b")]
  )
  assert np.bincount(joined.train.group).tolist() == [10, 8]
  assert np.bincount(joined.test.group).tolist() == [10, 2]


@pytest.mark.parametrize(
  "members, message",
  [
    ([], "list of sources is empty"),
    ("digits", "'digits' is no source"),
    (3, "3 is no source of data; give what jcl.arrays"),
    ([source([0, 1], "a"), "b"], "'b' is no source"),
    (
      [source([0, 1], "a"), source([0, 1], "b", shape=(3,))],
      r"sources 0 \(a\) and 1 \(b\) must agree in example shape; .*\(2,\) and",
    ),
    (
      [source([0, 1], "a"), source([0, 1], "b", dtype=np.uint8)],
      "must agree in dtype; they have float32 and uint8",
    ),
    (
      [
        source([0, 1], "a", dtype=np.uint8),
        source([0, 1], "b", dtype=np.uint8, scale=16),
      ],
      "must agree in scale; they have 255.0 and 16",
    ),
  ],
)
def test_sources_that_do_not_fit(members, message):
  with pytest.raises(ValueError, match=message):
    joining.join(members)


def test_joined_arrays_read_like_one():
  parts = [np.arange(3)[:, None], np.arange(5)[:, None] + 3]
  joined, whole = views.Joined(parts), np.arange(8)[:, None]
  assert len(joined) == 8 and joined.shape == (8, 1)
  assert joined.dtype == whole.dtype
  for index in (np.array([7, 0, 3]), [2], slice(1, 6), np.array([], int)):
    np.testing.assert_array_equal(joined[index], whole[index])
  assert joined[4].tolist() == [4]
  np.testing.assert_array_equal(np.asarray(views.View(joined, EVERY)), whole)


EVERY = np.arange(8)
