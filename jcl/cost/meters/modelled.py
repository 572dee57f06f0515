"""Energy without a sensor: watts times seconds, and joules per byte."""

from collections.abc import Callable, Mapping
import dataclasses
import math
import time

from jcl.cost.meters import meter
from jcl.options.errors import UsageError

# Energy of moving a byte, by kind of memory: a device's power over its
# bandwidth, right within an order of magnitude.
JOULES_PER_BYTE = {
  "dram": 0.15e-9,
  "hbm": 0.05e-9,
  "nvme": 2e-9,
  "emmc": 3e-9,
  "sd": 6e-9,
}


@dataclasses.dataclass(frozen=True)
class Power:
  """A device's power at rest and at work, and the price of a moved byte.

  Raises:
    ValueError: for negative amounts, idle above busy, or a source that does
      not begin with "modelled:".
  """

  idle_watts: float
  busy_watts: float
  source: str  # where the watts come from; begins with "modelled:"
  joules_per_byte: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: dict(JOULES_PER_BYTE)
  )

  def __post_init__(self) -> None:
    if not 0 <= self.idle_watts <= self.busy_watts < math.inf:
      raise UsageError(
        f"idle_watts={self.idle_watts} and busy_watts={self.busy_watts}: give "
        "0 <= idle <= busy"
      )
    if not self.source.startswith("modelled:"):
      raise ValueError(
        f'source="{self.source}": begin with "modelled:", so that nobody takes '
        "it for a measurement"
      )
    for name, value in self.joules_per_byte.items():
      if not 0 <= value < math.inf:
        raise ValueError(f"joules_per_byte[{name!r}]={value}: give 0 or more")

  def joules(
    self,
    seconds: float,
    busy_seconds: float,
    traffic: Mapping[str, float] | None = None,
  ) -> float:
    """Returns the joules of a stretch of time, part of it at work.

    Args:
      seconds: all of the time.
      busy_seconds: the part of `seconds` at work.
      traffic: bytes moved, by kind of memory: the keys of `joules_per_byte`.

    Raises:
      ValueError: for `busy_seconds` above `seconds`, or an unknown kind.

    >>> power = Power(2.0, 10.0, "modelled: example")
    >>> power.joules(10.0, busy_seconds=2.5)
    40.0
    """
    if not 0 <= busy_seconds <= seconds:
      raise ValueError(
        f"busy_seconds={busy_seconds}: give 0 up to seconds={seconds}"
      )
    moved = 0.0
    for place, amount in (traffic or {}).items():
      if place not in self.joules_per_byte:
        raise ValueError(
          f"no price of a byte in {place!r}: choose from "
          f"{', '.join(self.joules_per_byte)}"
        )
      moved += amount * self.joules_per_byte[place]
    dynamic = self.busy_watts - self.idle_watts
    return self.idle_watts * seconds + dynamic * busy_seconds + moved


class Modelled(meter.Meter):
  """A meter that is told of work and prices it; all other time is idle.

  Args:
    power: the model.
    clock: returns seconds, monotonic.
  """

  def __init__(
    self, power: Power, clock: Callable[[], float] = time.perf_counter
  ) -> None:
    self.power, self.source = power, power.source
    self._clock = clock
    self._begin: float | None = None
    self._busy, self._traffic = 0.0, dict[str, float]()
    self._last = meter.Reading(0.0, 0.0, power.idle_watts, self.source)

  def start(self) -> meter.Reading:
    if self._begin is not None:
      raise ValueError("this meter runs already: stop it before a new start")
    self._begin = self._clock()
    self._busy, self._traffic = 0.0, {}
    self._last = meter.Reading(0.0, 0.0, self.power.idle_watts, self.source)
    return self.read()

  def work(
    self, seconds: float, traffic: Mapping[str, float] | None = None
  ) -> None:
    """Adds work: its seconds, and the bytes moved by kind of memory."""
    self.power.joules(seconds, seconds, traffic)  # raises for bad arguments
    self._busy += seconds
    for place, amount in (traffic or {}).items():
      self._traffic[place] = self._traffic.get(place, 0.0) + amount

  def read(self) -> meter.Reading:
    if self._begin is not None:
      # Other clocks time the work, and may be ahead of this one by rounding.
      seconds = max(self._clock() - self._begin, 0.0)
      joules = self.power.joules(
        seconds, min(self._busy, seconds), self._traffic
      )
      since = seconds - self._last.seconds
      watts = (
        (joules - self._last.joules) / since if since > 0 else self._last.watts
      )
      self._last = meter.Reading(joules, seconds, watts, self.source)
    return self._last

  def stop(self) -> meter.Reading:
    reading = self.read()
    self._begin = None
    return reading
