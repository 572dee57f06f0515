"""Who may ask: this machine's own addresses, or whoever has the token."""

import base64
import binascii
from collections.abc import Mapping
import hashlib
import hmac
import ipaddress
from pathlib import Path

from jcl.living.face.refusals import Refused
from jcl.options.errors import MissingFileError, UsageError

_LEAST = 16  # characters of a token
_LOCAL = ("127.0.0.1", "localhost", "::1")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="jcl", charset="UTF-8"'}


def is_local(host: str) -> bool:
  """Tells whether no other machine reaches an address to listen at."""
  if host == "localhost":
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def token(given: str | None, file: str | None) -> str | None:
  """Returns the token of a text or a file, None where neither is given.

  Raises:
    UsageError: for both, for a file that cannot be read, and for a token that
      is short or does not fit into a header.
  """
  if given is not None and file is not None:
    raise UsageError("--token and --token_file are both given: give one")
  if file is not None:
    path = Path(file).expanduser()
    if not path.is_file():
      raise MissingFileError(f"--token_file={file}: there is no such file")
    try:
      given = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
      raise UsageError(f"--token_file={file} cannot be read: {error}") from None
  if given is None:
    return None
  if len(given) < _LEAST or not given.isascii() or not given.isprintable():
    raise UsageError(
      f"the token has to have {_LEAST} characters or more, of ASCII: "
      "`openssl rand -hex 16` makes one"
    )
  if " " in given:
    raise UsageError("the token holds a blank: leave it out")
  return given


class Guard:
  """Refuses requests that may not be served.

  With a token, every request has to bring it: as `Authorization: Bearer TOKEN`
  or as the password of `Basic`, which browsers ask for. Without one, only names
  of this machine are served as `Host`: a page elsewhere whose name was rebound
  to this address is not. Pages of other places may send nothing at all.

  Args:
    host: address that the server listens at.
    token: that is wanted; None: none.

  Raises:
    UsageError: for an address that others reach, without a token.
  """

  def __init__(self, host: str, token: str | None) -> None:
    if token is None and not is_local(host):
      raise UsageError(
        f"--host={host} lets other machines ask: give --token_file=FILE too, "
        "or leave out --host"
      )
    self._hosts = {*_LOCAL, host} if token is None else None
    self._digest = None if token is None else _digest(token.encode())

  def check(self, method: str, headers: Mapping[str, str]) -> None:
    """Raises Refused unless a request may be served.

    Args:
      method: of HTTP.
      headers: by name in lower case.
    """
    host = headers.get("host", "")
    if self._hosts is not None and _name(host) not in self._hosts:
      raise Refused(403, "this name of the machine is not served")
    if self._digest is not None and not hmac.compare_digest(
      self._digest, _digest(_told(headers.get("authorization", "")))
    ):
      raise Refused(401, "a token is needed", _CHALLENGE)
    if method in ("GET", "HEAD"):
      return
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
      raise Refused(403, "pages of other places may send nothing here")


def _digest(secret: bytes) -> bytes:
  """Returns a digest, whose comparison tells nothing of a secret's length."""
  return hashlib.sha256(secret).digest()


def _told(authorization: str) -> bytes:
  """Returns the token that a header brings, b"" where it brings none."""
  scheme, _, rest = authorization.partition(" ")
  rest = rest.strip()
  if scheme.lower() == "bearer":
    return rest.encode("utf-8", "replace")
  if scheme.lower() == "basic":
    try:
      return base64.b64decode(rest, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
      return b""
  return b""


def _name(host: str) -> str:
  """Returns the name of a Host header, without its port."""
  if host.startswith("["):
    return host[1:].partition("]")[0].lower()
  return host.partition(":")[0].lower()
