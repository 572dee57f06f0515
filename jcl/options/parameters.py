"""The options of a function, as its signature and its records have them."""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import typing
from typing import Any, NamedTuple

from jcl.options import bounds


class Option(NamedTuple):
  """An option as a user writes it, and the argument that it belongs to."""

  keyword: str  # parameter of the function
  field: str  # of the record that the parameter takes; "": the whole parameter
  hint: Any  # its annotation
  default: Any  # `inspect.Parameter.empty` where there is none


def options(function: Callable[..., Any]) -> dict[str, Option]:
  """Returns a function's options by the names that text has for them.

  A keyword-only parameter that takes a dataclass stands for its fields, each an
  option by its own name, or by the name that its annotation says
  (`bounds.Called`).

  Raises:
    TypeError: where two options would have one name.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Trials:
  ...   epochs: typing.Annotated[int, bounds.Called("trial_epochs")] = 5
  >>> def miro(*, em: int = 500, trials: Trials = Trials()):
  ...   return trials.epochs
  >>> list(options(miro))
  ['em', 'trial_epochs']
  """
  hints, taken = _hints(function), records(function)
  listed: list[tuple[str, Option]] = []
  for keyword, default in keywords(function).items():
    if keyword not in taken:
      hint = hints.get(keyword, Any)
      listed.append((keyword, Option(keyword, "", hint, default)))
      continue
    for field, hint in fields(taken[keyword]).items():
      about = typing.get_args(hint)
      named = [each for each in about if isinstance(each, bounds.Called)]
      option = named[0].name if named else field
      each = Option(keyword, field, hint, getattr(default, field))
      listed.append((option, each))
  found = dict(listed)
  if len(found) < len(listed):
    raise TypeError(f"{function.__name__} has two options of one name")
  return found


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns a function's keyword-only parameters and their defaults."""
  return {
    parameter.name: parameter.default
    for parameter in inspect.signature(function).parameters.values()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
  }


def fields(kind: type) -> dict[str, Any]:
  """Returns the annotations of a dataclass's fields."""
  return typing.get_type_hints(kind, include_extras=True)


def describe(choices: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
  """Returns one line about each choice: its promise, and its options.

  >>> def er(*, buffer: int = 200):
  ...   "Experience replay."
  >>> describe({"er": er})
  {'er': 'Experience replay. (buffer=200)'}
  """
  lines = {}
  for name, function in choices.items():
    first = (inspect.getdoc(function) or "").partition("\n")[0]
    listed = [
      key if each.default is inspect.Parameter.empty else _shown(key, each)
      for key, each in options(function).items()
    ]
    lines[name] = f"{first} ({', '.join(listed)})" if listed else first
  return lines


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
  plain = inspect.unwrap(function)
  if not getattr(plain, "__annotations__", None):
    return {}
  return typing.get_type_hints(plain, include_extras=True)


def records(function: Callable[..., Any]) -> dict[str, type]:
  """Returns the classes of the parameters that take a record, by name."""
  hints = _hints(function)
  return {
    name: hints[name]
    for name in keywords(function)
    if isinstance(hints.get(name), type)
    and dataclasses.is_dataclass(hints[name])
  }


def gathered(
  function: Callable[..., Any], found: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns values by parameter, where some were given by field.

  Args:
    function: whose options these are; see `options`.
    found: values by option.
  """
  accepted, defaults = options(function), keywords(function)
  arguments: dict[str, Any] = {}
  for option, read_value in found.items():
    each = accepted.get(option)
    if each is None or not each.field:
      arguments[option] = read_value
      continue
    record = arguments.get(each.keyword, defaults[each.keyword])
    changed = dataclasses.replace(record, **{each.field: read_value})
    arguments[each.keyword] = changed
  return arguments


def _shown(key: str, option: Option) -> str:
  """Returns an option with its default, as a user writes it."""
  return f"{key}=" + ("" if option.default == () else f"{option.default}")
