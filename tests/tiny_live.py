"""Live learners that are given a stream's experiences one by one."""

import dataclasses

import numpy as np

from jcl import base
from jcl.living import held, learning, programs, settings
from jcl.living.log import given
from jcl.run import setup


def never():
  """What says that learning is to go on."""
  return False


def made(method, network, *, seed=0, capacity, **training):
  """Returns settings for arrivals in memory; `network(shape, classes)`."""
  return settings.Settings(
    method,
    network,
    setup.Setup(training=base.Training(**training)),
    seed,
    capacity,
    scale=16.0,
  )


class _Lent(programs.Programs):
  """What one learner has compiled, for another of the same kind."""

  def __init__(self, learner):
    super().__init__()
    self._learner = learner

  def lend(self, kind, compiler):
    compiler.add(self._learner.compiler.programs)


def learned(stream, found, twin):
  """Learns a stream, each experience as soon as it has ended.

  Args:
    stream: whose classes come in the order of their numbers.
    found: settings.
    twin: a learner that must be of the same kind, and has compiled what it
      needs.

  Returns:
    The state of a `learning.Learning`, and its records.
  """
  arrivals = held.Held()
  found = dataclasses.replace(found, programs=_Lent(twin))
  live = learning.Learning(arrivals, found, None, lambda model: None)
  for each in stream.experiences:
    rows = np.arange(len(each.data))
    arrivals.add(
      given.batch(np.asarray(each.data.x[rows]), each.data.y.tolist())
    )
    arrivals.end()
    assert live.advance(never) == "learned"
  try:
    assert _kind(live._job.learner) == _kind(twin)
    return live.state, live.records
  finally:
    live.close()


def _kind(learner):
  """Returns what programs depend on beside the method, in plain values."""
  spec = learner.spec
  shown = spec.preprocess
  return (
    *(spec.training, spec.accumulate, shown.augment, learner.batch_size),
    *(np.asarray(shown.mean).tolist(), np.asarray(shown.std).tolist()),
    *(learner.steps_per_dispatch, learner.takes_pieces, learner.memory_slots),
    *(spec.network.name, spec.network.tensors),
  )


def told(records):
  """Returns what records say of learning, machine and test sets left out."""
  return [
    (
      *(each.steps, each.examples, each.loss, each.online_accuracy),
      *(each.trained, each.memory["per_class"], each.choices),
    )
    for each in records
  ]
