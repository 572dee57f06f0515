"""Axes followed through single operations.

Each case is written like the sums of Einstein: a letter for an axis, the same
letter for axes that belong together, a capital for one that is fixed.
"""

import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.base import jaxprs
from jcl.networks import axes as axes_lib

lax = jax.lax


def follow(fn, *shapes, stored=()):
  axes = axes_lib.Axes()
  values = [
    axes_lib.Value(axes.new(shape), i in stored)
    for i, shape in enumerate(shapes)
  ]
  like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  program = jaxprs.trace(fn, *like)
  return axes, values, axes_lib.walk(axes, program, values)


def written(fn, *shapes, stored=()):
  axes, values, results = follow(fn, *shapes, stored=stored)
  letters = {}

  def letter(axis):
    root = axes.find(axis)
    name = letters.setdefault(root, string.ascii_lowercase[len(letters)])
    return name.upper() if axes.fixed[root] else name

  def write(values):
    return ",".join("".join(map(letter, value.axes)) for value in values)

  return f"{write(values)}->{write(results)}"


def convolve(x, w, **options):
  numbers = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(
    x, w, (1, 1), "VALID", dimension_numbers=numbers, **options
  )


def window(padding=((0, 0), (0, 0)), **options):
  options = {"window_dimensions": (1, 1), "window_strides": (1, 1)} | options
  return lambda x: lax.reduce_window(
    x, -jnp.inf, lax.max, padding=padding, **options
  )


X, W = (2, 5, 5, 3), (3, 3, 3, 4)


@pytest.mark.parametrize(
  "fn, shapes, stored, expected",
  [
    (lambda x, w: x @ w, [(2, 3), (3, 4)], [1], "ab,bc->ac"),
    (lambda x, w: x @ w, [(2, 3), (3, 4)], [0], "ab,bc->ac"),
    (lambda x, w: x @ w, [(2, 3), (3, 4)], [], "aB,Bc->ac"),
    (lambda x, w: x @ w, [(5, 2, 3), (5, 3, 4)], [1], "abc,acd->abd"),
    (lambda x, w: x @ w, [(5, 2, 3), (5, 3, 4)], [], "abC,aCd->abd"),
    (lambda x, y: x + y, [(2, 3), (2, 3)], [], "ab,ab->ab"),
    (lambda x, y: x + y, [(2, 3), (3,)], [], "ab,b->ab"),
    (lambda x, y: x * y, [(2, 3), ()], [], "ab,->ab"),
    (lambda x: x + np.arange(3.0), [(2, 3)], [], "aB->aB"),
    (lambda x: x.sum(axis=1), [(2, 3, 4)], [], "aBc->ac"),
    (lambda x: x.argmax(axis=0), [(2, 3)], [], "Ab->b"),
    (lambda x: lax.cumsum(x, 0), [(2, 3)], [], "Ab->Ab"),
    (window(), [(4, 6)], [], "ab->ab"),
    (window(window_dimensions=(1, 2)), [(4, 6)], [], "aB->aC"),
    (window(window_strides=(2, 1)), [(4, 6)], [], "Ab->Cb"),
    (window(padding=((0, 0), (0, 1))), [(4, 6)], [], "aB->aC"),
    (window(padding=((0, 0), (1, 0))), [(4, 6)], [], "aB->aC"),
    (window(base_dilation=(1, 2)), [(4, 6)], [], "aB->aC"),
    (convolve, [X, W], [1], "aBCd,EFdg->aHIg"),
    (convolve, [X, W], [0], "aBCd,EFdg->aHIg"),
    (convolve, [X, W], [], "aBCD,EFDg->aHIg"),
    (lambda x: x.T, [(2, 3)], [], "ab->ba"),
    (lambda x: lax.rev(x, (0,)), [(2, 3)], [], "Ab->Cb"),
    (lambda x: lax.squeeze(x, (1,)), [(2, 1, 3)], [], "aBc->ac"),
    (lambda x: x[1:], [(3, 4)], [], "Ab->Cb"),
    (lambda x: x[:, ::2], [(3, 4)], [], "aB->aC"),
    (
      lambda x: lax.dynamic_slice(x, (1, 0), (2, 4)),
      [(3, 4)],
      [],
      "Ab->Cb",
    ),
    (
      lambda x: lax.pad(x, 0.0, [(0, 0, 0), (0, 1, 0)]),
      [(3, 4)],
      [],
      "aB->aC",
    ),
    (
      lambda x: lax.pad(x, 0.0, [(1, 0, 0), (0, 0, 0)]),
      [(3, 4)],
      [],
      "Ab->Cb",
    ),
    (
      lambda x: lax.pad(x, 0.0, [(0, 0, 0), (0, 0, 1)]),
      [(3, 4)],
      [],
      "aB->aC",
    ),
    (
      lambda x, y: jnp.concatenate([x, y], axis=0),
      [(2, 3), (4, 3)],
      [],
      "Ab,Cb->Db",
    ),
    (
      lambda x, y: jnp.concatenate([x, y], axis=1),
      [(3, 2), (3, 4)],
      [],
      "aB,aC->aD",
    ),
    (lambda x: x.reshape(2, 2, 3), [(2, 6)], [], "aB->aCD"),
    (lambda x: x.reshape(6, 4), [(2, 3, 4)], [], "ABc->Dc"),
    (lambda x: x.reshape(2, 12), [(2, 3, 4)], [], "aBC->aD"),
    (lambda x: x.reshape(2, 1, 3), [(2, 3)], [], "ab->acb"),
    (lambda x: lax.reshape(x, (2, 3)), [(2, 1, 3)], [], "abc->ac"),
    (lambda x: lax.sort(x), [(2, 3)], [], "AB->CD"),
    (
      lambda x: x + jax.random.uniform(jax.random.key(0), (3,)),
      [(3,)],
      [],
      "a->a",
    ),
  ],
)
def test_axes_of_an_operation(fn, shapes, stored, expected):
  assert written(fn, *shapes, stored=stored) == expected


@pytest.mark.parametrize(
  "x, w, options, expected, roles",
  [
    (X, W, {}, "aBCd,EFdg->aHIg", [None, None, "in", "out"]),
    (
      X,
      (3, 3, 1, 3),
      {"feature_group_count": 3},
      "aBCd,EFgd->aHId",
      [None, None, None, "through"],
    ),
    # Of one channel, there is no group.
    (
      (2, 5, 5, 1),
      (3, 3, 1, 1),
      {"feature_group_count": 1},
      "aBCd,EFdg->aHIg",
      [None, None, "in", "out"],
    ),
    # Groups of several inputs, of several outputs, of the batch.
    (
      (2, 5, 5, 4),
      (3, 3, 2, 4),
      {"feature_group_count": 2},
      "ABCD,EFGH->IJKL",
      [None] * 4,
    ),
    (
      (2, 5, 5, 2),
      (3, 3, 1, 4),
      {"feature_group_count": 2},
      "ABCD,EFGH->IJKL",
      [None] * 4,
    ),
    (
      (4, 5, 5, 3),
      (3, 3, 3, 4),
      {"batch_group_count": 2},
      "ABCD,EFGH->IJKL",
      [None] * 4,
    ),
  ],
)
def test_groups_of_a_convolution(x, w, options, expected, roles):
  def fn(x, w):
    return convolve(x, w, **options)

  assert written(fn, x, w, stored=[1]) == expected
  axes, (_, kernel), _ = follow(fn, x, w, stored=[1])
  assert [axes.roles.get(axis) for axis in kernel.axes] == roles
  axes, _, _ = follow(fn, x, w, stored=[])
  assert axes.roles == {}


def test_roles_in_a_product():
  def fn(x, w):
    return jnp.einsum("bij,bjk->bik", x, w.astype(jnp.float32).T.T)

  axes, (x, w), _ = follow(fn, (5, 2, 3), (5, 3, 4), stored=[1])
  assert [axes.roles.get(axis) for axis in w.axes] == ["through", "in", "out"]
  assert not any(axis in axes.roles for axis in x.axes)
  # The first role stays.
  axes.mark(w, "other", 0)
  assert axes.roles[w.axes[0]] == "through"


@pytest.mark.parametrize(
  "fn, stays",
  [
    (lambda x: x.astype(jnp.bfloat16), True),
    (lambda x: x.T, True),
    (lambda x: x.reshape(6, 2), True),
    (lambda x: jnp.broadcast_to(x, (2, 3, 4)), True),
    (lambda x: lax.squeeze(x.reshape(1, 12), (0,)), True),
    (lambda x: x + 1.0, False),
    (lambda x: x.sum(axis=0), False),
    (lambda x: lax.cumsum(x, 0), False),
    (lambda x: x[1:], False),
    (lambda x: jnp.concatenate([x, x]), False),
    (lambda x: lax.sort(x), False),
    (lambda x: x @ x.T, False),
  ],
)
def test_what_still_holds_the_zeros_of_a_parameter(fn, stays):
  _, _, (result,) = follow(fn, (3, 4), stored=[0])
  assert result.stored is stays
  _, _, (result,) = follow(fn, (3, 4))
  assert result.stored is False


def test_casts_keep_the_axes_themselves():
  axes, (x,), (result,) = follow(lambda x: x.astype(jnp.bfloat16), (3, 4))
  assert result.axes == x.axes
  _, (x,), (result,) = follow(lambda x: -x, (3, 4))
  assert not {*result.axes} & {*x.axes}


def test_sets_of_axes():
  axes = axes_lib.Axes()
  assert axes.new((2, 3)) == (0, 1)
  assert axes.new((3, 3), fixed=True) == (2, 3)
  assert axes.new((3, 3)) == (4, 5)
  assert axes.sizes == [2, 3, 3, 3, 3, 3]
  assert axes.fixed == [False, False, True, True, False, False]
  assert [axes.find(axis) for axis in range(6)] == [0, 1, 2, 3, 4, 5]
  axes.unite((1,), (4,))
  assert axes.find(4) == axes.find(1) == 1 and not axes.fixed[1]
  axes.unite((1,), (2,))  # the other is fixed
  assert axes.fixed[axes.find(4)] and axes.find(2) == 1
  axes.unite((3,), (5,))  # the first is fixed
  assert axes.fixed[axes.find(5)]
  axes.unite((5,), (4,))
  assert len({axes.find(axis) for axis in range(1, 6)}) == 1
  axes.fix(0)
  assert axes.fixed[0]
  free = axes.new((2, 2))
  axes.unite(free[:1], free[1:])
  axes.fix(free[1])
  assert axes.fixed[axes.find(free[0])]


def test_places_of_a_shape():
  assert axes_lib._places((2, 1, 3, 4)) == {(1, 2): 0, (2, 3): 2, (6, 4): 3}
  assert axes_lib._places(()) == {}
