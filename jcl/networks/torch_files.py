"""Reads the arrays of PyTorch's files without PyTorch, executing nothing.

What `torch.save` writes is a pickle: a program, whose instructions may call any
function of any module. No unpickler runs here. The few instructions that a
dictionary of tensors consists of are read one by one, the four names that they
mention are compared as text, and whatever else there is, is refused.

There are two layouts. Before version 1.6, a file is a row of pickles (a magic
number, a version, the machine's sizes, the tensors' dictionary, and the keys of
their storages), then the storages. Since then it is a zip archive without
compression: `NAME/data.pkl` holds the dictionary and `NAME/data/KEY` a storage.
"""

from collections.abc import Iterable, Mapping
import hashlib
import math
import struct
from typing import Any
import zipfile
import zlib

import numpy as np

from jcl.networks import instructions
from jcl.networks.instructions import Refused, Storage, Tensor
from jcl.options import errors
from jcl.options.errors import MissingFileError, UsageError

SUFFIXES = (".pth", ".pt")

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_MACHINE = {
  "protocol_version": _VERSION,
  "little_endian": True,
  "type_sizes": {"short": 2, "int": 4, "long": 4},
}
_AXES = 16  # of a tensor, at most

_LOCAL, _END = b"PK\3\4", b"PK\5\6"
_LOCAL_SIZE, _END_SIZE = 30, 22  # bytes of these records
_BEHIND = 24  # bytes at most that describe an entry behind its data
# Entries of an archive beside the pickle and the storages.
_NOTES = (
  "version",
  "byteorder",
  ".format_version",
  ".storage_alignment",
  ".data/serialization_id",
)

_DAMAGED = (zipfile.BadZipFile, NotImplementedError, struct.error, MemoryError)


def read(path: str, sha256: str | None = None) -> dict[str, np.ndarray]:
  """Returns the tensors of a file that `torch.save(model.state_dict())` wrote.

  Reading takes about twice the memory of the file.

  Args:
    path: of the file.
    sha256: digest that the file must have, in hexadecimal digits; None: any.

  Returns:
    Arrays by name, float32 or int64. Names of one and the same tensor share an
    array.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the digest is another one, or the file holds anything but
      one dictionary of tensors on the CPU; the message says what.
  """
  try:
    content = np.fromfile(path, np.uint8)
  except FileNotFoundError:
    raise MissingFileError(
      f"there is no {path}: give a file of torch.save(model.state_dict(), FILE)"
    ) from None
  except OSError as error:
    raise UsageError(f"{path} cannot be read: {error.strerror}") from error
  if sha256 is not None:
    _check_digest(path, content, sha256)
  try:
    if bytes(content[:2]) == _LOCAL[:2]:
      return _from_archive(path, content)
    return _from_stream(content)
  except (Refused, *_DAMAGED) as error:
    raise UsageError(
      f"{path} is no dictionary of PyTorch's tensors, or a damaged one "
      f"({errors.reason(error)}): fetch it again, or write it with "
      "torch.save(model.state_dict(), FILE)"
    ) from error


def _check_digest(path: str, content: np.ndarray, expected: str) -> None:
  found = hashlib.sha256(content.data).hexdigest()
  if found != expected.lower():
    raise UsageError(
      f"{path} has the SHA-256 {found} and not {errors.short(expected, 70)}: "
      "it is another file, or a damaged one; fetch it again"
    )


def _from_stream(content: np.ndarray) -> dict[str, np.ndarray]:
  """Reads the layout before PyTorch 1.6."""
  view, at, found = content.data, 0, []
  for expected in (_MAGIC, _VERSION, _MACHINE, None, None):
    value, at = instructions.run(view, at)
    found.append(value)
    if expected is not None and not _same(value, expected):
      what = ("magic number", "version", "machine")[len(found) - 1]
      raise Refused(f"its {what} is another one than {_told(expected)}")
  tensors, keys = _named(found[3]), found[4]
  wanted = _storages(tensors.values())
  if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
    raise Refused("its storages are not listed by key")
  if len(keys) != len(wanted) or set(keys) != set(wanted):
    raise Refused("the storages it lists are not those of its tensors")
  raw = {}
  for key in keys:
    storage = wanted[key]
    (count,) = struct.unpack_from("<q", view, at)
    if count != storage.elements:
      raise Refused(f"a storage of {storage.elements} values holds {count}")
    end = at + 8 + storage.size
    raw[key] = _cut(content, at + 8, end)
    at = end
  if at != len(content):
    raise Refused(f"{len(content) - at} bytes are left over behind the tensors")
  return _arrays(tensors, raw, len(content))


def _told(expected: Any) -> str:
  return hex(expected) if expected == _MAGIC else str(expected)


def _same(value: Any, expected: Any) -> bool:
  """Compares numbers and small dicts, types included."""
  if type(value) is not type(expected):
    return False
  if not isinstance(expected, dict):
    return bool(value == expected)
  return value.keys() == expected.keys() and all(
    _same(value[key], expected[key]) for key in expected
  )


def _from_archive(path: str, content: np.ndarray) -> dict[str, np.ndarray]:
  """Reads the layout of a zip archive, since PyTorch 1.6."""
  entries = _entries(path, content)
  pickles = [name for name in entries if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise Refused(f"it has {len(pickles)} entries data.pkl")
  (name,) = pickles
  root = name.removesuffix("data.pkl")
  program = entries.pop(name).data
  value, end = instructions.run(program, 0)
  if end != len(program):
    raise Refused(f"{len(program) - end} bytes are left over in data.pkl")
  tensors = _named(value)
  raw = {}
  for key, storage in _storages(tensors.values()).items():
    data = entries.pop(f"{root}data/{key}", None)
    if data is None or len(data) != storage.size:
      held = "is missing" if data is None else f"holds {len(data)} bytes"
      raise Refused(f"a storage of {storage.size} bytes {held}")
    raw[key] = data
  order = entries.get(f"{root}byteorder")
  if order is not None and bytes(order) != b"little":
    raise Refused("its bytes are not in little-endian order")
  unknown = sorted(set(entries) - {root + name for name in _NOTES})
  if unknown:
    raise Refused(f"entry {errors.short(unknown[0])} belongs to no tensor")
  return _arrays(tensors, raw, len(content))


def _entries(path: str, content: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the entries of an archive, which must fill it from end to end."""
  if bytes(content[-_END_SIZE:][:4]) != _END:
    raise Refused("the archive has no end, or bytes behind it")
  with zipfile.ZipFile(path) as archive:
    members = sorted(archive.infolist(), key=lambda each: each.header_offset)
    directory = archive.start_dir
  found: dict[str, np.ndarray] = {}
  at = 0
  for member in members:
    name = errors.short(member.filename)
    if member.filename in found:
      raise Refused(f"entry {name} is there twice")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
      raise Refused(f"entry {name} is compressed or encrypted")
    start, gap = member.header_offset, member.header_offset - at
    header = bytes(_cut(content, start, start + _LOCAL_SIZE))
    if not header.startswith(_LOCAL) or not 0 <= gap <= _BEHIND * bool(found):
      raise Refused(f"bytes ahead of entry {name} belong to none")
    start += _LOCAL_SIZE + sum(struct.unpack("<2H", header[26:]))
    at = start + member.file_size
    data = _cut(content[:directory], start, at)
    if zlib.crc32(data.data) != member.CRC:
      raise Refused(f"entry {name} has another checksum")
    found[member.filename] = data
  if directory - at > _BEHIND:
    raise Refused(f"{directory - at} bytes behind the last entry")
  return found


def _cut(content: np.ndarray, start: int, end: int) -> np.ndarray:
  if end > len(content):
    raise Refused(f"it ends {end - len(content)} bytes early")
  return content[start:end]


def _named(value: Any) -> dict[str, Tensor]:
  if not isinstance(value, dict):
    raise Refused(f"it holds a {type(value).__name__}, not a dictionary")
  for name, tensor in value.items():
    if not isinstance(tensor, Tensor):
      raise Refused(
        f"{errors.short(name)} is a {type(tensor).__name__}, not a tensor"
      )
  return value


def _storages(tensors: Iterable[Tensor]) -> dict[str, Storage]:
  """Returns the storages of tensors by key."""
  found: dict[str, Storage] = {}
  for tensor in tensors:
    storage = tensor.storage
    if found.setdefault(storage.key, storage) != storage:
      raise Refused(f"storage {errors.short(storage.key)} is of two kinds")
  return found


def _arrays(
  tensors: Mapping[str, Tensor], raw: Mapping[str, np.ndarray], most: int
) -> dict[str, np.ndarray]:
  """Copies tensors out of their storages; all take `most` bytes at most.

  Tensors that are one and the same view of a storage share one array.
  """
  views = dict.fromkeys(tensors.values())
  total = 0
  for tensor in views:
    _check_view(tensor)
    total += math.prod(tensor.size) * tensor.storage.dtype.itemsize
  if total > most:
    raise Refused(f"its tensors take {total} bytes, the whole file {most}")
  made = {each: _array(each, raw[each.storage.key]) for each in views}
  return {name: made[tensor] for name, tensor in tensors.items()}


def _check_view(tensor: Tensor) -> None:
  """Raises Refused where a view leaves its storage, or repeats values of it."""
  size, stride, elements = tensor.size, tensor.stride, tensor.storage.elements
  if len(size) != len(stride) or len(size) > _AXES:
    raise Refused(f"a tensor of {len(size)} sizes and {len(stride)} strides")
  count = math.prod(size)
  last = tensor.offset + sum(
    (n - 1) * step for n, step in zip(size, stride, strict=True)
  )
  if tensor.offset > elements or (count and last >= elements):
    raise Refused(f"a tensor reaches beyond its storage of {elements} values")
  if count > elements:
    raise Refused(f"a tensor repeats the values of a storage of {elements}")


def _array(tensor: Tensor, data: np.ndarray) -> np.ndarray:
  dtype = tensor.storage.dtype
  if not math.prod(tensor.size):
    return np.zeros(tensor.size, dtype)
  flat = np.frombuffer(data.data, dtype)[tensor.offset :]
  strides = [step * dtype.itemsize for step in tensor.stride]
  view = np.lib.stride_tricks.as_strided(flat, tensor.size, strides)
  return view.astype(dtype.newbyteorder("="), order="C")
