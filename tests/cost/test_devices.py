"""Power models that never pass for measurements."""

import dataclasses
import io
import os
import platform

import jax
import pytest

from jcl.cost import devices


class Accelerator:
  """What `jax.devices()` lists, on a machine that has it."""

  def __init__(self, platform: str, device_kind: str):
    self.platform = platform
    self.device_kind = device_kind


@pytest.fixture
def machine(monkeypatch):
  """Pretends to be a machine with some devices."""

  def build(platform, kind, count=1, cores=4):
    found = [Accelerator(platform, kind)] * count
    monkeypatch.setattr(jax, "devices", lambda: found)
    monkeypatch.setattr(devices, "cores", lambda: cores)
    if platform == "cpu":
      monkeypatch.setattr(devices, "_cpu_name", lambda: kind)

  return build


def watts(device) -> tuple[float, float]:
  return device.idle_watts, device.busy_watts


def test_joules_are_seconds_times_watts():
  device = devices.Device("cpu", "x", 1, 1, 2.0, 7.0, "modelled: x")
  assert device.joules(3.0) == 21.0
  assert device.joules(3.0, busy=False) == 6.0
  with pytest.raises(dataclasses.FrozenInstanceError):
    device.cores = 2


def test_this_machine_is_described():
  device = devices.detect()
  assert device.platform == jax.devices()[0].platform
  assert device.name
  assert device.num_devices == len(jax.devices())
  assert 1 <= device.cores <= os.cpu_count()
  assert 0 < device.idle_watts < device.busy_watts
  assert device.source.startswith("modelled:")
  line = devices.describe(device)
  assert "\n" not in line
  for part in (
    device.platform,
    device.name,
    f"{device.cores} of {os.cpu_count()} cores",
    f"jax {jax.__version__}",
    device.source,
  ):
    assert part in line


@pytest.mark.skipif(
  not hasattr(os, "sched_setaffinity"), reason="no affinity on this system"
)
def test_cores_are_those_the_process_may_use():
  before = os.sched_getaffinity(0)
  try:
    os.sched_setaffinity(0, {min(before)})
    assert devices.detect().cores == 1
  finally:
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
  "kind, busy",
  [
    ("NVIDIA H200", 700.0),
    ("NVIDIA H100 80GB HBM3", 700.0),
    ("NVIDIA A100-SXM4-40GB", 400.0),
    ("Tesla T4", 70.0),
    ("Orin", 60.0),
  ],
)
def test_a_named_gpu_has_its_published_power(machine, kind, busy):
  machine("gpu", kind)
  device = devices.detect()
  assert device.busy_watts == busy
  assert device.name == kind


@pytest.mark.parametrize(
  "runs_on, kind, expected",
  [
    ("gpu", "NVIDIA H200", (75, 700)),
    ("gpu", "NVIDIA H100", (70, 700)),
    ("gpu", "NVIDIA A100", (55, 400)),
    ("gpu", "Tesla T4", (10, 70)),
    ("gpu", "Orin", (8, 60)),
    ("gpu", "Xavier", (4, 20)),
    ("cpu", "quill TX2", (3, 15)),
    ("cpu", "Raspberry Pi 4", (2.7, 6.4)),
    ("tpu", "TPU v4", (90, 192)),
    ("gpu", "other", (30, 250)),
    ("tpu", "TPU v5 lite", (60, 200)),
    ("cpu", "other", (3 * 1, 3 * 6)),
  ],
)
def test_watts_of_the_table(machine, runs_on, kind, expected):
  machine(runs_on, kind, cores=3)
  assert watts(devices.detect()) == expected


def test_the_processor_is_named_as_the_kernel_does(monkeypatch):
  files = {"/proc/cpuinfo": "vendor_id : x\nmodel name\t: EPYC: 9 \nflags : y"}

  def opened(path, **_):
    if path not in files:
      raise FileNotFoundError(path)
    return io.StringIO(files[path])

  monkeypatch.setattr("builtins.open", opened)
  assert devices._cpu_name() == "EPYC: 9"
  files["/proc/device-tree/model"] = "Board 1\n\0"
  assert devices._cpu_name() == "Board 1"
  files.clear()
  monkeypatch.setattr(platform, "processor", lambda: "")
  assert devices._cpu_name() == platform.machine()


def test_a_name_is_matched_in_whole_words(machine):
  machine("gpu", "NVIDIA T400 4GB")  # no T4
  assert "typical of" in devices.detect().source


def test_every_accelerator_counts(machine):
  machine("gpu", "NVIDIA H200", count=8)
  assert watts(devices.detect()) == (8 * 75.0, 8 * 700.0)


def test_a_processor_is_priced_by_its_usable_cores(machine):
  machine("cpu", "AMD EPYC", cores=4)
  one = watts(devices.detect())
  machine("cpu", "AMD EPYC", cores=8)
  assert watts(devices.detect()) == (2 * one[0], 2 * one[1])


def test_several_cpu_devices_are_one_board(machine):
  machine("cpu", "Raspberry Pi 4 Model B Rev 1.4", count=8)
  assert watts(devices.detect()) == (2.7, 6.4)


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_an_unknown_accelerator_is_said_to_be_typical(machine, kind):
  machine(kind, "Novelty 9000")
  device = devices.detect()
  assert device.source.startswith("modelled: typical of")
  assert 0 < device.idle_watts < device.busy_watts


def test_watts_of_the_user_win_and_stay_modelled():
  device = devices.detect(idle_watts=3.0, busy_watts=11.0)
  assert watts(device) == (3.0, 11.0)
  assert device.source == "modelled: user-supplied watts"


def test_one_of_the_two_may_be_supplied(machine):
  machine("gpu", "NVIDIA H200")
  assert watts(devices.detect(busy_watts=350.0)) == (75.0, 350.0)
  assert watts(devices.detect(idle_watts=0.0)) == (0.0, 700.0)


@pytest.mark.parametrize(
  "idle, busy", [(-1.0, 5.0), (6.0, 5.0), (0.0, float("nan"))]
)
def test_impossible_watts_are_refused(idle, busy):
  with pytest.raises(ValueError, match="give 0 <= idle <= busy") as error:
    devices.detect(idle, busy)
  assert f"idle_watts={idle}" in str(error.value)
