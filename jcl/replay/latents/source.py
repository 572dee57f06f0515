"""Latents from wherever they come for less: from disk, or from the trunk."""

from typing import NamedTuple

import numpy as np

from jcl import base
from jcl.replay.latents import disk as disk_lib
from jcl.replay.latents import trunk as trunk_lib

_ROW_FLOPS = "row_flops"  # noted beside the latents of a trunk


class Latents(NamedTuple):
  """Latents of some inputs, and where they came from."""

  z: np.ndarray  # [N, ...] float32
  on_disk: int  # of the rows
  batches: int  # that the trunk computed for the others


class Source:
  """Latents of raw inputs; each kind of work is charged to the trunk's ledger.

  Args:
    trunk: computes what is not on disk.
    disk: holds latents of this trunk, and takes those that are computed; None:
      all are computed.
  """

  def __init__(
    self, trunk: trunk_lib.Trunk, disk: disk_lib.Disk | None = None
  ) -> None:
    self.trunk, self._disk = trunk, disk

  def latents(self, account: str, x: np.ndarray) -> Latents:
    """Returns the latents of inputs [N, ...].

    Args:
      account: that is charged with forwards and reading; what is written goes
        to "write".
      x: raw inputs.
    """
    if self._disk is None:
      return self._computed(account, x)
    ledger = self.trunk.ledger
    with ledger.timed(account):
      keys = disk_lib.digests(x)
      found = self._disk.read(keys)
    ledger.charge(account, base.Cost(bytes=found.bytes))
    self.trunk.cost_is(_number(self._disk.about.get(_ROW_FLOPS)))
    absent = ~found.rows
    if not absent.any():
      return Latents(found.z, len(x), 0)
    fresh = self._computed(account, x[absent])
    with ledger.timed("write"):
      size = self._disk.add(keys[absent], fresh.z)
      self._disk.note(**{_ROW_FLOPS: self.trunk.flops / self.trunk.rows})
    ledger.charge("write", base.Cost(bytes=size))
    z = np.empty((len(x), *fresh.z.shape[1:]), np.float32)
    z[found.rows], z[absent] = found.z, fresh.z
    return Latents(z, int(found.rows.sum()), fresh.batches)

  def report(self) -> disk_lib.Report | None:
    """Returns counts of what was read and written; None without a disk."""
    return None if self._disk is None else self._disk.report()

  def close(self) -> None:
    """Ends what was written and frees it for others; later reads go on."""
    if self._disk is not None:
      self._disk.close()

  def _computed(self, account: str, x: np.ndarray) -> Latents:
    with self.trunk.charged(account, len(x)):
      z = np.concatenate(list(self.trunk.latents(x)))
    return Latents(z, 0, self.trunk.batches(len(x)))


def _number(value: object) -> float | None:
  return float(value) if isinstance(value, int | float) else None
