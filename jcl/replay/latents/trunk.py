"""The frozen part of a network as one compiled program, and its cost."""

from collections.abc import Iterator
import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.cost import devices, program_cost
from jcl.cost import ledger as ledger_lib
from jcl.networks import cut
from jcl.train import augment as augmentation
from jcl.train import background


class Trunk:
  """Computes latents of raw inputs, in batches of one size.

  The work is charged to a ledger of its own until `charge_to` names another.

  Args:
    parts: of the network.
    params: of the whole network, or of the trunk's units.
    stats: likewise.
    preprocess: normalises inputs as the run does; nothing is augmented.
    example: one raw input, to fix shape and dtype.
    rows: inputs in a batch; smaller batches are padded and cost as much.
  """

  def __init__(
    self,
    parts: cut.Cut,
    params: base.Params,
    stats: base.Stats,
    preprocess: augmentation.Preprocess,
    example: np.ndarray,
    rows: int,
  ) -> None:
    if rows < 1:
      raise ValueError(f"rows={rows}: a batch holds 1 input or more")
    self.rows = rows
    self.shape = parts.tail.input_shape  # of one latent
    self._ledger = ledger_lib.Ledger(devices.detect())
    self._arrays = cut.part(params, parts.units), cut.part(stats, parts.units)

    def run(params: base.Params, stats: base.Stats, x: jax.Array) -> Any:
      return parts.trunk(params, stats, preprocess.normalise(x))

    x = jax.ShapeDtypeStruct((rows, *example.shape), example.dtype)
    with self._ledger.timed("compile"):
      self._program = background.compile_program(run, (*self._arrays, x))

  @property
  def arrays(self) -> tuple[base.Params, base.Stats]:
    """Parameters and statistics of the trunk's units."""
    return self._arrays

  @property
  def flops(self) -> float:
    """Operations of a batch, as XLA counts them."""
    return self._program.cost.flops

  @property
  def weight_bytes(self) -> int:
    """Bytes of parameters and statistics."""
    return program_cost.num_bytes(self._arrays)

  @property
  def peak_bytes(self) -> float:
    """Peak bytes of the compiled program, weights included."""
    return self._program.cost.peak_bytes

  def batches(self, count: int) -> int:
    """Returns the number of batches for `count` inputs."""
    return -(-count // self.rows)

  def charge_to(self, ledger: ledger_lib.Ledger) -> None:
    """Charges all work to this ledger, past work included."""
    for account, cost in self._ledger.totals().items():
      if account != "idle" and cost.seconds:
        joules = ledger.device.joules(cost.seconds)
        ledger.charge(account, dataclasses.replace(cost, joules=joules))
    self._ledger = ledger

  @contextlib.contextmanager
  def charged(self, account: str, count: int) -> Iterator[None]:
    """Charges a block in which the latents of `count` inputs are computed."""
    cost, batches = self._program.cost, self.batches(count)
    work = batches * cost.flops, batches * cost.bytes_accessed
    with self._ledger.timed(account, *work):
      yield

  def latents(self, x: np.ndarray) -> Iterator[np.ndarray]:
    """Yields latents [at most rows, ...] float32 of raw inputs [N, ...]."""
    for start in range(0, len(x), self.rows):
      part = x[start : start + self.rows]
      missing = (0, self.rows - len(part))
      padded = np.pad(part, (missing, *((0, 0),) * (part.ndim - 1)))
      z = self._program.call(*self._arrays, padded)
      yield np.asarray(z)[: len(part)]
