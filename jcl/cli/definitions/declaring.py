"""How flags are declared: with all that is known of each beside its value."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from absl import flags


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


LEARN, SERVE, DEVICE = "learn", "serve", "device"
CONVERT, EXPORT = "convert", "export"
RUNS = (LEARN, "estimate", SERVE)  # commands that read data
MODELS = (
  LEARN,
  "estimate",
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
)

ALL: dict[str, Flag] = {}  # by name


def _flag(
  define: Callable[..., flags.FlagHolder],
  name: str,
  *about: Any,
  group: str,
  identifies: tuple[str, ...],
  by: tuple[str, ...] = (LEARN, "estimate"),
  **more: Any,
) -> flags.FlagHolder:
  """Defines a flag; `about` and `more` are arguments of absl's function.

  The last of `about` is the help.
  """
  holder = define(name, *about, **more)
  ALL[name] = Flag(holder, about[-1], group, by, identifies)
  return holder


boolean = functools.partial(_flag, flags.DEFINE_bool)
choice = functools.partial(_flag, flags.DEFINE_enum)
number = functools.partial(_flag, flags.DEFINE_float)
integer = functools.partial(_flag, flags.DEFINE_integer)
several = functools.partial(_flag, flags.DEFINE_list)
repeated = functools.partial(_flag, flags.DEFINE_multi_string)
text = functools.partial(_flag, flags.DEFINE_string)
