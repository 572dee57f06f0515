"""Folders laid out as the kernel shows sensors."""

import os
from pathlib import Path


class Clock:
  """Seconds that pass only when told to."""

  def __init__(self, now: float = 100.0):
    self.now = now

  def __call__(self) -> float:
    return self.now

  def wait(self, seconds: float) -> None:
    self.now += seconds


def put(path: Path, value: object) -> Path:
  """Writes a file at once, so that no reader finds it empty."""
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  part.write_text(f"{value}\n", encoding="utf-8")
  os.replace(part, path)
  return path


def link(path: Path, target: Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.symlink_to(target, target_is_directory=True)


def ina3221(root: Path, rails, address="1-0040", number=3) -> Path:
  """A chip with up to three rails, {label: (millivolts, milliamperes)}."""
  device = root / "devices/platform/i2c-1" / address
  chip = device / f"hwmon/hwmon{number}"
  put(chip / "name", "ina3221")
  for channel, (label, (volts, amperes)) in enumerate(rails.items(), 1):
    put(chip / f"in{channel}_label", label)
    put(chip / f"in{channel}_input", volts)
    put(chip / f"curr{channel}_input", amperes)
    put(chip / f"in{channel + 3}_input", 320)  # shunt voltage
  put(chip / "in7_label", "sum of shunt voltages")
  put(chip / "in7_input", 960)
  link(root / f"class/hwmon/hwmon{number}", chip)
  link(root / "bus/i2c/devices" / address, device)
  link(root / "bus/i2c/drivers/ina3221" / address, device)
  return chip


def ina3221x(root: Path, rails, address="0-0041", number=0) -> Path:
  """The same chip under an older Jetson kernel, {rail: milliwatts}."""
  device = root / "devices/i2c-0" / address
  chip = device / f"iio:device{number}"
  put(chip / "name", "ina3221x")
  for channel, (rail, power) in enumerate(rails.items()):
    put(chip / f"rail_name_{channel}", rail)
    put(chip / f"in_power{channel}_input", power)
  link(root / f"bus/iio/devices/iio:device{number}", chip)
  link(root / "bus/i2c/drivers/ina3221x" / address, device)
  return chip


def rapl(root: Path, zones, control="intel-rapl") -> dict[str, Path]:
  """Zones {"0:1": (name, microjoules, range)}; returns their counters."""
  base = root / "devices/virtual/powercap" / control
  files = {}
  for key, (name, energy, most) in zones.items():
    parent = base
    if ":" in key:
      parent = base / f"{control}:{key.partition(':')[0]}"
    zone = parent / f"{control}:{key}"
    put(zone / "name", name)
    put(zone / "max_energy_range_uj", most)
    files[key] = put(zone / "energy_uj", energy)
    link(root / f"class/powercap/{control}:{key}", zone)
  link(root / f"class/powercap/{control}", base)
  return files
