"""A network made by hand, and data for it, small enough to follow."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.streams import scenarios, sources

WIDTH = 8
UNITS = ("first", "second", "head")
EVERYTHING = base.Selection((True,) * 6)
HEAD = base.Selection((False,) * 4 + (True,) * 2)


def build(
  inputs: int = 4, num_classes: int = 4, *, noise: float = 0.0
) -> base.Network:
  """Two hidden layers; each counts its calls in training mode."""
  sizes = dict(
    zip(
      UNITS,
      ((inputs, WIDTH), (WIDTH, WIDTH), (WIDTH, num_classes)),
      strict=True,
    )
  )
  tensors = tuple(
    base.Tensor((unit, kind), unit, kind, shape)
    for unit, size in sizes.items()
    for kind, shape in (("kernel", size), ("bias", size[1:]))
  )

  def init(key):
    # One draw for all kernels: quick to compile.
    ends = np.cumsum([math.prod(size) for size in sizes.values()])
    drawn = jnp.split(jax.random.uniform(key, (ends[-1],)) - 0.5, ends[:-1])
    params = {
      unit: {"kernel": part.reshape(size), "bias": jnp.zeros(size[1:])}
      for part, (unit, size) in zip(drawn, sizes.items(), strict=True)
    }
    return params, {unit: {"calls": jnp.float32(0)} for unit in UNITS[:2]}

  def apply(params, stats, x, *, training=(), key=None, taps=()):
    x, outputs, updated = x.reshape(len(x), -1), {}, {}
    for unit in UNITS[:2]:
      x = jnp.tanh(x @ params[unit]["kernel"] + params[unit]["bias"])
      updated[unit] = {"calls": stats[unit]["calls"] + (unit in training)}
      outputs[unit] = x
    if noise and key is not None:
      x += noise * jax.random.normal(key, x.shape)
    logits = x @ params["head"]["kernel"] + params["head"]["bias"]
    return base.Output(logits, updated, {tap: outputs[tap] for tap in taps})

  return base.Network(
    "tiny", UNITS, tensors, init, apply, (inputs,), num_classes, "second"
  )


def source(num_classes=4, per_class=12, *, seed=0, inputs=4):
  """Gaussian clusters around the corners of a cube, as float32."""
  generator = np.random.default_rng(seed)
  centres = generator.choice([-1.0, 1.0], (num_classes, inputs))

  def draw(count):
    y = np.repeat(np.arange(num_classes), count)
    x = centres[y] + 0.5 * generator.normal(size=(len(y), inputs))
    return x.astype(np.float32), y

  return sources.arrays(*draw(per_class), *draw(5))


def stream(tasks=2, **options):
  return scenarios.class_incremental(source(**options), tasks=tasks)


def batch(size=6, num_classes=4, *, seed=0, weight=None, inputs=4):
  generator = np.random.default_rng(seed)
  return base.Batch(
    x=generator.normal(size=(size, inputs)).astype(np.float32),
    y=generator.integers(0, num_classes, size).astype(np.int32),
    task=np.zeros(size, np.int32),
    ids=np.arange(size, dtype=np.int32),
    weight=np.ones(size, np.float32)
    if weight is None
    else np.asarray(weight, np.float32),
    extras={},
  )


def scope(num_classes=4, task=0) -> base.Scope:
  everything = np.ones(num_classes, bool)
  return base.Scope(np.int32(task), everything, everything, everything)


def leaves(tree) -> list[np.ndarray]:
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same_bits(first, second) -> bool:
  pairs = zip(leaves(first), leaves(second), strict=True)
  return all(a.tobytes() == b.tobytes() for a, b in pairs)
