"""Tests of what experiences got: purchases, their tables and pictures."""

import dataclasses
import math

import numpy as np
import pytest

from jcl import base
from jcl.report import bought, bought_picture, encoding, page, summary

NONE = base.Decision(base.Allocation(2), reason="2 epochs for every experience")
TOLD = {
  "price_flops": 2e-11,
  "price": 0.02,
  "share_flops": 1e12,
  "allowed_flops": 1.5e12,
  "forecast": 0.625,
  "reached": 0.6,
}


@pytest.fixture
def run(write_run, tmp_path):
  return summary.read_run(write_run(tmp_path / "run", recipe="auto"))


def with_records(run, **changes):
  records = [dataclasses.replace(each, **changes) for each in run.records]
  return dataclasses.replace(run, records=tuple(records))


def deciding(**told):
  limit = dataclasses.replace(base.UNLIMITED, flops=2e12)
  return base.Decision(base.Allocation(9), limit, "so far", forecast=told)


def test_runs_of_equal_efforts_have_nothing_to_show(run):
  plain = with_records(run, decision=NONE)
  assert not bought.shown(plain)
  with pytest.raises(ValueError, match="no run decided"):
    bought_picture.picture([plain])


@pytest.mark.parametrize(
  "changes",
  [
    {"decision": deciding()},
    {"decision": dataclasses.replace(NONE, forecast={"reached": 0.5})},
    {
      "decision": NONE,
      "choices": tuple(
        base.Choice(0, 0, (True, last), 0.5, 0) for last in (False, True)
      ),
    },
    {
      "decision": NONE,
      "memory": {"decisions": [{"kind": "grown", "em": 1, "sb": 2}]},
    },
  ],
)
def test_decisions_are_shown(run, changes):
  assert bought.shown(with_records(run, **changes))


def test_tensors_that_stay_the_same_are_no_decision(run):
  choices = (base.Choice(0, 0, (True, True), 1.0, 0),)
  assert not bought.shown(with_records(run, decision=NONE, choices=choices))


def test_sizes_as_given_are_no_decision(run):
  memory = {"decisions": [{"kind": "fixed", "em": 1, "sb": 2}]}
  assert not bought.shown(with_records(run, decision=NONE, memory=memory))


def test_figures_of_the_controller_go_first(run):
  first, *_ = bought.of(with_records(run, decision=deciding(**TOLD)))
  assert first.spent == first.share == 1e12 and first.allowed == 1.5e12
  assert first.price == pytest.approx(2.0)  # points an equal share
  assert (first.forecast, first.reached) == (62.5, 60.0)


def test_records_of_older_versions_have_limit_and_spending(run):
  made = with_records(run, decision=deciding())
  first, *_ = bought.of(made)
  assert first.spent == 1e12 and first.allowed == 2e12
  for name in ("share", "price", "forecast", "reached", "predicted"):
    assert math.isnan(getattr(first, name)), name
  found = bought.tabulated(made)
  assert found.header == ("experience", "bought", "spent", "allowed", "why")
  assert found.rows[0] == (
    "1",
    "50 updates, 4 of 10 tensors",
    "1 TFLOP",
    "2 TFLOP",
    "so far",
  )


def test_the_table_has_a_column_for_all_that_is_known(run):
  made = with_records(run, decision=deciding(**TOLD), steps=0, judged={"a": 1})
  found = bought.tabulated(made)
  assert found.title == "auto, seed 0"
  assert found.rows[0] == (
    "1",
    "no update, the classifier alone",
    "1 TFLOP",
    "1.5 TFLOP",
    "1 TFLOP",
    "2 points",
    "62.5 % right",
    "60.0 % right",
    "so far",
  )


def sized(kinds):
  decisions = [
    {
      "kind": kind,
      "em": 1200,
      "sb": 40,
      "reason": f"it was {kind}",
      "predicted": 500.0 if kind == "chosen" else math.nan,
    }
    for kind in kinds
  ]
  return {"bytes": 10, "decisions": decisions}


def test_sizes_of_a_memory_stand_beside_their_predicted_joules(run):
  memory = sized(["chosen", "ended"])
  made = with_records(run, decision=NONE, memory=memory)
  assert bought.unit_of(made) == "joules"
  first, *_ = bought.of(made)
  assert first.predicted == 500.0 and first.spent == 400.0
  row = dict(zip(*_columns(bought.tabulated(made)), strict=True))
  assert (
    row["bought"]
    == "50 updates, 4 of 10 tensors, sizes 1,200 + 40, ended early"
  )
  assert row["forecast"] == "500 J" and row["came of it"] == "400 J"
  assert row["why"] == (
    "2 epochs for every experience; it was ended; and 1 change before"
  )


def _columns(found):
  return found.header, found.rows[0]


def test_tensors_are_bought_too(run):
  choices = (base.Choice(0, 0, (True,), 0.5, 0, seconds=0.1),)
  made = with_records(run, decision=NONE, choices=choices)
  assert bought.unit_of(made) == "seconds"
  first, *_ = bought.of(made)
  assert first.what == "50 updates, 4 of 10 tensors"
  assert first.predicted == pytest.approx(5.0)


def test_the_picture_shows_spending_prices_and_forecasts(run):
  made = with_records(run, decision=deciding(**TOLD))
  spending, prices, forecasts = bought_picture.picture([made]).axes
  assert [bar.get_height() for bar in spending.containers[0]] == [1e12] * 3
  lines = {line.get_label(): line.get_ydata() for line in spending.lines}
  np.testing.assert_allclose(lines["allowed"], 1.5e12)
  np.testing.assert_allclose(lines["equal share"], 1e12)
  np.testing.assert_allclose(prices.lines[0].get_ydata(), 2.0)
  assert prices.get_ylim() == (0, pytest.approx(2.3))
  lines = {line.get_label(): line.get_ydata() for line in forecasts.lines}
  np.testing.assert_allclose(lines["forecast"], 62.5)
  np.testing.assert_allclose(lines["came of it"], 60.0)
  assert spending.get_title(loc="left") == "auto"
  assert spending.get_ylabel() == "operations (FLOP)"


def test_recipes_without_prices_have_one_chart(run, write_run, tmp_path):
  other = summary.read_run(write_run(tmp_path / "er", recipe="er"))
  both = [with_records(run, decision=deciding(**TOLD)), other]
  figure = bought_picture.picture(both)
  assert [axis.get_title(loc="left") for axis in figure.axes] == [
    "auto",
    "",
    "",
    "er",
  ]
  alone = bought_picture.picture([other])
  (axis,) = alone.axes
  assert axis.get_title(loc="left") == "er"
  assert axis.get_ylabel() == "seconds"


def test_charts_are_three_to_a_row_and_several_have_their_own():
  one, three = ["spent"], ["spent", "price", "forecast"]
  found = bought_picture._places([one, three, one, one, one, one, three[:2]])
  assert found == [
    [(0, 0)],
    [(1, 0), (1, 1), (1, 2)],
    [(2, 0)],
    [(2, 1)],
    [(2, 2)],
    [(3, 0)],
    [(4, 0), (4, 1)],
  ]


def test_seeds_are_means(run, write_run, tmp_path):
  other = summary.read_run(write_run(tmp_path / "b", recipe="auto", seed=1))
  half = {"train": base.Cost(flops=5e11)}
  both = [
    with_records(run, decision=deciding(**TOLD)),
    with_records(other, decision=deciding(**TOLD), costs=half),
  ]
  axis = bought_picture.picture(both).axes[0]
  heights = [bar.get_height() for bar in axis.patches]
  assert heights == pytest.approx([7.5e11] * 3)


def test_forecasts_outlive_the_file(run):
  (record, *_) = with_records(run, decision=deciding(**TOLD)).records
  value = encoding.to_json(record)
  from jcl.report import decoding

  assert decoding.record(value).decision.forecast == TOLD
  del value["decision"]["forecast"]  # as older versions wrote it
  assert decoding.record(value).decision.forecast == {}


def test_the_page_tells_each_recipe_once_above_and_other_seeds_below(
  run, write_run, tmp_path
):
  write_run(tmp_path / "b", recipe="auto", seed=1)
  runs = [run, summary.read_run(tmp_path / "b")]
  markup = page.write(runs, tmp_path / "out").read_text("utf-8")
  assert markup.count("<h2>What was bought</h2>") == 1
  assert markup.count("<summary>auto, seed 0</summary>") == 1
  assert markup.count("<summary>auto, seed 1</summary>") == 0
  assert markup.count("<h3>What was bought</h3>") == 1
