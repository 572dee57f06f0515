"""Weights rewritten at places of an experience, by what a method asks for."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

from jcl import base, keys
from jcl.options.errors import UsageError
from jcl.train import rewriting, weights

if TYPE_CHECKING:  # a job has breaks
  from jcl.run.cursor import Cursor, Job


def check(method: base.Method, network: base.Network) -> None:
  """Raises UsageError for weights that cannot be rewritten."""
  rewrite = method.rewrite
  if rewrite is None:
    return
  if method.pruning is not None or method.sparsity is not None:
    raise UsageError(
      "weights are averaged or reset one by one, and the recipe takes some of "
      "them out: leave out either average, wsc or wa, or pruning and sparsity"
    )
  if rewrite.stage(1, rewrite.visits - 1) == weights.ALIGN:
    weights.head(network)


class Rewrites:
  """Does a method's rewrite behind equal parts of an experience's updates.

  Args:
    rewrite: of the method.
  """

  def __init__(self, rewrite: base.Rewrite) -> None:
    self._rewrite = rewrite
    # By learner, selection and stage: what a visit takes, or, with "", a batch
    # of the pass behind the last one. Limits ask ahead of every dispatch.
    self._prices: dict[Hashable, base.Cost] = {}

  def places(self, job: "Job", at: "Cursor") -> list[int]:
    visits = self._rewrite.visits
    parts = range(1, visits + 1)
    return [max(part * at.planned // visits, 1) for part in parts]

  def ahead(self, job: "Job", at: "Cursor", steps: int) -> base.Cost:
    del steps
    made = at.totals.steps
    pairs = zip(self.places(job, at), self._stages(at), strict=True)
    stages = [stage for place, stage in pairs if place > made]
    found = [self._price(job, each) for each in stages if each]
    if self._rewrite.settles and stages and stages[-1]:
      found.append(job.feed.num_batches * self._price(job, ""))
    return sum(found, base.Cost())

  def _price(self, job: "Job", stage: str) -> base.Cost:
    learner, selection = job.learner, job.trainee.selection
    known = learner, selection, stage
    if known not in self._prices:
      if stage:
        cost = rewriting.price(learner, stage, selection)
      else:
        cost = rewriting.settling(learner, selection)
      self._prices[known] = cost
    return self._prices[known]

  def act(
    self,
    job: "Job",
    state: base.LearnerState,
    at: "Cursor",
    scope: base.Scope,
    number: int,
  ) -> base.LearnerState:
    stage, last = self._stages(at)[number], number == self._rewrite.visits - 1
    early = at.totals.steps < self.places(job, at)[number]
    if not stage or (early and not last):
      return state
    learner, before = job.learner, job.ledger.pending()
    state = rewriting.visit(learner, stage, state, scope)
    if last and self._rewrite.settles:
      index = at.experience
      key = keys.key(job.seed, keys.Purpose.STATISTICS, index)
      batches = job.feed.whole(at.decided.epochs + 2)
      selection = job.trainee.selection
      state = rewriting.settle(learner, key, state, batches, selection)
    after = job.ledger.pending()
    at.spent += after["train"] - before.get("train", base.Cost())
    return state

  def _stages(self, at: "Cursor") -> list[str]:
    numbers = range(self._rewrite.visits)
    return [self._rewrite.stage(at.experience, each) for each in numbers]
