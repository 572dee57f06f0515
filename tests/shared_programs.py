"""Compiled programs that tests of one process share.

Most of a test's time goes into tracing and lowering programs, and most of these
are programs that the same process has made before, for the same recipe on the
same network. They are found again by all that tracing reads: the code of a
function, what it closes over, the shapes of its arguments, and what the test
has replaced by `monkeypatch`. A program is made anew where a part is of a kind
that is not known here.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
import dataclasses
import enum
import functools
import hashlib
import os
from pathlib import Path
import sys
import threading
import types
from typing import Any

from flax import linen as nn
import jax
import jax.extend
import numpy as np
import pytest

from jcl.train import background
from jcl.train import learner as learner_lib
from jcl.train.kernels import lowering

try:
  from jax._src.config import trace_context
except ImportError:
  trace_context = None  # type: ignore[assignment]

_MOST = 400  # programs that are kept
_TESTS = Path(__file__).parent

# Packages whose functions and classes stay as they are while tests run.
_FIXED = {"jcl", "jax", "jaxlib", "flax", "optax", "numpy", "functools"}
_PLAIN = {"abc.ABC", "typing.Generic", "typing.Protocol"}  # bases without state

_ATOMS = (type(None), type(...), bool, int, complex, str, bytes)
_ALONE = (  # only the same as themselves; none of them changes
  *(type, types.ModuleType, np.ufunc, enum.Enum, jax.extend.core.ClosedJaxpr),
  *(type(jax.jit(abs)), jax.extend.core.Primitive),
  *(jax.custom_jvp, jax.custom_vjp, type(functools.cache(abs))),
)
_COMPARABLE = (
  *(np.dtype, jax.ShapeDtypeStruct, jax.sharding.Sharding, jax.sharding.Mesh),
)

# What programs depend on of a learner, and what they do not.
_READ = {"spec", "mesh", "stream_rows", "batch_size", "example"}
_READ |= {"_steps_per_dispatch", "_executor"}
_BESIDE = {"_rebuild", "ledger", "compiler", "tested", "solved"}


class Unknown(Exception):
  """It cannot be told what tracing reads of a part."""


class _Alone:
  """A value that equals no other one, and lives as long as this does."""

  def __init__(self, value: Any) -> None:
    self._value = value

  def __hash__(self) -> int:
    return id(self._value)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, _Alone) and other._value is self._value


class _Reading:
  """Describes values, each by what is equal for all that trace alike.

  Raises:
    Unknown: where that cannot be told.
  """

  def __init__(self) -> None:
    self._met: dict[int, int] = {}
    self._held: list[Any] = []  # so that no `id` is given twice

  def __call__(self, value: Any) -> Hashable:
    kind = type(value)
    if kind in _ATOMS:
      return kind, value
    if kind is float:
      return kind, repr(value)  # which tells 0.0 from -0.0
    if kind is object or isinstance(value, _ALONE):
      return _Alone(value)
    if isinstance(value, _COMPARABLE):
      return kind, value
    if id(value) in self._met:
      return "met", self._met[id(value)]
    self._met[id(value)] = len(self._met)
    self._held.append(value)
    return kind, self._parts(value)

  def _parts(self, value: Any) -> Hashable:
    match value:
      case types.FunctionType():
        return self._function(value)
      case types.MethodType():
        return self(value.__func__), self(value.__self__)
      case types.BuiltinFunctionType():
        if not isinstance(value.__self__, types.ModuleType | None):
          raise Unknown(value)
        return _Alone(value)
      case functools.partial():
        return self((value.func, value.args, value.keywords))
      case tuple() | list():
        return tuple(map(self, value))
      case set() | frozenset():
        return frozenset(map(self, value))
      case dict() | types.MappingProxyType():
        return tuple((self(k), self(v)) for k, v in value.items())
      case np.ndarray() | np.generic() | jax.Array():
        return _array(value)
    return self._instance(value)

  def _function(self, function: types.FunctionType) -> Hashable:
    fixed = str(function.__module__).partition(".")[0] in _FIXED
    if fixed and not function.__closure__ and "<" not in function.__qualname__:
      return _Alone(function)
    try:
      cells = [each.cell_contents for each in function.__closure__ or ()]
    except ValueError as error:  # one that nothing is bound to yet
      raise Unknown(function) from error
    parts = [function.__defaults__, function.__kwdefaults__, cells]
    parts.append(vars(function))
    if not fixed:
      names = sorted(_names(function.__code__) & function.__globals__.keys())
      parts.append([function.__globals__[name] for name in names])
    return function.__code__, _Alone(function.__globals__), self(parts)

  def _instance(self, value: Any) -> Hashable:
    kind = type(value)
    if not all(map(_has_plain_fields, kind.__mro__[:-1])):
      raise Unknown(kind)
    fields = getattr(value, "__dict__", {})
    fields = {k: v for k, v in fields.items() if k not in _derived(kind)}
    if isinstance(value, learner_lib.Learner):
      if fields.keys() - _READ - _BESIDE:  # a test has put something there
        raise Unknown(kind)
      fields = {name: fields[name] for name in sorted(_READ)}
    if isinstance(value, nn.Module):
      if value.scope is not None:
        raise Unknown(kind)
      names = {each.name for each in dataclasses.fields(value)} - {"parent"}
      fields = {name: fields.get(name) for name in sorted(names)}
    return self(fields)


def _array(value: Any) -> Hashable:
  told: Hashable = type(value)
  if isinstance(value, jax.core.Tracer):
    raise Unknown(value)
  if isinstance(value, jax.Array):
    told = jax.typeof(value), value.sharding, value.committed
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
      value = jax.random.key_data(value)
  value = np.asarray(value)
  if value.dtype.hasobject:
    raise Unknown(value.dtype)
  digest = hashlib.blake2b(value.tobytes()).digest()
  return told, value.dtype, value.shape, digest


@functools.cache
def _names(code: types.CodeType) -> frozenset[str]:
  """Returns the names that code and all functions within it look up."""
  inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
  return frozenset(code.co_names).union(*map(_names, inner))


@functools.cache
def _has_plain_fields(kind: type) -> bool:
  """Whether all that a class adds to an instance is in its `__dict__`."""
  package = kind.__module__.partition(".")[0]
  file = getattr(sys.modules.get(kind.__module__), "__file__", None)
  known = package in ("jcl", "flax", "optax") or (
    file is not None and _TESTS in Path(file).parents
  )
  whole = f"{kind.__module__}.{kind.__qualname__}"
  return (known and not vars(kind).get("__slots__")) or whole in _PLAIN


@functools.cache
def _derived(kind: type) -> frozenset[str]:
  """Returns the names of what instances compute from the rest, and keep."""
  found = {k: v for each in kind.__mro__ for k, v in vars(each).items()}
  is_derived = functools.cached_property
  return frozenset(k for k, v in found.items() if isinstance(v, is_derived))


def _shape(leaf: Any) -> Hashable:
  """Returns what a program depends on of an argument."""
  if isinstance(leaf, jax.core.Tracer):
    raise Unknown(leaf)
  if isinstance(leaf, jax.Array):
    return jax.typeof(leaf), leaf.sharding, leaf.committed
  if isinstance(leaf, np.ndarray | np.generic):
    return leaf.shape, leaf.dtype
  if isinstance(leaf, jax.ShapeDtypeStruct):
    return leaf, leaf.sharding, leaf.weak_type
  if isinstance(leaf, bool | int | float | complex):
    return type(leaf)
  raise Unknown(leaf)


def key(fn: Callable[..., Any], shapes: Any, jit: dict[str, Any]) -> Hashable:
  """Returns what is equal for functions and arguments of one program.

  Raises:
    Unknown: where that cannot be told.
  """
  leaves, structure = jax.tree.flatten(shapes)
  return (
    *(_Reading()((fn, jit)), structure, tuple(map(_shape, leaves))),
    *(trace_context(), lowering.why_not(), _replaced()),
  )


def _replaced() -> Hashable:
  """Returns what is replaced at present, and by what."""
  before: dict[Any, Any] = {}
  now: dict[Any, Any] = {}
  for patch in list(_patches.values()):
    for target, name, value in patch._setattr:
      place = _Alone(target), name
      before.setdefault(place, value)
      kept = getattr(target, "__dict__", {})
      now[place] = kept.get(name, getattr(target, name, None))
    for items, name, value in patch._setitem:
      if items is not os.environ:
        place = _Alone(items), name
        before.setdefault(place, value)
        now[place] = items.get(name)
  changed = {k for k, value in now.items() if value is not before[k]}
  return frozenset((k, _Alone(now[k])) for k in changed)


_patches: dict[int, pytest.MonkeyPatch] = {}  # those that replace something
_programs: OrderedDict[Hashable, background.Program] = OrderedDict()
_lock = threading.Lock()  # programs are made in several threads
_make = background.compile_program


def compile_program(
  fn: Callable[..., Any], shapes: Any, **jit: Any
) -> background.Program:
  """Does what that of `jcl.train.background` does, once for equal functions."""
  try:
    name = key(fn, shapes, jit)
  except Unknown:
    return _make(fn, shapes, **jit)
  with _lock:
    found = _programs.pop(name, None)
  found = found or _make(fn, shapes, **jit)
  with _lock:
    _programs[name] = found  # as the most recently used
    if len(_programs) > _MOST:
      _programs.popitem(last=False)
  return found


def share() -> None:
  """Lets tests of this process share programs.

  Each makes its own with versions of JAX or pytest that moved the private names
  which are read here.
  """
  patch = pytest.MonkeyPatch()
  known = hasattr(patch, "_setattr") and hasattr(patch, "_setitem")
  if trace_context is None or not known:
    return
  background.compile_program = compile_program
  for name in ("setattr", "delattr", "setitem", "delitem"):
    _noting(name)
  undo = pytest.MonkeyPatch.undo

  def undone(self: pytest.MonkeyPatch) -> None:
    undo(self)
    _patches.pop(id(self), None)

  pytest.MonkeyPatch.undo = undone  # type: ignore[method-assign]


def _noting(name: str) -> None:
  """Has a way to replace something tell that it did."""
  replace = getattr(pytest.MonkeyPatch, name)

  @functools.wraps(replace)
  def replacing(self: pytest.MonkeyPatch, *args: Any, **options: Any) -> None:
    _patches[id(self)] = self
    replace(self, *args, **options)

  setattr(pytest.MonkeyPatch, name, replacing)


def forget() -> None:
  """Lets go of all programs."""
  with _lock:
    _programs.clear()
