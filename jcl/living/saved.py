"""Where a learner in memory stands, as arrays and plain values that pickle."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.living import settled as settled_lib
from jcl.run import checkpoint, cursor_json, loop


@dataclasses.dataclass(frozen=True)
class Saved:
  """A checkpoint that is no file.

  Attributes:
    arrays: leaves of the learner's state, in the order of its tree.
    place: cursor, as checkpoints hold it.
    ledger: accounts.
    settled: by the first experience.
  """

  arrays: tuple[np.ndarray, ...]
  place: Mapping[str, Any]
  ledger: Mapping[str, Any]
  settled: settled_lib.Settled

  @property
  def experience(self) -> int:
    """The experience that was learned last, or is being learned."""
    between = not self.place["begun"]
    return max(self.place["experience"] - between, 0)

  def restore(
    self, template_fn: Callable[[loop.Cursor], base.LearnerState]
  ) -> checkpoint.Snapshot:
    """Returns all that learning goes on with.

    Args:
      template_fn: returns a state with the structure of the saved one.
    """
    at = cursor_json.from_json(self.place)
    structure = jax.tree.structure(template_fn(at))
    state = jax.tree.unflatten(structure, self.arrays)
    return checkpoint.Snapshot(state, at, self.ledger, {})


def of(
  job: loop.Job,
  state: base.LearnerState,
  at: loop.Cursor,
  settled: settled_lib.Settled,
) -> Saved:
  """Returns copies of a state and of the cursor that belongs to it.

  Args:
    job: of the learner.
    state: at the cursor.
    at: in which `job.save` stored the states of the run's parts.
    settled: by the first experience.
  """
  arrays = tuple(np.array(leaf) for leaf in jax.tree.leaves(state))
  place = cursor_json.to_json(at)
  return Saved(arrays, place, job.ledger.state(), settled)
