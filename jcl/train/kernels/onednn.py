"""oneDNN's convolutions, through its C interface.

oneDNN is a library of kernels by Intel and others for x86-64 processors with
AVX2, AMD's included. The package `onednn-cpu-gomp` is version 3 with OpenMP
threads: `OMP_NUM_THREADS` many, by default one for each core of the process.
Names below are those of the interface without the prefix `dnnl_`.
"""

from collections.abc import Iterator, Sequence
import ctypes
import functools
from importlib import metadata
import math
import os
from pathlib import Path
from typing import NamedTuple

from jcl.train.kernels import problem as problem_lib

_FLOAT32 = 3
_ANY = 1  # layout that the kernel chooses
_CPU = 1
_IN_ORDER = 1
_DIRECT = 1
_TRAINING = 64
_USER_SCRATCHPAD = 1
_IMPLEMENTATION = 8

# What a query asks of a primitive's description.
_SOURCE, _WEIGHTS, _RESULT, _SCRATCHPAD = 129, 131, 133, 136
_GRADIENT_OF = {_SOURCE: 130, _WEIGHTS: 132, _RESULT: 134}

# What an argument is to a primitive.
_ARGUMENT = {_SOURCE: 1, _WEIGHTS: 33, _RESULT: 17}
_ARGUMENT_GRADIENT = {_SOURCE: 129, _WEIGHTS: 161, _RESULT: 145}
_ARGUMENT_SCRATCHPAD = 80

LEFT, RIGHT, OUT, SCRATCH = range(4)  # buffers of a plan
_ALIGNMENT = 64

_WAITING = "OMP_WAIT_POLICY"
_Handle = ctypes.c_void_p


class Argument(NamedTuple):
  """A primitive's argument: what it is, its layout, and where it lies."""

  what: int
  layout: int  # address of a memory description
  buffer: int
  offset: int  # bytes from the buffer's begin


class Step(NamedTuple):
  """A primitive and its arguments."""

  primitive: int  # address
  arguments: tuple[Argument, ...]


class Plan(NamedTuple):
  """What computes a problem: primitives, one after the other."""

  is_shared: bool  # whether all threads work at it
  steps: tuple[Step, ...]
  scratch: int  # bytes of working memory


class Missing(Exception):
  """oneDNN is not installed, or has no kernel for a problem."""


@functools.cache
def library() -> ctypes.CDLL:
  """Loads the library; Missing where it cannot be."""
  path, policy = _path(), os.environ.get(_WAITING)
  # Threads that wait are to sleep: where others want the cores too, one that
  # spins keeps off the very thread it waits for. Read as the library loads.
  os.environ.setdefault(_WAITING, "passive")
  try:
    found = ctypes.CDLL(str(path))
  except OSError as error:  # such as a system without libgomp
    raise Missing(str(error)) from None
  finally:
    if policy is None:
      del os.environ[_WAITING]
  found.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
  found.dnnl_version.restype = ctypes.POINTER(ctypes.c_int * 3)
  found.dnnl_primitive_desc_query_md.restype = _Handle
  return found


def describe() -> str:
  """Returns version and number of threads of oneDNN, in half a line."""
  found = library()
  numbers = found.dnnl_version().contents
  threads = found.omp_get_max_threads()
  return f"oneDNN {numbers[0]}.{numbers[1]}.{numbers[2]} ({threads} threads)"


def engine() -> int:
  """Returns the address of the engine that all primitives are made for."""
  return _engine()[0]


def stream() -> int:
  """Returns the address of the engine's stream, which keeps no state."""
  return _engine()[1]


@functools.cache
def plan(problem: problem_lib.Problem, is_shared: bool) -> Plan:
  """Makes the plan of primitives that compute a problem.

  Args:
    problem: a convolution or one of its gradients.
    is_shared: whether all threads work on it, instead of the caller's alone.

  Raises:
    Missing: without a fast kernel for the problem.
  """
  if is_shared:
    return _plan(problem, is_shared)
  dnnl = library()
  threads = dnnl.omp_get_max_threads()
  dnnl.omp_set_num_threads(1)  # for kernels that this thread makes
  try:
    return _plan(problem, is_shared)
  finally:
    dnnl.omp_set_num_threads(threads)


def _plan(problem: problem_lib.Problem, is_shared: bool) -> Plan:
  user = _layouts(problem)
  made = _description(problem, user)
  if _implementation(made).startswith(("ref", "gemm")):
    raise Missing(f"no kernel of its own for {problem}")
  read, result = _roles(problem.kind)
  steps, offset = [], 0
  arguments = []
  after: Step | None = None
  for role, buffer in zip((*read, result), (LEFT, RIGHT, OUT), strict=True):
    is_gradient = _is_gradient(problem.kind, role)
    wanted = _query(made, _GRADIENT_OF[role] if is_gradient else role)
    place = buffer, 0
    if not library().dnnl_memory_desc_equal(_Handle(wanted), user[role]):
      place = SCRATCH, offset
      offset += _aligned(_size(wanted))
      theirs = Argument(0, wanted, *place)
      ours = Argument(0, _address(user[role]), buffer, 0)
      if role == result:
        after = _reorder(theirs, ours)
      else:
        steps.append(_reorder(ours, theirs))
    what = (_ARGUMENT_GRADIENT if is_gradient else _ARGUMENT)[role]
    arguments.append(Argument(what, wanted, *place))
  working = _query(made, _SCRATCHPAD)
  if _size(working):
    arguments.append(Argument(_ARGUMENT_SCRATCHPAD, working, SCRATCH, offset))
    offset += _aligned(_size(working))
  steps.append(Step(_primitive(made), tuple(arguments)))
  if after is not None:
    steps.append(after)
  return Plan(is_shared, tuple(steps), offset)


def _path() -> Path:
  """Finds the shared library among the package's files."""
  try:
    package = metadata.distribution("onednn-cpu-gomp")
  except metadata.PackageNotFoundError:
    raise Missing(
      "oneDNN is not installed: pip install onednn-cpu-gomp"
    ) from None
  for file in package.files or ():
    if file.name == "libdnnl.so.3":
      return Path(str(package.locate_file(file))).resolve()
  raise Missing(f"onednn-cpu-gomp {package.version} has no libdnnl.so.3")


@functools.cache
def _engine() -> tuple[int, int]:
  made, flow = _Handle(), _Handle()
  _check(
    library().dnnl_engine_create(ctypes.byref(made), _CPU, ctypes.c_size_t(0))
  )
  _check(library().dnnl_stream_create(ctypes.byref(flow), made, _IN_ORDER))
  return _address(made), _address(flow)


def _roles(kind: problem_lib.Kind) -> tuple[tuple[int, int], int]:
  """Returns the roles of the arrays: left and right operand, and result."""
  return {
    "forward": ((_SOURCE, _WEIGHTS), _RESULT),
    "inputs": ((_RESULT, _WEIGHTS), _SOURCE),
    "weights": ((_SOURCE, _RESULT), _WEIGHTS),
  }[kind]


def _is_gradient(kind: problem_lib.Kind, role: int) -> bool:
  if kind == "inputs":
    return role != _WEIGHTS
  return kind == "weights" and role != _SOURCE


def _layouts(problem: problem_lib.Problem) -> dict[int, _Handle]:
  """Describes the arrays in the program's own layout, by role."""
  return {
    _SOURCE: _strided(problem.x.sizes, problem.x.strides),
    _WEIGHTS: _strided(*_grouped(problem)),
    _RESULT: _strided(problem.y.sizes, problem.y.strides),
  }


def _grouped(
  problem: problem_lib.Problem,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Returns sizes and strides of the weights, with an axis of groups if any."""
  (outs, ins, *space), (of_outs, of_ins, *of_space) = (
    problem.w.sizes,
    problem.w.strides,
  )
  if problem.groups == 1:
    return problem.w.sizes, problem.w.strides
  if problem.grouped_by_input:
    ins //= problem.groups
    of_groups = of_ins * ins
  else:
    outs //= problem.groups
    of_groups = of_outs * outs
  return (
    (problem.groups, outs, ins, *space),
    (of_groups, of_outs, of_ins, *of_space),
  )


def _description(
  problem: problem_lib.Problem, user: dict[int, _Handle]
) -> _Handle:
  """Describes the convolution, with weights in the kernel's own layout."""
  source, result = user[_SOURCE], user[_RESULT]
  weights = _free(_grouped(problem)[0])
  lows, highs = zip(*problem.padding, strict=True)
  shape = (
    _integers(problem.strides),
    _integers([dilation - 1 for dilation in problem.dilations]),
    _integers(lows),
    _integers(highs),
  )
  options = _options()
  forward = _Handle()
  of_engine = _Handle(engine())
  dnnl = library()
  _check(
    dnnl.dnnl_convolution_forward_primitive_desc_create(
      ctypes.byref(forward), of_engine, _TRAINING, _DIRECT, source, weights,
      None, result, *shape, options,
    )
  )  # fmt: skip
  if problem.kind == "forward":
    return forward
  made = _Handle()
  if problem.kind == "inputs":
    _check(
      dnnl.dnnl_convolution_backward_data_primitive_desc_create(
        ctypes.byref(made), of_engine, _DIRECT, source, weights, result,
        *shape, forward, options,
      )
    )  # fmt: skip
  else:
    _check(
      dnnl.dnnl_convolution_backward_weights_primitive_desc_create(
        ctypes.byref(made), of_engine, _DIRECT, source, weights, None, result,
        *shape, forward, options,
      )
    )  # fmt: skip
  return made


def _reorder(source: Argument, result: Argument) -> Step:
  made = _Handle()
  of_engine = _Handle(engine())
  _check(
    library().dnnl_reorder_primitive_desc_create(
      ctypes.byref(made), _Handle(source.layout), of_engine,
      _Handle(result.layout), of_engine, _options(),
    )
  )  # fmt: skip
  if _size(_query(made, _SCRATCHPAD)):
    raise Missing("a change of layout that needs memory of its own")
  return Step(
    _primitive(made),
    (
      source._replace(what=_ARGUMENT[_SOURCE]),
      result._replace(what=_ARGUMENT[_RESULT]),
    ),
  )


@functools.cache
def _options() -> _Handle:
  """Returns options by which primitives use working memory of the caller."""
  made = _Handle()
  dnnl = library()
  _check(dnnl.dnnl_primitive_attr_create(ctypes.byref(made)))
  _check(dnnl.dnnl_primitive_attr_set_scratchpad_mode(made, _USER_SCRATCHPAD))
  return made


def _strided(sizes: Sequence[int], strides: Sequence[int]) -> _Handle:
  made = _Handle()
  _check(
    library().dnnl_memory_desc_create_with_strides(
      ctypes.byref(made), len(sizes), _integers(sizes), _FLOAT32,
      _integers(strides),
    )
  )  # fmt: skip
  return made


def _free(sizes: Sequence[int]) -> _Handle:
  made = _Handle()
  _check(
    library().dnnl_memory_desc_create_with_tag(
      ctypes.byref(made), len(sizes), _integers(sizes), _FLOAT32, _ANY
    )
  )
  return made


def _primitive(description: _Handle) -> int:
  made = _Handle()
  _check(library().dnnl_primitive_create(ctypes.byref(made), description))
  return _address(made)


def _query(description: _Handle, what: int) -> int:
  return library().dnnl_primitive_desc_query_md(description, what, 0) or 0


def _size(layout: int) -> int:
  return library().dnnl_memory_desc_get_size(_Handle(layout)) if layout else 0


def _implementation(description: _Handle) -> str:
  name = ctypes.c_char_p()
  _check(
    library().dnnl_primitive_desc_query(
      description, _IMPLEMENTATION, 0, ctypes.byref(name)
    )
  )
  return (name.value or b"").decode()


def _aligned(size: int) -> int:
  return math.ceil(size / _ALIGNMENT) * _ALIGNMENT


def _integers(values: Sequence[int]) -> "ctypes.Array[ctypes.c_int64]":
  return (ctypes.c_int64 * len(values))(*values)


def _address(handle: _Handle) -> int:
  assert handle.value is not None
  return handle.value


def _check(status: int) -> None:
  if status:
    raise Missing(f"oneDNN refuses with status {status}")


def words(plan: Plan) -> Iterator[int]:
  """Yields a plan as integers, for the compiled code that runs it."""
  yield plan.is_shared
  yield len(plan.steps)
  for step in plan.steps:
    yield step.primitive
    yield len(step.arguments)
    for argument in step.arguments:
      yield from argument
