"""Power rails of a board, measured by chips of the INA family.

The kernel's hwmon class gives millivolts (`in*_input`) and milliamperes
(`curr*_input`) of each channel, some drivers microwatts as well
(`power*_input`); the driver of older Jetson kernels gives milliwatts
(`in_power*_input`) and names its rails in `rail_name_*`. Linux kernel
documentation, "hwmon sysfs interface" and "ina3221".
"""

from collections.abc import Callable, Sequence
from pathlib import Path
import re

from jcl.cost.meters import meter, sysfs

# Rails that together carry a whole module and do not overlap. A rail at the
# input includes all rails behind it, so these are left out. Sources: NVIDIA's
# "Jetson Linux Developer Guide" (software-based power consumption modeling);
# for the two boards without an input rail, their design guides.
_BOARDS = (
  ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin NX, Orin Nano
  ("POM_5V_IN",),  # Nano
  ("5V_IN",),  # Xavier NX, older kernels
  ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
  ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
_HWMON = (
  "class/hwmon/hwmon*",
  "bus/i2c/devices/*/hwmon/hwmon*",
  "bus/i2c/drivers/ina*/*/hwmon/hwmon*",
)
_IIO = (
  "bus/iio/devices/iio:device*",
  "bus/i2c/devices/*/iio[:_]device*",
  "bus/i2c/drivers/ina*/*/iio[:_]device*",
)
_PERIOD = 0.05  # seconds: 20 samples in each
_RESOLUTION = 0.01  # seconds, where the chip does not state its own


def find(root: str | Path = "/sys", rails: Sequence[str] = ()) -> meter.Sensor:
  """Returns the sensor of a board's whole power.

  Args:
    root: the folder where the kernel shows its devices.
    rails: names of the rails to add up, for boards that are not known here.

  Raises:
    meter.Unavailable: where there is no such rail, it cannot be read, or the
      rails that carry the whole board are not known.
  """
  try:
    found = _rails(Path(root))
  except OSError as error:
    raise meter.Unavailable(sysfs.why(error)) from error
  if not found:
    raise meter.Unavailable(
      f"no power monitor of the INA family under {Path(root) / 'bus/i2c'}"
    )
  chosen = tuple(rails) or next(
    (names for names in _BOARDS if set(names) <= set(found)), ()
  )
  lacking = [name for name in chosen if name not in found]
  if lacking or not chosen:
    problem = (
      f"no rail is called {', '.join(lacking)}"
      if lacking
      else "none of the rails is known to carry the whole board"
    )
    raise meter.Unavailable(
      f"{problem}: name those to add up, of {', '.join(found)}"
    )
  if len(set(chosen)) < len(chosen):
    raise meter.Unavailable(f"rails {', '.join(chosen)}: give each rail once")
  reads = [found[name][0] for name in chosen]

  def read() -> tuple[float, ...]:
    return tuple(read() for read in reads)

  try:
    read()
  except (OSError, ValueError) as error:
    raise meter.Unavailable(sysfs.why(error)) from error
  several = "rail" if len(chosen) == 1 else "rails"
  return meter.Sensor(
    f"INA power monitor, {several} {' + '.join(chosen)}: the board's input",
    "watts",
    read,
    _PERIOD,
    max(found[name][1] for name in chosen),
  )


def _rails(root: Path) -> dict[str, tuple[Callable[[], float], float]]:
  """Returns reader (in watts) and resolution (in seconds) by rail."""
  rails: dict[str, tuple[Callable[[], float], float]] = {}
  for chip in sysfs.folders(root, _HWMON):
    if not (_text(chip / "name") or "").startswith("ina"):
      continue
    try:
      resolution = 1e-3 * sysfs.number(chip / "update_interval")
    except (OSError, ValueError):
      resolution = _RESOLUTION
    for channel, label in _labels(chip, r"(?:in|power)(\d+)_label"):
      watts = _hwmon_watts(chip, channel)
      if watts:
        rails.setdefault(label, (watts, resolution))
  for chip in sysfs.folders(root, _IIO):
    for channel, label in _labels(chip, r"rail_name_(\d+)"):
      path = chip / f"in_power{channel}_input"
      if path.exists():
        rails.setdefault(label, (_scaled(1e-3, path), _RESOLUTION))
  return rails


def _labels(chip: Path, pattern: str) -> list[tuple[str, str]]:
  """Returns the channels of a chip, each with its label."""
  labels = []
  for path in sorted(chip.iterdir()):
    match = re.fullmatch(pattern, path.name)
    label = _text(path) if match else None
    if match and label:
      labels.append((match[1], label))
  return labels


def _hwmon_watts(chip: Path, channel: str) -> Callable[[], float] | None:
  power = chip / f"power{channel}_input"
  if power.exists():
    return _scaled(1e-6, power)
  volts, amperes = (chip / f"{kind}{channel}_input" for kind in ("in", "curr"))
  if volts.exists() and amperes.exists():
    return _scaled(1e-6, volts, amperes)
  return None  # such as the sum of shunt voltages


def _scaled(factor: float, *paths: Path) -> Callable[[], float]:
  def read() -> float:
    product = factor
    for path in paths:
      product *= sysfs.number(path)
    return product

  return read


def _text(path: Path) -> str | None:
  try:
    return sysfs.text(path)
  except FileNotFoundError:
    return None
