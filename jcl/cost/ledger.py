"""A ledger: seconds, joules, operations and bytes, filed by account."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
import time
from typing import Any, Protocol

from jcl import base
from jcl.cost import devices

# "checkpoint" is for saving the state, "write" for all other files of a run.
ACCOUNTS = (
  "train",
  "replay",
  "probe",
  "evaluate",
  "compile",
  "data",
  "checkpoint",
  "write",
  "idle",
)


class Reading(Protocol):
  """Count of a meter since its start."""

  @property
  def joules(self) -> float: ...

  @property
  def missing(self) -> float: ...  # seconds that `joules` does not cover


class Meter(Protocol):
  """Counts joules from its start; `source` is "measured: NAME" of a sensor."""

  @property
  def source(self) -> str: ...

  def start(self) -> Any: ...

  def read(self) -> Reading: ...

  def stop(self) -> Any: ...


@dataclasses.dataclass
class Entry:
  """A piece of work; `cost` stands when its block has ended."""

  cost: base.Cost = base.Cost()


@dataclasses.dataclass(slots=True)
class _Count:
  """State of clock and meter, or the difference between two states."""

  seconds: float = 0.0
  joules: float = 0.0  # measured
  missing: float = 0.0  # of the seconds, those that were not measured

  def __add__(self, other: "_Count") -> "_Count":
    return _Count(
      self.seconds + other.seconds,
      self.joules + other.joules,
      self.missing + other.missing,
    )

  def __sub__(self, other: "_Count") -> "_Count":
    return _Count(
      self.seconds - other.seconds,
      self.joules - other.joules,
      self.missing - other.missing,
    )


class Ledger:
  """Files every piece of work under one account. Host only.

  Time that no block claims is "idle", so that the accounts add up to the time
  since the ledger was made (or restored, or its meter started). In nested
  blocks the inner one is charged and the outer one gets the rest.

  The joules of a block are the meter's count from its start to its end. Time
  that the meter did not cover, which without a meter is all time, is priced by
  the device.

  Args:
    device: prices seconds in joules.
    clock: returns seconds, monotonic.
    meter: counts joules within `metered`; a meter without a sensor is ignored.
  """

  def __init__(
    self,
    device: devices.Device,
    clock: Callable[[], float] = time.perf_counter,
    meter: Meter | None = None,
  ) -> None:
    self.device = device
    self._clock = clock
    measures = meter is not None and meter.source.startswith("measured:")
    self._meter = meter if measures else None
    self._running = False
    # Names of the sources of joules, each once, in order of occurrence.
    self._measured: dict[str, None] = {}
    self._modelled: dict[str, None] = {}
    self._totals = dict.fromkeys(ACCOUNTS, base.Cost())
    self._drained = dict(self._totals)
    self._since = self._count()  # up to here all time is filed
    self._inner = [_Count()]  # what nested blocks took, by depth

  @contextlib.contextmanager
  def metered(self) -> Iterator[None]:
    """Runs the meter, if there is one, for the time of the block.

    Time between the ledger's making and the meter's start is not charged.

    Raises:
      ValueError: inside of a timed block, for a meter that runs already, or a
        sensor that cannot be read.
    """
    if self._meter is None:
      yield
      return
    if len(self._inner) > 1:
      raise ValueError(
        "a meter cannot start in the middle of a timed block: enter `metered` "
        "around all of them"
      )
    self._meter.start()
    try:
      self._running = True
      self._since = self._count()
      yield
    finally:
      self._file_idle()
      self._running = False
      self._meter.stop()
      self._since = self._count()

  @property
  def source(self) -> str:
    """The source of all joules filed so far, restored ones included.

    One of "measured (NAME)", "partly measured (NAME)", where a part was
    modelled, and "modelled (HOW)". Before anything is filed, the source that
    the first entry is expected to have.
    """
    measured, modelled = list(self._measured), list(self._modelled)
    if not measured and not modelled:
      if self._meter is not None:
        measured = [_name(self._meter.source)]
      else:
        modelled = [_name(self.device.source)]
    if not measured:
      return f"modelled ({'; '.join(modelled)})"
    partly = "partly " if modelled else ""
    return f"{partly}measured ({'; '.join(measured)})"

  @contextlib.contextmanager
  def timed(
    self, account: str, flops: float = 0.0, bytes: float = 0.0
  ) -> Iterator[Entry]:
    """Charges an account with the time of the block and the given work.

    >>> from jcl.cost import devices
    >>> device = devices.Device("cpu", "board", 1, 4, 2.0, 10.0, "modelled: ")
    >>> now = iter([0.0, 1.0, 3.0, 3.0])
    >>> ledger = Ledger(device, clock=lambda: next(now))
    >>> with ledger.timed("train", flops=1e6) as entry:
    ...   pass
    >>> entry.cost.seconds, entry.cost.joules, entry.cost.flops
    (2.0, 20.0, 1000000.0)
    >>> ledger.totals()["idle"].seconds
    1.0

    Args:
      account: one of `ACCOUNTS`.
      flops: floating-point operations done in the block.
      bytes: bytes moved in it.

    Yields:
      An entry whose cost is known after the block.
    """
    with self.shared({account: 1.0}, flops, bytes) as entry:
      yield entry

  @contextlib.contextmanager
  def shared(
    self, shares: Mapping[str, float], flops: float = 0.0, bytes: float = 0.0
  ) -> Iterator[Entry]:
    """Charges several accounts with their shares of one block's work.

    A step that learns from the stream and from replayed examples is one
    measurement, divided by its numbers of rows.

    Raises:
      ValueError: for unknown accounts, or shares that do not add up to one.
    """
    _check(*shares)
    if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1):
      raise ValueError(
        f"the shares {dict(shares)} do not divide a block: give shares from 0 "
        "up that add up to 1"
      )
    entry, start = Entry(), self._file_idle()
    self._inner.append(_Count())
    try:
      yield entry
    finally:
      end = self._count()
      took = end - start
      entry.cost = self._priced(took - self._inner.pop(), flops, bytes)
      self._inner[-1] += took
      self._since = end
      for account, share in shares.items():
        self._add(account, share * entry.cost)

  def charge(self, account: str, cost: base.Cost) -> None:
    """Adds work that was measured elsewhere.

    The seconds of this work are part of the time since the last block, or of
    the block around this call; that time is charged with as much less. The same
    holds for the joules where a meter runs.
    """
    _check(account)
    self._add(account, cost)
    part = _Count(cost.seconds, cost.joules)
    if len(self._inner) == 1:
      self._since += part
    else:
      self._inner[-1] += part

  def total(self) -> base.Cost:
    """Returns the sum of all accounts, idle time included."""
    return sum(self.totals().values(), base.Cost())

  def totals(self) -> dict[str, base.Cost]:
    """Returns the cost of each account since the start."""
    self._file_idle()
    return dict(self._totals)

  def drain(self) -> dict[str, base.Cost]:
    """Returns the cost of each account since the last call, unused ones too."""
    news = self.pending()
    self._drained = dict(self._totals)
    return news

  def pending(self) -> dict[str, base.Cost]:
    """Returns the cost of each account since `drain` was called last."""
    totals = self.totals()
    return {name: each - self._drained[name] for name, each in totals.items()}

  def recorded(self) -> dict[str, base.Cost]:
    """Returns the cost of each account up to the latest `drain`."""
    return dict(self._drained)

  def state(self) -> dict[str, Any]:
    """Returns the accounts and where joules came from, ready for JSON."""
    totals = self.totals()
    accounts = {
      name: {k: dataclasses.asdict(v) for k, v in accounts.items()}
      for name, accounts in (("totals", totals), ("drained", self._drained))
    }
    sources = {
      "measured": list(self._measured),
      "modelled": list(self._modelled),
    }
    return {**accounts, "sources": sources}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Continues from a saved state; the time since then is not charged."""
    # States saved before there were meters name no sources.
    sources = state.get("sources", {"modelled": [_name(self.device.source)]})
    self._measured = dict.fromkeys(sources.get("measured", ()))
    self._modelled = dict.fromkeys(sources.get("modelled", ()))
    blank = dict.fromkeys(ACCOUNTS, base.Cost())
    self._totals, self._drained = (
      {**blank, **{k: base.Cost(**v) for k, v in state[name].items()}}
      for name in ("totals", "drained")
    )
    self._since = self._count()

  def _file_idle(self) -> _Count:
    """Files the time since the last block as idle, if no block is open.

    Returns:
      The present state of clock and meter.
    """
    now = self._count()
    if len(self._inner) == 1:
      self._add("idle", self._priced(now - self._since, busy=False))
      self._since = now
    return now

  def _count(self) -> _Count:
    if self._meter is None or not self._running:
      now = self._clock()
      return _Count(now, missing=now)
    reading = self._meter.read()
    return _Count(self._clock(), reading.joules, reading.missing)

  def _priced(
    self,
    took: _Count,
    flops: float = 0.0,
    bytes: float = 0.0,
    busy: bool = True,
  ) -> base.Cost:
    """Returns the cost of a stretch, and notes the source of its joules."""
    seconds = max(took.seconds, 0.0)
    # The meter has a clock of its own, and charges come without any.
    missing = min(max(took.missing, 0.0), seconds)
    if missing:
      self._modelled[_name(self.device.source)] = None
    if self._meter is not None and self._running and seconds:
      self._measured[_name(self._meter.source)] = None
    joules = max(took.joules, 0.0) + self.device.joules(missing, busy)
    return base.Cost(seconds, joules, flops, bytes)

  def _add(self, account: str, cost: base.Cost) -> None:
    self._totals[account] += cost


def _check(*accounts: str) -> None:
  unknown = sorted(set(accounts) - set(ACCOUNTS))
  if unknown:
    raise ValueError(
      f"no account is called {', '.join(map(repr, unknown))}: choose from "
      f"{', '.join(ACCOUNTS)}"
    )


def _name(source: str) -> str:
  """Returns a source without its leading "measured: " or "modelled: "."""
  return source.partition(": ")[2] or source
