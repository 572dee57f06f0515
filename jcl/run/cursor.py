"""Parts of a run, the cursor that says where it stands, and its events."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

from absl import logging
import numpy as np

from jcl import base, keys
from jcl.cost import ledger as ledger_lib
from jcl.cost import program_cost
from jcl.replay import feed as feed_lib
from jcl.replay.latents import cache
from jcl.run import breaks as breaks_lib
from jcl.run import trainee as trainee_lib
from jcl.run.inference import model
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import chunks, experience
from jcl.train import learner as learner_lib

_ROUNDING = 1e-6  # of a step


@dataclasses.dataclass
class Totals:
  """Running sums of one experience."""

  steps: int = 0
  examples: float = 0.0
  loss: float = 0.0  # summed over steps
  online_correct: float = 0.0  # first epoch
  online_examples: float = 0.0

  def add(
    self, losses: np.ndarray, correct: float, examples: float, first: bool
  ) -> None:
    """Adds the updates of a dispatch.

    Args:
      losses: [k] of its updates.
      correct: stream examples answered right before they were learned.
      examples: of the stream, in all of them.
      first: whether they belong to the first epoch.
    """
    self.steps += len(losses)
    self.examples += examples
    self.loss += float(losses.sum(dtype=np.float64))
    if first:
      self.online_correct += correct
      self.online_examples += examples


@dataclasses.dataclass
class Cursor:
  """Where a run stands: with a `LearnerState`, all that resuming needs.

  The states of feed, trainee and controller are opaque: a checkpoint saves them
  unread.
  """

  experience: int = 0
  begun: bool = False  # whether the experience is decided on and opened
  epoch: int = 0
  batch: int = 0  # next batch of the epoch
  step: int = 0  # updates since the start of the run
  evaluated: int = 0  # step of the last evaluation mid-way
  planned: int = 1  # updates of the experience, as known when it began
  decision: base.Decision | None = None
  # Decisions of the experience in their order, ready for JSON.
  decisions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  totals: Totals = dataclasses.field(default_factory=Totals)
  spent: base.Cost = base.Cost()  # training cost of this experience
  initial: tuple[tuple[float, ...], tuple[float, ...]] | None = None
  control: Any = ()
  feed: Mapping[str, Any] | None = None
  trainee: Mapping[str, Any] | None = None
  records: list[base.Record] = dataclasses.field(default_factory=list)

  @property
  def decided(self) -> base.Decision:
    """The decision in force."""
    assert self.decision is not None
    return self.decision

  @property
  def at(self) -> trainee_lib.At:
    """Experience, epoch, batch and step."""
    return trainee_lib.At(self.experience, self.epoch, self.batch, self.step)

  def open(self) -> None:
    """Begins an experience, about which nothing is decided yet."""
    self.totals, self.spent = Totals(), base.Cost()
    self.decision, self.decisions = None, []

  def close(self) -> None:
    """Moves to the next experience."""
    self.experience, self.begun = self.experience + 1, False
    self.epoch = self.batch = 0

  def after(self, chunk: chunks.Chunk) -> tuple[int, int]:
    """Returns the epoch and the batch that follow a chunk."""
    if chunk.last:
      return self.epoch + 1, 0
    return self.epoch, self.batch + chunk.num_steps

  def left(self, costs: Callable[[], Mapping[str, base.Cost]]) -> base.Cost:
    """Returns what the experience may still spend on updates.

    Args:
      costs: returns those of the experience, by account.
    """
    decided = self.decided
    if not decided.counts:
      return decided.limit - self.spent
    found = costs()
    spent = sum((found[name] for name in decided.counts), base.Cost())
    return decided.limit - decided.reserved - spent

  def steps_to_limit(
    self, cost: program_cost.ProgramCost, left: base.Cost
  ) -> float:
    """Returns the steps to a limit of operations or bytes.

    Where whole accounts count, no step passes the limit, and there may be none
    at all. Where updates alone do, there is one at least, and the last one may
    pass it.

    Args:
      cost: of a step.
      left: that the experience may still spend.

    Returns:
      A whole number; infinity without such a limit.
    """
    exact, steps = bool(self.decided.counts), math.inf
    for rest, each in (
      (left.flops, cost.flops),
      (left.bytes, cost.bytes_accessed),
    ):
      if rest < math.inf and each > 0:
        number = rest / each
        # Shares of accounts add up but for rounding.
        whole = math.floor(number + _ROUNDING) if exact else math.ceil(number)
        steps = min(steps, whole)
    return max(steps, 0 if exact else 1)

  def decide(self, decision: base.Decision) -> None:
    """Puts a decision in force, and files its changes for the report."""
    now = decision.allocation
    for change in decision.changes:
      self.decisions.append(
        {
          "experience": self.experience,
          "epoch": self.epoch,
          "step": self.step,
          "kind": change.kind,
          "em": now.em,
          "sb": now.sb,
          "swap": now.swap,
          "reason": change.reason,
          **change.details,
        }
      )
      if change.kind != "fixed":
        logging.info(
          "experience %d: memory %d, stream buffer %d: %s",
          self.experience,
          now.em,
          now.sb,
          change.reason,
        )
    self.decision = dataclasses.replace(decision, changes=())


class Event(NamedTuple):
  """Event of a run; its state is valid until the next event."""

  kind: Literal["begin", "steps", "evaluated", "paused", "experience"]
  state: base.LearnerState
  place: Cursor
  scalars: dict[str, Any]  # Python numbers worth logging


@dataclasses.dataclass(frozen=True)
class Job:
  """Parts of a run, beside its state."""

  stream: stream_lib.Stream
  trainee: trainee_lib.Trainee
  controller: base.Controller
  ledger: ledger_lib.Ledger
  seed: int
  feed: feed_lib.Feed
  evaluate_every: int = 0  # updates between evaluations mid-way; 0: none
  # Outputs of a frozen trunk, where these are kept.
  latents: cache.Cache | None = None
  inputs: model.Inputs | None = None  # how raw examples are read
  # Digest of the raw data, see `identity.content`.
  content: Callable[[], str] | None = None
  # Called between small pieces of work on the host, for other threads.
  give_way: Callable[[], None] = lambda: None
  breaks: breaks_lib.Breaks = breaks_lib.Breaks()  # between updates

  @property
  def key(self) -> base.Key:
    """Key from which all keys of the run derive."""
    return keys.key(self.seed)

  @functools.cached_property
  def step_key(self) -> base.Key:
    """The key of all updates, made once: every dispatch takes it."""
    return keys.key(self.seed, keys.Purpose.STEPS)

  def going_on(self, stream: stream_lib.Stream) -> "Job":
    """Returns the job of a stream that has become longer."""
    job = dataclasses.replace(self, stream=stream)
    vars(job)["step_key"] = self.step_key
    return job

  @property
  def learner(self) -> learner_lib.Learner:
    """The learner as it trains now."""
    return self.trainee.learner

  @property
  def trunk(self) -> Any:
    """Frozen trunk whose outputs are the inputs of training, or None."""
    return None if self.latents is None else self.latents.trunk

  @property
  def hooks(self) -> experience.Hooks:
    """The hooks of an experience."""
    return experience.Hooks(self.stream, self.seed)

  def limit_reached(self, at: Cursor) -> bool:
    """Tells whether the experience has spent all that it may."""
    return min(dataclasses.astuple(at.left(self.ledger.pending))) <= 0

  def steps_to_limit(self, at: Cursor, cost: program_cost.ProgramCost) -> float:
    """Returns the steps of a cost that a limit of the experience leaves."""
    left = at.left(self.ledger.pending)
    return self.breaks.afford(self, at, cost, left)

  def batch_of(self, epoch: int) -> base.Batch:
    """Reads a batch of an order that no epoch has: `epoch` is beyond them."""
    with self.ledger.timed("data"):
      return self.feed.first_batch(epoch)

  def expected_steps(self, at: Cursor) -> int:
    """Returns the updates of the whole run, if later experiences are alike.

    Each experience to come counts with the epochs of the present one.
    """
    learner, starts = self.learner, self.stream.starts.tolist()
    decided = at.decision or learner.training
    allocation = None if at.decision is None else at.decision.allocation
    total = at.step - (at.totals.steps if at.begun else 0)
    for earlier, end in zip(
      starts[at.experience : -1], starts[at.experience + 1 :], strict=True
    ):
      rows = self.feed.expected_rows(earlier, end - earlier, allocation)
      batches = batching.num_batches(rows, learner.stream_rows)
      total += (1 if decided.epochs is None else decided.epochs) * batches
    return total

  def template(self, at: Cursor) -> base.LearnerState:
    """Takes the trainee to a saved cursor; returns what its state is like.

    The shapes and dtypes of the state are those of the trainee's network, which
    pruning makes smaller.

    Raises:
      ValueError: where the cursor cannot be one of this run.
    """
    self.trainee.restore(dict(at.trainee or {}))
    return self.learner.template(self.trainee.selection)

  def save(self, at: Cursor) -> None:
    """Stores the states of feed and trainee in a cursor."""
    at.feed, at.trainee = self.feed.state(), self.trainee.state()

  def restore(self, at: Cursor) -> None:
    """Restores the feed from a saved cursor; `template` took the trainee."""
    if at.feed is not None:
      self.feed.restore(dict(at.feed))
