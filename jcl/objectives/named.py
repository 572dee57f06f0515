"""Predictors by name, as saved models find them again."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jcl import base
from jcl.objectives import closed_form, predictors, readers, solved_head


class Named(NamedTuple):
  """A predictor that a saved model can name."""

  build: Callable[..., base.Predictor]
  fitted: Callable[..., Any]  # makes the predictor's `fitted` from its arrays


NAMED = {
  "logits": Named(predictors.logits, lambda: ()),
  "rescaled": Named(predictors.rescaled, predictors.Layer),
  "trained_or_solved": Named(solved_head.trained_or_solved, solved_head.Better),
  "nearest_mean": Named(predictors.nearest_mean, predictors.Means),
  "mean": Named(readers.mean, closed_form.Linear),
  "shared_covariance": Named(readers.shared_covariance, closed_form.Linear),
  "ridge": Named(readers.ridge, closed_form.Linear),
}
