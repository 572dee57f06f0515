"""Checks of networks, made when they are built or applied."""

from collections.abc import Collection
from numbers import Integral
from typing import Any

from jcl.options import errors
from jcl.options.errors import UsageError


def sizes(name: str, input_shape: tuple[int, ...], num_classes: int) -> None:
  """Raises ValueError unless all sizes are positive whole numbers."""
  shape = tuple(input_shape)
  if not shape or not all(_is_count(size, 1) for size in shape):
    raise UsageError(
      f"{name}: input_shape is the shape of one example without the batch "
      f"axis, such as (32, 32, 3), got {input_shape!r}"
    )
  if not _is_count(num_classes, 1):
    raise UsageError(
      f"{name}: num_classes must be a whole number >= 1, got {num_classes!r}"
    )


def image(name: str, input_shape: tuple[int, ...]) -> None:
  """Raises ValueError unless the shape is an image's, [H, W, C]."""
  if len(input_shape) != 3:
    raise UsageError(
      f"{name} reads images of shape (height, width, channels), got "
      f"input_shape {tuple(input_shape)}; for a series of shape (time, "
      "channels) use conv1d, for any other shape mlp"
    )


def series(name: str, input_shape: tuple[int, ...]) -> None:
  """Raises ValueError unless the shape is a series', [T, C]."""
  if len(input_shape) != 2:
    raise UsageError(
      f"{name} reads series of shape (time, channels), got input_shape "
      f"{tuple(input_shape)}; for images use resnet18, slim_resnet18, "
      "mobilenet or vit, for any other shape mlp"
    )


def at_least(name: str, minimum: int, **options: int) -> None:
  """Raises ValueError unless every option is a whole number >= minimum."""
  for option, value in options.items():
    if not _is_count(value, minimum):
      raise UsageError(
        f"{name}: {option} must be a whole number >= {minimum}, got {value!r}"
      )


def logits(name: str, output: Any, num_classes: int) -> None:
  """Raises ValueError unless a module's output is one array [B, C]."""
  if isinstance(output, (tuple, list, dict)):
    raise UsageError(
      f"{name} returns a {type(output).__name__}, not an array; wrap it in a "
      "module that returns the logits alone, such as `return net(x)[0]`"
    )
  shape = tuple(getattr(output, "shape", ()))
  if len(shape) != 2 or shape[1] != num_classes:
    raise UsageError(
      f"{name} returns an array of shape (batch, *{shape[1:]}) but num_classes "
      f"is {num_classes}; give its last layer {num_classes} outputs, or pass "
      f"num_classes={shape[-1] if len(shape) == 2 else '<its width>'}"
    )


def known(
  name: str, what: str, names: Collection[str], choices: Collection[str]
) -> None:
  """Raises ValueError where one of `names` is not among the choices."""
  unknown = [item for item in names if item not in choices]
  if unknown:
    raise UsageError(
      f"{name} has no {what} {errors.some(unknown)}; choose among "
      f"{errors.names(choices)}"
    )


def _is_count(value: Any, minimum: int) -> bool:
  return isinstance(value, Integral) and int(value) >= minimum
