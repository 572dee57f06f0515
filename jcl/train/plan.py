"""Every block's part in the step of one selection."""

from typing import NamedTuple

from jcl import base
from jcl.train import slots, step_spec


class Use(NamedTuple):
  """How one block takes part."""

  training: bool  # whether its normalisers are in training mode
  kept: bool  # whether a backward part follows
  trained: tuple[int, ...] = ()  # leaves that are differentiated
  names: tuple[str | None, ...] = ()  # of them; None: gradient is dropped
  passes: bool = False  # whether the gradient goes on to the block before


def uses(
  spec: step_spec.StepSpec, selection: base.Selection, exact: bool
) -> tuple[Use, ...]:
  """Says what the blocks do, the input side first.

  Args:
    spec: of a network that is a chain.
    selection: which tensors train.
    exact: whether a block differentiates the selected of its tensors only;
      else all of them, where one is selected.
  """
  network, training = spec.network, spec.modes(selection)
  leaves: dict[str, list[tuple[str, bool]]] = {u: [] for u in network.units}
  for tensor, yes in zip(network.tensors, selection.trainable, strict=True):
    leaves[tensor.unit].append((slots.name(tensor), yes))
  found: list[Use] = []
  reached = False
  for unit in network.units:
    # JAX flattens parameters by their sorted keys.
    own = sorted(leaves[unit], key=lambda leaf: leaf[0].split("/"))
    here = any(yes for _, yes in own)
    if not here and not reached:
      found.append(Use(unit in training, False))
      continue
    trained = tuple(
      i for i, (_, yes) in enumerate(own) if here and (yes or not exact)
    )
    names = tuple(own[i][0] if own[i][1] else None for i in trained)
    found.append(Use(unit in training, True, trained, names, reached))
    reached = True
  return tuple(found)
