"""The teacher, and prediction in batches for teacher and student."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.networks.mx import formats, layers
from jcl.options.errors import UsageError
from jcl.train import augment as augmentation
from jcl.train import evaluate as evaluation

Precision = Literal["float32", "mx", "mx9"]


def precise(
  network: base.Network,
  precision: Precision = "float32",
  rounding: formats.Rounding = "rne",
) -> base.Network:
  """Returns the network with the accelerator's precision of products.

  Args:
    network: the model.
    precision: "mx" trains in MX9 and predicts in MX6, as the cost model
      assumes; "mx9" predicts in MX9 too, like DaCapo's published accuracies;
      "float32" changes nothing.
    rounding: of MX formats.

  Raises:
    ValueError: for another precision, or as `networks.mx.layers.policy`.
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
  """Computes logits in batches of few sizes, so that few programs compile.

  Args:
    network: the model.
    preprocess: turns raw images into the network's inputs.
    rows: largest batch.
  """

  def __init__(
    self, network: base.Network, preprocess: augmentation.Preprocess, rows: int
  ) -> None:
    self._sizes = sorted({1, min(16, rows), rows})
    apply = evaluation.apply_fn(network, preprocess)
    self._call = jax.jit(
      lambda params, stats, x: apply(params, stats, x).logits
    )
    self._classes = network.num_classes

  def __call__(
    self, params: base.Params, stats: base.Stats, images: np.ndarray
  ) -> np.ndarray:
    """Returns logits [n, C] float32 of raw images [n, ...]."""
    images, found, start = np.asarray(images), [], 0
    while start < len(images):
      left = len(images) - start
      size = next((s for s in self._sizes if s >= left), self._sizes[-1])
      part = images[start : start + size]
      padding = (0, size - len(part)), *((0, 0),) * (part.ndim - 1)
      # All batches are dispatched before the first result is read.
      found.append(self._call(params, stats, np.pad(part, padding)))
      start += size
    empty = np.zeros((0, self._classes), np.float32)
    return np.concatenate([empty, *map(np.asarray, found)])[: len(images)]


class Teacher:
  """A network that labels images.

  Args:
    network: the model.
    params: its parameters.
    stats: its running statistics.
    mean: [C] of raw inputs.
    std: [C] of raw inputs.
    rows: the most images labelled at once.
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
    preprocess = augmentation.Preprocess(mean, std)
    self.network = network
    self._weights = jax.tree.map(jnp.asarray, (params, stats))
    self._predictor = Predictor(network, preprocess, rows)

  def label(self, images: np.ndarray) -> np.ndarray:
    """Returns the classes [n] int32 of raw images [n, ...]."""
    params, stats = self._weights
    logits = self._predictor(params, stats, images)
    return np.argmax(logits, axis=1).astype(np.int32)
