"""Protocol of meters, and the meter that reads a sensor.

A meter counts joules from its start. Sensors of power are sampled by a thread
and integrated by trapezoids; counters of energy are read now and then, so that
none runs over unseen.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import threading
import time
from typing import Literal

from jcl.cost.meters import energy
from jcl.errors import UsageError

# An outage is bridged with the last known power for this long: seconds, or
# periods where that is longer.
_BRIDGED_SECONDS = 1.0
_BRIDGED_PERIODS = 3


class Unavailable(UsageError):
  """A sensor that this machine or this user does not have, and why."""


@dataclasses.dataclass(frozen=True)
class Reading:
  """Count of a meter since its start."""

  joules: float
  seconds: float
  watts: float  # the power last seen
  # Begins with "measured:", "modelled:", or "partly measured:" where a sensor
  # was lost for a while.
  source: str
  missing: float = 0.0  # of `seconds`, those that `joules` does not cover
  longest_gap: float = 0.0  # seconds, between two samples


class Meter:
  """Counts joules between `start` and `stop`; also a context manager.

  All three methods return a `Reading`. `joules`, `seconds` and `missing` never
  decrease from one to the next; after `stop` they stand still, and `start`
  begins anew at zero.
  """

  source: str  # of a reading that misses nothing

  def start(self) -> Reading:
    """Begins to count.

    Raises:
      Unavailable: where the sensor cannot be read.
      ValueError: for a meter that runs already.
    """
    raise NotImplementedError

  def read(self) -> Reading:
    """Returns what was counted up to now; fails never, see `missing`."""
    raise NotImplementedError

  def stop(self) -> Reading:
    """Ends the count; without effect on a meter that does not run."""
    raise NotImplementedError

  def __enter__(self):
    self.start()
    return self

  def __exit__(self, *_) -> None:
    self.stop()


@dataclasses.dataclass(frozen=True)
class Sensor:
  """Where power or energy is read, one value per channel; they add up.

  `read` raises `OSError` or `ValueError` where the sensor does not answer.
  """

  name: str  # what it is and what it covers
  kind: Literal["watts", "joules"]  # joules: counters that only go up
  read: Callable[[], Sequence[float]]
  period: float  # seconds between samples, at most
  resolution: float  # seconds in which a value stays what it is
  wraps: tuple[float, ...] = ()  # joules at which each counter starts over

  def joules(
    self, before: Sequence[float], after: Sequence[float], seconds: float
  ) -> float:
    """Returns the energy between two samples that lie so far apart."""
    if self.kind == "watts":
      return energy.integrate((0.0, seconds), (sum(before), sum(after)))
    wraps = self.wraps or (math.inf,) * len(after)
    return math.fsum(map(energy.counter_delta, before, after, wraps))


class Sampled(Meter):
  """A meter that reads a sensor, from a thread and whenever it is asked.

  Asked again before the sensor can have changed, it goes on with the power
  last seen; such advances are taken back from what comes after. A sensor that
  stops to answer is assumed to draw the same for a second, or three periods if
  longer; the rest is counted as `missing` until it answers again, counters
  included: they may have been reset.

  Args:
    sensor: what is read.
    period: seconds between samples, the sensor's own where absent.
    clock: seconds, monotonic.
    bridge: seconds of silence to bridge, where it should be another time.

  Raises:
    ValueError: for a period that is not positive, or a negative bridge.
  """

  def __init__(
    self,
    sensor: Sensor,
    period: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    bridge: float | None = None,
  ):
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
    self._values: Sequence[float] = ()  # of that sample
    self._joules = self._told = 0.0  # up to that sample, and told at most
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
    """Takes the sensor's values into the account. The lock is held."""
    before = self._clock()
    try:
      values = self._values_now()
      # A slow bus answers somewhere in between.
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
    # A count that went down would be charged to somebody as negative.
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
