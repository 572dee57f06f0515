"""What XLA's programs call to run a plan of kernels.

XLA calls functions of its foreign function interface with the address of a
"call frame". Numba makes such a function of Python, so that neither a C
compiler nor Python's lock is needed. Positions in the frame, in words of eight
bytes, follow XLA's header `xla/ffi/api/c_api.h`.
"""

import ctypes
import functools
import importlib
from pathlib import Path
import re
import threading
from typing import Any

import jax
import jaxlib
import numpy as np

from jcl.kernels import onednn

TARGET = "jcl_convolution"

_SLOTS = 1 << 16  # plans that a process may make
_MOST_ARGUMENTS = 8
_MUTEX = 64  # bytes, more than any system needs for one

# Words of the call frame, of what it points to, and of XLA's functions.
_EXTENSION, _API, _ARGUMENTS, _RESULTS, _ATTRIBUTES = 1, 2, 9, 14, 20
_DATA = 3  # of a buffer
_VALUE = 1  # of a scalar
_METADATA = 3  # of the extension by which XLA asks for the version
_VERSION = 3  # of the metadata, two of four bytes
_MAKE_ERROR = 6  # of XLA's functions
_INTERNAL_ERROR = 13


class Plans:
  """Plans by number, where compiled code finds them. Safe in threads.

  A number stands for the same problem in every process, so that programs with
  it can be kept on disk.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._words: dict[int, np.ndarray] = {}
    # Pairs of number and address; an open-addressed table.
    self.table = np.zeros((_SLOTS, 2), np.int64)
    self.kept: Any = None  # what has to live as long as the process

  def add(self, number: int, plan: onednn.Plan) -> None:
    """Makes a plan known; one with the number already there stays."""
    with self._lock:
      if number in self._words:
        return
      if 2 * len(self._words) > _SLOTS:
        raise MemoryError(f"more than {_SLOTS // 2} shapes of convolutions")
      words = np.fromiter(onednn.words(plan), np.int64)
      self._words[number] = words
      slot = number % _SLOTS
      while self.table[slot, 0]:
        slot = (slot + 1) % _SLOTS
      self.table[slot, 1] = words.ctypes.data
      self.table[slot, 0] = number  # last, as compiled code looks for it


@functools.cache
def plans() -> Plans:
  """Returns this process's plans, and has XLA know what carries them out."""
  made = Plans()
  handler, *read = _handler(made.table)
  made.kept = handler, read
  jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(handler.ctypes))
  return made


def _handler(table: np.ndarray) -> tuple[Any, ...]:
  """Compiles the function that XLA calls; returns it and what it reads."""
  ir: Any = importlib.import_module("llvmlite.ir")
  numba: Any = importlib.import_module("numba")
  types: Any = numba.types
  intrinsic: Any = importlib.import_module("numba.extending").intrinsic

  @intrinsic
  def words_at(typing_context, address):
    """Reads memory at an address as 64-bit integers."""
    pointer = types.CPointer(types.int64)

    def generate(context, builder, signature, args):
      kind = context.get_value_type(signature.return_type)
      return builder.inttoptr(args[0], kind)

    return pointer(address), generate

  @intrinsic
  def call(typing_context, function, argument):
    """Calls the function at an address with one address, for another."""

    def generate(context, builder, signature, args):
      kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
      found = builder.inttoptr(args[0], kind.as_pointer())
      return builder.call(found, [args[1]])

    return types.int64(types.int64, types.int64), generate

  def of_onednn(name, *kinds):
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)
    return prototype((f"dnnl_{name}", onednn.library()))

  word = ctypes.c_int64
  # (address of the handle, layout, engine, data); addresses as integers
  memory_create = of_onednn("memory_create", word, word, word, word)
  memory_destroy = of_onednn("memory_destroy", word)
  execute = of_onednn("primitive_execute", word, word, ctypes.c_int32, word)

  # One kernel at a time, as each has threads for all cores.
  turn = np.zeros(_MUTEX // 8, np.int64)  # as PTHREAD_MUTEX_INITIALIZER has it
  libc = ctypes.CDLL(None)
  prototype = ctypes.CFUNCTYPE(ctypes.c_int32, word)
  lock = prototype(("pthread_mutex_lock", libc))
  unlock = prototype(("pthread_mutex_unlock", libc))
  turn_at = turn.ctypes.data

  engine, stream = onednn.engine(), onednn.stream()
  numbers, slots = table.ctypes.data, len(table)
  version = _version()
  failure = np.frombuffer(b"a convolution has no kernel here\0", np.uint8)
  message = failure.ctypes.data

  @numba.njit
  def find(number):
    known = words_at(numbers)
    slot = number % slots
    while known[2 * slot] != 0:
      if known[2 * slot] == number:
        return known[2 * slot + 1]
      slot = (slot + 1) % slots
    return 0

  @numba.njit
  def run(plan, buffers):
    words = words_at(plan)
    held = np.empty(_MOST_ARGUMENTS, np.int64)
    passed = np.empty(2 * _MOST_ARGUMENTS, np.int64)
    at, status = 2, 0
    for _ in range(words[1]):
      primitive, count = words[at], words[at + 1]
      at += 2
      for index in range(count):
        place = held.ctypes.data + 8 * index
        data = buffers[words[at + 2]] + words[at + 3]
        status |= memory_create(place, words[at + 1], engine, data)
        passed[2 * index] = words[at]
        passed[2 * index + 1] = held[index]
        at += 4
      status |= execute(primitive, stream, count, passed.ctypes.data)
      for index in range(count):
        status |= memory_destroy(held[index])
    return status

  @numba.cfunc(types.intp(types.intp))
  def handler(frame_at):
    frame = words_at(frame_at)
    extension = frame[_EXTENSION]
    if extension != 0:
      words_at(words_at(extension)[_METADATA])[_VERSION] = version
      return 0
    number = words_at(words_at(words_at(frame[_ATTRIBUTES])[0])[_VALUE])[0]
    arguments = words_at(frame[_ARGUMENTS])
    results = words_at(frame[_RESULTS])
    buffers = np.empty(4, np.int64)
    buffers[0] = words_at(arguments[0])[_DATA]
    buffers[1] = words_at(arguments[1])[_DATA]
    buffers[2] = words_at(results[0])[_DATA]
    buffers[3] = words_at(results[1])[_DATA]
    plan = find(number)
    if plan != 0:
      is_shared = words_at(plan)[0] != 0
      if is_shared:
        lock(turn_at)
      status = run(plan, buffers)
      if is_shared:
        unlock(turn_at)
      if status == 0:
        return 0
    error = np.array([32, 0, message, _INTERNAL_ERROR])  # bytes, then fields
    return call(words_at(frame[_API])[_MAKE_ERROR], error.ctypes.data)

  return handler, failure, turn


def _version() -> int:
  """Returns XLA's version of the interface, major and minor in one word."""
  header = Path(jaxlib.__file__).parent / "include/xla/ffi/api/c_api.h"
  text = header.read_text(encoding="utf-8")
  major, minor = (
    int(re.search(rf"#define XLA_FFI_API_{part} (\d+)", text)[1])  # type: ignore[index]
    for part in ("MAJOR", "MINOR")
  )
  return major | minor << 32
