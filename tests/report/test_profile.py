"""A profile's table and chart, read back."""

import dataclasses

import numpy as np
from PIL import Image
import pytest

from jcl.report import profile
from jcl.selection.times import TensorTimes
from tests import tiny_network

TENSORS = tiny_network.build().tensors
TIMES = TensorTimes(
  forward=(0.001,) * 6,
  arrival=(0.0, 0.002, 0.0, 0.003, 0.0, 0.001),
  weight_grad=(0.004, 0.0005, 0.005, 0.0005, 0.002, 0.0001),
  update=(0.0002,) * 6,
  fixed=0.0005,
  method="calibrated",
  backward_total=0.0181,
)


def test_the_table_is_in_milliseconds():
  frame = profile.table(TIMES, TENSORS)
  assert frame["tensor"].tolist()[:3] == [
    "first/kernel",
    "first/bias",
    "second/kernel",
  ]
  assert frame["unit"].tolist() == ["first"] * 2 + ["second"] * 2 + ["head"] * 2
  assert frame["shape"][0] == "4 x 8" and frame["kind"][1] == "bias"
  np.testing.assert_allclose(frame["arrival ms"], [0, 2, 0, 3, 0, 1])
  np.testing.assert_allclose(frame["update ms"], 0.2)


def test_text_ends_in_sums():
  lines = profile.as_text(profile.table(TIMES, TENSORS)).splitlines()
  assert len(lines) == 1 + 6 + 1
  assert lines[0].split()[:4] == ["unit", "tensor", "kind", "shape"]
  last = lines[-1].split()
  assert last == ["total", "6.0000", "6.0000", "12.1000", "1.2000"]


def test_bars_stack_up_to_each_tensor():
  figure = profile.picture(TIMES, TENSORS)
  (axis,) = figure.axes
  heights = [[bar.get_height() for bar in bars] for bars in axis.containers]
  np.testing.assert_allclose(heights[0], 1e3 * np.array(TIMES.arrival))
  np.testing.assert_allclose(heights[1], 1e3 * np.array(TIMES.weight_grad))
  np.testing.assert_allclose(heights[2], 1e3 * np.array(TIMES.update))
  tops = [bar.get_y() + bar.get_height() for bar in axis.containers[-1]]
  np.testing.assert_allclose(
    tops, 1e3 * (np.array(TIMES.arrival) + TIMES.training)
  )


def test_units_are_marked_and_named():
  (axis,) = profile.picture(TIMES, TENSORS).axes
  assert [line.get_xdata()[0] for line in axis.lines] == [1.5, 3.5]
  names = [label.get_text() for label in axis.get_xticklabels()]
  assert names == ["first", "second", "head"]
  assert axis.get_xticks().tolist() == [0.5, 2.5, 4.5]


def test_the_title_says_what_to_trust():
  title = profile.picture(TIMES, TENSORS).axes[0].get_title()
  least = (0.0065 + 0.001 + 0.0003) / TIMES.full
  assert title == (
    f"calibrated profile: full step 25.8 ms, closure 1.000, "
    f"least feasible rho {least:.3f}"
  )
  scaled = dataclasses.replace(TIMES, about={"closure": 0.75})
  assert "closure 0.750" in profile.describe(scaled)
  unknown = dataclasses.replace(TIMES, backward_total=float("nan"))
  assert "closure not measured" in profile.describe(unknown)
  kept = dataclasses.replace(unknown, about={"closure": None})
  assert "closure not measured" in profile.describe(kept)


def test_it_draws(tmp_path):
  path = tmp_path / "profile.png"
  profile.picture(TIMES, TENSORS).savefig(path)
  with Image.open(path) as image:
    assert np.ptp(np.asarray(image.convert("L"))) > 0


@pytest.mark.parametrize("show", [profile.table, profile.picture])
def test_times_of_another_network(show):
  with pytest.raises(ValueError, match="has 6 tensors, not 5"):
    show(TIMES, TENSORS[:-1])
