"""Weights that one thread trains while another thread serves with them.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353, retrain a student
while it answers. Here the trainer copies finished weights into a second buffer
on the serving devices, and then swaps: it assigns a record that is never
changed. A server that reads `current` once per frame uses one version for the
whole frame, without a lock.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any
import zlib

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Version:
  """A version of the serving weights; it is replaced, never changed."""

  number: int  # 0, 1, 2 and so on
  tree: Any  # of arrays
  made: float  # seconds: when the weights were made
  newest: float  # seconds: stamp of the newest sample they were trained on
  checksum: int | None = None  # of the staged tree; None: not computed


class Torn(RuntimeError):
  """Weights that changed after they were staged."""


def checksum(tree: Any) -> int:
  """Returns the CRC-32 of a tree: its structure, shapes, dtypes and bytes."""
  leaves, structure = jax.tree.flatten(tree)
  found = zlib.crc32(str(structure).encode())
  for leaf in leaves:
    array = np.ascontiguousarray(leaf)
    found = zlib.crc32(f"{array.dtype}{array.shape}".encode(), found)
    found = zlib.crc32(array.tobytes(), found)
  return found


def verify(version: Version) -> None:
  """Checks that weights still equal the staged ones, bit for bit.

  The check copies all weights to the host.

  Raises:
    Torn: if the weights changed.
    ValueError: for weights staged without a checksum.
  """
  if version.checksum is None:
    raise ValueError(
      f"version {version.number} was staged without a checksum: give "
      "Weights(..., checked=True)"
    )
  if (found := checksum(version.tree)) != version.checksum:
    raise Torn(
      f"version {version.number} has checksum {found:08x}, staged with "
      f"{version.checksum:08x}: it was changed after it was handed over"
    )


def copied(tree: Any) -> Any:
  """Copies a tree, on the device where it lies.

  A train step may reuse the memory of its arguments for its results, so it must
  not share memory with weights that are served.
  """
  return jax.tree.map(lambda leaf: leaf.copy(), tree)


def onto(devices: Sequence[jax.Device]) -> Callable[[Any], Any]:
  """Returns a function that copies whole trees to each of these devices.

  Raises:
    ValueError: without devices.
  """
  if not devices:
    raise ValueError("devices=[]: give one device or more to serve on")
  mesh = jax.sharding.Mesh(np.array(devices), ("serve",))
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

  def put(tree: Any) -> Any:
    return jax.device_put(tree, whole, may_alias=False)

  return put


class Weights:
  """Two buffers of weights: one serves, the trainer fills the other.

  Any number of threads may read `current`; one thread stages and swaps.

  Args:
    tree: the first weights, version 0.
    put: copies a tree to the serving devices; see `copied` and `onto`.
    checked: whether to compute a checksum of each staged tree, for `verify`.
  """

  def __init__(
    self,
    tree: Any,
    *,
    put: Callable[[Any], Any] = copied,
    checked: bool = False,
  ) -> None:
    self._put, self._checked = put, checked
    self._back: Version | None = None
    self._made: list[tuple[float, float]] = []
    self._front = self._version(tree, 0.0, -math.inf)

  @property
  def current(self) -> Version:
    """The version to serve with, to be read once per frame."""
    return self._front

  @property
  def staged(self) -> int:
    """Number of the newest version, served or still in the second buffer."""
    return len(self._made) - 1

  @property
  def times(self) -> np.ndarray:
    """`made` and `newest` of each version so far, [versions, 2] seconds."""
    return np.array(self._made)

  def stage(
    self, tree: Any, made: float = 0.0, newest: float = -math.inf
  ) -> Version:
    """Copies weights into the second buffer, and waits for the copy.

    Args:
      tree: weights of the same structure as before.
      made: seconds, when they were made.
      newest: seconds, stamp of the newest sample they were trained on.

    Raises:
      ValueError: for a tree of another structure, shape or dtype.
    """
    old, new = _shapes(self._front.tree), _shapes(tree)
    if old != new:
      raise ValueError(
        f"weights {new} cannot follow {old}: stage a tree of the same "
        "structure, shapes and dtypes"
      )
    self._back = self._version(tree, made, newest)
    return self._back

  def swap(self) -> Version:
    """Makes the staged weights the serving ones.

    Raises:
      ValueError: if nothing was staged since the last swap.
    """
    if self._back is None:
      raise ValueError("nothing is staged: call stage(tree) before swap()")
    # One assignment: a reader sees either the old record or the new one.
    self._front, self._back = self._back, None
    return self._front

  def publish(
    self, tree: Any, made: float = 0.0, newest: float = -math.inf
  ) -> Version:
    """Stages and swaps."""
    self.stage(tree, made, newest)
    return self.swap()

  def _version(self, tree: Any, made: float, newest: float) -> Version:
    # The checksum is that of the original, so that it also checks the copy.
    found = checksum(tree) if self._checked else None
    tree = jax.block_until_ready(self._put(tree))
    self._made.append((made, newest))
    return Version(len(self._made) - 1, tree, made, newest, found)


def _shapes(tree: Any) -> tuple[Any, ...]:
  """Returns the structure of a tree, and shape and dtype of each leaf."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(np.shape(leaf), str(leaf.dtype)) for leaf in leaves]
