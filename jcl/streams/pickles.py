"""Reads pickles of containers, text, numbers and NumPy arrays as data alone.

Nothing that a pickle names is imported or run: the few names that an array
needs stand for objects of this module, and all others are refused. Reading
takes at most 100 MB and ten times the size of the content: no length in a file
is believed, text becomes bytes once, and beyond half a million steps each step
must come with 20 bytes, as a step may make a set of 216 bytes.
"""

from collections.abc import Callable
import io
import pickle
import re
from typing import Any

import numpy as np

_TYPE = re.compile("[<>|=]?[biuf][1248]")
STEPS = 500_000  # steps that any pickle may take
_BYTES_A_STEP = 20  # bytes of content for each step beyond


class _Token:
  """An object in place of a name: callable, without attributes to set."""

  __slots__ = ("_call",)

  def __init__(self, call: Callable[..., Any]) -> None:
    self._call = call

  def __call__(self, *args: Any) -> Any:
    return self._call(*args)


class _Type:
  """A NumPy type as a pickle builds it."""

  __slots__ = ("text",)

  def __init__(self, text: Any, *_: Any) -> None:
    self.text = str(text)

  def __setstate__(self, state: Any) -> None:
    if str(state[1]) in "<>":
      self.text = str(state[1]) + self.text.lstrip("<>|=")

  def dtype(self) -> np.dtype:
    """Returns the type; UnpicklingError for all but plain numbers."""
    if not _TYPE.fullmatch(self.text):
      raise pickle.UnpicklingError(f"an array of type {self.text[:20]!r}")
    return np.dtype(self.text)


class _Array:
  """A NumPy array as a pickle builds it."""

  __slots__ = ("_encode", "value")

  def __init__(self, encode: Callable[[Any], Any]) -> None:
    self._encode = encode

  def __setstate__(self, state: Any) -> None:
    _, shape, kind, fortran, data = state
    data = self._encode(data)  # text, as Python 2 wrote it
    self.value = _from_bytes(data, kind, shape, "F" if fortran else "C")


def _from_bytes(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
  flat = np.frombuffer(data, kind.dtype())
  return flat.reshape(shape, order="F" if order == "F" else "C")


class _Names:
  """The objects that stand for the names in one pickle.

  These are kept apart from the unpickler, so that the content of a file is free
  as soon as it was read: objects that refer to one another would wait for the
  garbage collector.
  """

  def __init__(self) -> None:
    self._bytes: dict[str, bytes] = {}

  def find(self, module: str, name: str) -> Callable[..., Any]:
    """Returns the object for a name; KeyError for a name that is refused."""
    encoded = self._encoded
    known: dict[tuple[str, str], Callable[..., Any]] = {
      ("_codecs", "encode"): self._from_codec,
      ("numpy", "dtype"): _Type,
      ("numpy", "ndarray"): lambda *_: None,
      ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(encoded),
      ("numpy._core.multiarray", "scalar"): self._scalar,
      ("numpy._core.numeric", "_frombuffer"): self._whole,
    }
    return known[module.replace("numpy.core", "numpy._core"), name]

  def _encoded(self, data: Any) -> Any:
    """Returns text as bytes, converted once; all else as it is."""
    if not isinstance(data, str):
      return data
    if data not in self._bytes:
      self._bytes[data] = data.encode("latin1")
    return self._bytes[data]

  def _from_codec(self, text: Any, codec: Any = "latin1") -> Any:
    if codec not in ("latin1", "latin-1"):
      raise pickle.UnpicklingError(f"text in the encoding {codec!r}"[:100])
    return self._encoded(text)

  def _whole(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array(self._encoded)
    array.value = _from_bytes(data, kind, shape, order)
    return array

  def _scalar(self, kind: Any, data: Any) -> Any:
    return np.frombuffer(self._encoded(data), kind.dtype())[0].item()


# Python's own form of the class keeps numbered objects in a dictionary; the
# form in C makes room up to the largest number, and crashes more easily.
class _Unpickler(pickle._Unpickler):
  def __init__(self, content: bytes) -> None:
    super().__init__(io.BytesIO(content), encoding="latin1")
    self.steps_left = STEPS + len(content) // _BYTES_A_STEP
    self._names = _Names()

  def find_class(self, module: str, name: str) -> Any:
    """Returns a stand-in for a name; UnpicklingError for refused names."""
    try:
      return _Token(self._names.find(module, name))
    except KeyError:
      told = f"it refers to {module}.{name}"[:100]
      raise pickle.UnpicklingError(told) from None


def _load_bytearray8(unpickler: Any) -> None:
  size = int.from_bytes(unpickler.read(8), "little")
  unpickler.append(bytearray(unpickler.read(size)))  # as much as there is


def _counted(step: Callable[[Any], None]) -> Callable[[Any], None]:
  def counted(unpickler: Any) -> None:
    unpickler.steps_left -= 1
    if unpickler.steps_left < 0:
      raise pickle.UnpicklingError("too many steps for so few bytes")
    step(unpickler)

  return counted


_Unpickler.dispatch = {
  code: _counted(step)
  for code, step in {
    **pickle._Unpickler.dispatch,
    pickle.BYTEARRAY8[0]: _load_bytearray8,
  }.items()
}


def load(content: bytes) -> dict[str, Any]:
  """Reads the dictionary that a pickle holds, text of Python 2 as Latin-1.

  Raises:
    ValueError: where the pickle is damaged, holds something else, or refers to
      a name that is refused.

  >>> load(pickle.dumps({"labels": [0, 1]}))
  {'labels': [0, 1]}
  """
  try:
    value = _Unpickler(content).load()
  except Exception as error:  # a damaged pickle may raise almost anything
    raise ValueError(str(error) or type(error).__name__) from error
  if not isinstance(value, dict):
    raise ValueError(f"a {type(value).__name__} instead of a dict")
  return {
    key: getattr(each, "value", None) if isinstance(each, _Array) else each
    for key, each in value.items()
    if isinstance(key, str)
  }
