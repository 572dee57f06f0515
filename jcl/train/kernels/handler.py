"""The function that XLA calls to run a plan of kernels, compiled by Numba.

XLA calls functions of its foreign function interface with the address of a
"call frame". Numba compiles such a function from Python, so that neither a C
compiler nor Python's lock is needed. Positions in the frame, in words of eight
bytes, follow XLA's header `xla/ffi/api/c_api.h`. Only `bridge` imports this
module, since Numba may be missing.
"""

import ctypes
from pathlib import Path
import re
from typing import Any

import jaxlib
from llvmlite import ir
import numba
from numba import extending, types
import numpy as np

from jcl.train.kernels import onednn

_intrinsic: Any = extending.intrinsic
Words = Any  # a pointer to 64-bit integers, indexed like an array

_MOST_ARGUMENTS = 8
_MUTEX = 64  # bytes for a mutex, enough on every system

# Words of the call frame, of the records it points to, and of XLA's functions.
_EXTENSION, _API, _ARGUMENTS, _RESULTS, _ATTRIBUTES = 1, 2, 9, 14, 20
_DATA = 3  # of a buffer
_VALUE = 1  # of a scalar
_METADATA = 3  # of the extension by which XLA asks for the version
_VERSION = 3  # of the metadata, two of four bytes
_MAKE_ERROR = 6  # of XLA's functions
_INTERNAL_ERROR = 13

# Arguments of the compiled code beside the frame: addresses, the number of
# slots and the version. They lie at one address, so that the code itself is the
# same in every process and Numba can cache it on disk.
_FIELDS = (
  "table",
  "slots",
  "version",
  "message",
  "turn",
  "engine",
  "stream",
  "create",
  "destroy",
  "execute",
  "lock",
  "unlock",
)
(
  _TABLE,
  _SLOTS,
  _OWN_VERSION,
  _MESSAGE,
  _TURN,
  _ENGINE,
  _STREAM,
  _CREATE,
  _DESTROY,
  _EXECUTE,
  _LOCK,
  _UNLOCK,
) = range(len(_FIELDS))


@_intrinsic
def _words(typing_context: Any, address: Any) -> Any:
  """Reads memory at an address as 64-bit integers."""
  del typing_context
  pointer = types.CPointer(types.int64)

  def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = context.get_value_type(signature.return_type)
    return builder.inttoptr(args[0], kind)

  return pointer(address), generate


@_intrinsic
def _call(typing_context: Any, function: Any, arguments: Any) -> Any:
  """Calls the function at an address with integers, for an integer."""
  del typing_context

  def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    word = ir.IntType(64)
    kind = ir.FunctionType(word, [word] * len(arguments))
    found = builder.inttoptr(args[0], kind.as_pointer())
    values = [builder.extract_value(args[1], i) for i in range(len(arguments))]
    return builder.call(found, values)

  return types.int64(types.int64, arguments), generate


@numba.njit
def _find(given: Words, number: int) -> int:
  """Returns the address of the plan of a number, 0 if there is none."""
  slots = given[_SLOTS]
  known = _words(given[_TABLE])
  slot = number % slots
  while known[2 * slot] != 0:
    if known[2 * slot] == number:
      return known[2 * slot + 1]
    slot = (slot + 1) % slots
  return 0


@numba.njit
def _run(given: Words, plan: int, buffers: np.ndarray) -> int:
  """Runs a plan; returns 0, or the status of a primitive that failed."""
  words = _words(plan)
  held = np.empty(_MOST_ARGUMENTS, np.int64)
  passed = np.empty(2 * _MOST_ARGUMENTS, np.int64)
  at, status = 2, 0
  for _ in range(words[1]):
    primitive, count = words[at], words[at + 1]
    at += 2
    for index in range(count):
      place = held.ctypes.data + 8 * index
      data = buffers[words[at + 2]] + words[at + 3]
      made = (place, words[at + 1], given[_ENGINE], data)
      status |= _call(given[_CREATE], made) & 0xFFFFFFFF
      passed[2 * index] = words[at]
      passed[2 * index + 1] = held[index]
      at += 4
    if status == 0:
      told = (primitive, given[_STREAM], count, np.int64(passed.ctypes.data))
      status |= _call(given[_EXECUTE], told) & 0xFFFFFFFF
    for index in range(count):
      _call(given[_DESTROY], (held[index],))
  return status


def _handle(given_at: int, frame_at: int) -> int:
  """Handles one call by XLA; returns the address of an error, or 0."""
  given, frame = _words(given_at), _words(frame_at)
  extension = frame[_EXTENSION]
  if extension != 0:
    asked = _words(_words(extension)[_METADATA])
    asked[_VERSION] = given[_OWN_VERSION]
    return 0
  number = _words(_words(_words(frame[_ATTRIBUTES])[0])[_VALUE])[0]
  arguments, results = _words(frame[_ARGUMENTS]), _words(frame[_RESULTS])
  buffers = np.empty(4, np.int64)
  buffers[0] = _words(arguments[0])[_DATA]
  buffers[1] = _words(arguments[1])[_DATA]
  buffers[2] = _words(results[0])[_DATA]
  buffers[3] = _words(results[1])[_DATA]
  plan = _find(given, number)
  if plan != 0:
    is_shared = _words(plan)[0] != 0
    # Such a kernel has threads for all cores, so only one runs at a time.
    if is_shared:
      _call(given[_LOCK], (given[_TURN],))
    status = _run(given, plan, buffers)
    if is_shared:
      _call(given[_UNLOCK], (given[_TURN],))
    if status == 0:
      return 0
  error = np.array([32, 0, given[_MESSAGE], _INTERNAL_ERROR])  # size, fields
  made = (np.int64(error.ctypes.data),)
  return _call(_words(frame[_API])[_MAKE_ERROR], made)


def build(table: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
  """Returns the function for ctypes, and the objects that must outlive it.

  Args:
    table: [slots, 2] int64, open-addressed: numbers and addresses of plans.
  """
  dnnl, libc = onednn.library(), ctypes.CDLL(None)
  message = np.frombuffer(b"a convolution has no kernel here\0", np.uint8)
  turn = np.zeros(_MUTEX // 8, np.int64)  # as PTHREAD_MUTEX_INITIALIZER has it
  values = {
    "table": table.ctypes.data,
    "slots": len(table),
    "version": _version(),
    "message": message.ctypes.data,
    "turn": turn.ctypes.data,
    "engine": onednn.engine(),
    "stream": onednn.stream(),
    "create": _address(dnnl.dnnl_memory_create),
    "destroy": _address(dnnl.dnnl_memory_destroy),
    "execute": _address(dnnl.dnnl_primitive_execute),
    "lock": _address(libc.pthread_mutex_lock),
    "unlock": _address(libc.pthread_mutex_unlock),
  }
  given = np.array([values[name] for name in _FIELDS], np.int64)
  given_at, handle = given.ctypes.data, _compiled(_handle)

  @numba.cfunc(types.int64(types.int64))
  def handler(frame_at: int) -> int:
    return handle(given_at, frame_at)

  return handler.ctypes, (handler, given, message, turn)


def _compiled(fn: Any) -> Any:
  """Compiles a function of two words; caches it on disk if possible."""
  signature = types.int64(types.int64, types.int64)
  try:
    return numba.njit(signature, cache=True)(fn)
  except RuntimeError:  # no folder that can be written
    return numba.njit(signature)(fn)


def _address(function: Any) -> int:
  return ctypes.cast(function, ctypes.c_void_p).value or 0


def _version() -> int:
  """Returns XLA's version of the interface, major and minor in one word."""
  header = Path(jaxlib.__file__).parent / "include/xla/ffi/api/c_api.h"
  text = header.read_text(encoding="utf-8")
  found = [
    re.search(rf"#define XLA_FFI_API_{part} (\d+)", text)
    for part in ("MAJOR", "MINOR")
  ]
  major, minor = (int(each[1]) for each in found if each is not None)
  return major | minor << 32
