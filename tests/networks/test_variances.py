"""Running variances as PyTorch keeps them."""

import types

from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.networks import chain, layers, linen, precision, variances
from jcl.networks import nnx as nnx_networks
from jcl.recipes import build
from jcl.run import session
from jcl.streams import scenarios, sources


class Norm(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    x = layers.norm(training, "norm")(x)
    return x.reshape(len(x), -1)


def tiny(shape):
  units = [("norm", Norm()), ("head", layers.Head(2))]
  return chain.chain("tiny", units, shape, 2)


def moved(network, x, training=None, **options):
  """Output and statistics of the first unit, before and after."""
  params, stats = network.init(jax.random.key(0))
  training = network.units if training is None else training
  out = network.apply(params, stats, x, training=training, **options)
  return out, stats


def test_by_hand():
  network = variances.unbiased(tiny((1, 2, 1)))
  x = jnp.array([0.0, 0.0, 0.0, 4.0]).reshape(2, 1, 2, 1)
  out, _ = moved(network, x)
  now = out.stats["norm"]["batch_stats"]["norm"]
  np.testing.assert_allclose(now["mean"], [0.9 * 0 + 0.1 * 1], rtol=1e-6)
  # The four values vary by 3 about their mean; times 4/3, by 4.
  np.testing.assert_allclose(now["var"], [0.9 * 1 + 0.1 * 4], rtol=1e-6)


@pytest.mark.parametrize(
  ("batch", "expected"), [(1, 0.9), (2, 0.9 + 0.1 * 2), (3, 0.9 + 0.1 * 4 / 3)]
)
def test_few_values(batch, expected):
  """One value varies by nothing; 0 and 2 by 1 times 2/1; a third, at 2."""
  network = variances.unbiased(tiny((1,)))
  out, _ = moved(network, jnp.array([[0.0], [2.0], [2.0]])[:batch])
  now = out.stats["norm"]["batch_stats"]["norm"]["var"]
  np.testing.assert_allclose(now, [expected], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 4, 3), (4, 3), (6,)])
def test_the_rule_of_pytorch(shape):
  """new = (1 - momentum) old + momentum var(x, unbiased), by channel."""
  network = variances.unbiased(tiny(shape))
  x = np.asarray(jax.random.normal(jax.random.key(1), (7, *shape))) * 3 + 1
  out, before = moved(network, x)
  params, stats = network.init(jax.random.key(0))
  twice = network.apply(params, out.stats, x, training=network.units).stats
  axes = tuple(range(x.ndim - 1))
  expected = np.ones(shape[-1])
  for stats in (out.stats, twice):
    expected = 0.9 * expected + 0.1 * x.astype(float).var(axes, ddof=1)
    now = stats["norm"]["batch_stats"]["norm"]["var"]
    np.testing.assert_allclose(now, expected, rtol=1e-5)


def test_nothing_else_changes():
  plain = tiny((2, 2, 3))
  network = variances.unbiased(plain)
  x = jax.random.normal(jax.random.key(1), (4, 2, 2, 3))
  (one, before), (other, _) = moved(plain, x), moved(network, x)
  np.testing.assert_array_equal(one.logits, other.logits)
  means = [
    out.stats["norm"]["batch_stats"]["norm"]["mean"] for out in (one, other)
  ]
  np.testing.assert_array_equal(*means)
  still, before = moved(network, x, training=("head",))
  assert jax.tree.all(jax.tree.map(np.array_equal, still.stats, before))


def variance(out):
  (found,) = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(out.stats)
    if path[-1].key == "var"
  ]
  return found


def test_twice_is_as_good_as_once():
  network = variances.unbiased(tiny((2, 2, 3)))
  again = precision.with_precision(variances.unbiased(network), "float32")
  x = jax.random.normal(jax.random.key(1), (2, 2, 2, 3))
  one, other = moved(network, x)[0], moved(again, x)[0]
  np.testing.assert_array_equal(variance(one), variance(other))


def test_blocks_by_themselves():
  network = variances.unbiased(tiny((2, 2, 3)))
  x = jax.random.normal(jax.random.key(1), (2, 2, 2, 3))
  out, before = moved(network, x)
  params = network.init(jax.random.key(0))[0]["norm"]
  _, stats = network.blocks[0].apply(params, before["norm"], x, True, None)
  now = stats["batch_stats"]["norm"]["var"]
  np.testing.assert_array_equal(now, variance(out))


class Masked(nn.Module):
  """Two calls of one normaliser, the second of some values only."""

  @nn.compact
  def __call__(self, x, train):
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.5)
    shown = jnp.arange(x.shape[0])[:, None] < 3
    return nn.Dense(2)(norm(x) * 0 + norm(x, mask=shown))


class ByColumn(nnx.Module):
  """Channels ahead, as in PyTorch, and a normaliser deep inside."""

  def __init__(self, rngs):
    self.deep = nnx.List([nnx.BatchNorm(2, axis=1, momentum=0.75, rngs=rngs)])
    self.norm = nnx.BatchNorm(3, rngs=rngs, use_running_average=True)
    self.head = nnx.Linear(6, 2, rngs=rngs)

  def __call__(self, x):
    x = self.deep[0](x)
    return self.head(self.norm(x).reshape(len(x), -1))


def test_users_linen_modules():
  network = variances.unbiased(linen.from_linen(Masked(), (2,), 2))
  x = np.array([[0, 1], [2, 1], [4, 1], [9, 1]], np.float32)
  once = 0.5 * 1 + 0.5 * x[:, 0].var(ddof=1)
  expected = [0.5 * once + 0.5 * 4, 0.25]
  np.testing.assert_allclose(variance(moved(network, x)[0]), expected, 1e-6)


def test_users_nnx_modules():
  plain = nnx_networks.from_nnx(lambda rngs: ByColumn(rngs), (2, 3), 2)
  network = variances.unbiased(plain)
  x = np.arange(24, dtype=np.float32).reshape(4, 2, 3) ** 2
  one, other = moved(plain, x)[0], moved(network, x)[0]
  np.testing.assert_array_equal(one.logits, other.logits)
  deep = [o.stats["deep"]["0"]["var"] for o in (one, other)]
  for ddof, found in enumerate(deep):
    expected = 0.75 + 0.25 * x.astype(float).var((0, 2), ddof=ddof)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  # The other one, of three channels last, averages eight values of each.
  first, second = (o.stats["norm"]["var"] for o in (one, other))
  np.testing.assert_allclose(second - 0.99, (first - 0.99) * 8 / 7, rtol=1e-3)


class Own(nn.Module):
  """A normaliser of one's own."""

  @nn.compact
  def __call__(self, x, train):
    kept = self.variable("stats", "variance", jnp.ones, x.shape[-1])
    if train and not self.is_initializing():
      kept.value = 0.9 * kept.value + 0.1 * x.var(0)
    return nn.Dense(2)(layers.norm(train, "norm")(x) / kept.value)


def test_other_normalisers_are_refused():
  network = linen.from_linen(Own(), (2,), 2)
  with pytest.raises(ValueError, match="'Own' keeps 2 .* but 1 layers"):
    variances.unbiased(network)


def learned(recipe, network):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8, 1, 2, 3)).astype(np.float32)
  source = sources.arrays(x, np.arange(8) % 2)
  stream = scenarios.class_incremental(source, tasks=1)
  done = session.learn(stream, network, build(recipe), epochs=1, batch_size=8)
  return done.state.train.stats["norm"]["batch_stats"]["norm"]["var"]


@pytest.mark.parametrize(
  "recipe", ["lightcl:anchors=2,freeze=0,published=True", "finetune:"]
)
def test_training(recipe):
  wanted = "" if "published" in recipe else "variance=unbiased"
  found = learned(recipe + wanted, tiny((1, 2, 3)))
  plain = learned(
    f"{recipe},variance=biased".replace(":,", ":"), tiny((1, 2, 3))
  )
  # LightCL looks at the batch once more, to choose what it holds.
  kept = 0.9**2 if "lightcl" in recipe else 0.9
  assert (found != plain).all()
  np.testing.assert_allclose(found - kept, (plain - kept) * 16 / 15, rtol=1e-4)


@pytest.mark.parametrize(
  ("module", "method"),
  [
    (types.SimpleNamespace(has_variable=lambda *at: True), "__call__"),
    (nn.BatchNorm(use_running_average=False), "setup"),
  ],
)
def test_only_calls_of_batch_normalisation_are_corrected(module, method):
  context = types.SimpleNamespace(module=module, method_name=method)
  found = variances._in_linen(lambda *args: args, (1, 2), {}, context)
  assert found == (1, 2)
