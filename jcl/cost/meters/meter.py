"""Protocol of meters, and the meter that reads a sensor.

A meter counts joules from its start. Sensors of power are sampled by a thread
and integrated by the trapezoid rule; counters of energy are read often enough
that none starts over unnoticed.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import threading
import time
from typing import Any, Literal, Self

from jcl.cost.meters import energy
from jcl.options.errors import UsageError

# An outage is bridged with the last known power for the longer of these two
# times.
_BRIDGED_SECONDS = 1.0
_BRIDGED_PERIODS = 3


class Unavailable(UsageError):
  """A sensor that this machine or this user does not have, and why."""


@dataclasses.dataclass(frozen=True)
class Reading:
  """Count of a meter since its start."""

  joules: float
  seconds: float
  watts: float  # the latest known power
  # Begins with "measured:", "modelled:", or "partly measured:" where a sensor
  # was lost for a while.
  source: str
  missing: float = 0.0  # the part of `seconds` that `joules` does not cover
  longest_gap: float = 0.0  # seconds, between two samples


class Meter:
  """Counts joules between `start` and `stop`; also a context manager.

  All three methods return a `Reading`. `joules`, `seconds` and `missing` never
  decrease from one to the next; after `stop` they stand still, and `start`
  begins anew at zero.
  """

  source: str  # the source of a reading without `missing` seconds

  def start(self) -> Reading:
    """Starts to count.

    Raises:
      Unavailable: where the sensor cannot be read.
      ValueError: for a meter that runs already.
    """
    raise NotImplementedError

  def read(self) -> Reading:
    """Returns the count up to now; never fails, see `Reading.missing`."""
    raise NotImplementedError

  def stop(self) -> Reading:
    """Ends the count; has no effect on a meter that does not run."""
    raise NotImplementedError

  def __enter__(self) -> Self:
    self.start()
    return self

  def __exit__(self, *_: Any) -> None:
    self.stop()


@dataclasses.dataclass(frozen=True)
class Sensor:
  """A sensor of power or energy with one value per channel, to be added up.

  `read` raises `OSError` or `ValueError` where the sensor does not answer.
  """

  name: str  # of the sensor and the parts that it covers
  kind: Literal["watts", "joules"]  # joules: counters that only go up
  read: Callable[[], Sequence[float]]
  period: float  # longest time between samples, seconds
  resolution: float  # seconds for which the sensor holds a value
  wraps: tuple[float, ...] = ()  # joules at which each counter starts over

  def joules(
    self, before: Sequence[float], after: Sequence[float], seconds: float
  ) -> float:
    """Returns the joules between two samples that lie `seconds` apart."""
    if self.kind == "watts":
      return energy.integrate((0.0, seconds), (sum(before), sum(after)))
    wraps = self.wraps or (math.inf,) * len(after)
    return math.fsum(map(energy.counter_delta, before, after, wraps))


class Sampled(Meter):
  """A meter that reads a sensor, from a thread and at each call of `read`.

  A `read` before the sensor can have changed continues with the latest known
  power; such advances are subtracted from later samples. While a sensor does
  not answer, the latest known power is assumed for a second, or for three
  periods if these are longer; from then on the time counts as `missing` until
  the sensor answers again. This holds for counters too: they may have been
  reset.

  Args:
    sensor: the sensor to read.
    period: seconds between samples; None: the sensor's own period.
    clock: returns seconds, monotonic.
    bridge: seconds of silence to bridge; None: as said above.

  Raises:
    ValueError: for a period that is not positive, or a negative bridge.
  """

  def __init__(
    self,
    sensor: Sensor,
    period: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    bridge: float | None = None,
  ) -> None:
    self.sensor = sensor
    self.period = sensor.period if period is None else period
    if not 0 < self.period < math.inf:
      raise ValueError(f"period={period}: give seconds above 0")
    self.source = f"measured: {sensor.name}"
    self._clock = clock
    if bridge is None:
      bridge = max(_BRIDGED_SECONDS, _BRIDGED_PERIODS * self.period)
    if not bridge >= 0:
      raise ValueError(f"bridge={bridge}: give seconds, 0 for none")
    self._bridge = bridge
    self._lock = threading.Lock()
    self._stopped = threading.Event()
    self._thread: threading.Thread | None = None
    self._begin = self._time = 0.0  # of the start, and of the last sample
    self._values: Sequence[float] = ()  # of the last sample
    self._joules = 0.0  # up to the last sample
    self._told = 0.0  # the most that a reading has told
    self._watts = self._missing = self._longest_gap = 0.0
    self._failing = False
    self._final = Reading(0.0, 0.0, 0.0, self.source)

  def start(self) -> Reading:
    if self._thread:
      raise ValueError("this meter runs already: stop it before a new start")
    try:
      values = self._values_now()
    except (OSError, ValueError) as error:
      raise Unavailable(f"{self.sensor.name}: {error}") from error
    self._begin = self._time = self._clock()
    self._values, self._failing = values, False
    self._joules = self._told = self._missing = self._longest_gap = 0.0
    self._watts = sum(values) if self.sensor.kind == "watts" else 0.0
    self._stopped = threading.Event()
    self._thread = threading.Thread(
      target=self._run, args=(self._stopped,), name="jcl meter", daemon=True
    )
    self._thread.start()
    return self.read()

  def read(self) -> Reading:
    with self._lock:
      if not self._thread:
        return self._final
      if self._failing or self._age() >= self.sensor.resolution:
        self._sample()
      return self._reading()

  def stop(self) -> Reading:
    thread = self._thread
    if thread:
      self._stopped.set()
      thread.join()
      with self._lock:
        self._sample()
        self._final = self._reading()
        self._thread = None
    return self._final

  def _run(self, stopped: threading.Event) -> None:
    while not stopped.wait(self.period):
      with self._lock:
        self._sample()

  def _sample(self) -> None:
    """Adds the sensor's values to the count; the caller holds the lock."""
    before = self._clock()
    try:
      values = self._values_now()
      # A slow bus samples at an unknown time in between.
      now = 0.5 * (before + self._clock())
      gap = now - self._time
      if self._failing and gap > self._bridge:
        joules = self._watts * self._bridge
        self._missing += gap - self._bridge
      else:
        joules = self.sensor.joules(self._values, values, gap)
        self._longest_gap = max(self._longest_gap, gap)
    except (OSError, ValueError):
      self._failing = True
      return
    self._failing = False
    self._joules += joules
    if self.sensor.kind == "watts":
      self._watts = sum(values)
    elif gap > 0 and gap >= self.sensor.resolution:
      self._watts = joules / gap
    self._time, self._values = now, values

  def _values_now(self) -> Sequence[float]:
    values = self.sensor.read()
    if not all(map(math.isfinite, values)):
      raise ValueError(f"{self.sensor.name} reads {values}")
    return values

  def _age(self) -> float:
    return max(self._clock() - self._time, 0.0)

  def _reading(self) -> Reading:
    age = self._age()
    bridged = min(age, self._bridge) if self._failing else age
    missing = self._missing + age - bridged
    # If the count went down, some account would be charged less than nothing.
    self._told = max(self._told, self._joules + self._watts * bridged)
    seconds = self._time + age - self._begin
    source = self.source
    if missing:
      source = (
        f"partly {source}, silent for {missing:.3g} of {seconds:.3g} seconds"
      )
    return Reading(
      self._told, seconds, self._watts, source, missing, self._longest_gap
    )
