"""Tests of the charts: what they show is read back from the figures."""

import numpy as np
from PIL import Image
import pytest

from jcl.report import drawing, pictures, summary, table


def test_lines_are_means_over_seeds(runs):
  figure = pictures.accuracy_per_experience(runs)
  line = figure.axes[0].lines[0]
  rows = [np.array(summary.matrix(run)) for run in runs[:2]]
  last = np.mean([row[-1].mean() for row in rows])
  np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
  assert line.get_ydata()[-1] == pytest.approx(last)
  assert line.get_label() == "er"
  colours = {each.get_color() for each in figure.axes[0].lines}
  assert len(colours) == 2


def test_bars_bear_the_names_of_classes(write_run, tmp_path):
  names = ["phone box", "$5 $6", "猫", "x" * 30, "4", "f"]
  run = summary.read_run(write_run(tmp_path / "a", class_names=names))
  figure = pictures.memory_per_class([run])
  shown = [each.get_text() for each in figure.axes[0].get_xticklabels()]
  # Letters that the font lacks would be boxes.
  assert shown == ["phone box", "$5 $6", "2", "x" * 13 + "…", "4", "f"]
  figure.savefig(tmp_path / "drawn.png")
  many = drawing.new_figure(3, 3).subplots()
  drawing.named(many, np.arange(21), [f"class {i}" for i in range(21)])
  assert len(many.get_xticks()) < 21


def test_time_includes_the_ends_of_experiences(runs):
  figure = pictures.accuracy_over_time(runs)
  line = figure.axes[0].lines[0]
  assert line.get_xdata().tolist() == [20, 50, 70, 100, 120, 150]
  assert line.get_ydata()[0] == pytest.approx(0.4)


def test_matrix_is_annotated_in_percent(runs):
  figure = pictures.accuracy_matrix(runs)
  mean = pictures.mean_matrix(table.group(runs)[0])
  texts = [text.get_text() for text in figure.axes[0].texts]
  assert texts == [f"{100 * value:.0f}" for value in mean.ravel()]


def test_forgetting_bars(runs):
  figure = pictures.forgetting(runs)
  heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
  rows = [np.array(summary.matrix(run)) for run in runs[:2]]
  expected = np.mean([m[:-1, :-1].max(0) - m[-1, :-1] for m in rows], axis=0)
  np.testing.assert_allclose(heights, expected)


@pytest.mark.parametrize("done", [0, 1])
def test_empty_charts_say_why(write_run, tmp_path, done):
  folder = write_run(tmp_path / "run", done=done, num_experiences=1)
  run = summary.read_run(folder)
  figure = pictures.forgetting([run])
  assert "nothing to forget" in figure.axes[0].texts[0].get_text()
  for name, path in pictures.save_all([run], tmp_path / "out").items():
    with Image.open(path) as image:
      assert image.format == "PNG", name
      assert np.ptp(np.asarray(image.convert("L"))) > 0, name


def test_memory_that_nobody_recorded(runs):
  runs[0].summary["memory"] = {}
  figure = pictures.memory_per_class(runs[:1])
  assert figure.axes[0].texts[0].get_text() == "no memory recorded"


def test_seeds_with_other_steps_meet_on_a_common_axis():
  first = (np.array([0.0, 10.0]), np.array([0.0, 1.0]))
  second = (np.array([0.0, 20.0]), np.array([0.0, 2.0]))
  x, y = drawing.resampled([first, second])
  np.testing.assert_allclose(y[1], x / 10)
  # A seed that is over has no say in what follows.
  assert np.isnan(y[0, x > 10]).all()
  np.testing.assert_allclose(y[0, x <= 10], x[x <= 10] / 10)
  same, both = drawing.resampled([first, first])
  assert same is first[0] and both.shape == (2, 2)


def test_many_recipes_stay_apart():
  looks = {(drawing.colour(index), drawing.hatch(index)) for index in range(28)}
  assert len(looks) == 28


def test_labels_break_between_options():
  label = "recipe (insertion=reservoir, learning_rate=0.001)"
  lines = drawing.wrapped(label, 20).split("\n")
  assert " ".join(lines) == label
  assert "(insertion=reservoir," in lines
