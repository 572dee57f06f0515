"""One dispatch of updates, and the reading of what follows it."""

import jax
import numpy as np

from jcl import base, keys
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
  """Makes the steps of a chunk, and reads the next one meanwhile.

  Returns:
    The state behind the steps, the next chunk, and what is worth logging.
  """
  feed, key = job.feed, keys.key(job.seed, keys.Purpose.STEPS)
  sent = Sent(at.step, at.epoch, chunk.ids[: chunk.num_steps])
  after, work = at.after(chunk), chunks.work(program, chunk.num_steps)
  known = feed.knows(after[0], at.epoch)
  following = None
  with job.ledger.shared(feed.accounts(state), *work) as took:
    state, info = chunks.run(program, key, state, chunk, scope)
    # The device works now. Exchanges come first, so that a run that is taken up
    # again reads the same.
    feed.due(at.step + chunk.num_steps)
    if known:
      following = take(job, at, *after)
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
  """Reads the chunk at a place; None where the experience is over there."""
  return None if epoch >= at.decided.epochs else job.feed.take(epoch, batch)


def again(job: Job, at: Cursor) -> chunks.Chunk | None:
  """Reads the next chunk where the epoch may go through others by now."""
  at.epoch, at.batch = job.feed.again(at.epoch, at.batch)
  return take(job, at, at.epoch, at.batch)
