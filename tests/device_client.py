"""Asks a real server, as tests do."""

import http.client
import io
import json
import time
import urllib.parse

import numpy as np
from PIL import Image


def ask(address, method, path, body=None, headers=None, timeout=60):
  """Returns status, headers and content of an answer.

  Args:
    address: of the server.
    method: of HTTP.
    path: with its options.
    body: JSON-ready, or bytes.
    headers: of the request, that of the content's kind included.
    timeout: seconds to wait.
  """
  parts = urllib.parse.urlsplit(address)
  found = http.client.HTTPConnection(
    parts.hostname, parts.port, timeout=timeout
  )
  headers = dict(headers or {})
  if body is not None and not isinstance(body, bytes):
    body = json.dumps(body).encode()
    headers.setdefault("Content-Type", "application/json")
  try:
    found.request(method, path, body, headers)
    answer = found.getresponse()
    return answer.status, answer.headers, answer.read()
  finally:
    found.close()


def value(address, method, path, body=None, **more):
  """Returns what an answer of status 200 says in JSON."""
  status, _, data = ask(address, method, path, body, **more)
  assert status == 200, data
  return json.loads(data)


def until(condition, seconds=120):
  """Waits until a condition holds; returns what it returned."""
  end = time.monotonic() + seconds
  while not (found := condition()):
    assert time.monotonic() < end, "waited in vain"
    time.sleep(0.05)
  return found


def learned(address, classes):
  """Waits until so many classes are learned; returns the status."""

  def enough():
    found = value(address, "GET", "/status")
    return found if len(found["classes"]) >= classes else None

  return until(enough)


def png(seed, size=8):
  """Returns a grey picture of its own as the content of a PNG file."""
  pixels = np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def pixels(data):
  """Returns [height, width, 1] of a grey PNG file's content."""
  return np.asarray(Image.open(io.BytesIO(data)))[..., None]
