"""One block of a network as separately compiled forward and backward parts.

A whole step is compiled for one selection; parts are compiled for one block and
serve every selection that the host composes of them. What the backward part
needs travels between the two as arrays. Values that were inputs of the forward
part, such as kernels, are handed on by the host instead of being copied.
"""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
from typing import Any

import jax

from jcl import base
from jcl.base import jaxprs

# What is cheap to compute again from these is not kept for the backward pass.
_KEPT = ("conv_general_dilated", "dot_general", "reduce_window_max")


@dataclasses.dataclass(frozen=True)
class Shapes:
  """What a block reads, as `jax.ShapeDtypeStruct`s."""

  params: base.Params
  stats: base.Stats
  x: Any
  key: Any | None


@dataclasses.dataclass(frozen=True)
class Part:
  """A function of flat arrays, and how to read its results.

  `sources[i]` says where the result `i` comes from: ("out", j) the j-th array
  that the function returns, or ("in", j) its j-th argument.
  """

  fn: Callable[..., list[jax.Array]]
  shapes: tuple[Any, ...]  # of the arguments
  sources: tuple[tuple[str, int], ...]

  def results(self, args: Sequence[Any], outs: Sequence[Any]) -> list[Any]:
    """Puts together what came out and what is handed on."""
    return [
      outs[index] if place == "out" else args[index]
      for place, index in self.sources
    ]


@dataclasses.dataclass(frozen=True)
class Pair:
  """Forward and backward part of a block for one set of trained tensors.

  The forward part takes the leaves of (params, stats, x, key) and results in
  `y`, the leaves of the new statistics and what the backward part needs. The
  backward part takes these and the gradient of `y`, and results in the
  gradients of the trained leaves and, where asked for, of `x`.
  """

  forward: Part
  backward: Part


def shapes_of(
  network: base.Network,
  params: base.Params,
  stats: base.Stats,
  x: Any,
  key: Any | None,
) -> tuple[Shapes, ...]:
  """Returns what each block of a chain reads.

  Args:
    network: one with `blocks`.
    params: of the whole network, arrays or shapes.
    stats: likewise.
    x: normalised inputs [B, ...], array or shape.
    key: shape of a random key, None for none.
  """
  struct = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
    (params, stats, x),
  )
  params, stats, x = struct
  found = []
  for block in network.blocks or ():
    own = Shapes(params.get(block.name, {}), stats.get(block.name, {}), x, key)
    found.append(own)
    x, _ = jax.eval_shape(
      lambda p, s, x, k, block=block: block.apply(p, s, x, False, k),
      own.params,
      own.stats,
      own.x,
      own.key,
    )
  return tuple(found)


def signature(block: base.Block, shapes: Shapes, training: bool) -> str:
  """Returns a text that two blocks share if they compute the same."""
  leaves, run = _flat(block, shapes, training)
  structure = jax.tree.structure((shapes.params, shapes.stats))
  text = f"{structure}\n{jaxprs.signature(jaxprs.trace(run, *leaves))}"
  return hashlib.sha256(text.encode()).hexdigest()


def plain(block: base.Block, shapes: Shapes, training: bool) -> Part:
  """Returns the forward part that keeps nothing: `y`, then statistics."""
  leaves, run = _flat(block, shapes, training)
  return _part(run, leaves)


def pair(
  block: base.Block,
  shapes: Shapes,
  training: bool,
  trained: tuple[int, ...],
  wants_input: bool,
) -> Pair:
  """Returns the two parts for one set of trained tensors.

  Args:
    block: of a chain.
    shapes: what it reads.
    training: whether its normalisers use and update batch statistics.
    trained: positions among the leaves of its parameters; may be empty where
      the gradient only passes.
    wants_input: whether the gradient goes on to what lies before.
  """
  leaves, run = _flat(block, shapes, training)
  num_params = len(jax.tree.leaves(shapes.params))
  num_stats = len(jax.tree.leaves(shapes.stats)) if training else 0
  position = len(leaves) - 1 - (shapes.key is not None)  # of x
  moving = (*trained, position) if wants_input else trained
  assert max(trained, default=0) < max(num_params, 1) and moving
  structure = None

  def forward(*leaves):
    nonlocal structure

    def differentiated(*values):
      given = list(leaves)
      for index, value in zip(moving, values, strict=True):
        given[index] = value
      y, *updated = run(*given)
      return y, updated

    y, back, updated = jax.vjp(
      jax.checkpoint(differentiated, policy=_keeps, prevent_cse=False),
      *(leaves[index] for index in moving),
      has_aux=True,
    )
    kept, structure = jax.tree.flatten(back)
    return [y, *updated, *kept]

  ahead = _part(forward, leaves)

  def backward(*values):
    *kept, gradient = values
    return list(jax.tree.unflatten(structure, kept)(gradient))

  results = ahead.results(leaves, jax.eval_shape(ahead.fn, *leaves))
  y, kept = results[0], results[1 + num_stats :]
  return Pair(ahead, _part(backward, [*kept, y]))


def _keeps(primitive: Any, *_: Any, **__: Any) -> bool:
  return primitive.name in _KEPT


def _flat(block: base.Block, shapes: Shapes, training: bool) -> Any:
  """Returns the block's arguments and itself as a function of flat arrays."""
  tree = (shapes.params, shapes.stats, shapes.x, shapes.key)
  leaves, structure = jax.tree.flatten(tree)

  def run(*leaves):
    params, stats, x, key = jax.tree.unflatten(structure, leaves)
    y, updated = block.apply(params, stats, x, training, key)
    return [y, *(jax.tree.leaves(updated) if training else ())]

  return leaves, run


def _part(fn: Callable[..., Any], shapes: Any) -> Part:
  """Traces a function and leaves out results that are arguments."""
  run, sources = jaxprs.own_results(jaxprs.trace(fn, *shapes))
  return Part(run, tuple(shapes), sources)
