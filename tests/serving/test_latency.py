"""Latencies, losses and staleness."""

import dataclasses
import json
import math
import threading

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.serving import latency


def answers(rows):
  """Served frames from (frame, stamp, done, version)."""
  record = latency.Record(room=1)
  for frame, stamp, done, version in rows:
    record.add(frame, stamp, stamp, done, version, 1, 0.5, settled=frame + 1)
  return record.served()


def test_a_summary_by_hand():
  served = answers(
    [(0, 0.0, 0.2, 0), (1, 1.0, 1.1, 0), (3, 3.0, 3.4, 0), (4, 4.0, 4.1, 1)]
  )
  times = [[0.0, -np.inf], [2.0, 1.5]]
  found = latency.summarise(served, 5, times)
  late = [0.2, 0.1, 0.4, 0.1]
  assert (found.frames, found.served) == (5, 4)
  assert found.drop_ratio == pytest.approx(0.2)
  assert found.p50 == pytest.approx(0.15)
  assert found.p95 == pytest.approx(np.quantile(late, 0.95))
  assert found.p99 == pytest.approx(np.quantile(late, 0.99))
  assert found.worst == pytest.approx(0.4)
  # Only frame 3 was answered by old weights, new ones there for a second.
  assert found.behind_seconds == pytest.approx(0.25)
  assert found.behind_seconds_worst == pytest.approx(1.0)
  assert found.behind_versions == pytest.approx(0.25)
  assert found.behind_versions_worst == 1
  assert found.age_seconds == found.age_seconds_worst == pytest.approx(2.5)


def test_weights_that_come_while_a_frame_waits_are_not_behind():
  seconds, versions = latency.behind([1.0, 5.0], [1, 0], [0.0, 1.5, 3.0])
  assert seconds.tolist() == [0.0, 3.5]
  assert versions.tolist() == [0, 2]


def test_a_summary_goes_through_json():
  found = latency.summarise(answers([(0, 0.0, 0.25, 0)]), 2, [[0, -np.inf]])
  text = found.to_json()
  assert json.loads(text)["drop_ratio"] == 0.5
  assert json.loads(text)["age_seconds"] is None
  again = latency.from_json(text)
  assert math.isnan(again.age_seconds) and again.to_json() == text
  assert again == found == dataclasses.replace(found, age_seconds=-math.nan)


def test_no_answer_at_all():
  found = latency.summarise(answers([]), 0, [[0, -np.inf]])
  assert math.isnan(found.p99) and math.isnan(found.drop_ratio)
  assert found.behind_versions_worst == 0
  json.loads(found.to_json())


@hypothesis.given(
  st.lists(st.floats(0, 10), min_size=1, max_size=30).map(sorted),
  st.lists(st.floats(0, 10), min_size=0, max_size=5).map(sorted),
)
def test_being_behind_is_what_a_search_would_find(stamps, later):
  made = np.array([0.0, *later])
  versions = np.zeros(len(stamps), int)
  seconds, count = latency.behind(stamps, versions, made)
  for stamp, late, newer in zip(stamps, seconds, count, strict=True):
    existed = [each for each in later if each <= stamp]
    assert newer == len(existed)
    assert late == (stamp - min(existed) if existed else 0)


def test_stamps_in_spans():
  found = latency.inside([0, 1, 2, 3], [(1, 2), (2.5, 9)])
  assert found.tolist() == [False, True, False, True]
  assert not latency.inside([0, 1], []).any()
  assert not latency.inside([2.5, 5], [(1, 2)]).any()
  chosen = latency.choose(answers([(0, 0, 1, 0), (2, 2, 3, 0)]), [False, True])
  assert chosen.frames.tolist() == [2]


def test_whoever_reads_a_record_sees_whole_rows():
  record = latency.Record(room=1)
  done, wrong = threading.Event(), []

  def read():
    while not done.is_set():
      settled, served = record.settled, record.served()
      rows = np.stack([served.stamps, served.begun, served.done])
      if len(served.frames) < settled or (rows != served.frames).any():
        wrong.append(served)

  reader = threading.Thread(target=read)
  reader.start()
  for i in range(3000):
    record.add(i, i, i, i, 0, 0, 0.0, settled=i + 1)
  done.set()
  reader.join()
  assert not wrong and len(record) == 3000


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: latency.Record(0), "room=0"),
    (lambda: answers([(3, 3, 4, 0), (3, 3, 4, 0)]), "in order"),
    (lambda: latency.summarise(answers([(0, 0, 1, 0)]), 0, []), "num_frames=0"),
  ],
)
def test_mistakes_are_told(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_room_doubles_and_frames_come_in_order():
  record = latency.Record()
  assert len(record._columns[0]) == 1024
  record = latency.Record(room=1)
  for frame in (0, 2, 3):  # frame 1 was lost
    record.add(frame, 0, 0, 0, 0, 0, 0.0, settled=frame + 1)
  assert len(record._columns[0]) == 4 and record.settled == 4
  assert record.served().frames.tolist() == [0, 2, 3]
  for frame, settled in ((3, 5), (4, 4)):
    with pytest.raises(ValueError, match=f"frame {frame} settles {settled}"):
      record.add(frame, 0, 0, 0, 0, 0, 0.0, settled=settled)
  record.add(4, 0, 0, 0, 0, 0, 0.0, settled=7)
  assert len(record) == 4 and record.settled == 7


def test_as_many_answers_as_frames():
  found = latency.summarise(answers([(0, 0.0, 0.25, 0)]), 1, [[0, -np.inf]])
  assert found.drop_ratio == 0
