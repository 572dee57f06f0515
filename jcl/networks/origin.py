"""Builds networks anew from the record of how they were built."""

from collections.abc import Mapping
import functools
from typing import Any

from jcl import base
from jcl.networks import catalogue, expand, precision, progressive


def build(
  origin: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int
) -> base.Network:
  """Builds the network that an `origin` describes, with fresh weights.

  Args:
    origin: either "model" and "options" of the catalogue, or "columns" (the
      classes of each) and "column" (the origin of one); and "precision" where
      the network computes in another one than float32; and "expand" where a
      random unit stands ahead of its head.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.

  Raises:
    ValueError: for a model, option or precision that this version lacks.

  >>> network = build({"model": "mlp", "options": {"depth": 1}}, (4,), 3)
  >>> network.units
  ('dense_0', 'head')
  """
  if "columns" in origin:
    column = functools.partial(build, origin["column"])
    network = progressive.progressive(
      column, input_shape, origin["columns"], num_classes
    )
  else:
    network = catalogue.build(
      origin["model"], input_shape, num_classes, **origin["options"]
    )
  network = precision.with_precision(
    network, origin.get("precision", "float32")
  )
  told = origin.get("expand")
  return network if told is None else expand.again(network, told)
