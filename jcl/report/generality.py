"""Chart of the stability and plasticity of a network's units over depth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jcl.report import drawing

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_TITLES = ("memory stability", "learning plasticity")
_NAMES = 14  # units whose names fit side by side


def picture(
  units: Sequence[str],
  ms: np.ndarray,
  lp: np.ndarray,
  prefix: int | None = None,
) -> "Figure":
  """Draws stability and plasticity over depth, a line per experience.

  Args:
    units: [U] names, input side first.
    ms: [T, U] memory stability in [0, 1], NaN where there is none yet.
    lp: [T, U] learning plasticity in [0, 1].
    prefix: number of leading units that are frozen, shaded; None marks none.

  Raises:
    ValueError: for shapes that do not fit, or a prefix of more units than
      there are.
  """
  ms, lp = np.asarray(ms, float), np.asarray(lp, float)
  if ms.shape != lp.shape or ms.ndim != 2 or ms.shape[1] != len(units):
    raise ValueError(
      f"ms has shape {ms.shape} and lp {lp.shape}: give "
      f"[experiences, {len(units)} units] for both"
    )
  if prefix is not None and not 0 <= prefix <= len(units):
    raise ValueError(f"prefix={prefix}: write 0 to {len(units)} units")
  labels = [f"after experience {index + 1}" for index in range(len(lp))]
  figure = drawing.line_figure(labels)
  axes = figure.subplots(1, 2, sharey=True)
  places = np.arange(len(units))
  for axis, title, values in zip(axes, _TITLES, (ms, lp), strict=True):
    if prefix:
      axis.axvspan(-0.5, prefix - 0.5, color="0.93", zorder=0)
      axis.text(
        0, 0.02, "frozen", color="0.4", fontsize=8, ha="left", va="bottom"
      )
    for index, (label, row) in enumerate(zip(labels, values, strict=True)):
      drawing.line(axis, places, row[None], index, label)
    axis.set(title=title, ylim=(0, 1.02), xlim=(-0.5, len(units) - 0.5))
    shown = places[:: -(-len(units) // _NAMES)]
    axis.set_xticks(
      shown, [units[i] for i in shown], rotation=45, ha="right", fontsize=8
    )
    if np.isnan(values).all():
      drawing.say(axis, "one experience:\nnothing to lose yet")
  axes[0].set_ylabel("similarity (debiased CKA)")
  drawing.legend(figure, axes[1])
  return figure
