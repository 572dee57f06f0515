"""Models that were never trained, of networks and predictors of each kind."""

from flax import linen as nn
import jax
import numpy as np

from jcl import base
from jcl.networks import catalogue, linen, precision
from jcl.objectives import closed_form, predictors, readers, solved_head
from jcl.run.inference import model

NAMES = ("phone box", "猫", "b", "never")
SEEN = np.array([True, True, True, False])


def made(network=None, predictor=None, fitted=(), dtype=np.float32):
  """Returns a model that was never trained."""
  network = network or catalogue.build("mlp", (4,), 4, width=8)
  params, stats = network.init(jax.random.key(0))
  inputs = model.Inputs(network, np.float32(1), np.float32(2), np.dtype(dtype))
  return model.of(
    inputs, params, stats, predictor or predictors.logits(), fitted, NAMES, SEEN
  )


def images(name, **options):
  return catalogue.build(name, (16, 16, 3), 4, **options)


class Calling(nn.Module):
  """A network that calls Python, which no program can hold."""

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(4)(x)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.tanh, shape, x, vmap_method="sequential")


def calling():
  return linen.from_linen(Calling(), (4,), 4)


def inputs_of(each, count):
  shape = (count, *each.inputs.network.input_shape)
  generator = np.random.default_rng(count)
  if each.inputs.dtype == np.uint8:
    return generator.integers(0, 256, shape, dtype=np.uint8)
  return generator.normal(size=shape).astype(np.float32)


def near(found, expected):
  known = np.isfinite(expected)
  assert found.shape == expected.shape and found.dtype == np.float32
  np.testing.assert_array_equal(np.isfinite(found), known)
  most = np.abs(expected[known]).max()
  np.testing.assert_allclose(found[known], expected[known], 0, 1e-5 * most)


SHELF = {
  "conv1d": lambda: catalogue.build("conv1d", (32, 3), 4, width=8),
  "slim_resnet18": lambda: images("slim_resnet18", filters=4),
  "vit": lambda: images("vit", width=12, depth=1, heads=2),
  "bfloat16": lambda: precision.with_precision(
    catalogue.build("mlp", (4,), 4, width=8), "bfloat16"
  ),
}


def linear(width):
  weight = np.random.default_rng(0).normal(size=(width, 4)).astype(np.float32)
  return closed_form.Linear(weight, np.float32([0, 1, 0, 2]), SEEN)


PREDICTORS = {
  "rescaled": (
    predictors.rescaled(),
    predictors.Layer(np.float32([1, 2, 1, 2]), np.float32([0, 0, 1, 1])),
  ),
  "nearest_mean": (
    predictors.nearest_mean(),
    predictors.Means(np.eye(4, 8, dtype=np.float32), SEEN),
  ),
  "ncm": (readers.mean(), linear(8)),
  "slda": (readers.shared_covariance(), linear(8)),
  "trained_or_solved": (
    solved_head.trained_or_solved(),
    solved_head.Better(*linear(8), np.array(False)),
  ),
  "own": (
    base.Predictor(
      lambda *args: (),
      lambda apply, params, stats, x, fitted: (
        -apply(params, stats, x, ()).logits
      ),
    ),
    (),
  ),
}
