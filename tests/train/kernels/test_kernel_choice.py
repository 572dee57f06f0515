"""Which convolutions oneDNN computes, at the bounds that were measured."""

import pytest

from jcl.train.kernels import choice, problem


def build(kind, size, channels, out, taps=1, *, groups=1, strides=(1, 1)):
  """Builds a problem of `size` pixels in a row, whose taps need no padding."""
  x, w, y = (
    problem.Operand(shape, (0, 1, 2, 3))
    for shape in (
      (1, channels, taps, strides[1] * (size - 1) + taps),
      (out, channels // groups, taps, taps),
      (1, out, 1, size),
    )
  )
  edges = ((0, 0), (0, 0))
  return problem.Problem(kind, x, w, y, groups, strides, (1, 1), edges)


def test_small_problems_are_left_to_xla():
  least, less = build("forward", 50, 10, 10), build("forward", 50, 11, 9)
  assert (least.flops, less.flops) == (10_000, 9_900)
  assert choice.pays(least) and not choice.pays(less)


def test_all_threads_work_on_large_problems():
  large, less = (
    build("forward", 2500, 100, 100),
    build("forward", 2499, 100, 100),
  )
  assert (large.flops, less.flops) == (5e7, 4.998e7)
  assert choice.shares(large) and not choice.shares(less)


@pytest.mark.parametrize(
  "kind, channels, taps, groups, pays",
  [
    ("forward", 64, 1, 1, False),  # a matrix product
    ("forward", 64, 2, 1, True),
    ("forward", 64, 1, 2, True),
    ("weights", 64, 1, 1, True),
    ("inputs", 64, 1, 1, False),
    ("inputs", 64, 2, 1, True),
    ("inputs", 128, 2, 1, True),
    ("inputs", 65, 2, 1, False),
    ("inputs", 32, 2, 1, False),
    ("inputs", 32, 2, 2, True),
  ],
)
@pytest.mark.parametrize("strides", [(1, 1), (1, 2), (2, 2)])
def test_strided_problems(kind, channels, taps, groups, pays, strides):
  case = build(kind, 50, channels, 64, taps, groups=groups, strides=strides)
  assert choice.pays(case) is (pays or strides == (1, 1))


def test_a_kernel_of_one_column_is_no_matrix_product():
  case = build("forward", 50, 64, 64, strides=(1, 2))
  w = problem.Operand((64, 64, 2, 1), (0, 1, 2, 3))
  case = case._replace(w=w)
  assert case.flops >= 1e4 and choice.pays(case)
  assert choice.pays(case._replace(kind="inputs"))
