"""Tests of how convolutions and their gradients are told apart."""

import jax
import jax.numpy as jnp
import pytest
import signatures

from jcl.train.kernels import problem


def read(equation):
  variables = (*equation.invars, *equation.outvars)
  return problem.read(
    tuple(variable.aval.shape for variable in variables),
    **{name: equation.params[name] for name in problem.PARAMETERS},
  )


def problems(fn, *shapes):
  """Reads all convolutions of a function and its gradients."""

  def both(*args):
    out, pull = jax.vjp(fn, *args)
    return pull(out)

  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  equations = jax.make_jaxpr(both)(*args).jaxpr.eqns
  return [
    read(equation)
    for equation in equations
    if equation.primitive.name == "conv_general_dilated"
  ]


def convolve(x, w, stride=1, groups=1, padding="SAME"):
  return jax.lax.conv_general_dilated(
    x,
    w,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def test_a_strided_convolution_and_its_gradients():
  found = problems(
    lambda x, w: convolve(x, w, stride=2), (4, 9, 8, 6), (3, 3, 6, 10)
  )
  assert [each.kind for each in found] == ["forward", "weights", "inputs"]
  for each in found:
    assert each.x.sizes == (4, 6, 9, 8)
    assert each.w.sizes == (10, 6, 3, 3)
    assert each.y.sizes == (4, 10, 5, 4)
    assert each.strides == (2, 2)
    assert each.dilations == (1, 1)
    assert each.padding == ((1, 1), (0, 1))
    assert each.groups == 1
  forward, weights, inputs = found
  assert forward.x.strides == (9 * 8 * 6, 1, 8 * 6, 6)
  assert forward.w.strides == (1, 10, 3 * 6 * 10, 6 * 10)
  assert weights.operands == (weights.x, weights.y, weights.w)
  assert inputs.operands == (inputs.y, inputs.w, inputs.x)
  assert [each.mirrored for each in found] == [False, False, True]


def test_operations_leave_out_padding():
  (forward,) = [
    each
    for each in problems(convolve, (1, 4, 4, 1), (3, 3, 1, 1))
    if each.kind == "forward"
  ][:1]
  # Of 16 outputs, 4 see all 9 pixels, 8 see 6 and 4 see 4.
  assert forward.flops == 2 * (4 * 9 + 8 * 6 + 4 * 4)


def test_groups_are_those_of_the_convolution():
  found = problems(
    lambda x, w: convolve(x, w, stride=2, groups=3), (2, 8, 8, 6), (3, 3, 2, 12)
  )
  assert {each.kind for each in found} == {"forward", "weights", "inputs"}
  for each in found:
    assert each.groups == 3
    assert each.x.sizes == (2, 6, 8, 8)
    assert each.y.sizes == (2, 12, 4, 4)
    grouped = each.kind == "inputs"
    assert each.grouped_by_input == grouped
    assert each.w.sizes[:2] == ((4, 6) if grouped else (12, 2))


def test_depthwise_kernels_may_be_larger_than_images():
  """As 5x5 kernels are at the end of a network that reads 96 pixels."""
  found = problems(
    lambda x, w: convolve(x, w, groups=6), (2, 3, 3, 6), (5, 5, 1, 6)
  )
  # At stride 1, the inputs' gradient is a convolution as well.
  assert [each.kind for each in found] == ["forward", "weights", "forward"]
  for each in found:
    assert each.groups == 6
    assert each.x.sizes == each.y.sizes == (2, 6, 3, 3)
    assert each.w.sizes == (6, 1, 5, 5)
    assert each.padding == ((2, 2), (2, 2))


@pytest.mark.parametrize(
  "case",
  [
    {"padding": [(-1, 0), (0, 0)]},
    {"lhs_dilation": (2, 2), "window_strides": (2, 2)},
    {"shapes": ((0, 8, 8, 4), (3, 3, 4, 5), (0, 6, 6, 5))},
  ],
  ids=["cropped", "dilated and strided", "empty"],
)
def test_what_is_none_of_the_three_is_left_alone(case):
  shapes = (2, 8, 8, 4), (3, 3, 4, 5), (2, 6, 6, 5)
  options = {
    "window_strides": (1, 1),
    "padding": [(0, 0), (0, 0)],
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    **case,
  }
  shapes = options.pop("shapes", shapes)
  numbers = jax.lax.ConvDimensionNumbers(
    (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
  )
  assert problem.read(shapes, dimension_numbers=numbers, **options) is None


@pytest.mark.parametrize("groups", [1, 2])
def test_an_input_gradient_has_no_groups_of_the_batch(groups):
  found = problem.read(
    ((2, 8, 8, 4), (3, 3, 4, 6), (2 // groups, 13, 13, 6)),
    window_strides=(1, 1),
    padding=[(0, 0), (0, 0)],
    lhs_dilation=(2, 2),
    rhs_dilation=(1, 1),
    dimension_numbers=jax.lax.ConvDimensionNumbers(
      (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
    ),
    batch_group_count=groups,
  )
  if groups == 1:
    assert found.kind == "inputs" and found.strides == (2, 2)
    assert found.padding == ((2, 2), (2, 2))
  else:
    assert found is None


def test_operations_with_strides_holes_padding_and_groups():
  x, w, y = (
    problem.Operand(shape, (0, 1, 2, 3))
    for shape in ((3, 4, 5, 4), (6, 2, 2, 1), (3, 6, 4, 4))
  )
  case = problem.Problem(
    "forward", x, w, y, 2, (2, 1), (3, 1), ((1, 3), (0, 0))
  )
  # Rows read -1 and 2, 1 and 4, 3 and 6, 5 and 8 of five: four of them exist.
  assert case.flops == 2 * (4 * 4) * (3 * 6) * 2
  assert (
    case._replace(padding=((0, 4), (0, 0))).flops
    == (
      2 * (5 * 4) * (3 * 6) * 2  # 0 and 3, 2 and 5, 4 and 7, 6 and 9
    )
    - 2 * 4 * (3 * 6) * 2
  )


def test_dilated_kernels_and_uneven_padding():
  found = problems(
    lambda x, w: jax.lax.conv_general_dilated(
      x,
      w,
      (2, 3),
      ((1, 2), (0, 1)),
      rhs_dilation=(2, 1),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    (2, 15, 14, 3),
    (3, 4, 3, 5),
  )
  assert [each.kind for each in found] == ["forward", "weights", "inputs"]
  for each in found:
    assert each.dilations == (2, 1) and each.strides == (2, 3)
    assert each.y.sizes == (2, 5, 7, 4)
    # The last row reads up to 12 - 1 + 4 = 15, the last column up to 12.
    assert each.padding == ((1, 1), (0, 0))


NUMBERS = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def plain(left, right, out, **options):
  options = {
    "window_strides": (1, 1),
    "padding": [(0, 0), (0, 0)],
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    **options,
  }
  return problem.read((left, right, out), dimension_numbers=NUMBERS, **options)


def test_a_kernel_larger_than_its_result_makes_a_kernel():
  equal = plain((2, 5, 5, 4), (3, 3, 4, 5), (2, 3, 3, 5))
  larger = plain((2, 5, 5, 4), (4, 3, 4, 5), (2, 2, 3, 5))
  assert (equal.kind, larger.kind) == ("forward", "weights")
  assert larger.w.sizes == (5, 2, 2, 3) and larger.x.sizes == (4, 2, 5, 5)


def test_pixels_behind_the_last_stride_are_no_cropping():
  case = plain(
    (2, 11, 11, 4), (3, 3, 4, 5), (2, 3, 3, 5), window_strides=(3, 3)
  )
  assert case.kind == "forward" and case.padding == ((0, 0), (0, 0))
  assert plain((2, 8, 8, 4), (3, 3, 4, 5), (2, 5, 6, 5)) is None
  assert plain((2, 8, 8, 4), (3, 3, 4, 5), (2, 6, 5, 5)) is None


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(problem.read) == {
    "feature_group_count": 1,
    "batch_group_count": 1,
  }
