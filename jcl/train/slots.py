"""Optimiser slots by tensor, and what becomes of them while a tensor is away.

A tensor that leaves the selection takes its momentum with it. Huang et al.,
"ElasticTrainer", MobiSys 2023, keep it as it was; here that is one of several
policies.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError

Slots = dict[str, Any]  # by the tensor's path, joined by "/"


class Parked(NamedTuple):
  """Slots of tensors that do not train; entries of those that do are blank."""

  slots: Slots
  left: base.Array  # [W] int32, the step at which each tensor left
  away: base.Array  # [W] int32, choices since then; 0 where it trains


class Rule(NamedTuple):
  """What becomes of the slots of a tensor that leaves, and comes back.

  "drop" forgets slots at once; "keep" brings them back as they were; "decay" as
  if the gradient had been zero meanwhile; "reset" as they were after one choice
  away, blank after more.
  """

  policy: str  # one of these four
  fresh: Mapping[str, Any]  # blank slots of every tensor
  decays: Mapping[str, float]  # factor per step, by the name of a slot's field


class Turn(NamedTuple):
  """A selection that takes the place of another one."""

  old: base.Selection
  new: base.Selection
  step: int  # updates made so far


def name(tensor: base.Tensor) -> str:
  """Returns the tensor's path as one string."""
  return "/".join(tensor.path)


def names(params: base.Params) -> list[str]:
  """Returns the paths of a tree's arrays as strings, in the tree's order."""
  return [
    "/".join(str(getattr(entry, "key", entry)) for entry in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]


def per_tensor(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimiser run on every tensor by itself.

  Its state is a dict by the tensor's path. For rules that act element by
  element, as all of `optimizer.build` do, updates are the same as those of the
  optimiser run on the whole tree; but a tensor that enters later counts its own
  steps, which Adam's bias correction depends on.
  """

  rule = optax.with_extra_args_support(optimizer)

  def init(params):
    pairs = zip(names(params), jax.tree.leaves(params), strict=True)
    return {key: rule.init(leaf) for key, leaf in pairs}

  def update(grads, state, params=None, **extra):
    leaves, structure = jax.tree.flatten(params)
    grads = jax.tree.leaves(grads)
    updates, slots = [], {}
    for key, grad, leaf in zip(names(params), grads, leaves, strict=True):
      change, slots[key] = rule.update(grad, state[key], leaf, **extra)
      updates.append(change)
    return jax.tree.unflatten(structure, updates), slots

  return optax.GradientTransformationExtraArgs(init, update)


SHARED = "(shared)"  # key of slots that belong to no single tensor


def together(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimiser run on all tensors as one tree, with slots by tensor.

  For any transformation, such as one that bounds the norm of all gradients. Its
  state is a dict by the tensor's path, in which `SHARED` holds what belongs to
  no tensor, such as a count of updates.

  Raises:
    ValueError: from `init`, for a state that cannot be told apart by tensor.
  """
  rule = optax.with_extra_args_support(optimizer)

  def layout(params):
    """The structure of the state, and the key that each leaf belongs to."""
    named = jax.tree.unflatten(jax.tree.structure(params), names(params))
    try:
      state = jax.eval_shape(rule.init, params)
      owners = optax.tree_utils.tree_map_params(
        rule,
        lambda _, name: name,
        state,
        named,
        transform_non_params=lambda _: SHARED,
      )
    except Exception as error:  # an optimizer may be anybody's code
      reason = errors.reason(error)
      raise UsageError(
        "the optimizer's state cannot be told apart by tensor, as a selection "
        f"of tensors needs ({reason}): give one whose init maps over the "
        "parameters, as those of optax do"
      ) from error
    return jax.tree.structure(state), jax.tree.leaves(owners)

  def apart(params, state):
    _, owners = layout(params)
    found: dict[str, list[Any]] = {key: [] for key in (*names(params), SHARED)}
    for owner, leaf in zip(owners, jax.tree.leaves(state), strict=True):
      found[owner].append(leaf)
    return {key: tuple(leaves) for key, leaves in found.items()}

  def init(params):
    return apart(params, rule.init(params))

  def update(grads, state, params=None, **extra):
    structure, owners = layout(params)
    left = {key: iter(leaves) for key, leaves in state.items()}
    whole = jax.tree.unflatten(structure, [next(left[key]) for key in owners])
    updates, whole = rule.update(grads, whole, params, **extra)
    return updates, apart(params, whole)

  return optax.GradientTransformationExtraArgs(init, update)


def park(
  policy: str,
  network: base.Network,
  optimizer: optax.GradientTransformation,
  params: base.Params,
) -> Parked | tuple[()]:
  """Returns blank parking places, none where slots are dropped."""
  if policy == "drop":
    return ()
  zeros = np.zeros(len(network.tensors), np.int32)
  slots = dict(optimizer.init(params))
  slots.pop(SHARED, None)  # never parked
  return Parked(slots, jnp.asarray(zeros), jnp.asarray(zeros))


def switch(
  network: base.Network,
  rule: Rule,
  turn: Turn,
  opt_state: Slots,
  parked: Parked | tuple[()],
) -> tuple[Slots, Parked | tuple[()]]:
  """Moves slots between training and parking, on the host.

  Args:
    network: whose tensors these are.
    rule: for the slots of tensors that leave or come back.
    turn: from which selection to which.
    opt_state: slots under the old selection, by `per_tensor`.
    parked: from the last call, or `park`.

  Returns:
    Slots under the new selection, and what is parked.
  """
  old, new, fresh = turn.old.trainable, turn.new.trainable, rule.fresh
  pairs = list(zip(network.tensors, old, new, strict=True))
  shared = {SHARED: opt_state[SHARED]} if SHARED in opt_state else {}
  if not parked:
    return shared | {
      name(t): opt_state[name(t)] if was else fresh[name(t)]
      for t, was, will in pairs
      if will
    }, ()
  slots, waiting = dict(shared), dict(parked.slots)
  left, away = np.array(parked.left), np.array(parked.away)
  for i, (tensor, was, will) in enumerate(pairs):
    key = name(tensor)
    if was and will:
      slots[key] = opt_state[key]
    elif was:
      waiting[key], left[i], away[i] = opt_state[key], turn.step, 1
    elif will:
      back = rule.policy != "reset" or away[i] == 1
      slots[key] = waiting[key] if back else fresh[key]
      if rule.policy == "decay":
        gone = turn.step - int(left[i])
        slots[key] = _faded(slots[key], gone, rule.decays)
      # A buffer has one owner: the step donates what it is given.
      waiting[key], away[i] = jax.tree.map(jnp.copy, fresh[key]), 0
    elif away[i]:
      away[i] += 1
  return slots, Parked(waiting, jnp.asarray(left), jnp.asarray(away))


def decays(training: base.Training) -> dict[str, float]:
  """Returns what one update without gradient leaves of each slot."""
  # The defaults of optax.adam and optax.adamw.
  return {"trace": training.momentum or 0.0, "mu": 0.9, "nu": 0.999}


def _faded(slots: Any, steps: int, decays: Mapping[str, float]) -> Any:
  def fade(path, leaf):
    field = getattr(path[-1], "name", "") if path else ""
    if field == "count":
      return leaf + steps
    return leaf * decays[field] ** steps if field in decays else leaf

  # A slot of one tensor is one leaf, so its path ends in its field.
  return jax.tree_util.tree_map_with_path(fade, slots)
