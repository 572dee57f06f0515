"""Limits that a host sets a run, and may change while the run goes on.

A `Limit` is called whenever a decision is due and returns the bound of that
moment, in bytes or in joules. A call takes less than a millisecond: figures
that are costly to read are cached for half a second.
"""

from collections.abc import Callable
import math
import os
from pathlib import Path
import time
from typing import Literal

from absl import logging
import psutil

from jcl.options import plain
from jcl.options.errors import UsageError

Unit = Literal["bytes", "joules"]

_PERIOD = 0.5  # seconds for which a figure of the system is cached
_LONGEST = 64  # characters that state a limit
# Nanoseconds between two versions of a file whose times surely differ: FAT
# counts in steps of two seconds.
_SETTLED = 2 * 10**9
# Files of a control group: bytes allowed, bytes used, and those of them that
# cache files, which the system drops when it needs room.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = (
  "memory.limit_in_bytes",
  "memory.usage_in_bytes",
  "total_inactive_file",
)
_V1_NONE = 2**62  # version 1 writes a number above this for no limit


class Limit:
  """A bound that may differ from call to call.

  Args:
    read: returns the bound of this moment, infinity for none.
    source: of the bound in words, such as "by file budget.txt".
    unit: of the bound.
  """

  def __init__(
    self, read: Callable[[], float], source: str, unit: Unit = "bytes"
  ) -> None:
    if unit not in ("bytes", "joules"):
      raise UsageError(f'unit={unit!r}: write "bytes" or "joules"')
    self.unit: Unit = unit
    self._read, self._source = read, source

  def __call__(self) -> float:
    """Returns the bound of this moment, from 0 to infinity."""
    return self._read()

  def describe(self) -> str:
    """Returns the bound and its source, such as "64 MiB by file budget.txt"."""
    return f"{_amount(self(), self.unit)} {self._source}"


class Settable(Limit):
  """A bound that the host's own code sets, such as a handler of a signal.

  Raises:
    ValueError: for a negative bound.
  """

  def __init__(self, value: float, unit: Unit = "bytes") -> None:
    super().__init__(lambda: self._value, "as last set", unit)
    self.set(value)

  def set(self, value: float) -> None:
    """Sets the bound; safe in handlers of signals and in other threads.

    Raises:
      ValueError: for a negative bound, which leaves the last one.
    """
    self._value = _checked(value)


def fixed(value: float, unit: Unit = "bytes") -> Limit:
  """Returns a limit that is always `value`.

  Raises:
    ValueError: for a negative one.
  """
  value = _checked(value)
  return Limit(lambda: value, "as given", unit)


def file(
  path: str | os.PathLike[str], fallback: float, unit: Unit = "bytes"
) -> Limit:
  """Returns the limit that a file states, which a host rewrites at any time.

  The file holds a number with its unit ("64MiB", "1500J"), or without and then
  a line's end, which tells a number from the first half of one. A file that
  cannot be read leaves the last limit in force; a warning says so once.

  Args:
    path: of the file, which need not exist yet.
    fallback: the limit until it does.
    unit: of the limit.

  Raises:
    ValueError: for a negative fallback.
  """
  return Limit(_File(path, fallback, unit), f"by file {path}", unit)


def parse(text: Limit | str | None, unit: Unit = "bytes") -> Limit | None:
  """Returns the limit that a flag states: an amount, or a file's path.

  Args:
    text: such as "64MiB", "1500J", "1500", or the path of a file that exists;
      None or "" for no limit. A limit is returned as it is.
    unit: of the limit.

  Raises:
    ValueError: for text that is neither.
  """
  if isinstance(text, Limit) or not text:
    return text or None
  if Path(text).exists():
    return file(text, math.inf, unit)
  try:
    return fixed(_parse(text, unit, whole=True), unit)
  except ValueError as error:
    raise UsageError(
      f"{text!r} is no limit of {unit}, and no file has that name: {error}"
    ) from None


def available(
  own: Callable[[], float],
  share: float = 0.5,
  *,
  period: float = _PERIOD,
  clock: Callable[[], float] = time.monotonic,
) -> Limit:
  """Returns a share of the memory that the machine would have without this run.

  The limit is `share` of the run's own bytes and the available ones together:
  using what is allowed does not change it, and other programs that need memory
  lower it.

  Args:
    own: returns the bytes that the run's memory occupies now.
    share: in (0, 1].
    period: seconds for which the limit is cached.
    clock: returns seconds.

  Raises:
    ValueError: for a share out of its range.
  """
  _check_share(share)

  def read() -> float:
    return share * (own() + psutil.virtual_memory().available)

  source = f"by memory available (share {share:g})"
  return Limit(_remembered(read, period, clock), source)


def cgroup(
  own: Callable[[], float],
  share: float = 1.0,
  *,
  root: str | os.PathLike[str] = "/sys/fs/cgroup",
  membership: str | os.PathLike[str] = "/proc/self/cgroup",
  period: float = _PERIOD,
  clock: Callable[[], float] = time.monotonic,
) -> Limit:
  """Returns the memory that control groups leave to this run.

  The limit is `share` of what a group allows, less what others in it use. The
  narrowest counts among this process's group and those above it, of either
  version. Cached files that the system would drop to make room
  ("inactive_file") do not count as used: else a run that reads its samples from
  disk would fill its own group. The limit is infinity where no group has one.

  https://docs.kernel.org/admin-guide/cgroup-v2.html and
  https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.

  Args:
    own: returns the bytes that the run's memory occupies now.
    share: in (0, 1].
    root: folder of the kernel's control groups.
    membership: file that names the groups of this process.
    period: seconds for which the limit is cached.
    clock: returns seconds.

  Raises:
    ValueError: for a share out of its range.
  """
  _check_share(share)

  def read() -> float:
    left = _left_in_groups(Path(root), Path(membership))
    return max(0.0, share * (own() + left))

  return Limit(_remembered(read, period, clock), "by control group")


def lowest(*limits: Limit) -> Limit:
  """Returns the lowest of some limits, described as the one that is lowest now.

  Raises:
    ValueError: for no limits, or limits of different units.
  """
  units = sorted({limit.unit for limit in limits})
  if len(units) != 1:
    raise UsageError(
      f"lowest of limits in {' and '.join(units)}: give limits of one unit"
      if units
      else "lowest of no limits: give at least one, such as fixed(math.inf)"
    )
  return _Lowest(*limits)


class _Lowest(Limit):
  def __init__(self, *limits: Limit) -> None:
    super().__init__(
      lambda: min(limit() for limit in limits), "", limits[0].unit
    )
    self._limits = limits

  def describe(self) -> str:
    return min(self._limits, key=lambda limit: limit()).describe()


class _File:
  """Last valid number that a file held."""

  def __init__(
    self, path: str | os.PathLike[str], fallback: float, unit: Unit
  ) -> None:
    self._path, self._unit = path, unit
    self._value = _checked(fallback)
    self._seen: tuple[int, ...] | None = None  # version that was read
    self._found = self._told = False

  def __call__(self) -> float:
    try:
      self._look()
    except FileNotFoundError:
      if self._found:
        self._tell("is gone")
    except (OSError, ValueError) as error:
      self._tell(f"states no limit: {error}")
    return self._value

  def _look(self) -> None:
    about = os.stat(self._path)
    version = (about.st_mtime_ns, about.st_ino, about.st_size)
    if version == self._seen:
      return
    with open(self._path, encoding="utf-8", errors="replace") as source:
      text = source.read(_LONGEST)
    # Another change soon after the first may leave the same time and size.
    settled = time.time_ns() - about.st_mtime_ns > _SETTLED
    self._seen = version if settled else None
    self._value = _parse(text, self._unit)
    self._found, self._told = True, False

  def _tell(self, problem: str) -> None:
    if not self._told:
      self._told = True
      logging.warning(
        "%s %s; the limit stays at %s",
        self._path,
        problem,
        _amount(self._value, self._unit),
      )


def _parse(text: str, unit: Unit, whole: bool = False) -> float:
  """Returns the number that a text states.

  Args:
    text: such as "1500J", or a number alone.
    unit: of the number.
    whole: whether a number alone has ended where no line's end follows it.

  Raises:
    ValueError: for other text, and where a number may go on.
  """
  try:
    value, whole = float(text), whole or text.endswith("\n")
  except ValueError:
    whole = True
    if unit == "bytes":
      value = plain.parse_size(text)
    else:
      value = _joules(text)
  if not whole:
    raise UsageError(
      f"{text!r} may go on: end it with its unit or a line's end"
    )
  return _checked(value)


def _joules(text: str) -> float:
  """Returns the number of joules in text such as "1500J"."""
  try:
    return float(text.strip().removesuffix("J"))
  except ValueError:
    raise UsageError(
      f'{text!r} is no energy: write a number and J, such as "1500J"'
    ) from None


def _left_in_groups(root: Path, membership: Path) -> float:
  """Returns the least that a group of this process has left, in bytes."""
  try:
    lines = membership.read_text().splitlines()
  except OSError:
    return math.inf
  left = math.inf
  for line in lines:
    number, controllers, path = line.split(":", 2)
    if number == "0":
      base, names = root, _V2
    elif "memory" in controllers.split(","):
      base, names = root / "memory", _V1
    else:
      continue
    # In a container the path may not exist below the root, which then is the
    # container's group itself.
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts) + 1):
      left = min(left, _left(base.joinpath(*parts[:depth]), *names))
  return left


def _left(folder: Path, most: str, used: str, idle: str) -> float:
  try:
    text = (folder / most).read_text().strip()
    if text == "max" or int(text) >= _V1_NONE:
      return math.inf
    return int(text) - int((folder / used).read_text()) + _idle(folder, idle)
  except (OSError, ValueError):  # no such group, or nothing about its memory
    return math.inf


def _idle(folder: Path, name: str) -> int:
  try:
    lines = (folder / "memory.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)[name])
  except (OSError, ValueError, KeyError):
    return 0


def _remembered(
  read: Callable[[], float], period: float, clock: Callable[[], float]
) -> Callable[[], float]:
  """Returns `read` with its result cached for some seconds."""
  value, until = 0.0, -math.inf

  def remembered() -> float:
    nonlocal value, until
    now = clock()
    if now >= until:
      value, until = read(), now + period
    return value

  return remembered


def _checked(value: float) -> float:
  if not value >= 0:
    raise UsageError(f"a limit of {value}: write a number from 0 to infinity")
  return float(value)


def _check_share(share: float) -> None:
  if not 0 < share <= 1:
    raise UsageError(f"share={share}: write a share above 0, up to 1")


def _amount(value: float, unit: Unit) -> str:
  if math.isinf(value):
    return "no limit"
  if unit == "joules":
    return f"{value:.6g} J"
  for name, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
    if value >= size:
      return f"{value / size:.4g} {name}"
  return f"{value:.0f} B"
