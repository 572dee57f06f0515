"""A classifier for scikit-learn that goes on learning where it stopped.

model = ContinualClassifier().fit(x, y)
model.partial_fit(more, labels)  # new classes included; nothing starts over
"""

from typing import Any, Self

import numpy as np
from sklearn import base as sklearn_base
from sklearn.utils import check_random_state, multiclass, validation

from jcl import base
from jcl.control import allowance
from jcl.living import portable
from jcl.living import settings as settings_lib
from jcl.options.errors import UsageError


class ContinualClassifier(
  sklearn_base.ClassifierMixin, sklearn_base.BaseEstimator
):
  """Learns one experience at a time, without forgetting the earlier ones.

  `fit` learns one experience from scratch, and every `partial_fit` one more.
  Labels are whatever scikit-learn takes; new ones may come at any time.
  Features are brought to mean 0 and deviation 1 by the figures of the first
  call.

  Args:
    recipe: such as "er:buffer=500,epochs=20"; by default one that is solved
      from sums, so that neither order nor number of experiences matters.
    network: such as "mlp:width=100"; "auto" suits the features. The default
      recipe needs none.
    epochs: passes over each experience; None: as the recipe has them.
    batch_size: examples of an update; None: as the recipe has it.
    learning_rate: of updates; None: as the recipe has it.
    budget: a `jcl.Budget`: what learning may spend; None: no limit.
    random_state: decides initialisation, order and replay; None draws anew at
      each `fit`.

  Attributes:
    classes_: [K], sorted: those that `classes=` announced, and all learned.
    n_features_in_: number of features.
    n_iter_: experiences that are learned.
  """

  def __init__(
    self,
    recipe: str | base.Method = "randumb:m=500",
    network: str | settings_lib.Build = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    budget: allowance.Budget | None = None,
    random_state: Any = 0,
  ) -> None:
    self.recipe = recipe
    self.network = network
    self.epochs = epochs
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.budget = budget
    self.random_state = random_state

  def fit(self, X: Any, y: Any) -> Self:
    """Learns [N, D] features and [N] labels from scratch.

    Raises:
      ValueError: for data or parameters that do not serve.
    """
    X, y = self._checked(X, y, first=True)
    return self._learn(X, y, np.unique(y), first=True)

  def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
    """Learns one more experience.

    Args:
      X: [N, D] features.
      y: [N] labels.
      classes: that will come, all that are known; the first call makes room
        for them. Others may come all the same.

    Raises:
      ValueError: for data or parameters that do not serve.
    """
    first = not hasattr(self, "_learner")
    X, y = self._checked(X, y, first)
    known = np.unique(y) if classes is None else np.unique(classes)
    return self._learn(X, y, _union(known, y), first)

  def predict(self, X: Any) -> np.ndarray:
    """Returns the labels [N] of features [N, D]."""
    found = np.argmax(self.predict_proba(X), axis=1)
    return self.classes_[found]

  def predict_proba(self, X: Any) -> np.ndarray:
    """Returns probabilities [N, K] in the order of `classes_`.

    A class that was announced and did not come yet has the probability 0.
    """
    validation.check_is_fitted(self)
    X = validation.validate_data(self, X, dtype=np.float64, reset=False)
    found = self._learner.probabilities(X)
    columns = np.searchsorted(self.classes_, self._labels[self._learner.labels])
    whole = np.zeros((len(X), len(self.classes_)))
    whole[:, columns] = found
    return whole

  def __sklearn_is_fitted__(self) -> bool:
    return hasattr(self, "_learner") and len(self._learner.labels) > 0

  def _checked(
    self, X: Any, y: Any, first: bool
  ) -> tuple[np.ndarray, np.ndarray]:
    X, y = validation.validate_data(self, X, y, dtype=np.float64, reset=first)
    multiclass.check_classification_targets(y)
    return X, y

  def _learn(
    self, X: np.ndarray, y: np.ndarray, classes: np.ndarray, first: bool
  ) -> Self:
    if first:
      self._learner = portable.Portable(
        self.recipe,
        self.network,
        labels=len(classes),
        budget=self.budget,
        seed=_seed(self.random_state),
        epochs=self.epochs,
        batch_size=self.batch_size,
        learning_rate=self.learning_rate,
      )
      # By the number that the learner has for each; new ones go to the end.
      self._labels = self.classes_ = classes
      self.n_iter_ = 0
    new = np.setdiff1d(classes, self._labels)
    self.classes_ = _union(self.classes_, new)
    self._labels = np.concatenate([self._labels, new])
    order = np.argsort(self._labels, kind="stable")
    numbers = order[np.searchsorted(self._labels, y, sorter=order)]
    self._learner.learn(X, numbers.tolist())
    self.n_iter_ += 1
    return self


def _seed(given: Any) -> int:
  """Returns the seed that a `random_state` stands for."""
  if isinstance(given, int | np.integer):
    return int(given)
  return int(check_random_state(given).randint(2**31))


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns the labels of two sorted arrays, sorted."""
  kinds = {
    "text" if each.dtype.kind in "US" else "others" for each in (first, second)
  }
  if len(kinds) > 1 and len(first) and len(second):
    raise UsageError(
      f"labels {first[0]!r} and {second[0]!r} cannot be told apart in one "
      "array: give all as text, or all as numbers"
    )
  return np.union1d(first, second)
