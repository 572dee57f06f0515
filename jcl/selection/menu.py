"""A bounded menu of selections, so that few programs are ever compiled.

Every selection that is trained is a program of its own. A menu follows from the
times of the tensors alone, not from their worth. It therefore stays the same
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

  The first mask is the head alone, whether or not it fits. The second trains
  the longest run of units up to the head that fits. Each of the others has a
  deepest unit; it spends the time that the way down to that unit leaves on the
  units nearest to it, or on the units nearest to the head. Where there are more
  than `size`, they are thinned out evenly, in order of depth.

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

  def fits(mask: np.ndarray) -> bool:
    return chain.seconds(arrival, training, mask) <= budget

  def fill(
    deepest: np.ndarray, others: Sequence[np.ndarray]
  ) -> np.ndarray | None:
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
