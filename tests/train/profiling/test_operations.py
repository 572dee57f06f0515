"""Costs of single operations, against counts by hand and XLA's own."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest
import signatures

from jcl.train.profiling import operations

RATES = operations.Rates(1e9, 1e8, 1e-6)


def program(fn, *shapes):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return operations.flatten(jax.make_jaxpr(fn)(*args).jaxpr)


def count(fn, *shapes, expands=False):
  found = program(fn, *shapes).operations
  return sum(operations.flops(each, expands) for each in found)


def names(fn, *shapes):
  return [each.name for each in program(fn, *shapes).operations]


def by_xla(fn, *shapes):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return jax.jit(fn).lower(*args).cost_analysis().get("flops", 0.0)


def convolve(x, w, **options):
  options = {"window_strides": (1, 1), "padding": "SAME"} | options
  numbers = ("NHWC", "HWIO", "NHWC")
  return jax.lax.conv_general_dilated(
    x, w, dimension_numbers=numbers, **options
  )


def test_a_convolution_without_padding_is_the_textbook_count():
  fn = functools.partial(convolve, padding="VALID")
  flops = count(fn, (2, 7, 6, 3), (3, 2, 3, 5))
  assert flops == 2 * 2 * (5 * 5) * (3 * 2) * 3 * 5


def test_terms_in_the_padding_do_not_count():
  # Of 3 taps at 2 places, those at either end fall outside once.
  assert count(convolve, (1, 2, 1, 1), (3, 1, 1, 1)) == 2 * (3 * 2 - 2)


@pytest.mark.parametrize(
  "options",
  [
    {"window_strides": (2, 2)},
    {"window_strides": (2, 1), "padding": ((1, 1), (2, 0))},
    {"lhs_dilation": (2, 2), "padding": ((1, 2), (0, 1))},
    {"rhs_dilation": (2, 3), "padding": ((2, 2), (3, 3))},
    {"padding": ((-1, 0), (0, -2))},
  ],
)
def test_convolutions_as_xla_counts_them(options):
  fn = functools.partial(convolve, **options)
  shapes = (2, 8, 8, 4), (3, 3, 4, 6)
  assert count(fn, *shapes) == by_xla(fn, *shapes) > 0


def kernel_gradient(groups):
  def fn(x, w, out):
    grouped = functools.partial(convolve, x, feature_group_count=groups)
    return jax.linear_transpose(grouped, w)(out)

  return fn


def test_grouped_convolutions_as_xla_counts_them():
  fn = functools.partial(convolve, feature_group_count=4)
  shapes = (2, 6, 6, 4), (3, 3, 1, 8)
  assert count(fn, *shapes) == by_xla(fn, *shapes)
  backward, shapes = kernel_gradient(4), (*shapes, (2, 6, 6, 8))
  assert count(backward, *shapes) == by_xla(backward, *shapes)


def test_a_depthwise_kernel_gradient_can_cost_all_pairs_of_channels():
  shapes = (2, 6, 6, 8), (3, 3, 1, 8), (2, 6, 6, 8)
  fn = kernel_gradient(8)
  ours = [count(fn, *shapes, expands=expands) for expands in (False, True)]
  masked = 2 * 8 * (3 * 3 * 8)
  assert ours[1] == 8 * ours[0] + masked
  if jax.default_backend() == "cpu":
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    compiled = jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]
    assert ours[1] == pytest.approx(compiled, rel=0.02)


def test_products_with_batches():
  fn = lambda a, b: jnp.einsum("bij,bjk->bik", a, b)  # noqa: E731
  assert count(fn, (5, 2, 3), (5, 3, 4)) == 5 * 2 * 2 * 3 * 4


@pytest.mark.parametrize(
  "fn",
  [
    lambda x: x + 2 * x,
    lambda x: jnp.where(x > 0, x, 0.5),
    lambda x: x**5,
    lambda x: jnp.exp(x) + jnp.tanh(x),
    lambda x: x.T[::-1].reshape(-1),
    lambda x: x.max(axis=1) - x.sum(axis=1),
  ],
)
def test_elements_as_xla_counts_them(fn):
  assert count(fn, (20, 30)) == pytest.approx(by_xla(fn, (20, 30)), abs=1)


def test_calls_are_written_out():
  @jax.custom_vjp
  def double(x):
    return 2 * x

  double.defvjp(lambda x: (double(x), ()), lambda _, g: (2 * g,))
  fn = lambda x: jax.checkpoint(jax.jit(double))(x) + 1  # noqa: E731
  assert names(fn, (3,)) == ["mul", "add"]


def test_loops_count_their_turns_and_branches_the_dearest():
  def scanned(x):
    return jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=5)[0]

  assert count(scanned, (4, 4)) == 5 * 2 * 4**3
  assert sum(operations.seconds(program(scanned, (4, 4)), RATES)) > 0

  def chosen(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x + 1, x)

  assert count(chosen, (4, 4)) == pytest.approx(2 * 4**3, abs=2)


def test_pooling_counts_its_window():
  def pool(x):
    return jax.lax.reduce_window(
      x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )

  assert count(pool, (2, 8, 8, 3)) == 2 * 4 * 4 * 3 * 4


def test_seconds_of_a_product_are_arithmetic_and_the_constant():
  found = operations.seconds(program(jnp.matmul, (100, 100), (100, 100)), RATES)
  assert found == [pytest.approx(2e6 / 1e9 + 1e-6)]


def test_seconds_of_a_sum_are_memory_and_the_constant():
  found = operations.seconds(program(jnp.add, (1000,), (1000,)), RATES)
  assert found == [pytest.approx(3 * 4000 / 1e8 + 1e-6)]


def test_arithmetic_that_feeds_arithmetic_moves_nothing_between():
  fn = lambda a, b: jnp.tanh(a + b) * 2  # noqa: E731
  first, middle, last = operations.seconds(program(fn, (1000,), (1000,)), RATES)
  assert first == pytest.approx(8000 / 1e8)
  assert middle == 0
  assert last == pytest.approx(4000 / 1e8 + 1e-6)


def test_reshaping_is_free():
  fn = lambda x: (x.reshape(10, 10) @ x.reshape(10, 10)).reshape(-1)  # noqa: E731
  found = program(fn, (100,))
  costs = dict(
    zip(
      [each.name for each in found.operations],
      operations.seconds(found, RATES),
      strict=True,
    )
  )
  assert costs["reshape"] == 0
  moved = 3 * 400 / 1e8  # slower than the arithmetic
  assert costs["dot_general"] == pytest.approx(moved + 1e-6)


@pytest.mark.parametrize(
  "rates", [(0.0, 1.0, 0.0), (1.0, -1.0, 0.0), (1.0, 1.0, math.nan)]
)
def test_rates_that_make_no_sense(rates):
  with pytest.raises(ValueError, match="give a number"):
    operations.Rates(*rates)


def test_grouped_convolutions_can_have_a_rate_of_their_own():
  slow = dataclasses.replace(RATES, grouped_flops_per_second=1e6)
  grouped = functools.partial(convolve, feature_group_count=4)
  shapes = (1, 4, 4, 4), (3, 3, 1, 4)
  (found,) = operations.seconds(program(grouped, *shapes), slow)
  # All taps at all places, those in the padding included.
  assert found == pytest.approx(2 * 16 * 9 * 4 / 1e6 + 1e-6)
  shapes = (1, 4, 4, 4), (3, 3, 4, 4)
  plain = program(convolve, *shapes)
  assert operations.seconds(plain, slow) == operations.seconds(plain, RATES)


@pytest.mark.parametrize(
  "rates",
  [
    (1.0, 1.0, math.inf),
    (1.0, 1.0, -1e-9),
    (1.0, 0.0, 0.0),
    (1.0, 1.0, 0.0, False, 0.0),
    (1.0, 1.0, 0.0, False, -1.0),
  ],
)
def test_rates_at_their_bounds(rates):
  with pytest.raises(ValueError, match="give a number"):
    operations.Rates(*rates)
  plain = operations.Rates(1e-9, 1e-9, 0.0)
  assert plain.expands_groups is False
  assert plain.grouped_flops_per_second is None
  assert signatures.defaults(operations.flops) == {"expands_groups": False}


def single(name, params, takes, gives):
  """Counts an operation of arrays of the given shapes."""
  takes, gives = (
    tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    for shapes in (takes, gives)
  )
  operation = operations.Operation(name, params, (), (), takes, gives)
  return operations.flops(operation)


@pytest.mark.parametrize(
  "power, products",
  [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (7, 4), (-3, 2), (8, 3)],
)
def test_powers_are_products(power, products):
  shape = [(2, 5)]
  found = single("integer_pow", {"y": power}, shape, shape)
  assert found == 10 * products


def test_single_operations_by_hand():
  assert single("cumsum", {}, [(7,)], [(7,)]) == 7
  assert single("reduce_sum", {}, [(7, 3)], [(3,)]) == 18
  # One sum for each update, the last operand.
  assert single("scatter-add", {}, [(9,), (4, 1), (4,)], [(9,)]) == 4
  window = {"window_dimensions": (2, 3)}
  assert single("reduce_window_max", window, [(8, 9)], [(4, 3)]) == 12 * 6
  found = single("select_and_scatter_add", window, [(4, 3), (8, 9)], [(8, 9)])
  assert found == 72 * 6
  assert single("exp", {}, [(7,)], [(7,)]) == 0
  assert single("transpose", {}, [(7, 2)], [(2, 7)]) == 0
  assert single("sort", {}, [(7,), (7,)], [(7,), (7,)]) == 14
  assert operations._size(None) == 1 and operations._itemsize(None) == 4


def costs(fn, *shapes, rates=RATES):
  found = program(fn, *shapes)
  names = [each.name for each in found.operations]
  return list(zip(names, operations.seconds(found, rates), strict=True))


def near(seconds):
  return pytest.approx(seconds, rel=1e-9)


def test_loops_take_their_turns_and_branches_the_slowest():
  def body(c, x):
    return c @ x

  def scanned(x):
    return jax.lax.scan(lambda c, _: (body(c, x), None), x, None, length=5)[0]

  ((_, once),) = costs(body, (4, 4), (4, 4))
  assert once == near(192 / 1e8 + 1e-6)
  ((name, found),) = costs(scanned, (4, 4))
  assert (name, found) == ("scan", near(5 * once))

  def chosen(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x + 1, x)

  *_, (name, found) = costs(chosen, (4, 4))
  assert (name, found) == ("cond", near(once))

  def unknown(x):
    return jax.lax.while_loop(lambda y: y[0, 0] < 9, lambda y: y @ x, x)

  # Of its body and its condition, once.
  assert count(unknown, (4, 4)) == 2 * 4**3 + 1


def test_values_with_several_readers_are_written():
  def twice(x):
    y = x + 1
    return y * 2, y * 3

  found = costs(twice, (1000,))
  assert [name for name, _ in found] == ["add", "mul", "mul"]
  assert [value for _, value in found] == [near(8000 / 1e8 + 1e-6)] * 3

  def broadcast(x):
    y = jnp.broadcast_to(x[:, None], (100, 10))
    return y * 2, y * 3

  found = costs(broadcast, (100,))
  assert [name for name, _ in found] == [
    *["broadcast_in_dim"] * 2,
    "mul",
    "mul",
  ]
  write = near(4000 / 1e8 + 1e-6)
  assert [value for _, value in found] == [near(400 / 1e8), 0, write, write]


def test_views_of_what_is_stored_are_stored():
  def product(x):
    y = (x + 1).reshape(5, 20).reshape(10, 10)
    return y @ y

  found = costs(product, (100,))
  assert [name for name, _ in found] == [
    *("add", "reshape", "reshape", "dot_general")
  ]
  assert found[0][1] == near(800 / 1e8 + 1e-6)
  assert found[1][1] == found[2][1] == 0

  def shifted(x):
    return x.reshape(10, 10).reshape(20, 5) + 1

  assert costs(shifted, (100,))[-1] == ("add", near(800 / 1e8 + 1e-6))


def test_two_groups_are_groups():
  slow = dataclasses.replace(RATES, grouped_flops_per_second=1e6)
  grouped = functools.partial(convolve, feature_group_count=2)
  ((_, found),) = costs(grouped, (1, 4, 4, 4), (3, 3, 2, 4), rates=slow)
  assert found == near(2 * 16 * 9 * 2 * 4 / 1e6 + 1e-6)


def test_a_kernel_s_places_meet_an_input():
  # Of inputs at 0, 2 and 4, places at -1, 1, 3, 5 with taps 0 and 3 on.
  meetings = operations._meetings(3, 2, 4, 2, (1, 0), 2, 3)
  assert meetings == 2  # -1 + 3 = 2 and 1 + 3 = 4
  assert operations._meetings(3, 1, 4, 1, (0, 0), 1, 1) == 3


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(operations.Rates) == {"expands_groups": False}
