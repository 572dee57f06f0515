"""A meter by the name that a person gives."""

from collections.abc import Callable, Mapping
import contextlib
from pathlib import Path

from jcl.cost.meters import detection, meter, modelled, nvml, rails, rapl
from jcl.errors import UsageError

# Name: what `detection` calls it, and who finds its sensor under a root.
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
  """Returns the meter of a name, and why no other is used.

  Args:
    name: of `NAMES`. "auto" is the best that the machine has, see
      `detection.detect`; "modelled" asks for no sensor.
    power: the model for where nothing is measured.
    root: where the kernel shows its devices.
    platform: what computes, as JAX names it ("cpu", "gpu", "tpu").

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
  # A reason that names the sensor only says that another comes before it.
  if sensor is None or sensor.name not in reason:
    raise meter.Unavailable(
      f'meter="{name}": {reason}. Take "auto" for the best meter that this '
      'machine has, or "modelled" for none'
    )
  asked = (("other meters", f"{kind} was asked for"),)
  return detection.Detected(meter.Sampled(sensor), asked)
