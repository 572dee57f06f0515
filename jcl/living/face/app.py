"""The application that a server runs: routes, bodies, and who has to wait.

A request has a place in a lane before its body is read, and the lanes are
short, so that memory is bounded whatever is sent. Predictions have a lane of
their own: neither learning nor a report that is being drawn delays them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent import futures
import json
import secrets
from typing import Any, NamedTuple
import urllib.parse

from jcl.living.face import bodies, page
from jcl.living.face import box as box_lib
from jcl.living.face import guard as guard_lib
from jcl.living.face.refusals import Refused, busy, malformed
from jcl.options import errors
from jcl.options.errors import UsageError

MOST_BYTES = 16 << 20  # of a body
_DRAINED = 1 << 20  # bytes of a refused body that are read for its answer
_SECONDS = 30.0  # in which a body has to arrive

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_HEADERS = {
  "Cache-Control": "no-store",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
}
_POLICY = (
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_FAILED = Refused(500, "the request failed inside: the terminal tells why")


class Answer(NamedTuple):
  """An answer of HTTP."""

  status: int
  data: bytes
  kind: str = bodies.JSON
  headers: Mapping[str, str] = {}


class Lane:
  """Threads for requests of a kind, and places to wait for them.

  Args:
    threads: that serve at once.
    places: requests at most, those served included.
  """

  def __init__(self, threads: int, places: int) -> None:
    self._pool = futures.ThreadPoolExecutor(threads, "jcl request")
    self._free = places

  def enter(self) -> None:
    """Takes a place; Refused where there is none. `leave` gives it back."""
    if self._free <= 0:
      raise busy()
    self._free -= 1

  def leave(self) -> None:
    """Gives a place back."""
    self._free += 1

  async def run(self, work: Callable[[], Answer]) -> Answer:
    """Returns what `work` returns, in a thread of the lane."""
    return await asyncio.get_running_loop().run_in_executor(self._pool, work)

  def close(self) -> None:
    """Returns when the last request is served."""
    self._pool.shutdown()


class Route(NamedTuple):
  """A path that is served."""

  method: str
  lane: str  # "" for what needs no thread
  serve: Callable[["App", bodies.Body], Answer]


class App:
  """An ASGI application over a learner.

  Args:
    box: of the learner.
    guard: that says who may ask.
    say: is called with a line for the terminal where a request failed.
    most_bytes: of a body.
    lanes: by name: "take" for what arrives, "predict", "report".
  """

  def __init__(
    self,
    box: box_lib.Box,
    guard: guard_lib.Guard,
    say: Callable[[str], None],
    most_bytes: int = MOST_BYTES,
    lanes: Mapping[str, Lane] | None = None,
  ) -> None:
    self.box, self._guard, self._say = box, guard, say
    self._most = most_bytes
    self.lanes = lanes or {
      "take": Lane(1, 16),
      "predict": Lane(2, 16),
      "report": Lane(1, 2),
    }

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves a request."""
    if scope["type"] != "http":
      return
    headers = {
      name.decode("latin-1").lower(): value.decode("latin-1")
      for name, value in scope["headers"]
    }
    read = _Reader(receive, headers)
    try:
      answer = await self._answer(scope, headers, read)
    except Refused as error:
      answer = refusal(error)
    except _Gone:
      return
    except UsageError as error:
      answer = refusal(malformed(errors.reason(error, 400)))
    except Exception as error:
      self._say(f"{scope['path']} failed: {type(error).__name__}: {error}")
      answer = refusal(_FAILED)
    await read.drain(_DRAINED)
    await _send(answer, send)

  def close(self) -> None:
    """Returns when the last request is served."""
    for lane in self.lanes.values():
      lane.close()

  async def _answer(
    self, scope: Scope, headers: Mapping[str, str], read: "_Reader"
  ) -> Answer:
    method, path = scope["method"], scope["path"]
    self._guard.check(method, headers)
    route = ROUTES.get(path)
    if route is None:
      raise Refused(404, f"there is nothing here: ask for {', '.join(ROUTES)}")
    if method != route.method and (method, route.method) != ("HEAD", "GET"):
      raise Refused(
        405,
        f"{path} takes {route.method}",
        {"Allow": route.method if route.method != "GET" else "GET, HEAD"},
      )
    if not route.lane:
      return route.serve(self, bodies.Body("", b"", {}))
    lane = self.lanes[route.lane]
    lane.enter()
    try:
      body = await self._body(scope, headers, read)
      return await lane.run(lambda: route.serve(self, body))
    finally:
      lane.leave()

  async def _body(
    self, scope: Scope, headers: Mapping[str, str], read: "_Reader"
  ) -> bodies.Body:
    if headers.get("content-encoding", "identity") != "identity":
      raise Refused(415, "send the body as it is, without Content-Encoding")
    try:
      options = urllib.parse.parse_qs(
        scope["query_string"].decode("ascii"),
        keep_blank_values=True,
        errors="strict",
        max_num_fields=100_000,
      )
    except ValueError:
      raise malformed("the address holds options that are no text") from None
    try:
      data = await asyncio.wait_for(read.whole(self._most), _SECONDS)
    except TimeoutError:
      raise Refused(
        408, f"the body did not arrive in {_SECONDS:.0f} s"
      ) from None
    kind = headers.get("content-type", bodies.JSON).partition(";")[0]
    return bodies.Body(kind.strip().lower(), data, options)

  def observe(self, body: bodies.Body) -> Answer:
    """Serves what arrives."""
    box = self.box
    given = bodies.inputs(body, box.example, box.reading, labelled=True)
    return _json(box.observe(given.x, given.labels))

  def predict(self, body: bodies.Body) -> Answer:
    """Serves predictions."""
    box = self.box
    given = bodies.inputs(body, box.example, box.reading, labelled=False)
    return _json(box.predict(given.x))

  def label(self, body: bodies.Body) -> Answer:
    """Serves labels that come later."""
    return _json(self.box.label(*bodies.corrections(body)))

  def end(self, body: bodies.Body) -> Answer:
    """Serves the end of an experience."""
    if body.data:
      raise malformed("/end takes no body")
    return _json(self.box.end())

  def status(self, body: bodies.Body) -> Answer:
    """Serves what the page shows, as JSON."""
    del body
    return _json(self.box.status())

  def report(self, body: bodies.Body) -> Answer:
    """Serves the report, as a page."""
    del body
    headers = {"Content-Security-Policy": _POLICY}
    kind = "text/html; charset=utf-8"
    return Answer(200, self.box.report(), kind, headers)

  def front(self, body: bodies.Body) -> Answer:
    """Serves the live page."""
    del body
    nonce = secrets.token_urlsafe(16)
    policy = f"{_POLICY}; script-src 'nonce-{nonce}'; connect-src 'self'"
    headers = {"Content-Security-Policy": policy}
    kind = "text/html; charset=utf-8"
    return Answer(200, page.made(nonce).encode(), kind, headers)


ROUTES = {
  "/": Route("GET", "", App.front),
  "/status": Route("GET", "", App.status),
  "/report": Route("GET", "report", App.report),
  "/observe": Route("POST", "take", App.observe),
  "/label": Route("POST", "take", App.label),
  "/end": Route("POST", "take", App.end),
  "/predict": Route("POST", "predict", App.predict),
}


def refusal(error: Refused) -> Answer:
  """Returns the answer that tells why a request is not served."""
  told = {"error": error.told}
  return Answer(error.status, _encoded(told), headers=error.headers)


class _Gone(Exception):
  """Raised where nobody waits for an answer any more."""


class _Reader:
  """Reads the body of a request, as far as it is wanted."""

  def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
    self._receive, self._headers = receive, headers
    self._ended = "content-length" not in headers and (
      "transfer-encoding" not in headers
    )

  async def whole(self, most: int) -> bytes:
    """Returns the body; Refused where it has more than `most` bytes."""
    told = self._headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most:
      raise _too_large(most)
    data = bytearray()
    while not self._ended:
      data += await self._part()
      if len(data) > most:
        raise _too_large(most)
    return bytes(data)

  async def drain(self, most: int) -> None:
    """Reads on for a client that hears only once it has sent all.

    Args:
      most: bytes after which the connection is left to break.
    """
    if self._headers.get("expect"):
      return  # it asks first
    try:
      async with asyncio.timeout(2.0):
        while most > 0 and not self._ended:
          most -= len(await self._part())
    except (TimeoutError, _Gone):
      pass

  async def _part(self) -> bytes:
    message = await self._receive()
    if message["type"] == "http.disconnect":
      self._ended = True
      raise _Gone
    self._ended = not message.get("more_body", False)
    return message.get("body", b"")


def _too_large(most: int) -> Refused:
  return Refused(
    413, f"the body has more than {most:,} bytes: send it in several requests"
  )


def _json(value: Mapping[str, Any]) -> Answer:
  return Answer(200, _encoded(value))


def _encoded(value: Mapping[str, Any]) -> bytes:
  return json.dumps(value, allow_nan=False).encode() + b"\n"


async def _send(answer: Answer, send: Send) -> None:
  headers = {
    "Content-Type": answer.kind,
    "Content-Length": str(len(answer.data)),
    **_HEADERS,
    **answer.headers,
  }
  pairs = [
    (k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()
  ]
  start = {
    "type": "http.response.start",
    "status": answer.status,
    "headers": pairs,
  }
  await send(start)
  await send({"type": "http.response.body", "body": answer.data})
