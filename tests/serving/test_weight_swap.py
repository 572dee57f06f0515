"""Weights handed from one thread to another."""

import threading

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl.serving import weight_swap


def numbered(number, leaves=8):
  return {f"leaf_{i}": np.full(3, number) for i in range(leaves)}


def test_what_is_staged_serves_after_the_swap():
  weights = weight_swap.Weights(numbered(0))
  first = weights.current
  staged = weights.stage(numbered(1), made=4.0, newest=3.0)
  assert weights.current is first and weights.staged == 1
  assert weights.swap() is weights.current is staged
  assert (staged.number, staged.made, staged.newest) == (1, 4.0, 3.0)
  assert staged.tree["leaf_0"].tolist() == [1, 1, 1]
  assert first.tree["leaf_0"].tolist() == [0, 0, 0]
  weights.publish(numbered(2), made=6.0, newest=5.0)
  assert weights.current.number == 2
  expected = [[0, -np.inf], [4, 3], [6, 5]]
  assert weights.times.tolist() == expected


def test_no_reader_ever_sees_a_torn_tree():
  weights = weight_swap.Weights(numbered(0))
  done, problems, looks = threading.Event(), [], []

  def read():
    last, count = 0, 0
    while not done.is_set():
      version = weights.current
      seen = {int(x) for leaf in version.tree.values() for x in leaf}
      if seen != {version.number} or version.number < last:
        problems.append((version.number, last, seen))
      last, count = version.number, count + 1
    looks.append(count)

  readers = [threading.Thread(target=read) for _ in range(2)]
  for reader in readers:
    reader.start()
  for number in range(1, 3001):
    weights.publish(numbered(number))
  done.set()
  for reader in readers:
    reader.join()
  assert not problems and min(looks) > 0
  assert weights.current.number == 3000


def test_the_copy_shares_no_memory_with_what_trains():
  def spoil(x):  # as a train step, it may write where its argument was
    return x + 1

  mine = {"w": jnp.arange(4.0)}
  weights = weight_swap.Weights(mine, checked=True)
  on_host = {"w": np.arange(4.0, dtype=np.float32)}
  weights.publish(on_host)
  on_host["w"][:] = 7
  weight_swap.verify(weights.current)
  weights.publish(mine)
  jax.jit(spoil, donate_argnums=0)(mine["w"])
  mine["w"].delete()
  weight_swap.verify(weights.current)
  assert weights.current.tree["w"].tolist() == [0, 1, 2, 3]


def test_verify_finds_what_was_changed_or_badly_copied():
  weights = weight_swap.Weights(numbered(0), checked=True)
  weights.publish(numbered(1))
  weight_swap.verify(weights.current)
  weights.current.tree["leaf_3"][1] = 9
  with pytest.raises(weight_swap.Torn, match="version 1 has checksum"):
    weight_swap.verify(weights.current)

  def torn(tree):
    return {**tree, "leaf_2": np.zeros_like(tree["leaf_2"])}

  weights = weight_swap.Weights(numbered(5), put=torn, checked=True)
  with pytest.raises(weight_swap.Torn):
    weight_swap.verify(weights.current)


@hypothesis.given(
  st.lists(st.integers(0, 255), min_size=1, max_size=20), st.data()
)
def test_checksums_differ_where_one_value_does(values, data):
  tree = {"a": np.array(values, np.uint8), "b": np.zeros(2)}
  other = {"a": tree["a"].copy(), "b": tree["b"]}
  assert weight_swap.checksum(other) == weight_swap.checksum(tree)
  at = data.draw(st.integers(0, len(values) - 1))
  other["a"][at] ^= 1
  assert weight_swap.checksum(other) != weight_swap.checksum(tree)


def test_checksums_know_structure_shape_and_dtype():
  trees = [
    {"a": np.zeros(4, np.float32)},
    {"b": np.zeros(4, np.float32)},
    {"a": np.zeros((2, 2), np.float32)},
    {"a": np.zeros(4, np.int32)},
    {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)},
  ]
  assert len({weight_swap.checksum(tree) for tree in trees}) == len(trees)
  as_jax = {"a": jnp.zeros(4, jnp.float32)}
  assert weight_swap.checksum(as_jax) == weight_swap.checksum(trees[0])


def test_trees_go_to_the_devices_that_serve():
  put = weight_swap.onto(jax.devices())
  found = put(numbered(3))
  assert found["leaf_0"].sharding.device_set == set(jax.devices())
  assert weight_swap.checksum(found) == weight_swap.checksum(
    jax.tree.map(jnp.asarray, numbered(3))
  )


def test_what_is_put_on_a_device_is_a_copy():
  mine = {"w": jnp.arange(64.0)}
  found = weight_swap.onto(jax.devices()[:1])(mine)
  mine["w"].delete()
  assert found["w"].tolist() == list(range(64))


def test_nothing_is_known_of_weights_unless_it_is_told():
  weights = weight_swap.Weights(numbered(0))
  weights.publish(numbered(1))
  weights.stage(numbered(2))
  assert weights.times.tolist() == [[0, -np.inf]] * 3
  weights.swap()
  with pytest.raises(ValueError, match="nothing is staged"):
    weights.swap()


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda weights: weights.swap(), "nothing is staged"),
    (lambda weights: weights.stage(numbered(1, 7)), "cannot follow"),
    (
      lambda weights: weights.stage({"leaf_0": np.zeros(2)}),
      "same structure, shapes",
    ),
    (lambda weights: weight_swap.verify(weights.current), "checked=True"),
    (lambda weights: weight_swap.onto([]), "one device or more"),
  ],
)
def test_mistakes_are_told(call, message):
  with pytest.raises(ValueError, match=message):
    call(weight_swap.Weights(numbered(0)))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(weight_swap.Weights) == {"checked": False}
  given = {"made": 0.0, "newest": -np.inf}
  assert signatures.defaults(weight_swap.Weights.stage) == given
  assert signatures.defaults(weight_swap.Weights.publish) == given
