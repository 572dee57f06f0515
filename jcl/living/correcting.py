"""Labels corrected in the memory on the device."""

from collections.abc import Iterable

import numpy as np

from jcl import base
from jcl.living import arrivals as arrivals_lib
from jcl.run import loop


def corrected(
  job: loop.Job,
  state: base.LearnerState,
  corrections: Iterable[arrivals_lib.Correction],
) -> base.LearnerState:
  """Returns the state with corrected labels of the examples that it holds.

  A label that no experience so far has brought changes nothing yet: no output
  of the network stands for it.

  Args:
    job: of the learner.
    state: between two experiences.
    corrections: of examples that were learned, whether still held or not.
  """
  found, replay = list(corrections), state.replay
  if not found or not replay:
    return state
  items = replay.items
  starts, ids = job.stream.starts, np.asarray(items.ids)
  y = np.array(items.y)
  known = set(np.flatnonzero(job.stream.classes_trained).tolist())
  for each in (one for one in found if one.y in known):
    y[ids == starts[each.experience] + each.row] = each.y
  items = items._replace(y=job.learner.put(y))
  return state._replace(replay=replay._replace(items=items))
