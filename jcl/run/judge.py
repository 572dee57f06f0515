"""Judge: scores a model on examples that are set aside in the store of a run.

The examples never train and are no test data. They decide between short trials,
and whether going on with an experience is worth its cost.
"""

from collections.abc import Mapping

import numpy as np

from jcl import base, keys
from jcl.control import verdict
from jcl.replay.tiers import feed as tier_feed
from jcl.run.cursor import Job
from jcl.train import hooks, scoring

_BLOCK = 64  # examples in memory at once


def set_aside(job: Job, part: slice = slice(None)) -> base.Dataset:
  """Reads the examples that were set aside of the classes seen so far.

  Args:
    job: of a run over tiers.
    part: of the examples, which are in the order of their classes.
  """
  archive = tier_feed.tiers_of(job.feed).archive
  rows = archive.intact(archive.aside[part])
  names = job.stream.class_names
  return base.Dataset("set aside", rows["x"], rows["y"], names)


def judged(
  job: Job,
  state: base.LearnerState,
  aside: base.Dataset,
  scope: base.Scope,
) -> verdict.Verdict:
  """Judges a model by some examples.

  Args:
    job: of the run.
    state: only read.
    aside: at least one example.
    scope: whose `head` says which outputs take part.
  """
  return verdict.Verdict(
    *scoring.judge(job.learner, state, aside, np.asarray(scope.head))
  )


def looked(
  job: Job, state: base.LearnerState, scope: base.Scope
) -> verdict.Verdict:
  """Judges a model by all examples set aside, a few in memory at once.

  Args:
    job: of a run over tiers; reading is filed under "data".
    state: only read.
    scope: whose `head` says which outputs take part.
  """
  parts = []
  for first in range(
    0, len(tier_feed.tiers_of(job.feed).archive.aside), _BLOCK
  ):
    with job.ledger.timed("data"):
      aside = set_aside(job, slice(first, first + _BLOCK))
    parts.append(judged(job, state, aside, scope))
  return verdict.merged(parts)


def kept_aside(job: Job, state: base.LearnerState) -> base.Dataset:
  """Returns the examples set aside in the memory on the device.

  Args:
    job: of a run whose consolidation says which examples these are.
    state: only read.
  """
  held = job.learner.method.consolidation.held
  assert held is not None and state.replay
  items = state.replay.items
  rows = np.flatnonzero(np.asarray(held(items.ids)) & (items.weight > 0))
  x, y = np.asarray(items.x)[rows], np.asarray(items.y)[rows]
  return base.Dataset("set aside", x, y, job.stream.class_names)


def compared(
  job: Job, state: base.LearnerState, index: int, scope: base.Scope
) -> Mapping[str, float]:
  """Tells what a method's consolidation tells of a model, as it is now.

  Args:
    job: of a run whose memory, on the device, holds examples set aside.
    state: only read.
    index: of the experience.
    scope: whose `head` says which outputs take part.
  """
  told = job.learner.method.consolidation.told
  assert told is not None
  key = keys.key(job.seed, keys.Purpose.REVIEW, index)
  return told(hooks.review(job.learner, key, state, scope).objective)
