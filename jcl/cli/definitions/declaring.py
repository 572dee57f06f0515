"""How flags are declared: with all that is known of each beside its value."""

from collections.abc import Callable
import functools
import re
from typing import Any, NamedTuple

from absl import flags


class Several(tuple[Any, ...]):
  """Values of one flag for runs beside each other, which a sweep takes."""


class Flag(NamedTuple):
  """A flag, with all that is known of it beside its value.

  Attributes:
    holder: gives the value, once flags are parsed.
    help: what it does.
    group: under which help lists it.
    by: commands that read it.
    identifies: commands of whose runs it is a part of what they are: its value
      goes into the name of a work directory, and a work directory that was
      made with another value is refused.
  """

  holder: flags.FlagHolder
  help: str
  group: str
  by: tuple[str, ...]
  identifies: tuple[str, ...]


LEARN, SERVE, DEVICE, SWEEP = "learn", "serve", "device", "sweep"
ESTIMATE = "estimate"
CONVERT, EXPORT = "convert", "export"
RUNS = (LEARN, ESTIMATE, SERVE)  # commands that read data
MODELS = (
  LEARN,
  ESTIMATE,
  DEVICE,
)  # commands that train one model of their own

# Groups, in the order in which help lists them.
GROUPS = (
  DATA := "Data",
  METHOD := "Method and model",
  TRAINING := "Training",
  BUDGET := "Budget and energy",
  ASKING := "What arrives, and who may ask",
  TRUNK := "A frozen trunk",
  SERVING := "Serving",
  CONVERTING := "Converting and exporting",
  FOLDERS := "Folders and what is kept",
  EXECUTION := "How steps are carried out",
  SWEEPING := "Many runs",
  SHARING := "One run over many processes",
)

ALL: dict[str, Flag] = {}  # by name


def _flag(
  define: Callable[..., flags.FlagHolder],
  name: str,
  *about: Any,
  group: str,
  identifies: tuple[str, ...],
  by: tuple[str, ...] = (LEARN, ESTIMATE),
  **more: Any,
) -> flags.FlagHolder:
  """Defines a flag; `about` and `more` are arguments of absl's function.

  The last of `about` is the help. What tells of runs, as `jcl estimate` has to
  know it, `jcl sweep` reads as well.
  """
  holder = define(name, *about, **more)
  if ESTIMATE in by:
    by = (*by, SWEEP)
  ALL[name] = Flag(holder, about[-1], group, by, identifies)
  return holder


class _OneOrSeveral(flags.ArgumentParser):
  """Reads a value, or several with commas between them.

  Args:
    each: reads one.
  """

  def __init__(self, each: flags.ArgumentParser) -> None:
    self._each = each

  def parse(self, argument: Any) -> Any:
    if isinstance(argument, Several):
      return argument
    if isinstance(argument, str) and _LIST.fullmatch(argument):
      return Several(map(self._each.parse, argument.split(",")))
    return self._each.parse(argument)

  def flag_type(self) -> str:
    return self._each.flag_type()


# What begins like a number, more than once: the path of a file does not.
_LIST = re.compile(r"\s*([-+.\d]|inf)[^,]*(,\s*([-+.\d]|inf)[^,]*)+")


def _varying(
  each: flags.ArgumentParser, name: str, default: Any, help: str, **more: Any
) -> flags.FlagHolder:
  return flags.DEFINE(_OneOrSeveral(each), name, default, help, **more)


boolean = functools.partial(_flag, flags.DEFINE_bool)
choice = functools.partial(_flag, flags.DEFINE_enum)
number = functools.partial(_flag, flags.DEFINE_float)
integer = functools.partial(_flag, flags.DEFINE_integer)
several = functools.partial(_flag, flags.DEFINE_list)
repeated = functools.partial(_flag, flags.DEFINE_multi_string)
text = functools.partial(_flag, flags.DEFINE_string)

# Definitions of flags that a sweep may vary: a flag takes one value, or several
# with commas between them.
varied_number = functools.partial(
  _flag, functools.partial(_varying, flags.FloatParser())
)
varied_integer = functools.partial(
  _flag, functools.partial(_varying, flags.IntegerParser())
)
varied_text = functools.partial(
  _flag, functools.partial(_varying, flags.ArgumentParser())
)


def is_varied(name: str) -> bool:
  """Tells whether a flag takes several values, in a sweep."""
  return isinstance(flags.FLAGS[name].parser, _OneOrSeveral)
