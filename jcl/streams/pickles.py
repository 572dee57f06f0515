"""Pickles of containers, text, numbers and NumPy arrays, read as data alone.

Nothing that a pickle names is imported or run: the few names that an array is
made of stand for objects of this module, and all others are refused. The memory
that a file takes is bounded by its size.
"""

from collections.abc import Callable
import io
import pickle
import re
from typing import Any

import numpy as np

_TYPE = re.compile("[<>|=]?[biuf][1248]")


class _Token:
  """An object in place of a name: callable, without attributes to set."""

  __slots__ = ("_call",)

  def __init__(self, call: Callable[..., Any]):
    self._call = call

  def __call__(self, *args: Any) -> Any:
    return self._call(*args)


class _Type:
  """A NumPy type as a pickle builds it."""

  __slots__ = ("text",)

  def __init__(self, text: Any, *_: Any):
    self.text = str(text)

  def __setstate__(self, state: Any) -> None:
    if str(state[1]) in "<>":
      self.text = str(state[1]) + self.text.lstrip("<>|=")

  def dtype(self) -> np.dtype:
    if not _TYPE.fullmatch(self.text):
      raise pickle.UnpicklingError(f"an array of type {self.text[:20]!r}")
    return np.dtype(self.text)


class _Array:
  """A NumPy array as a pickle builds it."""

  __slots__ = ("value",)

  def __setstate__(self, state: Any) -> None:
    _, shape, kind, fortran, data = state
    if isinstance(data, str):  # as Python 2 wrote it
      data = data.encode("latin1")
    self.value = _from_bytes(data, kind, shape, "F" if fortran else "C")


def _from_bytes(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
  flat = np.frombuffer(data, kind.dtype())
  return flat.reshape(shape, order="F" if order == "F" else "C")


def _whole(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
  array = _Array()
  array.value = _from_bytes(data, kind, shape, order)
  return array


def _scalar(kind: Any, data: Any) -> Any:
  if isinstance(data, str):
    data = data.encode("latin1")
  return np.frombuffer(data, kind.dtype())[0].item()


def _encode(text: Any, codec: Any = "latin1") -> bytes:
  if codec not in ("latin1", "latin-1"):
    raise pickle.UnpicklingError(f"text in the encoding {codec!r}")
  return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
  ("_codecs", "encode"): _encode,
  ("numpy", "dtype"): _Type,
  ("numpy", "ndarray"): lambda *_: None,
  ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
  ("numpy._core.multiarray", "scalar"): _scalar,
  ("numpy._core.numeric", "_frombuffer"): _whole,
}


# Python's own form of the class keeps what a pickle numbers in a dictionary;
# that in C makes room up to the largest number, and crashes more easily.
class _Unpickler(pickle._Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    module = module.replace("numpy.core", "numpy._core")
    if (module, name) not in _KNOWN:
      raise pickle.UnpicklingError(f"it refers to {module}.{name}"[:100])
    return _Token(_KNOWN[module, name])


def load(content: bytes) -> dict[str, Any]:
  """The dictionary that a pickle holds, text of Python 2 as Latin-1.

  Raises:
    ValueError: where it is damaged, holds something else or refers to what is
      not read.
  """
  try:
    value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
  except Exception as error:  # a damaged pickle may raise almost anything
    raise ValueError(str(error) or type(error).__name__) from error
  if not isinstance(value, dict):
    raise ValueError(f"a {type(value).__name__} instead of a dict")
  return {
    key: getattr(each, "value", None) if isinstance(each, _Array) else each
    for key, each in value.items()
    if isinstance(key, str)
  }
