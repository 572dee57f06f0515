"""The one notation for choices with options: `name:key=value,key=value`."""

import ast
from collections.abc import Callable, Iterable, Mapping
import difflib
import inspect
import re
from typing import Any

_BYTES = {
  "B": 1,
  "KB": 10**3,
  "MB": 10**6,
  "GB": 10**9,
  "KIB": 2**10,
  "MIB": 2**20,
  "GIB": 2**30,
}


def parse(text: str) -> tuple[str, dict[str, Any]]:
  """Returns the name and the options of a choice such as "er:buffer=500".

  Values are read as Python literals where they are such (numbers, True, lists,
  quoted text), "true" and "false" as True and False, and all others as text.
  Commas inside brackets or quotes belong to the value.

  Raises:
    ValueError: where an option has no "=" or appears twice.
  """
  name, _, rest = text.strip().partition(":")
  options: dict[str, Any] = {}
  for part in _split(rest):
    key, equals, value = part.partition("=")
    key = key.strip()
    if not equals or not key:
      raise ValueError(
        f"{text!r}: option {part!r} should read key=value, as in "
        "name:key=value,other=value"
      )
    if key in options:
      raise ValueError(f"{text!r}: option {key!r} is given twice")
    options[key] = _value(value.strip())
  return name.strip(), options


def _split(text: str) -> list[str]:
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


def _value(text: str) -> Any:
  if text in ("true", "false"):
    return text == "true"
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def parse_size(text: str) -> int:
  """Returns the bytes of a size such as "2MB" (10**6) or "512KiB" (2**10).

  Raises:
    ValueError: where the text is no number, or its unit is missing or unknown.
  """
  match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?i?B)", text.strip(), re.I)
  if match is None or match[2].upper() not in _BYTES:
    raise ValueError(
      f"{text!r} is no size in bytes: write a number and one of B, kB, MB, "
      'GB, KiB, MiB, GiB, such as "2MB" or "512KiB"'
    )
  return int(float(match[1]) * _BYTES[match[2].upper()])


def call(
  kind: str,
  choices: Mapping[str, Callable[..., Any]],
  name: str,
  /,
  *args: Any,
  **options: Any,
) -> Any:
  """Returns `choices[name](*args, **options)`, after a look at the names.

  Options are the keyword-only parameters of the function.

  Raises:
    ValueError: where the name or an option is unknown, or a required option
      is missing; the message lists the choices, and the closest.
  """
  function = choose(kind, choices, name)
  check(kind, name, function, options)
  return function(*args, **options)


def choose(
  kind: str, choices: Mapping[str, Callable[..., Any]], name: str
) -> Callable[..., Any]:
  """Returns the choice called `name`; see `call`."""
  if name not in choices:
    raise ValueError(f"no {kind} is called {name!r}{_hint(name, choices)}")
  return choices[name]


def check(
  kind: str,
  name: str,
  function: Callable[..., Any],
  options: Mapping[str, Any],
  also: Iterable[str] = (),
) -> None:
  """Checks options against a function's, and those in `also`; see `call`."""
  accepted = keywords(function)
  known = [*accepted, *also]
  for option in options:
    if option not in known:
      raise ValueError(
        f"{kind} {name!r} has no option {option!r}{_hint(option, known)}"
      )
  for option, default in accepted.items():
    if default is inspect.Parameter.empty and option not in options:
      raise ValueError(f"{kind} {name!r} needs the option {option}=...")


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
  """Returns a function's keyword-only parameters and their defaults."""
  return {
    parameter.name: parameter.default
    for parameter in inspect.signature(function).parameters.values()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
  }


def describe(choices: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
  """Returns one line about each choice: what it does, and its options."""
  lines = {}
  for name, function in choices.items():
    first = (inspect.getdoc(function) or "").partition("\n")[0]
    options = [
      key if default is inspect.Parameter.empty else f"{key}={default}"
      for key, default in keywords(function).items()
    ]
    lines[name] = f"{first} ({', '.join(options)})" if options else first
  return lines


def _hint(name: str, choices: Iterable[str]) -> str:
  close = difflib.get_close_matches(name, list(choices), n=1)
  guess = f"; did you mean {close[0]!r}?" if close else ";"
  return f"{guess} choose from {', '.join(sorted(choices)) or 'none'}"
