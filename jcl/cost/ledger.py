"""Who spent what: seconds, joules, operations and bytes by account."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
import time
from typing import Any

from jcl import base
from jcl.cost import devices

ACCOUNTS = (
  "train",
  "replay",
  "probe",
  "evaluate",
  "compile",
  "data",
  "checkpoint",
  "idle",
)


@dataclasses.dataclass
class Entry:
  """A piece of work; `cost` stands when its block has ended."""

  cost: base.Cost = base.Cost()


class Ledger:
  """Files every piece of work under one account. Host only.

  Time that no block claims is "idle", so that the accounts add up to the time
  since the ledger was made (or restored). In nested blocks the inner one is
  charged and the outer one gets the rest.

  Args:
    device: prices seconds in joules.
    clock: seconds, monotonic.
  """

  def __init__(
    self,
    device: devices.Device,
    clock: Callable[[], float] = time.perf_counter,
  ):
    self.device = device
    self._clock = clock
    self._totals = dict.fromkeys(ACCOUNTS, base.Cost())
    self._drained = dict(self._totals)
    self._since = clock()  # up to here all time is filed
    self._inner = [0.0]  # seconds that nested blocks took, by depth

  @contextlib.contextmanager
  def timed(
    self, account: str, flops: float = 0.0, bytes: float = 0.0
  ) -> Iterator[Entry]:
    """Charges an account with the time of the block and the given work.

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

    A step that learns stream and replayed examples is one measurement; its
    rows say how it divides.

    Raises:
      ValueError: for unknown accounts, or shares that do not add up to one.
    """
    _check(*shares)
    if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1):
      raise ValueError(
        f"the shares {dict(shares)} do not divide a block: give shares from 0 "
        "up that add up to 1"
      )
    self._file_idle()
    entry, start = Entry(), self._clock()
    self._inner.append(0.0)
    try:
      yield entry
    finally:
      end = self._clock()
      own = max(end - start - self._inner.pop(), 0.0)
      self._inner[-1] += end - start
      self._since = end
      entry.cost = base.Cost(own, self.device.joules(own), flops, bytes)
      for account, share in shares.items():
        self._add(account, share * entry.cost)

  def charge(self, account: str, cost: base.Cost) -> None:
    """Adds work that was measured elsewhere.

    Its seconds are part of the time since the last block, or of the block
    around this call, which is charged with that much less.
    """
    _check(account)
    self._add(account, cost)
    if len(self._inner) == 1:
      self._since += cost.seconds
    else:
      self._inner[-1] += cost.seconds

  def total(self) -> base.Cost:
    """Returns the sum of all accounts, idle time included."""
    return sum(self.totals().values(), base.Cost())

  def totals(self) -> dict[str, base.Cost]:
    """Returns what each account holds since the start."""
    self._file_idle()
    return dict(self._totals)

  def drain(self) -> dict[str, base.Cost]:
    """Returns what each account took since the last call; unused ones too."""
    totals = self.totals()
    news = {name: total - self._drained[name] for name, total in totals.items()}
    self._drained = totals
    return news

  def state(self) -> dict[str, Any]:
    """Returns the accounts, ready for JSON."""
    totals = self.totals()
    return {
      name: {k: dataclasses.asdict(v) for k, v in accounts.items()}
      for name, accounts in (("totals", totals), ("drained", self._drained))
    }

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on from a saved state; time since then is not charged."""
    blank = dict.fromkeys(ACCOUNTS, base.Cost())
    self._totals, self._drained = (
      {**blank, **{k: base.Cost(**v) for k, v in state[name].items()}}
      for name in ("totals", "drained")
    )
    self._since = self._clock()

  def _file_idle(self) -> None:
    """Files the time since the last block as idle, outside of all blocks."""
    if len(self._inner) == 1:
      now = self._clock()
      idle = max(now - self._since, 0.0)
      self._since = now
      self._add("idle", base.Cost(idle, self.device.joules(idle, busy=False)))

  def _add(self, account: str, cost: base.Cost) -> None:
    self._totals[account] += cost


def _check(*accounts: str) -> None:
  unknown = sorted(set(accounts) - set(ACCOUNTS))
  if unknown:
    raise ValueError(
      f"no account is called {', '.join(map(repr, unknown))}: choose from "
      f"{', '.join(ACCOUNTS)}"
    )
