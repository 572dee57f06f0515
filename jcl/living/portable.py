"""A learner in memory that learns what it is given at once, and pickles."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.control import allowance
from jcl.living import answers as answers_lib
from jcl.living import batches, growing, learning, opening, programs, standard
from jcl.living import saved as saved_lib
from jcl.living import settings as settings_lib
from jcl.options.errors import UsageError
from jcl.run.inference import model as models

# Predictions take one program whatever their number, so that the scores of an
# example do not depend, to the bit, on those that are asked for with it.
_ROWS = (64,)
_SEATS = 16  # outputs of a small head, so that problems share programs
_SHARED = programs.Programs()  # of all learners of the process


class Portable:
  """Learns experiences as they come; labels are whole numbers.

  Features are brought to mean 0 and deviation 1 by the figures of the first
  experience. A pickle holds arrays and settings: recipe and network pickle
  where they are given as text.

  Args:
    recipe: of learning.
    network: by name, or what builds one.
    labels: that are expected; more may come.
    budget: of learning, None for no limit.
    seed: decides initialisation, order and replay.
    **training: fields of `base.Training`; None leaves one open.
  """

  def __init__(
    self,
    recipe: str | base.Method,
    network: str | settings_lib.Build,
    *,
    labels: int = 0,
    budget: allowance.Budget | None = None,
    seed: int = 0,
    **training: Any,
  ) -> None:
    known = {name: v for name, v in training.items() if v is not None}
    self._given = {
      "recipe": recipe,
      "network": network,
      "capacity": growing.seats(_SEATS, labels),
      "budget": budget,
      "seed": seed,
      "training": known,
    }
    self._arrivals = batches.Batches()
    self._standard: standard.Standard | None = None
    self._begin(None)

  def learn(self, x: np.ndarray, labels: Sequence[int]) -> learning.Outcome:
    """Learns an experience, as far as the budget allows it now.

    Args:
      x: [N, D] float64 features; NaN stands for one that is missing.
      labels: [N] whole numbers.
    """
    if self._standard is None:
      self._standard = standard.of(x)
    self._arrivals.add(self._standard(x), labels)
    outcome = self._learning.advance(lambda: False)
    if self._drops:
      self._arrivals.drop(self._learning.learned)
    return outcome

  @property
  def labels(self) -> np.ndarray:
    """Labels that are learned, in the order in which they arrived, [K]."""
    return answers_lib.array(() if self._found is None else self._found.labels)

  def probabilities(self, x: np.ndarray) -> np.ndarray:
    """Returns [N, K] float64, in the order of `labels`, of features [N, D].

    Raises:
      UsageError: before anything is learned.
    """
    if self._found is None or self._standard is None:
      raise answers_lib.none_yet()
    return self._found.probabilities(self._standard(x))

  def _begin(self, saved: saved_lib.Saved | None) -> None:
    """Makes what learns, from where another object stood."""
    settings = dataclasses.replace(
      opening.settings_of(self._given), standard=True, programs=_SHARED
    )
    if settings.method.hierarchy is not None:
      raise UsageError(
        f"recipe={settings.recipe!r} keeps examples in a store on disk, which "
        "a learner in memory does not have: use jcl.live with a folder, or "
        "another recipe"
      )
    self._drops = settings.method.trains_on != "seen"
    self._found: answers_lib.Answers | None = None
    self._learning = learning.Learning(
      self._arrivals, settings, None, self._publish, saved
    )
    if saved is not None:
      self._learning.open()

  def _publish(self, made: models.Model) -> None:
    kind = self._learning.kind
    made = _SHARED.predicting(kind, dataclasses.replace(made, rows=_ROWS))
    known = int(np.count_nonzero(made.seen))
    self._found = answers_lib.Answers(
      made, tuple(self._arrivals.classes[:known])
    )

  def _served(self) -> tuple[Any, ...] | None:
    """Returns what predicts, as arrays, while an experience is half learned."""
    at = self._learning.standing
    if self._found is None or at is None or not at.begun:
      return None
    made, labels = self._found
    arrays = made.params, made.stats, made.fitted, made.seen
    return jax.tree.map(np.asarray, arrays), labels

  def _serve(self, served: tuple[Any, ...] | None) -> None:
    """Predicts as before, unless the head has grown in the meantime."""
    if served is None or self._found is None:
      return
    (params, stats, fitted, seen), labels = served
    if seen.shape == self._found.model.seen.shape:
      made = dataclasses.replace(
        self._found.model, params=params, stats=stats, fitted=fitted, seen=seen
      )
      self._found = answers_lib.Answers(made, labels)

  def __getstate__(self) -> dict[str, Any]:
    return {
      "given": self._given,
      "arrivals": self._arrivals,
      "standard": self._standard,
      "saved": self._learning.saved,
      "served": self._served(),
    }

  def __setstate__(self, state: Mapping[str, Any]) -> None:
    self._given, self._arrivals = state["given"], state["arrivals"]
    self._standard = state["standard"]
    self._begin(state["saved"])
    self._serve(state["served"])
