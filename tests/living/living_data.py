"""What live learners observe in tests: a stream's experiences, one by one."""

import numpy as np

from jcl.streams import scenarios, sources

NUM_CLASSES, PER_CLASS, WIDTH = 6, 24, 5


def examples(count=PER_CLASS, seed=0):
  """Returns inputs [N, WIDTH] and classes [N], one class behind the other."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(NUM_CLASSES, WIDTH)) * 3
  y = np.repeat(np.arange(NUM_CLASSES), count)
  x = centres[y] + rng.normal(size=(len(y), WIDTH))
  return x.astype(np.float32), y.astype(np.int32)


def stream(tasks=3):
  """Returns a stream whose classes come in the order of their numbers."""
  x, y = examples()
  source = sources.arrays(x, y, *examples(4, seed=1))
  return scenarios.class_incremental(source, tasks=tasks)


def arrivals(made):
  """Yields inputs and labels of a stream's experiences."""
  for each in made.experiences:
    rows = np.arange(len(each.data))
    yield np.asarray(each.data.x[rows]), each.data.y.tolist()
