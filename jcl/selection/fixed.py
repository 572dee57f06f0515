"""Selections that stay as they are for a whole run."""

from collections.abc import Callable

from jcl import base
from jcl.selection import mask


def everything() -> base.Selector:
  """Trains every tensor."""
  return _fixed(mask.everything)


def head_only() -> base.Selector:
  """Trains the last unit."""
  return top_units(1)


def top_units(num_units: int) -> base.Selector:
  """Trains the last `num_units` units, the head included."""
  if num_units < 1:
    raise ValueError(f"num_units={num_units}: train one unit at least")

  def choose(network):
    count = len(network.units)
    if num_units > count:
      raise ValueError(
        f"network {network.name!r} has {count} units: train 1 to {count} of "
        f"them, not {num_units}"
      )
    return _from(network, count - num_units)

  return _fixed(choose)


def frozen_prefix(until: str | int) -> base.Selector:
  """Freezes the units from the input on.

  Args:
    until: the first unit that trains, by name, or the number of frozen units.
  """

  def choose(network):
    if isinstance(until, int):
      return _from(network, until)
    if until not in network.units:
      raise ValueError(
        f"network {network.name!r} has no unit {until!r}: its units are "
        f"{', '.join(network.units)}"
      )
    return _from(network, network.units.index(until))

  return _fixed(choose)


def biases() -> base.Selector:
  """Trains biases, normalisers and the head (BN+Bias of the literature)."""

  def choose(network):
    return mask.select(
      network,
      lambda tensor: (
        tensor.kind in ("bias", "scale", "shift")
        or tensor.unit == network.units[-1]
      ),
    )

  return _fixed(choose)


def _from(network: base.Network, first: int) -> base.Selection:
  if not 0 <= first < len(network.units):
    raise ValueError(
      f"network {network.name!r} has {len(network.units)} units: freeze 0 to "
      f"{len(network.units) - 1} of them, not {first}"
    )
  trained = network.units[first:]
  return mask.select(network, lambda tensor: tensor.unit in trained)


def _fixed(
  choose_fn: Callable[[base.Network], base.Selection],
) -> base.Selector:
  return base.Selector(
    init=lambda params: (),
    update=lambda key, state, probe: state,
    choose=lambda state, network, times, budget: choose_fn(network),
  )
