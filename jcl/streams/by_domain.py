"""Scenarios whose experiences differ in what the classes look like."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from jcl.options import bounds, kinds, spec
from jcl.options.errors import UsageError
from jcl.streams import (
  assembly,
  joining,
  sources,
  splits,
  stream,
  views,
)


@spec.checked("stream")
def permuted(
  source: sources.Source,
  *,
  tasks: kinds.Parts = 5,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """All classes in each experience, pixels in another order each time.

  Goodfellow et al., "An Empirical Investigation of Catastrophic Forgetting in
  Gradient-Based Neural Networks", 2013, https://arxiv.org/abs/1312.6211. The
  first experience is unchanged.

  Args:
    source: of the data.
    tasks: number of experiences.
    seed: of the permutations and of `holdout`.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.
  """
  source = joining.single(source)
  num_positions = views.num_positions(source.train.x.shape[1:])
  rng = np.random.default_rng((seed, num_positions))
  transforms: list[views.Transform | None] = [None]
  for _ in range(1, tasks):
    transforms.append(views.permute(rng.permutation(num_positions)))
  return _repeat("permuted", source, transforms, seed, holdout, normalize)


@spec.checked("stream")
def rotated(
  source: sources.Source,
  *,
  tasks: kinds.Parts = 5,
  max_degrees: Annotated[float, bounds.Range(-360, 360)] = 180.0,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """All classes in each experience, images turned further each time.

  Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning",
  NeurIPS 2017, https://arxiv.org/abs/1706.08840, with evenly spaced angles: the
  first experience is unchanged, the last is turned by `max_degrees`.

  Args:
    source: of the data; images [height, width, channels].
    tasks: number of experiences.
    max_degrees: angle of the last experience, anticlockwise.
    seed: of `holdout`.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.

  Raises:
    ValueError: where the examples are no images.

  >>> stream = rotated(sources.load("digits"), tasks=2)
  >>> [len(each.classes) for each in stream.experiences]
  [10, 10]
  """
  source = joining.single(source)
  shape = source.train.x.shape[1:]
  if len(shape) != 3:
    raise UsageError(
      f"{source.train.name} has examples of shape {shape}; only images "
      "[height, width, channels] can be rotated"
    )
  transforms = [
    views.rotate(angle, shape[0], shape[1]) if angle else None
    for angle in np.linspace(0.0, max_degrees, tasks).tolist()
  ]
  return _repeat("rotated", source, transforms, seed, holdout, normalize)


@spec.checked("stream")
def domain_by_group(
  source: joining.Sources,
  *,
  seed: kinds.Seed = 0,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """One experience per group of the source: subject, device, batch in time.

  Groups come in the order of their numbers or names, each tested on its own
  rows. In a list of sources, each source is a group.

  Args:
    source: of the data, with groups; or a list of sources.
    seed: of `holdout`.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.

  Raises:
    ValueError: where training or test data lack groups.

  >>> x, y = np.zeros((80, 2), np.float32), [0, 1] * 40
  >>> source = sources.arrays(x, y, group=["mon"] * 40 + ["tue"] * 40)
  >>> [each.name for each in domain_by_group(source).experiences]
  ['mon', 'tue']
  """
  if not isinstance(source, sources.Source):
    source = joining.join(source)
  return assembly.by_group(
    "domain_by_group", "domain", source, holdout, seed, normalize
  )


@spec.checked("stream")
def time_ordered(
  source: sources.Source,
  *,
  parts: kinds.Parts = 10,
  holdout: kinds.ShareBelowOne = 0.0,
  normalize: stream.Normalization | None = None,
) -> stream.Stream:
  """Contiguous stretches of a source whose rows are in time order.

  The test set is cut in the same proportions, so a source should hold out rows
  all along its time, as `csv` and `gas_drift` do. Where there is no test set,
  the last fifth of each stretch is held out. Neighbours in time are alike, so
  that `holdout` too takes the last rows of each stretch, not a random draw. The
  examples of an experience are shown in their order; sets that span
  experiences, as in `joint` and recipes over a memory, are shuffled.

  Args:
    source: of the data.
    parts: number of experiences of (nearly) equal size.
    holdout: share of the training data that stands in for the test set; see
      `scenarios`.
    normalize: see `stream.statistics`.

  >>> x, y = np.zeros((90, 2), np.float32), [0, 1] * 45
  >>> stream = time_ordered(sources.arrays(x, y), parts=3)
  >>> len(stream.experiences)
  3
  """
  source = joining.single(source)
  assembly.check_holdout(holdout)
  chunks = np.array_split(np.arange(len(source.train)), parts)
  if source.test is None:
    test = source.train
    chunks, test_parts = assembly.cut(chunks, splits.TEST_SHARE)
  else:
    test = source.test
    test_parts = np.array_split(np.arange(len(test)), parts)
  if holdout:
    test = source.train
    chunks, test_parts = assembly.cut(chunks, holdout)
  return assembly.assemble(
    "time_ordered",
    "domain",
    source,
    chunks,
    test,
    test_parts,
    normalize=normalize,
    ordered=True,
  )


def _repeat(
  name: str,
  source: sources.Source,
  transforms: Sequence[views.Transform | None],
  seed: int,
  holdout: float,
  normalize: stream.Normalization | None,
) -> stream.Stream:
  rows, test = assembly.hold_out(source, holdout, seed)
  return assembly.assemble(
    name,
    "domain",
    source,
    [rows] * len(transforms),
    test,
    [np.arange(len(test))] * len(transforms),
    transforms=transforms,
    normalize=normalize,
  )
