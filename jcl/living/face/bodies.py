"""Bodies of requests: JSON, an image or a .npy file become inputs and labels.

What is read comes from anyone who may ask, so that nothing is executed, sizes
are checked before memory is taken, and every mistake is told in a sentence.
"""

from collections.abc import Mapping, Sequence
import io
import json
import math
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jcl.living.face import pictures
from jcl.living.face.refusals import Refused, malformed
from jcl.options import errors

IMAGES = {"image/png": "PNG", "image/jpeg": "JPEG"}  # and their formats
ARRAYS = ("application/x-npy", "application/octet-stream")
JSON = "application/json"


class Body(NamedTuple):
  """A request's body, as it came.

  Attributes:
    kind: media type, in lower case, without its options.
    data: content.
    options: of the address, behind its "?": values by name.
  """

  kind: str
  data: bytes
  options: Mapping[str, Sequence[str]]


class Given(NamedTuple):
  """Inputs, and the labels that came with them."""

  x: np.ndarray  # [N, ...]
  labels: list[Any] | None  # [N]; None: none has one


def inputs(
  body: Body,
  example: np.ndarray | None,
  reading: pictures.Reading,
  labelled: bool,
) -> Given:
  """Reads inputs, and labels where the request may bring them.

  Args:
    body: of the request.
    example: like all examples before, None where there is none.
    reading: of images.
    labelled: whether labels may come with them.

  Raises:
    Refused: for a kind of body that is not read, and for a malformed one.
    UsageError: for an image that cannot be read.
  """
  if body.kind == JSON:
    _check_options(body.options, ())
    return _of_json(_fields(body.data, ("x", "label")[: 1 + labelled]), example)
  _check_options(body.options, ("label",) if labelled else ())
  if body.kind in IMAGES:
    pixels = reading.pixels(
      body.data, "the image", example, (IMAGES[body.kind],)
    )
    x = pixels[None]
  elif body.kind in ARRAYS:
    x = _array(body.data)
  else:
    kinds = ", ".join((JSON, *IMAGES, ARRAYS[0]))
    raise Refused(
      415,
      f"the body is of type {errors.short(body.kind)}: send one of {kinds}, "
      "and say which as Content-Type",
    )
  return Given(x, _labels(body.options.get("label", ()), len(x)))


def corrections(body: Body) -> tuple[list[int], list[Any]]:
  """Reads ids [N] and their labels [N] from {"ids": [...], "label": [...]}.

  Raises:
    Refused: for anything else.
  """
  if body.kind != JSON:
    raise Refused(
      415, f'send {{"ids": [...], "label": [...]}}, as Content-Type {JSON}'
    )
  _check_options(body.options, ())
  found = _fields(body.data, ("ids", "label"))
  for name in ("ids", "label"):
    if not isinstance(found.get(name), list):
      raise malformed(f'"{name}" is to be a list: {{"ids": [0], "label": [1]}}')
  ids, labels = found["ids"], found["label"]
  for each in ids:
    if type(each) is not int or not 0 <= each < 2**63:
      raise malformed(
        f'"ids" holds {errors.short(each)}: give numbers that observe returned'
      )
  if len(ids) != len(labels) or not ids:
    raise malformed(
      f"{errors.count(len(labels), 'label')} for "
      f"{errors.count(len(ids), 'id')}: give one each"
    )
  return ids, labels


def _fields(data: bytes, known: Sequence[str]) -> dict[str, Any]:
  """Returns the fields of a JSON object, which are all among `known`."""
  try:
    found = json.loads(data.decode("utf-8"), parse_constant=_no_number)
  except RecursionError:
    raise malformed("the body is nested too deeply") from None
  except ValueError as error:
    raise malformed(
      f"the body is no JSON ({errors.reason(error, 80)})"
    ) from None
  wanted = ", ".join(f'"{name}": [...]' for name in known)
  if not isinstance(found, dict):
    raise malformed(f"the body is no JSON object: send {{{wanted}}}")
  unknown = [name for name in found if name not in known]
  if unknown:
    raise malformed(
      f"the field {errors.short(unknown[0])} is not known: send {{{wanted}}}"
    )
  return found


def _no_number(text: str) -> NoReturn:
  raise ValueError(f"{text} is no number of JSON")


def _of_json(found: Mapping[str, Any], example: np.ndarray | None) -> Given:
  if not isinstance(found.get("x"), list) or not found["x"]:
    raise malformed('"x" is to be a list of examples, such as [[0.5, 1.5]]')
  try:
    x = np.array(found["x"])
  except (ValueError, OverflowError):  # rows of unequal length
    raise malformed('"x" has rows of unequal length') from None
  if x.dtype.kind not in "biuf":
    raise malformed('"x" holds something else than numbers')
  whole = example is not None and example.dtype == np.uint8
  if whole and x.dtype.kind in "iu" and 0 <= x.min() and x.max() <= 255:
    x = x.astype(np.uint8)
  labels = found.get("label")
  if labels is not None and not isinstance(labels, list):
    raise malformed('"label" is to be a list with a label for each example')
  return Given(x, labels)


def _labels(given: Sequence[str], count: int) -> list[Any] | None:
  """Returns a label for each of `count` examples; one stands for all."""
  if not given:
    return None
  if len(given) not in (1, count):
    raise malformed(
      f"{errors.count(len(given), 'label')} for "
      f"{errors.count(count, 'example')}: give one for all, or one each"
    )
  return list(given) * (count // len(given))


def _check_options(
  options: Mapping[str, Sequence[str]], known: Sequence[str]
) -> None:
  unknown = [name for name in options if name not in known]
  if unknown:
    raise malformed(
      f"the option {errors.short(unknown[0])} of the address is not known here"
      + (f"; known: {', '.join(known)}" if known else "")
    )


def _array(data: bytes) -> np.ndarray:
  """Reads a .npy file of numbers whose header tells its true size."""
  file = io.BytesIO(data)
  try:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
      header = np.lib.format.read_array_header_1_0(file)
    else:
      header = np.lib.format.read_array_header_2_0(file)
    shape, in_columns, dtype = header
  except Exception:  # a damaged header may raise almost anything
    raise malformed("the body is no .npy file of version 1 or 2") from None
  if dtype.kind not in "biuf":
    raise malformed("the .npy file holds something else than numbers")
  held, rest = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
  if min(shape, default=1) < 0 or held != rest or not held:
    raise malformed(
      f"the .npy file tells of {held} bytes and has {rest}: it is damaged"
    )
  found = np.frombuffer(data, dtype, offset=file.tell())
  found = found.reshape(shape, order="F" if in_columns else "C")
  native = dtype.newbyteorder("=")
  return np.ascontiguousarray(found, native)
