"""Records that hold NaN, compared."""

import dataclasses
import json
import math

import pytest

from jcl import base
from jcl.base import alike
from jcl.report import decoding
from jcl.selection import times
from jcl.serving import latency


@dataclasses.dataclass(frozen=True, eq=False)
class Record(alike.Alike):
  value: float
  parts: tuple = ()
  aside: int = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Other(alike.Alike):
  value: float
  parts: tuple = ()
  aside: int = 0


NAN = math.nan


def another() -> float:
  return float("nan")


@pytest.mark.parametrize(
  "value, parts",
  [
    (1.0, ()),
    (another(), ()),
    (0.0, (another(), 2)),
    (0.0, ([another()], {"a": (another(),)})),
    (math.inf, ("nan",)),
  ],
)
def test_nan_equals_nan_wherever_it_stands(value, parts):
  first, second = Record(value, parts), Record(value, parts)
  assert first == second and not first != second
  text = repr((value, parts))
  made = eval(text, {"nan": another(), "inf": math.inf})
  assert first == Record(*made) and first == first


@pytest.mark.parametrize(
  "one, other",
  [
    (Record(1.0), Record(2.0)),
    (Record(NAN), Record(0.0)),
    (Record(NAN), Record(math.inf)),
    (Record(0.0, (NAN, 1)), Record(0.0, (1, NAN))),
    (Record(0.0, ({"a": NAN},)), Record(0.0, ({"b": NAN},))),
    (Record(1.0), Other(1.0)),
    (Record(1.0), (1.0, ())),
  ],
)
def test_all_else_stays_different(one, other):
  assert one != other and not one == other


def test_equal_records_have_one_hash():
  assert hash(Record(another())) == hash(Record(another()))
  assert {Record(another()): 1}[Record(another())] == 1
  assert Record(1.0, aside=1) == Record(1.0, aside=2)
  with pytest.raises(TypeError):
    hash(Record(0.0, ([],)))


def test_nan_survives_json():
  profile = times.TensorTimes((1.0,), (0.0,), (2.0,), (0.5,), 0.0, "analytic")
  assert profile == dataclasses.replace(profile, compile_seconds=another())
  choice = base.Choice(0, 0, (True,), another(), 0)
  kept = json.loads(json.dumps({"share": None}))
  again = {**dataclasses.asdict(choice), **kept}
  assert decoding.choice(again) == choice
  del again["seconds"]  # as earlier versions wrote it
  assert decoding.choice(again) == choice
  assert base.Cost(joules=another()) == base.Cost(joules=another())
  numbers = {f.name: another() for f in dataclasses.fields(latency.Summary)}
  served = latency.Summary(**{**numbers, "frames": 0, "served": 0})
  assert latency.from_json(served.to_json()) == served
