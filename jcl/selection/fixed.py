"""Selections that stay as they are for a whole run."""

from collections.abc import Callable
import math

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import mask


def everything() -> base.Selector:
  """Trains every tensor."""
  return _fixed(mask.everything)._replace(candidates=None)


def nothing() -> base.Selector:
  """Trains no tensor, for methods that make no update."""

  def choose(network: base.Network) -> base.Selection:
    raise UsageError(
      f"the recipe makes no updates of network {network.name!r}: leave out "
      "epochs"
    )

  return _fixed(choose)._replace(candidates=mask.nothing)


def head_only() -> base.Selector:
  """Trains the last unit."""
  return top_units(1)


def top_units(num_units: int) -> base.Selector:
  """Trains the last `num_units` units, the head included.

  Raises:
    ValueError: for less than one unit; and from `choose`, for more than the
      network has.
  """
  if num_units < 1:
    raise UsageError(f"num_units={num_units}: train one unit at least")

  def choose(network: base.Network) -> base.Selection:
    count = len(network.units)
    if num_units > count:
      raise UsageError(
        f"network {network.name!r} has {count} units: train 1 to {count} of "
        f"them, not {num_units}"
      )
    return _from(network, count - num_units)

  return _fixed(choose)


def frozen_prefix(until: str | int | float) -> base.Selector:
  """Freezes the units from the input on; `until` as in `first_trained`."""
  return _fixed(trunk_left_out(until))


def trunk_left_out(
  until: str | int | float,
) -> Callable[[base.Network], base.Selection]:
  """Returns a function that selects all units from `first_trained` on."""
  return lambda network: _from(network, first_trained(network, until))


def frozen_once_trained(until: str | int | float) -> base.Selector:
  """Freezes as `frozen_prefix` does, once the frozen units have learned.

  A network without learned weights trains as a whole in its first experience.
  """

  def choose(network: base.Network, experience: int) -> base.Selection:
    if experience == 0 and not network.pretrained:
      return mask.everything(network)
    return _from(network, first_trained(network, until))

  def ever(network: base.Network) -> base.Selection:
    return choose(network, 0)

  return by_experience(choose)._replace(candidates=ever)


def by_experience(
  choose: Callable[[base.Network, int], base.Selection],
) -> base.Selector:
  """Selects anew in each experience.

  The state counts the choices so far.

  Args:
    choose: maps the network and the experience's number, from 0, to a
      selection.
  """
  return base.Selector(
    init=lambda params: np.int32(0),
    update=lambda key, state, probe: np.int32(state + 1),
    choose=lambda state, network, times, budget: choose(
      network, int(state) - 1
    ),
    prompt=True,
  )


def first_trained(network: base.Network, until: str | int | float) -> int:
  """Returns the position of the first unit that trains.

  Args:
    network: the model.
    until: the name of that unit, or the number of frozen units, or their share
      of all units: a float below 1, such as 0.7.

  Raises:
    ValueError: where the network has no such unit, or none is left to train.
  """
  count = len(network.units)
  if isinstance(until, str):
    if until not in network.units:
      raise UsageError(
        f"network {network.name!r} has no unit {until!r}: its units are "
        f"{', '.join(network.units)}"
      )
    return network.units.index(until)
  if isinstance(until, float) and not 0 <= until < 1:
    raise UsageError(
      f"freeze {until} of the units: give a share in [0, 1), a whole number of "
      "units, or the name of the first that trains"
    )
  first = until
  if isinstance(until, float):
    first = math.floor((count + network.offset) * until + 0.5)
  # A part of a network that begins behind the last frozen unit trains wholly.
  first = max(0, int(first) - network.offset) if network.offset else int(first)
  if not 0 <= first < count:
    raise UsageError(
      f"network {network.name!r} has {count} units: freeze 0 to {count - 1} of "
      f"them, not {first}"
    )
  return first


def biases() -> base.Selector:
  """Trains biases, normalisers and the head (BN+Bias of the literature)."""
  return _fixed(with_biases())


def with_biases(
  first: bool = False,
) -> Callable[[base.Network], base.Selection]:
  """Returns a function that selects biases, normalisers and the head.

  Args:
    first: whether it selects the first unit as well.
  """

  def choose(network: base.Network) -> base.Selection:
    whole = {network.units[-1], *(network.units[:1] if first else ())}
    return mask.select(
      network,
      lambda tensor: (
        tensor.kind in ("bias", "scale", "shift") or tensor.unit in whole
      ),
    )

  return choose


def _from(network: base.Network, first: int) -> base.Selection:
  trained = network.units[first:]
  return mask.select(network, lambda tensor: tensor.unit in trained)


def _fixed(
  choose_fn: Callable[[base.Network], base.Selection],
) -> base.Selector:
  return base.Selector(
    init=lambda params: (),
    update=lambda key, state, probe: state,
    choose=lambda state, network, times, budget: choose_fn(network),
    candidates=choose_fn,
  )
