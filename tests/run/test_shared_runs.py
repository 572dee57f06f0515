"""What processes that share a run agree on."""

import json
import subprocess
import sys

from jax.experimental import multihost_utils
import numpy as np
import pytest

from jcl import base, recipes
from jcl.options.errors import UsageError
from jcl.run import lost, together


@pytest.fixture
def two(monkeypatch):
  """This is process 1 of two; returns what process 0 has, to be filled."""
  theirs = []
  monkeypatch.setattr(together.jax, "process_count", lambda: 2)
  monkeypatch.setattr(together.jax, "process_index", lambda: 1)
  monkeypatch.setattr(
    multihost_utils, "broadcast_one_to_all", lambda mine: theirs.pop(0)
  )

  def gather(mine):
    first = np.zeros_like(mine) if np.ndim(mine) else mine
    told = np.asarray(theirs.pop(0))
    if np.ndim(mine):
      first[: len(told)] = told
      return np.stack([first, mine])
    return np.array([told, mine])

  monkeypatch.setattr(multihost_utils, "process_allgather", gather)
  return theirs


def as_told(text):
  told = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
  return [len(told), told]


def test_one_process_asks_nobody(monkeypatch):
  for name in ("broadcast_one_to_all", "process_allgather"):
    monkeypatch.setattr(multihost_utils, name, None)
  decision = base.Decision(base.Allocation(2))
  assert together.decided(decision, 1) == (decision, 1)
  assert together.first_of(True) and not together.any_of(False)
  together.check_alike({"seed": 1})
  together.check(recipes.build("carm"), "raw")
  assert not together.Stopping([])(False) and together.Stopping([15])(False)


def test_a_decision_is_that_of_the_first(two):
  limit = base.Cost(3.5, np.inf, np.inf, np.inf)
  first = base.Decision(base.Allocation(2), limit, "by its clock")
  told = json.dumps([together.cursor_json.decided(first), {"a": 1}])
  two += as_told(told)
  changes = (base.Change("fixed", "mine", {}),)
  mine = base.Decision(base.Allocation(2), reason="mine", changes=changes)
  found, control = together.decided(mine, {"a": 2})
  assert (found.limit, found.reason, control) == (limit, first.reason, {"a": 1})
  assert found.changes == changes


def test_what_differs_is_named(two):
  two += as_told(json.dumps({"seed": [0], "rate": 0.1}, sort_keys=True))
  with pytest.raises(
    UsageError, match=r"rate is 0.1 for process 0 and 0.25 for process 1\. Give"
  ):
    together.check_alike({"seed": [0], "rate": 0.25})
  two += as_told(json.dumps({"seed": [0]}))
  together.check_alike({"seed": [0]})


def test_all_stop_where_one_has_a_signal(two):
  stops = together.Stopping([])
  two += [1, 0, 1]
  assert [stops(False) for _ in range(4)] == [False, False, False, True]
  assert not stops(True) and stops(True)
  assert not two


@pytest.mark.parametrize(
  "recipe, cache, told",
  [
    ("carm", "", "exchanges examples between memory and storage"),
    ("frugal", "", "exchanges examples between memory and storage"),
    ("slda", "disk", "trunk_cache='disk'"),
  ],
)
def test_what_cannot_be_shared_is_refused(two, recipe, cache, told):
  with pytest.raises(UsageError, match=told):
    together.check(recipes.build(recipe), cache)
  together.check(recipes.build("er"), "")


def test_errors_of_those_who_are_left_say_what_to_do(monkeypatch):
  left = []
  monkeypatch.setattr(together.atexit, "register", left.append)
  with pytest.raises(together.LostError, match="again"):
    with together.explained("try again"):
      raise ValueError("Gloo all-reduce failed: Connection closed by peer")
  assert left == [together._leave]
  for error in (ValueError("no"), UsageError("gloo is no recipe")):
    with pytest.raises(type(error), match=str(error)):
      with together.explained("try again"):
        raise error


DUMP = b"""[Gloo] Rank 1 is connected to 1 peer ranks.
a warning of a library
E1201 15:22:12.863337 29131 coordination_service_agent.cc:289] Polled an error
F1201 15:22:12.863347 29131 client.h:80] Terminating process
    @     0x7f004ac40634  absl::LogMessage::SendToLog()
"""


@pytest.mark.parametrize(
  "said, told",
  [
    (DUMP, b"a warning of a library\nit is gone\n"),
    (b"Aborted: F\nits end\n", b"Aborted: F\nits end\n"),
    (b"", b""),
  ],
)
def test_the_last_word_stands_for_a_page(said, told):
  done = subprocess.run(
    [sys.executable, "-S", lost.__file__, "it is gone"],
    input=said,
    capture_output=True,
  )
  assert done.returncode == 0 and done.stderr == told
