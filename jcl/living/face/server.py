"""The server: a socket, and a thread that answers at it."""

import contextlib
import ipaddress
import socket
import threading
import time
from typing import Any

from jcl.living.face import app as app_lib
from jcl.options import errors
from jcl.options.errors import MissingPackageError, UsageError

_CONNECTIONS = 256  # at once
_LINGERS = 10  # seconds for which requests are served when it stops


def listening(host: str, port: int) -> socket.socket:
  """Returns a socket that listens; port 0 takes one that is free.

  Raises:
    UsageError: for a port that is taken, and an address that is not ours.
  """
  try:
    family = socket.AF_INET6 if _is_six(host) else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
  except OSError as error:
    raise _no_address(host, port, error) from error
  try:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(128)
  except (OSError, OverflowError) as error:
    made.close()
    raise _no_address(host, port, error) from error
  return made


def address(made: socket.socket) -> str:
  """Returns the address that a browser opens."""
  host, port = made.getsockname()[:2]
  return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Server:
  """Serves an application at a socket, in a thread of its own.

  Args:
    app: that is served.
    made: the socket, which the server closes.

  Raises:
    MissingPackageError: where the library is not installed.
  """

  def __init__(self, app: app_lib.App, made: socket.socket) -> None:
    uvicorn = library()
    self._app, self._socket = app, made
    settings = uvicorn.Config(
      app,
      http="h11",
      loop="asyncio",
      ws="none",
      lifespan="off",
      log_config=None,
      log_level="critical",
      access_log=False,
      server_header=False,
      proxy_headers=False,
      limit_concurrency=_CONNECTIONS,
      backlog=128,
      timeout_graceful_shutdown=_LINGERS,
      h11_max_incomplete_event_size=1 << 16,
    )
    self._server = uvicorn.Server(settings)
    self._thread = threading.Thread(
      target=self._run, name="jcl server", daemon=True
    )

  @property
  def failed(self) -> bool:
    """Whether it stopped by itself."""
    return self._thread.ident is not None and not self._thread.is_alive()

  def start(self) -> None:
    """Returns once requests are answered."""
    self._thread.start()
    while not self._server.started and self._thread.is_alive():
      time.sleep(0.005)

  def stop(self) -> None:
    """Answers what was asked, and returns."""
    self._server.should_exit = True
    if self._thread.ident is not None:
      self._thread.join()
    self._app.close()
    self._socket.close()

  def _run(self) -> None:
    with contextlib.suppress(SystemExit):
      self._server.run(sockets=[self._socket])


def library() -> Any:
  """Returns the module of the server.

  Raises:
    MissingPackageError: where it is not installed.
  """
  try:
    import uvicorn
  except ImportError as error:
    raise MissingPackageError(
      f"the server cannot be imported ({error}); install it with "
      'pip install "jcl[device]"'
    ) from error
  return uvicorn


def _is_six(host: str) -> bool:
  with contextlib.suppress(ValueError):
    return ipaddress.ip_address(host).version == 6
  return False


def _no_address(host: str, port: int, error: Exception) -> UsageError:
  reason = getattr(error, "strerror", None) or errors.reason(error, 90)
  return UsageError(
    f"cannot listen at {host}, port {port}: {reason}; give another --port, or "
    "0 for one that is free"
  )
