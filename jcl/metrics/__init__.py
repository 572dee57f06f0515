"""Measures of continual learning: accuracy, similarity and generality.

The functions of an accuracy matrix are gathered here.
"""

from jcl.metrics.accuracy import (
  accuracy_on_seen,
  accuracy_per_joule,
  anytime_average,
  average_incremental_accuracy,
  backward_transfer,
  confidence_interval,
  final_average_accuracy,
  forgetting_from_first,
  forgetting_from_maximum,
  forgetting_per_test,
  forward_transfer,
  learning_accuracy,
  macro_average,
  micro_average,
  worst_case,
  worst_case_accuracy,
)

__all__ = [
  "accuracy_on_seen",
  "accuracy_per_joule",
  "anytime_average",
  "average_incremental_accuracy",
  "backward_transfer",
  "confidence_interval",
  "final_average_accuracy",
  "forgetting_from_first",
  "forgetting_from_maximum",
  "forgetting_per_test",
  "forward_transfer",
  "learning_accuracy",
  "macro_average",
  "micro_average",
  "worst_case",
  "worst_case_accuracy",
]
