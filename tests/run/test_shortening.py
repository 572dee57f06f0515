"""Records of a learner that lives for long."""

import dataclasses
import math

import pytest

from jcl import base
from jcl.report import decoding, encoding, summarising
from jcl.run import curve, shortening
from jcl.run.cursor import Cursor, Event


def record(experience):
  number = experience + 1
  return base.Record(
    experience=experience,
    classes=(experience % 3, 5),
    decision=base.Decision(base.Allocation(1), reason="as asked"),
    trained=(1, 2),
    parameters=(3, 4),
    steps=10 * number,
    examples=100 * number,
    loss=1.0 / number,
    online_accuracy=experience / 8,
    accuracy=(),
    accuracy_task=(),
    accuracy_class=(math.nan,) * 6,
    memory={"examples": number, "decisions": ["long"]},
    costs={
      "train": base.Cost(number, 2 * number),
      f"own {number}": base.Cost(),
    },
    peak_bytes=1000 - experience,
    choices=(base.Choice(0, 0, (True,), 1.0, 0),),
    class_names=(f"class {experience % 3}", "five"),
  )


def test_a_sum_of_records_stands_for_all_of_them():
  records = [record(i) for i in range(4)]
  found = shortening.summed(records)
  assert found.experience == 3 and found.stands_for == 4
  assert found.classes == (0, 1, 2, 5)
  assert found.class_names == ("class 0", "class 1", "class 2", "five")
  assert (found.steps, found.examples) == (100, 1000)
  assert found.loss == pytest.approx(40 / 100)
  assert found.online_accuracy == pytest.approx(6 / 8 / 4)
  assert found.memory == {"examples": 4} and found.choices == ()
  assert found.costs["train"] == base.Cost(10, 20)
  assert len(found.costs) == 5 and found.peak_bytes == 1000
  assert decoding.record(encoding.to_json(found)).stands_for == 4


def test_the_latest_records_stay_and_summaries_tell_the_same():
  whole, short = [], []
  for experience in range(23):
    whole.append(record(experience))
    short.append(record(experience))
    shortening.shorten(short, kept=3)
    assert len(short) <= 6
    found, expected = (
      summarising.summarise(
        records,
        initial=None,
        test_sizes=None,
        anytime=[],
        context={"num_experiences": 30},
      )
      for records in (short, whole)
    )
    names = ("experiences", "steps", "examples", "peak_bytes", "finished")
    for name in (*names, "costs", "total"):
      assert found[name] == expected[name], name
    assert found["online_accuracy"] == pytest.approx(
      expected["online_accuracy"]
    )
  assert short[-3:] == whole[-3:]
  assert summarising.count(short) == 23
  assert [r.stands_for for r in short[1:]] == [1] * (len(short) - 1)


def test_records_that_stand_for_others_than_those_before_are_refused():
  wrong = [record(0), dataclasses.replace(record(2), stands_for=1)]
  with pytest.raises(ValueError, match="experiences 0, 2"):
    summarising.summarise(
      wrong, initial=None, test_sizes=None, anytime=[], context={}
    )


def test_a_curve_without_an_end_keeps_its_latest_points(tmp_path):
  kept, at = curve.Curve(tmp_path, kept=3), Cursor()
  kept.begin(1)
  for step in range(1, 12):
    at.step = step
    point = kept.add(Event("steps", None, at, {"seconds": 1.0, "loss": step}))
    kept.write(point)
    lines = (tmp_path / curve.FILES[0]).read_text().splitlines()
    assert len(lines) == len(kept.points) <= 6
  assert [each["step"] for each in kept.points][-3:] == [9, 10, 11]
  again = curve.Curve(tmp_path, kept=3)
  at.step = 10
  again.cut(at)
  assert [each["step"] for each in again.points][-2:] == [9, 10]
