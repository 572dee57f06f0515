"""Processes that share a run: what they agree on, and how they end.

With one process every function returns its argument at once.
"""

import atexit
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import inspect
import json
import os
from pathlib import Path
import secrets
import signal
import sys
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.run import cursor_json, meeting

# Words of errors by which collectives and JAX's service tell of a process that
# is gone.
_GONE = (
  *("gloo", "coordination service", "connection closed by peer"),
  *("connection reset", "socket closed", "heartbeat", "nccl"),
)
_EVENTS = 4  # of a run, between questions whether a process got a signal


class LostError(RuntimeError):
  """Another process of the run is gone or does not answer."""


def advice(members: meeting.Members) -> str:
  """Returns what is to be said where a process is lost."""
  return (
    f"{members.name}: another process of this run has ended, or did not "
    f"answer for {members.patience:g} s; see what it says. Run the same "
    "command on all again to go on from the last checkpoint"
  )


def join(members: meeting.Members) -> None:
  """Makes this process one of several that share a run, once they have met.

  Raises:
    UsageError: where the cluster does not say what processes there are.
  """
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  seconds = max(int(members.patience), 1)
  waits: dict[str, Any] = {
    "initialization_timeout": seconds,
    "heartbeat_timeout_seconds": max(seconds, 10),
    "shutdown_timeout_seconds": seconds,
  }
  known = inspect.signature(jax.distributed.initialize).parameters
  waits = {name: value for name, value in waits.items() if name in known}
  try:
    jax.distributed.initialize(
      members.coordinator, members.processes, members.number, **waits
    )
  except (ValueError, RuntimeError) as error:
    if members.coordinator is not None:
      raise
    raise UsageError(
      "--distributed: the cluster does not say which processes there are "
      f"({errors.short(str(error), 120)}); give --coordinator=HOST:PORT, "
      "--num_processes and --process_id"
    ) from error


def shared() -> bool:
  """Tells whether several processes share this run."""
  return jax.process_count() > 1


def is_first() -> bool:
  """Tells whether this process writes the files of the run."""
  return jax.process_index() == 0


def first_of(value: bool) -> bool:
  """Returns the first process's value, in all of them."""
  if not shared():
    return value
  return bool(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_of(value: bool) -> bool:
  """Tells whether the value is true in any process."""
  if not shared():
    return value
  return bool(np.any(multihost_utils.process_allgather(np.int32(value))))


class Stopping:
  """Tells, in all processes at the same event, that one got a signal.

  Args:
    signals: that this process has got; the list grows.
  """

  def __init__(self, signals: Sequence[int]) -> None:
    self._signals, self._events = signals, 0

  @property
  def number(self) -> int:
    """The signal; SIGTERM where another process got it."""
    return self._signals[0] if self._signals else signal.SIGTERM

  def __call__(self, now: bool) -> bool:
    """Tells whether the run stops; to be asked at every event of it.

    Args:
      now: ask the others at this event, and not only now and then.
    """
    if not shared():
      return bool(self._signals)
    self._events += 1
    if now or self._events % _EVENTS == 0:
      return any_of(bool(self._signals))
    return False


def text_of_first(text: str) -> str:
  """Returns the first process's text, in all of them."""
  if not shared():
    return text
  told = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
  padded = np.zeros(size, np.int32)
  padded[: min(size, len(told))] = told[:size]
  found = multihost_utils.broadcast_one_to_all(padded)
  return np.asarray(found).astype(np.uint8).tobytes().decode()


def decided(decision: base.Decision, control: Any) -> tuple[base.Decision, Any]:
  """Returns the first process's decision and its controller's state.

  Clocks and sensors differ, so that decisions by them do as well.
  """
  if not shared():
    return decision, control
  told = cursor_json.decided(decision), control
  fields, control = json.loads(text_of_first(json.dumps(told)))
  return cursor_json.decision(fields, decision.changes), control


def check_alike(told: Mapping[str, Any]) -> None:
  """Raises UsageError, in every process, where they are told other things.

  Args:
    told: settings of this process, JSON-ready.
  """
  if not shared():
    return
  mine = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(len(mine)))
  padded = np.zeros(int(np.max(sizes)), np.int32)
  padded[: len(mine)] = mine
  rows = np.asarray(multihost_utils.process_allgather(padded))
  every = [
    json.loads(row[:size].astype(np.uint8).tobytes())
    for row, size in zip(rows, np.ravel(sizes), strict=True)
  ]
  found = [
    f"{name} is {errors.short(every[0].get(name), 60)} for process 0 and "
    f"{errors.short(other.get(name), 60)} for process {number}"
    for number, other in enumerate(every)
    for name in sorted(every[0].keys() | other.keys())
    if other.get(name) != every[0].get(name)
  ]
  if found:
    raise UsageError(
      f"processes that share a run differ: {'; '.join(found[:3])}"
      + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
      + ". Give all the same"
    )


def check_folder(folder: Path) -> None:
  """Raises UsageError, in every process, unless all see one folder.

  Args:
    folder: of the run, which the first process has made.
  """
  if not shared():
    return
  path = folder / ".shared"
  mark = text_of_first(secrets.token_hex(8))
  if is_first():
    path.write_text(mark, encoding="utf-8")
  multihost_utils.sync_global_devices("written")
  try:
    found = path.read_text(encoding="utf-8")
  except OSError:
    found = ""
  apart = any_of(found != mark)
  if is_first():
    path.unlink(missing_ok=True)
  if apart:
    raise UsageError(
      f"{folder} is not the same folder for all processes: give a --workdir on "
      "storage that all machines share, as checkpoints are read from there"
    )


def check(method: base.Method, trunk_cache: str) -> None:
  """Raises UsageError for what processes cannot share."""
  if not shared():
    return
  if method.hierarchy is not None:
    raise UsageError(
      "the recipe exchanges examples between memory and storage, each process "
      "at a pace of its own, and all would have to do the same: run it in one "
      "process, or give a recipe with its memory on the device, such as er"
    )
  if trunk_cache:
    raise UsageError(
      f"trunk_cache={trunk_cache!r} keeps the trunk's outputs where one "
      "process computes them: leave it out where several processes share a run"
    )


@contextlib.contextmanager
def explained(advice: str) -> Iterator[None]:
  """Turns errors about a process that is gone into one that says what to do.

  Args:
    advice: what to say then.

  Raises:
    LostError: in place of such an error. The process then ends without waiting
      for the others once more.
  """
  try:
    yield
  except (ValueError, RuntimeError) as error:
    text = str(error).lower()
    if isinstance(error, UsageError) or not any(word in text for word in _GONE):
      raise
    atexit.register(_leave)  # ahead of what JAX has registered
    raise LostError(advice) from error


def _leave() -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(2)
