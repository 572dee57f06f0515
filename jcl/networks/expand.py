"""A random unit ahead of the head: wide features that never train.

McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for
Continual Learning", NeurIPS 2023, https://arxiv.org/abs/2307.02251, put ReLU
features of random directions behind a trained trunk. Prabhu et al., "RanDumb:
Random Representations Outperform Online Continually Learned Representations",
NeurIPS 2024, https://arxiv.org/abs/2402.08823, put Fourier features of a
Gaussian kernel (Rahimi and Recht, "Random Features for Large-Scale Kernel
Machines", NeurIPS 2007) in place of any trunk.

The matrix [D, M] is drawn anew from a seed in each program that needs it: a
network's statistics, and so checkpoints and saved models, hold the seed and the
kernel's width alone.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base, keys
from jcl.networks import blocks as blocks_lib
from jcl.networks import chain, layers
from jcl.options.errors import UsageError


def relu_features(x: jax.Array, directions: base.Array) -> jax.Array:
  """Returns the positive parts of x [B, D] along directions [D, M].

  >>> relu_features(jnp.array([[1.0, 2.0]]), jnp.array([[1, -1], [2, -3.0]]))
  Array([[5., 0.]], dtype=float32)
  """
  return jax.nn.relu(x @ directions)


def fourier_features(
  x: jax.Array, frequencies: base.Array, phases: base.Array
) -> jax.Array:
  """Returns sqrt(2 / M) cos(x frequencies + phases), [B, M].

  With frequencies from N(0, 2 gamma) and phases from U(0, 2 pi), products of
  two rows' features are near exp(-gamma |x - y|^2).

  Args:
    x: [B, D].
    frequencies: [D, M].
    phases: [M].
  """
  scale = math.sqrt(2 / phases.shape[0])
  return scale * jnp.cos(x @ frequencies + phases)


def bandwidth(x: base.Array) -> float:
  """Returns gamma, 1 / (D var), by the variance of all entries of x [B, D].

  Raises:
    UsageError: where the entries are all the same.
  """
  variance = float(np.var(np.asarray(x, np.float64)))
  if not variance > 0:
    raise UsageError(
      "the first batch does not vary, so that no kernel width suits it: give "
      "gamma= where the recipe has it, as in randumb:gamma=0.1, or more "
      "examples in the first experience"
    )
  return 1 / (np.shape(x)[1] * variance)


def expanded(
  network: base.Network,
  expansion: base.Expansion,
  seed: int,
  gamma: float = 0.0,
) -> base.Network:
  """Returns the network with a random unit ahead of a new head, or beside it.

  Its statistics hold `{"seed": [] uint32, "gamma": [] float32}` for the unit.

  Args:
    network: a chain of units, of which all but the head stay; any network where
      the unit stands beside it.
    expansion: what the unit is to be.
    seed: of the run.
    gamma: of a Fourier unit's kernel.

  Raises:
    UsageError: for a network that is no chain, or has such a unit already.
  """
  if expansion.beside:
    return _beside(network, expansion, seed, gamma)
  if expansion.trunk and network.blocks is None:
    raise UsageError(
      f"network {network.name!r} is no chain of units, and a random unit goes "
      "ahead of the head of a chain: build it with networks.chain"
    )
  if base.EXPAND in network.units:
    raise UsageError(
      f"network {network.name!r} has a unit {base.EXPAND!r} already"
    )
  kept = len(network.units) - 1 if expansion.trunk else 0
  ahead, head = network.units[:kept], network.units[-1]
  tail = chain.chain(
    network.name,
    [(head, layers.Head(network.num_classes))],
    (expansion.width,),
    network.num_classes,
  )
  assert tail.blocks is not None
  blocks = (*(network.blocks or ())[:kept], _block(expansion), *tail.blocks)

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    params, stats = network.init(key) if ahead else ({}, {})
    own = {"seed": jnp.uint32(seed), "gamma": jnp.float32(gamma)}
    drawn, _ = tail.init(jax.random.fold_in(key, len(ahead)))
    return (
      {**{unit: params[unit] for unit in ahead if unit in params}, **drawn},
      {
        **{unit: stats[unit] for unit in ahead if unit in stats},
        base.EXPAND: own,
      },
    )

  name = network.name if ahead else expansion.kind
  return dataclasses.replace(
    network,
    name=f"{name}+{base.EXPAND}" if ahead else name,
    units=(*ahead, base.EXPAND, head),
    tensors=(
      *(tensor for tensor in network.tensors if tensor.unit in ahead),
      *tail.tensors,
    ),
    init=init,
    apply=blocks_lib.apply_fn(network.name, blocks),
    features=base.EXPAND,
    blocks=blocks,
    places=blocks_lib.places(blocks),
    origin=network.origin
    and {**network.origin, "expand": dataclasses.asdict(expansion)},
  )


def _beside(
  network: base.Network, expansion: base.Expansion, seed: int, gamma: float
) -> base.Network:
  """Returns the network with a tap that shows random features of its inputs."""
  unit = _block(expansion)

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    params, stats = network.init(key)
    own = {"seed": jnp.uint32(seed), "gamma": jnp.float32(gamma)}
    return params, {**stats, base.EXPAND: own}

  def apply(params, stats, x, *, taps=(), **more):
    inner = tuple(tap for tap in taps if tap != base.EXPAND)
    rest = {name: own for name, own in stats.items() if name != base.EXPAND}
    own = stats[base.EXPAND]
    out = network.apply(params, rest, x, taps=inner, **more)
    shown = dict(out.taps)
    if base.EXPAND in taps:
      shown[base.EXPAND], _ = unit.apply({}, own, x, False, None)
    return out._replace(stats={**out.stats, base.EXPAND: own}, taps=shown)

  return dataclasses.replace(
    network,
    name=f"{network.name}+{expansion.kind}",
    init=init,
    apply=apply,
    blocks=None,  # the tap is none of the chain's
    origin=network.origin
    and {**network.origin, "expand": dataclasses.asdict(expansion)},
  )


def again(network: base.Network, told: Mapping[str, Any]) -> base.Network:
  """Returns an expanded network as its `origin` tells of it.

  Seed and gamma are among the arrays of a saved model, and 0 until then.
  """
  return expanded(network, base.Expansion(**told), seed=0)


def _block(expansion: base.Expansion) -> base.Block:
  """Returns the random unit as a unit of a chain."""

  def apply(params, stats, x, training, key):
    del params, training, key
    x = jnp.asarray(x, jnp.float32).reshape(len(x), -1)
    shape = x.shape[1], expansion.width
    drawn, phased = jax.random.split(
      keys.key(stats["seed"], keys.Purpose.EXPAND)
    )
    normal = jax.random.normal(drawn, shape, jnp.float32)
    if expansion.kind == "relu":
      return relu_features(x, normal / math.sqrt(shape[0])), {}
    phases = jax.random.uniform(phased, shape[1:], maxval=2 * math.pi)
    scale = jnp.sqrt(2 * stats["gamma"])
    return fourier_features(x, scale * normal, phases), {}

  return base.Block(base.EXPAND, apply)
