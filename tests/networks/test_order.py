"""Execution order against programs whose order is known by construction."""

from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import pytest

from jcl.networks import linen, mobilenet, order, resnet, vit
from jcl.networks import nnx as nnx_networks


def used(fn, params, *args):
  return [
    "/".join(path) for path in order.execution_order(fn, params, *args)[0]
  ]


def square(*names):
  return {name: jnp.ones((3, 3)) for name in names}


X = jnp.ones((2, 3))


def test_order_of_use_is_not_the_order_of_names():
  params = square("a", "b", "c")
  assert used(lambda p, x: x @ p["c"] @ p["a"] @ p["b"], params, X) == [
    "c",
    "a",
    "b",
  ]


def test_early_casts_and_transposes_are_not_use():
  def fn(p, x):
    bias = jnp.broadcast_to(p["a_bias"][None], x.shape)
    late = p["b"].T.astype(jnp.bfloat16).reshape(9)
    x = x @ p["z"]
    x = x + bias
    return x @ late.reshape(3, 3).astype(x.dtype)

  params = square("b", "z") | {"a_bias": jnp.ones(3)}
  assert used(fn, params, X) == ["z", "a_bias", "b"]


def test_a_weight_made_of_parameters_is_used_where_it_meets_the_data():
  def fn(p, x):
    weight = p["direction"] / jnp.linalg.norm(p["direction"]) * p["a_length"]
    return (x @ p["first"]) @ weight

  assert used(fn, square("a_length", "direction", "first"), X) == [
    "first",
    "direction",
    "a_length",
  ]


def test_unused_parameters_are_told_apart():
  params = square("a", "b", "c")
  found, unused = order.execution_order(lambda p, x: x @ p["b"], params, X)
  assert found == [("b",)]
  assert unused == [("a",), ("c",)]


def test_layout_puts_unread_tensors_last_and_unread_units_first():
  params = {"a": square("kernel"), "z": square("kernel"), "b": square("w")}

  def fn(p, x):
    return x @ p["b"]["w"] @ p["a"]["kernel"]

  with pytest.warns(UserWarning, match="never reads.*z/kernel"):
    units, tensors = order.layout(fn, params, X)
  assert units == ("z", "b", "a")
  assert [tensor.unit for tensor in tensors] == ["b", "a", "z"]


@pytest.mark.parametrize(
  "wrap", [jax.jit, jax.checkpoint, lambda fn: jax.vmap(fn, (None, 0))]
)
def test_sees_through_calls(wrap):
  def inner(p, x):
    return jax.nn.relu(x @ p["z"]) @ p["a"]

  def fn(p, x):
    return wrap(inner)(p, x) @ p["m"]

  assert used(fn, square("a", "m", "z"), X) == ["z", "a", "m"]


def test_sees_through_custom_derivatives():
  @jax.custom_vjp
  def double(x, weight):
    return 2 * x @ weight

  double.defvjp(
    lambda x, w: (double(x, w), (x, w)), lambda saved, g: (g, saved[1])
  )

  def fn(p, x):
    return double(double(x, p["b"]), p["a"])

  assert used(fn, square("a", "b"), X) == ["b", "a"]


def test_scan_uses_its_carry_once_data_reaches_it():
  """The carried weights are parameters first and touch data inside the loop."""

  def fn(p, xs):
    def body(carry, x):
      hidden, start = carry
      hidden = hidden @ p["recurrent"]
      return (hidden + x @ p["input"], start), None

    (hidden, start), _ = jax.lax.scan(body, (jnp.ones(3), p["a"]), xs)
    return (hidden @ start) @ p["b"]

  params = square("a", "b", "input", "recurrent")
  assert used(fn, params, X) == ["recurrent", "input", "a", "b"]


def test_scan_over_stacked_parameters_lists_each_array_once():
  def fn(p, x):
    def body(x, layer):
      return jnp.tanh(x @ layer["w"] + layer["b"]), None

    return jax.lax.scan(body, x, p["layers"])[0] @ p["head"]

  params = {
    "layers": {"w": jnp.ones((4, 3, 3)), "b": jnp.ones((4, 3))},
    "head": jnp.ones((3, 2)),
  }
  assert used(fn, params, X) == ["layers/w", "layers/b", "head"]


def test_branches_are_followed():
  def fn(p, x):
    return jax.lax.cond(
      x.sum() > 0,
      lambda x: x @ p["c"] @ p["a"],
      lambda x: x @ p["b"],
      x,
    )

  found = used(fn, square("a", "b", "c"), X)
  assert sorted(found) == ["a", "b", "c"]
  assert found.index("c") < found.index("a")


def test_a_choice_by_data_between_parameters_uses_both():
  def fn(p, x):
    chosen = jax.lax.cond(x.sum() > 0, lambda: p["b"], lambda: p["a"])
    return chosen @ p["c"]

  found = used(fn, square("a", "b", "c"), X)
  assert set(found[:2]) == {"a", "b"} and found[2] == "c"


def test_a_while_loop_counts_as_one_operation():
  def fn(p, x):
    weight = p["z"]
    x = jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ weight, x)
    return x @ p["a"]

  assert used(fn, square("a", "z"), X) == ["z", "a"]


def test_parameters_that_are_returned_without_meeting_data_count_as_used():
  fn = lambda p, x: (x @ p["b"], p["a"] * 2)  # noqa: E731
  found, unused = order.execution_order(fn, square("a", "b"), X)
  assert found == [("b",), ("a",)] and not unused


def paths(network, unit):
  return [
    "/".join(tensor.path[1:])
    for tensor in network.tensors
    if tensor.unit == unit
  ]


def test_residual_network():
  network = resnet.resnet18((8, 8, 3), 2, filters=2)
  block = ["conv_0/kernel", "norm_0/scale", "norm_0/bias"]
  block += ["conv_1/kernel", "norm_1/scale", "norm_1/bias"]
  shortcut = ["conv_shortcut/kernel", "norm_shortcut/scale"]
  assert paths(network, "block_0") == block
  assert paths(network, "block_2") == [
    *block,
    *shortcut,
    "norm_shortcut/bias",
  ]
  assert [tensor.unit for tensor in network.tensors] != sorted(
    tensor.unit for tensor in network.tensors
  )
  assert tuple(dict.fromkeys(t.unit for t in network.tensors)) == network.units


def test_mobilenet_block():
  network = mobilenet.mobilenet((8, 8, 3), 2, width=0.1)
  names = paths(network, "block_1")
  assert names == [
    f"{part}/{array}"
    for part in ("expand", "filter", "project")
    for array in ("conv/kernel", "norm/scale", "norm/bias")
  ]


def test_vit_block():
  network = vit.vit((8, 8, 3), 2, width=8, heads=2, depth=1)
  order_of_parts = "norm_0 query key value out norm_1 mlp_0 mlp_1".split()
  parts = [name.split("/")[0] for name in paths(network, "block_0")]
  assert list(dict.fromkeys(parts)) == order_of_parts
  assert paths(network, "embed") == [
    "patch/kernel",
    "patch/bias",
    "class_token",
    "positions",
  ]


def test_linen_module():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.relu(nn.Dense(4, name="zebra")(x))
      x = nn.LayerNorm(name="middle")(x)
      return nn.Dense(3, name="aardvark", dtype=jnp.bfloat16)(x)

  network = linen.from_linen(Net(), (5,), 3)
  assert network.units == ("zebra", "middle", "aardvark")
  assert [t.path[1] for t in network.tensors] == [
    "kernel",
    "bias",
    "scale",
    "bias",
    "kernel",
    "bias",
  ]


def test_nnx_module():
  class Net(nnx.Module):
    def __init__(self, rngs):
      self.aardvark = nnx.Linear(4, 3, rngs=rngs)
      self.zebra = nnx.Linear(5, 4, rngs=rngs)

    def __call__(self, x):
      return self.aardvark(nnx.relu(self.zebra(x)))

  network = nnx_networks.from_nnx(Net, (5,), 3)
  assert network.units == ("zebra", "aardvark")
  assert [t.kind for t in network.tensors] == ["kernel", "bias"] * 2


@pytest.mark.parametrize(
  ("name", "shape", "siblings", "kind"),
  [
    ("kernel", (3, 4), ("bias",), "kernel"),
    ("kernel", (4,), (), "other"),
    ("kernel", (3, 3, 2, 4), (), "kernel"),
    ("bias", (4,), ("kernel",), "bias"),
    ("bias", (4,), ("scale",), "shift"),
    ("scale", (4,), ("bias",), "scale"),
    ("gamma", (4,), (), "scale"),
    ("beta", (4,), (), "shift"),
    ("w", (2, 2), (), "kernel"),
    ("b", (2,), ("w",), "bias"),
    ("positions", (1, 9, 4), (), "other"),
    ("embedding", (9, 4), (), "other"),
  ],
)
def test_kinds(name, shape, siblings, kind):
  assert order.tensor_kind(("unit", name), shape, siblings) == kind
