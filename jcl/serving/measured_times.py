"""Times of a student's kernels, measured on the device at hand."""

from collections.abc import Callable
import statistics
import time

import jax
import numpy as np

from jcl.control.drift.times import Times
from jcl.serving import books, models

_STEPS = 8  # training steps that are timed together


def times(
  student: models.Student,
  weights: models.Weights,
  images: np.ndarray,
  labels: np.ndarray,
  labeller: books.Labeller | None,
  rounds: int = 5,
) -> Times:
  """Measures the median seconds of each kernel, compiled and alone.

  Args:
    student: serves and learns.
    weights: of the student; they are not changed.
    images: [n, ...] raw images to time with; few images are repeated.
    labels: [n] classes.
    labeller: the teacher; None: labelling takes almost no time.
    rounds: timed calls of each kernel.
  """
  batch = student.batch_size
  rows = np.resize(np.arange(len(images)), _STEPS * batch)
  images, labels = images[rows], np.asarray(labels)[rows]
  some = images[:batch]

  def train() -> None:
    jax.block_until_ready(student.retrain(weights, images, labels))

  def label() -> None:
    if labeller is not None:
      labeller(some)

  def median(call: Callable[[], object]) -> float:
    call()  # compiles
    found = []
    for _ in range(rounds):
      start = time.perf_counter()
      call()
      found.append(time.perf_counter() - start)
    return statistics.median(found)

  return Times(
    infer=median(lambda: student.predict(weights, images[:1])),
    train=median(train) / _STEPS,
    valid=median(lambda: student.predict(weights, some)),
    label=max(median(label) / batch, 1e-9),
    batch=batch,
    source="measured",
  )
