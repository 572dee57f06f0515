"""`jcl sweep`: recipes, seeds and options beside each other, in processes."""

from collections.abc import Sequence
import time

from jcl.cli import definitions, flags, sweep_display, sweep_orders
from jcl.cli.sweep_grid import Arm, Sweep, asked
from jcl.options.errors import UsageError
from jcl.replay.tiers import limits
from jcl.run import claims, interrupts, pool

_WORKER = "jcl.cli.sweep_runs"
# Errors whose messages alone say what to do.
_TOLD = (
  *("UsageError", "MissingFileError", "WorkdirError", "StoreError"),
  *("CheckpointError", "DamageError", "NonFiniteLossError"),
)


class SweepError(RuntimeError):
  """Some runs of a sweep failed, or a signal ended it; the message says more.

  Attributes:
    number: of the signal; None without.
  """

  def __init__(self, message: str, number: int | None = None) -> None:
    super().__init__(message)
    self.number = number


def command(arguments: list[str]) -> int:
  """Carries out what the flags say, or the rest; returns the status."""
  if arguments:
    raise UsageError(f"unexpected arguments {arguments}: flags begin with --")
  started = time.monotonic()
  sweep, memory = asked(), _memory()
  logs = sweep.folder / "workers"
  with claims.explained(sweep.folder):
    logs.mkdir(parents=True, exist_ok=True)
  plan = pool.Plan(
    f"{_WORKER}:ready",
    sweep_orders.Shared(_values(sweep), str(sweep.folder), time.time()),
    sweep.workers,
    pool.shares(sweep.workers),
    memory,
    logs,
    (_WORKER,),
  )
  with claims.locked(sweep.folder), interrupts.signals() as stopped:
    with pool.Pool(plan) as workers:
      _check(sweep, workers, stopped)
      failed = _Carrier(sweep, workers, stopped).carry_out(plan.threads)
  sweep_display.line(f"took {time.monotonic() - started:.0f} s")
  if failed:
    raise SweepError(
      f"{len(failed)} of {sweep.size} runs failed: {'; '.join(failed)}. All "
      f"others are in {sweep.folder}; the same command tries these again"
    )
  return 0


def _values(sweep: Sweep) -> dict[str, object]:
  """Returns the values of all flags, as for the first arm alone."""
  values = {**flags.values(), **sweep.arms[0].varied, "workdir": None}
  if sweep.workers > 1 and values["meter"] == "auto":
    values["meter"] = "modelled"
  return values


def _memory() -> float:
  """Returns the bytes that all processes may hold.

  Raises:
    UsageError: for text that is no size.
  """
  text = definitions.WORKERS_MEMORY.value
  if text is None:
    return limits.lowest(
      limits.available(lambda: 0.0, 0.9), limits.cgroup(lambda: 0.0, 0.9)
    )()
  limit = limits.parse(text)
  if limit is None or not limit():
    raise UsageError(f"--workers_memory={text}: write bytes, such as 8GiB")
  return limit()


def _check(sweep: Sweep, workers: pool.Pool, stopped: Sequence[int]) -> None:
  """Has a process look whether flags and data fit; claims the folder.

  Raises:
    UsageError: where they do not.
    WorkdirError: for the folder of another sweep.
  """
  varied = tuple({str(arm.varied): arm.varied for arm in sweep.arms}.values())
  task = pool.Task("the check of flags", sweep_orders.Check(varied))
  checked: sweep_orders.Checked | None = None
  for news in workers.carry_out([task]):
    if stopped:
      raise SweepError("stopped before anything was learned", stopped[0])
    if news.kind == "done":
      checked = news.value
    elif news.kind == "failed":
      if _name(news.value) in _TOLD:
        raise UsageError(news.value.message)
      raise RuntimeError(f"in a worker: {news.value.trace}")
    elif news.kind == "died":
      raise SweepError(f"a worker {news.value} before anything was learned")
  assert checked is not None
  sweep_display.line(checked.told.rstrip())
  if checked.platform != "cpu" and definitions.WORKERS.value is None:
    workers.limit(1)  # one device, of which a run takes all
  claims.claim(
    sweep.folder,
    {**sweep.shared, "content": checked.content},
    definitions.RESUME.value,
    flags.defaults(),
  )


def _name(failure: pool.Failure) -> str:
  return failure.kind.rpartition(".")[2]


class _Carrier:
  """Carries the runs of a sweep out, and keeps table and report up to date."""

  def __init__(
    self, sweep: Sweep, workers: pool.Pool, stopped: Sequence[int]
  ) -> None:
    self._sweep, self._workers, self._stopped = sweep, workers, stopped
    self._failed: list[str] = []
    self._runs: dict[str, tuple[Arm, int]] = {}  # by name

  def carry_out(self, threads: int) -> list[str]:
    """Carries out what is not finished; returns what failed, and why.

    Args:
      threads: of each process, for display.

    Raises:
      SweepError: where a signal ends it, once everything is saved.
    """
    sweep = self._sweep
    with sweep_display.Display(sweep, threads) as self._display:
      tasks = self._tasks()
      self._display.begin(len(tasks))
      left = len(tasks)
      for news in self._workers.carry_out(tasks):
        self._note(news)
        left -= news.kind in ("done", "failed", "died", "stopped")
        if left <= sweep.workers:
          self._display.expect_end()
        if self._stopped and not self._workers.stopping:
          self._display.say("saving, to go on later")
          self._workers.stop()
      if not self._stopped:
        self._display.finish()
    if self._stopped:
      raise SweepError(
        f"stopped; saved in {sweep.folder}: run the same command to go on",
        self._stopped[0],
      )
    return self._failed

  def _tasks(self) -> list[pool.Task]:
    """Returns the runs that are not finished; shows those that are."""
    resume, tasks = definitions.RESUME.value, []
    for arm, seed in self._sweep.runs():
      name = f"{arm.label} seed {seed}"
      self._runs[name] = arm, seed
      if resume and self._display.found(arm, seed):
        continue
      place = str(self._sweep.place(arm, seed))
      order = sweep_orders.Order(arm.varied, arm.text, seed, place, resume)
      tasks.append(pool.Task(name, order, arm.label))
    return tasks

  def _note(self, news: pool.News) -> None:
    if news.task is None:
      self._display.refresh()
      return
    name = news.task.name
    if news.kind == "at":
      self._display.at(name, news.value)
    elif news.kind == "done":
      if self._display.found(*self._runs[name]):
        self._display.ended(name)
      else:
        self._fail(name, "it left no summary")
    elif news.kind == "again":
      self._display.ended(name)
      self._display.say(f"{name}: its worker {news.value}; trying once more")
    elif news.kind == "died":
      self._fail(name, f"its worker {news.value}, twice")
    elif news.kind == "failed" and _name(news.value) != "Interrupted":
      kind, message = _name(news.value), news.value.message
      self._fail(name, message if kind in _TOLD else f"{kind}: {message}")

  def _fail(self, name: str, why: str) -> None:
    self._display.ended(name)
    self._display.say(f"{name} failed: {why}")
    self._failed.append(f"{name} ({why})")
