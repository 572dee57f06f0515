"""Processes that carry out tasks beside each other."""

import os
import signal
import subprocess
import sys
import time

import psutil

from jcl.run import pool


def plan(tmp_path, **more):
  given = {
    "maker": "pool_work:maker",
    "shared": str(tmp_path),
    "workers": 2,
    "processors": pool.shares(2),
    "logs": tmp_path,
    **more,
  }
  return pool.Plan(**given)


def ended(news):
  """Returns what became of each task, by its name."""
  return {
    each.task.name: (each.kind, each.value)
    for each in news
    if each.task is not None and each.kind != "at"
  }


def tasks(*works):
  return [pool.Task(f"{i} {work[0]}", work) for i, work in enumerate(works)]


def test_processes_are_kept_and_have_processors_of_their_own(tmp_path):
  with pool.Pool(plan(tmp_path)) as workers:
    asked = tasks(*[("where", None)] * 8)
    found = [value for _, value in ended(workers.carry_out(asked)).values()]
  assert len(found) == 8
  places = {pid: (cores, threads) for pid, cores, threads in found}
  assert len(places) <= 2 and os.getpid() not in places
  for cores, threads in places.values():
    assert cores in [sorted(each) for each in pool.shares(2)]
    assert len(cores) == int(threads)


def test_a_process_prefers_kinds_of_tasks_that_it_knows(tmp_path):
  asked = [
    pool.Task(f"{kind} {number}", ("slow", 0.2), kind)
    for number in range(4)
    for kind in ("a", "b")
  ]
  asked.insert(2, pool.Task("a too", ("slow", 0.2), "a"))
  with pool.Pool(plan(tmp_path)) as workers:
    found = ended(workers.carry_out(asked))
  early = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]
  where = {name: found[f"{name[0]} {name[1]}"][1] for name in early}
  # The second of the list, "b 0", went to the other process.
  assert where["a", 0] == where["a", 1] == found["a too"][1]
  assert where["b", 0] == where["b", 1] == where["b", 2] != where["a", 0]


def test_shares_are_equal_and_cover_what_there_is(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 5, 6, 7})
  assert pool.shares(1) == [[3, 4, 5, 6, 7]]
  assert pool.shares(2) == [[3, 4], [5, 6]]
  assert pool.shares(7) == [[3], [4], [5], [6], [7], [3], [4]]


def test_a_process_that_dies_has_its_task_tried_once_more(tmp_path):
  asked = tasks(("once", "file"), ("ever", None), ("fail", "no"), ("is", 3))
  with pool.Pool(plan(tmp_path)) as workers:
    news = list(workers.carry_out(asked))
  found = ended(news)
  assert found["0 once"] == ("done", "lived")
  assert found["1 ever"] == (
    "died",
    "was ended by SIGKILL, as where memory runs out",
  )
  kind, failure = found["2 fail"]
  assert (kind, failure.kind, failure.message) == (
    "failed",
    "builtins.ValueError",
    "no",
  )
  assert found["3 is"] == ("done", 3)
  again = [each.task.name for each in news if each.kind == "again"]
  assert sorted(again) == ["0 once", "1 ever"]
  logs = "".join(path.read_text() for path in tmp_path.glob("worker_*.log"))
  assert "ValueError: no" in logs


def test_a_pool_whose_processes_cannot_begin_says_why(tmp_path):
  made = plan(tmp_path, maker="pool_work:broken")
  with pool.Pool(made) as workers:
    (news,) = ended(workers.carry_out(tasks(("is", 1)))).values()
  assert news[0] == "failed"
  assert news[1].message == f"nothing works in {tmp_path}"


def test_little_memory_leaves_one_process(tmp_path):
  made = plan(tmp_path, memory=1.0)
  with pool.Pool(made) as workers:
    found = ended(workers.carry_out(tasks(*[("where", None)] * 3)))
    assert {kind for kind, _ in found.values()} == {"done"}
    assert len({value[0] for _, value in found.values()}) == 3
    assert sum(each is not None for each in workers._workers) == 0


def test_a_stopped_pool_ends_what_it_does(tmp_path):
  with pool.Pool(plan(tmp_path)) as workers:
    asked = tasks(*[("wait", 60)] * 3)
    found = []
    for news in workers.carry_out(asked):
      found.append(news)
      if news.kind == "at":
        assert news.value == 0.5
        workers.stop()
  assert {each.kind for each in found if each.task} <= {"at", "stopped"}
  assert any(each.kind == "stopped" for each in found)


ORPHAN = """
import sys, time
from jcl.run import pool
made = pool.Plan("pool_work:maker", "", 1, pool.shares(1))
with pool.Pool(made) as workers:
  for news in workers.carry_out([pool.Task("a", ("wait", 60))]):
    if news.kind == "at":
      print(workers._workers[0].process.pid, flush=True)
"""


def test_processes_end_where_their_parent_is_killed():
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  parent = subprocess.Popen(
    [sys.executable, "-c", ORPHAN],
    stdout=subprocess.PIPE,
    env=environment,
    text=True,
  )
  worker = psutil.Process(int(parent.stdout.readline()))
  parent.send_signal(signal.SIGKILL)
  parent.communicate()
  until = time.monotonic() + 20
  while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
    assert time.monotonic() < until
    time.sleep(0.05)
