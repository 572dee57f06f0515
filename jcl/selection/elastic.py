"""Elastic selection: the tensors worth most within a share of a step's time.

Huang et al., "ElasticTrainer: Speeding Up On-Device Training with Runtime
Elastic Tensor Selection", MobiSys 2023,
https://doi.org/10.1145/3581791.3596852: every few epochs a probe scores the
tensors (section 4), and a knapsack over measured times picks the tensors that
train until the next choice (sections 3.3 and 6). A tensor that is left out may
return at any later choice.

Where this departs from the authors' program, and, in brackets, how to have it
their way: the knapsack is solved exactly (`mode="reference"`); the head always
trains (`always_train_head=False`); the probe is a random batch and leaves no
trace in the optimiser; slots of a tensor that stayed away start anew
(`slots="keep"`); a chain ends where the deepest tensor's gradient can be formed
(`cost_model="inclusive"`); the forward pass is measured instead of taken as a
third of a step.

An array that several places of a network share is one tensor, at the first of
these places: only there its gradient is complete, so the chain is paid down to
it. The stacked arrays of layers under a scan are one tensor too, and train or
rest together: unroll such layers to choose among them.
"""

import functools
import numbers
from typing import Any, NamedTuple, cast

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.selection import best, chain, fixed, importance, mask
from jcl.selection.settings import Importance, Knapsack
from jcl.selection.times import TensorTimes

_CHOICES: dict[str, tuple[str, ...]] = {
  "metric": ("update", "gradient", "weight"),
  "point": ("after", "before"),
  "step": ("optimizer", "sgd"),
  "profile": ("analytic", "timed", "calibrated"),
  "cost_model": chain.COST_MODELS,
  "mode": ("exact", "reference", "greedy", "brute"),
  "granularity": ("tensor", "block"),
  "slots": ("reset", "keep", "decay"),
}
_IMPORTANCE, _KNAPSACK = Importance(), Knapsack()


def elastic(
  rho: float = 0.533,
  interval: int = 3,
  *,
  profile: str = "analytic",
  importance: Importance = _IMPORTANCE,
  knapsack: Knapsack = _KNAPSACK,
  resolution: int = 10_000,
  slots: str = "reset",
  trunk: str | int | float = 0,
) -> base.Selector:
  """Trains the tensors worth most within a share `rho` of a full step's time.

  The state is `{"scores": [W] float32}`, of the tensors by sorted path. Where
  no tensor is worth training, the head trains as far as it fits, with a
  warning.

  By the profile's times under "arrival" and "inclusive", a step then takes
  `rho` of a full one at most; `mode="reference"` may exceed it.

  Args:
    rho: wanted time of a step over the time of a full one; the lesser of `rho`
      and the controller's budget holds. 0.533 is the paper's "50 %".
    interval: epochs between choices.
    profile: how times are found: "analytic", "timed" or "calibrated".
    importance: how the worth of a tensor is scored.
    knapsack: how the tensors of most worth are found.
    resolution: grid units of the knapsack in the whole backward pass.
    slots: what becomes of the optimiser's slots of tensors that leave; see
      `base.Selector`.
    trunk: units that never train, see `fixed.first_trained`; `rho` remains a
      share of a step that trains everything.

  Raises:
    ValueError: for an option out of range. `choose` raises it where there is
      no profile, where scores or times are another network's, where a score is
      not finite, and where the share is too small; the message then gives the
      smallest feasible share.
  """
  settings = _Settings(rho, importance, knapsack, resolution, trunk)
  _check(
    {
      "rho": rho,
      "interval": interval,
      "profile": profile,
      "resolution": resolution,
      "slots": slots,
      **vars(importance),
      **vars(knapsack),
    }
  )
  settings = settings._replace(rho=float(rho))
  num_probes = (2 if importance.fresh_pair else 1) * importance.probes
  if importance.metric == "weight":
    num_probes = 1  # weights need no batch, but without a probe no update runs
  return base.Selector(
    init=_init,
    update=functools.partial(_update, importance),
    choose=functools.partial(_choose, settings),
    every=interval,
    num_probes=num_probes,
    profile=cast(Any, profile),
    slots=cast(Any, slots),
    candidates=fixed.trunk_left_out(trunk) if trunk else None,
  )


def magnitude(
  rho: float = 0.533, interval: int = 3, profile: str = "analytic"
) -> base.Selector:
  """Trains the tensors of largest weights: `elastic` with metric="weight"."""
  largest = Importance(metric="weight")
  return elastic(rho, interval, profile=profile, importance=largest)


def grad_norm(
  rho: float = 0.533, interval: int = 3, profile: str = "analytic"
) -> base.Selector:
  """Trains the tensors of largest gradients: `elastic`, metric="gradient"."""
  largest = Importance(metric="gradient")
  return elastic(rho, interval, profile=profile, importance=largest)


class _Settings(NamedTuple):
  """The arguments of `elastic` that a choice goes by."""

  rho: float
  importance: Importance
  knapsack: Knapsack
  resolution: int
  trunk: str | int | float


def _check(given: dict[str, Any]) -> None:
  """Raises UsageError for an option of `elastic` out of range."""
  for name, choices in _CHOICES.items():
    if given[name] not in choices:
      raise UsageError(
        f"{name}={given[name]!r}: give one of {', '.join(choices)}"
      )
  rho: float = given["rho"]
  menu, metric = given["menu"], given["metric"]
  if not (isinstance(rho, numbers.Real) and 0 < rho <= 1):
    raise UsageError(f"rho={rho!r}: give a share above 0, 1 at most")
  for name in ("interval", "probes", "resolution"):
    if not (isinstance(given[name], int) and given[name] >= 1):
      raise UsageError(
        f"{name}={given[name]!r}: give a whole number, 1 or more"
      )
  if not (isinstance(menu, int) and (menu == 0 or menu >= 2)):
    raise UsageError(
      f"menu={menu!r}: give 0 for none, or 2 or more entries, one of which is "
      "the head alone"
    )
  if menu and not given["always_train_head"]:
    raise UsageError(
      f"menu={menu}: its entries all train the head; leave always_train_head "
      "on, or give menu=0"
    )
  if given["fresh_pair"] and metric != "update":
    raise UsageError(
      f"fresh_pair is about metric='update', not {metric!r}: leave it out"
    )


def _init(params: base.Params) -> dict[str, np.ndarray]:
  return {"scores": np.zeros(len(importance.paths(params)), np.float32)}


def _update(
  scoring: Importance, key: base.Key, state: Any, probe: base.Probe | None
) -> dict[str, np.ndarray]:
  """Returns the scores of all tensors, by their metric."""
  del state  # the latest probe alone counts
  assert probe is not None, "num_probes asks for one"
  tensors = importance.paths(probe.params)
  if scoring.metric == "update":
    scores = importance.update_times_gradient(
      probe,
      key,
      tensors,
      point=scoring.point,
      step=scoring.step,
      fresh_pair=scoring.fresh_pair,
    )
  elif scoring.metric == "gradient":
    scores = importance.gradient_magnitude(probe, key, tensors)
  else:
    scores = importance.weight_magnitude(probe.params, tensors)
  return {"scores": scores.astype(np.float32)}


def _choose(
  settings: _Settings,
  state: dict[str, base.Array],
  network: base.Network,
  times: TensorTimes | None,
  budget: float,
) -> base.Selection:
  """Returns the selection until the next choice; see `elastic`."""
  scores = _in_order(state["scores"], network)
  return mask.check(network, _chosen(settings, scores, network, times, budget))


def _in_order(scores: base.Array, network: base.Network) -> np.ndarray:
  """Sorts scores [W], given by sorted path, into the network's order."""
  scores, count = np.asarray(scores, np.float64), len(network.tensors)
  if scores.shape != (count,):
    raise UsageError(
      f"scores of shape {scores.shape} for the {count} tensors of "
      f"{network.name!r}: the state is another network's; begin with init"
    )
  if not np.isfinite(scores).all():
    tensor = sorted(tensor.path for tensor in network.tensors)[
      int(np.argmin(np.isfinite(scores)))
    ]
    raise UsageError(
      f"the score of {'/'.join(tensor)} is not finite: score the tensors anew"
    )
  ranks = sorted(range(count), key=lambda k: network.tensors[k].path)
  ordered = np.empty(count)
  ordered[ranks] = scores
  return ordered


def _chosen(
  settings: _Settings,
  scores: np.ndarray,
  network: base.Network,
  times: TensorTimes | None,
  budget: float,
) -> base.Selection:
  """Returns the best selection within the lesser of rho and `budget`."""
  if times is None:
    raise UsageError(
      "this selector needs to know what the tensors take: give the profile "
      "that its `profile` asks for"
    )
  if len(times.arrival) != len(scores):
    raise UsageError(
      f"the profile is of {len(times.arrival)} tensors, network "
      f"{network.name!r} has {len(scores)}: make it from the same network"
    )
  first = fixed.first_trained(network, settings.trunk)
  free = np.flatnonzero(
    [t.unit in network.units[first:] for t in network.tensors]
  )
  tensors = tuple(network.tensors[k] for k in free)
  case = best.Case(
    settings.knapsack,
    settings.resolution,
    settings.rho,
    tensors,
    scores[free],
    # What lies between two free tensors is paid with the deeper one.
    np.add.reduceat(
      chain.times_of(times, network.tensors, settings.knapsack.cost_model), free
    ),
    np.add.reduceat(np.asarray(times.arrival, np.float64), free),
    np.asarray(times.training)[free],
    np.array([t.unit == network.units[-1] for t in tensors]),
  )
  chosen, share = np.zeros(len(scores), bool), min(settings.rho, budget)
  find = best.with_head if settings.knapsack.always_train_head else best.free
  chosen[free] = find(case, times, share)
  return base.Selection(tuple(chosen.tolist()))
