"""Data by their content, settings by those that both versions know."""

import dataclasses

import numpy as np
import pytest
import tiny_network

from jcl.run import identity
from jcl.streams import sources

DEFAULTS = {"lead": -1, "augment": "none", "training": {"clip": None}}


def test_content_is_what_is_learned_and_not_where_it_lies():
  train = tiny_network.source().train
  digest = identity.content([train])
  moved = dataclasses.replace(train, name="other", class_names=tuple("abcd"))
  assert identity.content([moved]) == digest
  x, y = train.x.copy(), train.y.copy()
  x[7, 1] += 1
  y[0] = 3
  for changed in (
    dataclasses.replace(train, x=x),
    dataclasses.replace(train, y=y),
    dataclasses.replace(train, x=train.x.reshape(-1, 2, 2)),
    dataclasses.replace(train, scale=16.0),
  ):
    assert identity.content([changed]) != digest
  assert identity.content([train, train]) != digest


def test_of_much_data_only_a_sample_is_read():
  class Reader:
    shape, dtype = (3, 10**7), np.dtype(np.uint8)

    def __init__(self, count):
      self.shape, self.read = (count, 10**5), []

    def __len__(self):
      return self.shape[0]

    def __getitem__(self, rows):
      self.read += rows.tolist()
      return np.zeros((len(rows), 4), np.uint8)

  readers = Reader(1000), Reader(500)
  datasets = [
    sources.arrays(each, np.arange(len(each)) % 2).train for each in readers
  ]
  identity.content(datasets)
  assert [len(each.read) for each in readers] == [43, 21]
  assert readers[0].read[0] == 0 and readers[1].read[-1] == 499


@pytest.mark.parametrize(
  "theirs, mine, told",
  [
    ({}, {"lead": -1}, []),  # of a version without the flag
    ({}, {"lead": 3}, ["lead was -1 and is now 3"]),
    ({"training": {}}, {"training": {"clip": None}}, []),
    ({"gone": None, "off": False}, {}, []),
    ({"gone": 4}, {}, ["gone was 4, which this version does not know"]),
    ({"recipe": {"options": {"b": 1}}}, {"recipe": {"options": {}}},
     ["recipe.options.b was 1 and is now None"]),
    ({}, {"content": "a"}, []),  # of a version that did not look
    ({"content": "b"}, {"content": "a"},
     ["labels or inputs of the data are others"]),
    ({"content": "a", "data": "npz:path=/x/t.npz", "stream": {"name": "x"}},
     {"content": "a", "data": "npz:path=t.npz", "stream": {"name": "y"}}, []),
    ({"content": "a", "data": "csv:path=x,label=a"},
     {"content": "a", "data": "csv:path=x,label=b"},
     ["data was 'csv:path=x,label=a' and is now 'csv:path=x,label=b'"]),
    ({"data": "npz:path=x"}, {"data": "npz:path=y"},
     ["data was 'npz:path=x' and is now 'npz:path=y'"]),
  ],
)  # fmt: skip
def test_settings_are_those_that_both_know(theirs, mine, told):
  assert identity.differences(theirs, mine, DEFAULTS) == told


def test_without_defaults_all_settings_count():
  assert identity.differences({}, {"lead": -1}) == [
    "lead was None and is now -1"
  ]


def test_many_differences_stay_a_few_words():
  theirs = {f"key_{i}": "x" * 10**5 for i in range(100)}
  told = identity.told(identity.differences(theirs, {}))
  assert told.endswith("; and 97 more") and len(told) < 400


def test_moves_to_another_machine_are_told():
  old = {"device": "one", "versions": {"jax": "1"}, "host": "a"}

  def moved(noted, **changes):
    now = {"environment": {**old, **changes}}
    return identity.moved({"environment": noted}, now)

  assert moved(old, device="two") == "device was 'one' and is now 'two'"
  assert "versions.jax" in moved(old, versions={"jax": "2"})
  assert not moved(old) and not moved(old, host="b")
  # What was not noted has not changed.
  assert not moved({**old, "device": None}, device="two")
  assert not moved(None, device="two")
