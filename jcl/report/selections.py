"""Picture of the tensors that trained, update by update."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from jcl import base
from jcl.report import drawing


def picture(
  choices: Sequence[base.Choice],
  tensors: Sequence[base.Tensor],
  title: str = "",
) -> Any:
  """Draws the map of choices as a Matplotlib figure.

  A column is a choice, in order; a row is a tensor in execution order, the
  input at the bottom. Lines part the network's units.

  Args:
    choices: of a run.
    tensors: [W] of its network.
    title: above the map.

  Raises:
    ValueError: where there is no choice, or one of another network.
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
