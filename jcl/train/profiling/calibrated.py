"""A step's time by tensor, fitted to the measured times of whole steps.

Only whole compiled steps show the real effects of fusion, layouts and the
optimiser's update. A few steps of well-spread selections correct the analytic
profile unit by unit, by two factors: one for carrying the gradient to a unit's
tensors, one for computing their gradients and updating them.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jcl import base
from jcl.selection import mask, times

# The expected error of a step's time, that of the model included, over the time
# of a full step; and the expected distance of a unit's factor from that of the
# whole network, over that factor. Their ratio weighs the prior.
_NOISE = 0.02
_SPREAD = 1.0
_ROUNDING = 1e-9  # a share of the prior's scale that counts as none

_WARM_UP = 3

RunStep = Callable[[base.Selection], Callable[[], None]]


def profile(
  network: base.Network,
  prior: times.TensorTimes,
  run_step: RunStep,
  *,
  count: int = 16,
  rounds: int = 20,
) -> times.TensorTimes:
  """Times whole steps of some selections and fits a profile to them.

  Args:
    network: the model to profile.
    prior: divides a unit's time among its tensors; see `analytic.profile`.
    run_step: returns a function that makes one step of a selection and waits
      for its end. Making this function counts as compiling, and is timed.
    count: number of selections; each is compiled.
    rounds: timed steps per selection.

  Returns:
    Times whose `compile_seconds` is the median over the selections.

  Raises:
    ValueError: for a prior of another network, or too small a `count` or
      `rounds`.
  """
  if len(prior.forward) != len(network.tensors):
    raise ValueError(
      f"the prior has {len(prior.forward)} tensors, network {network.name!r} "
      f"{len(network.tensors)}: profile the same network"
    )
  selections = masks(network, count)
  programs, built = [], []
  for selection in selections:
    start = time.perf_counter()
    programs.append(run_step(selection))
    built.append(time.perf_counter() - start)
  seconds = measure(programs, rounds)
  fitted = fit(
    np.array([each.trainable for each in selections]),
    seconds,
    prior,
    [tensor.unit for tensor in network.tensors],
  )
  return dataclasses.replace(
    fitted,
    compile_seconds=float(np.median(built)),
    about={**fitted.about, "rounds": rounds},
  )


def masks(network: base.Network, count: int = 16) -> tuple[base.Selection, ...]:
  """Chooses the selections to time.

  The first selects everything; then, for units evenly spread from input to
  output, some select all tensors from a unit on, and some only the first tensor
  of a unit. A network of few units gives fewer than `count` selections.

  Raises:
    ValueError: for a `count` under 3.
  """
  if count < 3:
    raise ValueError(
      f"count={count}: a fit takes 3 selections at least, 16 for a network of "
      "ten units"
    )
  num_tensors = len(network.tensors)
  starts = [
    next(i for i, tensor in enumerate(network.tensors) if tensor.unit == unit)
    for unit in network.units
    if any(tensor.unit == unit for tensor in network.tensors)
  ]
  chosen = {(True,) * num_tensors: None}
  num_deep = (count - 1) // 2
  # All tensors from the input on are the first selection already.
  for start in _spread(starts[1:], num_deep):
    chosen[tuple(i >= start for i in range(num_tensors))] = None
  for start in _spread(starts, count - len(chosen)):
    chosen.setdefault(tuple(i == start for i in range(num_tensors)), None)
  return tuple(
    mask.check(network, base.Selection(trainable)) for trainable in chosen
  )


def _spread(items: Sequence[int], count: int) -> list[int]:
  """Returns up to `count` items, evenly spaced, both ends included."""
  if not items or count < 1:
    return []
  places = np.linspace(len(items) - 1, 0, min(count, len(items)))
  return [items[place] for place in np.unique(np.rint(places).astype(int))]


def measure(
  programs: Sequence[Callable[[], None]], rounds: int = 20
) -> np.ndarray:
  """Measures the median seconds of each program [S].

  Three rounds warm up. Every round runs all programs, each time in another
  order, so that a machine that slows down affects all programs alike.

  Args:
    programs: functions that run something and wait for its end.
    rounds: timed runs of each.

  Raises:
    ValueError: for fewer than one round.
  """
  if rounds < 1:
    raise ValueError(f"rounds={rounds}: time one round at least, 20 for use")
  generator = np.random.default_rng(0)
  seconds = np.empty((rounds, len(programs)))
  for index in range(-_WARM_UP, rounds):
    for place in generator.permutation(len(programs)):
      start = time.perf_counter()
      programs[place]()
      if index >= 0:
        seconds[index, place] = time.perf_counter() - start
  return np.median(seconds, axis=0)


def fit(
  trainable: ArrayLike,
  seconds: ArrayLike,
  prior: times.TensorTimes,
  units: Sequence[str],
) -> times.TensorTimes:
  """Fits a profile to the times of whole steps, by non-negative least squares.

  The model of a step's time is a constant, plus for each unit a factor times
  the prior's arrival down to the deepest tensor that trains, plus another
  factor times the prior's gradients and updates of the tensors that train.
  First, one pair of factors is fitted for all units. Then each unit has its own
  pair, with a Gaussian prior around the common pair whose width is the pair
  itself, and errors of 2 % of a full step. A unit that no mask distinguishes
  keeps the common pair. Within a unit, all times scale in proportion.

  Args:
    trainable: [S, W] bool, the tensors that trained in each step.
    seconds: [S], of each step.
    prior: in any unit.
    units: [W] names; tensors of one name share their factors.

  Returns:
    Times of method "calibrated". If a mask is all True, `backward_total` is its
    measured time less the fitted constant and updates. `about` holds the root
    mean square and the maximum of the fit's errors, relative to the measured
    times.

  Raises:
    ValueError: for shapes that do not fit, times that are not positive, masks
      that are empty, or fewer than 3 masks.
  """
  chosen, measured = _checked(trainable, seconds, prior, units)
  terms = _terms(chosen, prior, units)
  full = float(measured.max())

  shared = np.stack(
    [np.ones(len(measured)), terms.arrival.sum(1), terms.training.sum(1)], 1
  )
  always, *pair = _non_negative(shared, measured, full)
  # A factor of 0, but for rounding, for the whole network (too few masks, or a
  # bad prior) would remove every unit: the scale of the prior takes its place.
  scale = full / prior.full
  centre = [factor if factor > _ROUNDING * scale else scale for factor in pair]

  num_units = terms.arrival.shape[1]
  # Unknowns: the constant as a share of a full step, factors over the centre's.
  columns = np.concatenate(
    [
      np.full((len(measured), 1), full),
      terms.arrival * centre[0],
      terms.training * centre[1],
    ],
    axis=1,
  )
  pull = np.eye(2 * num_units, 2 * num_units + 1, 1) * full * _NOISE / _SPREAD
  solved = _non_negative(
    np.concatenate([columns, pull]),
    np.concatenate([measured, np.diagonal(pull, 1)]),
    full,
  )
  always = float(solved[0] * full)
  arrival_factor = centre[0] * solved[1 : num_units + 1][terms.unit]
  training_factor = centre[1] * solved[num_units + 1 :][terms.unit]
  # If the prior counts nothing before the gradients, the constant is `fixed`.
  share = always / prior.always if prior.always > 0 else 0.0
  errors = (columns @ solved) / measured - 1
  fitted = times.TensorTimes(
    forward=_scaled(prior.forward, share),
    arrival=_scaled(prior.arrival, arrival_factor),
    weight_grad=_scaled(prior.weight_grad, training_factor),
    update=_scaled(prior.update, training_factor),
    fixed=prior.fixed * share if prior.always > 0 else always,
    method="calibrated",
    about={
      **prior.about,
      "unit": "seconds",
      "prior": prior.method,
      "masks": len(measured),
      "rms_error": float(np.sqrt(np.mean(errors**2))),
      "greatest_error": float(np.abs(errors).max()),
    },
  )
  total = math.nan
  if chosen.all(1).any():
    total = float(measured[chosen.all(1)].mean()) - fitted.always
    total -= math.fsum(fitted.update)
  return dataclasses.replace(fitted, backward_total=total)


class _Terms(NamedTuple):
  """The share of each unit in each step's time, by the prior."""

  unit: np.ndarray  # [W] index of each tensor's unit
  arrival: np.ndarray  # [S, units]
  training: np.ndarray  # [S, units]


def _terms(
  chosen: np.ndarray, prior: times.TensorTimes, units: Sequence[str]
) -> _Terms:
  names = {name: index for index, name in enumerate(dict.fromkeys(units))}
  unit = np.array([names[name] for name in units])
  member = np.eye(len(names))[unit]  # [W, units]
  reached = np.maximum.accumulate(chosen, axis=1)
  return _Terms(
    unit,
    (reached * np.asarray(prior.arrival)) @ member,
    (chosen * np.asarray(prior.training)) @ member,
  )


def _non_negative(
  columns: np.ndarray, values: np.ndarray, full: float
) -> np.ndarray:
  """Solves `columns @ x = values` by non-negative least squares."""
  from scipy import optimize

  # Flops and seconds differ by orders of magnitude, so columns get length 1.
  lengths = np.linalg.norm(columns, axis=0)
  lengths[lengths == 0] = 1.0
  solved, _ = optimize.nnls(columns / lengths, values / full)
  return solved * full / lengths


def _scaled(
  values: Sequence[float], factors: float | np.ndarray
) -> tuple[float, ...]:
  return tuple((np.asarray(values) * factors).tolist())


def _checked(
  trainable: ArrayLike,
  seconds: ArrayLike,
  prior: times.TensorTimes,
  units: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns masks and times as arrays, after checking them."""
  chosen = np.asarray(trainable, bool)
  measured = np.asarray(seconds, np.float64)
  count = len(prior.forward)
  if chosen.ndim != 2 or chosen.shape[1] != count or len(units) != count:
    raise ValueError(
      f"masks of shape {chosen.shape} and {len(units)} units for a prior of "
      f"{count} tensors: give [S, {count}] and {count}"
    )
  if measured.shape != chosen.shape[:1] or len(measured) < 3:
    raise ValueError(
      f"{len(chosen)} masks and times of shape {measured.shape}: give one time "
      "per mask, and 3 masks at least"
    )
  if not (np.isfinite(measured) & (measured > 0)).all():
    raise ValueError(f"seconds must be finite and above 0, got {measured}")
  if not chosen.any(1).all():
    raise ValueError("every mask must select a tensor: drop the empty ones")
  return chosen, measured
