"""Meters by the names that users give."""

from collections.abc import Callable, Mapping
import contextlib
from pathlib import Path

from jcl.cost.meters import detection, meter, modelled, nvml, rails, rapl
from jcl.options.errors import UsageError

# By name: its kind in `detection`, and the function that finds its sensor.
_SENSORS: Mapping[str, tuple[str, Callable[[str | Path], meter.Sensor]]] = {
  "rails": ("board rails", rails.find),
  "nvml": ("NVML", lambda root: nvml.find()),
  "rapl": ("RAPL", rapl.find),
}
NAMES = ("auto", "modelled", *_SENSORS)


def find(
  name: str,
  power: modelled.Power,
  root: str | Path = "/sys",
  platform: str | None = None,
) -> detection.Detected:
  """Returns the meter of a name, and the reasons against the others.

  Args:
    name: one of `NAMES`. "auto" is the best meter that the machine has, see
      `detection.detect`; "modelled" uses no sensor.
    power: the model for time that is not measured.
    root: the folder where the kernel shows its devices.
    platform: JAX's name of what computes ("cpu", "gpu", "tpu").

  Raises:
    meter.Unavailable: a `ValueError`, where the named meter cannot be read or
      does not measure what computes.
    ValueError: for another name.
  """
  if name not in NAMES:
    raise UsageError(f'meter="{name}": choose from {", ".join(NAMES)}')
  if name == "modelled":
    asked = (("sensors", "the power model was asked for"),)
    return detection.Detected(modelled.Modelled(power), asked)
  found = detection.detect(power, root, platform)
  if name == "auto":
    return found
  kind, find_sensor = _SENSORS[name]
  reason = dict(found.unused).get(kind)
  if reason is None:
    return found
  sensor = None
  with contextlib.suppress(meter.Unavailable):
    sensor = find_sensor(root)
  # If the reason names the sensor, it works: another only came before it.
  if sensor is None or sensor.name not in reason:
    raise meter.Unavailable(
      f'meter="{name}": {reason}. Take "auto" for the best meter that this '
      'machine has, or "modelled" for none'
    )
  asked = (("other meters", f"{kind} was asked for"),)
  return detection.Detected(meter.Sampled(sensor), asked)
