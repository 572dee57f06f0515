"""Stops a run whose loss is no longer finite."""

import numpy as np

from jcl.options import errors
from jcl.streams import stream as stream_lib


class NonFiniteLossError(ArithmeticError):
  """A loss that is infinite or no number; the state behind it is discarded."""


def check(
  stream: stream_lib.Stream,
  index: int,
  step: int,
  losses: np.ndarray,
  ids: np.ndarray,
) -> None:
  """Checks the losses of a dispatch.

  Args:
    stream: of the run.
    index: of the experience.
    step: of the first update, counted from the start of the run.
    losses: [k] floats of the updates.
    ids: [k, B] int32 of the examples shown, -1 where padded.

  Raises:
    NonFiniteLossError: names the first such update, and its examples.
  """
  for i in np.flatnonzero(~np.isfinite(losses)):
    raise NonFiniteLossError(
      f"the loss became {losses[i]} at step {step + int(i)}, "
      f"{_named(stream, index)}: lower the learning rate, or look for extreme "
      f"values in what the step was shown{_shown(stream, index, ids[i])}"
    )


def _named(stream: stream_lib.Stream, index: int) -> str:
  name = stream.experiences[index].name
  return f"experience {index}" + (f" ({errors.short(name)})" if name else "")


def _shown(stream: stream_lib.Stream, index: int, ids: np.ndarray) -> str:
  """Names the rows of the user's data that hold the examples of a batch."""
  found = stream.sources_of(ids)
  own = sorted({row for experience, row in found if experience == index})
  others = sorted({row for experience, row in found if experience != index})
  texts = [
    f", rows {errors.some(rows)} of {whose}"
    for rows, whose in ((own, "the training data"), (others, "earlier ones"))
    if rows
  ]
  return "".join(texts) + ", counted from 0" * bool(texts)
