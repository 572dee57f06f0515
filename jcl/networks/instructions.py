"""The instructions of pickles that describe tensors, and no others.

A pickle is a program for a machine with a stack. Of its some seventy
instructions, this machine knows those that PyTorch writes for a dictionary of
tensors. None of them imports or calls anything: a name is text, and of four
known ones two can be applied, to make a dictionary or a description of a
tensor.
"""

from collections.abc import Callable
import struct
from typing import Any, NamedTuple

import numpy as np

# Steps of any program, and bytes of content for each step beyond: what steps
# make takes up to 200 bytes each.
STEPS = 500_000
_BYTES_A_STEP = 20
_LONGEST = 200  # letters of a name

_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_KINDS: dict[str, np.dtype] = {
  "torch FloatStorage": np.dtype("<f4"),
  "torch LongStorage": np.dtype("<i8"),
}
_NAMES = (_DICT, _TENSOR, *_KINDS)


class Refused(ValueError):
  """A file that holds something else; the message says what, in half a line."""


class Storage(NamedTuple):
  """Values in a row, of which tensors are views."""

  key: str
  dtype: np.dtype
  elements: int

  @property
  def size(self) -> int:
    """Bytes of all values."""
    return self.elements * self.dtype.itemsize


class Tensor(NamedTuple):
  """A view of a storage; offset and strides count elements."""

  storage: Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


class _Name(NamedTuple):
  """A name that a program mentions: its module and itself."""

  text: str


def run(content: memoryview, at: int) -> tuple[Any, int]:
  """Runs the program at a position.

  Args:
    content: bytes that hold it.
    at: position of its first byte.

  Returns:
    Its result, and the position behind it. Results are made of dicts with text
    as keys, lists, tuples, text, integers, truth values, None and `Tensor`.

  Raises:
    Refused: for an instruction, a name or an operand of another kind, and for
      a program that is cut short or takes too many steps.
  """
  machine = _Machine(content, at)
  try:
    machine.run()
    return machine.result(), machine.at
  except (IndexError, KeyError, struct.error) as error:
    raise Refused("a pickle that is cut short or damaged") from error
  except UnicodeDecodeError as error:
    raise Refused("text that is none") from error


class _Machine:
  """State of a program: position, stacks, and values kept by number."""

  def __init__(self, content: memoryview, at: int) -> None:
    self.content, self.at = content, at
    self.stack: list[Any] = []
    self.below: list[list[Any]] = []  # stacks under a mark
    self.kept: dict[int, Any] = {}

  def run(self) -> None:
    for _ in range(STEPS + len(self.content) // _BYTES_A_STEP):
      if self.at >= len(self.content):
        raise Refused("a pickle that is cut short")
      code = self.content[self.at]
      self.at += 1
      if code == _STOP:
        return
      if code not in _INSTRUCTIONS:
        raise Refused(f"a pickle with instruction {bytes([code])!r}")
      _INSTRUCTIONS[code](self)
    raise Refused("a pickle of too many steps for so few bytes")

  def result(self) -> Any:
    if len(self.stack) != 1 or self.below:
      raise Refused("a pickle that leaves values over")
    return self.stack[0]

  def push(self, value: Any) -> None:
    self.stack.append(value)

  def number(self, form: str) -> int:
    """Reads an operand, as `struct` writes its form."""
    (value,) = struct.unpack_from(f"<{form}", self.content, self.at)
    self.at += struct.calcsize(f"<{form}")
    return value

  def take(self, count: int) -> bytes:
    """Reads bytes; IndexError where there are fewer."""
    if count > len(self.content) - self.at:
      raise IndexError
    self.at += count
    return bytes(self.content[self.at - count : self.at])

  def line(self) -> str:
    """Reads text up to the end of a line."""
    length = bytes(self.content[self.at : self.at + _LONGEST]).find(b"\n")
    if length < 0:
      raise Refused("a name without end")
    return self.take(length + 1)[:-1].decode()

  def marked(self) -> list[Any]:
    """Takes what lies above the last mark."""
    values, self.stack = self.stack, self.below.pop()
    return values


def _protocol(machine: _Machine) -> None:
  found = machine.number("B")
  if found != 2:
    raise Refused(f"a pickle of protocol {found}: PyTorch writes 2 by default")


def _long(machine: _Machine) -> None:
  data = machine.take(machine.number("B"))
  machine.push(int.from_bytes(data, "little", signed=True))


def _text(machine: _Machine) -> None:
  machine.push(machine.take(machine.number("I")).decode())


def _name(machine: _Machine) -> None:
  name = f"{machine.line()} {machine.line()}"
  if name not in _NAMES:
    raise Refused(f"it refers to {'.'.join(name.split())}"[:100])
  machine.push(_Name(name))


def _mark(machine: _Machine) -> None:
  machine.below.append(machine.stack)
  machine.stack = []


def _set(target: Any, values: list[Any]) -> None:
  """Adds keys and values, one behind the other, to a dict."""
  if not isinstance(target, dict) or len(values) % 2:
    raise Refused("pairs for something that is no dictionary")
  for key, value in zip(values[::2], values[1::2], strict=True):
    if not isinstance(key, str) or key in target:
      raise Refused("a dictionary with a key twice, or one that is no text")
    target[key] = value


def _set_one(machine: _Machine) -> None:
  value, key = machine.stack.pop(), machine.stack.pop()
  _set(machine.stack[-1], [key, value])


def _set_marked(machine: _Machine) -> None:
  values = machine.marked()
  _set(machine.stack[-1], values)


def _extend(target: Any, values: list[Any]) -> None:
  if not isinstance(target, list):
    raise Refused("items for something that is no list")
  target.extend(values)


def _append(machine: _Machine) -> None:
  value = machine.stack.pop()
  _extend(machine.stack[-1], [value])


def _append_marked(machine: _Machine) -> None:
  values = machine.marked()
  _extend(machine.stack[-1], values)


def _tuple(count: int) -> Callable[[_Machine], None]:
  def make(machine: _Machine) -> None:
    values = tuple(machine.stack.pop() for _ in range(count))
    machine.push(values[::-1])

  return make


def _keep(form: str) -> Callable[[_Machine], None]:
  def keep(machine: _Machine) -> None:
    machine.kept[machine.number(form)] = machine.stack[-1]

  return keep


def _recall(form: str) -> Callable[[_Machine], None]:
  return lambda machine: machine.push(machine.kept[machine.number(form)])


def _storage(machine: _Machine) -> None:
  """Makes a storage of its persistent id, in the form of either layout."""
  found = machine.stack.pop()
  if not isinstance(found, tuple) or len(found) not in (5, 6):
    raise Refused("a persistent id that is none of a storage")
  tag, kind, key, location, elements, *rest = found
  if tag != "storage" or not isinstance(kind, _Name) or kind.text not in _KINDS:
    raise Refused("a persistent id that is none of a storage")
  if location != "cpu":
    raise Refused("a tensor that is not on the CPU: move it with .cpu()")
  if (
    not isinstance(key, str)
    or not _is_count(elements)
    or rest
    not in (
      [],
      [None],
    )
  ):
    raise Refused("a persistent id with another key or count, or a view")
  machine.push(Storage(key, _KINDS[kind.text], elements))


def _apply(machine: _Machine) -> None:
  """Makes a dictionary, or describes a tensor."""
  values, name = machine.stack.pop(), machine.stack.pop()
  if not isinstance(values, tuple) or not isinstance(name, _Name):
    raise Refused("a call of something that is no name")
  if name.text == _DICT and not values:
    machine.push({})
  elif name.text == _TENSOR and len(values) == 6:
    machine.push(_tensor(*values))
  else:
    raise Refused(f"{'.'.join(name.text.split())} of {len(values)} arguments")


def _tensor(
  storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any
) -> Tensor:
  if not isinstance(storage, Storage) or not isinstance(grad, bool):
    raise Refused("a tensor without a storage")
  if not isinstance(hooks, dict) or hooks:
    raise Refused("a tensor with hooks, which are code")
  counts = (offset, *_counts(size), *_counts(stride))
  if not all(_is_count(value) for value in counts):
    raise Refused("a tensor with a negative size, stride or offset")
  return Tensor(storage, offset, size, stride)


def _counts(value: Any) -> tuple[Any, ...]:
  if not isinstance(value, tuple):
    raise Refused("a tensor whose sizes or strides are no tuple")
  return value


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 <= value < 1 << 62


def _attributes(machine: _Machine) -> None:
  """Leaves out the versions that a dictionary of a model carries along."""
  state = machine.stack.pop()
  target = machine.stack[-1]
  if not isinstance(target, dict) or not isinstance(state, dict):
    raise Refused("attributes of something that is no dictionary")
  if state.keys() - {"_metadata"}:
    raise Refused("a dictionary with attributes of its own")


_STOP = ord(".")

_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
  0x80: _protocol,
  0x88: lambda machine: machine.push(True),
  0x89: lambda machine: machine.push(False),
  0x8A: _long,
  0x85: _tuple(1),
  0x86: _tuple(2),
  0x87: _tuple(3),
  ord("t"): lambda machine: machine.push(tuple(machine.marked())),
  ord("("): _mark,
  ord("N"): lambda machine: machine.push(None),
  ord("J"): lambda machine: machine.push(machine.number("i")),
  ord("K"): lambda machine: machine.push(machine.number("B")),
  ord("M"): lambda machine: machine.push(machine.number("H")),
  ord("X"): _text,
  ord("}"): lambda machine: machine.push({}),
  ord("]"): lambda machine: machine.push([]),
  ord(")"): lambda machine: machine.push(()),
  ord("q"): _keep("B"),
  ord("r"): _keep("I"),
  ord("h"): _recall("B"),
  ord("j"): _recall("I"),
  ord("c"): _name,
  ord("s"): _set_one,
  ord("u"): _set_marked,
  ord("a"): _append,
  ord("e"): _append_marked,
  ord("R"): _apply,
  ord("b"): _attributes,
  ord("Q"): _storage,
}
