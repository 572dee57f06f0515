"""From a sensor to watts that the model can use, and the command for it."""

import dataclasses
import json
import os
from pathlib import Path
import subprocess
import sys

from kernel import Clock, ina3221
import pytest

from jcl.cost.meters import calibration, meter, modelled

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench():
  """A meter, and ways to pass time at a given power."""
  clock = Clock()
  spent = [0.0]
  sensor = meter.Sensor("bench", "joules", lambda: tuple(spent), 1e6, 1e-9)
  found = meter.Sampled(sensor, clock=clock, bridge=1.0)

  def spending(power):
    def spend(seconds):
      spent[0] += power * seconds
      clock.wait(seconds)

    return spend

  return found, spending


def measure(found, idle, busy, seconds=5.0):
  return calibration.measure("board", "cpu", found, idle, busy, seconds)


def test_rest_and_work_are_measured_apart(bench):
  found, spending = bench
  result = measure(found, spending(3.0), spending(11.0))
  assert result == calibration.Calibration(
    "board", "cpu", 3.0, 11.0, 5.0, "measured: bench"
  )
  power = result.power()
  assert power.joules(2.0, 1.0) == pytest.approx(3.0 + 11.0)
  assert power.source == "modelled: watts calibrated on board by bench"
  assert found.stop() == found.read()  # it does not run any more


def test_work_below_rest_is_refused(bench):
  found, spending = bench
  with pytest.raises(ValueError, match="11 W at rest and 3 W at work"):
    measure(found, spending(11.0), spending(3.0))


def test_a_model_does_not_calibrate_a_model(bench):
  found = modelled.Modelled(modelled.Power(1.0, 2.0, "modelled: table"))
  with pytest.raises(ValueError, match="only be calibrated by a sensor"):
    measure(found, print, print)


def test_a_sensor_that_falls_silent_is_refused(bench):
  found, spending = bench
  with pytest.raises(ValueError, match="fell silent"):
    measure(found, spending(3.0), spending(float("nan")))


def test_no_time_measures_nothing(bench):
  found, spending = bench
  with pytest.raises(ValueError, match="seconds=0.0"):
    measure(found, spending(3.0), spending(11.0), 0.0)


def test_a_calibration_survives_the_disk(tmp_path, bench):
  found, spending = bench
  result = measure(found, spending(3.0), spending(11.0))
  path = tmp_path / "power.json"
  calibration.save(result, path)
  assert calibration.load(path) == calibration.load(path, "board") == result
  assert os.listdir(tmp_path) == ["power.json"]
  with pytest.raises(ValueError, match="of 'board', this is 'other'"):
    calibration.load(path, "other")


@pytest.mark.parametrize("text", ["", "[]", '{"idle_watts": 1}', "not json"])
def test_other_files_are_no_calibrations(tmp_path, text):
  path = tmp_path / "power.json"
  path.write_text(text)
  with pytest.raises(ValueError, match="no calibration.*calibrate_power.py"):
    calibration.load(path)


def test_impossible_watts_are_no_calibration(tmp_path):
  path = tmp_path / "power.json"
  wrong = calibration.Calibration("x", "cpu", 9.0, 1.0, 5.0, "measured: x")
  calibration.save(wrong, path)
  with pytest.raises(ValueError, match="idle_watts=9"):
    calibration.load(path)


def command(*arguments):
  return subprocess.run(
    [sys.executable, str(ROOT / "experiments/calibrate_power.py"), *arguments],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def test_the_command_measures_with_the_sensor_it_finds(tmp_path):
  ina3221(tmp_path, {"VDD_IN": (5000, 1200)})
  out = tmp_path / "power.json"
  done = command(f"--root={tmp_path}", f"--out={out}", "--seconds=0.2")
  assert done.returncode == 0, done.stdout + done.stderr
  assert "6 W at rest, 6 W at work" in done.stdout
  power = calibration.load(out).power()
  # A file that never changes draws the same at rest and at work.
  assert power.idle_watts == pytest.approx(6.0)
  assert power.busy_watts == pytest.approx(6.0)
  assert power.source.startswith("modelled: watts calibrated on ")
  assert "VDD_IN" in power.source


def test_the_command_says_that_there_is_no_sensor(tmp_path):
  out = tmp_path / "power.json"
  done = command(f"--root={tmp_path}", f"--out={out}")
  assert done.returncode == 1
  assert not out.exists()
  text = done.stdout
  assert "not board rails: no power monitor" in text
  assert "not RAPL: no processor package" in text
  fields = json.loads(text[text.index("{") : text.rindex("}") + 1])
  assert {"idle_watts", "busy_watts", "meter"} <= set(fields)


def test_equal_watts_and_no_changes_afterwards(bench):
  found, spending = bench
  result = measure(found, spending(3.0), spending(3.0), 0.5)
  assert (result.idle_watts, result.busy_watts, result.seconds) == (3, 3, 0.5)
  with pytest.raises(dataclasses.FrozenInstanceError):
    result.idle_watts = 0.0
  with pytest.raises(ValueError, match="seconds=-1"):
    measure(found, spending(3.0), spending(11.0), -1)


def test_an_interrupted_calibration_leaves_nothing(tmp_path, monkeypatch):
  made = calibration.Calibration("b", "cpu", 1.0, 2.0, 1.0, "measured: b")

  def interrupt(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(os, "replace", interrupt)
  with pytest.raises(KeyboardInterrupt):
    calibration.save(made, tmp_path / "w.json")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "error", [TypeError, ValueError, AttributeError, RecursionError]
)
def test_whatever_a_damaged_calibration_raises_is_told(
  error, tmp_path, monkeypatch
):
  def fail(text):
    raise error("no such thing")

  (tmp_path / "w.json").write_text("{}")
  monkeypatch.setattr(calibration.json, "loads", fail)
  with pytest.raises(ValueError, match="w.json is no calibration .no such"):
    calibration.load(tmp_path / "w.json")
