"""Charts of accuracy over time, with the phases of each system."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jcl.serving import log

if TYPE_CHECKING:
  from matplotlib.figure import Figure

# Okabe & Ito, "Color Universal Design", 2008.
_COLOURS = {
  "label": "#0072B2",
  "first_label": "#0072B2",
  "extra_label": "#CC79A7",
  "retrain": "#E69F00",
  "profile": "#56B4E9",
  "wait": "#DDDDDD",
}
_NAMED = ("label", "extra_label", "retrain", "profile", "wait")


def picture(
  logs: Mapping[str, log.Log],
  fps: int,
  *,
  span: int,
  changes: Sequence[int] = (),
  title: str = "",
  measure: str = log.ACCURACY,
) -> "Figure":
  """Draws runs over one stream.

  Above: `measure` over the last `span` frames. Below: a row per system with its
  phases, a triangle for each drift that it detected, and a line where new
  weights began to serve. Dotted lines are true changes of the stream.

  Args:
    logs: runs of equal length, by the name to show.
    fps: frames per second.
    span: frames that accuracy is averaged over.
    changes: frames at which the stream changed.
    title: of the picture.
    measure: what shares of right answers are.

  Raises:
    ValueError: without runs, or for a span that is longer than they are.
  """
  from matplotlib.figure import Figure
  from matplotlib.patches import Patch

  lengths = {len(each.truth) for each in logs.values()}
  if len(lengths) != 1 or not 1 <= span <= min(lengths):
    raise ValueError(
      f"runs of {sorted(lengths)} frames and span={span}: give runs of one "
      "length, and a span of 1 frame up to it"
    )
  num = lengths.pop()
  scale = 60 * fps  # frames per minute
  height = 0.25 * len(logs) + 0.8
  figure = Figure((11, 3.5 + height), layout="constrained")
  top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.5, height))
  ends = np.arange(span, num + 1) / scale
  for row, (name, each) in enumerate(logs.items()):
    smooth = np.convolve(each.correct(), np.full(span, 1 / span), "valid")
    top.plot(ends, 100 * smooth, lw=1, label=name)
    spans = [
      (entry.first / scale, (entry.stop - entry.first) / scale)
      for entry in each.phases
    ]
    colours = [_COLOURS.get(entry.kind, "0.5") for entry in each.phases]
    bottom.broken_barh(spans, (row - 0.4, 0.8), facecolors=colours)
    drifts = [entry.first / scale for entry in each.phases if entry.drifted]
    bottom.plot(drifts, [row] * len(drifts), "kv", ms=4)
    fresh = [entry.stop / scale for entry in each.retrainings]
    bottom.vlines(fresh, row - 0.4, row + 0.4, "k", lw=0.6)
  for change in changes:
    for axes in (top, bottom):
      axes.axvline(change / scale, color="0.5", ls=":", lw=0.8)
  top.set(
    title=title,
    ylim=(0, 101),
    xlim=(0, num / scale),
    ylabel=f"{measure} over {span / fps:.3g} s in %",
  )
  figure.legend(
    *top.get_legend_handles_labels(),
    ncols=5,
    fontsize=7,
    loc="outside upper center",
  )
  bottom.set_yticks(range(len(logs)), list(logs), fontsize=7)
  bottom.set_xlabel("minutes")
  bottom.invert_yaxis()
  shown = {entry.kind for each in logs.values() for entry in each.phases}
  kinds = [kind for kind in _NAMED if kind in shown]
  bars = [Patch(color=_COLOURS[kind]) for kind in kinds]
  figure.legend(bars, kinds, ncols=5, fontsize=7, loc="outside lower center")
  return figure
