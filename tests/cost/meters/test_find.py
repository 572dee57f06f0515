"""Meters that a person asks for by name, over a fake kernel tree."""

import sys
from types import SimpleNamespace

from kernel import ina3221, rapl
import pytest

from jcl.cost.meters import find, meter, modelled

POWER = modelled.Power(2.0, 12.0, "modelled: test")
PACKAGE = {"0": ("package-0", 1_000_000, 262_143_328_850)}
BOARD = {"VDD_IN": (5000, 1000)}
pytestmark = pytest.mark.usefixtures("no_gpus")


def test_auto_is_the_best_there_is(tmp_path):
  assert not find.find("auto", POWER, tmp_path).measures
  rapl(tmp_path, PACKAGE)
  found = find.find("auto", POWER, tmp_path, "cpu")
  assert found.meter.source.startswith("measured: RAPL")
  assert list(dict(found.unused)) == ["board rails", "NVML", "power model"]


def test_a_model_that_is_asked_for_looks_for_no_sensor(tmp_path):
  rapl(tmp_path, PACKAGE)
  found = find.find("modelled", POWER, tmp_path)
  assert found.meter.source == "modelled: test"
  assert found.unused == (("sensors", "the power model was asked for"),)


@pytest.mark.parametrize("name, kind", [("rails", "INA"), ("rapl", "RAPL")])
def test_a_name_counts_more_than_the_order(name, kind, tmp_path):
  ina3221(tmp_path, BOARD)
  rapl(tmp_path, PACKAGE)
  found = find.find(name, POWER, tmp_path, "cpu")
  assert found.meter.source.startswith(f"measured: {kind}")
  with found.meter as running:
    assert running.read().seconds >= 0


def test_gpus_are_found_by_name_behind_a_board(tmp_path, monkeypatch):
  ina3221(tmp_path, BOARD)
  gpu = SimpleNamespace(
    NVMLError=RuntimeError,
    nvmlInit=lambda: None,
    nvmlDeviceGetCount=lambda: 1,
    nvmlDeviceGetHandleByIndex=lambda index: index,
    nvmlDeviceGetName=lambda handle: "test",
    nvmlDeviceGetMigMode=lambda handle: (0, 0),
    nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1000,
  )
  monkeypatch.setitem(sys.modules, "pynvml", gpu)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  found = find.find("nvml", POWER, tmp_path, "gpu")
  assert found.meter.source == "measured: NVML energy counter of GPU 0 (test)"


@pytest.mark.parametrize(
  "name, platform, reason",
  [
    ("rails", None, "no power monitor of the INA family"),
    ("nvml", None, "nvidia-ml-py is not installed"),
    ("nvml", "cpu", "does not measure what computes, a cpu"),
    ("rapl", "gpu", "does not measure what computes, a gpu"),
  ],
)
def test_what_is_not_there_is_refused_with_the_reason(
  name, platform, reason, tmp_path
):
  rapl(tmp_path, PACKAGE)
  with pytest.raises(ValueError, match=f'meter="{name}": .*{reason}.*"auto"'):
    find.find(name, POWER, tmp_path, platform)


def test_what_may_not_be_read_is_refused_with_the_reason(tmp_path, denied):
  ina3221(tmp_path, BOARD)
  denied(rapl(tmp_path, PACKAGE)["0"])
  with pytest.raises(meter.Unavailable, match="no permission.*run as root"):
    find.find("rapl", POWER, tmp_path, "cpu")


def test_other_names_are_refused(tmp_path):
  with pytest.raises(ValueError, match='meter="RAPL": choose from auto, model'):
    find.find("RAPL", POWER, tmp_path)
