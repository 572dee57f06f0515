"""Tests of reading records back, and of what is none."""

import dataclasses

import pytest

from jcl import base
from jcl.report import decoding, encoding

WRONG_IN_A_RECORD = {
  "experience": -1,
  "classes": [0, "x"],
  "decision": None,
  "trained": [1, 2, 3],
  "parameters": [1, 1e300],
  "steps": 1.5,
  "examples": True,
  "loss": "low",
  "online_accuracy": [],
  "accuracy": "0.5",
  "accuracy_task": {"0": 0.5},
  "accuracy_class": [[0.5]],
  "memory": [["a", 1]],
  "costs": {"train": {**dataclasses.asdict(base.Cost()), "flops": "x"}},
  "peak_bytes": None,
  "choices": [{"step": 1}],
  "class_names": [1],
  "name": 5,
  "effective_flops": ["x", 1.0],
  "judged": {"solved": "x"},
  "stands_for": 0.5,
}


def test_decisions_of_version_0_1_are_read(records):
  told = encoding.to_json(records[0])
  old = {"epochs": 3, "budget": 0.25}
  for name in ("limit", "reason"):
    old[name] = told["decision"][name]
  found = decoding.record({**told, "decision": old}).decision
  assert found.allocation == base.Allocation(3, rho=0.25)


@pytest.mark.parametrize("name", WRONG_IN_A_RECORD)
def test_a_record_with_a_value_of_another_kind_is_none(records, name):
  told = encoding.to_json(records[0])
  assert WRONG_IN_A_RECORD.keys() == told.keys()
  assert decoding.record(told) == records[0]
  told[name] = WRONG_IN_A_RECORD[name]
  with pytest.raises(ValueError, match="not the record of an") as caught:
    decoding.record(told)
  assert len(str(caught.value)) < 250
  if not isinstance(told[name], dict | list):
    assert f'"{name}" is {told[name]!r} instead of' in str(caught.value)


def test_numbers_too_large_for_a_float_are_told():
  with pytest.raises(ValueError, match='"loss" is 1000.* instead of a number'):
    decoding.point({"step": 0, "loss": 10**400})
  with pytest.raises(ValueError, match='"step" is 9007199254740993 instead'):
    decoding.point({"step": 2**53 + 1})
