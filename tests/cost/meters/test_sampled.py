"""A meter over sensors that the test holds in its hands."""

import dataclasses
import itertools
import threading
import time

from kernel import Clock, put
import pytest

from jcl.cost.meters import meter, sysfs

NEVER = 1e6  # seconds between samples that the thread takes


class Hand:
  """A sensor with values to set and to take away."""

  def __init__(self, *values):
    self.values = values
    self.reads = 0

  def __call__(self):
    self.reads += 1
    if isinstance(self.values, Exception):
      raise self.values
    return self.values


def sampled(hand, clock, kind="watts", period=NEVER, **options):
  sensor = meter.Sensor("hand", kind, hand, period, 0.01, **options)
  # Bridges as little as a meter that samples often.
  return meter.Sampled(sensor, clock=clock, bridge=1.0)


@pytest.fixture
def clock():
  return Clock()


@pytest.fixture(autouse=True)
def no_thread_left():
  before = set(threading.enumerate())
  yield
  assert set(threading.enumerate()) <= before


def test_power_is_integrated_between_readings(clock):
  hand = Hand(10.0)
  with sampled(hand, clock) as found:
    clock.wait(2.0)
    hand.values = (20.0,)
    reading = found.read()
    assert reading.joules == 30.0
    assert reading.seconds == 2.0
    assert reading.watts == 20.0
    assert reading.longest_gap == 2.0
    clock.wait(1.0)
  assert found.read().joules == 50.0


def test_a_slow_sensor_answers_in_the_middle_of_its_time(clock):
  class Slow(Hand):
    def __call__(self):
      clock.wait(1.0)
      return super().__call__()

  with sampled(Slow(10.0), clock) as found:
    clock.wait(2.0)
    reading = found.read()
    assert reading.longest_gap == 2.5
    assert (reading.joules, reading.seconds) == (30.0, 3.0)


def test_channels_add_up(clock):
  with sampled(Hand(10.0, 5.0), clock) as found:
    clock.wait(2.0)
    assert found.read().joules == 30.0


def test_counters_are_followed_over_their_ends(clock):
  hand = Hand(95.0, 1.0)
  found = sampled(hand, clock, "joules", wraps=(100.0, 50.0))
  with found:
    clock.wait(2.0)
    hand.values = (5.0, 3.0)
    reading = found.read()
  assert reading.joules == 10.0 + 2.0
  assert reading.watts == 6.0


def test_a_sensor_is_not_asked_before_it_can_have_changed(clock):
  hand = Hand(10.0)
  with sampled(hand, clock) as found:
    found.read()
    reads = hand.reads
    clock.wait(0.004)
    assert found.read().joules == pytest.approx(0.04)
    assert hand.reads == reads
    clock.wait(0.006)
    found.read()
    assert hand.reads == reads + 1


def test_an_advance_is_taken_back_without_a_step_down(clock):
  hand = Hand(100.0)
  with sampled(hand, clock) as found:
    clock.wait(0.009)
    ahead = found.read().joules
    assert ahead == pytest.approx(0.9)
    hand.values = (0.0,)
    clock.wait(0.001)  # the trapezoid up to here holds 0.5 J
    assert found.read().joules == ahead
    hand.values = (1.0,)
    clock.wait(1.0)  # 1.0 J in all
    assert found.read().joules == pytest.approx(1.0)


def test_a_short_silence_is_bridged_and_then_measured(clock):
  hand = Hand(10.0)
  with sampled(hand, clock) as found:
    clock.wait(1.0)
    found.read()
    hand.values = OSError("gone")
    clock.wait(0.5)
    reading = found.read()
    assert (reading.joules, reading.missing) == (15.0, 0.0)
    hand.values = (20.0,)
    reading = found.read()
    assert (reading.joules, reading.missing) == (17.5, 0.0)
    assert reading.source == "measured: hand"


@pytest.mark.parametrize("kind", ["watts", "joules"])
def test_a_sensor_that_disappears_is_missed_from_then_on(clock, kind):
  hand = Hand(10.0)
  with sampled(hand, clock, kind) as found:
    clock.wait(1.0)
    hand.values = (10.0,) if kind == "watts" else (20.0,)
    assert found.read().joules == 10.0
    hand.values = FileNotFoundError("gone")
    clock.wait(4.0)
    reading = found.read()
    assert reading.joules == 20.0  # a second more
    assert reading.missing == 3.0
    assert reading.seconds == 5.0
    assert reading.source == (
      "partly measured: hand, silent for 3 of 5 seconds"
    )
    clock.wait(1.0)
    hand.values = (30.0,)  # a counter may have been reset
    reading = found.read()
    assert (reading.joules, reading.missing) == (20.0, 4.0)
    clock.wait(1.0)
    hand.values = (30.0,) if kind == "watts" else (60.0,)
    reading = found.read()
    assert (reading.joules, reading.missing) == (50.0, 4.0)


@pytest.mark.parametrize("values", [(float("nan"),), ValueError("garbage")])
def test_garbage_is_no_reading(clock, values):
  hand = Hand(10.0)
  with sampled(hand, clock) as found:
    hand.values = values
    clock.wait(3.0)
    assert found.read().missing == 2.0


def test_a_sensor_that_never_answers_does_not_start(clock):
  found = sampled(Hand(), clock)
  found.sensor.read.values = OSError("no such device")
  with pytest.raises(meter.Unavailable, match="hand: no such device"):
    found.start()
  assert found.stop().joules == 0.0


def test_a_stopped_meter_stands_still_and_starts_anew(clock):
  found = sampled(Hand(10.0), clock)
  found.start()
  with pytest.raises(ValueError, match="runs already"):
    found.start()
  clock.wait(1.0)
  last = found.stop()
  clock.wait(5.0)
  assert found.stop() == found.read() == last
  assert last.joules == 10.0
  assert found.start().joules == 0.0
  clock.wait(2.0)
  assert found.stop().joules == 20.0


def test_a_stop_in_the_middle_of_an_error_leaves_no_thread(clock):
  found = sampled(Hand(1.0), clock, period=0.001)
  with pytest.raises(RuntimeError), found:
    running = [t for t in threading.enumerate() if t.name == "jcl meter"]
    raise RuntimeError
  assert len(running) == 1
  assert not running[0].is_alive()


def test_a_bridge_is_not_negative():
  sensor = meter.Sensor("hand", "watts", Hand(1.0), 1.0, 0.1)
  with pytest.raises(ValueError, match="bridge=-1.0"):
    meter.Sampled(sensor, bridge=-1.0)


@pytest.mark.parametrize("period", [0.0, -1.0, float("inf"), float("nan")])
def test_a_period_is_positive(period):
  sensor = meter.Sensor("hand", "watts", Hand(1.0), 1.0, 0.1)
  with pytest.raises(ValueError, match="give seconds above 0"):
    meter.Sampled(sensor, period)


def follow(path, levels):
  """Steps through powers; returns the true energy, its doubt, the reading."""
  put(path, levels[0])
  sensor = meter.Sensor(
    "file", "watts", lambda: (sysfs.number(path),), 0.005, 1e-6
  )
  with meter.Sampled(sensor) as found:
    since, joules, doubt = time.perf_counter(), 0.0, 0.0
    for now, after in itertools.pairwise(levels):
      time.sleep(0.1)
      before = time.perf_counter()
      put(path, after)
      change = time.perf_counter()
      joules += now * (change - since)
      since, jump = change, abs(after - now)
      doubt += jump * (change - before)
    time.sleep(0.1)
    joules += levels[-1] * (time.perf_counter() - since)
    reading = found.stop()
  return joules, doubt, reading


def test_the_thread_follows_a_file_that_changes(tmp_path):
  levels = [10, 50, 20, 80]
  for _ in range(5):
    joules, doubt, reading = follow(tmp_path / "power", levels)
    if reading.longest_gap < 0.05:
      break
  else:
    pytest.skip("the machine is too busy to let the thread run")
  # A step is off by half of it for as long as nobody looked.
  jumps = 40 + 30 + 60
  assert reading.missing == 0.0
  assert abs(reading.joules - joules) < (
    0.5 * jumps * reading.longest_gap + doubt + 80 * 0.02
  )


def test_the_thread_sees_what_happens_between_two_readings(tmp_path):
  path = put(tmp_path / "power", 0)
  sensor = meter.Sensor(
    "file", "watts", lambda: (sysfs.number(path),), 0.002, 10.0
  )
  with meter.Sampled(sensor) as found:
    put(path, 1000)
    deadline = time.perf_counter() + 5.0
    while found.read().watts < 1000 and time.perf_counter() < deadline:
      time.sleep(0.005)
    put(path, 0)
  assert found.read().joules > 0.0


def test_a_sensor_adds_up_its_channels():
  watts = meter.Sensor("w", "watts", tuple, 1.0, 0.1)
  assert watts.joules((1.0, 2.0), (3.0, 4.0), 2.0) == 10.0
  joules = meter.Sensor("j", "joules", tuple, 1.0, 0.1, (10.0, 10.0))
  assert joules.joules((1.0, 9.0), (3.0, 2.0), 2.0) == 2.0 + 3.0
  endless = meter.Sensor("j", "joules", tuple, 1.0, 0.1)
  assert endless.joules((1.0, 9.0), (3.0, 11.0), 2.0) == 4.0
  reading = meter.Reading(1.0, 1.0, 1.0, "measured: x")
  assert (reading.missing, reading.longest_gap) == (0.0, 0.0)
  for value, name in ((watts, "period"), (reading, "joules")):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(value, name, 0.0)


def test_files_that_hold_one_value(tmp_path):
  put(tmp_path / "b" / "power", " 12.5\n")
  put(tmp_path / "a" / "power", "7\0\n")
  put(tmp_path / "c", "x")
  assert sysfs.number(tmp_path / "b" / "power") == 12.5
  assert sysfs.text(tmp_path / "a" / "power") == "7"
  with pytest.raises(ValueError, match='c holds "x", no number'):
    sysfs.number(tmp_path / "c")
  found = sysfs.folders(tmp_path, ["b*", "*"])
  assert [path.name for path in found] == ["b", "a", "b"]  # no files


def test_why_a_file_could_not_be_read():
  denied = PermissionError(13, "Permission denied", "/sys/x")
  assert "chmod a+r /sys/x" in sysfs.why(denied)
  assert sysfs.why(FileNotFoundError(2, "No", "/sys/x")) == "there is no /sys/x"
  other = OSError(61, "No data available", "/sys/x")
  assert sysfs.why(other) == "/sys/x cannot be read: No data available"
  assert sysfs.why(ValueError("as it is")) == "as it is"


def test_a_clock_that_goes_back_takes_no_time(clock):
  with sampled(Hand(10.0), clock) as found:
    clock.wait(-0.5)
    reading = found.read()
    assert (reading.seconds, reading.joules) == (0.0, 0.0)
