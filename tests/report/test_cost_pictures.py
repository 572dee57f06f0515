"""Tests of the charts of costs, read back from the figures."""

import pytest

from jcl.report import cost_pictures


def test_cost_bars_add_up(runs):
  figure = cost_pictures.costs(runs)
  for axis, total in zip(
    figure.axes,
    (runs[0].summary["total"]["seconds"], 1290.0, 1.8e10),
    strict=True,
  ):
    widths = [bar.get_width() for stack in axis.containers[:2] for bar in stack]
    assert sum(widths[::2]) == pytest.approx(total, rel=0.05)
  assert figure.axes[1].get_xlabel() == "joules (modelled)"
  assert figure.get_supxlabel() == "joules: modelled (from the data sheet)"


def test_memory_bars_stack_up_beside_the_peak(runs, step_memory):
  figure = cost_pictures.step_memory(runs)
  assert figure.axes[0].texts[0].get_text() == "none recorded"
  runs[0].summary["step_memory"] = step_memory
  (axis,) = cost_pictures.step_memory(runs).axes
  bars = [bar for stack in axis.containers for bar in stack]
  assert [bar.get_width() for bar in bars] == [
    200,
    400,
    300,
    300,
    50,
    1000,
    20,
    4000,
  ]
  assert bars[-1].get_x() == 200 + 400 + 300 + 300 + 50 + 1000 + 20
  assert axis.collections[0].get_offsets().tolist() == [[6000, 0]]
