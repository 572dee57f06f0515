"""The one notation for choices with options: `name:key=value,key=value`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import difflib
import functools
import inspect
import textwrap
from typing import Any, ParamSpec, TypeVar

from jcl.options import kinds, parameters, plain
from jcl.options.errors import UsageError

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


def parse(text: str) -> tuple[str, dict[str, Any]]:
  """Returns the name and the options of a choice such as "er:buffer=500".

  Values are read as Python literals where they are such (numbers, True, lists,
  quoted text), "true" and "false" as True and False, and all others as text.
  Commas inside brackets or quotes belong to the value.

  Raises:
    UsageError: where an option has no "=" or appears twice.

  >>> parse("er:buffer=500,replay=mean")
  ('er', {'buffer': 500, 'replay': 'mean'})
  """
  name, options = read(text)
  return name, {key: plain.literal(value) for key, value in options.items()}


def read(text: str) -> tuple[str, dict[str, plain.Text]]:
  """Returns name and options as `parse` does, but values as they are written.

  `call` and `check` then read each value by the annotation of its option, so
  that a path or a name may look like a number.

  Raises:
    UsageError: where an option has no "=" or appears twice.

  >>> read("npz:path=2024")
  ('npz', {'path': '2024'})
  """
  name, _, rest = text.strip().partition(":")
  options: dict[str, plain.Text] = {}
  for part in _split(rest):
    key, equals, value = part.partition("=")
    key = key.strip()
    if not equals or not key:
      raise UsageError(
        f"{plain.shown(text)}: option {plain.shown(part)} should read "
        "key=value, as in name:key=value,other=value"
      )
    if key in options:
      raise UsageError(
        f"{plain.shown(text)}: option {plain.shown(key)} is given twice"
      )
    options[key] = plain.Text(value.strip())
  return name.strip(), options


def _split(text: str) -> list[str]:
  """Splits at the commas outside brackets and quotes."""
  parts, depth, quote = [""], 0, ""
  for letter in text:
    if quote:
      quote = "" if letter == quote else quote
    elif letter in "'\"" and parts[-1].rstrip()[-1:] in tuple("=[(,"):
      quote = letter  # elsewhere it is an apostrophe
    else:
      depth += (letter in "[(") - (letter in "])")
    if letter == "," and depth == 0 and not quote:
      parts.append("")
    else:
      parts[-1] += letter
  return [part for part in parts if part.strip()]


def call(
  kind: str,
  choices: Mapping[str, Callable[..., Any]],
  name: str,
  /,
  *args: Any,
  **options: Any,
) -> Any:
  """Checks the options, then returns `choices[name](*args, **options)`.

  Options are the keyword-only parameters of the function, and the fields of a
  record in place of a parameter that takes one; see `parameters.options`.

  Args:
    kind: of choice, such as "recipe", for messages.
    choices: functions by name.
    name: of the choice.
    *args: passed on as they are.
    **options: as given, in text (`read`) or in Python values.

  Raises:
    UsageError: where the name or an option is unknown, a required option is
      missing, or a value is none that the function's annotation takes.

  >>> def constant(*, rate: kinds.Positive = 0.1) -> float:
  ...   return rate
  >>> name, options = read("constant:rate=1e-2")
  >>> call("schedule", {"constant": constant}, name, **options)
  0.01
  """
  function = choose(kind, choices, name)
  return function(*args, **check(kind, name, function, options))


def choose(
  kind: str, choices: Mapping[str, Callable[..., Any]], name: str
) -> Callable[..., Any]:
  """Returns the choice called `name`; an unknown name is a UsageError.

  The message names `kind` and the choice nearest to `name`.
  """
  if name not in choices:
    raise UsageError(
      f"no {kind} is called {plain.shown(name)}{_hint(name, choices)}"
    )
  return choices[name]


def check(
  kind: str,
  name: str,
  function: Callable[..., Any],
  given: Mapping[str, Any],
  also: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Reads options by a function's annotations; raises as `call` does.

  Args:
    kind: of choice, for messages.
    name: of the choice.
    function: whose options these are; see `parameters.options`.
    given: by option, in text (`read`) or in Python values.
    also: annotations of further options, by name.

  Returns:
    What was given, each of the kind that its annotation names: arguments of the
    function, records among them, and the further options.
  """
  accepted, further = parameters.options(function), also or {}
  hints = {option: each.hint for option, each in accepted.items()}
  defaults = {option: each.default for option, each in accepted.items()}
  known(f"{kind} {name!r}", given, [*accepted, *further])
  found = {
    option: value(
      f"{kind} {name!r}: {option}", text, {**hints, **further}[option], defaults
    )
    for option, text in given.items()
  }
  for option, default in defaults.items():
    if default is inspect.Parameter.empty and option not in given:
      raise UsageError(f"{kind} {name!r} needs the option {option}=...")
  return parameters.gathered(function, found)


def known(title: str, given: Iterable[str], options: Sequence[str]) -> None:
  """Raises UsageError for the first name given that is none of the options.

  Args:
    title: what has the options, such as "recipe 'er'", for the message.
    given: names to look for.
    options: all names there are.
  """
  for option in given:
    if option not in options:
      raise UsageError(
        f"{title} has no option {plain.shown(option)}{_hint(option, options)}"
      )


def value(
  title: str, given: Any, hint: Any, defaults: Mapping[str, Any] | None = None
) -> Any:
  """Returns a value as the kind that the annotation `hint` names.

  Args:
    title: of the value in a message; its last word is the option's name.
    given: the value, in text (`plain.Text`) or as Python has it.
    hint: the annotation; see `kinds.read`.
    defaults: by the option's name, for an example.

  Raises:
    UsageError: for a value of another kind; the message says what to give.

  >>> value("run: seed", plain.Text("7"), kinds.Seed)
  7
  """
  try:
    return kinds.read(given, hint)
  except plain.Unfit as unfit:
    option = title.split()[-1]
    reason = f" ({unfit})" if str(unfit) else ""
    example = _example((defaults or {}).get(option), hint)
    raise UsageError(
      f"{title}={plain.shown(given)}: give {kinds.words(hint)}{reason}"
      + (f", such as {option}={example}" if example else "")
    ) from None


def checked(kind: str) -> Callable[..., Any]:
  """Returns a decorator that checks options as `call` does, at every call.

  The function is called as Python has it: what text spreads as options are here
  the fields of one record, which are checked likewise.
  """

  def decorate(function: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    @functools.wraps(function)
    def checking(*args: _Given.args, **given: _Given.kwargs) -> _Made:
      own = inspect.signature(function).parameters
      flat = {
        key: value
        for key, value in given.items()
        if key not in own or own[key].kind is inspect.Parameter.KEYWORD_ONLY
      }
      title = f"{kind} {function.__name__!r}"
      records = {
        key: checked_fields(flat.pop(key), hint, f"{title}: {key}")
        for key, hint in parameters.records(function).items()
        if key in flat
      }
      _no_fields(title, function, flat)
      found = check(kind, function.__name__, function, flat)
      return function(*args, **{**given, **found, **records})

    return checking

  return decorate


def checked_fields(
  record: Any, kind: type | None = None, title: str = ""
) -> Any:
  """Returns a dataclass with each field read as its annotation names it.

  Args:
    record: to check.
    kind: of record that is asked for; None: any dataclass.
    title: of the record in messages; its last word is the argument's name.

  Raises:
    UsageError: for a value that its field does not take, or another record.
  """
  if kind is not None and not isinstance(record, kind):
    raise UsageError(
      f"{title}={plain.shown(record)}: give a {kind.__name__}, such as "
      f"{title.split()[-1]}={kind.__name__}({_first(kind)})"
    )
  if not dataclasses.is_dataclass(record) or isinstance(record, type):
    raise UsageError(
      f"{plain.shown(record)} holds no options: give a record of them, such "
      "as jcl.Options(resume=False)"
    )
  hints, default = parameters.fields(type(record)), type(record)()
  start = f"{title}." if title else ""
  found = {
    field.name: value(
      start + field.name,
      getattr(record, field.name),
      hints[field.name],
      {
        (start + name).split()[-1]: each for name, each in vars(default).items()
      },
    )
    for field in dataclasses.fields(record)
  }
  return dataclasses.replace(record, **found)


def _no_fields(
  title: str, function: Callable[..., Any], given: Iterable[str]
) -> None:
  """Raises UsageError for a field that is given in place of its record."""
  records = parameters.records(function)
  for option, each in parameters.options(function).items():
    if each.field and option in given:
      kind = records[each.keyword].__name__
      raise UsageError(
        f"{title}: {option} belongs to {each.keyword}: write "
        f"{each.keyword}={kind}({each.field}=...)"
      )


def _first(kind: type) -> str:
  """Returns a field of a record and its default, as Python has them."""
  field = dataclasses.fields(kind)[0]
  return f"{field.name}={field.default!r}"


def _example(default: Any, hint: Any) -> str:
  """Returns a value that fits, as a user writes it; "" where none is known."""
  candidates = [True, 0.1, 10, [0, 1]]
  if default not in (None, "", (), inspect.Parameter.empty):
    candidates.insert(0, default)
  for found in candidates:
    try:
      kinds.read(found, hint)
    except plain.Unfit:
      continue
    text = str(found).replace(" ", "")
    return text.lower() if isinstance(found, bool) else text
  return ""


def _hint(name: str, choices: Iterable[str]) -> str:
  """Returns the nearest choice and all others, as the end of a sentence."""
  close = difflib.get_close_matches(name[:100], list(choices), n=1)
  guess = f"; did you mean {close[0]!r}?" if close else ";"
  listed = ", ".join(sorted(choices)) or "none"
  return f"{guess} choose from {textwrap.shorten(listed, 400)}"
