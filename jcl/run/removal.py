"""Examples that leave an experience once they are learned for good."""

import numpy as np

from jcl import base
from jcl.errors import UsageError
from jcl.replay import forgetting
from jcl.run.cursor import Place, Setting


def check(method: base.Method) -> None:
  """Raises ValueError for a method whose training set is not its stream's."""
  if method.removal is None:
    return
  forgetting.removals(1, **vars(method.removal))
  if method.gather != "current" or method.hierarchy is not None:
    raise UsageError(
      "examples are removed from what an experience brings: leave removal out "
      "of methods that train on a memory, on all examples or on storage"
    )


def begin(setting: Setting, place: Place) -> None:
  """Shows all examples of the experience that begins."""
  place.removed = []
  if setting.learner.method.removal is not None:
    experience = setting.stream.experiences[place.experience]
    place.forgetting = forgetting.Forgetting(len(experience.data))


def observe(
  setting: Setting, place: Place, ids: np.ndarray, hardness: np.ndarray
) -> None:
  """Notes which examples were answered right.

  Args:
    setting: of the run.
    place: in the experience.
    ids: [K, B] of the stream, -1 where padded.
    hardness: [K, B] of `train.step.Info`, below one half where right.
  """
  if place.forgetting is None:
    return
  first = setting.stream.first_id(place.experience)
  for row, hard in zip(ids, hardness, strict=False):  # of a full dispatch
    row = row[: len(hard)]
    place.forgetting.observe(np.where(row < 0, -1, row - first), hard < 0.5)


def waits(setting: Setting, place: Place, epoch: int) -> bool:
  """Tells whether an epoch's order depends on answers still to come."""
  return setting.learner.method.removal is not None and epoch != place.epoch


def remaining(setting: Setting, place: Place, order: np.ndarray, epoch: int):
  """Returns an epoch's order without what has left, the newly due included.

  Args:
    setting: of the run.
    place: in the experience; it notes what leaves.
    order: [N] rows of the experience.
    epoch: that is about to begin.
  """
  removal = setting.learner.method.removal
  if removal is None or place.forgetting is None:
    return order
  due = forgetting.removals(len(order), **vars(removal))
  wanted = sum(count for at, count in due.items() if at <= epoch)
  missing = wanted - len(place.removed)
  if missing > 0:
    generator = np.random.default_rng(
      (setting.seed, 7, place.experience, epoch)
    )
    left = np.setdiff1d(order, place.removed)
    gone = place.forgetting.drop(missing, left, generator)
    place.removed = sorted([*place.removed, *gone.tolist()])
  return order[~np.isin(order, place.removed)]
