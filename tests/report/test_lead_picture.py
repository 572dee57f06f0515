"""Tests of the first picture, read back from the figure."""

import dataclasses
import itertools
import math

import pytest

from jcl.report import drawing, labelled, lead, summary


@pytest.fixture
def make(write_run, tmp_path):
  """Returns a run with given accuracy, joules of learning and bytes."""
  numbers = itertools.count()

  def made(recipe, accuracy=0.5, joules=100.0, held=1000, seed=0, **flags):
    folder = tmp_path / f"run{next(numbers)}"
    run = summary.read_run(write_run(folder, recipe=recipe, seed=seed))
    cost = {"seconds": 10.0, "joules": joules, "flops": 1e9, "bytes": 0.0}
    other = {"seconds": 99.0, "joules": 9e9, "flops": 9e9, "bytes": 0.0}
    scores = {**run.summary["class_incremental"]}
    scores["final_average_accuracy"] = accuracy
    records = tuple(
      dataclasses.replace(each, memory={"bytes": held}) for each in run.records
    )
    changed = {
      **run.summary,
      "costs": {"train": cost, "evaluate": other, "write": other},
      "class_incremental": scores,
      "memory": {"bytes": held},
      "environment": {"flags": flags},
    }
    return dataclasses.replace(run, summary=changed, records=records)

  return made


def at(axis):
  """Where marks are, in their order."""
  marks = [each for each in axis.lines if each.get_marker() in "osD^vPX*"]
  return [(each.get_xdata()[0], each.get_ydata()[0]) for each in marks]


def dashed(axis):
  lines = [each for each in axis.lines if each.get_linestyle() == "--"]
  return [each.get_xdata()[0] for each in lines]


def texts(axis):
  return [each.get_text() for each in axis.texts if each.get_text()]


def test_marks_are_where_the_table_says(make):
  runs = [make("er", 0.8, 200.0, 5000), make("ft", 0.25, 100.0, 0)]
  left, right = lead.picture(runs).axes
  assert at(left) == [(200.0, 0.8), (100.0, 0.25)]
  assert at(right) == [(5000.0, 0.8), (0.0, 0.25)]
  assert texts(left) == texts(right) == ["er", "ft"]
  assert left.get_xlabel() == "joules of learning (modelled)"
  assert left.get_xscale() == "linear" and left.get_xlim()[0] == 0
  low, high = left.get_ylim()
  assert low == pytest.approx(0.1) and high == pytest.approx(0.9)
  colours = [each.get_color() for each in left.lines]
  assert colours == [drawing.colour(0), drawing.colour(1)]


def test_evaluation_and_files_are_no_part_of_learning(make):
  run = make("er", joules=7.0)
  assert lead.learning(run, "joules") == 7.0
  run.summary["costs"]["compile"] = {"joules": 5.0}
  assert lead.learning(run, "joules") == 12.0


def test_seeds_are_a_mean_with_whiskers(make):
  runs = [make("er", a, j, seed=s) for s, a, j in ((0, 0.6, 90), (1, 0.8, 110))]
  left, _ = lead.picture(runs).axes
  assert at(left) == [(100.0, pytest.approx(0.7))]
  (whiskers,) = left.containers
  across, along = whiskers[2]
  # t of one degree of freedom: 12.7 times the standard error; 0 at the left.
  assert across.get_segments()[0][:, 0] == pytest.approx([0, 227.06], abs=0.01)
  assert along.get_segments()[0][:, 1] == pytest.approx([0, 1])


@pytest.mark.parametrize(
  ("flags", "label", "x", "told"),
  [
    ({"energy_budget": "150J"}, "joules", 150.0, "150 J"),
    ({"flops_budget": 2e9}, "operations", 2e9, "2 GFLOP"),
    ({"seconds_budget": 30.0}, "seconds", 30.0, "30 s"),
  ],
)
def test_the_budget_stands_on_an_axis_of_its_unit(make, flags, label, x, told):
  left, right = lead.picture([make("er", **flags)]).axes
  assert left.get_xlabel().startswith(label)
  assert dashed(left) == [x] and dashed(right) == []
  assert f"budget {told}" in texts(left)
  low, high = left.get_xlim()
  assert low < x < high


def test_a_budget_of_memory_stands_in_the_right_panel(make):
  left, right = lead.picture([make("er", memory_budget="4kB")]).axes
  assert dashed(right) == [4000.0] and dashed(left) == []
  assert "budget 4 kB" in texts(right)
  assert left.get_xlabel().startswith("joules")


def test_budgets_that_are_not_drawn_are_told(make):
  flags = {"energy_budget": "150J", "seconds_budget": 30.0}
  figure = lead.picture([make("er", **flags, memory_budget="auto")])
  assert figure.get_supxlabel() == (
    "joules: modelled (from the data sheet)\n"
    "budgets that are not drawn: 30 s, memory by auto"
  )


def test_far_amounts_have_a_logarithmic_axis(make):
  runs = [make("a", joules=1.0, held=10), make("b", joules=500.0, held=0)]
  runs.append(make("c", joules=30.0, held=9000))
  left, right = lead.picture(runs).axes
  assert left.get_xscale() == "log"
  assert left.get_xticks().tolist() == [1, 10, 100]
  # Nothing is free of charge on a logarithmic axis, but for its left end.
  assert right.get_xscale() == "symlog" and right.get_xlim()[0] == 0
  assert right.get_xticks().tolist() == [0, 10, 100, 1000, 10_000]
  assert at(right)[1] == (0.0, 0.5)


def test_ticks_are_ones_twos_and_fives():
  assert lead.ticks(0.3, 4.0) == [0.5, 1, 2]
  assert lead.ticks(1.0, 1e9) == [
    1,
    10,
    100,
    1e3,
    1e4,
    1e5,
    1e6,
    1e7,
    1e8,
    1e9,
  ]


def test_recipes_that_cost_nothing_are_drawn_at_zero(make):
  left, right = lead.picture([make("a", joules=0.0, held=0)]).axes
  assert at(left) == at(right) == [(0.0, 0.5)]
  assert left.get_xlim()[0] == 0 < left.get_xlim()[1]


def test_a_run_without_joules_is_left_out_on_the_left_alone(make):
  lost = make("lost", joules=None)
  left, right = lead.picture([make("er"), lost]).axes
  assert texts(left) == ["er"] and texts(right) == ["er", "lost"]
  left, right = lead.picture([lost]).axes
  assert texts(left) == ["no joules recorded"] and texts(right) == ["lost"]


def test_memory_that_nobody_recorded(make):
  run = make("er")
  records = [dataclasses.replace(each, memory={}) for each in run.records]
  run = dataclasses.replace(run, records=tuple(records))
  left, right = lead.picture([run]).axes
  assert texts(right) == ["no bytes of memory recorded"]
  assert math.isnan(lead.held(run)) and len(at(left)) == 1


def test_the_most_memory_counts(make):
  run = make("er")
  first, *others = run.records
  first = dataclasses.replace(first, memory={"bytes": 70_000})
  run = dataclasses.replace(run, records=(first, *others))
  assert lead.held(run) == 70_000


def test_runs_that_have_just_begun_are_told(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "run", done=0))
  left, right = lead.picture([run]).axes
  assert texts(left) == texts(right) == ["no accuracy is known yet"]


def test_without_test_sets_accuracy_is_that_before_learning(make):
  run = make("er")
  run.summary.update(test_sizes=[], online_accuracy=0.35)
  left, _ = lead.picture([run]).axes
  assert at(left)[0][1] == 0.35
  assert left.get_ylabel() == "accuracy before learning"


@pytest.mark.parametrize("count", range(1, 9))
def test_names_do_not_overlap(make, count):
  """Half of the marks lie at one place, the others near it."""
  names = ["er", "finetune", "derpp (buffer=200)", "auto", "icarl", "slda"]
  names += ["er+freeze (until=0.7)", "latent replay (codes=32, buffer=1000)"]
  runs = [
    make(name, 0.5 + 0.01 * (i % 2) * i, 100.0 + (i % 2) * i, 1000, **BUDGET)
    for i, name in enumerate(names[:count])
  ]
  figure = lead.picture(runs)
  figure.draw_without_rendering()
  for axis in figure.axes:
    boxes = [each.get_window_extent() for each in axis.texts if each.get_text()]
    inside = axis.get_window_extent().padded(1)
    for one, other in itertools.combinations(boxes, 2):
      assert not one.overlaps(other)
    for box in boxes[-count:]:
      assert inside.contains(box.x0, box.y0)
      assert inside.contains(box.x1, box.y1)


BUDGET = {"energy_budget": "110J"}


@pytest.mark.parametrize(
  "labels", [["a"] * 9, ["x" * 40], ["one two three four five six " * 6]]
)
def test_many_or_long_names_stand_in_a_legend(labels):
  assert not labelled.fit(labels)
  assert labelled.fit(["er (buffer=200, minibatch=8)"] * 8)


def test_nine_recipes_have_a_legend(make):
  runs = [make(f"recipe{i}") for i in range(9)]
  figure = lead.picture(runs)
  (legend,) = figure.legends
  assert [each.get_text() for each in legend.get_texts()] == [
    f"recipe{i}" for i in range(9)
  ]
  assert texts(figure.axes[0]) == []


def test_marks_at_one_place_are_all_seen(make):
  left, _ = lead.picture([make("a"), make("b"), make("c")]).axes
  sizes = [each.get_markersize() for each in left.lines]
  assert sizes == sorted(set(sizes), reverse=True)
