"""Chooses the units to freeze by a run in which everything trains."""

import dataclasses

import numpy as np

from jcl.metrics import generality as measures
from jcl.options.errors import UsageError
from jcl.run import loop
from jcl.run.generality import follow


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
  """Result of a calibration run; the head does not count as a unit."""

  units: tuple[str, ...]  # [U] input side first
  ms: np.ndarray  # [T, U] memory stability, NaN in the first row
  lp: np.ndarray  # [T, U] learning plasticity
  generality: np.ndarray  # [U]
  prefix: int  # leading units to freeze, as `selection.fixed` takes it


def calibrate(
  job: loop.Job,
  probes: follow.Probes,
  *,
  first: int = 1,
  tau: float = measures.TAU,
) -> Calibration:
  """Learns a stream with everything trainable and measures its units.

  Calibration comes ahead of the runs that freeze the units found, on the base
  split or on another machine; `metrics.generality` names the source.

  Args:
    job: from `session.assemble`, with a method that trains every tensor, such
      as `recipes.finetune()`, and has no memory hierarchy.
    probes: of the job's stream, see `follow`.
    first: 0 where the network begins with learned weights, else 1; see
      `measures.generality`.
    tau: least generality of a frozen unit.

  Raises:
    ValueError: for a stream of one experience, or a method that leaves
      tensors out, has a memory hierarchy or cannot be followed.
    loop.NonFiniteLossError: where the loss leaves the finite numbers.
  """
  if len(job.stream.experiences) < 2:
    raise UsageError(
      "the stream has one experience: calibrate over two or more, since "
      "nothing is lost before the second"
    )
  if job.learner.method.hierarchy is not None:
    raise UsageError(
      "calibrate with a recipe without memory hierarchy, such as finetune"
    )
  follower = follow.Follower(job, probes)
  events = loop.run(job, *loop.start(job))
  for event in follow.from_events(events, follower):
    selection = job.trainee.selection
    assert selection is not None
    if event.kind == "steps" and not all(selection.trainable):
      raise UsageError(
        f"{sum(selection.trainable)} of {len(selection.trainable)} tensors "
        "train: calibrate with a recipe that trains all of them, such as "
        "finetune"
      )
  return summarise(follower, first=first, tau=tau)


def summarise(
  follower: follow.Follower, *, first: int = 1, tau: float = measures.TAU
) -> Calibration:
  """Returns the calibration by what a follower has found so far.

  Args:
    follower: of two experiences at least.
    first: see `calibrate`.
    tau: see `calibrate`.
  """
  ms, lp = measures.table(follower.records)
  values = measures.generality(ms, lp, first=first)
  chosen = measures.prefix(values, tau)
  return Calibration(follower.units, ms, lp, values, chosen)
