"""Builds networks by name."""

from collections.abc import Callable
import dataclasses
from typing import Any

from jcl import base
from jcl.networks import conv1d, efficientnet, mlp, mobilenet, resnet, vit
from jcl.options import parameters, spec
from jcl.options.errors import UsageError

MODELS: dict[str, Callable[..., base.Network]] = {
  "mlp": mlp.mlp,
  "resnet18": resnet.resnet18,
  "slim_resnet18": resnet.slim_resnet18,
  "resnet32": resnet.resnet32,
  "resnet50": resnet.resnet50,
  "mobilenet": mobilenet.mobilenet,
  "efficientnet_lite0": efficientnet.efficientnet_lite0,
  "efficientnet_lite1": efficientnet.efficientnet_lite1,
  "efficientnet_lite2": efficientnet.efficientnet_lite2,
  "vit": vit.vit,
  "conv1d": conv1d.conv1d,
}


def build(
  name: str, input_shape: tuple[int, ...], num_classes: int, **options: Any
) -> base.Network:
  """Builds the network called `name`.

  Args:
    name: one of `MODELS`.
    input_shape: of one example, without the batch axis.
    num_classes: width of the logits.
    **options: keyword-only parameters of the function that builds it.

  Raises:
    ValueError: for an unknown name or option, with the choices, and for
      shapes or values that the model does not take.

  >>> network = build("mlp", (8, 8, 1), 10, width=64)
  >>> network.units, len(network.tensors)
  (('dense_0', 'dense_1', 'head'), 6)
  """
  network = spec.call(
    "model", MODELS, name, input_shape, num_classes, **options
  )
  return dataclasses.replace(
    network, origin={"model": name, "options": dict(options)}
  )


def read(
  text: str, input_shape: tuple[int, ...], convolutional: bool = False
) -> tuple[str, dict[str, Any]]:
  """Returns name and options of a model such as "mlp:width=400".

  Args:
    text: in the notation of `spec.read`; "auto" stands for the model that
      `suggest` returns, and the options of `text` override its options.
    input_shape: see `suggest`.
    convolutional: see `suggest`.

  Raises:
    ValueError: for unknown names, options or values.

  >>> read("auto:filters=8", input_shape=(32, 32, 3))
  ('slim_resnet18', {'filters': 8})
  """
  name, options = spec.read(text)
  if name == "auto":
    name, usual = spec.read(suggest(input_shape, convolutional))
    options = {**usual, **options}
  function = spec.choose("model", MODELS, name)
  return name, spec.check("model", name, function, options)


def describe() -> dict[str, str]:
  """Returns one line about each network, by name."""
  return parameters.describe(MODELS)


def suggest(input_shape: tuple[int, ...], convolutional: bool = False) -> str:
  """Returns a model that fits inputs of this shape and is quick to train.

  A slim ResNet-18 for colour images, a 1-D convolutional network for series,
  an MLP for everything else.

  Args:
    input_shape: of one example.
    convolutional: whether the model has to convolve; grey images then take a
      slim ResNet-18 of few filters.

  Raises:
    ValueError: where the model has to convolve and the inputs are vectors.

  >>> suggest((32, 32, 3)), suggest((128, 6)), suggest((28, 28, 1))
  ('slim_resnet18', 'conv1d', 'mlp')
  """
  if convolutional and len(input_shape) < 2:
    raise UsageError(
      f"inputs of shape {input_shape} are vectors, and the recipe needs a "
      "network that convolves: give images or series, or another recipe"
    )
  if len(input_shape) == 3 and input_shape[-1] > 1:
    return "slim_resnet18"
  if len(input_shape) == 3 and convolutional:
    return "slim_resnet18:filters=8"
  return "conv1d" if len(input_shape) == 2 else "mlp"
