"""Which meter a machine gets, and the model where it has none."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st
from kernel import Clock, ina3221, rapl
import pytest

from jcl.cost.meters import detection, meter, modelled

POWER = modelled.Power(2.0, 12.0, "modelled: test")
PACKAGE = {"0": ("package-0", 1_000_000, 262_143_328_850)}
BOARD = {"VDD_IN": (5000, 1000)}
pytestmark = pytest.mark.usefixtures("no_gpus")


def reasons(found):
  return dict(found.unused)


def test_a_bare_machine_is_modelled_and_says_what_it_lacks(tmp_path):
  found = detection.detect(POWER, tmp_path)
  assert not found.measures
  assert found.meter.source == "modelled: test"
  assert list(reasons(found)) == ["board rails", "NVML", "RAPL"]
  lines = detection.explain(found).splitlines()
  assert lines[0] == "energy is modelled: test"
  assert lines[1].startswith("not board rails: no power monitor")
  assert "nvidia-ml-py" in lines[2]
  assert "no processor package" in lines[3]


def test_the_board_comes_before_the_processor(tmp_path):
  ina3221(tmp_path, BOARD)
  rapl(tmp_path, PACKAGE)
  found = detection.detect(POWER, tmp_path)
  assert found.measures
  assert found.meter.source.startswith("measured: INA")
  assert reasons(found)["RAPL"].startswith("board rails come first: RAPL")
  assert "power model" in reasons(found)


def test_the_processor_is_measured_where_it_computes(tmp_path):
  rapl(tmp_path, PACKAGE)
  found = detection.detect(POWER, tmp_path, "cpu")
  assert found.meter.source.startswith("measured: RAPL")
  assert reasons(found)["NVML"] == "it does not measure what computes, a cpu"


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_the_processor_does_not_stand_for_an_accelerator(tmp_path, platform):
  rapl(tmp_path, PACKAGE)
  found = detection.detect(POWER, tmp_path, platform)
  assert not found.measures
  assert platform in reasons(found)["RAPL"]


def test_what_may_not_be_read_is_passed_over_with_the_reason(tmp_path, denied):
  chip = ina3221(tmp_path, BOARD)
  rapl(tmp_path, PACKAGE)
  denied(chip / "in1_input")
  found = detection.detect(POWER, tmp_path)
  assert found.meter.source.startswith("measured: RAPL")
  assert "no permission" in reasons(found)["board rails"]


def test_named_rails_must_be_there(tmp_path):
  rapl(tmp_path, PACKAGE)
  with pytest.raises(ValueError, match="no power monitor"):
    detection.detect(POWER, tmp_path, rails=["VDD_IN"])
  ina3221(tmp_path, BOARD)
  with pytest.raises(ValueError, match="no rail is called main"):
    detection.detect(POWER, tmp_path, rails=["main"])
  assert detection.detect(POWER, tmp_path, rails=["VDD_IN"]).measures


def test_the_model_is_idle_power_and_work_and_traffic():
  joules = POWER.joules(10.0, 4.0, {"nvme": 1e9, "dram": 2e9})
  assert joules == pytest.approx(20.0 + 40.0 + 2.0 + 0.3)


@given(st.floats(0.0, 1e4), st.floats(0.0, 1.0))
def test_the_model_lies_between_idle_and_busy(seconds, share):
  joules = POWER.joules(seconds, share * seconds)
  assert 2.0 * seconds <= joules <= 12.0 * seconds * (1 + 1e-12)


@pytest.mark.parametrize(
  "values, message",
  [
    ((5.0, 2.0, "modelled: x"), "idle_watts=5.0"),
    ((-1.0, 2.0, "modelled: x"), "0 <= idle"),
    ((1.0, 2.0, "measured: x"), 'begin with "modelled:"'),
    ((1.0, 2.0, "modelled: x", {"tape": -1.0}), "tape"),
  ],
)
def test_models_that_cannot_be_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    modelled.Power(*values)


@pytest.mark.parametrize(
  "arguments, message",
  [((1.0, 2.0), "busy_seconds=2.0"), ((1.0, 1.0, {"tape": 1.0}), "tape.*dram")],
)
def test_work_that_cannot_be_is_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    POWER.joules(*arguments)


def test_a_modelled_meter_counts_what_it_is_told():
  clock = Clock()
  found = modelled.Modelled(POWER, clock)
  with found:
    clock.wait(2.0)
    assert found.read().joules == 4.0
    clock.wait(3.0)
    found.work(3.0, {"sd": 1e9})
    reading = found.read()
    assert reading.joules == pytest.approx(4.0 + 36.0 + 6.0)
    assert reading.watts == pytest.approx(14.0)
    assert found.read() == reading
    with pytest.raises(ValueError, match="runs already"):
      found.start()
    clock.wait(1.0)
  last = found.read()
  assert last.joules == pytest.approx(48.0)
  clock.wait(9.0)
  assert found.stop() == last
  assert found.start().joules == 0.0


def test_work_that_another_clock_saw_as_longer_fills_the_time():
  clock = Clock()
  with modelled.Modelled(POWER, clock) as found:
    clock.wait(1.0)
    found.work(1.0 + 1e-9)
    assert found.read().joules == 12.0


def test_what_is_modelled_is_never_called_measured(tmp_path):
  found = detection.detect(POWER, tmp_path)
  with found.meter as running:
    running.work(0.0)
    assert running.read().source.startswith("modelled:")
  assert isinstance(found.meter, meter.Meter)


def test_prices_of_bytes_and_the_bounds_of_a_model():
  prices = {"dram": 0.15, "hbm": 0.05, "nvme": 2, "emmc": 3, "sd": 6}
  found = modelled.Power(0, 0, "modelled: x")
  assert found.joules_per_byte == {
    name: pytest.approx(1e-9 * price) for name, price in prices.items()
  }
  assert found.joules(0, 0) == 0 and POWER.joules(2.0, 2.0) == 24.0
  free = modelled.Power(3, 3, "modelled: x", {"tape": 0})
  assert free.joules(1.0, 1.0, {"tape": 5}) == 3.0
  for values in (
    (1, math.inf, "modelled: x"),
    (1, 1, "modelled: x", {"t": math.inf}),
  ):
    with pytest.raises(ValueError, match="give 0"):
      modelled.Power(*values)
  with pytest.raises(ValueError, match="busy_seconds=-1"):
    POWER.joules(1.0, -1)


@pytest.mark.parametrize("platform", ["gpu", "cuda", "rocm"])
def test_counters_of_gpus_are_looked_for_where_they_compute(tmp_path, platform):
  why = reasons(detection.detect(POWER, tmp_path, platform))
  assert "nvidia-ml-py" in why["NVML"]
  assert why["RAPL"].endswith(f"a {platform}")


def test_what_was_found_cannot_be_changed(tmp_path):
  for value, name in (
    (detection.detect(POWER, tmp_path), "meter"),
    (POWER, "idle_watts"),
  ):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(value, name, None)


def test_a_clock_that_goes_back_takes_no_time():
  clock = Clock()
  with modelled.Modelled(POWER, clock) as found:
    clock.wait(-0.5)
    assert (found.read().seconds, found.read().joules) == (0.0, 0.0)
