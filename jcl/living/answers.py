"""Predictions by the latest model that was handed over whole."""

import abc
from collections.abc import Sequence
import contextlib
from typing import Any, NamedTuple

import numpy as np

from jcl.options.errors import UsageError
from jcl.run.inference import model as models


class Answers(NamedTuple):
  """A model and the labels that its outputs stand for; never changed."""

  model: models.Model
  labels: tuple[Any, ...]  # of the classes learned, in order of arrival

  @property
  def classes(self) -> np.ndarray:
    """The labels, [K] of int64, str or object."""
    return array(self.labels)

  def predict(self, x: Any) -> np.ndarray:
    """Returns the labels [N] of raw inputs [N, ...]."""
    return self.classes[np.argmax(self.scores(x), axis=-1)]

  def scores(self, x: Any) -> np.ndarray:
    """Returns scores [N, K] float32 of raw inputs, the predicted one largest.

    Raises:
      UsageError: for inputs of another shape or dtype, for none, and for
        values that are not finite.
    """
    return self.model.predict_scores(x)[:, : len(self.labels)]

  def probabilities(self, x: Any) -> np.ndarray:
    """Returns [N, K] float64, softmax of the scores of each input."""
    found = self.scores(x).astype(np.float64)
    found = np.exp(found - found.max(axis=-1, keepdims=True))
    return found / found.sum(axis=-1, keepdims=True)


class Predicts(abc.ABC):
  """Predictions of a learner or reader, by its `latest` answers."""

  # They are made within it; learning beside, if any, gives way meanwhile.
  turns: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

  @abc.abstractmethod
  def latest(self) -> Answers:
    """Returns the model that predicts now, which never changes, with labels.

    Raises:
      UsageError: before anything is learned.
    """

  def predict(self, x: Any) -> np.ndarray:
    """Returns the labels [N] of raw inputs [N, ...].

    Raises:
      UsageError: before anything is learned, and for inputs of another kind.
    """
    with self.turns:
      return self.latest().predict(x)

  def predict_scores(self, x: Any) -> np.ndarray:
    """Returns scores [N, K] float32, in the order of `classes_`."""
    with self.turns:
      return self.latest().scores(x)

  def predict_proba(self, x: Any) -> np.ndarray:
    """Returns the softmax of the scores, [N, K] float64."""
    with self.turns:
      return self.latest().probabilities(x)


def array(labels: Sequence[Any]) -> np.ndarray:
  """Returns labels as an array, [K] of int64, bool, str or object.

  >>> array([3, 1]).dtype.kind, array(["a", 1]).dtype.kind
  ('i', 'O')
  """
  for kind in (bool, int, str):
    if labels and all(type(label) is kind for label in labels):
      if kind is not int or max(map(abs, labels)) < 2**63:
        return np.array(labels)
  found = np.empty(len(labels), object)
  found[:] = labels
  return found


def none_yet() -> UsageError:
  """Returns the error of predictions before anything was learned."""
  return UsageError(
    "nothing is learned yet: observe examples with labels, and call learn() or "
    "start()"
  )
