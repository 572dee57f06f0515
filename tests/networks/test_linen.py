"""Users' Linen modules, as they come."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.networks import check, linen


class Block(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(self.features)(x)
    return nn.relu(nn.BatchNorm(use_running_average=not train)(x))


class Net(nn.Module):
  """Normalisers, dropout, a sown loss and a counter of its own."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = Block(4, name="second_by_name")(x, train)
    x = Block(5, name="block")(x, train)
    self.sow("losses", "size", (x**2).mean())
    calls = self.variable("counters", "calls", lambda: jnp.int32(0))
    if train:
      calls.value += 1
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(3, name="a_head")(x)


NET = linen.from_linen(Net(), (6,), 3)
PARAMS, STATS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (8, 6))
KEY = jax.random.key(2)


def same(first, second):
  return all(
    bool((a == b).all())
    for a, b in zip(
      jax.tree.leaves(first), jax.tree.leaves(second), strict=True
    )
  )


def test_structure():
  assert NET.name == "Net"
  assert NET.units == ("second_by_name", "block", "a_head")
  assert NET.blocks is None
  assert set(STATS) == {"second_by_name", "block", "calls"}
  assert {t.kind for t in NET.tensors} == {"kernel", "bias", "scale", "shift"}


def test_evaluation_is_the_modules_own():
  variables = Net().init(jax.random.key(0), X)
  own = Net().apply(
    {k: variables[k] for k in ("params", "batch_stats")},
    X,
    mutable=["counters"],
  )[0]
  out = NET.apply(PARAMS, STATS, X)
  np.testing.assert_allclose(out.logits, own, rtol=1e-5)
  assert same(out.stats, STATS)


def test_statistics_move_in_units_that_train_only():
  apply = jax.jit(
    lambda p, s, x, key: NET.apply(p, s, x, training=("block",), key=key)
  )
  out = apply(PARAMS, STATS, X, KEY)
  assert same(out.stats["second_by_name"], STATS["second_by_name"])
  assert not same(out.stats["block"], STATS["block"])
  assert out.stats["calls"]["counters"] == 1  # belongs to no unit
  assert jax.tree.structure(out.stats) == jax.tree.structure(STATS)


def test_dropout_follows_the_key():
  def logits(key):
    return NET.apply(PARAMS, STATS, X, training=("a_head",), key=key).logits

  assert same(logits(KEY), logits(KEY))
  assert not same(logits(KEY), logits(jax.random.key(5)))


def test_taps_and_features():
  assert NET.features == "a_head.input"
  taps = ("second_by_name", "block", "block.input", "a_head.input")
  out = NET.apply(PARAMS, STATS, X, taps=taps)
  assert same(out.taps["block.input"], out.taps["second_by_name"])
  assert same(out.taps["a_head.input"], out.taps["block"])
  head = PARAMS["a_head"]
  np.testing.assert_allclose(
    out.taps["a_head.input"] @ head["kernel"] + head["bias"],
    out.logits,
    rtol=1e-4,
    atol=1e-6,
  )


def test_taps_through_remat():
  class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.remat(nn.Dense)(4, name="checkpointed")(x)
      return nn.Dense(3, name="head")(x)

  network = linen.from_linen(Outer(), (6,), 3)
  params, stats = network.init(KEY)

  def loss(params):
    taps = ("checkpointed",)
    return network.apply(params, stats, X, taps=taps).taps["checkpointed"].sum()

  assert network.units == ("checkpointed", "head")
  grads = jax.jit(jax.grad(loss))(params)
  np.testing.assert_allclose(
    grads["checkpointed"]["bias"], np.full(4, 8.0), rtol=1e-6
  )


def test_features_by_name():
  network = linen.from_linen(Net(), (6,), 3, name="mine", features="block")
  assert (network.name, network.features) == ("mine", "block")
  with pytest.raises(ValueError, match="no submodule 'blok'; choose among"):
    linen.from_linen(Net(), (6,), 3, features="blok")


def test_images_leave_no_features_where_the_head_pools():
  class Pooling(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Conv(3, (3, 3))(x).mean(axis=(1, 2))

  assert linen.from_linen(Pooling(), (4, 4, 1), 3).features is None


class IsTraining(nn.Module):
  @nn.compact
  def __call__(self, x, is_training):
    return nn.Dense(3)(x) + is_training


class Deterministic(nn.Module):
  @nn.compact
  def __call__(self, x, *, deterministic):
    return nn.Dense(3)(x) + 1 - deterministic


class RunningAverage(nn.Module):
  @nn.compact
  def __call__(self, x, use_running_average):
    return nn.Dense(3)(x) + 1 - use_running_average


class Learning(nn.Module):
  @nn.compact
  def __call__(self, x, learning=False):
    return nn.Dense(3)(x) + learning


@pytest.mark.parametrize(
  ("module", "argument"),
  [
    (IsTraining(), None),
    (Deterministic(), None),
    (RunningAverage(), None),
    (Learning(), "learning"),
  ],
)
def test_mode_arguments(module, argument):
  """The modules add one in training."""
  network = linen.from_linen(module, (6,), 3, training_argument=argument)
  params, stats = network.init(KEY)
  still = network.apply(params, stats, X).logits
  moving = network.apply(params, stats, X, training=("Dense_0",)).logits
  np.testing.assert_allclose(moving, still + 1, rtol=1e-5)


def test_scanned_layers_are_one_array_each():
  class Cell(nn.Module):
    @nn.compact
    def __call__(self, x, _):
      return nn.relu(nn.Dense(6)(x)), None

  class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
      stack = nn.scan(
        Cell,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=3,
      )
      x, _ = stack(name="stack")(x, None)
      return nn.Dense(3, name="head")(x)

  network = linen.from_linen(Deep(), (6,), 3)
  assert [(t.path, t.shape) for t in network.tensors[:2]] == [
    (("stack", "Dense_0", "kernel"), (3, 6, 6)),
    (("stack", "Dense_0", "bias"), (3, 6)),
  ]
  assert network.units == ("stack", "head")
  params, stats = network.init(KEY)
  assert network.apply(params, stats, X, taps=("head.input",)).logits.shape == (
    8,
    3,
  )


def test_gradients_reach_every_unit():
  def loss(params):
    out = NET.apply(params, STATS, X, training=NET.units, key=KEY)
    return (out.logits**2).sum()

  grads = jax.jit(jax.grad(loss))(PARAMS)
  for unit in NET.units:
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(grads[unit]))


def test_wrong_width():
  with pytest.raises(ValueError, match="give its last layer 7 outputs"):
    linen.from_linen(Net(), (6,), 7)


def test_tuples():
  class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(3)(x), x

  with pytest.raises(ValueError, match="Pair returns a tuple.*logits alone"):
    linen.from_linen(Pair(), (6,), 3)


def test_wrong_training_argument():
  with pytest.raises(ValueError, match="no argument 'mode'.* one of x, train"):
    linen.from_linen(Net(), (6,), 3, training_argument="mode")


def test_no_parameters():
  class Nothing(nn.Module):
    def __call__(self, x):
      return x[:, :3]

  with pytest.raises(ValueError, match="Nothing has no parameters"):
    linen.from_linen(Nothing(), (6,), 3)


@pytest.mark.parametrize(
  ("option", "message"),
  [({"training": ("x",)}, "no unit 'x'"), ({"taps": ("x",)}, "no tap 'x'")],
)
def test_unknown_names(option, message):
  with pytest.raises(ValueError, match=message):
    NET.apply(PARAMS, STATS, X, **option)


def test_checks_of_networks_at_their_bounds():
  check.sizes("net", (1,), 1)
  for shape, classes in (((), 1), ((0,), 1), ((2, 1.5), 1), ((1,), 0)):
    with pytest.raises(ValueError, match="net: "):
      check.sizes("net", shape, classes)
  check.at_least("net", 2, width=2, depth=np.int32(3))
  for value in (1, 2.5, "3"):
    with pytest.raises(ValueError, match="depth must be a whole number >= 2"):
      check.at_least("net", 2, width=2, depth=value)
  check.image("net", (1, 2, 3))
  check.series("net", (1, 2))
  for shape in ((1,), (1, 2, 3, 4)):
    for kind in (check.image, check.series):
      with pytest.raises(ValueError, match="net reads"):
        kind("net", shape)
  check.logits("net", np.zeros((2, 3)), 3)
  for output, message in (
    (np.zeros((2, 4)), "pass num_classes=4$"),
    (np.zeros((2, 4, 3)), r"shape \(batch, \*\(4, 3\)\) but num_classes is 3;"),
    (np.zeros(3), "pass num_classes=<its width>"),
    ((np.zeros((2, 3)),), "returns a tuple"),
  ):
    with pytest.raises(ValueError, match=message):
      check.logits("net", output, 3)
  check.known("net", "unit", ("a",), ("a", "b"))
  with pytest.raises(ValueError, match="no unit 'c', 'd'; choose among a, b"):
    check.known("net", "unit", ("a", "c", "d"), ("a", "b"))
  with pytest.raises(ValueError, match="choose among none"):
    check.known("net", "unit", ("a",), ())
