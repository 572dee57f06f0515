"""A bounded menu of selections, so that few programs are ever compiled.

Every selection that is trained is a program of its own. A menu is made from
what the tensors take alone, not from what they are worth, so it stays as it is
for a whole run, and so do the programs of its entries.
"""

from collections.abc import Sequence

import numpy as np

from jcl import base
from jcl.selection import chain

Mask = tuple[bool, ...]


def prepare(
  tensors: Sequence[base.Tensor],
  head: Sequence[bool] | np.ndarray,
  arrival: np.ndarray,
  training: np.ndarray,
  budget: float,
  size: int,
) -> tuple[Mask, ...]:
  """Returns at most `size` masks that fit a budget, each of whole units.

  The first is the head alone, whether or not it fits. The second trains every
  unit from the deepest on from which all fit. The others, for each depth that
  can be reached, spend what the way there leaves on the units nearest to the
  deepest one, or on those nearest to the head; where there are more than
  `size`, they are thinned out evenly, in order of depth.

  Args:
    tensors: [W] in execution order.
    head: [W] mask of the tensors that every entry trains.
    arrival: [W] seconds, as in `chain.seconds`.
    training: [W] seconds.
    budget: seconds that an entry's gradients and updates may take.
    size: entries at most, 2 or more.
  """
  alone = np.asarray(head, bool)
  units = [np.array(unit) for unit in chain.by_unit(tensors)]
  units = [unit for unit in units if not alone[unit].all()]

  def fits(mask):
    return chain.seconds(arrival, training, mask) <= budget

  def fill(deepest, others):
    mask = alone.copy()
    mask[deepest] = True
    if not fits(mask):
      return None
    for unit in others:
      wider = mask.copy()
      wider[unit] = True
      mask = wider if fits(wider) else mask
    return mask

  suffix, found = alone, []
  for depth, unit in enumerate(units):
    later = units[depth + 1 :]
    masks = fill(unit, later), fill(unit, later[::-1])
    found += [mask for mask in masks if mask is not None]
    whole = alone.copy()
    whole[np.concatenate([unit, *later])] = True
    if suffix is alone and fits(whole):
      suffix = whole
  first = dict.fromkeys(tuple(mask.tolist()) for mask in (alone, suffix))
  others = dict.fromkeys(tuple(mask.tolist()) for mask in found)
  rest = [mask for mask in others if mask not in first]
  room = size - len(first)
  if len(rest) > room:
    rest = [rest[(2 * i + 1) * len(rest) // (2 * room)] for i in range(room)]
  return (*first, *rest)
