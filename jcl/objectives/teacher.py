"""The network as it stood when an experience began."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base


class Teacher(NamedTuple):
  """Parameters and statistics of a network that no longer learns."""

  params: base.Params
  stats: base.Stats


def copy(params: base.Params, stats: base.Stats) -> Teacher:
  """Copies a network into buffers that no training state shares."""
  return jax.tree.map(jnp.copy, Teacher(params, stats))


def begin(
  state: Any, params: base.Params, stats: base.Stats, scope: base.Scope
) -> Teacher:
  """Replaces the teacher by the present network, an `Objective.begin`."""
  del state, scope
  return copy(params, stats)


def earlier_classes(scope: base.Scope) -> base.Array:
  """Returns [C] bool, classes seen that the current experience lacks."""
  return scope.seen & ~scope.current & (scope.task > 0)
