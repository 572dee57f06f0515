"""Whole runs that a sensor of a fake kernel tree measures."""

import json
import threading
import time

from kernel import ina3221
import pytest

from jcl import base, recipes
from jcl.cost import devices
from jcl.cost.meters import detection, modelled, rails
from jcl.cost.meters import meter as meters
from jcl.run import session
from jcl.streams import scenarios

DEVICE = devices.Device("cpu", "test", 1, 2, 1.0, 1.0, "modelled: test")
POWER = modelled.Power(1.0, 1.0, "modelled: test")
WATTS = 5e6  # what the board draws, far above the model
NAME = "INA power monitor, rail VDD_IN: the board's input"
OPTIONS = session.Options(steps_per_dispatch=8, progress=False)
TRAINING = base.Training(epochs=1, batch_size=20)


@pytest.fixture
def board(tmp_path):
  """A tree with one rail, and the chip's folder."""
  chip = ina3221(tmp_path / "sys", {"VDD_IN": (5_000_000, 1_000_000)})
  return tmp_path / "sys", chip


@pytest.fixture(scope="module")
def one(digits):
  """All ten digits in one experience."""
  return scenarios.class_incremental(digits, tasks=1)


@pytest.fixture(autouse=True)
def no_thread_left():
  yield
  assert not [t for t in threading.enumerate() if t.name == "jcl meter"]


def found(root):
  return detection.detect(POWER, root, "cpu").meter


def assemble(stream, network, meter):
  return session.assemble(
    stream,
    network,
    recipes.finetune(),
    TRAINING,
    options=OPTIONS,
    device=DEVICE,
    meter=meter,
  )


def test_a_measured_run_says_so(board, one, network, tmp_path):
  root, _ = board
  result = session.learn(
    one,
    network,
    recipes.finetune(),
    workdir=tmp_path / "run",
    options=OPTIONS,
    meter=found(root),
    epochs=1,
    batch_size=20,
  )
  total = result.summary["total"]
  # Clock and sensor are read one after the other.
  assert total["joules"] == pytest.approx(WATTS * total["seconds"], rel=0.5)
  assert result.summary["costs"]["train"]["joules"] > 0
  kept = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert kept["joules_source"] == f"measured ({NAME})"


def test_a_sensor_that_dies_leaves_a_run_partly_measured(
  board, one, network, monkeypatch
):
  root, chip = board
  meter = meters.Sampled(rails.find(root), bridge=0.0)
  job = assemble(one, network, meter)
  put = job.learner.put_batches

  def unplug(batches):
    (chip / "curr1_input").unlink(missing_ok=True)
    time.sleep(2 * meter.sensor.resolution)
    return put(batches)

  monkeypatch.setattr(job.learner, "put_batches", unplug)
  result = session.run(job, None, OPTIONS)
  assert result.summary["joules_source"] == f"partly measured ({NAME})"
  assert result.summary["costs"]["evaluate"]["joules"] > 0


def test_a_run_goes_on_without_the_meter_it_began_with(
  board, one, network, monkeypatch, tmp_path
):
  root, _ = board
  job = assemble(one, network, found(root))
  calls = []

  def failing(batches, put=job.learner.put_batches):
    calls.append(0)
    if len(calls) == 3:
      raise KeyError("a fault of the machine")
    return put(batches)

  monkeypatch.setattr(job.learner, "put_batches", failing)
  often = session.Options(
    steps_per_dispatch=8, progress=False, checkpoint_seconds=0.0
  )
  with pytest.raises(KeyError):
    session.run(job, tmp_path / "run", often)
  assert not [t for t in threading.enumerate() if t.name == "jcl meter"]
  before = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert before["joules_source"] == f"measured ({NAME})"
  modelled_run = assemble(one, network, None)
  result = session.run(modelled_run, tmp_path / "run", often)
  assert result.summary["joules_source"] == f"partly measured ({NAME})"
  assert result.summary["total"]["joules"] > WATTS * 1e-3


def test_a_sensor_lost_before_the_run_is_told(board, one, network):
  root, chip = board
  job = assemble(one, network, found(root))
  (chip / "curr1_input").unlink()
  with pytest.raises(ValueError, match="VDD_IN.*curr1_input"):
    session.run(job, None, OPTIONS)
