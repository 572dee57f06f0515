"""GPUs behind a stand-in for nvidia-ml-py's module."""

import sys
import types

from kernel import Clock
import pytest

from jcl.cost.meters import meter, nvml


class NVMLError(Exception):
  pass


class Board:
  """One GPU: energy in millijoules, power in milliwatts, None: unsupported."""

  def __init__(self, uuid, energy=1000, power=70_000, mig=None):
    self.uuid, self.energy, self.power, self.mig = uuid, energy, power, mig


def supported(value):
  if value is None:
    raise NVMLError("Not Supported")
  return value


@pytest.fixture
def gpus(monkeypatch):
  """Installs boards and returns them."""

  def install(*boards, init=lambda: None):
    library = types.SimpleNamespace(
      NVMLError=NVMLError,
      nvmlInit=init,
      nvmlDeviceGetCount=lambda: len(boards),
      nvmlDeviceGetHandleByIndex=lambda index: boards[index],
      nvmlDeviceGetName=lambda board: b"NVIDIA H200",
      nvmlDeviceGetUUID=lambda board: board.uuid,
      nvmlDeviceGetTotalEnergyConsumption=lambda b: supported(b.energy),
      nvmlDeviceGetPowerUsage=lambda b: supported(b.power),
      nvmlDeviceGetMigMode=lambda b: [supported(b.mig), 0],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return boards

  return install


def test_energy_is_the_difference_of_the_counters(gpus):
  first, second = gpus(Board("GPU-a"), Board("GPU-b", energy=5000))
  sensor = nvml.find()
  assert sensor.kind == "joules"
  assert sensor.name == (
    "NVML energy counter of GPU 0 (NVIDIA H200) + GPU 1 (NVIDIA H200)"
  )
  clock = Clock()
  with meter.Sampled(sensor, clock=clock) as found:
    clock.wait(2.0)
    first.energy += 300_000
    second.energy += 100_000
    reading = found.read()
  assert reading.joules == pytest.approx(400.0)
  assert reading.watts == pytest.approx(200.0)


def test_older_boards_are_sampled(gpus):
  gpus(Board("GPU-a", energy=None))
  sensor = nvml.find()
  assert (sensor.kind, sensor.read()) == ("watts", (70.0,))
  assert sensor.period <= 0.1


@pytest.mark.parametrize(
  "visible, indices",
  [
    (None, [0, 1, 2]),
    ("1", [1]),
    ("2,0", [2, 0]),
    ("GPU-b", [1]),
    ("1,7,0", [1]),  # 7 ends the list
  ],
)
def test_only_the_visible_boards_count(gpus, monkeypatch, visible, indices):
  gpus(*(Board(f"GPU-{name}", i) for i, name in enumerate("abc")))
  if visible is not None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  assert nvml.find().read() == pytest.approx([1e-3 * i for i in indices])


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_boards_are_not_measured(gpus, visible):
  gpus(Board("GPU-a"))
  with pytest.raises(meter.Unavailable, match="no GPU in CUDA_VISIBLE_DEVICES"):
    nvml.find(visible)


def test_instances_have_no_counters(gpus):
  gpus(Board("GPU-a", mig=1))
  with pytest.raises(meter.Unavailable, match="GPU 0 is cut into instances"):
    nvml.find()
  gpus(Board("GPU-a", mig=0))
  with pytest.raises(meter.Unavailable, match="no counter of its own"):
    nvml.find("MIG-1234")
  assert nvml.find().kind == "joules"


def test_a_board_that_tells_nothing_is_unavailable(gpus):
  gpus(Board("GPU-a", energy=None, power=None))
  with pytest.raises(meter.Unavailable, match="GPU 0.*Not Supported"):
    nvml.find()


def test_a_missing_driver_is_the_reason(gpus):
  def fail():
    raise NVMLError("NVML Shared Library Not Found")

  gpus(init=fail)
  with pytest.raises(meter.Unavailable, match="Shared Library Not Found"):
    nvml.find()


def test_a_missing_package_is_the_reason(monkeypatch):
  monkeypatch.setitem(sys.modules, "pynvml", None)
  with pytest.raises(meter.Unavailable, match="pip install nvidia-ml-py"):
    nvml.find()


def test_a_board_that_falls_off_the_bus_is_missed(gpus):
  (board,) = gpus(Board("GPU-a"))
  clock = Clock()
  with meter.Sampled(nvml.find(), clock=clock) as found:
    clock.wait(1.0)
    board.energy += 50_000
    found.read()
    board.energy = None
    clock.wait(35.0)
    reading = found.read()
  assert reading.missing == pytest.approx(5.0)
  assert reading.source.startswith("partly measured: NVML")


def test_the_names_asked_for_exist():
  library = pytest.importorskip("pynvml")
  for name in (
    "NVMLError",
    "nvmlInit",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetMigMode",
  ):
    assert hasattr(library, name), name
