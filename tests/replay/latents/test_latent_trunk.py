"""The digest of a trunk: all that latents depend on, and nothing else."""

import jax
import numpy as np
import pytest

from jcl import base
from jcl.networks import cut, mlp, precision
from jcl.replay.latents import trunk as trunk_lib
from jcl.train import augment

NETWORK = mlp.mlp((3,), 2, width=4, depth=2)
PARAMS, STATS = jax.jit(NETWORK.init)(jax.random.key(0))
X = np.zeros(3, np.float32)


def made(network=NETWORK, at="head", params=PARAMS, mean=1, std=2, x=X, rows=4):
  parts = cut.cut(network, at)
  preprocess = augment.Preprocess(np.float32(mean), np.float32(std))
  return trunk_lib.Trunk(parts, params, STATS, preprocess, x, rows)


USUAL = made().digest()


def test_a_digest_is_the_same_for_the_same_trunk():
  assert made().digest() == USUAL and len(USUAL) == 32
  assert made(rows=7).digest() == USUAL  # batches only differ in speed
  head = {**PARAMS, "head": jax.tree.map(lambda a: a + 1, PARAMS["head"])}
  assert made(params=head).digest() == USUAL
  wider = mlp.mlp((3,), 5, width=4, depth=2)  # for other classes
  assert made(wider).digest() == USUAL


def moved(unit):
  def nudge(array):
    flat = np.array(array).reshape(-1)
    flat[-1] = np.nextafter(flat[-1], np.float32(9), dtype=np.float32)
    return flat.reshape(array.shape)

  return {**PARAMS, unit: jax.tree.map(nudge, PARAMS[unit])}


@pytest.mark.parametrize(
  "change",
  [
    {"params": moved("dense_0")},
    {"params": moved("dense_1")},
    {"at": "dense_1"},
    {"mean": 1.5},
    {"std": 3},
    {"x": np.zeros(3, np.uint8)},
    {"network": precision.with_precision(NETWORK, "bfloat16")},
  ],
  ids=lambda change: next(iter(change)),
)
def test_a_digest_changes_with_the_trunk(change):
  assert made(**change).digest() != USUAL


def test_the_side_of_images_is_a_part_of_it():
  """It changes neither the weights nor the shape of a latent."""

  def block(side):
    def apply(params, stats, x, training, key):
      size = (len(x), side, side, 1)
      return jax.image.resize(x, size, "cubic").mean((1, 2)), stats

    return base.Block("stem", apply)

  found = set()
  for side in (3, 5):
    tail = mlp.mlp((1,), 2, width=4, depth=1)
    network = cut.behind(tail, block(side), (4, 4, 1))
    found.add(made(network, at="dense_0", x=np.zeros((4, 4, 1))).digest())
  assert len(found) == 2


def test_a_program_is_compiled_when_it_is_needed():
  trunk = made()
  assert not trunk.compiled and trunk.peak_bytes == 0
  assert trunk.weight_bytes == 4 * (3 * 4 + 4 + 4 * 4 + 4)
  trunk.cost_is(10.0)
  assert trunk.flops == 40 and not trunk.compiled
  (z,) = trunk.latents(np.ones((2, 3), np.float32))
  assert z.shape == (2, 4) and trunk.compiled
  assert trunk.flops != 40 and trunk.flops > 0 and trunk.peak_bytes > 0
