"""Keys of labels: one for each label, and back."""

import datetime

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.living.log import given as given_lib
from jcl.living.log import labels
from jcl.options.errors import UsageError

LABELS = ["1", 1, 1.0, True, "true", False, 0, "", "ä", "\ud800", ("a", 1)]
LABELS += [("a", ("b", None)), 2**70, -0.5, "null", 'a"b\\', "x\ny"]

scalars = st.one_of(
  st.text(max_size=20),
  st.integers(),
  st.booleans(),
  st.floats(allow_nan=False, allow_infinity=False),
)
nested = st.recursive(scalars, lambda each: st.tuples(each, each), max_leaves=4)


def test_each_label_has_a_key_of_its_own():
  keys = [labels.key(label) for label in LABELS]
  assert len(set(keys)) == len(LABELS)
  assert all(key.isascii() and "\n" not in key for key in keys)
  assert labels.NONE == labels.key(None) and labels.NONE not in keys


@pytest.mark.parametrize("label", LABELS)
def test_labels_come_back(label):
  back = labels.label(labels.key(label))
  assert back == label and type(back) is type(label)
  hash(back)


@given(nested)
def test_any_label_comes_back(label):
  back = labels.label(labels.key(label))
  assert back == label and labels.key(back) == labels.key(label)
  hash(back)


@pytest.mark.parametrize(
  "given_, plain",
  [
    (np.int64(3), 3),
    (np.uint8(3), 3),
    (np.float32(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("door"), "door"),
    (np.array(3), 3),
    (["a", np.int8(1)], ("a", 1)),
    (-0.0, 0.0),
  ],
)
def test_equal_labels_share_a_key(given_, plain):
  assert labels.key(given_) == labels.key(plain)
  assert labels.label(labels.key(given_)) == plain


@pytest.mark.parametrize(
  "label",
  [
    b"door",
    float("nan"),
    float("inf"),
    np.float32("nan"),
    object(),
    {"a": 1},
    {1},
    1j,
    np.datetime64("2026-01-01"),
    datetime.date(2026, 1, 1),
    np.zeros(2),
    (1, b"a"),
    "x" * 5000,
    10**5000,
  ],
  ids=lambda label: type(label).__name__,
)
def test_what_json_cannot_hold_is_refused_by_name(label):
  with pytest.raises(UsageError, match=r"^labels\[4\] is .*: write "):
    labels.key(label, "labels[4]")


def test_deep_labels_are_refused():
  label = "a"
  for _ in range(5000):
    label = (label,)
  with pytest.raises(UsageError, match="label is "):
    labels.key(label)


@pytest.mark.parametrize(
  "given_",
  [
    [1, "1", True, 1.0, None, 1, "1", (1,)],
    np.array([3, 1, 3]),
    np.array(["a", "b", "a"]),
    np.array([True, False]),
    np.array([1, "1", None, 1], object),
  ],
)
def test_the_keys_of_many_are_those_of_each(given_):
  assert given_lib.keys(given_) == [labels.key(each) for each in given_]
  with pytest.raises(UsageError, match=r"^name\[1\] is "):
    given_lib.keys([1, 1j], "name")
