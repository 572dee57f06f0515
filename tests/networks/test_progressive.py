"""Columns side by side: who reads whom, who owns which class."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

from jcl.networks import chain, layers, mlp, progressive

COLUMN = functools.partial(mlp.mlp, width=4, depth=1)
CLASSES = ((3, 0), (4,), (1, 2))
NETWORK = progressive.progressive(COLUMN, (5,), CLASSES)
PARAMS, STATS = jax.jit(NETWORK.init)(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (6, 5))
LOGITS = jax.jit(NETWORK.apply)(PARAMS, STATS, X).logits


def dense(part, x):
  kernel, bias = np.asarray(part["kernel"], float), part.get("bias", 0)
  return np.asarray(x, float) @ kernel + bias


def test_columns_by_hand():
  assert NETWORK.units == ("column_0", "column_1", "column_2")
  hidden = []
  for index, own in enumerate(CLASSES):
    part = PARAMS[f"column_{index}"]
    x = np.maximum(dense(part["dense_0"]["dense"], X), 0)
    read = x
    if index:
      lateral = part["lateral_head"]
      joined = [s * h for s, h in zip(lateral["scale"], hidden, strict=True)]
      joined = np.concatenate(joined, axis=1)
      inner = np.maximum(dense(lateral["project"], joined), 0)
      read = x + dense(lateral["out"], inner)
    hidden.append(x if not index else read - dense(lateral["out"], inner))
    logits = dense(part["head"]["dense"], read)
    np.testing.assert_allclose(LOGITS[:, own], logits, rtol=1e-4, atol=1e-5)


def test_a_tap_has_the_logits_of_a_column_of_any_depth():
  deep = functools.partial(mlp.mlp, width=4, depth=2)
  network = progressive.progressive(deep, (5,), ((1, 0), (2,)))
  params, stats = network.init(jax.random.key(0))
  out = network.apply(params, stats, X, taps=("column_1", "column_0"))
  np.testing.assert_array_equal(out.taps["column_0"], out.logits[:, [1, 0]])
  np.testing.assert_array_equal(out.taps["column_1"], out.logits[:, [2]])


def test_the_first_column_is_a_network_of_its_own():
  alone = COLUMN((5,), 2).apply(PARAMS["column_0"], {}, X).logits
  np.testing.assert_allclose(LOGITS[:, (3, 0)], alone, rtol=1e-6)
  single = progressive.progressive(COLUMN, (5,), CLASSES[1:2], num_classes=5)
  params, stats = single.init(jax.random.key(0))
  alone = COLUMN((5,), 1).apply(params["column_0"], {}, X).logits
  np.testing.assert_array_equal(
    single.apply(params, stats, X).logits[:, 4:], alone
  )


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_columns_read_earlier_ones_only(changed):
  unit = f"column_{changed}"
  moved = jax.tree.map(lambda leaf: leaf + 0.5, PARAMS[unit])
  logits = NETWORK.apply({**PARAMS, unit: moved}, STATS, X).logits
  for index, own in enumerate(CLASSES):
    same = np.array_equal(logits[:, own], LOGITS[:, own])
    assert same == (index < changed)


def test_no_gradient_flows_into_earlier_columns():
  def loss(params):
    return jnp.sum(NETWORK.apply(params, STATS, X).logits[:, 2] ** 2)

  grads = jax.jit(jax.grad(loss))(PARAMS)
  size = {
    unit: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(part))
    for unit, part in grads.items()
  }
  assert size["column_0"] == size["column_1"] == 0 < size["column_2"]
  for leaf in tiny_network.leaves(grads["column_2"]):
    assert leaf.any()


def test_columns_behind_those_that_train_are_left_out():
  out = NETWORK.apply(
    PARAMS, STATS, X, training=("column_1",), taps=("column_0", "column_1")
  )
  np.testing.assert_array_equal(out.logits[:, (0, 3, 4)], LOGITS[:, (0, 3, 4)])
  np.testing.assert_array_equal(out.logits[:, (1, 2)], 0)
  np.testing.assert_array_equal(out.taps["column_0"], LOGITS[:, (3, 0)])
  np.testing.assert_array_equal(out.taps["column_1"], LOGITS[:, (4,)])


class Normalised(nn.Module):
  """Convolution and batch normalisation, averaged over the image if told."""

  pool: bool

  @nn.compact
  def __call__(self, x, training):
    x = layers.norm(training, "norm")(nn.Conv(3, (3, 3), name="conv")(x))
    return x.mean(axis=(1, 2)) if self.pool else x


def test_normalisers_follow_their_column():
  """Convolutional columns, without running them."""

  def column(shape, count):
    units = [("first", Normalised(False)), ("second", Normalised(True))]
    units.append(("head", layers.Head(count)))
    return chain.chain("normalised", units, shape, count)

  network = progressive.progressive(column, (4, 4, 1), ((0, 1), (2,)))
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  assert set(stats) == {"column_0", "column_1"}
  assert len(jax.tree.leaves(params)) == len(network.tensors)
  lateral = params["column_1"]["lateral_second"]
  assert lateral["project"]["kernel"].shape == (3, 3)

  def apply(params, stats, x):
    return network.apply(params, stats, x, training=("column_1",))

  args = params, stats, jax.ShapeDtypeStruct((3, 4, 4, 1), jnp.float32)
  out = jax.eval_shape(apply, *args)
  assert out.logits.shape == (3, 3)
  assert jax.tree.structure(out.stats) == jax.tree.structure(stats)
  jaxpr = jax.make_jaxpr(lambda *args: apply(*args).stats)(*args).jaxpr
  passed = [value in jaxpr.invars for value in jaxpr.outvars]
  count = len(jax.tree.leaves(stats["column_0"]))
  assert passed == [True] * count + [False] * count


def test_a_class_that_no_column_owns_has_logit_0():
  network = progressive.progressive(COLUMN, (4,), [[3], [0, 1]], 5)
  params, stats = network.init(jax.random.key(0))
  logits = network.apply(params, stats, np.ones((2, 4), np.float32)).logits
  assert network.num_classes == 5 and logits.shape == (2, 5)
  assert (np.asarray(logits != 0) == [True, True, False, True, False]).all()


@pytest.mark.parametrize("classes", [((0, 1), (1,)), ((0,), ()), ((1, 2),), ()])
def test_classes_are_dealt_out_once(classes):
  with pytest.raises(ValueError, match="each class from 0 on to one column"):
    progressive.progressive(COLUMN, (5,), classes)


def test_columns_are_chains():
  with pytest.raises(ValueError, match="'tiny' is no plain chain"):
    progressive.progressive(
      lambda shape, count: tiny_network.build(num_classes=count),
      (4,),
      ((0, 1),),
    )
