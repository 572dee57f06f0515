import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jcl import base
from jcl.streams import validation


def dataset(x=None, y=(0, 1, 1), **changes):
  x = np.zeros((3, 2), np.uint8) if x is None else x
  return dataclasses.replace(base.Dataset("toy", x, y, ("a", "b")), **changes)


@pytest.mark.parametrize(
  "x, dtype",
  [
    (np.zeros((3, 2), np.uint8), np.uint8),
    (np.zeros((3, 2), np.float64), np.float32),
    (np.zeros((3, 2), np.float16), np.float32),
    (jnp.zeros((3, 2), jnp.bfloat16), np.float32),
    ([[0.5, 1.0]] * 3, np.float32),
  ],
)
def test_inputs_become_uint8_or_float32(x, dtype):
  checked = validation.check(dataset(x))
  assert isinstance(checked.x, np.ndarray) and checked.x.dtype == dtype


@pytest.mark.parametrize(
  "y", [[0, 1, 1], [0.0, 1.0, 1.0], [False, True, True], np.uint8([0, 1, 1])]
)
def test_labels_become_int32(y):
  checked = validation.check(dataset(y=y))
  assert checked.y.dtype == np.int32 and checked.y.tolist() == [0, 1, 1]


def test_a_class_may_have_one_example_or_none():
  checked = validation.check(dataset(y=[0, 1, 0], class_names=("a", "b", "c")))
  assert checked.num_classes == 3


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"y": [0, 1.5, 1]}, "label 1.5 in row 1, which is no whole"),
    ({"y": [0, np.nan, 1]}, r"no label in row 1 \(nan\); leave such rows"),
    ({"y": [0, 1, 2]}, "label 2 in row 2, outside 0 to 1"),
    ({"y": [0, -1, 1]}, "label -1 in row 1, outside"),
    ({"y": ["a", "c", "a"]}, "label 'c' in row 1, none of its names, 'a', 'b'"),
    ({"y": [[0, 1]] * 3}, r"one-hot labels of shape \(3, 2\); write np.argmax"),
    ({"y": [0, 1]}, "3 inputs but 2 labels"),
    ({"x": np.zeros((0, 2)), "y": []}, "toy is empty"),
    ({"x": np.zeros(3)}, r"shape \(3,\).*write x\[:, None\]"),
    ({"x": np.zeros((3, 0))}, "no values"),
    ({"x": np.zeros((3, 2), int)}, r"int64; write x.astype\(np.uint8\)"),
    (
      {"x": np.full((3, 2), 256)},
      r"reach from 256 to 256: scale .*x.astype\(np.float32\).*Token ids",
    ),
    ({"x": np.zeros((3, 2), bool)}, r"bool; write x.astype\(np.float32\)"),
    ({"x": np.zeros((3, 2), complex)}, r"complex128; write np.stack\(\[x.real"),
    ({"x": np.zeros((3, 2), "M8[s]")}, r"datetime64\[s\]; write"),
    ({"x": sparse.csr_array((3, 2))}, r"sparse inputs; write x.toarray\(\)"),
    (
      {"x": np.ma.masked_equal([[1.0, 2], [0, 3], [0, 0]], 0)},
      r"3 masked values, the first in row 1; .*x.filled\(...\)",
    ),
    ({"x": np.array([["a"], ["b"], ["c"]])}, "dtype <U1; write"),
    ({"x": np.array([["a"], ["b"], ["c"]], object)}, "text for inputs.*'a'"),
    ({"x": np.ones((3, 1), object)}, r"object inputs, the first 1; if all"),
    (
      {"x": pd.DataFrame({"a": [1, 2, 3], "city": list("xyz")})},
      "columns that are not numeric: 'city'; drop",
    ),
    (
      {"x": pd.DataFrame({"a": [1, 2, 3], "b": [True, True, False]})},
      r"columns of several kinds; write x.astype\(np.float32\)",
    ),
    ({"x": [[1, 2], [3], [4]]}, "ragged inputs; .*np.stack"),
    ({"x": np.array([[1], "a", None], object)[:, None]}, "object inputs"),
    ({"scale": 0.0}, "scale 0.0; write a positive"),
    ({"scale": "a"}, "scale 'a'; write a positive"),
    ({"class_names": ()}, "has no classes"),
    ({"class_names": ("a", " ")}, "class 1 has no name"),
    ({"class_names": ("a", "b", "a")}, "classes 0 and 2 are both called 'a'"),
    ({"group": [0, 1, 2], "group_names": ("k", "l")}, "group 2 in row 2, outs"),
    ({"group": [1, 2]}, r"groups of shape \(2,\)"),
    ({"group": [0.5, 1, 2]}, "dtype float64; give one integer"),
  ],
)
def test_refusals_say_what_to_write(changes, message):
  with pytest.raises(ValueError, match=message) as raised:
    validation.check(dataset(**changes))
  assert len(str(raised.value)) < 600


def test_the_label_that_often_stands_for_none_is_told_of():
  for names, count in (
    (("-1", "0", "1"), 1),
    (("-1", "1"), 0),
    (("0", "1", "2"), 0),
    (("0", "1"), 0),
  ):
    once = validation.check(dataset(y=[0, 1, 1], class_names=names))
    twice = validation.check(once)
    assert len(once.notes) == len(twice.notes) == count
    assert all("label -1 is a class like others (1 ex" in n for n in once.notes)


@pytest.mark.parametrize(
  "shape, dtype, note",
  [
    ((3, 8, 8), np.uint8, "np.moveaxis(x, 1, -1)"),
    ((1, 8, 8), np.float32, "np.moveaxis(x, 1, -1)"),
    ((8, 9), np.uint8, "series of 8 steps; of grey images give x[..., None]"),
    ((8, 8), np.float32, ""),
    ((8, 8, 3), np.uint8, ""),
    ((3, 3, 3), np.uint8, ""),
  ],
)
def test_images_that_are_read_otherwise_are_told_of(shape, dtype, note):
  checked = validation.check(dataset(np.zeros((3, *shape), dtype)))
  assert len(checked.notes) == bool(note)
  assert note in "".join(checked.notes)
  assert not validation.check(checked, "again").notes[1:]


def test_values_that_are_not_finite_are_counted():
  x = np.zeros((5000, 2))
  x[4100, 1], x[4999, 0], x[4999, 1] = np.nan, np.inf, 1e300
  with pytest.raises(ValueError, match="3 NaN or infinite .* row 4100"):
    validation.check(dataset(x, np.zeros(5000, int)))


class Reader:
  """Decodes on demand; the check must not read it."""

  shape = (3, 2)

  def __init__(self, dtype):
    self.dtype = np.dtype(dtype)

  def __getitem__(self, index):
    raise AssertionError("read")


def test_readers_are_kept_unread():
  reader = Reader(np.uint8)
  assert validation.check(dataset(reader)).x is reader
  with pytest.raises(ValueError, match="decodes its inputs to float64"):
    validation.check(dataset(Reader(np.float64)))


def test_inputs_that_fit_are_not_copied():
  for dtype in (np.float32, np.uint8):
    x = np.zeros((3, 2), dtype)
    assert np.shares_memory(validation.check(dataset(x)).x, x)


def test_groups_become_int32():
  assert validation.check(dataset(group=[3, 1, 2])).group.dtype == np.int32


def test_scales_are_positive_numbers():
  assert validation._is_scale(0.5) and validation._is_scale(np.float32(2))
  for value in (0, -1, np.inf, np.nan, "1", None, np.array([1.0, 2.0])):
    assert not validation._is_scale(value)


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_tensors_that_numpy_cannot_read(error):
  class Tensor:
    def __array__(self, *args, **options):
      raise error("it is elsewhere")

  with pytest.raises(ValueError, match="a has inputs .*it is elsewhere"):
    validation._readable("a", Tensor())


@pytest.mark.parametrize(
  ("shape", "noted"),
  [
    ((3, 5, 5), True),
    ((3, 5, 4), False),
    ((3, 4, 5), False),
    ((1, 5, 9), True),
    ((2, 5, 5), False),
    ((4, 5, 5), False),
    ((5, 5), True),
    ((5, 4), False),
    ((4, 5), False),
  ],
)
def test_sides_of_five_pixels_may_be_those_of_images(shape, noted):
  found = validation._doubtful_shape("toy", np.zeros((3, *shape), np.uint8))
  assert len(list(found)) == noted


def test_the_first_value_that_is_not_finite_is_found_in_any_part():
  x = np.zeros((9000, 2), np.float32)
  x[10, 1] = x[4100, 0] = x[8999, 1] = np.nan
  with pytest.raises(ValueError, match="has 3 NaN .* the first in row 10;"):
    validation._check_finite("toy", x)


def test_what_pixels_reach_to():
  advice = validation._advice(np.array([[0, 255]]))
  assert advice.startswith("write x.astype(np.uint8) for pixels")
  for low, high in ((-1, 255), (0, 256)):
    advice = validation._advice(np.array([[low, high]]))
    assert advice.startswith(f"they reach from {low} to {high}: scale")
