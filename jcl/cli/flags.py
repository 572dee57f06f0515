"""Values of flags: those given, those that identify a run, and their kinds."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from absl import flags

from jcl.cli import definitions
from jcl.options import bounds, kinds, parameters, plain, spec
from jcl.options.errors import UsageError

VALUES = flags.FLAGS

# What flags take, beside those that are fields of the hyper-parameters.
_TAKEN: dict[str, Any] = {
  "base_classes": kinds.Natural,
  "base_epochs": kinds.Count,
  "accumulate": kinds.Count,
  "steps_per_dispatch": kinds.Natural,
  "lead": Annotated[int, bounds.Range(-1)],
  "evaluate_every": kinds.Natural,
  "checkpoint_seconds": kinds.OrInfinity,
  "diagnose": kinds.Natural,
  "seconds_budget": kinds.AboveZeroOrInfinity | None,
  "flops_budget": kinds.AboveZeroOrInfinity | None,
  "equal_flops": kinds.Positive | None,
  "train_share": kinds.PositiveShare,
  "idle_watts": kinds.NonNegative | None,
  "busy_watts": kinds.Positive | None,
  "fps": kinds.Count,
  "segment_seconds": kinds.Count,
  "image_size": kinds.Pixels | None,
  "workers": kinds.Count | None,
  "num_processes": kinds.Count | None,
  "process_id": kinds.Natural | None,
  "patience": kinds.Positive,
}


def of(command: str, group: str) -> Iterator[str]:
  """Yields the names of a group's flags that a command reads."""
  for name, flag in definitions.ALL.items():
    if command in flag.by and group == flag.group:
      yield name


def values() -> dict[str, object]:
  """Returns the value of every flag, by name."""
  return {name: flag.holder.value for name, flag in definitions.ALL.items()}


def defaults() -> dict[str, object]:
  """Returns the default of every flag, by name."""
  return {name: flag.holder.default for name, flag in definitions.ALL.items()}


def identity(command: str = definitions.LEARN) -> dict[str, object]:
  """Returns the values that all runs of one work directory have in common."""
  return {
    name: flag.holder.value
    for name, flag in definitions.ALL.items()
    if command in flag.identifies
  }


def varied() -> dict[str, tuple[object, ...]]:
  """Returns the values of each flag that a sweep may vary, where it is given.

  Raises:
    UsageError: for a value that is given twice.
  """
  found: dict[str, tuple[object, ...]] = {}
  for name, flag in definitions.ALL.items():
    value = flag.holder.value
    if not definitions.is_varied(name) or value == flag.holder.default:
      continue
    several = value if isinstance(value, definitions.Several) else (value,)
    if len(set(several)) < len(several):
      raise UsageError(f"--{name}={_list(several)}: write each value once")
    found[name] = tuple(several)
  return found


def check_single(command: str) -> None:
  """Raises UsageError where a flag has several values, for one command."""
  for name, value in values().items():
    if isinstance(value, definitions.Several):
      raise UsageError(
        f"--{name}={_list(value)}: jcl {command} takes one value; jcl sweep "
        "runs several beside each other"
      )


def _list(several: Iterable[object]) -> str:
  return ",".join(map(str, several))


def given() -> list[str]:
  """Returns the flags that the command line names, in order of definition."""
  return [name for name in definitions.ALL if VALUES[name].present]


def reset() -> None:
  """Puts every flag back to its default, as for a process of its own."""
  for name in definitions.ALL:
    VALUES[name].unparse()


def check() -> None:
  """Raises UsageError for a number that a flag does not take."""
  from jcl import base

  for name, hint in {**parameters.fields(base.Training), **_TAKEN}.items():
    value = values().get(name)
    several = value if isinstance(value, definitions.Several) else (value,)
    for each in several:
      if isinstance(each, int | float):
        spec.value(f"--{name}", each, hint)


def recipes() -> list[str]:
  """Returns the recipes to run beside each other, each once."""
  compared = [
    text for text in definitions.COMPARE.value if text not in ("none", "")
  ]
  return list(dict.fromkeys([definitions.RECIPE.value, *compared]))


def seeds() -> list[int]:
  """Returns the seeds of --seed.

  Raises:
    UsageError: unless they are different numbers from 0 and below 2**32.
  """
  text = f"--seed={plain.shown(plain.Text(','.join(definitions.SEED.value)))}"
  try:
    found = [int(text) for text in definitions.SEED.value]
  except ValueError:
    raise UsageError(
      f"{text}: write whole numbers, as in --seed=0,1,2"
    ) from None
  fits = found and min(found) >= 0 and max(found) < 2**32
  if not fits or len(set(found)) < len(found):
    raise UsageError(
      f"{text}: write different numbers from 0 and below 2**32, as in "
      "--seed=0,1,2"
    )
  return found
