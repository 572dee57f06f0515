"""The device of a run, and the power model that prices its seconds.

Without a meter, joules are seconds times watts from the table below. The watts
are orders of magnitude from published thermal design powers; wherever such
joules are shown, they are called "modelled".
"""

import dataclasses
import os
import platform
import re

from jcl.options.errors import UsageError

# Watts (idle, busy) per device, by a part of its name in lower case.
_BY_NAME: tuple[tuple[str, float, float, str], ...] = (
  ("h200", 75.0, 700.0, "NVIDIA's H200 SXM data sheet, TDP 700 W"),
  ("h100", 70.0, 700.0, "NVIDIA's H100 SXM data sheet, TDP 700 W"),
  ("a100", 55.0, 400.0, "NVIDIA's A100 SXM data sheet, TDP 400 W"),
  ("t4", 10.0, 70.0, "NVIDIA's T4 data sheet, 70 W"),
  ("orin", 8.0, 60.0, "NVIDIA's Jetson AGX Orin, MAXN mode 60 W"),
  ("xavier", 4.0, 20.0, "NVIDIA's Jetson Xavier NX, 20 W mode"),
  ("tx2", 3.0, 15.0, "NVIDIA's Jetson TX2, Max-P 15 W"),
  ("raspberry", 2.7, 6.4, "Raspberry Pi 4B, typical idle and load"),
  ("tpu v4", 90.0, 192.0, "Jouppi et al., ISCA 2023: TPU v4, 192 W at most"),
)
_BY_PLATFORM = {
  "gpu": (30.0, 250.0, "a mid-range data-centre GPU"),
  "tpu": (60.0, 200.0, "a TPU chip"),
}
# A server core's share of its socket: EPYC and Xeon parts of 200 to 280 W
# with 32 to 64 cores lie between 4 and 8 W a core.
_WATTS_PER_CORE = (1.0, 6.0)


@dataclasses.dataclass(frozen=True)
class Device:
  """A device, its share in use, and its modelled power in watts."""

  platform: str
  name: str
  num_devices: int
  cores: int  # processor cores this process may use
  idle_watts: float
  busy_watts: float
  source: str  # where the watts come from; begins with "modelled:"

  def joules(self, seconds: float, busy: bool = True) -> float:
    """Returns the modelled energy in joules of `seconds` at work, or idle.

    >>> device = Device("cpu", "board", 1, 4, 2.0, 10.0, "modelled: example")
    >>> device.joules(3.0), device.joules(3.0, busy=False)
    (30.0, 6.0)
    """
    return seconds * (self.busy_watts if busy else self.idle_watts)


def detect(
  idle_watts: float | None = None, busy_watts: float | None = None
) -> Device:
  """Describes the devices that JAX uses.

  Args:
    idle_watts: power of all devices together while idle; None: from the table.
    busy_watts: power of all devices together while busy; None: from the table.

  Raises:
    ValueError: for negative watts, or idle above busy.
  """
  import jax

  devices = jax.devices()
  count = cores()
  kind = devices[0].platform
  name = _cpu_name() if kind == "cpu" else devices[0].device_kind
  idle, busy, source = _watts(kind, name, len(devices), count)
  if idle_watts is not None or busy_watts is not None:
    source = "user-supplied watts"
    idle = idle if idle_watts is None else idle_watts
    busy = busy if busy_watts is None else busy_watts
  if not 0 <= idle <= busy:
    raise UsageError(
      f"idle_watts={idle} and busy_watts={busy}: give 0 <= idle <= busy"
    )
  return Device(
    kind, name, len(devices), count, idle, busy, f"modelled: {source}"
  )


def describe(device: Device) -> str:
  """Returns one line: platform, devices, processor cores, version, watts."""
  import jax

  return (
    f"{device.platform}: {device.num_devices} x {device.name}, "
    f"{device.cores} of {os.cpu_count()} cores, jax {jax.__version__}, "
    f"{device.idle_watts:g} to {device.busy_watts:g} W ({device.source})"
  )


def _watts(
  kind: str, name: str, num_devices: int, cores: int
) -> tuple[float, float, str]:
  """Returns idle watts, busy watts and where both come from."""
  for part, idle, busy, source in _BY_NAME:
    if re.search(rf"\b{part}\b", name.lower()):
      # Several CPU devices of JAX share one board.
      boards = 1 if kind == "cpu" else num_devices
      return idle * boards, busy * boards, source
  if kind in _BY_PLATFORM:
    idle, busy, source = _BY_PLATFORM[kind]
    return idle * num_devices, busy * num_devices, f"typical of {source}"
  idle, busy = _WATTS_PER_CORE
  return idle * cores, busy * cores, f"{busy:g} W a busy core, {idle:g} W idle"


def cores() -> int:
  """Returns the number of processors that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _cpu_name() -> str:
  for path, key in (
    ("/proc/device-tree/model", ""),
    ("/proc/cpuinfo", "model name"),
  ):
    try:
      with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    except OSError:
      continue
    if not key:
      return text.strip("\0\n ")
    for line in text.splitlines():
      if line.startswith(key):
        return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()
