"""Tests of the sentences that a report begins with."""

import dataclasses

import pytest

from jcl import base
from jcl.report import paragraph, summary


@pytest.fixture
def run(write_run, tmp_path):
  return summary.read_run(write_run(tmp_path / "er", recipe="er"))


def changed(run, **fields):
  records = [dataclasses.replace(each, **fields) for each in run.records]
  return dataclasses.replace(run, records=tuple(records))


def limit(**limits):
  return base.Decision(2, limit=dataclasses.replace(base.UNLIMITED, **limits))


def test_a_run_is_told_in_figures(run):
  assert paragraph.setting([run]) == (
    "What was learned: made up, 3 experiences with 6 classes in all. "
    "Accuracies are means over the test sets of all experiences, with all "
    "classes competing."
  )
  ((recipe, told),) = paragraph.sentences([run])
  scores = run.summary["class_incremental"]
  total = run.summary["total"]
  assert recipe == "er"
  for part in (
    f"{100 * scores['final_average_accuracy']:.1f} % are right in the end",
    f"fell {100 * scores['forgetting_from_maximum']:.1f} points from their",
    f"it took {total['seconds']:.3g} s, {total['joules']:,.0f} J (modelled) "
    "and 3.3 TFLOP.",
  ):
    assert part in told, part


def test_seeds_are_told_as_means(write_run, tmp_path):
  runs = [
    summary.read_run(write_run(tmp_path / str(seed), recipe="er", seed=seed))
    for seed in range(3)
  ]
  ((_, told),) = paragraph.sentences(runs)
  accuracies = [
    each.summary["class_incremental"]["final_average_accuracy"] for each in runs
  ]
  assert f"{100 * sum(accuracies) / 3:.1f} % are right" in told
  assert "Means over 3 seeds." in told


def test_the_limit_that_ended_experiences_is_named(run):
  spent = run.records[0].costs["train"]  # as every record's, but for seconds
  reached = changed(run, decision=limit(joules=spent.joules))
  assert paragraph.limits_reached(reached.records[0]) == ["joules"]
  assert "the budget of joules ended 3 of 3 experiences" in paragraph.limited(
    reached
  )
  short = changed(run, decision=limit(joules=1.01 * spent.joules))
  assert not paragraph.limits_reached(short.records[0])
  assert "joules" not in paragraph.limited(short)


def test_evaluation_is_no_part_of_what_a_limit_bounds(run):
  record = run.records[0]
  both = record.costs["train"].joules + record.costs["evaluate"].joules
  assert not paragraph.limits_reached(
    dataclasses.replace(record, decision=limit(joules=both))
  )


def test_an_equal_cost_ends_an_experience_where_no_update_has_room(run):
  record = run.records[0]
  train, probe = record.costs["train"], base.Cost(flops=3.0)
  costs = {**record.costs, "probe": probe}
  spent = train.flops + probe.flops
  each = (spent - probe.flops) / record.steps
  for most, names in (
    (spent + 0.9 * each, ["flops"]),
    (spent + 1.1 * each, []),
  ):
    decision = dataclasses.replace(
      limit(flops=most), counts=("train", "replay", "probe")
    )
    found = dataclasses.replace(record, costs=costs, decision=decision)
    assert paragraph.limits_reached(found) == names


def test_without_a_limit_the_epochs_are_told(run):
  free = changed(run, decision=limit(), trained=(10, 10))
  assert paragraph.limited(free) == (
    "Nothing limited it: every experience got its 2 epochs."
  )
  once = changed(free, decision=base.Decision(1))
  assert paragraph.limited(once).endswith("got its 1 epoch.")


def test_what_trained_ended_early_or_is_not_over_is_told(
  run, write_run, tmp_path
):
  assert "4 of 10 tensors trained in the last experience" in paragraph.limited(
    run
  )
  decisions = [{"kind": "fixed"}, {"kind": "ended"}, {"kind": "shrunk"}]
  tiers = changed(run, memory={"decisions": decisions})
  assert "3 experiences ended early" in paragraph.limited(tiers)
  assert "was lowered 3 times" in paragraph.limited(tiers)
  begun = summary.read_run(write_run(tmp_path / "two", done=2))
  assert "the run is not over, 2 of 3" in paragraph.limited(begun)
  assert "No experience is over yet." in paragraph.limited(
    summary.read_run(write_run(tmp_path / "none", done=0))
  )


def test_what_holds_of_all_recipes_is_told_once(write_run, tmp_path):
  runs = [
    summary.read_run(write_run(tmp_path / str(index), recipe=f"r{index}"))
    for index in range(10)
  ]
  told = paragraph.sentences(runs)
  assert [recipe for recipe, _ in told] == [
    *(f"r{i}" for i in range(8)),
    "",
    "",
  ]
  assert told[8][1] == "2 more are in the table below."
  assert sum("What limited it" in text for _, text in told) == 1


def test_unknown_figures_are_left_out(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "none", done=0))
  ((_, told),) = paragraph.sentences([run])
  assert told.startswith("It took 0 s")
  assert "nan" not in told


def test_outputs_of_a_trunk_on_disk_are_told(run):
  counts = {"on_disk": 0, "misses": 0, "saved": 0.0}
  disk = {"damaged_rows": 0, "fault": ""}
  cache = {
    "training": {**counts, "on_disk": 2000, "saved": 2e12},
    "held_out": {**counts, "on_disk": 5000, "misses": 3},
    "disk": disk,
  }

  def told(cache):
    facts = {**run.summary, "trunk_cache": cache}
    ((_, text),) = paragraph.sentences(
      [dataclasses.replace(run, summary=facts)]
    )
    return text

  assert (
    "Of its frozen trunk's outputs, 7,000 were read from disk and 3 computed; "
    "keeping them saved 2 TFLOP. "
  ) in told(cache)
  hurt = {**disk, "damaged_rows": 4, "fault": "the disk is full"}
  assert (
    "2 TFLOP; 4 on disk were damaged and computed again; not all are kept: the "
    "disk is full. "
  ) in told({**cache, "disk": hurt})
  assert "trunk" not in told({**cache, "disk": None})
