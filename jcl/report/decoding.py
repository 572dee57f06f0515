"""Decoding of records, points and summaries of runs from JSON.

Files may have been damaged, or written by other programs, so every value is
checked: one of the wrong kind raises a ValueError that names it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import math
from typing import Any

from jcl import base
from jcl.options import errors
from jcl.report import checks

# Numbers in the decisions of a memory hierarchy, where null stands for NaN.
# The accuracy of a candidate is not among them: there null means "not tried".
_DECIDED = (
  "swap",
  "seconds",
  "joules",
  "step_joules",
  "energy",
  "predicted",
  "start",
  "noise",
)

# Numbers, and below rows of numbers, that a point of the curve may hold.
_CURVES = (
  "experience",
  "loss",
  "online_accuracy",
  "seconds",
  "steps_per_second",
)
_ROWS = ("accuracy", "accuracy_task")

# Checks of the parts of a summary; any part may be missing.
_SUMMARY: dict[str, Callable[[Any, str], Any]] = {
  **dict.fromkeys(("experiences", "num_experiences"), checks.whole),
  **dict.fromkeys(("steps", "examples", "peak_bytes"), checks.whole),
  "finished": checks.yes_or_no,
  "initial": checks.mapping,
  "test_sizes": checks.wholes,
  "recipe": checks.mapping,
  **dict.fromkeys(("costs", "total", "closing", "memory"), checks.mapping),
}
_OPTIONAL = ("initial", "test_sizes", "num_experiences")  # may be null


def record(value: Any) -> base.Record:
  """Decodes a record that `encoding.to_json` encoded.

  Raises:
    ValueError: for anything else, with the reason.
  """
  try:
    return _record(checks.mapping(value, "record"))
  except (KeyError, ValueError) as error:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    raise ValueError(
      f"not the record of an experience ({reason}): {errors.short(value, 80)}"
    ) from error


def choice(value: Any, name: str = "choice") -> base.Choice:
  """Decodes a choice that `encoding.encode` encoded.

  Raises:
    KeyError: for a missing part.
    ValueError: for a part of another kind.
  """
  checks.mapping(value, name)
  return base.Choice(
    step=checks.whole(value["step"], "step"),
    epoch=checks.whole(value["epoch"], "epoch"),
    trainable=checks.several(value["trainable"], "trainable", checks.yes_or_no),
    share=checks.real(value["share"], "share"),
    adopted=checks.whole(value["adopted"], "adopted"),
    seconds=checks.real(value.get("seconds"), "seconds"),
  )


def point(value: Any) -> dict[str, Any]:
  """Returns a point of a curve as it stands, after checking it.

  Raises:
    ValueError: for anything else, with the reason.
  """
  try:
    found = checks.mapping(value, "point")
    checks.whole(found.get("step"), "step")
    for name in _ROWS:
      checks.row(found.get(name, ()), name)
    for name in _CURVES:
      checks.real(found.get(name), name)
  except ValueError as error:
    raise ValueError(
      f"not a point of a curve ({error}): {errors.short(value, 80)}"
    ) from error
  return found


def check_summary(value: Mapping[str, Any], scenarios: Collection[str]) -> None:
  """Checks the parts of a summary.

  Args:
    value: the summary; parts of it may be missing.
    scenarios: the names of parts that hold a matrix.

  Raises:
    ValueError: for a part of another kind.
  """
  for name, check in _SUMMARY.items():
    if name in value and not (value[name] is None and name in _OPTIONAL):
      check(value[name], name)
  for scenario in scenarios:
    scores = checks.mapping(value.get(scenario, {}), scenario)
    checks.several(scores.get("matrix", ()), "matrix", checks.row)
  for name, found in (value.get("initial") or {}).items():
    checks.row(found, name)


def _record(value: dict[str, Any]) -> base.Record:
  def read(name: str, check: Callable[[Any, str], Any]) -> Any:
    return check(value[name], name)

  def read_all(name: str, check: Callable[[Any, str], Any]) -> Any:
    return checks.several(value.get(name, ()), name, check)

  costs = read("costs", checks.mapping)
  return base.Record(
    experience=read("experience", checks.whole),
    classes=read("classes", checks.wholes),
    decision=_decision(read("decision", checks.mapping)),
    trained=_pair(read("trained", checks.wholes), "trained"),
    parameters=_pair(read("parameters", checks.wholes), "parameters"),
    steps=read("steps", checks.whole),
    examples=read("examples", checks.whole),
    loss=read("loss", checks.real),
    online_accuracy=read("online_accuracy", checks.real),
    accuracy=read("accuracy", checks.row),
    accuracy_task=read("accuracy_task", checks.row),
    accuracy_class=read("accuracy_class", checks.row),
    memory=_restored(read("memory", checks.mapping)),
    costs={name: _cost(cost, name) for name, cost in costs.items()},
    peak_bytes=read("peak_bytes", checks.whole),
    choices=read_all("choices", choice),
    class_names=read_all("class_names", checks.text),
    name=checks.text(value.get("name", ""), "name"),
    effective_flops=read_all("effective_flops", checks.real),
    judged=_figures(value, "judged"),
    stands_for=checks.whole(value.get("stands_for", 1), "stands_for"),
  )


def _decision(value: dict[str, Any]) -> base.Decision:
  return base.Decision(
    _allocation(value),
    # A limit is never unknown, so null can only stand for none.
    limit=_cost(value["limit"], "limit", missing=math.inf),
    reason=checks.text(value["reason"], "reason"),
    counts=checks.several(value.get("counts", ()), "counts", checks.text),
    reserved=_cost(value["reserved"], "reserved")
    if "reserved" in value
    else base.Cost(),
    forecast=_figures(value, "forecast"),
  )


def _figures(value: dict[str, Any], name: str) -> dict[str, float]:
  """Reads numbers by name, none where an older version wrote the record."""
  found = checks.mapping(value.get(name, {}), name)
  return {key: checks.real(each, key) for key, each in found.items()}


def _allocation(value: dict[str, Any]) -> base.Allocation:
  """Reads the knobs of a decision, of which version 0.1 had two."""
  if "allocation" not in value:
    return base.Allocation(
      checks.whole(value["epochs"], "epochs"),
      checks.real(value["budget"], "budget"),
    )
  found = checks.mapping(value["allocation"], "allocation")
  replay = found["replay"]
  return base.Allocation(
    epochs=checks.whole(found["epochs"], "epochs"),
    rho=checks.real(found["rho"], "rho"),
    trunk=checks.whole(found["trunk"], "trunk"),
    em=checks.whole(found["em"], "em"),
    sb=checks.whole(found["sb"], "sb"),
    swap=checks.real(found["swap"], "swap"),
    replay=None if replay is None else checks.real(replay, "replay"),
    label=checks.real(found["label"], "label"),
    serve=checks.real(found["serve"], "serve"),
  )


def _restored(memory: Any) -> Any:
  if isinstance(memory, list):
    return [_restored(item) for item in memory]
  if isinstance(memory, dict):
    return {
      name: checks.real(item, name)
      if name in _DECIDED and (item is None or isinstance(item, str))
      else _restored(item)
      for name, item in memory.items()
    }
  return memory


def _pair(value: Sequence[int], name: str) -> tuple[int, int]:
  if len(value) != 2:
    raise ValueError(f'"{name}" has {len(value)} numbers instead of 2')
  first, second = value
  return first, second


def _cost(value: Any, name: str, missing: float = math.nan) -> base.Cost:
  value = checks.mapping(value, name)
  names = [field.name for field in dataclasses.fields(base.Cost)]
  return base.Cost(
    *(
      missing if value[each] is None else checks.real(value[each], each)
      for each in names
    )
  )
