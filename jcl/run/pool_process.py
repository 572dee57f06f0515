"""A process of a pool: carries out tasks until it hears of no more."""

from collections.abc import Mapping
import contextlib
import importlib
import multiprocessing
from multiprocessing import connection as connections
import os
import signal
import sys
import threading
import traceback
from typing import Any, NamedTuple


class Place(NamedTuple):
  """Where a process works.

  Attributes:
    number: of the process.
    processors: that it may use; empty: all.
    log: path of the file that gets what it prints; None: as its parent's.
    environment: variables to set.
  """

  number: int
  processors: tuple[int, ...]
  log: str | None
  environment: Mapping[str, str]


class Failure(NamedTuple):
  """An error of a task, as another process can read it.

  Attributes:
    kind: name of its class, with that of the module.
    message: of the error.
    trace: where it was raised.
  """

  kind: str
  message: str
  trace: str


def serve(
  asked: connections.Connection, place: Place, maker: str, shared: Any
) -> None:
  """Carries out tasks until the other side closes the connection.

  Args:
    asked: gives tasks, and takes pairs of a kind and a value.
    place: where it works.
    maker: see `pool.Plan`.
    shared: argument of the maker.
  """
  _settle(place)
  function, failure = None, None
  try:
    module, _, name = maker.partition(":")
    function = getattr(importlib.import_module(module), name)(shared)
  except Exception as error:
    failure = _failure(error)
  while True:
    try:
      work = asked.recv()
    except (EOFError, OSError):
      return
    told: tuple[str, Any] = ("failed", failure)
    if function is not None:
      try:
        told = "done", function(work, lambda at: asked.send(("at", at)))
      except Exception as error:
        told = "failed", _failure(error)
    try:
      asked.send(told)
    except OSError:  # nobody listens any more
      return


def _settle(place: Place) -> None:
  """Takes the processors, and leaves the terminal to the parent."""
  os.environ.update(place.environment)
  if place.processors and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, place.processors)
  with contextlib.suppress(OSError, AttributeError):
    os.setsid()  # Ctrl-C is for the parent, who tells once what to do
  if place.log is not None:
    file = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
      if stream is not None:
        stream.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Asks this process to save and end once its parent is gone."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    connections.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _failure(error: Exception) -> Failure:
  kind = type(error)
  trace = traceback.format_exc()
  print(trace, file=sys.stderr, flush=True)
  return Failure(f"{kind.__module__}.{kind.__qualname__}", str(error), trace)
