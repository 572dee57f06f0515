"""Live learners that are given a stream's experiences one by one."""

import numpy as np

from jcl import base
from jcl.living import held, learning, settings
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


def learned(stream, found):
  """Learns a stream, each experience as soon as it has ended.

  Args:
    stream: whose classes come in the order of their numbers.
    found: settings.

  Returns:
    The state of a `learning.Learning`, and its records.
  """
  arrivals = held.Held()
  live = learning.Learning(arrivals, found, None, lambda model: None)
  for each in stream.experiences:
    rows = np.arange(len(each.data))
    arrivals.add(
      given.batch(np.asarray(each.data.x[rows]), each.data.y.tolist())
    )
    arrivals.end()
    assert live.advance(never) == "learned"
  try:
    return live.state, live.records
  finally:
    live.close()


def told(records):
  """Returns what records say of learning, machine and test sets left out."""
  return [
    (
      *(each.steps, each.examples, each.loss, each.online_accuracy),
      *(each.trained, each.memory["per_class"], each.choices),
    )
    for each in records
  ]
