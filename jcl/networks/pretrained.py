"""Makes networks begin with given weights."""

from collections.abc import Mapping
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError


def with_weights(
  network: base.Network,
  params: base.Params,
  stats: base.Stats,
  *,
  fresh: tuple[str, ...] = (),
) -> base.Network:
  """Returns the network whose `init` gives these weights.

  Args:
    network: the model.
    params: as learned, of every unit that is not in `fresh`.
    stats: likewise.
    fresh: units that `init` draws anew, such as the head for other classes.

  Raises:
    ValueError: where a weight is missing, has no place, or has another shape.
  """
  unknown = sorted(set(fresh) - set(network.units))
  if unknown:
    raise UsageError(
      f"fresh=[{errors.some(fresh)}]: network {network.name!r} has no unit "
      f"{unknown[0]!r}; its units are {errors.names(network.units)}"
    )
  given = jax.tree.map(np.asarray, ({**params}, {**stats}))
  for part in given:
    for unit in fresh:
      part.pop(unit, None)
  expected = jax.eval_shape(network.init, jax.random.key(0))
  for part in expected:
    for unit in fresh:
      part.pop(unit, None)
  _check(network.name, _shapes(given), _shapes(expected))

  def init(key: base.Key) -> tuple[base.Params, base.Stats]:
    drawn = network.init(key) if fresh else ({}, {})
    params, stats = (
      {**new, **jax.tree.map(jnp.asarray, kept)}
      for new, kept in zip(drawn, given, strict=True)
    )
    return params, stats

  return dataclasses.replace(network, init=init, pretrained=True)


def _shapes(
  trees: tuple[base.Params, base.Stats],
) -> dict[str, tuple[int, ...]]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/")[2:]: leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees)
  }


def _check(
  name: str,
  given: Mapping[str, tuple[int, ...]],
  expected: Mapping[str, tuple[int, ...]],
) -> None:
  faults = [f"{path} is missing" for path in expected if path not in given]
  faults += [f"{path} has no place" for path in given if path not in expected]
  faults += [
    f"{path} has shape {shape}, not {expected[path]}"
    for path, shape in given.items()
    if path in expected and shape != expected[path]
  ]
  if faults:
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise UsageError(
      f"the weights are not those of network {name!r}: "
      + "; ".join(faults[:5])
      + more
    )
