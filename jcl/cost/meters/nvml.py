"""Energy counters and power of NVIDIA's GPUs, through nvidia-ml-py.

NVIDIA, "NVML API Reference Guide": `nvmlDeviceGetTotalEnergyConsumption`
(millijoules since the driver was loaded, Volta and later) and
`nvmlDeviceGetPowerUsage` (milliwatts).
"""

from collections.abc import Callable
import importlib
import os
from typing import Any

from jcl.cost.meters import meter

_COUNTER_PERIOD = 10.0
_POWER_PERIOD = 0.05
# The driver refreshes both every 20 to 100 ms.
_RESOLUTION = 0.1


def find(visible: str | None = None) -> meter.Sensor:
  """Returns the sensor of the GPUs that this process may use.

  The sensor covers whole boards, memory and other programs included, without
  the host's processor. Nothing is subtracted for idling.

  Args:
    visible: indices (in the order of the PCI bus) or UUIDs, separated by
      commas. None: the value of CUDA_VISIBLE_DEVICES; all GPUs where that
      variable is not set.

  Raises:
    meter.Unavailable: where the package, the driver or the GPU is missing, or
      a GPU is cut into instances, which have no counters of their own.
  """
  try:
    nvml = importlib.import_module("pynvml")
  except ImportError as error:
    raise meter.Unavailable(
      "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"
    ) from error
  if visible is None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
  try:
    nvml.nvmlInit()
    handles = _visible(nvml, visible)
    for index, handle in handles.items():
      if _cut(nvml, handle):
        raise meter.Unavailable(
          f"GPU {index} is cut into instances (MIG), and its counter holds "
          "them all"
        )
    names = {
      index: _text(nvml.nvmlDeviceGetName(handle))
      for index, handle in handles.items()
    }
    sensor = _sensor(nvml, handles, names)
  except nvml.NVMLError as error:
    raise meter.Unavailable(f"NVML: {error}") from error
  return sensor


def _sensor(nvml: Any, handles: dict, names: dict) -> meter.Sensor:
  boards = " + ".join(f"GPU {index} ({name})" for index, name in names.items())
  counters = _reader(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handles)
  try:
    counters()
  except OSError:
    power = _reader(nvml, nvml.nvmlDeviceGetPowerUsage, handles)
    try:
      power()
    except OSError as error:
      raise meter.Unavailable(f"{boards}: {error}") from error
    return meter.Sensor(
      f"NVML power of {boards}", "watts", power, _POWER_PERIOD, _RESOLUTION
    )
  return meter.Sensor(
    f"NVML energy counter of {boards}",
    "joules",
    counters,
    _COUNTER_PERIOD,
    _RESOLUTION,
  )


def _reader(
  nvml: Any, ask: Callable[[Any], int], handles: dict
) -> Callable[[], tuple[float, ...]]:
  def read() -> tuple[float, ...]:
    try:
      return tuple(1e-3 * ask(handle) for handle in handles.values())
    except nvml.NVMLError as error:
      raise OSError(f"NVML: {error}") from error

  return read


def _visible(nvml: Any, visible: str | None) -> dict[int, Any]:
  """Returns handles by index of the GPUs that a list names."""
  every = {
    index: nvml.nvmlDeviceGetHandleByIndex(index)
    for index in range(nvml.nvmlDeviceGetCount())
  }
  if visible is None:
    chosen = every
  else:
    chosen = {}
    for part in filter(None, map(str.strip, visible.split(","))):
      if part.startswith("MIG-"):
        raise meter.Unavailable(
          f"CUDA_VISIBLE_DEVICES={visible}: an instance of a GPU (MIG) has no "
          "counter of its own"
        )
      matches = [
        index
        for index, handle in every.items()
        if part == str(index)
        or _text(nvml.nvmlDeviceGetUUID(handle)).startswith(part)
      ]
      # As in CUDA, a part that names no GPU ends the list.
      if not matches:
        break
      chosen[matches[0]] = every[matches[0]]
  if not chosen:
    which = "" if visible is None else f" in CUDA_VISIBLE_DEVICES={visible}"
    raise meter.Unavailable(f"no GPU{which}, of {len(every)} that NVML lists")
  return chosen


def _cut(nvml: Any, handle: Any) -> bool:
  """Returns whether a GPU is cut into instances (MIG)."""
  try:
    return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
  except nvml.NVMLError:  # boards that cannot be cut
    return False


def _text(value: str | bytes) -> str:
  return value.decode() if isinstance(value, bytes) else value
