import numpy as np
import pytest
import tiny_network

from jcl import base
from jcl.report import selections

TENSORS = tiny_network.build().tensors


def choice(step, *trained):
  mask = tuple(i in trained for i in range(len(TENSORS)))
  return base.Choice(step, 0, mask, 0.5, step + 2)


def test_the_map_has_a_column_per_choice_and_a_row_per_tensor():
  figure = selections.picture([choice(0, 5), choice(9, 0, 4)], TENSORS, "map")
  (axis,) = figure.axes
  (image,) = axis.images
  expected = np.zeros((6, 2))
  expected[5, 0] = expected[0, 1] = expected[4, 1] = 1
  np.testing.assert_array_equal(image.get_array(), expected)
  assert [label.get_text() for label in axis.get_yticklabels()] == [
    "first",
    "second",
    "head",
  ]
  assert [label.get_text() for label in axis.get_xticklabels()] == ["2", "11"]
  assert axis.get_title() == "map"


def test_mistakes_are_told():
  with pytest.raises(ValueError, match="chose nothing"):
    selections.picture([], TENSORS)
  with pytest.raises(ValueError, match=r"over \[6\] tensors.*has 5"):
    selections.picture([choice(0, 1)], TENSORS[:5])
