"""Networks cut in two: both parts together are the whole."""

import dataclasses

from flax import linen as nn
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base
from jcl.networks import chain, cut, precision, pretrained


class Layer(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x, training):
    x = nn.Dense(self.features)(x.reshape(len(x), -1))
    x = nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)
    return nn.relu(x)


class Head(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    return nn.Dense(3)(x)


NET = chain.chain(
  "net",
  [("low", Layer(4)), ("middle", Layer(5)), ("head", Head())],
  (2, 3),
  3,
)
X = jax.random.normal(jax.random.key(1), (6, 2, 3))
KEY = jax.random.key(0)
PARAMS, STATS = jax.jit(NET.init)(KEY)


def jitted(network, params, stats, x, **options):
  """Applies a network in one program: quicker to compile than its parts."""
  apply = jax.jit(lambda *args: network.apply(*args, **options))
  return apply(params, stats, x)


def same(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("at", ["middle", 2])
def test_trunk_and_tail_are_the_whole(at):
  parts = cut.cut(NET, at)
  first = NET.units.index(at) if isinstance(at, str) else at
  assert parts.units == NET.units[:first]
  assert parts.tail.units == NET.units[first:]
  z = jax.jit(parts.trunk)(PARAMS, STATS, X)
  assert z.shape[1:] == parts.tail.input_shape and z.dtype == np.float32
  params, stats = jax.jit(parts.tail.init)(KEY)
  same(params, cut.part(PARAMS, parts.tail.units))
  same(stats, cut.part(STATS, parts.tail.units))
  out = jitted(parts.tail, params, stats, z)
  np.testing.assert_array_equal(
    out.logits, jitted(NET, PARAMS, STATS, X).logits
  )
  same(out.stats, stats)


def test_the_tail_trains_as_in_the_whole_network():
  parts = cut.cut(NET, "middle")
  params, stats = jax.jit(parts.tail.init)(KEY)
  z = jax.jit(parts.trunk)(PARAMS, STATS, X)
  options = {"training": ("middle",), "taps": ("middle",)}
  whole = jitted(NET, PARAMS, STATS, X, **options)
  tail = jitted(parts.tail, params, stats, z, **options)
  np.testing.assert_array_equal(tail.logits, whole.logits)
  same(tail.taps, whole.taps)
  same(tail.stats, cut.part(whole.stats, parts.tail.units))


def test_tensors_and_features_of_the_tail():
  middle, head = cut.cut(NET, "middle").tail, cut.cut(NET, "head").tail
  assert middle.tensors == tuple(t for t in NET.tensors if t.unit != "low")
  assert middle.features == "middle" and head.features is None
  assert [block.name for block in middle.blocks] == ["middle", "head"]
  assert head.num_classes == 3 and head.name == "net@head"
  assert middle.name == "net@middle"


def test_a_start_within_the_tail():
  tail = cut.cut(NET, "middle").tail
  params, stats = jax.jit(tail.init)(KEY)
  features = jax.random.normal(KEY, (6, 5))
  out = jitted(tail, params, stats, features, start="head")
  dense = params["head"]["Dense_0"]
  expected = features @ dense["kernel"] + dense["bias"]
  np.testing.assert_allclose(out.logits, expected, rtol=1e-5)


def test_learned_weights_and_lower_precision_pass_the_cut():
  learned = jax.tree.map(lambda leaf: leaf + 1, PARAMS)
  network = pretrained.with_weights(NET, learned, STATS, fresh=("head",))
  parts = cut.cut(precision.with_precision(network, "bfloat16"), "middle")
  params, stats = jax.jit(parts.tail.init)(KEY)
  same(params["middle"], learned["middle"])
  same(params["head"], PARAMS["head"])
  z = jax.jit(parts.trunk)(learned, STATS, X)
  assert z.dtype == np.float32
  np.testing.assert_array_equal(z, z.astype("bfloat16").astype(np.float32))
  whole = jitted(
    precision.with_precision(NET, "bfloat16"),
    {**learned, "head": PARAMS["head"]},
    STATS,
    X,
  )
  logits = jitted(parts.tail, params, stats, z).logits
  assert logits.dtype == np.float32
  np.testing.assert_array_equal(logits, whole.logits)


def double(params, stats, x, training, key):
  return 2 * x, stats


def test_a_unit_without_arrays_goes_ahead():
  tail = cut.cut(NET, "middle").tail
  longer = cut.behind(tail, base.Block("twice", double), (4,))
  assert longer.units == ("twice", "middle", "head")
  assert longer.tensors == tail.tensors and longer.features == "middle"
  # What the units were counted from in the whole network stays.
  assert (longer.offset, tail.offset, longer.input_shape) == (0, 1, (4,))
  variables, z = jax.jit(tail.init)(KEY), jax.random.normal(KEY, (6, 4))
  out = jitted(longer, *variables, z, taps=("twice",))
  np.testing.assert_array_equal(out.taps["twice"], 2 * z)
  np.testing.assert_array_equal(
    out.logits, jitted(tail, *variables, 2 * z).logits
  )
  head = cut.behind(cut.cut(NET, 2).tail, base.Block("twice", double), (5,))
  assert head.features == "twice"
  wide = dataclasses.replace(cut.cut(NET, 2).tail, input_shape=(5, 1))
  assert cut.behind(wide, base.Block("twice", double), (5,)).features is None
  with pytest.raises(ValueError, match="has a unit 'middle' already"):
    cut.behind(tail, base.Block("middle", double), (4,))


def test_trained_tails_are_put_back():
  tail = jax.tree.map(lambda leaf: leaf + 1, cut.part(PARAMS, ("head",)))
  whole = cut.joined(PARAMS, tail)
  same(whole["head"], tail["head"])
  assert whole["low"] is PARAMS["low"] and set(whole) == set(PARAMS)
  with pytest.raises(ValueError, match="unit 'haed', the whole network has no"):
    cut.joined(PARAMS, {"haed": {}})
  with pytest.raises(ValueError, match="unit 'head' of the tail has shapes"):
    cut.joined(PARAMS, {"head": PARAMS["low"]})


@pytest.mark.parametrize(
  "at, message",
  [
    ("haed", "'net' has no unit 'haed'; choose among low, middle, head"),
    ("low", "give 1 to 2, or one of middle, head"),
    (0, "at=0: a cut of network 'net' leaves units to both sides"),
    (3, "at=3"),
    (-1, "at=-1"),
  ],
)
def test_cuts_that_leave_nothing(at, message):
  with pytest.raises(ValueError, match=message):
    cut.cut(NET, at)


def test_only_chains_are_cut():
  with pytest.raises(ValueError, match="'tiny' is no chain of units .*chain"):
    cut.cut(tiny_network.build(), "second")
