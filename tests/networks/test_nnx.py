"""Users' NNX modules, as they come."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.networks import nnx as networks


class Block(nnx.Module):
  def __init__(self, features, out, rngs):
    self.linear = nnx.Linear(features, out, rngs=rngs)
    self.norm = nnx.BatchNorm(out, rngs=rngs)

  def __call__(self, x):
    return nnx.relu(self.norm(self.linear(x)))


class Net(nnx.Module):
  """Normalisers, dropout, a list of layers and a plain array."""

  def __init__(self, rngs):
    self.zebra = Block(6, 4, rngs)
    self.layers = nnx.List([Block(4, 4, rngs), Block(4, 4, rngs)])
    self.apple = Block(4, 5, rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.offset = jnp.ones(3)
    self.head = nnx.Linear(5, 3, rngs=rngs)

  def __call__(self, x):
    x = self.zebra(x)
    for layer in self.layers:
      x = layer(x)
    return self.head(self.dropout(self.apple(x))) + self.offset


NET = networks.from_nnx(lambda rngs: Net(rngs), (6,), 3)
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
  assert NET.units == ("zebra", "layers", "apple", "head")
  assert NET.features == "head.input"
  assert NET.tensors[4].path == ("layers", "0", "linear", "kernel")
  assert set(STATS) == {"zebra", "layers", "apple", "dropout"}


def test_everything_saves_as_plain_arrays():
  for leaf in jax.tree.leaves((PARAMS, STATS)):
    assert np.asarray(leaf).dtype in (np.float32, np.uint32)
  assert STATS["dropout"]["rngs"]["key"].dtype == jnp.uint32


def test_init_is_a_pure_function_of_its_key():
  assert same(NET.init(jax.random.key(0)), (PARAMS, STATS))
  other, _ = NET.init(jax.random.key(1))
  assert not same(other["zebra"]["linear"], PARAMS["zebra"]["linear"])


def test_an_instance_starts_from_its_own_weights_and_is_left_alone():
  model = Net(nnx.Rngs(7))
  kernel = np.asarray(model.head.kernel[...])
  network = networks.from_nnx(model, (6,), 3)
  first, second = network.init(jax.random.key(0)), network.init(KEY)
  assert same(first, second)
  np.testing.assert_array_equal(first[0]["head"]["kernel"], kernel)
  params, stats = first
  out = network.apply(params, stats, X, training=network.units, key=KEY)
  assert not same(out.stats["zebra"], stats["zebra"])
  assert (model.zebra.norm.mean[...] == 0).all()
  model.eval()
  np.testing.assert_allclose(
    network.apply(params, stats, X).logits, model(X), rtol=1e-5
  )


@pytest.mark.parametrize(
  "training", [("zebra",), ("layers", "head"), ("apple", "zebra")]
)
def test_units_are_switched_one_by_one(training):
  apply = jax.jit(
    lambda p, s, x, key: NET.apply(p, s, x, training=training, key=key)
  )
  out = apply(PARAMS, STATS, X, KEY)
  for unit in ("zebra", "layers", "apple"):
    assert same(out.stats[unit], STATS[unit]) == (unit not in training)
  assert jax.tree.structure(out.stats) == jax.tree.structure(STATS)


def test_a_frozen_unit_runs_in_evaluation_mode():
  still = NET.apply(PARAMS, STATS, X, taps=("zebra",)).taps["zebra"]
  out = NET.apply(
    PARAMS, STATS, X, training=("apple",), key=KEY, taps=("zebra",)
  )
  np.testing.assert_allclose(out.taps["zebra"], still, rtol=1e-6)


def test_evaluation_changes_nothing():
  assert same(NET.apply(PARAMS, STATS, X, key=KEY).stats, STATS)


def test_dropout_follows_the_key():
  def apply(key):
    return NET.apply(PARAMS, STATS, X, training=("head",), key=key)

  assert same(apply(KEY).logits, apply(KEY).logits)
  assert not same(apply(KEY).logits, apply(jax.random.key(9)).logits)
  assert same(apply(KEY).stats["dropout"], STATS["dropout"])


def test_without_a_key_the_stored_stream_goes_on():
  first = NET.apply(PARAMS, STATS, X, training=("head",))
  again = NET.apply(PARAMS, STATS, X, training=("head",))
  then = NET.apply(PARAMS, first.stats, X, training=("head",))
  assert same(first.logits, again.logits)
  assert not same(first.logits, then.logits)
  assert first.stats["dropout"]["rngs"]["count"] == 1


def test_taps_and_features():
  out = NET.apply(PARAMS, STATS, X, taps=("apple", "apple.input", "head.input"))
  assert same(out.taps["apple"], out.taps["head.input"])
  head = PARAMS["head"]
  np.testing.assert_allclose(
    out.taps["head.input"] @ head["kernel"] + head["bias"] + 1,
    out.logits,
    rtol=1e-4,
    atol=1e-6,
  )
  with pytest.raises(ValueError, match="no tap 'layers'; choose among"):
    NET.apply(PARAMS, STATS, X, taps=("layers",))


def test_gradients_reach_every_unit():
  def loss(params):
    out = NET.apply(params, STATS, X, training=NET.units, key=KEY)
    return (out.logits**2).sum()

  grads = jax.jit(jax.grad(loss))(PARAMS)
  for unit in NET.units:
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(grads[unit]))


def test_shared_parameters_are_listed_once():
  class Tied(nnx.Module):
    def __init__(self, rngs):
      self.body = nnx.Linear(3, 3, rngs=rngs)
      self.again = self.body

    def __call__(self, x):
      return self.again(self.body(x))

  network = networks.from_nnx(Tied, (3,), 3)
  assert len(network.tensors) == 2
  params, stats = network.init(KEY)
  kernel, bias = (params[network.units[0]][k] for k in ("kernel", "bias"))
  x = X[:, :3]
  np.testing.assert_allclose(
    network.apply(params, stats, x).logits,
    (x @ kernel + bias) @ kernel + bias,
    rtol=1e-4,
    atol=1e-6,
  )


@pytest.mark.parametrize(
  ("head", "message"),
  [
    (lambda x: x, "Bad returns .*give its last layer 7 outputs"),
    (lambda x: (x, x), "Bad returns a tuple.*logits alone"),
  ],
)
def test_errors(head, message):
  class Bad(nnx.Module):
    def __init__(self, rngs):
      self.linear = nnx.Linear(3, 4, rngs=rngs)

    def __call__(self, x):
      return head(self.linear(x))

  with pytest.raises(ValueError, match=message):
    networks.from_nnx(Bad, (3,), 7)
