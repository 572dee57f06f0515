"""Networks that compute in MX formats."""

from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl import recipes
from jcl.networks import catalogue, linen, shrink
from jcl.networks import nnx as nnx_networks
from jcl.networks.mx import layers

# Machine code that is slower and takes less time to make.
QUICK = {"xla_backend_optimization_level": 0}
PLAIN = catalogue.build("conv1d", (8, 3), 4, width=4, depth=2)
PARAMS, STATS = jax.jit(PLAIN.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (5, 8, 3))


def logits(network, params=PARAMS, stats=STATS, x=X, **options):
  def run(params, stats, x):
    return network.apply(params, stats, x, **options).logits

  program = jax.jit(run).lower(params, stats, x)
  return np.asarray(program.compile(compiler_options=QUICK)(params, stats, x))


def gradient(network, training):
  def loss(params):
    out = network.apply(params, STATS, X, training=training)
    return jnp.square(out.logits).sum()

  program = jax.jit(jax.grad(loss)).lower(PARAMS)
  return program.compile(compiler_options=QUICK)(PARAMS)


def test_wide_mantissas_train_as_float32_does():
  wide = layers.policy(PLAIN, fmt_infer=23, fmt_train=23)
  np.testing.assert_allclose(logits(wide), logits(PLAIN), atol=1e-5)
  for ours, plain in zip(
    jax.tree.leaves(gradient(wide, wide.units)),
    jax.tree.leaves(gradient(PLAIN, PLAIN.units)),
    strict=True,
  ):
    np.testing.assert_allclose(ours, plain, atol=1e-5 * abs(plain).max())


def test_units_that_train_have_a_format_of_their_own():
  mixed = layers.policy(PLAIN, fmt_infer="mx4", fmt_train=23)
  coarse = layers.policy(PLAIN, fmt_infer="mx4", fmt_train="mx4")
  fine = PLAIN.units
  np.testing.assert_array_equal(logits(mixed), logits(coarse))
  np.testing.assert_allclose(
    logits(mixed, training=fine), logits(PLAIN, training=fine), atol=1e-5
  )
  head = logits(mixed, training=("head",))
  assert (head != logits(mixed)).any() and (head != logits(PLAIN)).any()


def test_blocks_by_hand_equal_apply():
  mixed = layers.policy(PLAIN, fmt_infer="mx4", fmt_train="mx9")
  training = ("head",)

  @jax.jit
  def by_hand(x):
    for block in mixed.blocks:
      arrays = PARAMS[block.name], STATS.get(block.name, {})
      x, _ = block.apply(*arrays, x, block.name in training, None)
    return x

  np.testing.assert_array_equal(by_hand(X), logits(mixed, training=training))


class _Attention(nn.Module):
  """Dense layers, some of them by attention, and one in groups."""

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(6, (3,), feature_group_count=3, name="grouped")(x)
    x = nn.MultiHeadDotProductAttention(2, name="attend")(x)
    return nn.Dense(4, name="head")(x.mean(axis=1))


def test_any_linen_module_will_do():
  plain = linen.from_linen(_Attention(), (8, 3), 4)
  arrays = plain.init(jax.random.key(0))
  wide = layers.policy(plain, fmt_infer=23, fmt_train="mx4")
  expected = logits(plain, *arrays)
  np.testing.assert_allclose(logits(wide, *arrays), expected, atol=1e-5)
  grouped = logits(wide, *arrays, training=("grouped",))
  np.testing.assert_allclose(grouped, expected, atol=1e-5)
  attended = logits(wide, *arrays, training=("attend",))
  assert abs(attended - expected).max() > 1e-3


def test_channels_can_go():
  groups = shrink.groups(PLAIN)
  masks = {group: np.arange(group.size) != 1 for group in groups}
  mixed = layers.policy(PLAIN, fmt_infer=23)
  small, params, stats = shrink.shrink(mixed, PARAMS, STATS, masks)
  reference, _, _ = shrink.shrink(PLAIN, PARAMS, STATS, masks)
  expected = logits(reference, params, stats)
  np.testing.assert_allclose(logits(small, params, stats), expected, atol=1e-5)
  later = layers.policy(reference, fmt_infer=23)
  np.testing.assert_allclose(logits(later, params, stats), expected, atol=1e-5)


def test_stochastic_rounding_draws_from_the_network_s_key():
  network = layers.policy(PLAIN, fmt_train="mx4", rounding="stochastic")
  units = network.units

  def run(key):
    out = network.apply(PARAMS, STATS, X, training=units, key=key)
    return out.logits

  keys = [jax.random.key(seed) for seed in (0, 0, 1)]
  program = jax.jit(run).lower(keys[0]).compile(compiler_options=QUICK)
  one, again, other = map(program, keys)
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()
  np.testing.assert_array_equal(logits(network), logits(layers.policy(PLAIN)))
  with pytest.raises(ValueError, match="give the network a key"):
    logits(network, training=units)


def test_a_run_learns_in_mx9(learn, network):
  plain = learn(recipes.er(buffer=50))
  ours = learn(recipes.er(buffer=50), network=layers.policy(network))
  accuracy = [
    np.mean(result.records[-1].accuracy_task) for result in (plain, ours)
  ]
  assert accuracy[0] > 0.6
  assert abs(accuracy[1] - accuracy[0]) < 0.1


@pytest.mark.parametrize(
  "options, message",
  [
    ({"fmt_infer": "fp8"}, "fmt='fp8'"),
    ({"fmt_train": 1}, "fmt=1"),
    ({"rounding": "up"}, "rounding='up': choose from rne"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    layers.policy(PLAIN, **options)


def test_networks_without_linen_s_layers():
  class Linear(nnx.Module):
    def __init__(self, rngs):
      self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
      return self.head(x)

  network = nnx_networks.from_nnx(lambda rngs: Linear(rngs), (3,), 2)
  with pytest.raises(ValueError, match="no Linen layer Dense"):
    layers.policy(network)


def test_defaults():
  assert signatures.defaults(layers.policy) == {
    "fmt_infer": "mx6",
    "fmt_train": "mx9",
    "rounding": "rne",
  }


def test_a_network_of_one_layer_trains_as_a_whole():
  plain = linen.from_linen(nn.Dense(4), (3,), 4)
  arrays = plain.init(jax.random.key(0))
  x = X[:, 0]
  mixed = layers.policy(plain, fmt_infer="mx4", fmt_train=23)
  coarse = layers.policy(plain, fmt_infer="mx4", fmt_train="mx4")

  def apply(network, **options):
    return network.apply(*arrays, x, **options).logits

  np.testing.assert_array_equal(apply(mixed), apply(coarse))
  trains = apply(mixed, training=plain.units)
  np.testing.assert_allclose(trains, apply(plain), atol=1e-5)
  assert abs(apply(coarse) - trains).max() > 1e-3


def test_products_of_dense_layers_by_hand():
  dot = layers._Dot(23, "rne", None)
  x, w = np.ones((2, 3, 4, 5)), np.arange(120.0).reshape(4, 3, 10)
  found = dot(jnp.array(x), jnp.array(w), (((2, 1), (0, 1)), ((), ())))
  assert found.shape == (2, 5, 10)
  expected = np.broadcast_to(w.sum(axis=(0, 1)), (2, 5, 10))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  found = dot(
    jnp.array(x), jnp.array(w[0, :2, :5].T), (((-1,), (0,)), ((), ()))
  )
  assert found.shape == (2, 3, 4, 2)
  with pytest.raises(ValueError, match=r"batch axes \(0,\) is no product"):
    dot(jnp.array(x), jnp.array(w), (((1,), (1,)), ((0,), (0,))))


def test_products_equal_themselves_alone():
  assert signatures.equal_themselves_alone(layers._Dot, layers._Convolution)
