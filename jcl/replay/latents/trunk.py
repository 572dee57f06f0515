"""The frozen part of a network as one compiled program, and its cost."""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata as metadata
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.cost import devices, program_cost
from jcl.cost import ledger as ledger_lib
from jcl.networks import cut
from jcl.train import augment as augmentation
from jcl.train import background
from jcl.train.kernels import lowering

_DIGEST = 16  # bytes of a trunk's digest


class Trunk:
  """Computes latents of raw inputs, in batches of one size.

  The program is compiled when the first latents are computed. The work is
  charged to a ledger of its own until `charge_to` names another.

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

    self._run, self._row = run, (example.shape, example.dtype)
    self._known: float | None = None  # operations of a row, by another run

  @property
  def arrays(self) -> tuple[base.Params, base.Stats]:
    """Parameters and statistics of the trunk's units."""
    return self._arrays

  @property
  def ledger(self) -> ledger_lib.Ledger:
    """Where the work is charged."""
    return self._ledger

  @property
  def compiled(self) -> bool:
    """Whether the program was needed so far."""
    return "_program" in vars(self)

  @property
  def flops(self) -> float:
    """Operations of a batch, as XLA counts them."""
    if self._known is not None and not self.compiled:
      return self._known * self.rows
    return self._program.cost.flops

  def cost_is(self, row_flops: float | None) -> None:
    """Takes the operations of a row from another run of the same trunk."""
    self._known = row_flops

  @property
  def weight_bytes(self) -> int:
    """Bytes of parameters and statistics."""
    return program_cost.num_bytes(self._arrays)

  @property
  def peak_bytes(self) -> float:
    """Peak bytes of the program, weights included; 0 until it is compiled."""
    return self._program.cost.peak_bytes if self.compiled else 0.0

  def digest(self) -> str:
    """Returns what latents depend on, beside the inputs, as hexadecimals.

    These are the weights, and the program for one input as it is handed to XLA:
    units, side, normalisation of inputs, shapes, types and precision. Rounding
    differs between devices and versions, which are part of it too.
    """
    x = jax.ShapeDtypeStruct((1, *self._row[0]), self._row[1])
    lowered = jax.jit(self._run).lower(*self._arrays, x)
    device = jax.devices()[0]
    about = (
      device.platform,
      device.device_kind,
      metadata.version("jaxlib"),
      "XLA" if lowering.why_not() else "oneDNN",
      lowered.as_text(),
    )
    total = hashlib.blake2b(repr(about).encode(), digest_size=_DIGEST)
    for path, leaf in jax.tree_util.tree_leaves_with_path(self._arrays):
      array = np.asarray(leaf)
      name = jax.tree_util.keystr(path)
      total.update(f"{name} {array.dtype.name} {array.shape} ".encode())
      total.update(array.tobytes())
    return total.hexdigest()

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

  @functools.cached_property
  def _program(self) -> background.Program:
    x = jax.ShapeDtypeStruct((self.rows, *self._row[0]), self._row[1])
    with self._ledger.timed("compile"):
      return background.compile_program(self._run, (*self._arrays, x))

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
