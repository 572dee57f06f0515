"""Writes files as PyTorch does, without PyTorch, for tests of what reads them.

Pieces of a pickle are bytes, to be put together in other ways than PyTorch
would. `stream` is the layout before version 1.6, `archive` the one since.
"""

from collections.abc import Mapping
import io
from typing import NamedTuple
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Array(NamedTuple):
  """A tensor to write: a view of a storage, counted in elements."""

  key: str  # of its storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


def text(value: str) -> bytes:
  data = value.encode()
  return b"X" + len(data).to_bytes(4, "little") + data


def number(value: int) -> bytes:
  """An integer, in the shortest form that pickles have."""
  if 0 <= value < 1 << 8:
    return b"K" + bytes([value])
  if 0 <= value < 1 << 16:
    return b"M" + value.to_bytes(2, "little")
  if -(1 << 31) <= value < 1 << 31:
    return b"J" + value.to_bytes(4, "little", signed=True)
  data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
  return b"\x8a" + bytes([len(data)]) + data


def tupled(*parts: bytes) -> bytes:
  return b"(" + b"".join(parts) + b"t"


def name(module: str, attribute: str) -> bytes:
  return f"c{module}\n{attribute}\n".encode()


def dictionary(items: Mapping[str, bytes]) -> bytes:
  pairs = b"".join(text(key) + value for key, value in items.items())
  return EMPTY + b"(" + pairs + b"u"


def program(value: bytes) -> bytes:
  return b"\x80\x02" + value + b"."


EMPTY = name("collections", "OrderedDict") + b")R"
METADATA = b"}" + text("_metadata") + dictionary({"": b"}"}) + b"sb"
MACHINE = (
  b"}("
  + text("protocol_version")
  + number(1001)
  + text("little_endian")
  + b"\x88"
  + text("type_sizes")
  + b"}("
  + b"".join(
    text(kind) + number(size)
    for kind, size in {"short": 2, "int": 4, "long": 4}.items()
  )
  + b"uu"
)


def storage(
  key: str,
  kind: str,
  elements: int,
  location: str = "cpu",
  more: tuple[bytes, ...] = (),
) -> bytes:
  """The persistent id of a storage; `more` is (b"N",) in a stream."""
  return (
    tupled(
      text("storage"),
      name("torch", kind),
      text(key),
      text(location),
      number(elements),
      *more,
    )
    + b"Q"
  )


def tensor(of: bytes, view: Array, hooks: bytes = EMPTY) -> bytes:
  """A tensor of a storage's persistent id."""
  return (
    name("torch._utils", "_rebuild_tensor_v2")
    + tupled(
      of,
      number(view.offset),
      tupled(*map(number, view.size)),
      tupled(*map(number, view.stride)),
      b"\x89",
      hooks,
    )
    + b"R"
  )


def kind_of(values: np.ndarray) -> str:
  return next(k for k, dtype in KINDS.items() if values.dtype == dtype)


def model(
  arrays: Mapping[str, Array],
  storages: Mapping[str, np.ndarray],
  more: tuple[bytes, ...] = (),
) -> bytes:
  """The program of a dictionary of tensors."""
  found = {
    title: tensor(
      storage(
        view.key,
        kind_of(storages[view.key]),
        len(storages[view.key]),
        more=more,
      ),
      view,
    )
    for title, view in arrays.items()
  }
  return program(dictionary(found) + METADATA)


def stream(
  arrays: Mapping[str, Array],
  storages: Mapping[str, np.ndarray],
  changed: Mapping[int, bytes] | None = None,
) -> bytes:
  """A file as before version 1.6; `changed` replaces pickles by number."""
  keys = sorted(storages)
  pickles = {
    0: program(number(MAGIC)),
    1: program(number(1001)),
    2: program(MACHINE),
    3: model(arrays, storages, (b"N",)),
    4: program(b"](" + b"".join(map(text, keys)) + b"e"),
    **(changed or {}),
  }
  data = [
    len(storages[key]).to_bytes(8, "little") + storages[key].tobytes()
    for key in keys
  ]
  return b"".join([*pickles.values(), *data])


def archive(
  arrays: Mapping[str, Array],
  storages: Mapping[str, np.ndarray],
  changed: Mapping[str, bytes] | None = None,
  compression: int = zipfile.ZIP_STORED,
) -> bytes:
  """A file as since version 1.6; `changed` adds entries, or replaces them."""
  entries = {
    "data.pkl": model(arrays, storages),
    "byteorder": b"little",
    **{f"data/{key}": values.tobytes() for key, values in storages.items()},
    "version": b"3\n",
    **(changed or {}),
  }
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as made:
    for title, content in entries.items():
      made.writestr(zipfile.ZipInfo(f"model/{title}"), content, compression)
  return file.getvalue()
