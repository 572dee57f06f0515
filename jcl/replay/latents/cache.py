"""A cache of coded latents, each computed once, within a budget of bytes."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jcl import base
from jcl.cost import ledger as ledger_lib
from jcl.options import plain
from jcl.options.errors import UsageError
from jcl.replay.latents import codecs
from jcl.replay.latents import disk as disk_lib
from jcl.replay.latents import source as source_lib
from jcl.replay.latents import trunk as trunk_lib

# Rows that are computed or read from disk at a time, about.
_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Counts:
  """Counts of reads of one kind of data; a repeated row counts once."""

  hits: int = 0  # rows that were in the cache
  misses: int = 0  # rows that were computed, those to fit the codec included
  operations: float = 0.0  # of the trunk
  saved: float = 0.0  # operations of the trunk that cache and disk saved
  on_disk: int = 0  # rows that were read from disk, kept by another run

  def __add__(self, other: "Counts") -> "Counts":
    mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
    return Counts(*(a + b for a, b in zip(mine, others, strict=True)))


@dataclasses.dataclass(frozen=True)
class Report:
  """Contents of a cache, and counts of its use."""

  training: Counts
  held_out: Counts
  held: int  # examples
  bytes_held: int  # by these examples, without `table_bytes`
  budget_bytes: int | None  # None: no limit
  bytes_per_example: int
  table_bytes: int  # of the codec's tables, which all rows share
  clipped: int  # coded rows outside of the range that the codec was fitted to
  disk: disk_lib.Report | None = None  # None: nothing is kept on disk


class Cache:
  """Codes of examples by data set and row; the first ones read are kept.

  No row is ever evicted. Once the budget is full, all other rows are computed
  whenever they are read. The index takes four bytes per example of each data
  set, which the budget does not cover.

  Args:
    trunk: computes latents.
    codec: encodes them.
    budget: bytes of codes, as a number or as text such as "64MB"; None: no
      limit.
    disk: where latents are kept beyond the run; None: nowhere.

  Raises:
    ValueError: for a budget below zero, or a text that is no size.
  """

  def __init__(
    self,
    trunk: trunk_lib.Trunk,
    codec: codecs.Codec,
    budget: int | str | None = None,
    disk: disk_lib.Disk | None = None,
  ) -> None:
    if isinstance(budget, str):
      budget = plain.parse_size(budget)
    if budget is not None and budget < 0:
      raise UsageError(
        f"budget={budget}: give bytes from 0, such as '64MB', or None for no "
        "limit"
      )
    self.codec, self.trunk, self._budget = codec, trunk, budget
    self._source = source_lib.Source(trunk, disk)
    self._room = math.inf
    if budget is not None:
      self._room = budget // codec.bytes_per_example
    self._held = self._clipped = 0
    self._viewed = 0  # rows of all views
    self._rows = np.empty((0, *codec.row_shape), codec.dtype)
    self._counts = {"data": Counts(), "evaluate": Counts()}

  def view(self, x: Any, *, held_out: bool = False) -> "View":
    """Returns raw inputs [N, ...] as codes of their latents.

    Args:
      x: as in `base.Dataset`.
      held_out: whether they are test data; their work is charged to "evaluate",
        that of training data to "data".
    """
    self._viewed += len(x)
    return View(self, x, "evaluate" if held_out else "data")

  @property
  def row_flops(self) -> float:
    """Operations of the trunk for one example of a full batch."""
    return self.trunk.flops / self.trunk.rows

  def charge_to(self, ledger: ledger_lib.Ledger) -> None:
    """Charges all of the trunk's work, past work included, to a ledger."""
    self.trunk.charge_to(ledger)

  def report(self) -> Report:
    """Returns contents and counts of the cache so far."""
    return Report(
      training=self._counts["data"],
      held_out=self._counts["evaluate"],
      held=self._held,
      bytes_held=self._held * self.codec.bytes_per_example,
      budget_bytes=self._budget,
      bytes_per_example=self.codec.bytes_per_example,
      table_bytes=self.codec.table_bytes,
      clipped=self._clipped,
      disk=self._source.report(),
    )

  def close(self) -> None:
    """Frees what lies on disk for other processes; later reads go on."""
    self._source.close()

  def read(self, view: "View", rows: np.ndarray) -> np.ndarray:
    """Returns codes [N, *row_shape] of a view's rows [N]."""
    slots = view.slots[rows]
    known = slots >= 0
    absent = np.unique(rows[~known])
    codes = np.empty((len(rows), *self.codec.row_shape), self.codec.dtype)
    codes[known] = self._rows[slots[known]]
    done = on_disk = 0
    if len(absent):
      fresh, done, on_disk = self._fetched(view, absent)
      codes[~known] = fresh[np.searchsorted(absent, rows[~known])]
      self._keep(view, absent, fresh)
    asked, count = len(np.unique(rows)), len(absent)
    needed, flops = self.trunk.batches(asked), self.trunk.flops
    self._counts[view.account] += Counts(
      asked - count,
      count - on_disk,
      done * flops,
      (needed - done) * flops,
      on_disk,
    )
    return codes

  def take(
    self, view: "View", rows: np.ndarray, z: np.ndarray, on_disk: int = 0
  ) -> None:
    """Stores latents [N, ...] of a view's rows [N], computed elsewhere.

    Args:
      view: of a data set.
      rows: [N].
      z: [N, ...] float32.
      on_disk: rows that were not computed but read from disk.
    """
    count, flops = len(rows) - on_disk, self.trunk.flops
    needed, done = map(self.trunk.batches, (len(rows), count))
    self._counts[view.account] += Counts(
      0, count, done * flops, (needed - done) * flops, on_disk
    )
    self._keep(view, rows, self.codec.encode(z))

  def _keep(self, view: "View", rows: np.ndarray, codes: np.ndarray) -> None:
    """Stores codes of a view's rows [N], as many as there is room for."""
    count = int(min(len(rows), self._room - self._held))
    if self._held + count > len(self._rows):
      # The largest possible size; the system gives memory when it is written.
      size = int(min(self._viewed, self._room))
      wider = np.empty((size, *self._rows.shape[1:]), self._rows.dtype)
      wider[: self._held] = self._rows[: self._held]
      self._rows = wider
    self._rows[self._held : self._held + count] = codes[:count]
    view.slots[rows[:count]] = np.arange(self._held, self._held + count)
    self._held += count

  def _fetched(
    self, view: "View", rows: np.ndarray
  ) -> tuple[np.ndarray, int, int]:
    """Returns codes [N, *row_shape] of rows [N] that are not in the cache.

    Also returns the batches computed for them, and the rows read from disk.
    """
    parts, batches, on_disk = [], 0, 0
    step = max(1, _ROWS // self.trunk.rows) * self.trunk.rows
    for start in range(0, len(rows), step):
      x = np.asarray(view.inputs[rows[start : start + step]])
      found = self._source.latents(view.account, x)
      parts.append(self.codec.encode(found.z))
      self._clipped += self.codec.clipped(found.z)
      batches, on_disk = batches + found.batches, on_disk + found.on_disk
    return np.concatenate(parts), batches, on_disk


class View:
  """Inputs of a data set as codes of latents; see `base.Dataset.x`.

  Indexing reads rows from the cache, or computes them by the trunk.
  """

  def __init__(self, cache: Cache, x: Any, account: str) -> None:
    self.inputs, self.account = x, account
    self.slots = np.full(len(x), -1, np.int32)  # in the cache; -1: not held
    self.shape = (len(x), *cache.codec.row_shape)
    self.dtype = cache.codec.dtype
    self._cache, self._all = cache, np.arange(len(x))

  def __len__(self) -> int:
    return len(self._all)

  def __getitem__(self, index: Any) -> np.ndarray:
    rows = self._all[index]
    codes = self._cache.read(self, np.atleast_1d(rows))
    return codes if np.ndim(rows) else codes[0]

  def __array__(
    self, dtype: DTypeLike | None = None, copy: bool | None = None
  ) -> np.ndarray:
    del copy  # reading always makes a new array
    return np.asarray(self[:], dtype)


def coded(
  cache: Cache, data: base.Dataset, *, held_out: bool = False
) -> base.Dataset:
  """Returns a data set whose inputs are codes of latents."""
  return dataclasses.replace(
    data, x=cache.view(data.x, held_out=held_out), scale=1.0
  )
