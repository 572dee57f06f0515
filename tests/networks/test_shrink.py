"""Channels: which belong together, and networks without some of them."""

import functools

from flax import errors as flax_errors
from flax import linen as nn
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_mobilenet
import tiny_network

from jcl import base
from jcl.cost import program_cost
from jcl.networks import (
  catalogue,
  chain,
  channels,
  efficientnet,
  linen,
  resnet,
  shrink,
)
from jcl.networks import nnx as nnx_networks
from jcl.train import slots

CLASSES = 3
# Machine code that is slower and takes less time to make.
QUICK = {"xla_backend_optimization_level": 0}


class _Flat(nn.Module):
  """A convolution that is pooled, one that is flattened, a dense layer."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(4, (3, 3), name="pooled")(x))
    x = nn.max_pool(x, (2, 2), (2, 2))
    x = nn.relu(nn.Conv(5, (3, 3), name="flattened")(x))
    x = nn.relu(nn.Dense(6, name="dense")(x.reshape(x.shape[0], -1)))
    return nn.Dense(CLASSES, name="head")(x)


class _Attention(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.LayerNorm(name="norm")(nn.Dense(8, name="embed")(x))
    attend = nn.MultiHeadDotProductAttention(4, qkv_features=8, name="attend")
    return nn.Dense(CLASSES, name="head")((x + attend(x)).mean(axis=1))


class _ByWidth(nn.Module):
  """Skips its second layer where widths happen to agree."""

  @nn.compact
  def __call__(self, x):
    y = nn.Dense(6, name="first")(x)
    z = nn.Dense(5, name="second")(y)
    z = z + y if z.shape == y.shape else z
    return nn.Dense(CLASSES, name="head")(z)


class _ByNumber(nn.Module):
  """Knows its own width by heart."""

  @nn.compact
  def __call__(self, x):
    y = nn.Dense(6, name="first")(x) + jnp.ones(6)
    y = y + jnp.zeros((x.shape[0], 6))
    return nn.Dense(CLASSES, name="head")(y)


class _Nnx(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(6, rngs=rngs)
    self.dense = nnx.Linear(6, 5, rngs=rngs)
    self.head = nnx.Linear(5, CLASSES, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.norm(self.conv(x))).mean(axis=(1, 2))
    return self.head(nnx.relu(self.dense(x)))


def _built(name, shape, **options):
  return lambda: catalogue.build(name, shape, CLASSES, **options)


def _residual(name, stages, **options):
  return lambda: resnet._resnet(name, (8, 8, 1), CLASSES, stages, 3, **options)


def _inverted():
  """The blocks of a MobileNet, few of them."""
  return tiny_mobilenet.build(
    (6, 6, 1),
    CLASSES,
    stem=8,
    last=7,
    narrow=(1, 4, 1, False),
    stride=(2, 6, 2, False),
    skip=(2, 6, 1, True),
  )


def _lite():
  """The blocks of an EfficientNet-Lite, few of them, with grey images."""
  block = efficientnet._Block
  units = [
    ("stem", efficientnet._Stem(8)),
    ("narrow", block(1, 8, 3, 2, False, 0.0)),
    ("skip", block(2, 8, 5, 1, True, 0.1)),
    ("last", efficientnet._Last()),
    ("head", efficientnet._Head(CLASSES, 0.2)),
  ]
  return chain.chain("lite", units, (6, 5, 1), CLASSES)


NETWORKS = {
  "mlp": _built("mlp", (2, 3), width=5),
  "conv1d": _built("conv1d", (8, 4), width=5, depth=2),
  "residual": _residual("residual", (2, 1)),
  "bottleneck": _residual("bottleneck", (2,), bottleneck=True, large=True),
  "inverted": _inverted,
  "lite": _lite,
  "vit": _built("vit", (4, 4, 1), patch=2, width=4, heads=2, depth=1),
  "flat": lambda: linen.from_linen(_Flat(), (4, 4, 2), CLASSES),
  "attention": lambda: linen.from_linen(_Attention(), (6, 5), CLASSES),
  "nnx": lambda: nnx_networks.from_nnx(
    lambda rngs: _Nnx(rngs), (5, 5, 2), CLASSES
  ),
}
_cache: dict[str, base.Network] = {}


def build(name):
  return _cache.setdefault(name, NETWORKS[name]())


@functools.cache
def groups_of(name):
  return shrink.groups(build(name))


def arrays(network, seed=0):
  """Random parameters and statistics, which nothing else starts from."""
  generator = np.random.default_rng(seed)

  def draw(path, leaf):
    if jnp.issubdtype(leaf.dtype, jnp.integer):
      return jnp.zeros(leaf.shape, leaf.dtype)
    if "var" in jax.tree_util.keystr(path):
      return jnp.asarray(generator.uniform(0.5, 2, leaf.shape), jnp.float32)
    spread = 1 / np.sqrt(max(1, leaf.size / leaf.shape[-1]))
    drawn = spread * generator.normal(size=leaf.shape)
    return jnp.asarray(drawn, jnp.float32)

  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(draw, shapes)


def inputs(network, size=4):
  drawn = np.random.default_rng(1).normal(size=(size, *network.input_shape))
  return jnp.asarray(drawn, jnp.float32)


def some(groups, seed=0):
  """Masks that keep about half of each group."""
  generator = np.random.default_rng(seed)
  masks = {}
  for group in groups:
    masks[group] = generator.random(group.size) < 0.5
    masks[group][generator.integers(group.size)] = True
  return masks


def parts(group):
  return {(*part.path, part.axis, part.role) for part in group.parts}


def close(first, second, atol=1e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol),
    first,
    second,
  )


# Which channels belong together.


def test_groups_of_an_mlp():
  network = build("mlp")
  first, second = groups_of("mlp")
  assert (first.name, first.size) == ("dense_0/dense/kernel:1", 5)
  assert parts(first) == {
    ("dense_0", "dense", "kernel", 1, "out"),
    ("dense_0", "dense", "bias", 0, "along"),
    ("dense_1", "dense", "kernel", 0, "in"),
  }
  assert second.name == "dense_1/dense/kernel:1"
  assert shrink.groups(network, *arrays(network)) == (first, second)


def test_residual_paths_are_united():
  first, inner, *_ = groups_of("residual")
  kernels = [(p.path[0], p.path[1], p.role) for p in first.kernels]
  assert kernels == [
    ("stem", "conv", "out"),
    ("block_0", "conv_0", "in"),
    ("block_0", "conv_1", "out"),
    ("block_1", "conv_0", "in"),
    ("block_1", "conv_1", "out"),
    ("block_2", "conv_0", "in"),
    ("block_2", "conv_shortcut", "in"),
  ]
  # Two of four arrays of each of the three normalisers are parameters.
  assert len(first.parts) == 7 + 3 * 4
  assert sum(part.tree == "stats" for part in first.parts) == 6
  assert [p.path[1] for p in inner.kernels] == ["conv_0", "conv_1"]


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    # Stem and stages, each one sum, and the inside of every block.
    ("resnet18", 4 + 8),
    # Here the stem's output is projected, not added.
    ("resnet32", 3 + 15),
    ("resnet50", 1 + 4 + 2 * 16),
  ],
)
def test_number_of_groups(name, expected):
  network = catalogue.build(name, (16, 16, 3), CLASSES, filters=2)
  assert len(shrink.groups(network)) == expected


def test_depthwise_channels_go_through():
  groups = {group.name: group for group in groups_of("inverted")}
  group = groups["stride/expand/conv/kernel:3"]
  assert [(p.path[1], p.axis, p.role) for p in group.kernels] == [
    ("expand", 3, "out"),
    ("filter", 3, "through"),
    ("project", 2, "in"),
  ]


def test_layer_normalisation_and_heads_hold_channels():
  """Of a vision transformer only the MLPs' insides can go."""
  assert [group.name for group in groups_of("vit")] == [
    "block_0/mlp_0/kernel:1",
  ]


def test_flattened_channels_stay():
  assert [group.name for group in groups_of("flat")] == [
    "pooled/kernel:3",
    "dense/kernel:1",
  ]


def test_whole_attention_heads_and_parts_of_values():
  heads, values = groups_of("attention")
  assert {p.path[1] for p in heads.kernels} == {"query", "key", "value", "out"}
  assert (heads.size, values.size) == (4, 2)
  assert values.name == "attend/value/kernel:2"


@pytest.mark.parametrize(
  ("between", "expected"),
  [
    (lambda x: jnp.tanh(x) * 2, 1),
    (lambda x: x[..., None][..., 0].T.T, 1),
    (lambda x: jax.checkpoint(nn.gelu)(x), 1),
    (lambda x: jnp.concatenate([x, x]), 1),
    (lambda x: x[1:], 1),
    # From here on a position means something by itself.
    (lambda x: nn.softmax(x), 0),
    (lambda x: jnp.sort(x), 0),
    (lambda x: jnp.cumsum(x, axis=-1), 0),
    (lambda x: x[:, ::-1], 0),
    (lambda x: x[:, 1:], 0),
    (lambda x: jnp.concatenate([x, x], axis=-1), 0),
    (lambda x: jnp.pad(x, ((0, 0), (1, 0))), 0),
    (lambda x: x + jnp.arange(6.0), 0),
    (lambda x: x.reshape(-1, 2, 3).mean(axis=1), 0),
    (lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y * y, x), 0),
    (lambda x: x - x @ x.T @ x, 0),
  ],
)
def test_channels_that_stay_free_through_an_operation(between, expected):
  def apply(params, stats, x, *, training=(), key=None, taps=()):
    y = between(x @ params["a"]["kernel"])
    y = y @ params["b"]["kernel"][: y.shape[-1]]
    return base.Output(y, stats, {})

  def init(key):
    kernels = {"a": jnp.ones((4, 6)), "b": jnp.ones((12, 3))}
    return {unit: {"kernel": kernel} for unit, kernel in kernels.items()}, {}

  def narrow_init(key):
    params, stats = init(key)
    return {**params, "b": {"kernel": jnp.ones((width, 3))}}, stats

  width = jax.eval_shape(between, jnp.ones((5, 6))).shape[-1]
  network = base.Network(
    "one", ("a", "b"), (), narrow_init, apply, (4,), 3, None
  )
  assert len(shrink.groups(network)) == expected


def test_a_hand_made_network():
  first, second = shrink.groups(tiny_network.build())
  assert [p.path[0] for p in first.kernels] == ["first", "second"]
  assert [p.path[0] for p in second.kernels] == ["second", "head"]


# Which to keep.


def test_keep_by_hand():
  network = catalogue.build("mlp", (2,), 1, width=4, depth=1)
  (group,) = shrink.groups(network)
  params = {
    "dense_0": {
      "dense": {
        "kernel": jnp.array([[0.0, 0.1, -3.0, 0.0], [0.2, 0.0, 0.0, 0.0]]),
        "bias": jnp.array([9.0, 9.0, 9.0, 9.0]),
      }
    },
    "head": {
      "dense": {"kernel": jnp.array([[0.0], [0.5], [0.0], [-0.3]]), "bias": 0}
    },
  }
  np.testing.assert_allclose(
    shrink.magnitudes(group, params), [0.2, 0.5, 3, 0.3], rtol=1e-6
  )

  def kept(threshold):
    return shrink.keep((group,), params, threshold)[group].tolist()

  assert kept(0.25) == [False, True, True, True]
  assert kept(0.4) == [False, True, True, False]
  assert kept(0.5) == [False, False, True, False]  # no more than that goes
  assert kept(9.0) == [False, False, True, False]
  assert kept(0.0) == [True] * 4
  params["dense_0"]["dense"]["kernel"] *= jnp.array([0.0, 1.0, 1.0, 1.0])
  assert kept(0.0) == [False, True, True, True]
  with pytest.raises(ValueError, match="threshold is nan: give"):
    shrink.keep((group,), params, float("nan"))
  with pytest.raises(ValueError, match="threshold is -1: give"):
    shrink.keep((group,), params, -1)


def test_one_layer_of_a_sum_holds_a_channel_for_all():
  network = build("residual")
  params, _ = arrays(network)
  groups = groups_of("residual")
  params = jax.tree.map(lambda leaf: 1e-3 * leaf, params)
  kernel = params["block_1"]["conv_1"]["kernel"]
  params["block_1"]["conv_1"]["kernel"] = kernel.at[0, 0, 1, 2].set(1.0)
  masks = shrink.keep(groups, params, 0.5)
  assert masks[groups[0]].tolist() == [False, False, True]
  inside = next(g for g in groups if g.name.startswith("block_1/conv_0"))
  assert masks[inside].tolist() == [False, True, False]


def test_lasso_slices():
  assert shrink.lasso_slices(groups_of("mlp")) == (
    (("dense_0", "dense", "kernel"), 1),
    (("dense_1", "dense", "kernel"), 0),
    (("dense_1", "dense", "kernel"), 1),
    (("head", "dense", "kernel"), 0),
  )


# What is left.


@pytest.mark.parametrize("name", NETWORKS)
def test_smaller_network_is_the_one_with_zeros(name):
  network = build(name)
  masks = some(groups_of(name))
  params, stats = arrays(network)
  smaller, *small = shrink.shrink(network, params, stats, masks)
  assert program_cost.num_bytes(small) < program_cost.num_bytes((params, stats))
  shapes = {path: leaf.shape for path, leaf in channels.named(small[0])}
  assert {t.path: t.shape for t in smaller.tensors} == shapes
  assert [t.path for t in smaller.tensors] == [t.path for t in network.tensors]
  drawn = jax.eval_shape(smaller.init, jax.random.key(0))
  assert [leaf.shape for leaf in jax.tree.leaves(drawn)] == [
    leaf.shape for leaf in jax.tree.leaves(tuple(small))
  ]

  def run(network, *arrays):
    @functools.partial(jax.jit, compiler_options=QUICK)
    def both_modes(params, stats, x):
      quiet = network.apply(params, stats, x)
      return quiet, network.apply(params, stats, x, training=network.units)

    # In double precision, as batch statistics magnify what rounding does.
    with jax.enable_x64(True):
      arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), arrays)
      return both_modes(*arrays, np.asarray(inputs(network), np.float64))

  zeros = [shrink.zero(network, tree, masks) for tree in (params, stats)]
  ours, theirs = run(smaller, *small), run(network, *zeros)
  for one, other in zip(ours, theirs, strict=True):
    assert np.abs(other.logits).max() > 1e-3
    np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-9)
    close(one.stats, shrink.shrink_slots(network, other.stats, masks))


@settings(max_examples=8)
@given(
  st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
  st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
)
def test_any_channels_can_go(first, second):
  network = build("mlp")
  masks = dict(
    zip(groups_of("mlp"), map(np.array, (first, second)), strict=True)
  )
  params, stats = arrays(network)
  smaller, small, _ = shrink.shrink(network, params, stats, masks)
  zeros = shrink.zero(network, params, masks)
  x = inputs(network)
  close(smaller.apply(small, {}, x).logits, network.apply(zeros, {}, x).logits)
  kernel = small["dense_1"]["dense"]["kernel"]
  assert kernel.shape == (sum(first), sum(second))


def test_keeping_everything_changes_nothing():
  network = build("mlp")
  params, stats = arrays(network)
  masks = {g: np.ones(g.size, bool) for g in groups_of("mlp")}
  smaller, small, _ = shrink.shrink(network, params, stats, masks)
  assert tiny_network.same_bits(small, params)
  assert smaller.tensors == network.tensors


def test_shrinking_twice_is_shrinking_once():
  network = build("conv1d")
  params, stats = arrays(network)
  group, *_ = groups_of("conv1d")
  once = {group: np.array([True, False, False, True, False])}
  first = {group: np.array([True, False, True, True, False])}
  network_a, *a = shrink.shrink(network, params, stats, first)
  again, *_ = shrink.groups(network_a)
  assert again.size == 3 and again.parts == group.parts
  second = {again: np.array([True, False, True])}
  network_a, *a = shrink.shrink(network_a, *a, second)
  network_b, *b = shrink.shrink(network, params, stats, once)
  assert tiny_network.same_bits(a, b)
  assert network_a.tensors == network_b.tensors
  x = inputs(network)
  ours, theirs = network_a.apply(*a, x), network_b.apply(*b, x)
  np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_blocks_shrink_with_the_network():
  network = build("conv1d")
  params, stats = arrays(network)
  masks = some(groups_of("conv1d"))
  smaller, params, stats = shrink.shrink(network, params, stats, masks)
  x = inputs(network)
  expected = smaller.apply(params, stats, x).logits
  assert smaller.blocks is not None
  for block in smaller.blocks:
    x, _ = block.apply(
      params[block.name], stats.get(block.name, {}), x, False, None
    )
  np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_taps_and_features_stay():
  network = build("flat")
  masks = some(groups_of("flat"), seed=3)
  smaller, *small = shrink.shrink(network, *arrays(network), masks)
  assert smaller.features == network.features == "head.input"
  out = smaller.apply(*small, inputs(network), taps=("head.input", "pooled"))
  width = int(sum(masks[groups_of("flat")[1]]))
  assert out.taps["head.input"].shape == (4, width)
  assert out.taps["pooled"].shape[-1] < 4


def test_a_compiled_step_does_less():
  network = catalogue.build("conv1d", (32, 4), CLASSES, width=32, depth=2)
  groups = shrink.groups(network)
  params, stats = arrays(network)
  half = {g: np.arange(g.size) % 2 == 0 for g in groups}
  smaller, *small = shrink.shrink(network, params, stats, half)
  x = inputs(network, 16)

  def cost(network, params, stats):
    def loss(params):
      out = network.apply(params, stats, x, training=network.units)
      return jnp.square(out.logits).mean(), out.stats

    step = jax.jit(jax.grad(loss, has_aux=True))
    return program_cost.of_compiled(step.lower(params).compile())

  before, after = cost(network, params, stats), cost(smaller, *small)
  # A quarter of the second convolution, half of all else.
  assert after.flops < 0.5 * before.flops
  assert after.bytes_accessed < 0.7 * before.bytes_accessed


# Slots of optimisers, and what objectives remember.


@pytest.mark.parametrize(
  "optimizer",
  [
    optax.sgd(0.1, momentum=0.9),
    optax.adam(0.1),
    slots.per_tensor(optax.sgd(0.1, momentum=0.9)),
  ],
  ids=["sgd", "adam", "per_tensor"],
)
def test_slots_of_channels_that_stay_go_on(optimizer):
  """An update of the smaller network is that of the channels it has kept."""
  network = build("conv1d")
  params, stats = arrays(network)
  grads, _ = arrays(network, seed=2)
  masks = some(groups_of("conv1d"))
  smaller, small, _ = shrink.shrink(network, params, stats, masks)

  def cut(tree):
    return shrink.shrink_slots(network, tree, masks)

  state = optimizer.init(params)
  _, state = optimizer.update(grads, state, params)
  updates, after = optimizer.update(grads, state, params)
  ours, ours_after = optimizer.update(cut(grads), cut(state), small)
  close(ours, cut(updates), atol=1e-7)
  close(ours_after, cut(after), atol=1e-7)
  shapes = [leaf.shape for leaf in jax.tree.leaves(ours)]
  assert shapes == [leaf.shape for leaf in jax.tree.leaves(small)]
  assert shapes != [leaf.shape for leaf in jax.tree.leaves(params)]


def test_slots_of_a_selection_and_of_strangers():
  network = build("mlp")
  group, _ = groups_of("mlp")
  masks = {group: np.array([True, False, True, False, False])}
  tree = {
    "count": jnp.int32(3),
    "trace": {"dense_0": {"dense": {"kernel": None, "bias": jnp.arange(5.0)}}},
    "other": jnp.ones(5),
    "fisher": {"head": {"dense": {"bias": jnp.ones(CLASSES)}}},
  }
  cut = shrink.shrink_slots(network, tree, masks)
  bias = cut["trace"]["dense_0"]["dense"].pop("bias")
  np.testing.assert_array_equal(bias, [0, 2])
  assert cut["trace"] == {"dense_0": {"dense": {"kernel": None}}}
  assert (cut["count"], cut["other"].shape) == (3, (5,))
  assert cut["fisher"]["head"]["dense"]["bias"].shape == (CLASSES,)

  rows = {"dense_0/dense/kernel": jnp.ones(6)}
  with pytest.raises(ValueError, match=r"dense_0/dense/kernel .*\(6,\), not"):
    shrink.shrink_slots(network, rows, masks)


# Refusals.


@pytest.mark.parametrize(
  ("mask", "message"),
  [
    (np.ones(4, bool), r"dense_0.*bool of shape \(4,\): give .*\(5,\)"),
    (np.ones(5), "float64"),
    (np.zeros(5, bool), "leaves no channel"),
  ],
)
def test_masks_that_do_not_fit(mask, message):
  network = build("mlp")
  group, _ = groups_of("mlp")
  with pytest.raises(ValueError, match=message):
    shrink.narrow(network, {group: mask})


def test_groups_of_another_network():
  masks = some(groups_of("conv1d"))
  with pytest.raises(ValueError, match="mlp has no conv_0/conv/kernel with 5"):
    shrink.narrow(build("mlp"), masks)


def test_networks_that_decide_by_width():
  network = linen.from_linen(_ByWidth(), (4,), CLASSES)
  first, second = shrink.groups(network)
  five = np.arange(6) < 5
  with pytest.raises(ValueError, match="takes another path"):
    shrink.narrow(network, {first: five})
  four = {first: np.arange(6) < 4, second: np.arange(5) < 3}
  assert shrink.narrow(network, four).tensors[0].shape == (4, 4)


def test_networks_that_know_their_width():
  network = linen.from_linen(_ByNumber(), (4,), CLASSES)
  (group,) = shrink.groups(network)
  with pytest.raises(ValueError, match="does not run with fewer channels"):
    shrink.narrow(network, {group: np.arange(6) < 4})


@pytest.mark.parametrize(
  "error", [ValueError, TypeError, flax_errors.FlaxError]
)
def test_a_network_that_does_not_run_with_less_is_told(error, monkeypatch):
  network = catalogue.build("mlp", (4,), 3, width=6)
  params, stats = network.init(jax.random.key(0))
  masks = {group: np.arange(6) < 4 for group in shrink.groups(network)}
  groups, smaller = shrink.groups, []

  def fail(found):
    if found is network:
      return groups(found)
    smaller.append(found)
    raise error("no width")

  monkeypatch.setattr(shrink, "groups", fail)
  with pytest.raises(ValueError, match="does not run with fewer channels"):
    shrink.shrink(network, params, stats, masks)
  assert smaller


def test_parts_of_a_group():
  first, _ = groups_of("mlp")
  assert first.written == channels.Part(
    "params", ("dense_0", "dense", "kernel"), 1, "out"
  )
  assert [part.role for part in first.parts] == ["along", "out", "in"] or [
    part.role for part in first.parts
  ] == ["out", "along", "in"]
  assert [part.role for part in first.kernels] == ["out", "in"]
  tree = {"b": {"x": 1}, "a": [2, 3]}
  assert channels.named(tree) == [
    (("a", "0"), 2),
    (("a", "1"), 3),
    (("b", "x"), 1),
  ]


def test_a_single_channel_is_no_group():
  network = catalogue.build("mlp", (2,), CLASSES, width=1, depth=1)
  assert shrink.groups(network) == ()
  network = catalogue.build("mlp", (2,), CLASSES, width=2, depth=1)
  (group,) = shrink.groups(network)
  assert group.size == 2
  mask = {group: np.array([False, True])}
  smaller, *_ = shrink.shrink(network, *arrays(network), mask)
  assert shrink.groups(smaller) == ()


def test_thresholds_at_their_bounds():
  network = catalogue.build("mlp", (1,), 1, width=2, depth=1)
  (group,) = shrink.groups(network)
  params = jax.tree.map(jnp.ones_like, network.init(jax.random.key(0))[0])
  assert shrink.keep((group,), params, 1.0)[group].tolist() == [True, False]
  assert shrink.keep((group,), params, 0.5)[group].tolist() == [True, True]
  zeros = jax.tree.map(jnp.zeros_like, params)
  assert shrink.keep((group,), zeros, 0)[group].tolist() == [True, False]
  with pytest.raises(ValueError, match="threshold is nan"):
    shrink.keep((group,), params, float("nan"))


def test_owners_of_leaves():
  known = {("a",): 1, ("a", "b"): 2, ("b", "c", "d"): 3}
  owner = shrink._owner
  assert owner(("a",), known) == ("a",)
  assert owner(("x", "a", "b"), known) == ("a", "b")
  assert owner(("x", "a/b", "y"), known) == ("a", "b")
  assert owner(("a", "b", "c", "d"), known) == ("b", "c", "d")
  assert owner(("b", "c"), known) is None and owner((), known) is None


def test_zeros_of_one_axis():
  network = build("mlp")
  _, second = groups_of("mlp")
  params, _ = arrays(network)
  mask = np.array([True, False, True, True, False])
  found = shrink.zero(network, params, {second: mask})
  kernel = np.asarray(params["dense_1"]["dense"]["kernel"])
  np.testing.assert_array_equal(
    found["dense_1"]["dense"]["kernel"], kernel * mask
  )
  head = np.asarray(params["head"]["dense"]["kernel"])
  np.testing.assert_array_equal(
    found["head"]["dense"]["kernel"], head * mask[:, None]
  )
  np.testing.assert_array_equal(
    found["dense_0"]["dense"]["kernel"], params["dense_0"]["dense"]["kernel"]
  )
