"""Tests of event files, read back as a viewer reads them."""

import errno
import math
import os
import struct

import pytest

from jcl.report import events


def read_events(folder):
  """Points by name in the order of files, with purged ones dropped."""
  from tensorboardX.proto import event_pb2

  points = []
  for path in sorted(folder.glob("events.*")):
    data = path.read_bytes()
    while data:
      # A record is its length, a check sum, itself, another check sum.
      (length,) = struct.unpack("<Q", data[:8])
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      if event.session_log.status == event_pb2.SessionLog.START:
        points = [point for point in points if point[1] < event.step]
      for value in event.summary.value:
        points.append((value.tag, event.step, value.simple_value))
  return points


def test_scalars_that_are_finite(tmp_path):
  with events.EventWriter(tmp_path) as writer:
    writer.scalars(3, {"loss": 0.5, "gone": math.nan, "far": math.inf})
  assert read_events(tmp_path) == [("loss", 3, 0.5)]


def test_points_can_be_read_while_an_experience_lasts(tmp_path, monkeypatch):
  monkeypatch.setattr(events, "_FLUSH_SECONDS", -1.0)
  with events.EventWriter(tmp_path) as writer:
    writer.scalars(3, {"loss": 0.5})
    assert read_events(tmp_path) == [("loss", 3, 0.5)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_a_failure_to_write_is_raised_where_it_happens(tmp_path):
  writer = events.EventWriter(tmp_path)
  number = os.open("/dev/full", os.O_WRONLY)
  os.dup2(number, writer._writer._py_recordio_writer._writer.fileno())
  os.close(number)
  with pytest.raises(OSError) as caught:
    for step in range(10_000):
      writer.scalars(step, {"loss": 0.5})
  assert caught.value.errno == errno.ENOSPC


def test_resuming_repeats_no_point(tmp_path):
  with events.EventWriter(tmp_path) as writer:
    for step in range(1, 6):
      writer.scalars(step, {"loss": step})
  with events.EventWriter(tmp_path, resume_step=3) as writer:
    for step in range(4, 7):
      writer.scalars(step, {"loss": 10 * step})
  assert [(step, value) for _, step, value in read_events(tmp_path)] == [
    (1, 1),
    (2, 2),
    (3, 3),
    (4, 40),
    (5, 50),
    (6, 60),
  ]


def test_a_record_as_points(tmp_path, records):
  with events.EventWriter(tmp_path) as writer:
    writer.record(records[1], step=100)
  points = {name: (step, value) for name, step, value in read_events(tmp_path)}
  assert points["experience/loss"] == (100, 0.5)
  assert points["joules/train"] == (100, 400.0)
  assert points["accuracy/test_1"] == (
    100,
    pytest.approx(records[1].accuracy[1]),
  )
  assert {f"accuracy_task/test_{test}" for test in range(3)} <= set(points)


def test_many_test_sets_have_a_mean_and_no_curves_of_their_own(
  tmp_path, monkeypatch, records
):
  monkeypatch.setattr(events, "TEST_SETS", len(records[1].accuracy) - 1)
  with events.EventWriter(tmp_path) as writer:
    writer.record(records[1], step=100)
  points = {name: value for name, _, value in read_events(tmp_path)}
  assert not any("/test_" in name for name in points)
  seen = sum(records[1].accuracy[:2]) / 2
  assert points["accuracy/seen"] == pytest.approx(seen)
