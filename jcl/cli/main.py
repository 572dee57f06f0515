"""The command line: finds the command, and tells what the user did wrong."""

from collections.abc import Sequence
import difflib
import importlib
import sys
from typing import NamedTuple, NoReturn

from absl import app, flags, logging

from jcl.cli import definitions, teach
from jcl.cli import flags as own
from jcl.options.errors import UsageError
from jcl.run import surroundings

FLAGS = flags.FLAGS

# Modules of `jcl.cli`, whose function `command` takes the other arguments and
# returns the exit status.
COMMANDS = {
  "learn": "learn",
  "sweep": "sweep",
  "serve": "serve",
  "device": "device",
  "report": "report",
  "estimate": "estimate",
  "convert": "convert",
  "export": "export",
  "merge": "merge",
  "list": "listing",
}
_HELP = ("--help", "-help", "-h", "-?", "--helpshort")


class Door(NamedTuple):
  """A way in.

  Attributes:
    name: of the program, in messages.
    strict: ask for a command, and refuse flags that it does not read; else
      `--list`, `--estimate` or nothing stand for a command, and any flag goes.
  """

  name: str
  strict: bool


JCL = Door("jcl", strict=True)
RUN_PY = Door("run.py", strict=False)


def run(door: Door) -> NoReturn:
  """Runs the command line of this process, and ends it."""
  surroundings.open_streams()
  words = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
  if any(word in _HELP for word in words) or (door.strict and not words):
    with surroundings.lasting_output():
      print(teach.text(_named(words, door)))
    sys.exit(0)
  own.reset()  # another run of this process may have set them
  app.run(
    lambda argv: main(argv, door),
    flags_parser=_parse if door.strict else app.parse_flags_with_usage,
  )


def main(argv: Sequence[str], door: Door = RUN_PY) -> int:
  """Carries out a command line.

  Args:
    argv: the program's name, and what is left when flags are parsed.
    door: the way in.

  Returns:
    The exit status: 0, 2 for what the user did wrong, 128 and more for signals.
  """
  surroundings.open_streams()
  with surroundings.lasting_output():
    return _main(list(argv[1:]), door)


def _main(words: list[str], door: Door) -> int:
  # Libraries tell at this level what they try and every step of a save.
  logging.get_absl_handler().addFilter(
    lambda record: (
      record.levelno > 20
      or not (record.name.startswith("jax") or "/orbax/" in record.pathname)
    )
  )
  try:
    with surroundings.importing():
      own.check()
      name, arguments = _command(words, door)
      if name != definitions.SWEEP:
        own.check_single(name)
      module = importlib.import_module(f"jcl.cli.{COMMANDS[name]}")
    return module.command(arguments)
  except KeyboardInterrupt:
    return _fail(door, "interrupted before the first checkpoint", 130)
  except Exception as error:
    if logging.level_debug() or not isinstance(error, _told()):
      raise
    signal_number = getattr(error, "number", None)
    code = 128 + signal_number if signal_number else 2
    return _fail(door, str(error), code)


def _told() -> tuple[type[Exception], ...]:
  """Returns the kinds of errors that a sentence tells, without a traceback."""
  from jcl.cli import sweep
  from jcl.replay.store import records
  from jcl.run import checkpoint, loop, meeting, session, together, workdir

  return (
    UsageError,
    meeting.MeetingError,
    together.LostError,
    sweep.SweepError,
    checkpoint.CheckpointError,
    records.StoreError,
    workdir.WorkdirError,
    loop.NonFiniteLossError,
    session.Interrupted,
  )


def _fail(door: Door, message: str, code: int) -> int:
  print(f"{door.name}: {message}", file=sys.stderr)
  return code


def _command(words: list[str], door: Door) -> tuple[str, list[str]]:
  """Returns the command and its arguments.

  Raises:
    UsageError: for an unknown command, and for a flag that it does not read.
  """
  if not words and not door.strict:
    listing, estimating = definitions.LIST.value, definitions.ESTIMATE.value
    return "list" if listing else "estimate" if estimating else "learn", []
  if not words:
    raise UsageError("say what to do, such as `jcl learn`; see jcl --help")
  name, *arguments = words
  if name not in COMMANDS:
    raise UsageError(
      f"no command is called {name!r}{_close(name, COMMANDS) or ';'} the "
      "commands are learn, sweep, serve SYSTEM..., device DIR, report DIR..., "
      "estimate, convert FILE FILE, export RUN FILE, merge RUN... "
      "and list, and flags begin "
      "with --"
    )
  if door.strict:
    _check_flags(name)
  return name, arguments


def _check_flags(command: str) -> None:
  for name in own.given():
    by = definitions.ALL[name].by
    if command not in by:
      where = " and ".join(f"jcl {each}" for each in by) or f"jcl {name}"
      raise UsageError(
        f"jcl {command} does not read --{name}, which is for {where}; see "
        f"jcl {command} --help"
      )


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; ends the process with a sentence where that fails."""
  try:
    return FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    close = _close(error.flagname, definitions.ALL, "--")
    message = f"no flag is called --{error.flagname}{close or ';'}"
  except flags.Error as error:
    message = f"{error};"
  command = _named(argv[1:], JCL)
  see = f"jcl {command} --help" if command else "jcl --help"
  sys.exit(_fail(JCL, f"{message} see {see}", 2))


def _named(words: Sequence[str], door: Door) -> str | None:
  """Returns the command among some words; None where there is none."""
  found = next((word for word in words if word in COMMANDS), None)
  return found if door.strict else found or "learn"


def _close(name: str, known: Sequence[str] | dict, mark: str = "") -> str:
  """Returns a question after the known name that is most like this one."""
  found = difflib.get_close_matches(name[:100], list(known), n=1)
  return f"; did you mean {mark}{found[0]}?" if found else ""
