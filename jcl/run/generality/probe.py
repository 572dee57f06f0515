"""Linear probe of features, and a gate for trunks that are to be frozen."""

from typing import NamedTuple

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.run.generality import features
from jcl.streams import splits
from jcl.train import learner as learner_lib

Weights = tuple[base.Params, base.Stats]

_BATCH = 256  # examples of a forward pass


class Verdict(NamedTuple):
  """Accuracies in [0, 1] of a linear classifier on a trunk's features."""

  trained: float
  drawn: float  # with the trunk's weights drawn at random
  margin: float  # by which the first must be above the second

  @property
  def passed(self) -> bool:
    """Whether the trunk is worth freezing."""
    return self.trained >= self.drawn + self.margin


def linear(
  features_train: np.ndarray,
  y_train: np.ndarray,
  features_test: np.ndarray,
  y_test: np.ndarray,
) -> float:
  """Returns the accuracy in [0, 1] of logistic regression on features.

  Features are standardised by the training examples; the solver draws
  nothing, so that the same arguments give the same figure.

  Args:
    features_train: [N, D] floats.
    y_train: [N] int classes.
    features_test: [M, D] floats.
    y_test: [M] int classes.

  Raises:
    ValueError: for fewer than two classes, or shapes that do not fit.
  """
  from sklearn import linear_model, pipeline, preprocessing

  classes = np.unique(y_train)
  if len(classes) < 2:
    raise UsageError(
      f"the training examples are of classes {classes.tolist()}: give two "
      "classes at least"
    )
  model = pipeline.make_pipeline(
    preprocessing.StandardScaler(),
    linear_model.LogisticRegression(max_iter=1000),
  )
  model.fit(features_train, y_train)
  return float(model.score(features_test, y_test))


def gate(
  learner: learner_lib.Learner,
  trained: Weights,
  drawn: Weights,
  unit: str,
  data: base.Dataset,
  *,
  most: int = 2000,
  margin: float = 0.1,
  seed: int = 0,
) -> Verdict:
  """Compares a trunk with one of random weights, on a stream's first classes.

  A trunk whose features tell the classes apart no better than those of random
  weights has nothing worth keeping: freeze it only where the verdict has
  `passed`.

  Args:
    learner: with the network.
    trained: parameters and statistics of the trunk to freeze.
    drawn: the same at random, from the `init` of the network as it was built.
    unit: the trunk's last unit; its output is averaged over space.
    data: of the first experience, training examples; a fifth of each class,
      kept from the classifier, judges.
    most: examples in all, drawn at random where there are more.
    margin: by which the trunk must be better, as a share.
    seed: of both draws.

  Raises:
    ValueError: for an unknown unit, the head, or data of a single class.
  """
  trunk = learner.network.units[:-1]
  if unit not in trunk:
    raise UsageError(
      f"unit={unit!r} is not in the trunk of network "
      f"{learner.network.name!r}: choose from {errors.names(trunk)}"
    )
  rows = np.random.default_rng(seed).permutation(len(data))[:most]
  y = data.y[rows]
  judge = splits.stratified(y, splits.TEST_SHARE, seed)
  x = np.asarray(data.x[rows])

  def accuracy(weights: Weights) -> float:
    (found,) = features.read(learner, weights, x, (unit,), _BATCH)
    return linear(found[~judge], y[~judge], found[judge], y[judge])

  return Verdict(accuracy(trained), accuracy(drawn), margin)
