from concurrent import futures
import threading
import types

import jax.numpy as jnp
import pytest
import signatures

from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.train import background

DEVICE = devices.Device("cpu", "test", 1, 1, 1.0, 2.0, "modelled: test")


@pytest.fixture
def compiler():
  made = background.Compiler(ledger_lib.Ledger(DEVICE), most=3)
  yield made
  made.close()


def test_a_key_is_built_once_and_waiting_is_charged(compiler):
  built = []
  for _ in range(2):
    assert compiler.get("a", lambda: built.append(0) or "made") == "made"
  assert built == [0]
  assert compiler.ledger.totals()["compile"].seconds > 0


def test_the_least_recently_used_go_first(compiler):
  for key in "abc":
    compiler.get(key, lambda key=key: key)
  compiler.get("a", lambda: "never")
  compiler.get("d", lambda: "d")
  assert set(compiler) == {"a", "c", "d"}


def test_what_the_thread_made_is_not_made_again(compiler):
  done = threading.Event()
  compiler.ahead("a", lambda: done.set() or "thread")
  assert done.wait(10)
  assert compiler.get("a", lambda: "here") == "thread"
  assert compiler.ahead_seconds >= 0


def test_what_the_thread_was_asked_for_is_not_asked_twice(
  compiler, monkeypatch
):
  clock = iter([2.0, 5.5])
  monkeypatch.setattr(background.time, "perf_counter", lambda: next(clock))
  built, done = [], threading.Event()
  compiler.ahead("a", lambda: built.append(0) or done.wait(10))
  compiler.ahead("a", lambda: built.append(1))
  done.set()
  found = compiler._found["a"]
  assert found.result(10) and built == [0]
  assert compiler.ahead_seconds == 3.5


def test_who_keeps_the_time(compiler):
  compiler.ahead("a", lambda: compiler.in_thread)
  assert compiler._found["a"].result(10) is True
  assert not compiler.in_thread


def test_the_thread_makes_nothing_once_the_process_ends(compiler, monkeypatch):
  ended = types.SimpleNamespace(is_alive=lambda: False)
  monkeypatch.setattr(background.threading, "main_thread", lambda: ended)
  built = []
  compiler.ahead("a", lambda: built.append(0))
  with pytest.raises(futures.CancelledError):
    compiler._found["a"].result(10)
  assert not built


def test_many_programs_are_kept():
  made = background.Compiler(ledger_lib.Ledger(DEVICE))
  for key in range(513):
    made.get(key, lambda: 0)
  assert list(made) == list(range(1, 513))


def test_what_the_thread_has_not_begun_is_made_here(compiler):
  hold, begun = threading.Event(), threading.Event()
  compiler.ahead("slow", lambda: begun.set() or hold.wait(10))
  assert begun.wait(10)
  compiler.ahead("next", lambda: "thread")
  assert compiler.get("next", lambda: "here") == "here"
  hold.set()
  assert compiler.get("slow", lambda: "here") is True


def test_closing_drops_what_waits_and_no_more(compiler):
  hold, begun, made = threading.Event(), threading.Event(), []
  compiler.ahead("slow", lambda: begun.set() or made.append(hold.wait(10)))
  assert begun.wait(10)
  compiler.ahead("next", lambda: "thread")
  compiler.close()
  assert not made  # nobody waits for what has begun
  assert compiler._found["next"].cancelled()
  hold.set()
  assert compiler.get("next", lambda: "here") == "here"
  again = threading.Event()
  compiler.ahead("later", again.set)
  assert again.wait(10)


def test_what_waits_and_is_not_kept_is_not_made(compiler):
  hold, begun = threading.Event(), threading.Event()
  compiler.ahead("slow", lambda: begun.set() or hold.wait(10))
  assert begun.wait(10)
  compiler.ahead("next", lambda: "thread")
  waiting = compiler._found["next"]
  for key in "abc":  # of three that are kept
    compiler.get(key, lambda: "here")
  assert waiting.cancelled() and set(compiler) == {"a", "b", "c"}
  hold.set()


def test_a_failure_reaches_who_asks(compiler):
  def fail():
    raise ValueError("cannot compile")

  compiler.ahead("a", fail)
  with pytest.raises(ValueError, match="cannot compile"):
    compiler.get("a", fail)


def test_a_program_knows_its_cost_and_its_results():
  program = background.compile_program(
    lambda x: (x @ x, x + 1), [jnp.ones((8, 8))]
  )
  assert program.cost.flops >= 2 * 8**3 and program.seconds > 0
  assert [leaf.shape for leaf in program.out] == [(8, 8), (8, 8)]


def test_what_kernels_of_others_compute_is_added(monkeypatch):
  clock = iter([1.0, 3.25])
  monkeypatch.setattr(background.time, "perf_counter", lambda: next(clock))
  monkeypatch.setattr(background.lowering, "flops", lambda call: 1000.0)
  program = background.compile_program(lambda x: x + 1, [jnp.ones(8)])
  own = background.program_cost.of_compiled(program.call).flops
  assert program.cost.flops == own + 1000 and program.seconds == 2.25


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(background.Compiler) == {"most": 512}
