"""A head that is solved from statistics, and from which gradients go on.

Ahead of the updates of an experience one pass over its examples adds their
features to sums. Of these a classifier is solved and written into the head, as
sharp as fits the experience; updates then train the units behind a cut. Sums
are taken at the cut, where what trains begins: whatever the updates do, the
classifier that is solved from them stays exact, and forgets nothing. Examples
that never train decide which of the two predicts.

Where more than the head trains, the head reads features that move. It starts
from sums of these features as they were when their examples came, which is
exact until the first update and an approximation from then on.

Where the sums are of features that stand beside the network, no head is
written, and all of the network may train.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.objectives import (
  closed_form,
  keeping,
  predictors,
  set_aside,
  statistics,
  temperature,
)
from jcl.options.errors import UsageError

ROWS = 256  # examples of an experience that the head's sharpness is fitted to
_AT_ONCE = 500  # examples per forward pass
_SUMMED = 128  # examples whose features beside a network are summed at once


class Verdict(NamedTuple):
  """Right answers to examples set aside; zeros where nothing is judged yet."""

  examples: base.Array  # [] float32
  solved: base.Array  # [] float32, right by the classifier at the cut
  trained: base.Array  # [] float32, right by the network


class State(NamedTuple):
  """State of a solved head; D features at the cut, E ahead of the head."""

  inner: Any  # of the objective that trains
  sums: statistics.Statistics  # over D, exact for good
  moving: statistics.Statistics | tuple[()]  # over E; () where that is the cut
  rows: base.Array  # [ROWS, E] float32, features of the experience's first
  labels: base.Array  # [ROWS] int32
  filled: base.Array  # [] int32, number of the rows that there are
  linear: closed_form.Linear  # solved from `sums`
  verdict: Verdict


@dataclasses.dataclass(frozen=True)
class SolvedHead:
  """An objective whose head starts solved, and what writes the head.

  Args:
    inner: what trains; all of its hooks go on.
    solve: makes a classifier of sums.
    begins: position of a network's first unit that trains.
    held: ids [B] -> [B] bool, examples that never train; they weigh nothing in
      losses and sums.
    slots: last slots of the memory, which hold examples set aside.
    view: tap of features beside the network that are summed; None: those at
      the cut.
  """

  inner: base.Objective
  solve: Callable[[statistics.Statistics], closed_form.Solved]
  begins: Callable[[base.Network], int]
  held: Callable[[base.Array], jax.Array]
  slots: int
  view: str | None = None

  @property
  def objective(self) -> base.Objective:
    """The objective: it trains the network, and judges after an experience."""
    hooks = keeping.passed_on(self.inner)
    for name in ("loss", "reference"):
      if name in hooks:
        hooks[name] = set_aside.without(hooks[name], self.held)
    return self.inner._replace(
      **{**hooks, "review": self._review}, sizes=self._sizes, init=self._init
    )

  @property
  def consolidation(self) -> base.Consolidation:
    """The pass ahead of updates, which sums up an experience; then the head."""
    return base.Consolidation(
      settle=self._settle,
      write=self._write,
      begins=None if self.view else self.begins,
      held=self.held,
      kept=lambda state: state._replace(inner=()),
      told=_told,
      price=self._price,
      rows=_SUMMED if self.view else 0,
    )

  def _places(self, network: base.Network) -> tuple[str, str]:
    """Returns the taps at the cut and ahead of the head."""
    if self.view is not None:
      return self.view, self.view
    features, first = str(network.features), self.begins(network)
    if first == len(network.units) - 1:
      return features, features
    return network.units[first - 1], features

  def _sizes(self, network: base.Network) -> tuple[Any, ...]:
    if self.view is None:
      if network.features is None or not self.begins(network):
        return self.inner.sizes(network), network.num_classes, 1, 0  # refused
      head_of(network)
    names = self._places(network)
    x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    out = jax.eval_shape(
      lambda *args: network.apply(*args, taps=names), params, stats, x
    )
    width, wide = (out.taps[name].shape[-1] for name in names)
    wide = 0 if names[0] == names[1] else wide
    return self.inner.sizes(network), network.num_classes, width, wide

  def _init(
    self,
    params: base.Params,
    stats: base.Stats,
    own: Any,
    classes: int,
    width: int,
    wide: int,
  ) -> State:
    rows = ROWS if self.view is None else 0  # no head is to be fitted to them
    return State(
      self.inner.init(params, stats, *own),
      statistics.zeros(classes, width),
      statistics.zeros(classes, wide) if wide else (),
      jnp.zeros((rows, wide or width), jnp.float32),
      jnp.zeros(rows, jnp.int32),
      jnp.int32(0),
      closed_form.Linear(
        jnp.zeros((width, classes), jnp.float32),
        jnp.zeros(classes, jnp.float32),
        jnp.zeros(classes, bool),
      ),
      _unjudged(),
    )

  def _settle(self, forward: base.Forward, inputs: base.LossInputs) -> State:
    state, batch = inputs.state, inputs.batch
    names = self._places(forward.network)
    out = forward(
      inputs.params, inputs.stats, batch.x, taps=names, evaluate=True
    )
    ahead, last = (pooled(out.taps[name]) for name in names)
    weight = jnp.where(self.held(batch.ids), 0.0, batch.weight)
    moving = state.moving
    if moving:
      moving = statistics.add(moving, last, batch.y, weight)
    taken, rows = weight > 0, len(state.labels)
    slots = jnp.where(taken, state.filled + jnp.cumsum(taken) - 1, rows)
    filled = state.filled + jnp.sum(taken, dtype=jnp.int32)
    return state._replace(
      sums=statistics.add(state.sums, ahead, batch.y, weight),
      moving=moving,
      rows=state.rows.at[slots].set(last, mode="drop"),
      labels=state.labels.at[slots].set(batch.y, mode="drop"),
      filled=jnp.minimum(filled, rows),
    )

  def _write(
    self, network: base.Network, state: State, params: base.Params
  ) -> tuple[State, base.Params, float]:
    solved = self.solve(jax.tree.map(np.asarray, state.sums))
    linear, flops = solved.linear, solved.flops
    if self.view is not None:
      return state._replace(linear=linear, verdict=_unjudged()), params, flops
    if state.moving:
      linear, more = self.solve(jax.tree.map(np.asarray, state.moving))
      flops += more
    count = int(state.filled)
    scores = np.asarray(state.rows)[:count] @ linear.weight + linear.bias
    labels = np.asarray(state.labels)[:count]
    factor, more = temperature.sharpness(scores, labels, linear.known)
    flops += more + 2.0 * count * np.size(linear.weight)
    state = state._replace(
      linear=solved.linear, verdict=_unjudged(), filled=np.zeros((), np.int32)
    )
    return state, written(network, params, linear, factor), flops

  def _price(self, state: State) -> float:
    """Returns the operations of solving, and of fitting sharpness at most."""
    flops = 0.0
    for sums in (state.sums, state.moving):
      if sums:
        classes, width = jnp.shape(sums.total)
        flops += closed_form.solve_flops(width, classes)
    if self.view is not None:  # nothing is written into the network
      return flops
    count, classes = len(state.labels), np.shape(state.linear.weight)[1]
    width = np.shape(state.rows)[1]
    each = 2.0 * width + temperature.MOST_FLOPS
    return flops + count * classes * each

  def _review(self, forward: base.Forward, inputs: base.LossInputs) -> State:
    """Judges classifier and network by the examples set aside."""
    state, items = inputs.state, inputs.batch
    if self.inner.review is not None:
      own = self.inner.review(forward, inputs._replace(state=state.inner))
      state = state._replace(inner=own)
    aside = jax.tree.map(lambda leaf: leaf[-self.slots :], items)
    name, _ = self._places(forward.network)
    verdict = _unjudged()
    for first in range(0, self.slots, _AT_ONCE):
      rows = slice(first, first + _AT_ONCE)
      out = forward(
        inputs.params, inputs.stats, aside.x[rows], taps=(name,), evaluate=True
      )
      found = (
        scores_of(state.linear, out.taps[name]),
        jnp.where(inputs.scope.head, out.logits, predictors.NEVER),
      )
      weight = jnp.where(self.held(aside.ids[rows]), aside.weight[rows], 0.0)
      solved, trained = (
        weight * (jnp.argmax(each, axis=-1) == aside.y[rows]) for each in found
      )
      part = Verdict(*map(jnp.sum, (weight, solved, trained)))
      verdict = jax.tree.map(jnp.add, verdict, part)
    return state._replace(verdict=verdict)


def head_of(network: base.Network) -> tuple[base.Tensor, base.Tensor]:
  """Returns the kernel [E, C] and the bias [C] of a network's head.

  Raises:
    UsageError: for another head, into which no classifier can be written.
  """
  own = [each for each in network.tensors if each.unit == network.units[-1]]
  by_kind = {each.kind: each for each in own}
  classes = network.num_classes
  if len(own) == 2 and by_kind.keys() == {"kernel", "bias"}:
    kernel, bias = by_kind["kernel"], by_kind["bias"]
    if len(kernel.shape) == 2 and kernel.shape[1:] == bias.shape == (classes,):
      return kernel, bias
  raise UsageError(
    f"a solved head is a kernel [features, {classes}] and a bias, and unit "
    f"{network.units[-1]!r} of network {network.name!r} has "
    f"{[(each.kind, each.shape) for each in own]}: leave out +solved"
  )


def written(
  network: base.Network,
  params: base.Params,
  linear: closed_form.Linear,
  factor: float,
) -> base.Params:
  """Returns parameters with a classifier in the head, times a factor.

  Outputs of classes that the classifier does not know keep their weights.

  Args:
    network: the model.
    params: of every unit.
    linear: over what the head reads.
    factor: above 0.
  """
  known = np.asarray(linear.known)
  for tensor, part in zip(head_of(network), linear[:2], strict=True):
    before = params
    for name in tensor.path:
      before = before[name]
    after = np.where(known, np.float32(factor) * np.asarray(part), before)
    params = _with(params, tensor.path, after.astype(before.dtype))
  return params


def trained_or_solved(
  *, until: str | int | float | None = None, view: str | None = None
) -> base.Predictor:
  """Scores classes by the network, or by the classifier at the cut.

  Args:
    until: first unit that trains, as of `predictors.Ahead`.
    view: tap that the classifier reads instead, see `SolvedHead`.
  """
  tap = predictors.Ahead(until) if view is None else view

  def fit(network_apply, params, stats, memory, linear, verdict):
    del network_apply, params, stats, memory
    return Better(
      linear.weight,
      linear.bias,
      linear.known,
      verdict.trained > verdict.solved,
    )

  def scores(network_apply, params, stats, x, fitted):
    out = network_apply(params, stats, x, (tap,))
    solved = scores_of(closed_form.Linear(*fitted[:3]), out.taps[tap])
    return jnp.where(fitted.trained, out.logits, solved)

  def recalls(state):
    return state.linear, state.verdict

  name = "trained_or_solved" + ("" if until is None else f":until={until}")
  name += "" if view is None else f":view={view}"
  return base.Predictor(fit, scores, recalls=recalls, name=name)


class Better(NamedTuple):
  """A classifier at the cut, and whether the network is better."""

  weight: base.Array  # [D, C] float32
  bias: base.Array  # [C] float32
  known: base.Array  # [C] bool
  trained: base.Array  # [] bool


def pooled(x: base.Array) -> jax.Array:
  """Returns outputs of a unit [B, ..., D] as their mean over places, [B, D]."""
  rows = jnp.asarray(x, jnp.float32)
  return rows.reshape(rows.shape[0], -1, rows.shape[-1]).mean(axis=1)


def scores_of(linear: closed_form.Linear, x: base.Array) -> jax.Array:
  """Returns scores [B, C] of a unit's outputs; classes not known never win."""
  found = jnp.matmul(
    pooled(x), linear.weight, precision=jax.lax.Precision.HIGHEST
  )
  return jnp.where(linear.known, found + linear.bias, predictors.NEVER)


def _unjudged() -> Verdict:
  return Verdict(*(jnp.zeros((), jnp.float32) for _ in Verdict._fields))


def _told(state: State) -> dict[str, float]:
  return {k: float(v) for k, v in state.verdict._asdict().items()}


def _with(tree: Any, path: tuple[str, ...], leaf: np.ndarray) -> dict[str, Any]:
  """Returns a tree with another leaf at a path."""
  first, *rest = path
  return {
    **tree,
    first: _with(tree[first], tuple(rest), leaf) if rest else leaf,
  }
