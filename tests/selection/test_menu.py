"""What a gradient's way takes, and the selections that are worth compiling."""

import numpy as np
import pytest

from jcl import base
from jcl.selection import chain, menu
from jcl.selection.times import TensorTimes


def tensors(*units, kinds=None):
  kinds = kinds or ["kernel"] * len(units)
  return [
    base.Tensor((unit, str(i)), unit, kind, (1,))
    for i, (unit, kind) in enumerate(zip(units, kinds, strict=True))
  ]


def way(kinds, cost_model):
  zeros = (0.0,) * 4
  times = TensorTimes(zeros, (4.0, 3.0, 2.0, 1.0), zeros, zeros, 0.5, "timed")
  found = chain.times_of(times, tensors(*"abcd", kinds=kinds), cost_model)
  return found.tolist()


def test_where_the_way_of_the_gradient_stops():
  mixed = ["kernel", "bias", "kernel", "bias"]
  assert way(mixed, "arrival") == [4, 3, 2, 1]
  assert way(mixed, "inclusive") == [0, 4, 3, 2 + 1]
  assert way(mixed, "exclusive") == [4, 3, 2, 1]
  # Between two tensors that are no kernels, time belongs to the earlier one.
  apart = ["kernel", "bias", "scale", "kernel"]
  assert way(apart, "inclusive") == [0, 4 + 3, 0, 2 + 1]
  assert way(apart, "exclusive") == [4 + 3, 0, 2, 1]
  with pytest.raises(
    ValueError, match="cost_model='both': give one of arrival"
  ):
    way(mixed, "both")


def test_units_are_as_deep_as_their_first_tensors():
  assert chain.by_unit(tensors(*"abacb")) == [[0, 2], [1, 4], [3]]


def test_a_selection_pays_the_way_to_its_deepest_tensor():
  arrival, training = np.array([4.0, 3, 2, 1]), np.array([10.0, 20, 30, 40])
  assert chain.seconds(arrival, training, [0, 1, 0, 1]) == 3 + 2 + 1 + 20 + 40
  assert chain.seconds(arrival, training, [1, 0, 0, 0]) == 10 + 10
  assert chain.seconds(arrival, training, [0, 0, 0, 0]) == 0


def masks(budget, size=9, units="abcdh", head="00001"):
  ones = np.ones(len(units))
  found = menu.prepare(
    tensors(*units), [each == "1" for each in head], ones, ones, budget, size
  )
  return ["".join("01"[yes] for yes in mask) for mask in found]


def test_a_menu_by_hand():
  # The head alone takes 2 s: one of the way, one to train it.
  assert masks(1) == masks(3) == ["00001"]
  # A unit more takes one second of the way and one to train it.
  assert masks(4) == ["00001", "00011"]
  # Five seconds reach the unit before it, but do not train both.
  assert masks(5) == ["00001", "00011", "00101"]
  assert masks(6) == ["00001", "00111", "01001", "00011"]
  # Next to the deepest, or next to the head.
  six = ["00001", "00111", "10001", "01101", "01011", "00011"]
  assert masks(7) == six and masks(7, 6) == six
  nine = ["00001", "01111", "11101", "10111", "00111", "00011"]
  assert masks(9) == nine
  assert masks(10)[:2] == ["00001", "11111"]


def test_a_menu_that_is_too_long_is_thinned_out():
  assert masks(7, 5) == ["00001", "00111", "10001", "01011", "00011"]
  assert masks(7, 4) == ["00001", "00111", "01101", "00011"]
  assert masks(7, 3) == ["00001", "00111", "01011"]
  assert masks(7, 2) == ["00001", "00111"]


def test_a_unit_trains_as_a_whole_and_the_head_always():
  # Unit b has two tensors, four seconds up and four to train with the head's;
  # unit a is one second further and has one.
  units = {"units": "abbhh", "head": "00011"}
  assert masks(8, **units) == ["00011", "01111", "10011"]
  assert masks(7, **units) == ["00011"]
