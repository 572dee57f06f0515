"""Watts at rest and at work: measured once, saved, used by the power model."""

from collections.abc import Callable
import dataclasses
import json
import os
from pathlib import Path

from jcl.cost.meters import meter, modelled
from jcl.options.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Power that a device draws, and the source of the figures."""

  device: str
  platform: str
  idle_watts: float
  busy_watts: float
  seconds: float  # of each of the two measurements
  meter: str  # source of the readings

  def power(self) -> modelled.Power:
    """Returns the power model with these watts, still called "modelled".

    Raises:
      ValueError: for negative watts, or idle above busy.
    """
    how = self.meter.removeprefix("measured: ")
    return modelled.Power(
      self.idle_watts,
      self.busy_watts,
      f"modelled: watts calibrated on {self.device} by {how}",
    )


def measure(
  device: str,
  platform: str,
  found: meter.Meter,
  rest: Callable[[float], None],
  work: Callable[[float], None],
  seconds: float,
) -> Calibration:
  """Measures a device at rest, then at work.

  Args:
    device: name of the device.
    platform: JAX's name of its platform.
    found: a meter with a sensor, not yet running.
    rest: leaves the device idle for the given seconds.
    work: keeps the device fully busy for the given seconds.
    seconds: of each measurement.

  Raises:
    ValueError: for a meter without a sensor or one that lost it, or a device
      that drew less at work than at rest.
  """
  if not seconds > 0:
    raise UsageError(f"seconds={seconds}: give more than 0")
  if not found.source.startswith("measured:"):
    raise UsageError(
      f"energy is {found.source}: a model can only be calibrated by a sensor"
    )
  watts = []
  with found:
    for spend in (rest, work):
      before = found.read()
      spend(seconds)
      after = found.read()
      took = after.seconds - before.seconds
      watts.append((after.joules - before.joules) / took)
  if after.missing:
    raise UsageError(f"the sensor fell silent ({after.source}): try again")
  idle, busy = watts
  if idle > busy:
    raise UsageError(
      f"{idle:.3g} W at rest and {busy:.3g} W at work: let nothing else run, "
      "and measure for longer"
    )
  return Calibration(device, platform, idle, busy, seconds, found.source)


def save(calibration: Calibration, path: str | Path) -> None:
  """Writes a calibration as JSON; an interruption leaves no partial file."""
  path = Path(path)
  text = json.dumps(dataclasses.asdict(calibration), indent=2)
  part = path.with_name(path.name + ".part")
  try:
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)
  except BaseException:  # also where the user interrupts
    part.unlink(missing_ok=True)
    raise


def load(path: str | Path, device: str | None = None) -> Calibration:
  """Reads a calibration.

  Args:
    path: a file that `save` wrote.
    device: the name that the calibrated device must have; None: any.

  Raises:
    OSError: where there is no such file.
    ValueError: for a file that is no calibration, or is of another device.
  """
  again = "run experiments/calibrate_power.py on this machine"
  try:
    calibration = Calibration(**json.loads(Path(path).read_text("utf-8")))
    calibration.power()
  except (TypeError, ValueError, AttributeError, RecursionError) as error:
    raise UsageError(f"{path} is no calibration ({error}): {again}") from error
  if device is not None and calibration.device != device:
    raise UsageError(
      f"{path} is of {calibration.device!r}, this is {device!r}: {again}"
    )
  return calibration
