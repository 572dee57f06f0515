"""Tests of what the report says of a memory hierarchy."""

import dataclasses
import json
import math

import pytest
import tiny_network

from jcl import base, recipes
from jcl.report import decoding, encoding, hierarchy, page, summary
from jcl.run import session

# Three of four tried to the end; one of them is more than the joules left.
CANDIDATES = [
  {"em": 10, "sb": 5, "accuracy": 60.0, "energy": 2.0},
  {"em": 20, "sb": 5, "accuracy": 70.0, "energy": 4.0},
  {"em": 5, "sb": 20, "accuracy": None, "energy": 4.0},
  {"em": 40, "sb": 20, "accuracy": 90.0, "energy": 90.0},
]
COUNTS = ("requested", "applied", "dropped", "failed", "ended", "bytes")


def decision(experience, step, kind, em, sb, swap=1.0, **more):
  return {
    "experience": experience,
    "epoch": 0,
    "step": step,
    "kind": kind,
    "em": em,
    "sb": sb,
    "swap": swap,
    "reason": f"because it is {kind}",
    **more,
  }


def chosen(step=50, best=1, **more):
  values = {
    "seconds": 3.0,
    "joules": 43.0,
    "step_joules": 0.5,
    "candidates": CANDIDATES,
    "kept": [1, 0][:best],
    "predicted": 450.0,
    "reason": f"utility among the {best} best of 4 tried: 70.0 % in the trial",
    **more,
  }
  return decision(1, step, "chosen", 20, 5, **values)


def memory(decisions, *counts):
  return {
    "examples": 15,
    "bytes": 4096,
    "per_class": [5, 5, 5],
    "sizes": [20, 5],
    "exchanges": dict(zip(COUNTS, counts, strict=True)),
    "decisions": decisions,
  }


def with_hierarchy(records):
  """The three records, of 50 steps and 430 J each, above a store."""
  held = [
    memory([decision(0, 0, "fixed", 30, 30)], 0, 0, 0, 0, 0, 0),
    memory([chosen()], 100, 80, 5, 1, 10, 8000),
    memory(
      [
        decision(2, 100, "kept", 20, 5),
        decision(2, 120, "shrunk", 10, 2),
        decision(2, 140, "swap", 10, 2, 0.5),
      ],
      1250,
      1180,
      5,
      2,
      50,
      118_000,
    ),
  ]
  made = [
    dataclasses.replace(record, memory=value)
    for record, value in zip(records, held, strict=True)
  ]
  limit = base.Cost(math.inf, 50.0, math.inf, math.inf)
  cut = dataclasses.replace(made[1].decision, limit=limit)
  made[1] = dataclasses.replace(
    made[1],
    decision=cut,
    costs=made[1].costs | {"replay": base.Cost(1.0, 100.0, 1.0, 1.0)},
  )
  return made


@pytest.fixture
def run(write_run, records, tmp_path):
  folder = write_run(tmp_path / "run", recipe="miro")
  made = with_hierarchy(records)
  lines = [json.dumps(encoding.to_json(record)) + "\n" for record in made]
  (folder / "records.jsonl").write_text("".join(lines))
  # Older than the records, so that it is made anew.
  facts = json.loads((folder / "summary.json").read_text())
  (folder / "summary.json").write_text(json.dumps(facts | {"experiences": 0}))
  return summary.read_run(folder)


def table(run, start):
  (found,) = [t for t in hierarchy.tables(run) if t.title.startswith(start)]
  assert all(len(row) == len(found.header) for row in found.rows)
  return found


def test_records_keep_all_of_it(records):
  for record in with_hierarchy(records):
    line = json.dumps(encoding.to_json(record), allow_nan=False)
    assert decoding.record(json.loads(line)) == record


def test_numbers_that_are_not_finite_come_back(records):
  odd = [{"em": 1, "sb": 2, "accuracy": None, "energy": math.inf}]
  of_trials = chosen(joules=math.nan, predicted=-math.inf, candidates=odd)
  record = dataclasses.replace(
    records[1], memory=memory([of_trials], 0, 0, 0, 0, 0, 0)
  )
  line = json.dumps(encoding.to_json(record), allow_nan=False)
  (found,) = decoding.record(json.loads(line)).memory["decisions"]
  assert math.isnan(found["joules"])
  assert found["predicted"] == -math.inf
  assert found["candidates"] == odd


def test_decisions_are_listed_with_reasons(run):
  found = table(run, "Sizes")
  assert [row[3] for row in found.rows] == [
    "fixed",
    "chosen",
    "kept",
    "shrunk",
    "swap",
  ]
  assert found.rows[-1] == (
    *("3", "1", "140", "swap", "10", "2", "50 %"),
    "because it is swap",
  )


def test_exchanges_are_differences_of_counts(run):
  found = table(run, "Examples exchanged")
  assert found.totals
  assert found.rows == [
    ("1", "0", "0", "0", "0", "0", "0"),
    ("2", "100", "80", "5", "1", "10", "8,000"),
    ("3", "1,150", "1,100", "0", "1", "40", "110,000"),
    ("total", "1,250", "1,180", "5", "2", "50", "118,000"),
  ]


def test_trials_are_charged_and_compared(run):
  found = table(run, "The cost of choosing")
  assert found.header[2] == "joules (modelled) of trials"
  # 43 J of 430 J and 530 J.
  assert found.rows == [("2", "3", "43", "4.48 %")]


@pytest.mark.parametrize(
  ("best", "outcomes"),
  [
    (1, ["tried", "chosen", "not tried to the end", "beyond the joules left"]),
    (2, ["kept", "chosen", "not tried to the end", "beyond the joules left"]),
  ],
)
def test_candidates_say_what_became_of_them(run, best, outcomes):
  run.records[1].memory["decisions"] = [chosen(best=best)]
  found = table(run, "Candidates of experience 2")
  assert [row[-1] for row in found.rows] == outcomes
  assert found.rows[2][:4] == ("5", "20", "–", "4")


def test_where_nothing_could_be_chosen_nothing_is_marked(run):
  given = decision(
    *(1, 50, "kept", 10, 5),
    seconds=1.0,
    joules=2.0,
    candidates=CANDIDATES,
    kept=[],
  )
  run.records[1].memory["decisions"] = [given]
  outcomes = [row[-1] for row in table(run, "Candidates").rows]
  assert not {"kept", "chosen"} & set(outcomes)
  assert len(table(run, "The cost of choosing").rows) == 1


def test_the_timeline_shows_sizes_and_decisions(run):
  sizes, marks, ratio = hierarchy.timeline(run).axes
  memory_line, buffer_line = sizes.get_lines()[:2]
  assert memory_line.get_xdata().tolist() == [0, 50, 100, 120, 140, 150]
  assert memory_line.get_ydata().tolist() == [30, 20, 20, 10, 10, 10]
  assert buffer_line.get_ydata().tolist() == [30, 5, 5, 2, 2, 2]
  assert ratio.get_lines()[0].get_ydata().tolist() == [100] * 4 + [50] * 2
  boundaries = [line.get_xdata()[0] for line in sizes.get_lines()[2:]]
  assert boundaries == [50, 100]
  labels = [label.get_text() for label in marks.get_yticklabels()]
  assert labels == ["fixed", "chosen", "kept", "shrunk", "swap"]
  where = [dots.get_offsets()[0].tolist() for dots in marks.collections]
  assert where == [[0, 0], [50, 1], [100, 2], [120, 3], [140, 4]]


def test_the_picture_of_trials_marks_the_choice(run):
  (axis,) = hierarchy.trials(run).axes
  found = {
    dots.get_label(): dots.get_offsets().tolist() for dots in axis.collections
  }
  assert found == {
    "tried": [[2.0, 60.0]],
    "chosen": [[4.0, 70.0]],
    "beyond the joules left": [[90.0, 90.0]],
  }
  assert axis.get_xlabel() == "predicted joules (modelled)"


def test_the_page_shows_it(run, tmp_path):
  hierarchy.save(run)
  names = sorted(path.name for path in run.folder.glob("*.png"))
  assert names == ["hierarchy.png", "trials.png"]
  markup = page.write([run], tmp_path / "out").read_text(encoding="utf-8")
  for part in (
    "Sizes of the memory hierarchy",
    "Trials of sizes",
    "Candidates of experience 2",
    "because it is shrunk",
    "1,150",
    "share of the run’s joules so far",
  ):
    assert part in markup, part
  assert "&#39;step_joules&#39;" not in markup  # not as raw data again


def test_other_runs_show_nothing_of_it(write_run, tmp_path):
  run = summary.read_run(write_run(tmp_path / "run"))
  hierarchy.save(run)
  assert not list(run.folder.glob("*.png"))
  assert hierarchy.tables(run) == []
  for draw_fn in (hierarchy.timeline, hierarchy.trials):
    with pytest.raises(ValueError, match="the run"):
      draw_fn(run)


def test_a_run_draws_what_its_trials_showed(tmp_path):
  job = session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    recipes.miro(
      em=4,
      sb=8,
      trials=base.Trials(
        cutline=1.0, share=0.5, warmup=0, held_out=2, grid=((4, 4), (2, 8))
      ),
    ),
    base.Training(epochs=1, batch_size=6, learning_rate=0.1, optimizer="adam"),
  )
  session.run(job, tmp_path)
  run = summary.read_run(tmp_path)
  for name in ("hierarchy.png", "trials.png"):
    assert (tmp_path / name).stat().st_size > 0
  outcomes = [row[-1] for row in table(run, "Candidates").rows]
  assert sorted(outcomes) == ["chosen", "kept"]
