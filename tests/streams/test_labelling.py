from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from jcl.streams import labelling


@pytest.mark.parametrize(
  "values, codes, names",
  [
    ([1, 2, 10, 2], [0, 1, 2, 1], ("1", "2", "10")),
    (np.array([731001, 400123]), [1, 0], ("400123", "731001")),
    (np.array([[3], [1]]), [1, 0], ("1", "3")),
    (np.array([1.0, 0.0, 7.0], np.float16), [1, 0, 2], ("0", "1", "7")),
    (np.array([True, False]), [1, 0], ("False", "True")),
    (np.array([-1, 1, 1], np.int8), [0, 1, 1], ("-1", "1")),
    (np.array([2**64 - 1, 5], np.uint64), [1, 0], ("5", str(2**64 - 1))),
    ([2**70, 2**70 + 1], [0, 1], (str(2**70), str(2**70 + 1))),
    (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    (np.array(["b", "a"]), [1, 0], ("a", "b")),
    (np.array([b"b", b"a"]), [1, 0], ("a", "b")),
    (np.array(list("cab"), object), [2, 0, 1], ("a", "b", "c")),
    (np.array([[1], [0]], object), [1, 0], ("0", "1")),
    (np.array([1, 2.0], object), [0, 1], ("1", "2")),
    (pd.Series(["b", "a"]), [1, 0], ("a", "b")),
    (pd.Series(["b", "a"], dtype="category"), [1, 0], ("a", "b")),
    (pd.Series(["b", "a"], dtype="string"), [1, 0], ("a", "b")),
    (pd.Series([4, 2], dtype="Int64"), [1, 0], ("2", "4")),
    (pd.DataFrame({"y": [4, 2]}), [1, 0], ("2", "4")),
    (np.ma.masked_array([4, 2], [False, False]), [1, 0], ("2", "4")),
    (["two\nlines", "x" * 9], [0, 1], ("two\nlines", "x" * 9)),
    (["\udcff", "a"], [1, 0], ("a", "\\udcff")),
  ],
)
def test_labels_that_occur_are_numbered_in_order(values, codes, names):
  (found,), found_names = labelling.number("toy", values)
  assert found.tolist() == codes and found.dtype == np.int32
  assert found_names == names


def test_sets_are_numbered_together():
  numbers, names = labelling.number("toy", [5, 9], None, np.uint64([7, 9]))
  assert [each.tolist() for each in numbers] == [[0, 2], [1, 2]]
  assert names == ("5", "7", "9")
  assert labelling.number("toy", None) == ([], ())


@given(
  st.lists(st.integers(-(2**80), 2**80), min_size=1)
  | st.lists(st.text(min_size=1).filter(str.strip), min_size=1)
  | st.lists(st.booleans(), min_size=1)
)
def test_every_label_can_be_told_from_its_number(values):
  (numbers,), _ = labelling.number("toy", values)
  assert [sorted(set(values))[i] for i in numbers] == values


@pytest.mark.parametrize(
  "values, message",
  [
    (3, "toy has 3 for labels; give one for each"),
    ([0, 1.5, 1], r"label 1.5 in row 1, .*np.digitize"),
    (np.array([0, np.inf]), "label inf in row 1"),
    (np.array([1, 2.5], object), "label 2.5 in row 1"),
    ([0, np.nan], r"no label in row 1 \(nan\); leave such rows out"),
    (np.array(["a", np.nan], object), r"no label in row 1 \(nan\)"),
    (np.array(["a", None], object), r"no label in row 1 \(None\)"),
    (pd.Series([1, None], dtype="Int64"), r"no label in row 1 \(nan\)"),
    (["a", " "], r"no label in row 1 \(' '\)"),
    (np.ma.masked_array([1, 2], [False, True]), r"in row 1 \(masked\)"),
    (np.eye(3)[[2, 0]], r"one-hot labels of shape \(2, 3\); write np.argmax"),
    (
      np.array([[1, 0, 0], [1, 1, 0]]),
      r"mark several classes of an example, or none \(row 1 marks 2\);.*unique",
    ),
    (np.array([[True, False], [False, False]]), r"\(row 1 marks 0\)"),
    (np.array([[0.3, 0.7]] * 3), "probabilities of 2 classes"),
    (np.array([[3, 7, 1], [5, 5, 1]]), r"3 columns; .*as y\[:, 0\]"),
    (np.array([["a", "b"], ["c", "d"]]), r"2 columns; .*as y\[:, 0\]"),
    (np.arange(5)[None], r"shape \(1, 5\); of 5 examples give y\[0\]"),
    (np.zeros((2, 4, 4)), "as where each pixel has one"),
    (np.zeros((2, 0)), r"labels of shape \(2, 0\)"),
    ([[1], [1, 2]], r"several labels in row 0, \[1\]; give one for each"),
    ([0, "a"], r"mixed kinds, such as 0 \(int\) and 'a' \(str\)"),
    ([True, "a"], r"mixed kinds, such as True \(bool\)"),
    (np.array(["2020-01-01"], "M8[D]"), r"dtype datetime64\[D\]; .*astype"),
    (np.array([1j]), "dtype complex128"),
    ([object()], "of type object in row 0; give integers or text"),
  ],
)
def test_refusals_say_what_is_possible(values, message):
  with pytest.raises(ValueError, match=message) as raised:
    labelling.labels("toy", values)
  assert len(str(raised.value)) < 500


def test_sets_of_several_kinds_are_refused():
  with pytest.raises(ValueError, match="mixed kinds, such as 1 .int. and '1'"):
    labelling.number("toy", [1], ["1"])
  with pytest.raises(ValueError, match="mixed kinds, such as True"):
    labelling.number("toy", [True], [1])


class Elsewhere:
  """A tensor of another library that NumPy may not read."""

  def __array__(self, dtype=None, copy=None):
    raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


def test_tensors_that_cannot_be_read_are_told_of():
  with pytest.raises(ValueError, match=r"requires grad.*y.detach\(\)"):
    labelling.labels("toy", Elsewhere())


def test_names_stand_for_positions():
  names = ("no", "yes")
  assert labelling.indices("toy", ["yes", "no"], names).tolist() == [1, 0]
  assert labelling.indices("toy", [[1], [0]], names).tolist() == [1, 0]
  assert labelling.indices("toy", [True, False], names).tolist() == [1, 0]
  assert labelling.indices("toy", [], names).tolist() == []
  nothing = np.array([], object)
  assert labelling.indices("toy", nothing, names).tolist() == []


def test_names_that_occur_twice_are_told_apart():
  given, marks = ["crane", "fox", "crane", " "], ["n1", "n2", "n3", "n4"]
  assert labelling.distinct(given, marks) == (
    "crane (n1)",
    "fox",
    "crane (n3)",
    "(n4)",
  )
  assert labelling.distinct(["a", "a"], range(2)) == ("a (0)", "a (1)")


@pytest.mark.parametrize(
  ("what", "told"),
  [
    ("label", "leave out class_names to have the labels that occur numbered"),
    ("group", "leave out the names to have the groups that occur numbered"),
  ],
)
def test_names_that_may_be_left_out(what, told):
  with pytest.raises(ValueError) as raised:
    labelling.indices("toy", [0, 2], ("a", "b"), what)
  assert str(raised.value) == (
    f"toy has {what} 2 in row 1, outside 0 to 1, the positions in its 2 names; "
    f"{told}"
  )


@pytest.mark.parametrize(
  ("values", "told"),
  [
    ([0, 1.5], "toy has group 1.5 in row 1, which is no whole number; give in"),
    (
      np.eye(2, 3),
      r"toy has groups of shape \(2, 3\); give one group for each",
    ),
    ([None], r"toy has no group in row 0 \(None\); .* a group of their own"),
  ],
)
def test_groups_are_called_groups(values, told):
  with pytest.raises(ValueError, match=told):
    labelling.labels("toy", values, "group")


def test_a_million_wrong_labels_make_a_short_message():
  with pytest.raises(ValueError, match="outside 0 to 999999") as raised:
    labelling.indices("toy", [10**6], [str(i) for i in range(10**6)])
  assert len(str(raised.value)) < 300
  with pytest.raises(ValueError, match="1000000 in all") as raised:
    labelling.indices("toy", ["x" * 10**6], [str(i) for i in range(10**6)])
  assert len(str(raised.value)) < 400


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_tensors_that_numpy_cannot_read(error):
  class Tensor:
    def __array__(self, *args, **options):
      raise error("it is elsewhere")

  with pytest.raises(ValueError, match="a has labels .*it is elsewhere"):
    labelling._array("a", Tensor(), "label")


@pytest.mark.parametrize(
  ("values", "fits"),
  [
    ([2**63 - 1, 0], True),
    ([2**63, 0], False),
    ([-(2**63), 0], True),
    ([-(2**63) - 1, 0], False),
    ([2.0**61, 0.0], True),
    ([2.0**62, 0.0], False),
    ([-(2.0**62), 0.0], False),
  ],
)
def test_labels_are_64_bits_wide_where_that_suffices(values, fits):
  if isinstance(values[0], float):
    found = labelling.labels("toy", np.array(values))
  else:
    found = labelling.labels("toy", np.array(values, object))
  assert found.dtype == (np.int64 if fits else object)
  assert found.tolist() == list(map(int, values))
