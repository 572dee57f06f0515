"""Optimisers from hyper-parameters."""

import dataclasses

import optax

from jcl import base

# What a run uses where neither the recipe nor the caller says otherwise.
DEFAULTS = base.Training(
  learning_rate=0.03,
  batch_size=10,
  epochs=1,
  optimizer="sgd",
  momentum=0.0,
  weight_decay=0.0,
  clip=0.0,
  head="seen",
  norms="batch",
)

_ADAPTIVE_RATE = 1e-3  # in place of the default rate, for adam and adamw


def complete(training: base.Training) -> base.Training:
  """Returns the hyper-parameters with defaults where they are None."""
  rate = training.learning_rate
  if rate is None and training.optimizer in ("adam", "adamw"):
    training = dataclasses.replace(training, learning_rate=_ADAPTIVE_RATE)
  return training.over(DEFAULTS)


def build(training: base.Training) -> optax.GradientTransformation:
  """Returns the optimiser that complete hyper-parameters describe.

  Weight decay is coupled (added to the gradient, ahead of momentum) for "sgd"
  and "adam" and decoupled for "adamw"; it acts on every trained tensor.

  Raises:
    ValueError: for a rate, momentum, decay or bound outside its range.
  """
  rate, momentum = training.learning_rate, training.momentum
  decay, clip = training.weight_decay, training.clip
  assert rate is not None and momentum is not None
  assert decay is not None and clip is not None
  if not rate > 0:
    raise ValueError(f"learning_rate={rate} must be above 0, such as 0.1")
  if not 0 <= momentum < 1:
    raise ValueError(f"momentum={momentum} must lie in [0, 1), such as 0.9")
  if decay < 0:
    raise ValueError(f"weight_decay={decay} must not be negative")
  if clip < 0:
    raise ValueError(f"clip={clip} must not be negative; 0 turns it off")
  if training.optimizer == "sgd":
    update = optax.sgd(rate, momentum=momentum or None)
  elif training.optimizer == "adam":
    update = optax.adam(rate)
  elif training.optimizer == "adamw":
    return optax.chain(*_clip(clip), optax.adamw(rate, weight_decay=decay))
  else:
    raise ValueError(
      f"optimizer={training.optimizer!r} is not known: choose from sgd, "
      "adam, adamw"
    )
  decays = [optax.add_decayed_weights(decay)] if decay else []
  return optax.chain(*_clip(clip), *decays, update)


def _clip(bound: float) -> list[optax.GradientTransformation]:
  return [optax.clip(bound)] if bound else []
