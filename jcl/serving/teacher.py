"""The teacher; and how networks, the student's too, turn images into logits."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.errors import UsageError
from jcl.networks.mx import formats, layers
from jcl.train import evaluate as evaluation
from jcl.train import step as step_lib

Precision = Literal["float32", "mx", "mx9"]


def precise(
  network: base.Network,
  precision: Precision = "float32",
  rounding: formats.Rounding = "rne",
) -> base.Network:
  """Returns the network with products as the accelerator computes them.

  Args:
    network: the model.
    precision: "mx" trains in MX9 and predicts in MX6, as it is charged for;
      "mx9" predicts in MX9, too, as DaCapo's published accuracies were made;
      "float32" changes nothing.
    rounding: of MX formats.

  Raises:
    ValueError: for another precision, or what `numerics.layers.policy` refuses.
  """
  if precision not in ("float32", "mx", "mx9"):
    raise UsageError(f"precision={precision!r}: give float32, mx or mx9")
  if precision == "float32":
    return network
  fmt: formats.Format = "mx6" if precision == "mx" else "mx9"
  return layers.policy(network, fmt_infer=fmt, rounding=rounding)


def standardisation(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and deviation of each channel: [N, ..., C] to [C] twice."""
  axes = tuple(range(images.ndim - 1))
  std = images.std(axis=axes, dtype=np.float64)
  return (
    images.mean(axis=axes, dtype=np.float64).astype(np.float32),
    np.maximum(std, 1.0).astype(np.float32),
  )


class Predictor:
  """Logits in batches of few sizes, so that few programs are compiled."""

  def __init__(self, network, preprocess, rows) -> None:
    self._sizes = sorted({1, min(16, rows), rows})
    apply = evaluation.apply_fn(network, preprocess)
    self._call = jax.jit(
      lambda params, stats, x: apply(params, stats, x).logits
    )
    self._classes = network.num_classes

  def __call__(self, params, stats, images) -> np.ndarray:
    images, found, start = np.asarray(images), [], 0
    while start < len(images):
      left = len(images) - start
      size = next((s for s in self._sizes if s >= left), self._sizes[-1])
      part = images[start : start + size]
      padding = (0, size - len(part)), *((0, 0),) * (part.ndim - 1)
      # All are dispatched before the first is waited for.
      found.append(self._call(params, stats, np.pad(part, padding)))
      start += size
    empty = np.zeros((0, self._classes), np.float32)
    return np.concatenate([empty, *map(np.asarray, found)])[: len(images)]


class Teacher:
  """A network that labels.

  Args:
    network: the model.
    params: its weights.
    stats: likewise.
    mean: of raw inputs.
    std: of raw inputs.
    rows: images labelled at once, at most.
  """

  def __init__(
    self,
    network: base.Network,
    params: base.Params,
    stats: base.Stats,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    rows: int = 128,
  ) -> None:
    preprocess = step_lib.Preprocess(mean, std)
    self.network = network
    self._weights = jax.tree.map(jnp.asarray, (params, stats))
    self._predictor = Predictor(network, preprocess, rows)

  def label(self, images: np.ndarray) -> np.ndarray:
    """Returns the classes [n] int32 of raw images [n, ...]."""
    params, stats = self._weights
    logits = self._predictor(params, stats, images)
    return np.argmax(logits, axis=-1).astype(np.int32)
