"""Chains of Linen modules: units, modes, taps, keys and errors."""

from flax import linen as nn
import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from jcl.networks import chain


class Layer(nn.Module):
  features: int
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, training):
    x = nn.Dense(self.features)(x.reshape(len(x), -1))
    x = nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)
    return nn.Dropout(self.dropout, deterministic=not training)(nn.relu(x))


class Flatten(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    return x.reshape(len(x), -1)


class Head(nn.Module):
  features: int = 3

  @nn.compact
  def __call__(self, x, training):
    return nn.Dense(self.features)(x)


def layers(dropout=0.0):
  return [
    ("last_name", Layer(4, dropout)),
    ("flat", Flatten()),
    ("first_name", Layer(5, dropout)),
    ("head", Head()),
  ]


NET = chain.chain("net", layers(), (2, 3), 3)
NOISY = chain.chain("noisy", layers(0.5), (2, 3), 3)
PARAMS, STATS = jax.jit(NET.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (6, 2, 3))


def moved(before, after):
  return {
    unit
    for unit in before
    if any(
      bool((a != b).any())
      for a, b in zip(
        jax.tree.leaves(before[unit]), jax.tree.leaves(after[unit]), strict=True
      )
    )
  }


def test_units_without_arrays_have_no_key():
  assert NET.units == ("last_name", "flat", "first_name", "head")
  assert set(PARAMS) == {"last_name", "first_name", "head"}
  assert set(STATS) == {"last_name", "first_name"}
  assert NET.features == "first_name"
  assert {t.path for t in NET.tensors} == {
    tuple(str(key.key) for key in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(PARAMS)
  }


def test_init_is_a_pure_function_of_its_key():
  compiled = jax.jit(NET.init)(jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, compiled, (PARAMS, STATS))
  other, _ = NET.init(jax.random.key(1))
  kernel = PARAMS["head"]["Dense_0"]["kernel"]
  assert (other["head"]["Dense_0"]["kernel"] != kernel).any()


@hypothesis.settings(max_examples=8)
@hypothesis.given(st.sets(st.sampled_from(NET.units)))
def test_statistics_move_only_in_units_that_train(training):
  out = NET.apply(PARAMS, STATS, X, training=tuple(training))
  assert moved(STATS, out.stats) == training & set(STATS)
  assert jax.tree.structure(out.stats) == jax.tree.structure(STATS)


def test_batch_statistics_by_hand():
  out = NET.apply(PARAMS, STATS, X, training=("last_name",))
  dense = PARAMS["last_name"]["Dense_0"]
  mean = (X.reshape(6, -1) @ dense["kernel"] + dense["bias"]).mean(0)
  stats = out.stats["last_name"]["batch_stats"]["BatchNorm_0"]
  np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)


def test_taps_with_and_without_jit():
  plain = NET.apply(PARAMS, STATS, X, taps=("flat", "first_name"))
  apply = jax.jit(lambda p, s, x: NET.apply(p, s, x, taps=("first_name",)))
  compiled = apply(PARAMS, STATS, X)
  assert set(plain.taps) == {"flat", "first_name"}
  features = compiled.taps["first_name"]
  np.testing.assert_allclose(features, plain.taps["first_name"], rtol=1e-5)
  dense = PARAMS["head"]["Dense_0"]
  np.testing.assert_allclose(
    features @ dense["kernel"] + dense["bias"], compiled.logits, rtol=1e-4
  )


@pytest.mark.parametrize("training", [(), ("first_name",), NOISY.units])
def test_blocks_by_hand_equal_apply(training):
  key = jax.random.key(3)
  params, stats = NOISY.init(jax.random.key(0))
  x, collected = X, {}
  for index, block in enumerate(NOISY.blocks):
    x, updated = block.apply(
      params.get(block.name, {}),
      stats.get(block.name, {}),
      x,
      block.name in training,
      jax.random.fold_in(key, index),
    )
    if updated:
      collected[block.name] = updated
  out = NOISY.apply(params, stats, X, training=training, key=key)
  np.testing.assert_array_equal(out.logits, x)
  jax.tree.map(np.testing.assert_array_equal, out.stats, collected)


def test_dropout_follows_the_key_and_the_unit():
  def tapped(training, seed):
    out = NOISY.apply(
      PARAMS,
      STATS,
      X,
      training=training,
      key=jax.random.key(seed),
      taps=("last_name", "first_name"),
    )
    return out.taps

  first = tapped(("first_name",), 0)
  again, other = tapped(("first_name",), 0), tapped(("first_name",), 1)
  np.testing.assert_array_equal(first["first_name"], again["first_name"])
  assert (first["first_name"] != other["first_name"]).any()
  np.testing.assert_array_equal(first["last_name"], other["last_name"])


def test_gradients_reach_every_tensor():
  def loss(params):
    return (NET.apply(params, STATS, X, training=NET.units).logits ** 2).sum()

  grads = jax.jit(jax.grad(loss))(PARAMS)
  for unit in ("last_name", "first_name", "head"):
    assert all(
      (leaf != 0).any()
      for leaf in jax.tree.leaves(grads[unit]["Dense_0"])
      if leaf.ndim > 1
    )


@pytest.mark.parametrize(
  "option, what", [("training", "unit"), ("taps", "tap")]
)
def test_unknown_units(option, what):
  with pytest.raises(
    ValueError, match=f"no {what} 'haed'; choose among last_name"
  ):
    NET.apply(PARAMS, STATS, X, **{option: ("haed",)})


def test_a_part_of_the_chain():
  whole = NET.apply(PARAMS, STATS, X, taps=NET.units)
  for before, unit in zip(NET.units, NET.units[1:], strict=False):
    part = NET.apply(PARAMS, STATS, whole.taps[before], start=unit)
    np.testing.assert_array_equal(part.logits, whole.logits)
  with pytest.raises(ValueError, match="no unit 'haed'"):
    NET.apply(PARAMS, STATS, X, start="haed")


def test_repeated_unit_names():
  with pytest.raises(ValueError, match="unit names must differ"):
    chain.chain("net", [("a", Flatten()), ("a", Head())], (3,), 3)
  with pytest.raises(ValueError, match="unit names must differ"):
    chain.chain("net", [], (3,), 3)


def test_features_must_be_flat():
  class Same(nn.Module):
    @nn.compact
    def __call__(self, x, training):
      return x

  with pytest.raises(ValueError, match="'same' feeds the head .* flatten"):
    chain.chain("net", [("same", Same()), ("head", Head())], (2, 2), 3)

  class Sum(nn.Module):
    @nn.compact
    def __call__(self, x, training):
      return x.sum(axis=1)

  with pytest.raises(ValueError, match=r"'sum' feeds the head .* shape \(2,\)"):
    chain.chain("net", [("sum", Sum()), ("head", Head())], (2,), 3)


def test_a_head_alone_may_read_images_and_sow():
  class Sown(nn.Module):
    @nn.compact
    def __call__(self, x, training):
      for times in (1, 2):
        self.sow("intermediates", "again", times * x)
      return x.reshape(len(x), -1)

  network = chain.chain("alone", [("all", Sown())], (2, 3), 6)
  assert network.features is None and network.places == ("all/again",)
  out = network.apply({}, {}, X, taps=("all/again",))
  np.testing.assert_array_equal(out.taps["all/again"], 2 * X)  # the last one


def test_wrong_width():
  units = [("flat", Flatten()), ("head", Head(5))]
  with pytest.raises(
    ValueError, match="give its last layer 3 outputs, or pass num_classes=5"
  ):
    chain.chain("net", units, (4,), 3)


def test_units_return_one_array():
  class Pair(nn.Module):
    @nn.compact
    def __call__(self, x, training):
      return x, x

  with pytest.raises(ValueError, match="unit 'pair' must return one array"):
    chain.chain("net", [("pair", Pair()), ("head", Head())], (4,), 3)


@pytest.mark.parametrize("shape", [(), (0, 3), (2.5,)])
def test_sizes(shape):
  with pytest.raises(
    ValueError, match="shape of one example without the batch"
  ):
    chain.chain("net", [("head", Head())], shape, 3)
  with pytest.raises(
    ValueError, match="num_classes must be a whole number >= 1, got 0"
  ):
    chain.chain("net", [("head", Head())], (4,), 0)
