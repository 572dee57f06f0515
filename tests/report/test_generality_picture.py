"""The picture of units over depth, read back from the figure."""

import numpy as np
from PIL import Image
import pytest

from jcl.report import generality

UNITS = ("stem", "block_0", "block_1")
MS = np.array([[np.nan] * 3, [0.9, 0.8, 0.4]])
LP = np.array([[1.0, 0.9, 0.7], [0.95, 0.9, 0.3]])


def test_a_line_for_every_experience(tmp_path):
  figure = generality.picture(UNITS, MS, LP, prefix=2)
  stability, plasticity = figure.axes
  for axis, values in ((stability, MS), (plasticity, LP)):
    lines = [line.get_ydata() for line in axis.lines]
    np.testing.assert_array_equal(lines, values)
    assert [each.get_text() for each in axis.get_xticklabels()] == list(UNITS)
    (shade,) = axis.patches
    assert shade.get_xy()[0] + shade.get_width() == 1.5
  (legend,) = figure.legends
  names = [each.get_text() for each in legend.get_texts()]
  assert names == ["after experience 1", "after experience 2"]
  figure.savefig(tmp_path / "picture.png")
  with Image.open(tmp_path / "picture.png") as image:
    assert np.ptp(np.asarray(image.convert("L"))) > 0


@pytest.mark.parametrize("prefix", [None, 0])
def test_no_prefix_no_shade(prefix):
  figure = generality.picture(UNITS, MS, LP, prefix)
  assert not any(axis.patches for axis in figure.axes)


def test_one_experience_has_nothing_to_lose():
  figure = generality.picture(UNITS, MS[:1], LP[:1])
  assert "nothing to lose" in figure.axes[0].texts[0].get_text()


def test_many_units_are_named_now_and_then():
  units = [f"block_{i}" for i in range(40)]
  values = np.linspace(1, 0, 80).reshape(2, 40)
  figure = generality.picture(units, values, values)
  assert 7 <= len(figure.axes[0].get_xticks()) <= 14


@pytest.mark.parametrize(
  "units, ms, prefix, message",
  [
    (UNITS[:2], MS, None, r"\[experiences, 2 units\]"),
    (UNITS, MS[:1], None, "ms has shape"),
    (UNITS, MS, 4, "prefix=4"),
  ],
)
def test_figures_that_do_not_fit(units, ms, prefix, message):
  with pytest.raises(ValueError, match=message):
    generality.picture(units, ms, LP, prefix)
