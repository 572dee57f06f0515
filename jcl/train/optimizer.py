"""Optimisers from hyper-parameters."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, cast

import jax
import numpy as np
import optax

from jcl import base
from jcl.options import errors, spec
from jcl.options.errors import UsageError
from jcl.train import schedules

# What a run uses where neither the recipe nor the caller says otherwise.
DEFAULTS = base.Training(
  learning_rate=0.03,
  batch_size=10,
  epochs=1,
  optimizer="sgd",
  momentum=0.0,
  weight_decay=0.0,
  clip=0.0,
  schedule="constant",
  head="seen",
  norms="batch",
  variance="biased",
)

_ADAPTIVE_RATE = 1e-3  # in place of the default rate, for adam and adamw
# Hyper-parameters that an optimiser of one's own replaces.
_OF_RULE = ("learning_rate", "momentum", "weight_decay", "clip", "schedule")


def complete(training: base.Training) -> base.Training:
  """Returns the hyper-parameters with defaults where they are None.

  Hyper-parameters that an optax transformation replaces stay None.

  Raises:
    ValueError: for a value that its field does not take, and for one that has
      no effect beside a schedule or an optimiser of one's own.
  """
  training = spec.checked_fields(training)
  if is_own(training):
    for name in _OF_RULE:
      if getattr(training, name) is not None:
        raise UsageError(
          f"{name}={getattr(training, name)!r} has no effect beside an "
          "optimizer of one's own: leave it out, or make it part of that"
        )
    rest = dict.fromkeys(_OF_RULE)
    return training.over(dataclasses.replace(DEFAULTS, **rest))
  rate = training.learning_rate
  if callable(rate):
    _check_schedule(rate)
  if callable(rate) and (training.schedule or "constant") != "constant":
    raise UsageError(
      f"schedule={training.schedule}: the learning_rate is a schedule already; "
      "leave one of them out"
    )
  if rate is None and training.optimizer in ("adam", "adamw"):
    training = dataclasses.replace(training, learning_rate=_ADAPTIVE_RATE)
  training = training.over(DEFAULTS)
  schedules.build(cast(str, training.schedule))  # tells of mistakes
  return training


def _check_schedule(rate: Any) -> None:
  try:
    float(rate(np.int32(0)))
  except Exception as error:
    reason = errors.reason(error)
    raise UsageError(
      "learning_rate is a function, but of an update's number it returns no "
      f"number ({reason}): give a schedule such as "
      "optax.cosine_decay_schedule(0.1, 1000)"
    ) from error


def is_own(training: base.Training) -> bool:
  """Whether the optimiser is an optax transformation, not one by name."""
  return isinstance(training.optimizer, optax.GradientTransformation)


def build(
  training: base.Training, restart: bool = False
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimiser that complete hyper-parameters describe.

  Weight decay is coupled (added to the gradient, ahead of momentum) for "sgd"
  and "adam" and decoupled for "adamw"; it acts on every trained tensor. The
  optimiser's `update` takes `step` and `scope`, from which a schedule's rate is
  computed.

  Args:
    training: from `complete`.
    restart: whether parameters are drawn anew for every experience, so that a
      schedule counts updates of the experience.

  Raises:
    ValueError: for a rate, momentum, decay or bound outside its range.
  """
  if is_own(training):
    own = cast(optax.GradientTransformation, training.optimizer)
    rule = optax.with_extra_args_support(own)
    try:
      _probed(rule, 0, 1.0)
    except Exception as error:
      reason = errors.reason(error)
      raise UsageError(
        "the optimizer makes no update of gradients, parameters and its state "
        f"alone ({reason}): give one that needs no more, such as "
        "optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))"
      ) from error
    return rule
  rate, momentum = training.learning_rate, training.momentum
  decay, clip = training.weight_decay, training.clip
  assert rate is not None and momentum is not None
  assert decay is not None and clip is not None
  if not callable(rate) and not rate > 0:
    raise UsageError(f"learning_rate={rate} must be above 0, such as 0.1")
  if not 0 <= momentum < 1:
    raise UsageError(f"momentum={momentum} must lie in [0, 1), such as 0.9")
  if decay < 0:
    raise UsageError(f"weight_decay={decay} must not be negative")
  if clip < 0:
    raise UsageError(f"clip={clip} must not be negative; 0 turns it off")
  if training.optimizer not in ("sgd", "adam", "adamw"):
    raise UsageError(
      f"optimizer={training.optimizer!r} is not known: choose from sgd, "
      "adam, adamw"
    )
  moves = is_scheduled(training)
  fixed = 1.0 if moves else cast(float, rate)
  decays = [optax.add_decayed_weights(decay)] if decay else []
  if training.optimizer == "sgd":
    update = optax.sgd(fixed, momentum=momentum or None)
  elif training.optimizer == "adam":
    update = optax.adam(fixed)
  else:
    update, decays = optax.adamw(fixed, weight_decay=decay), []
  paced = [_paced(training, restart)] if moves else []
  return optax.with_extra_args_support(
    optax.chain(*_clip(clip), *decays, update, *paced)
  )


def is_scheduled(training: base.Training) -> bool:
  """Whether the rate changes within an experience or a run."""
  named = (training.schedule or "constant") != "constant"
  return callable(training.learning_rate) or named


def rate(
  training: base.Training, restart: bool, step: Any, scope: base.Scope
) -> Any:
  """Returns the learning rate of an update, [] float32 where it changes.

  Args:
    training: complete, with an optimiser by name.
    restart: as for `build`.
    step: [] int32, updates of the run before this one.
    scope: of the experience.
  """
  given: Any = training.learning_rate
  if callable(given):
    return given(step - scope.first if restart else step)
  if not is_scheduled(training):
    return given
  factor = schedules.build(cast(str, training.schedule))
  return given * factor(step - scope.first, scope.planned)


def _paced(
  training: base.Training, restart: bool
) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates that were made at rate one by the rate of their step."""

  def update(updates, state, params=None, *, step, scope, **extra):
    del params, extra
    now = rate(training, restart, step, scope)
    return optax.tree_utils.tree_scale(now, updates), state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )


def at_start(
  rule: optax.GradientTransformation,
) -> Callable[..., tuple[Any, Any]]:
  """Returns the rule's `update(grads, state, params)` at update 0.

  For callers that count or time an update and do not use its result: `step` and
  `scope`, from which a schedule's rate is computed, are given here.
  """
  scope = base.Scope(*(np.zeros((), np.int32),) * 4)
  return functools.partial(
    optax.with_extra_args_support(rule).update, step=np.int32(0), scope=scope
  )


def told(training: base.Training) -> dict[str, Any]:
  """Returns hyper-parameters as plain values, objects described by effect.

  A schedule or an optimiser has the same description in every process.
  """
  fields = {
    f.name: getattr(training, f.name) for f in dataclasses.fields(training)
  }
  if callable(fields["learning_rate"]):
    fields["learning_rate"] = schedules.told(fields["learning_rate"])
  if is_own(training):
    fields["optimizer"] = _told_rule(build(training))
  # Left out at their defaults, as runs from before these fields lack them.
  for name in ("schedule", "variance"):
    if fields[name] in (None, getattr(DEFAULTS, name)):
      del fields[name]
  return fields


# Counts of earlier updates and sizes of the gradient that describe a rule:
# schedules show in the counts, bounds on gradients in the sizes.
_PROBED = (
  (0, 1e-3),
  (0, 1.0),
  (0, 30.0),
  (100, 1.0),
  (1000, 1.0),
  (10_000, 1.0),
)


def _told_rule(rule: optax.GradientTransformationExtraArgs) -> str:
  """Describes a transformation by updates that it makes."""
  return "optax, updates of a probe: " + ", ".join(
    f"{_probed(rule, *probe):.3g}" for probe in _PROBED
  )


def _probed(
  rule: optax.GradientTransformationExtraArgs, count: int, size: float
) -> float:
  """Returns a weighted sum of two updates of a small array."""
  kernel = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
  params = {"probe": {"kernel": kernel}}
  # Only the first may meet a bound, so the ratio of the updates shows it.
  gradients = size * (kernel**2 - 0.3), 0.3 * kernel
  scope = base.Scope(*(np.zeros((), np.int32),) * 4)

  def advanced(leaf):
    return leaf + count if np.issubdtype(leaf.dtype, np.integer) else leaf

  state = jax.tree.map(advanced, rule.init(params))
  total = 0.0
  for step, gradient in enumerate(gradients, count):
    grads = {"probe": {"kernel": gradient}}
    updates, state = rule.update(
      grads, state, params, step=np.int32(step), scope=scope
    )
    made = np.asarray(updates["probe"]["kernel"], np.float64)
    total += float(np.sum(made * np.arange(1, 7).reshape(2, 3)))
  return total


def _clip(bound: float) -> list[optax.GradientTransformation]:
  return [optax.clip(bound)] if bound else []
