"""The step that a profile is of."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jcl import base
from jcl.selection import mask
from jcl.train import step_spec


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
  """A step whose time or operations are told tensor by tensor.

  Raises:
    ValueError: for other `norms` than "frozen" and "batch", or an `x` of
      another shape than the network's.
  """

  network: base.Network
  params: base.Params  # or their shapes
  stats: base.Stats  # or their shapes
  x: base.Array | jax.ShapeDtypeStruct  # a normalised batch [B, ...]
  norms: str  # "frozen" or "batch"; see `base.Training`
  optimizer: optax.GradientTransformation  # its update of each tensor counts

  def __post_init__(self) -> None:
    if self.norms not in ("frozen", "batch"):
      raise ValueError(f"norms={self.norms!r}: give 'frozen' or 'batch'")
    shape, wanted = self.shape, tuple(self.network.input_shape)
    if shape[1:] != wanted or not shape[0]:
      raise ValueError(
        f"x has shape {shape}: give a batch of {self.network.name!r}, "
        f"[B, {', '.join(map(str, wanted))}]"
      )

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the batch."""
    return tuple(jnp.shape(self.x))

  @property
  def training(self) -> tuple[str, ...]:
    """Units in training mode where every tensor trains."""
    everything = mask.everything(self.network)
    return step_spec.modes(self.network, everything, self.norms)
