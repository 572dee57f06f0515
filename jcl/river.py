"""A classifier for river, which learns a stream of single examples.

model = preprocessing.StandardScaler() | Classifier()
evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

import numpy as np
import pandas as pd

from jcl.living import portable
from jcl.options import errors
from jcl.options.errors import UsageError

try:
  from river import base as river_base
except ImportError as error:
  raise errors.MissingPackageError(
    'jcl.river needs river: pip install "jcl[river]"'
  ) from error

Label = river_base.typing.ClfTarget
Name = river_base.typing.FeatureName


class Classifier(river_base.MiniBatchClassifier):
  """Learns micro-batches of a stream, without forgetting the earlier ones.

  Every `examples` examples are one experience. Its features have the names of
  the first experience's examples; a later one that is missing, or is NaN or
  None, counts as its mean there, and names that were not there are passed over.
  Until the first experience is learned, the shares of the labels predict.

  Args:
    recipe: such as "er:buffer=500"; by default one that is solved from sums, so
      that the size of experiences does not matter.
    network: such as "mlp:width=100"; "auto" suits the features. The default
      recipe needs none.
    examples: of a micro-batch.
    epochs: passes over each; None: as the recipe has them.
    learning_rate: of updates; None: as the recipe has it.
    seed: decides initialisation, order and replay.
  """

  def __init__(
    self,
    recipe: str = "randumb:m=500",
    network: str = "auto",
    examples: int = 32,
    epochs: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
  ) -> None:
    if examples < 1:
      raise UsageError(f"examples={examples}: give 1 or more")
    self.recipe = recipe
    self.network = network
    self.examples = examples
    self.epochs = epochs
    self.learning_rate = learning_rate
    self.seed = seed
    self._names: list[Name] | None = None
    self._numbers: dict[Label, int] = {}  # of labels, by arrival
    self._counts: list[int] = []  # examples of each label
    self._waiting: list[tuple[dict[Name, float], int]] = []
    self._learner = portable.Portable(
      recipe,
      network,
      seed=seed,
      epochs=epochs,
      learning_rate=learning_rate,
    )

  @property
  def _multiclass(self) -> bool:
    return True

  def learn_one(self, x: Mapping[Name, Any], y: Label) -> None:
    """Takes an example in, and learns once there are enough of them.

    Raises:
      UsageError: for a feature that is no finite number; it is not taken in.
    """
    row = {name: _number(name, value) for name, value in x.items()}
    number = self._numbers.setdefault(y, len(self._numbers))
    self._counts += [0] * (len(self._numbers) - len(self._counts))
    self._counts[number] += 1
    self._waiting.append((row, number))
    if len(self._waiting) == self.examples:
      self._learn()

  def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
    """Takes examples in, in their order, as `learn_one` does each."""
    if len(X) != len(y):
      raise UsageError(
        f"{errors.count(len(y), 'label')} for {errors.count(len(X), 'example')}"
        ": give one each"
      )
    for x, label in zip(_rows(X), y.tolist(), strict=True):
      self.learn_one(x, label)

  def predict_proba_one(
    self, x: Mapping[Name, Any], **kwargs: Any
  ) -> dict[Label, float]:
    """Returns the probability of each label; {} before the first example."""
    del kwargs
    found = self._probabilities([x])[0].tolist()
    return dict(zip(self._numbers, found, strict=True))

  def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
    """Returns probabilities, a column for each label that has arrived."""
    found = self._probabilities(_rows(X))
    columns = pd.Index(list(self._numbers), dtype=object, tupleize_cols=False)
    return pd.DataFrame(found, index=X.index, columns=columns)

  def predict_many(self, X: pd.DataFrame) -> pd.Series:
    """Returns the label of each row, None before the first example."""
    labels: list[Label | None] = [*self._numbers] or [None]
    found = self._probabilities(_rows(X))
    best = found.argmax(axis=1) if found.size else np.zeros(len(X), int)
    answers = np.empty(len(X), object)
    answers[:] = [labels[i] for i in best.tolist()]
    return pd.Series(answers, index=X.index).infer_objects()

  def _probabilities(self, x: Sequence[Mapping[Name, Any]]) -> np.ndarray:
    """Returns [N, K], in the order of labels."""
    whole = np.zeros((len(x), len(self._numbers)))
    if not self._numbers or not len(x):
      return whole
    if self._names is None:
      whole[:] = np.array(self._counts) / sum(self._counts)
      return whole
    rows = [
      {n: _number(n, each[n]) for n in self._names if n in each} for each in x
    ]
    found = self._learner.probabilities(self._matrix(rows))
    whole[:, self._learner.labels] = found
    return whole

  def _learn(self) -> None:
    """Learns what waits."""
    rows, numbers = zip(*self._waiting, strict=True)
    if self._names is None:
      names = {name for row in rows for name in row}
      if not names:
        self._waiting = []
        return
      self._names = sorted(names, key=lambda n: (type(n).__name__, repr(n)))
    self._learner.learn(self._matrix(rows), numbers)
    self._waiting = []

  def _matrix(self, rows: Sequence[Mapping[Name, float]]) -> np.ndarray:
    """Returns features [N, D] in the order of names, NaN where missing."""
    assert self._names is not None
    found = [[row.get(n, math.nan) for n in self._names] for row in rows]
    return np.array(found, np.float64)


def _rows(X: pd.DataFrame) -> list[dict[Name, Any]]:
  return X.to_dict("records")


def _number(name: Name, value: Any) -> float:
  """Returns a feature's value, NaN for one that is missing."""
  try:
    found = math.nan if value is None else float(value)
  except (TypeError, ValueError, OverflowError) as error:
    raise UsageError(
      f"feature {name!r} is {errors.short(value)}: give numbers, such as by "
      "river.preprocessing.OneHotEncoder"
    ) from error
  if math.isinf(found):
    raise UsageError(f"feature {name!r} is {found}: give finite numbers")
  return found
