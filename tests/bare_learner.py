"""A learner without a compiler: it calls what it is given and notes it."""

from typing import Any

import numpy as np
import tiny_network

from jcl import base
from jcl.cost import devices, program_cost
from jcl.cost import ledger as ledger_lib
from jcl.train import augment, background, step_spec
from jcl.train import optimizer as optimizers

DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")
COST = program_cost.ProgramCost(5.0, 7.0, 0.0, 0.0, 0.0, 0.0)


class Learner:
  """What modules of training ask of a learner; each program costs `COST`."""

  steps_per_dispatch = 1

  def __init__(self, method: base.Method, **changes: Any) -> None:
    plain = augment.Preprocess(np.float32(0), np.float32(1))
    self.spec = step_spec.StepSpec(
      tiny_network.build(), method, optimizers.DEFAULTS, plain
    )
    self.method, self.preprocess = method, plain
    self.network, self.training = self.spec.network, self.spec.training
    self.ledger = ledger_lib.Ledger(DEVICE)
    self.filed: list[Any] = []  # (account, name) of what was run
    self.tested = self.solved = None
    self.__dict__.update(changes)

  def run(self, account, name, fn, *args, donate=()):
    del donate
    self.filed.append((account, name))
    return fn(*args)

  def put(self, tree):
    return tree

  def compiled(self, name, fn, args, donate=()):
    del args
    self.filed.append((name, donate))
    return background.Program(fn, COST)


def state(learner: Learner, **changes: Any) -> base.LearnerState:
  """A state without weights to speak of, but those that are given."""
  given = {"params": {}, "stats": {}, "opt_state": {}, **changes}
  train = base.TrainState(
    np.int32(3), given.pop("params"), given.pop("stats"), given.pop("opt_state")
  )
  return base.LearnerState(train, given.pop("replay", ()), "told", ())._replace(
    **given
  )
