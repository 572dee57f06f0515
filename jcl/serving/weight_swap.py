"""Weights that one thread trains and another one serves with.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, retrain a student while it answers. Here the
trainer stages a finished tree in a second buffer, on the devices that serve and
in memory of its own, and then swaps: one assignment of a record that never
changes. Whoever reads `current` once per frame works with one version
throughout, without a lock.
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
  """Weights as they are served; a record that is replaced, never changed."""

  number: int  # 0 for the first, then 1, 2 and so on
  tree: Any  # of arrays
  made: float  # seconds: since when they exist
  newest: float  # seconds: stamp of the newest sample they were trained on
  checksum: int | None = None  # of the tree as staged; None: not taken


class Torn(RuntimeError):
  """Weights that are not what was staged."""


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
  """Checks that weights are still what was staged, bit for bit.

  Reads all of them back to the host.

  Raises:
    Torn: if they are not.
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
  """Returns the tree in memory of its own, on the device where it lies.

  A train step may take the memory of its arguments for its results; weights
  that are served must not be among them.
  """
  return jax.tree.map(lambda leaf: leaf.copy(), tree)


def onto(devices: Sequence[jax.Device]) -> Callable[[Any], Any]:
  """Returns a function that copies trees, whole, to each of these devices.

  Raises:
    ValueError: for no device.
  """
  if not devices:
    raise ValueError("devices=[]: give one device or more to serve on")
  mesh = jax.sharding.Mesh(np.array(devices), ("serve",))
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

  def put(tree):
    return jax.device_put(tree, whole, may_alias=False)

  return put


class Weights:
  """Two buffers: the one that is served, and one that the trainer fills.

  Any number of threads may read `current`; one thread stages and swaps.

  Args:
    tree: weights to begin with, version 0.
    put: copies a tree to where it is served; see `copied` and `onto`.
    checked: takes a checksum of each tree as it is staged, for `verify`.
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
    """[versions, 2] seconds: `made` and `newest` of each version so far."""
    return np.array(self._made)

  def stage(
    self, tree: Any, made: float = 0.0, newest: float = -math.inf
  ) -> Version:
    """Fills the second buffer, and waits until it is there.

    Args:
      tree: of the same structure as before; it is copied.
      made: seconds, since when it exists.
      newest: seconds, stamp of the newest sample it was trained on.

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
    """Serves what was staged from now on.

    Raises:
      ValueError: if nothing was staged since the last swap.
    """
    if self._back is None:
      raise ValueError("nothing is staged: call stage(tree) before swap()")
    # The one moment of the hand-over: a reader sees the old record or the new.
    self._front, self._back = self._back, None
    return self._front

  def publish(
    self, tree: Any, made: float = 0.0, newest: float = -math.inf
  ) -> Version:
    """Stages and swaps."""
    self.stage(tree, made, newest)
    return self.swap()

  def _version(self, tree, made, newest) -> Version:
    # Of the original: what goes wrong with the copy is to be found, too.
    found = checksum(tree) if self._checked else None
    tree = jax.block_until_ready(self._put(tree))
    self._made.append((made, newest))
    return Version(len(self._made) - 1, tree, made, newest, found)


def _shapes(tree) -> tuple[Any, ...]:
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(np.shape(leaf), str(leaf.dtype)) for leaf in leaves]
