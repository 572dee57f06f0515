"""Scores on held-out data, and the record of an experience."""

import math
from typing import Any

import numpy as np

from jcl import base
from jcl.cost import program_cost
from jcl.run.cursor import Place, Setting
from jcl.selection import mask
from jcl.train import evaluate as evaluation


def evaluate(
  setting: Setting, state: base.LearnerState, head: base.Array
) -> evaluation.Scores:
  """Scores every held-out data set; `head` [C] tells the outputs in play."""
  stream, tiers, memory = setting.stream, setting.tiers, None
  if tiers is not None and setting.learner.method.predictor.reads_memory:
    memory = tiers.memory()
  with stream.held_out.open() as test_sets:
    return setting.learner.evaluate(
      state, test_sets, stream.task_classes, head, memory
    )


def record(
  setting: Setting, state: base.LearnerState, place: Place, scope: base.Scope
) -> base.Record:
  """Evaluates and sums up the experience that just ended."""
  learner, stream, tally = setting.learner, setting.stream, place.tally
  assert place.selection is not None and place.decision is not None
  scores = evaluate(setting, state, scope.head)
  network, chosen = learner.network, place.selection.trainable
  sizes = [math.prod(tensor.shape) for tensor in network.tensors]
  if setting.tiers is None:
    held = _held(state, stream.num_classes)
  else:
    held = setting.tiers.summary(place.experience)
  classes = stream.experiences[place.experience].classes
  return base.Record(
    experience=place.experience,
    classes=classes,
    decision=place.decision,
    trained=(sum(chosen), len(chosen)),
    parameters=(
      mask.trained_parameters(network, place.selection),
      sum(sizes),
    ),
    steps=tally.steps,
    examples=int(tally.examples),
    loss=tally.loss / max(tally.steps, 1),
    online_accuracy=tally.online_correct / max(tally.online_examples, 1),
    accuracy=scores.accuracy,
    accuracy_task=scores.accuracy_task,
    accuracy_class=scores.accuracy_class,
    memory=held,
    costs=setting.ledger.drain(),
    peak_bytes=program_cost.peak_rss_bytes(),
    choices=tuple(place.choices),
    class_names=tuple(stream.class_names[each] for each in classes),
    name=stream.experiences[place.experience].name,
  )


def _held(state: base.LearnerState, num_classes: int) -> dict[str, Any]:
  """Returns what a memory on the device holds."""
  if not state.replay:
    return {"examples": 0, "bytes": 0, "per_class": [0] * num_classes}
  items = state.replay.items
  filled = np.asarray(items.weight) > 0
  per_class = np.bincount(np.asarray(items.y)[filled], minlength=num_classes)
  return {
    "examples": int(filled.sum()),
    "bytes": program_cost.num_bytes(items),
    "per_class": per_class.tolist(),
  }
