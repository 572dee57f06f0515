"""Which sizes of memory and stream buffer are worth their energy.

Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
with Miro", MobiCom 2023: candidates are tried for a few epochs on a part of the
data, and of the more accurate ones the most accurate per energy is taken. All
sizes are in samples: `em` of the episodic memory, which holds old samples, and
`sb` of the stream buffer, which holds those of the current task.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import math
import typing
from typing import Literal

Policy = Literal["utility", "accuracy", "energy", "log", "enough"]
Sizes = tuple[int, int]  # (em, sb)

# Keeps what is a whole number but for its rounding, 0.29 * 100, from the floor.
_ROUNDING = 1e-9

_COEFFS = (0.6, 0.4)
_SURE = 2.0  # standard errors that a gain must exceed

_PARTS = (8, 4, 2, 1)  # of the budget, that candidates fill
_STREAM_PERCENT = (10, 25, 50, 75)  # of a candidate, that its stream buffer has

# exp() of more would not be finite.
_LARGEST_EXPONENT = 700.0


@dataclasses.dataclass(frozen=True)
class Row:
  """A configuration, and what its trial showed."""

  em: int
  sb: int
  accuracy: float | None = None  # percent; None where not tried, or rejected
  # In any one unit for the whole table; em + sb where it is not given, as an
  # epoch takes energy in proportion to its samples.
  energy: float = None  # type: ignore[assignment]
  start: float = 0.0  # accuracy before the trial, percent
  noise: float = 0.0  # standard error of what it gained since then, percent

  def __post_init__(self) -> None:
    for name in ("em", "sb"):
      if getattr(self, name) < 0:
        raise ValueError(f"{name}={getattr(self, name)}: give 0 or more")
    if self.accuracy is not None and self.accuracy < 0:
      raise ValueError(
        f"accuracy={self.accuracy}: give 0 or more, or None for no trial"
      )
    if self.energy is None:
      object.__setattr__(self, "energy", self.em + self.sb)


@dataclasses.dataclass(frozen=True)
class Choice:
  """The row of a table that was chosen, and those it was chosen from."""

  index: int | None  # None where no row can be used
  kept: tuple[int, ...]  # most accurate first


@dataclasses.dataclass(frozen=True)
class ProfileCost:
  """Samples that pass through the network while a table is made."""

  trials: int  # trained
  warmup: int  # trained
  evaluation: int  # forward only


def choose(
  table: Sequence[Row],
  cutline: float,
  policy: Policy = "utility",
  coeffs: tuple[float, float] = _COEFFS,
) -> Choice:
  """Chooses among the most accurate rows of a table.

  Of the `n` rows that can be used, the max(1, floor(cutline * n)) of highest
  accuracy are kept. Among them accuracies are close and energies are not, so
  that "utility" chooses nearly the cheapest: the cut-line is what trades
  accuracy for energy, and raising it never raises the energy of the row that
  "utility" or "energy" chooses. Ties go to the lower energy, then to the lower
  index.

  Policies:
    "utility": highest accuracy / energy.
    "accuracy": highest accuracy.
    "energy": lowest energy.
    "log": highest a * exp(accuracy / accuracy_m) + b * (1 - ln(energy /
      energy_m)), where row m is at place floor(k / 2), from 0, of the k kept
      ones; floor(cutline * all rows) are kept here, used or not.
    "enough": lowest energy. Kept are, however many, the rows whose accuracy
      grew in the trial by (1 - cutline) of what the best row's did, or more.
      Where accuracy over energy favours what is small, whatever is lost, this
      bounds the loss. Rows that grew by no more than twice their noise are left
      out; none is chosen where all are.

  Args:
    table: the rows. One without an accuracy, or whose accuracy or energy is not
      finite or whose energy is not above 0, cannot be used.
    cutline: share of the rows that is kept, in [0, 1]. The paper found 0.2 to
      0.5 to work best. For "enough", the share of the best gain that may be
      missed.
    policy: how to choose among the kept rows.
    coeffs: (a, b) of "log".

  Raises:
    ValueError: for a cut-line out of its range or a policy of another name.
  """
  if not 0 <= cutline <= 1:
    raise ValueError(
      f"cutline={cutline} is no share of the rows: give 0 to 1, such as 0.5"
    )
  policies = typing.get_args(Policy)
  if policy not in policies:
    raise ValueError(f"policy={policy!r}: give one of {', '.join(policies)}")
  energy = [row.energy for row in table]
  accuracy = {
    i: row.accuracy
    for i, row in enumerate(table)
    if row.accuracy is not None
    and math.isfinite(row.accuracy)
    and 0 < row.energy < math.inf
  }
  if not accuracy:
    return Choice(None, ())
  ranked = sorted(accuracy, key=lambda i: (-accuracy[i], energy[i], i))
  if policy == "enough":
    gains = {i: accuracy[i] - table[i].start for i in ranked}
    sure = [i for i in ranked if gains[i] > _SURE * table[i].noise]
    if not sure:
      return Choice(None, ())
    least = (1 - cutline) * max(gains[i] for i in sure) - _ROUNDING
    kept = [i for i in sure if gains[i] >= least]
  else:
    count = len(table) if policy == "log" else len(accuracy)
    kept = ranked[: max(1, math.floor(cutline * count + _ROUNDING))]
  median = kept[len(kept) // 2]

  def score(i):
    if policy == "accuracy":
      return accuracy[i]
    if policy in ("energy", "enough"):
      return -energy[i]
    if policy == "utility":
      return accuracy[i] / energy[i]
    exponent = accuracy[i] / max(accuracy[median], _ROUNDING)
    return coeffs[0] * math.exp(min(exponent, _LARGEST_EXPONENT)) + coeffs[
      1
    ] * (1 - math.log(energy[i] / energy[median]))

  best = min(kept, key=lambda i: (-score(i), energy[i], i))
  return Choice(best, tuple(kept))


def best_fit(
  table: Sequence[Row],
  limit_samples: int,
  cutline: float = 1.0,
  policy: Policy = "utility",
  coeffs: tuple[float, float] = _COEFFS,
) -> Choice:
  """Chooses among the rows that fit a limit on memory.

  Args:
    table: as for `choose`.
    limit_samples: the most that `em + sb` may be.
    cutline: as for `choose`, of the rows that fit; 1 leaves out none.
    policy: as for `choose`.
    coeffs: as for `choose`.

  Returns:
    Indices into the whole table; none where no row fits that can be used.

  Raises:
    ValueError: as `choose`.
  """
  fits = [i for i, row in enumerate(table) if row.em + row.sb <= limit_samples]
  found = choose([table[i] for i in fits], cutline, policy, coeffs)
  index = None if found.index is None else fits[found.index]
  return Choice(index, tuple(fits[i] for i in found.kept))


def scaled(em: int, sb: int, limit: int, classes: int) -> Sizes | None:
  """Scales a configuration down to a limit on memory.

  Args:
    em: samples in the episodic memory.
    sb: samples in the stream buffer.
    limit: the most that both may have together.
    classes: classes seen; the episodic memory gets a sample of each at least,
      at the stream buffer's expense, which may end at 0.

  Returns:
    (em, sb), in the old proportion to within a sample where the classes allow;
    None where a sample of each class does not fit.
  """
  if limit < classes:
    return None
  total = em + sb
  share = em if total <= limit else em * limit // total
  memory = max(share, classes)
  return memory, min(sb, limit - memory)


def clamp_grid(grid: Iterable[Sizes], max_em: int, max_sb: int) -> list[Sizes]:
  """Bounds the sizes of candidates, both of them, and drops repetitions.

  Args:
    grid: (em, sb) of each candidate.
    max_em: the most that `em` may be: samples seen before the task.
    max_sb: the most that `sb` may be: samples of the task.

  Returns:
    The candidates in their order, of equal ones the first.
  """
  bounded = ((min(em, max_em), min(sb, max_sb)) for em, sb in grid)
  return list(dict.fromkeys(bounded))


def reject(row: Row, samples_seen: int) -> bool:
  """Returns whether a row needs no trial, as its memory cannot be filled.

  Args:
    row: of any accuracy.
    samples_seen: in all tasks before this one.
  """
  return row.em > samples_seen


def candidates(
  budget_samples: int,
  seen: int,
  task_size: int,
  current: Sizes,
  most: int = 14,
  least: Sizes = (0, 1),
  least_total: int = 1,
) -> list[Sizes]:
  """Returns configurations to try, from what the memory can hold.

  An eighth, a quarter, half and all of the budget, of which the stream buffer
  gets 10, 25, 50 or 75 %, bounded as by `clamp_grid`. Where they are too many,
  some are left out, evenly over the list: the paper samples its candidates
  uniformly, since those that won before need not win again.

  Args:
    budget_samples: the most that `em + sb` may be.
    seen: samples seen before the task.
    task_size: samples of the task.
    current: (em, sb) in use, which is a candidate too where it fits.
    most: how many to return at most.
    least: (em, sb) below which a candidate is none: it would have no example of
      some class.
    least_total: `em + sb` below which it is none either: epochs of a batch or
      two train little, whatever is in them.

  Returns:
    (em, sb) of each candidate, none of them empty but the `em` of a first task;
    smaller totals first, then smaller stream buffers, then `current` if it is
    not among these.

  Raises:
    ValueError: for `most` below 1.
  """
  if most < 1:
    raise ValueError(f"most={most}: give 1 candidate or more")
  grid = []
  for part in _PARTS:
    total = budget_samples // part
    for percent in _STREAM_PERCENT:
      sb = total * percent // 100
      grid.append((total - sb, sb))
  (in_use,) = clamp_grid([current], seen, task_size)
  fits = [
    (em, sb)
    for em, sb in clamp_grid([*grid, in_use], seen, task_size)
    if least_total <= em + sb <= budget_samples
    and (em > 0 or seen == 0)
    and em >= least[0]
    and sb >= max(least[1], 1)
  ]
  others = [sizes for sizes in fits if sizes != in_use]
  room = most - (in_use in fits)
  if len(others) > room:
    others = [
      others[(2 * i + 1) * len(others) // (2 * room)] for i in range(room)
    ]
  return [sizes for sizes in fits if sizes == in_use or sizes in others]


def halving(
  num_rows: int, epochs: int, least: int = 1
) -> list[tuple[int, int]]:
  """Returns rounds of trials, of which each trains half of the rows further.

  Successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm
  Identification and Hyperparameter Optimization", AISTATS 2016). Where short
  and full trials rank the rows alike, and `least` is the number that the
  cut-line keeps, `choose` finds among the last rows, with a cut-line of `least`
  over their number, the row that it finds after full trials of all.

  Args:
    num_rows: rows to try.
    epochs: of a full trial.
    least: rows that get a full trial, at least.

  Returns:
    (epochs, rows) of each round: the most accurate `rows` so far train on until
    they have made `epochs`. 14 rows and 5 epochs make (1, 14), (2, 7), (5, 4).

  Raises:
    ValueError: for a number below 1.
  """
  named = {"num_rows": num_rows, "epochs": epochs, "least": least}
  for name, value in named.items():
    if value < 1:
      raise ValueError(f"{name}={value}: give 1 or more")
  lengths = [epochs]
  while lengths[-1] > 1:
    lengths.append(lengths[-1] // 2)
  rounds: list[tuple[int, int]] = []
  rows = num_rows
  for length in reversed(lengths):
    if rounds and rounds[-1][1] == rows:
      rounds.pop()  # nobody left after it
    rounds.append((length, rows))
    rows = max(min(least, rows), (rows + 1) // 2)
  return rounds


def profile_cost(
  grid: Iterable[Sizes],
  rho: float,
  trial_epochs: int,
  warmup_epochs: int,
  current_em: int,
  warmup_sb: int,
  test_images: int,
) -> ProfileCost:
  """Returns what it takes to make a table, in samples shown.

  Args:
    grid: (em, sb) of each candidate.
    rho: share of both that a trial trains on.
    trial_epochs: epochs of a trial.
    warmup_epochs: epochs before the trials, from which all of them start.
    current_em: samples of the episodic memory in these.
    warmup_sb: samples of the stream buffer in these, already scaled down.
    test_images: samples on which each trial is evaluated.
  """
  sizes = list(grid)
  shown = sum(
    math.floor(rho * size + _ROUNDING) for pair in sizes for size in pair
  )
  return ProfileCost(
    trials=trial_epochs * shown,
    warmup=warmup_epochs * (current_em + warmup_sb),
    evaluation=len(sizes) * test_images,
  )


def joules(
  em: int,
  sb: int,
  epochs: int,
  batch: int,
  per_step: float,
  swap_bytes: float,
  per_byte: float,
  evaluation: float,
) -> float:
  """Predicts the energy of a task, in joules.

  Args:
    em: samples in the episodic memory.
    sb: samples in the stream buffer.
    epochs: passes over both.
    batch: samples per step.
    per_step: joules of a training step.
    swap_bytes: bytes swapped over the whole task.
    per_byte: joules per byte of storage traffic.
    evaluation: joules of the evaluation after the task.

  Raises:
    ValueError: for a batch below 1.
  """
  if batch < 1:
    raise ValueError(f"batch={batch}: give 1 sample per step or more")
  steps = epochs * math.ceil((em + sb) / batch)
  return steps * per_step + swap_bytes * per_byte + evaluation
