"""Picture of the tensors that trained, update by update."""

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING

import numpy as np

from jcl import base
from jcl.report import drawing

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def picture(
  choices: Sequence[base.Choice],
  tensors: Sequence[base.Tensor],
  title: str = "",
) -> "Figure":
  """Draws a map of choices: columns are choices, rows are tensors.

  Choices stand in their order, tensors in execution order with the input at the
  bottom. Lines separate the network's units.

  Args:
    choices: the choices of a run.
    tensors: [W] the tensors of its network.
    title: above the map; "": a title of its own.

  Raises:
    ValueError: without choices, or for choices of another network.
  """
  if not choices:
    raise ValueError("the run chose nothing: there is no map to draw")
  lengths = {len(choice.trainable) for choice in choices}
  if lengths != {len(tensors)}:
    raise ValueError(
      f"the choices are over {sorted(lengths)} tensors, the network has "
      f"{len(tensors)}"
    )
  grid = np.array([choice.trainable for choice in choices], float).T
  height = min(max(2.5, 0.11 * len(tensors)), 14)
  figure = drawing.new_figure(max(5.0, 0.3 * len(choices) + 2), height)
  axis = figure.subplots()
  axis.imshow(
    grid, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1.4
  )
  places: dict[str, list[int]] = {}
  for index, tensor in enumerate(tensors):
    places.setdefault(tensor.unit, []).append(index)
  for unit in list(places)[1:]:
    axis.axhline(places[unit][0] - 0.5, color="white", linewidth=1)
  axis.set_yticks(
    [float(np.mean(found)) for found in places.values()], list(places)
  )
  every = math.ceil(len(choices) / 12)
  shown = range(0, len(choices), every)
  axis.set_xticks(list(shown), [str(choices[i].adopted) for i in shown])
  axis.set_xlabel("trained from this update on")
  axis.set_title(title or "What trained when")
  return figure
