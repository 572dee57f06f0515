"""How far units may stay as they are: stability, plasticity, generality.

Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint For
Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545, measure for each
layer how much earlier knowledge it loses and how well it serves new knowledge,
and freeze the layers that do well by both. The definitions here are this
library's own. Let `F_l^t(P)` be the output of unit l for the examples P with
the weights after experience t, in evaluation mode and averaged over space, P_i
a fixed set of examples of experience i, and CKA the similarity of
`similarity.debiased_cka`:
```
memory stability      MS_l(t) = mean over i < t of
                                CKA(F_l^i(P_i), F_l^t(P_i)),      t >= 1
learning plasticity   LP_l(t) = CKA(F_l^(t-1)(P_t), F_l^t(P_t))
generality            G_l     = min over t of min(MS_l(t), LP_l(t))
```
Either is 1 for a unit that has not moved. A high LP thus says that a unit
served new examples without having to move, not that it moved well.

Letters: `U` units, input side first; `T` experiences; `n` examples; `D_l`
channels of unit l.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jcl.metrics import similarity

TAU = 0.9  # generality from which a unit may be frozen

# [U] of [n, D_l] float32: the output of each unit for one set of examples.
Features = Sequence[np.ndarray]


def agreement(before: Features, after: Features) -> np.ndarray:
  """Returns the CKA of every unit's features at two times, as [U] float64.

  It is the learning plasticity LP(t) if the examples are learned between the
  two times.

  Args:
    before: features of some examples.
    after: features of the same examples, later.

  Raises:
    ValueError: where the units differ in number, or features do not fit.
  """
  if len(before) != len(after):
    raise ValueError(
      f"features of {len(before)} units before and of {len(after)} after: give "
      "those of the same units"
    )
  pairs = zip(before, after, strict=True)
  return np.array([similarity.debiased_cka(x, y) for x, y in pairs])


def stability(
  learned: Sequence[Features], now: Sequence[Features]
) -> np.ndarray:
  """Returns the memory stability MS(t), [U] float64.

  Args:
    learned: [t] features of P_i, i < t, with the weights after experience i.
    now: [t] features of the same examples with the weights after t.

  Raises:
    ValueError: for no earlier experience, or features that do not fit.
  """
  if not learned or len(learned) != len(now):
    raise ValueError(
      f"features of {len(learned)} earlier experiences as learned and of "
      f"{len(now)} now: give as many of both, one at least"
    )
  pairs = zip(learned, now, strict=True)
  return np.mean([agreement(x, y) for x, y in pairs], axis=0)


def record(
  learned: Sequence[Features], before: Features, now: Sequence[Features]
) -> dict[str, Any]:
  """Returns both measures of every unit for experience t, ready for JSON.

  Args:
    learned: [t] features of P_i, i < t, with the weights after experience i.
    before: features of P_t with the weights after t - 1.
    now: [t + 1] features of P_i, i <= t, with the weights after t.

  Returns:
    "ms", a list [U] or None in the first experience, and "lp", a list [U].
  """
  lost = stability(learned, now[:-1]).tolist() if learned else None
  return {"ms": lost, "lp": agreement(before, now[-1]).tolist()}


def table(records: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, ...]:
  """Returns MS and LP of some records as [T, U] float64 each.

  The first row of MS is NaN: there was nothing to lose.

  >>> records = [{"ms": None, "lp": [0.5]}, {"ms": [0.25], "lp": [1.0]}]
  >>> ms, lp = table(records)
  >>> ms.tolist(), lp.tolist()
  ([[nan], [0.25]], [[0.5], [1.0]])
  """
  lp = np.array([each["lp"] for each in records], float)
  ms = np.full_like(lp, np.nan)
  for row, each in zip(ms, records, strict=True):
    if each["ms"] is not None:
      row[:] = each["ms"]
  return ms, lp


def generality(ms: np.ndarray, lp: np.ndarray, *, first: int = 1) -> np.ndarray:
  """Returns the generality G of every unit, [U] float64.

  Args:
    ms: [T, U] memory stability; the first row is not read.
    lp: [T, U] learning plasticity.
    first: the first experience whose LP counts: 0 where the run began with
      learned weights, else 1. Weights drawn at random have all to learn in
      experience 0, which says nothing of later ones.

  Raises:
    ValueError: for shapes that differ, fewer than two experiences, or another
      `first`.

  >>> generality([[np.nan, np.nan], [0.75, 0.5]], [[0.1, 0.1], [0.5, 1.0]])
  array([0.5, 0.5])
  """
  ms, lp = np.asarray(ms, float), np.asarray(lp, float)
  if ms.shape != lp.shape or ms.ndim != 2:
    raise ValueError(
      f"ms has shape {ms.shape} and lp {lp.shape}: give [experiences, units] "
      "for both"
    )
  if len(ms) < 2:
    raise ValueError(
      f"{len(ms)} experiences: give two or more, since nothing is lost before "
      "the second"
    )
  if first not in (0, 1):
    raise ValueError(
      f"first={first}: write 0 where the run began with learned weights, else 1"
    )
  return np.minimum(ms[1:].min(axis=0), lp[first:].min(axis=0))


def prefix(values: np.ndarray, tau: float = TAU) -> int:
  """Counts the units to freeze: the leading ones with G >= tau.

  All units behind the first that falls short train, whatever their own figures,
  since their inputs change.

  Args:
    values: [U] generality, input side first, the head left out.
    tau: least generality of a frozen unit, in (0, 1].

  Raises:
    ValueError: for another tau.

  >>> prefix([0.95, 0.92, 0.4, 0.99], tau=0.9)
  2
  """
  if not 0 < tau <= 1:
    raise ValueError(f"tau={tau}: write a number above 0 and up to 1")
  short = np.flatnonzero(~(np.asarray(values) >= tau))
  return int(short[0]) if len(short) else len(values)


def frozen_ratios(accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the share of accuracy left when prefixes are frozen: checks G.

  The check is slow, as each prefix takes a run of its own.

  Args:
    accuracy: [P, T, T] in [0, 1], task-incremental: with the first p units
      frozen, after experience t, on test set i. The runs share seed and steps,
      and nothing is frozen in the first.

  Returns:
    LPx [P, T], of the accuracy on test set t after experience t, and MSx
    [P, T], of the mean accuracy on test sets i < t, NaN for t = 0. Both are
    ratios to the run with nothing frozen, NaN where its accuracy is 0.

  Raises:
    ValueError: for another shape.
  """
  accuracy = np.asarray(accuracy, float)
  if accuracy.ndim != 3 or accuracy.shape[1] != accuracy.shape[2]:
    raise ValueError(
      f"accuracy has shape {accuracy.shape}: give [prefixes, experiences, test "
      "sets], with as many test sets as experiences"
    )
  learned = np.diagonal(accuracy, axis1=1, axis2=2)
  kept = np.full_like(learned, np.nan)
  for t in range(1, accuracy.shape[1]):
    kept[:, t] = accuracy[:, t, :t].mean(axis=1)
  return _ratio(learned), _ratio(kept)


def _ratio(values: np.ndarray) -> np.ndarray:
  """Returns [P, T] over the first row; NaN where the first row is 0."""
  to = np.broadcast_to(values[0], values.shape)
  nothing = np.full_like(values, np.nan)
  return np.divide(values, to, out=nothing, where=to > 0)
