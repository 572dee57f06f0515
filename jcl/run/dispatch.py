"""Dispatch of updates to the device; meanwhile the next chunk is read."""

import jax
import numpy as np

from jcl import base
from jcl.replay.feed import Sent
from jcl.run import finite
from jcl.run.cursor import Cursor, Job
from jcl.train import background, chunks


def dispatch(
  job: Job,
  state: base.LearnerState,
  at: Cursor,
  scope: base.Scope,
  program: background.Program,
  chunk: chunks.Chunk,
) -> tuple[base.LearnerState, chunks.Chunk | None, dict[str, float]]:
  """Makes the updates of a chunk, and reads the next chunk meanwhile.

  Args:
    job: of the run; the ledger files the cost.
    state: before the updates; its buffers are reused.
    at: cursor of the run, which moves behind the chunk.
    scope: of the experience.
    program: compiled step.
    chunk: batches of the updates.

  Returns:
    The state behind the updates, the next chunk (None at the end of the
    experience), and scalars worth logging.

  Raises:
    NonFiniteLossError: names the step and the examples of its batch.
  """
  feed = job.feed
  sent = Sent(at.step, at.epoch, chunk.ids[: chunk.num_steps])
  after, work = at.after(chunk), chunks.work(program, chunk.num_steps)
  known = feed.knows(after[0], at.epoch)
  following = None
  with job.ledger.shared(feed.accounts(state), *work) as took:
    state, info = chunks.run(program, job.step_key, state, chunk, scope)
    job.give_way()
    # The device works now. Exchanges come before reading, so that a resumed run
    # reads the same.
    feed.due(at.step + chunk.num_steps)
    if known:
      following = take(job, at, *after)
      job.give_way()
    feed.sent(sent)
    info = jax.tree.map(np.asarray, info)
  feed.learned(sent, info.difficulty)
  if not known:
    following = take(job, at, *after)
  losses = info.loss[: chunk.num_steps]
  finite.check(job.stream, at.experience, at.step, losses, sent.ids)
  at.spent += took.cost
  correct, examples = float(info.correct.sum()), float(info.examples.sum())
  at.totals.add(losses, correct, examples, first=at.epoch == 0)
  at.step += chunk.num_steps
  at.epoch, at.batch = after
  return (
    state,
    following,
    {
      "loss": float(losses.mean()),
      "online_accuracy": correct / max(examples, 1),
      "seconds": took.cost.seconds,
    },
  )


def take(job: Job, at: Cursor, epoch: int, batch: int) -> chunks.Chunk | None:
  """Reads the chunk at a batch of an epoch; None behind the last epoch."""
  return None if epoch >= at.decided.epochs else job.feed.take(epoch, batch)


def again(job: Job, at: Cursor) -> chunks.Chunk | None:
  """Reads the next chunk anew, as the epoch may have other examples by now."""
  at.epoch, at.batch = job.feed.again(at.epoch, at.batch)
  return take(job, at, at.epoch, at.batch)
