"""Tests of records and contexts as they are written."""

import dataclasses
import json
import math

import hypothesis
from hypothesis import strategies as st
import numpy as np

from jcl import base
from jcl.report import decoding, encoding

NUMBERS = st.floats(allow_subnormal=False)
COSTS = st.builds(base.Cost, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
SIZES = st.integers() | st.lists(st.integers())
WHOLE = st.integers(0, 2**53)
RECORDS = st.builds(
  base.Record,
  experience=st.integers(0, 9),
  classes=st.tuples(st.integers(0, 9)),
  decision=st.builds(
    base.Decision,
    allocation=st.builds(
      base.Allocation,
      epochs=st.integers(0, 9),
      rho=st.floats(0, 1),
      em=WHOLE,
      sb=WHOLE,
      swap=st.floats(0, 1),
      replay=st.none() | st.floats(0, 1),
    ),
    limit=st.builds(base.Cost, *[st.floats(0, allow_nan=False)] * 4),
    reason=st.text(),
  ),
  trained=st.tuples(WHOLE, WHOLE),
  parameters=st.tuples(WHOLE, WHOLE),
  steps=WHOLE,
  examples=WHOLE,
  loss=NUMBERS,
  online_accuracy=NUMBERS,
  accuracy=st.tuples(NUMBERS, NUMBERS),
  accuracy_task=st.tuples(NUMBERS, NUMBERS),
  accuracy_class=st.tuples(NUMBERS),
  memory=st.dictionaries(st.text(), SIZES)
  | st.dictionaries(st.sampled_from(["seconds", "swap"]), SIZES | NUMBERS),
  costs=st.dictionaries(st.text(), COSTS),
  peak_bytes=WHOLE,
)


@hypothesis.settings(max_examples=40)
@hypothesis.given(RECORDS)
def test_records_come_back_from_json(record):
  line = json.dumps(encoding.to_json(record), allow_nan=False)
  # NaN equals nothing, so compare what is written, and the types by repr.
  back = decoding.record(json.loads(line))
  assert json.dumps(encoding.to_json(back)) == line
  assert repr(back) == repr(record)


def test_json_of_what_is_not_finite(records):
  record = dataclasses.replace(records[0], loss=math.nan)
  value = encoding.to_json(record)
  assert value["loss"] is None
  assert value["decision"]["limit"]["joules"] == "inf"
  # A writer that has null for infinity still means no limit.
  value["decision"]["limit"]["joules"] = None
  assert decoding.record(value).decision.limit.joules == math.inf


def test_encode_takes_what_contexts_hold(tmp_path):
  value = {
    1: np.float32(0.5),
    "a": np.array([1.0, np.nan]),
    "b": (tmp_path, -math.inf),
  }
  assert encoding.encode(value) == {
    "1": 0.5,
    "a": [1.0, None],
    "b": [str(tmp_path), "-inf"],
  }
