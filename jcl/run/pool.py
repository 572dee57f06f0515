"""A pool of processes, each pinned to its processors, that carry out tasks.

A process carries out one task after the other, so that it imports what tasks
need once. One that dies is replaced, and its task tried once more. They begin
as copies of a process that has imported everything already ("forkserver").
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import multiprocessing
from multiprocessing import connection, context, get_all_start_methods
import os
from pathlib import Path
import signal
import sys
from typing import Any, Literal, NamedTuple

import psutil

from jcl.run import pool_process
from jcl.run.pool_process import Failure as Failure

_PATIENCE = 1.0  # seconds between looks at signals and memory
_FIRST_GUESS = 512 << 20  # bytes of a process, before any has told
# Variables by which libraries learn how many threads they may use.
_THREADS = (
  "NPROC",  # XLA, where a process cannot be pinned
  "OMP_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "NUMBA_NUM_THREADS",
)


class Task(NamedTuple):
  """A piece of work for one process.

  Attributes:
    name: of the task, in messages.
    work: what the processes' function is called with; is pickled.
    kind: a process takes a task of a kind that it knows, or that none knows,
      ahead of others.
  """

  name: str
  work: Any
  kind: str = ""


class News(NamedTuple):
  """Word of a task: that it goes on, or how it ended.

  Attributes:
    kind: "at" for a task on its way, "done", "failed" where it raised an error,
      "again" where its process died and it is tried once more, "died" where
      that had happened before, "stopped" by `Pool.stop`, and "idle" without any
      task, once a second.
    task: that it is about; None for "idle".
    value: what it told or returned, a `Failure`, or how its process died.
  """

  kind: Literal["at", "done", "failed", "again", "died", "stopped", "idle"]
  task: Task | None = None
  value: Any = None


class Plan(NamedTuple):
  """How a pool is made.

  Attributes:
    maker: "module:function"; called with `shared` in each process, it returns
      the function of a task's `work` and of what tells how far it is.
    shared: argument of `maker`; is pickled.
    workers: processes at most.
    processors: lists of them, one list for each process; empty: not pinned.
    memory: bytes that all processes together may hold.
    logs: folder of what each process prints.
    preload: modules to import before processes are copied.
  """

  maker: str
  shared: Any
  workers: int
  processors: Sequence[Sequence[int]] = ()
  memory: float = float("inf")
  logs: Path | None = None
  preload: Sequence[str] = ()

  @property
  def threads(self) -> int:
    """Threads of each process."""
    return len(self.processors[0]) if self.processors else 1


def shares(workers: int) -> list[list[int]]:
  """Returns the processors of each worker: as many for each, and no fewer.

  Where there are more workers than processors, some share one.
  """
  if not hasattr(os, "sched_getaffinity"):  # no pinning, but as many threads
    every = list(range(os.cpu_count() or 1))
  else:
    every = sorted(os.sched_getaffinity(0))
  each = max(len(every) // workers, 1)
  return [
    [every[(i * each + k) % len(every)] for k in range(each)]
    for i in range(workers)
  ]


class Pool:
  """Processes that carry out tasks; a context manager."""

  def __init__(self, plan: Plan) -> None:
    self._plan = plan
    self._most = plan.workers
    self._workers: list[_Worker | None] = [None] * plan.workers
    self._largest = 0  # bytes that a process has held
    self.stopping = False  # whether `stop` was called
    methods = get_all_start_methods()
    way = "forkserver" if "forkserver" in methods else "spawn"
    self._context = multiprocessing.get_context(way)
    with _environment(plan.threads):
      if way == "forkserver":
        from multiprocessing import forkserver

        self._context.set_forkserver_preload(list(plan.preload))
        forkserver.ensure_running()
      self._hire(plan.workers)

  def __enter__(self) -> "Pool":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def limit(self, workers: int) -> None:
    """Keeps to fewer processes from here on; idle ones above end."""
    self._most = workers
    for number, worker in enumerate(self._workers):
      if worker is not None and number >= workers and worker.task is None:
        self._dismiss(number)

  def stop(self) -> None:
    """Asks all processes to save and end; `carry_out` tells when they have."""
    self.stopping = True
    for worker in self._alive():
      worker.process.terminate()

  def close(self) -> None:
    """Ends all processes: those that are idle, and at once those that work."""
    for worker in self._alive():
      worker.end(patient=worker.task is None)
    self._workers = [None] * self._plan.workers

  def carry_out(self, tasks: Sequence[Task]) -> Iterator[News]:
    """Yields what becomes of tasks, in the order in which it happens."""
    waiting = deque((task, 1) for task in tasks)
    while True:
      if self.stopping:
        waiting.clear()
      self._hire(len(waiting))
      for worker in self._alive():
        if waiting and worker.task is None and self._may_work(worker):
          worker.give(*self._next(worker, waiting))
      busy = [each for each in self._alive() if each.task is not None]
      if not busy and not waiting:
        return
      yield from self._listen(busy, waiting)

  def _next(
    self, worker: "_Worker", waiting: deque[tuple[Task, int]]
  ) -> tuple[Task, int]:
    """Takes out the task that suits a process best."""
    others = {
      kind
      for each in self._alive()
      if each is not worker
      for kind in each.kinds
    }
    unsuited = others - worker.kinds
    for found in waiting:
      if found[0].kind not in unsuited:
        waiting.remove(found)
        return found
    return waiting.popleft()

  def _listen(
    self, busy: Sequence["_Worker"], waiting: deque[tuple[Task, int]]
  ) -> Iterator[News]:
    """Yields what processes tell within a second."""
    ready = connection.wait([each.connection for each in busy], _PATIENCE)
    for worker in busy:
      if worker.connection in ready:
        news = worker.hear()
        if news.kind == "died":
          news = self._replace(worker, news, waiting)
        elif news.kind in ("done", "failed"):
          self._review(worker)
        yield news
    yield News("idle")

  def _replace(
    self, worker: "_Worker", news: News, waiting: deque[tuple[Task, int]]
  ) -> News:
    """Lets go of a process that died; its task waits again, or is given up."""
    task, tries = news.task, worker.tries
    assert task is not None
    self._workers[self._workers.index(worker)] = None
    worker.end(patient=False)
    if self.stopping:
      return News("stopped", task, news.value)
    if tries > 1:
      return news
    waiting.appendleft((task, tries + 1))
    return News("again", task, news.value)

  def _review(self, worker: "_Worker") -> None:
    """Ends a process that holds more than its share of the memory."""
    self._largest = max(self._largest, worker.held())
    fair = self._plan.memory / self._plan.workers
    if self._held() > self._plan.memory and worker.held() > fair:
      self._dismiss(self._workers.index(worker))

  def _may_work(self, worker: "_Worker") -> bool:
    return self._workers.index(worker) < self._most

  def _hire(self, tasks: int) -> None:
    """Starts processes for tasks that wait, one at least, as memory permits."""
    idle = sum(each.task is None for each in self._alive())
    for number in range(self._most):
      if tasks <= idle:
        return
      if self._workers[number] is None:
        expected = max(self._largest, _FIRST_GUESS)
        room = self._plan.memory - self._held()
        if self._alive() and expected > room:
          return
        with _environment(self._plan.threads):
          self._workers[number] = _Worker(self._context, self._plan, number)
        idle += 1

  def _held(self) -> int:
    return sum(each.held() for each in self._alive())

  def _alive(self) -> list["_Worker"]:
    return [each for each in self._workers if each is not None]

  def _dismiss(self, number: int) -> None:
    worker, self._workers[number] = self._workers[number], None
    if worker is not None:
      worker.end(patient=True)


class _Worker:
  """A process, seen from the one that gives it tasks."""

  def __init__(
    self, starting: context.BaseContext, plan: Plan, number: int
  ) -> None:
    self.connection, theirs = starting.Pipe()
    self.task: Task | None = None
    self.tries = 0
    self.kinds: set[str] = set()  # of the tasks so far
    place = pool_process.Place(
      number,
      tuple(plan.processors[number]) if plan.processors else (),
      None if plan.logs is None else str(plan.logs / f"worker_{number}.log"),
      {name: os.environ[name] for name in _THREADS if name in os.environ},
    )
    self.process = starting.Process(  # type: ignore[attr-defined]
      target=pool_process.serve,
      args=(theirs, place, plan.maker, plan.shared),
      name=f"worker {number}",
      daemon=True,
    )
    self.process.start()
    theirs.close()

  def give(self, task: Task, tries: int) -> None:
    """Hands a task over; a process that is dead tells so when it is heard."""
    self.task, self.tries = task, tries
    self.kinds.add(task.kind)
    with contextlib.suppress(OSError):
      self.connection.send(task.work)

  def hear(self) -> News:
    """Returns what the process tells next, or how it died."""
    task = self.task
    try:
      kind, value = self.connection.recv()
    except (EOFError, OSError):
      self.process.join(10)
      return News("died", task, _ending(self.process.exitcode))
    if kind != "at":
      self.task = None
    return News(kind, task, value)

  def held(self) -> int:
    """Returns the bytes that the process holds now."""
    try:
      return psutil.Process(self.process.pid).memory_info().rss
    except psutil.Error:
      return 0

  def end(self, *, patient: bool) -> None:
    """Ends the process; a patient caller lets it close what it has open."""
    self.connection.close()
    if not patient:
      self.process.kill()
    self.process.join(10)
    if self.process.exitcode is None:
      self.process.kill()
      self.process.join()
    self.process.close()


def _ending(code: int | None) -> str:
  """Returns how a process ended, in words."""
  if code is not None and code < 0:
    with contextlib.suppress(ValueError):
      name = signal.Signals(-code).name
      hint = ", as where memory runs out" if name == "SIGKILL" else ""
      return f"was ended by {name}{hint}"
  return f"ended with status {code}"


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
  """Sets what a new process reads before it imports anything."""
  told: Mapping[str, str] = {
    **{name: os.environ.get(name, str(threads)) for name in _THREADS},
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
  }
  before = {name: os.environ.get(name) for name in told}
  os.environ.update(told)
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
