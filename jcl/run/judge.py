"""Judges a model by examples that are set aside in the store of a run.

They never train and are no test data. Short trials are judged by them, and
whether going on with an experience is worth it.
"""

import numpy as np

from jcl import base
from jcl.control import verdict
from jcl.run.cursor import Job
from jcl.train import scoring

_BLOCK = 64  # examples in memory at once


def set_aside(job: Job, part: slice = slice(None)) -> base.Dataset:
  """Reads the examples that were set aside of the classes seen so far.

  Args:
    job: of the run, over tiers.
    part: of them, in the order of classes.
  """
  archive = job.tiers.archive
  rows = archive.intact(archive.aside[part])
  names = job.stream.class_names
  return base.Dataset("set aside", rows["x"], rows["y"], names)


def judged(
  job: Job,
  state: base.LearnerState,
  aside: base.Dataset,
  scope: base.Scope,
) -> verdict.Verdict:
  """Judges a model by some examples, at least one."""
  return verdict.Verdict(
    *scoring.judge(job.learner, state, aside, np.asarray(scope.head))
  )


def looked(
  job: Job, state: base.LearnerState, scope: base.Scope
) -> verdict.Verdict:
  """Judges a model by all examples set aside, a few in memory at once."""
  parts = []
  for first in range(0, len(job.tiers.archive.aside), _BLOCK):
    with job.ledger.timed("data"):
      aside = set_aside(job, slice(first, first + _BLOCK))
    parts.append(judged(job, state, aside, scope))
  return verdict.merged(parts)
