"""Where a network is tapped for its feature maps, and cut below them."""

from collections.abc import Sequence
from typing import NamedTuple

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError


class Layout(NamedTuple):
  """Where a network is tapped for anchors."""

  units: tuple[str, ...]
  first: int  # position of the unit from which training begins
  taps: tuple[str, ...]
  below: str | None  # unit whose output is kept instead of inputs

  @property
  def wanted(self) -> tuple[str, ...]:
    """All outputs to ask the network for."""
    return (self.below, *self.taps) if self.below else self.taps


def layout(
  network: base.Network,
  first: int,
  taps: Sequence[str] = (),
  keeps_inputs: bool = False,
) -> Layout:
  """Returns where a network is tapped, and whether it is cut.

  Args:
    network: the model.
    first: position of its first unit that trains.
    taps: units or places of `Network.places`; (): those of `default_taps`.
    keeps_inputs: whether inputs are kept although the network is a chain, so
      that the output below the first unit that trains would do.

  Raises:
    UsageError: for a tap that the network does not have, or in its frozen part.
  """
  cut = first and network.blocks is not None and not keeps_inputs
  taps = tuple(taps) or default_taps(network, first)
  known = (*network.units[:-1], *network.places)
  for tap in taps:
    if tap not in known:
      raise UsageError(
        f"network {network.name!r} has no place {tap!r} to hold: choose among "
        f"{errors.names(known)}"
      )
    if network.units.index(tap.split("/")[0]) < first:
      raise UsageError(
        f"tap {tap!r} lies in the frozen part of {network.name!r}, where "
        f"nothing drifts: training begins at {network.units[first]!r}"
      )
  below = network.units[first - 1] if cut else None
  return Layout(network.units, first, taps, below)


def default_taps(network: base.Network, first: int) -> tuple[str, ...]:
  """Returns the places of the units from `first` on, or their outputs."""
  taps: list[str] = []
  for unit in network.units[first:-1]:
    inner = [p for p in network.places if p.split("/")[0] == unit]
    taps += inner or [unit]
  return tuple(taps)
