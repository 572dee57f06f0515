"""How processes of one run find each other, ahead of JAX.

JAX ends a process that waits in vain, without a word of what to do. Here the
first process listens where it will coordinate the others, these say hello, and
whoever waits too long or says something else is told in a sentence. Nothing of
JAX is imported.
"""

from collections.abc import Mapping
import contextlib
import json
import socket
import time
from typing import Any, NamedTuple

from jcl.options.errors import UsageError

_PAUSE = 0.2  # seconds between tries to reach the first process
_LONGEST = 4096  # bytes of a message


class MeetingError(RuntimeError):
  """Processes that did not come together; the message says what to do."""


class Members(NamedTuple):
  """The processes of a run.

  Attributes:
    coordinator: "HOST:PORT" of the first process; None where the cluster says.
    processes: number of them.
    number: of this one, from 0.
    patience: seconds to wait for others, to come and to answer.
  """

  coordinator: str | None
  processes: int | None
  number: int | None
  patience: float

  @property
  def name(self) -> str:
    """This process in messages."""
    if self.number is None:
      return "this process"
    return f"process {self.number} of {self.processes}"


def address(text: str) -> tuple[str, int]:
  """Returns host and port of text such as "10.0.0.1:1234" or "[::1]:1234".

  Raises:
    UsageError: for other text.

  >>> address("localhost:8476"), address("[::1]:8476")
  (('localhost', 8476), ('::1', 8476))
  """
  host, _, port = text.rpartition(":")
  fits = port.isascii() and port.isdigit() and 0 < int(port) < 2**16
  if not host or not fits:
    raise UsageError(
      f"--coordinator={text}: write host and port of process 0, such as "
      "10.0.0.1:8476"
    )
  return host.removeprefix("[").removesuffix("]"), int(port)


def meet(members: Members) -> None:
  """Returns once all processes are there and have said the same.

  Raises:
    MeetingError: where some do not come in time, or count otherwise.
  """
  assert members.coordinator is not None and members.processes is not None
  host, port = address(members.coordinator)
  until = time.monotonic() + members.patience
  if members.number == 0:
    if members.processes > 1:
      _receive(members, port, until)
  else:
    _greet(members, host, port, until)


def _receive(members: Members, port: int, until: float) -> None:
  """Waits for all others, and tells each of them what came of it."""
  arrived: dict[int, socket.socket] = {}
  with contextlib.ExitStack() as stack:
    try:
      listener = stack.enter_context(_listener(port))
    except OSError as error:
      raise MeetingError(
        f"cannot listen on port {port} ({error.strerror or error}): give "
        "--coordinator another port, on all processes"
      ) from error
    wrong = ""
    while len(arrived) < (members.processes or 0) - 1 and not wrong:
      listener.settimeout(max(until - time.monotonic(), 0.01))
      try:
        connection, _ = listener.accept()
      except TimeoutError:
        wrong = _absent(members, arrived)
        break
      stack.enter_context(connection)
      wrong = _heard(members, connection, arrived)
    for connection in arrived.values():
      with contextlib.suppress(OSError):
        connection.sendall(json.dumps({"wrong": wrong}).encode() + b"\n")
        connection.recv(1)  # they close first, so that the port is free at once
  if wrong:
    raise MeetingError(wrong)


def _listener(port: int) -> socket.socket:
  if socket.has_dualstack_ipv6():
    return socket.create_server(
      ("", port), family=socket.AF_INET6, dualstack_ipv6=True
    )
  return socket.create_server(("", port))


def _absent(members: Members, arrived: Mapping[int, Any]) -> str:
  missing = sorted(set(range(1, members.processes or 0)) - arrived.keys())
  shown = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
  return (
    f"of {members.processes} processes, {shown} did not come to "
    f"{members.coordinator} within {members.patience:g} s: start each with the "
    "same flags and its own --process_id"
  )


def _heard(
  members: Members,
  connection: socket.socket,
  arrived: dict[int, socket.socket],
) -> str:
  """Takes a process in; returns what is wrong with what it says, "" if nothing.

  Whoever says nothing that a process of a run would say is left alone.
  """
  connection.settimeout(5.0)
  try:
    said = json.loads(_line(connection))
    number, count = int(said["number"]), int(said["count"])
  except (OSError, ValueError, KeyError, TypeError):
    connection.close()
    return ""
  connection.settimeout(members.patience)
  wrong = ""
  if count != members.processes:
    wrong = (
      f"--num_processes is {members.processes} for process 0 and {count} for "
      f"process {number}: give all the same"
    )
  elif number in arrived:
    wrong = f"two processes say --process_id={number}: give each its own"
  arrived[-1 if wrong else number] = connection
  return wrong


def _greet(members: Members, host: str, port: int, until: float) -> None:
  """Says hello to the first process, and waits for the others with it."""
  said = {"number": members.number, "count": members.processes}
  why = ""
  while time.monotonic() < until:
    left = max(until - time.monotonic(), 0.01)
    try:
      with socket.create_connection((host, port), timeout=left) as connection:
        connection.sendall(json.dumps(said).encode() + b"\n")
        # Process 0 may have begun to wait later than this one.
        connection.settimeout(members.patience + 5.0)
        answer = json.loads(_line(connection))
        wrong = str(answer["wrong"])
    except (OSError, ValueError, KeyError, TypeError) as error:
      why = str(getattr(error, "strerror", None) or error) or "no answer"
      time.sleep(_PAUSE)
      continue
    if wrong:
      raise MeetingError(wrong)
    return
  raise MeetingError(
    f"process 0 does not answer at {members.coordinator} within "
    f"{members.patience:g} s ({why}): start it there, and see that its port is "
    "open to this machine"
  )


def _line(connection: socket.socket) -> bytes:
  found = b""
  while not found.endswith(b"\n"):
    more = connection.recv(_LONGEST)
    if not more or len(found) > _LONGEST:
      raise ValueError("it closed the connection")
    found += more
  return found
