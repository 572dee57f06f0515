"""The prefix to freeze, from a run in which everything trains."""

import dataclasses

import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.metrics import generality
from jcl.run import session
from jcl.run.generality import calibrate, follow
from jcl.selection import fixed

STREAM = tiny_network.stream(tasks=2)


def assemble(stream=STREAM, selector=None):
  method = recipes.finetune()
  if selector is not None:
    method = method._replace(selector=selector)
  return session.assemble(
    stream,
    tiny_network.build(),
    method,
    base.Training(epochs=1, batch_size=12, learning_rate=0.1),
  )


def test_leading_units_that_hold_are_chosen():
  job, probes = assemble(), follow.held_out(STREAM)
  found = calibrate.calibrate(job, probes, tau=0.01)
  assert found.units == tiny_network.UNITS[:-1]
  assert found.ms.shape == found.lp.shape == (2, 2)
  assert np.isnan(found.ms[0]).all()
  least = np.minimum(found.ms[1], found.lp[1])
  np.testing.assert_array_equal(found.generality, least)
  assert found.prefix == generality.prefix(least, 0.01) == 2
  again = calibrate.calibrate(job, probes, first=0)
  np.testing.assert_array_equal(again.lp, found.lp)
  least = np.minimum(found.ms[1], found.lp.min(axis=0))
  np.testing.assert_array_equal(again.generality, least)
  assert again.prefix == generality.prefix(least, 0.9)


def test_a_part_that_trains_says_nothing_of_the_rest():
  job = assemble(selector=fixed.head_only())
  with pytest.raises(ValueError, match="2 of 6 tensors train"):
    calibrate.calibrate(job, follow.held_out(STREAM))


def test_one_experience_is_not_enough():
  stream = tiny_network.stream(tasks=1)
  with pytest.raises(ValueError, match="one experience"):
    calibrate.calibrate(assemble(stream), follow.held_out(stream))


def test_memory_hierarchies_are_for_other_runs():
  method = recipes.finetune()._replace(hierarchy=base.Hierarchy(4, 4))
  job = assemble()
  job.learner.spec = dataclasses.replace(job.learner.spec, method=method)
  with pytest.raises(ValueError, match="without memory hierarchy"):
    calibrate.calibrate(job, follow.held_out(STREAM))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(calibrate.calibrate) == {"first": 1, "tau": 0.9}
  assert signatures.defaults(calibrate.summarise) == {"first": 1, "tau": 0.9}


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(calibrate.Calibration)
