"""Judge: scores a model on examples that are set aside in the store of a run.

The examples never train and are no test data. They decide between short trials,
and whether going on with an experience is worth its cost.
"""

import numpy as np

from jcl import base
from jcl.control import verdict
from jcl.replay.tiers import feed as tier_feed
from jcl.run.cursor import Job
from jcl.train import scoring

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
