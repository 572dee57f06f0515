"""Detection of a machine's best meter, with reasons against the others."""

from collections.abc import Callable, Sequence
import dataclasses
from pathlib import Path

from jcl.cost.meters import meter, modelled, nvml, rapl
from jcl.cost.meters import rails as rails_lib


@dataclasses.dataclass(frozen=True)
class Detected:
  """The chosen meter, and the reason why each other meter is not used."""

  meter: meter.Meter
  unused: tuple[tuple[str, str], ...]  # kind of meter, reason

  @property
  def measures(self) -> bool:
    """True if the meter reads a sensor, false if it only models."""
    return not isinstance(self.meter, modelled.Modelled)


def detect(
  power: modelled.Power,
  root: str | Path = "/sys",
  platform: str | None = None,
  rails: Sequence[str] = (),
) -> Detected:
  """Chooses the sensor that covers most, or the power model without sensors.

  The order is: a board's input rails, the GPUs' own counters, the processor's
  counters, the power model.

  Args:
    power: the model for machines without a sensor.
    root: the folder where the kernel shows its devices.
    platform: JAX's name of what computes ("cpu", "gpu", "tpu"); sensors of
      other parts are passed over. None takes any sensor.
    rails: names of a board's rails to add up, see `rails.find`.

  Raises:
    ValueError: for rails that the board does not have.
  """
  gpu = platform in ("gpu", "cuda", "rocm")
  kinds: tuple[tuple[str, bool, Callable[[], meter.Sensor]], ...] = (
    ("board rails", True, lambda: rails_lib.find(root, rails)),
    ("NVML", platform is None or gpu, nvml.find),
    ("RAPL", platform in (None, "cpu"), lambda: rapl.find(root)),
  )
  chosen: tuple[str, meter.Meter] | None = None
  unused = []
  for kind, fits, find in kinds:
    if not fits:
      unused.append((kind, f"it does not measure what computes, a {platform}"))
      continue
    try:
      sensor = find()
    except meter.Unavailable as error:
      if rails and kind == "board rails":
        raise
      unused.append((kind, str(error)))
      continue
    if chosen:
      unused.append((kind, f"{chosen[0]} come first: {sensor.name} works too"))
    else:
      chosen = kind, meter.Sampled(sensor)
  if chosen:
    unused.append(("power model", "a sensor is better"))
    return Detected(chosen[1], tuple(unused))
  return Detected(modelled.Modelled(power), tuple(unused))


def explain(detected: Detected) -> str:
  """Returns lines for a person: the meter, and the reasons against others."""
  lines = [f"energy is {detected.meter.source}"]
  lines += [f"not {kind}: {reason}" for kind, reason in detected.unused]
  return "\n".join(lines)
