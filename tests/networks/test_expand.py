"""A random unit ahead of the head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, keys
from jcl.networks import catalogue, cut, expand, origin, precision

KEY = jax.random.key(3)
MLP = catalogue.build("mlp", (2, 3), 4, width=5, depth=1)
RELU = base.Expansion(7)
FOURIER = base.Expansion(6, "fourier", trunk=False)
X = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)


def test_relu_features_by_hand():
  found = expand.relu_features(
    jnp.array([[1.0, 2.0]]), np.array([[1, -1], [2, 1]])
  )
  np.testing.assert_array_equal(found, [[5, 1]])
  negative = expand.relu_features(jnp.array([[-1.0, 0.0]]), np.eye(2))
  np.testing.assert_array_equal(negative, [[0, 0]])


def test_fourier_features_by_hand():
  found = expand.fourier_features(
    jnp.array([[1.0]]), np.array([[1.0, 2.0]]), np.array([0, np.pi / 2])
  )
  np.testing.assert_allclose(found, [[0.540302, -0.909297]], atol=1e-6)


def test_products_are_those_of_the_kernel():
  wide = base.Expansion(20_000, "fourier", trunk=False)
  network = expand.expanded(MLP, wide, seed=0, gamma=0.2)
  params, stats = network.init(KEY)
  z = network.apply(params, stats, X, taps=("expand",)).taps["expand"]
  flat = X.reshape(8, -1)
  distance = np.square(flat[:, None] - flat).sum(axis=2)
  np.testing.assert_allclose(z @ z.T, np.exp(-0.2 * distance), atol=0.03)


def test_a_unit_stands_between_trunk_and_head():
  network = expand.expanded(MLP, RELU, seed=5)
  assert network.units == ("dense_0", "expand", "head")
  assert network.features == "expand" and network.name == "mlp+expand"
  paths = {tensor.path: tensor.shape for tensor in network.tensors}
  assert paths[("head", "dense", "kernel")] == (7, 4)
  assert ("dense_0", "dense", "kernel") in paths and len(paths) == 4
  params, stats = network.init(KEY)
  jax.tree.map(
    np.testing.assert_array_equal,
    params["dense_0"],
    MLP.init(KEY)[0]["dense_0"],
  )
  out = network.apply(params, stats, X, taps=("dense_0", "expand"))
  features = np.asarray(out.taps["expand"])
  assert features.shape == (8, 7) and out.logits.shape == (8, 4)
  assert (features >= 0).all() and (features == 0).any()
  # Directions of length one on average: energy of a half is kept.
  wide = expand.expanded(MLP, base.Expansion(4000), seed=5)
  z = wide.apply(*wide.init(KEY), X, taps=("dense_0", "expand")).taps
  energy = np.square(z["expand"]).mean(axis=1)
  np.testing.assert_allclose(
    energy, np.square(z["dense_0"]).mean(axis=1) / 2, rtol=0.15
  )


def test_without_a_trunk_inputs_are_read_flat():
  network = expand.expanded(MLP, FOURIER, seed=5, gamma=0.3)
  assert network.units == ("expand", "head")
  assert network.input_shape == (2, 3) and network.name == "fourier"
  params, stats = network.init(KEY)
  assert set(params) == {"head"}
  assert network.apply(params, stats, X).logits.shape == (8, 4)
  own = expand.expanded(tiny_network.build(6), FOURIER, seed=5, gamma=0.3)
  assert own.units == ("expand", "head")  # which need not be a chain


def test_arrays_hold_the_seed_and_not_the_matrix():
  network = expand.expanded(MLP, RELU, seed=5)
  _, stats = network.init(KEY)
  assert {name: leaf.shape for name, leaf in stats["expand"].items()} == {
    "seed": (),
    "gamma": (),
  }
  assert stats["expand"]["seed"] == 5


def test_the_seed_decides_whatever_the_weights_are():
  def features(seed, key):
    network = expand.expanded(MLP, FOURIER, seed, gamma=0.3)
    _, stats = network.init(key)
    return network.apply(*network.init(key), X, taps=("expand",)).taps["expand"]

  first = features(5, KEY)
  np.testing.assert_array_equal(first, features(5, jax.random.key(9)))
  assert not np.allclose(first, features(6, KEY))


def test_what_is_drawn_from_the_seed():
  drawn, phased = jax.random.split(keys.key(5, keys.Purpose.EXPAND))
  network = expand.expanded(MLP, RELU, seed=5)
  out = network.apply(*network.init(KEY), X, taps=("dense_0", "expand")).taps
  directions = jax.random.normal(drawn, (5, 7)) / np.sqrt(5)
  np.testing.assert_allclose(
    out["expand"],
    expand.relu_features(out["dense_0"], directions),
    rtol=1e-5,
    atol=1e-6,
  )
  network = expand.expanded(MLP, FOURIER, seed=5, gamma=0.3)
  out = network.apply(*network.init(KEY), X, taps=("expand",)).taps
  frequencies = np.sqrt(0.6) * jax.random.normal(drawn, (6, 6))
  phases = jax.random.uniform(phased, (6,), maxval=2 * np.pi)
  np.testing.assert_allclose(
    out["expand"],
    expand.fourier_features(X.reshape(8, -1), frequencies, phases),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_unit_beside_the_network_is_a_tap_that_changes_nothing():
  beside = base.Expansion(6, "fourier", trunk=False, beside=True)
  network = expand.expanded(MLP, beside, seed=5, gamma=0.3)
  alone = expand.expanded(MLP, FOURIER, seed=5, gamma=0.3)
  assert network.units == MLP.units and network.tensors == MLP.tensors
  params, stats = network.init(KEY)
  plain, _ = MLP.init(KEY)
  assert tiny_network.same_bits(params, plain)
  out = network.apply(params, stats, X, taps=("dense_0", "expand"))
  theirs = MLP.apply(plain, {}, X, taps=("dense_0",))
  np.testing.assert_array_equal(out.logits, theirs.logits)
  np.testing.assert_array_equal(out.taps["dense_0"], theirs.taps["dense_0"])
  shown = alone.apply(*alone.init(KEY), X, taps=("expand",)).taps["expand"]
  np.testing.assert_array_equal(out.taps["expand"], shown)
  assert out.stats["expand"] == stats["expand"]
  # Where nobody asks, nothing is drawn.
  whole = jax.make_jaxpr(lambda x: network.apply(params, stats, x).logits)(X)
  assert "random" not in str(whole)


def test_it_is_built_again_from_its_origin():
  for network in (
    expand.expanded(
      MLP, dataclasses.replace(FOURIER, beside=True), seed=5, gamma=0.3
    ),
    expand.expanded(MLP, RELU, seed=5),
    expand.expanded(MLP, FOURIER, seed=5, gamma=0.3),
    expand.expanded(precision.with_precision(MLP, "bfloat16"), RELU, seed=5),
  ):
    again = origin.build(network.origin, (2, 3), 4)
    arrays = network.init(KEY)
    assert again.units == network.units and again.origin == network.origin
    assert again.init(KEY)[1]["expand"] == {"seed": 0, "gamma": 0}
    np.testing.assert_array_equal(
      again.apply(*arrays, X).logits, network.apply(*arrays, X).logits
    )


def test_a_trunk_can_be_cut_off_ahead_of_it():
  network = expand.expanded(MLP, RELU, seed=5)
  params, stats = network.init(KEY)
  parts = cut.cut(network, "expand")
  z = parts.trunk(params, stats, X)
  tail = parts.tail.init(KEY)
  np.testing.assert_allclose(
    parts.tail.apply(*tail, z).logits,
    network.apply(params, stats, X).logits,
    rtol=1e-5,
  )
  assert parts.tail.features == "expand"


def test_the_width_of_a_kernel_is_that_of_the_data():
  x = np.array([[0.0, 2.0, 0.0, 2.0], [2.0, 0.0, 2.0, 0.0]])
  assert expand.bandwidth(x) == 0.25
  with pytest.raises(ValueError, match="does not vary.*give gamma= where"):
    expand.bandwidth(np.ones((3, 2)))


def test_what_cannot_be_expanded():
  with pytest.raises(ValueError, match="'tiny' is no chain of units"):
    expand.expanded(tiny_network.build(), RELU, seed=0)
  with pytest.raises(ValueError, match="has a unit 'expand' already"):
    expand.expanded(expand.expanded(MLP, RELU, 0), RELU, 0)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(expand.expanded) == {"gamma": 0.0}
