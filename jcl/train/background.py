"""Programs compiled once, when they are needed or before."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent import futures
import contextlib
import ctypes
import dataclasses
import sys
import threading
import time
from typing import Any

from jcl.cost import ledger as ledger_lib
from jcl.cost import program_cost
from jcl.train.kernels import lowering


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled function and what one call of it costs."""

  call: Callable[..., Any]
  cost: program_cost.ProgramCost
  seconds: float = 0.0  # that compiling took
  out: Any = None  # shapes of what it returns


def compile_program(fn: Callable[..., Any], shapes: Any, **jit: Any) -> Program:
  """Compiles `fn` for arguments of the given shapes.

  Args:
    fn: a pure function.
    shapes: its arguments, arrays or `jax.ShapeDtypeStruct`s.
    **jit: options of `jax.jit`.
  """
  start = time.perf_counter()
  lowered = lowering.lower(fn, shapes, **jit)
  call = lowered.compile()
  seconds = time.perf_counter() - start
  _give_back()
  cost = program_cost.of_compiled(call)
  cost = dataclasses.replace(cost, flops=cost.flops + lowering.flops(call))
  return Program(call, cost, seconds, lowered.out_info)


class Compiler:
  """Keeps programs by key; the least recently used go first.

  What has to be waited for is charged to "compile". Programs compiled ahead, in
  a thread, take nothing from the ledger: while they are made, the steps beside
  them are slower, and that is in those steps' own time.

  Args:
    ledger: where waiting is filed.
    most: programs to keep.
  """

  def __init__(self, ledger: ledger_lib.Ledger, most: int = 512) -> None:
    self.ledger, self._most = ledger, most
    self._found: dict[Hashable, futures.Future[Any]] = {}
    self._pool: futures.ThreadPoolExecutor | None = None
    self._owner = threading.get_ident()  # whose time the ledger keeps
    self.ahead_seconds = 0.0  # spent compiling in the thread

  def __iter__(self) -> Iterator[Hashable]:
    return iter(list(self._found))

  def get(self, key: Hashable, build: Callable[[], Any]) -> Any:
    """Returns what `build` makes, from an earlier call where there was one."""
    found = self._found.pop(key, None)
    if found is not None and found.done() and not found.cancelled():
      self._found[key] = found  # as the most recently used
      return found.result()
    waiting: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if not self.in_thread:
      waiting = self.ledger.timed("compile")
    with waiting:
      if found is None or found.cancel():  # which tells of earlier times, too
        found = futures.Future()
        found.set_result(build())
      result = found.result()
    self._keep(key, found)
    return result

  def ahead(self, key: Hashable, build: Callable[[], Any]) -> None:
    """Has a thread make what `get` will ask for."""
    found = self._found.get(key)
    if found is not None and not found.cancelled():
      return
    if self._pool is None:
      self._pool = futures.ThreadPoolExecutor(1, "compile")
    self._keep(key, self._pool.submit(self._timed, build))

  @property
  def programs(self) -> dict[Hashable, Program]:
    """The programs that are compiled, by key."""
    done = {k: f for k, f in list(self._found.items()) if _is_done(f)}
    found = {key: each.result() for key, each in done.items()}
    return {k: each for k, each in found.items() if isinstance(each, Program)}

  def add(self, programs: Mapping[Hashable, Program]) -> None:
    """Takes over programs that another compiler has made for the same keys."""
    for key, program in programs.items():
      made: futures.Future[Any] = futures.Future()
      made.set_result(program)
      self._keep(key, made)

  @property
  def in_thread(self) -> bool:
    """Whether this is another thread than the one whose time is kept."""
    return threading.get_ident() != self._owner

  def close(self) -> None:
    """Drops what the thread has not begun; `get` and `ahead` go on working."""
    if self._pool is not None:
      self._pool.shutdown(wait=False, cancel_futures=True)
      self._pool = None

  def _timed(self, build: Callable[[], Any]) -> Any:
    if not threading.main_thread().is_alive():
      raise futures.CancelledError  # nobody waits at the end of the process
    start = time.perf_counter()
    result = build()
    self.ahead_seconds += time.perf_counter() - start
    return result

  def _keep(self, key: Hashable, found: Any) -> None:
    self._found[key] = found
    while len(self._found) > self._most:
      oldest = self._found.pop(next(iter(self._found)), None)
      if oldest is not None:
        oldest.cancel()


def _give_back() -> None:
  """Returns the memory that compiling has left free to the system, on Linux.

  The C library would keep it, and steps take other sizes than compilers do.
  """
  if sys.platform == "linux":
    with contextlib.suppress(AttributeError):  # another C library than glibc
      ctypes.CDLL(None).malloc_trim(0)


def _is_done(made: "futures.Future[Any]") -> bool:
  return made.done() and not made.cancelled() and made.exception() is None
