"""Table and chart of the time of a train step, tensor by tensor."""

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING

import numpy as np

from jcl import base
from jcl.report import drawing
from jcl.selection.times import TensorTimes

if TYPE_CHECKING:
  from matplotlib.figure import Figure
  import pandas as pd

_PARTS = {
  "arrival": "gradient's arrival",
  "weight_grad": "its weights' gradient",
  "update": "update",
}
_MILLI = 1e3
_NAMES = 12  # names of units that fit side by side below the chart


def table(times: TensorTimes, tensors: Sequence[base.Tensor]) -> "pd.DataFrame":
  """Tabulates times in milliseconds, one row per tensor, input side first.

  Columns are unit, tensor (its path), kind, shape, forward ms, arrival ms,
  weight_grad ms and update ms.

  Raises:
    ValueError: for times of another number of tensors.
  """
  import pandas as pd

  _check(times, tensors)
  return pd.DataFrame(
    {
      "unit": [tensor.unit for tensor in tensors],
      "tensor": ["/".join(tensor.path) for tensor in tensors],
      "kind": [tensor.kind for tensor in tensors],
      "shape": [
        " x ".join(map(str, tensor.shape)) or "scalar" for tensor in tensors
      ],
      **{
        f"{name} ms": _MILLI * np.asarray(getattr(times, name))
        for name in ("forward", *_PARTS)
      },
    }
  )


def as_text(frame: "pd.DataFrame") -> str:
  """Formats the table of `table` for a terminal, with a last row of sums."""
  import pandas as pd

  columns = [name for name in frame.columns if name.endswith(" ms")]
  last = {name: "" for name in frame.columns} | {"unit": "total"}
  last |= {name: math.fsum(frame[name]) for name in columns}
  whole = pd.concat([frame.astype(object), pd.DataFrame([last])])
  return whole.to_string(
    index=False, formatters=dict.fromkeys(columns, "{:.4f}".format)
  )


def describe(times: TensorTimes) -> str:
  """Returns one line: method, time of a full step, closure, least rho."""
  closure = times.about.get("closure", times.closure)
  missing = closure is None or math.isnan(closure)
  told = "not measured" if missing else f"{closure:.3f}"
  return (
    f"{times.method} profile: full step {_MILLI * times.full:.3g} ms, "
    f"closure {told}, least feasible rho {times.least_share:.3f}"
  )


def picture(times: TensorTimes, tensors: Sequence[base.Tensor]) -> "Figure":
  """Draws the backward times of each tensor as bars, input side first.

  Lines separate the units, whose names stand below. The title is the line of
  `describe`; its closure is the one before any scaling.

  Raises:
    ValueError: for times of another number of tensors.
  """
  _check(times, tensors)
  figure = drawing.new_figure(drawing.WIDTH, 3.8)
  axis = figure.subplots()
  places = np.arange(len(tensors))
  bottom = np.zeros(len(tensors))
  for index, (name, label) in enumerate(_PARTS.items()):
    height = _MILLI * np.asarray(getattr(times, name))
    axis.bar(
      places,
      height,
      bottom=bottom,
      width=0.85,
      color=drawing.colour(index),
      label=label,
    )
    bottom = bottom + height
  runs = _runs([tensor.unit for tensor in tensors])
  for _, start, _ in runs[1:]:
    axis.axvline(start - 0.5, color="0.75", linewidth=0.8, zorder=0)
  axis.set_xticks(
    [(start + stop - 1) / 2 for _, start, stop in runs],
    [name for name, _, _ in runs],
    rotation=90 if len(runs) > _NAMES else 0,
    fontsize=8,
  )
  axis.tick_params(axis="x", length=0)
  axis.set(
    xlim=(-0.75, len(tensors) - 0.25),
    xlabel="tensors in execution order, by unit",
    ylabel="milliseconds of a step",
  )
  drawing.tidy(axis, "y")
  axis.set_title(drawing.wrapped(describe(times), 110), fontsize=9)
  axis.legend(fontsize=8, frameon=False)
  return figure


def _runs(names: Sequence[str]) -> list[tuple[str, int, int]]:
  """Returns stretches of equal neighbours, as (name, start, stop)."""
  starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
  stops = [*starts[1:], len(names)]
  return [
    (names[start], start, stop)
    for start, stop in zip(starts, stops, strict=True)
  ]


def _check(times: TensorTimes, tensors: Sequence[base.Tensor]) -> None:
  if len(times.forward) != len(tensors):
    raise ValueError(
      f"the profile has {len(times.forward)} tensors, not {len(tensors)}: give "
      "the tensors of the network it was made of"
    )
