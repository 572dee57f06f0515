"""Which controllers a run has, and in which order they decide."""

import pytest

from jcl import base
from jcl.control import assembly, sizes, stopping, swap


@pytest.fixture
def parts(monkeypatch):
  """Has controllers made of words, and put together as a list."""
  monkeypatch.setattr(stopping, "early", lambda patience: ("early", patience))
  monkeypatch.setattr(swap, "backed_off", lambda share: ("swap", share))
  monkeypatch.setattr(
    sizes, "sizes", lambda trials, seed: ("sizes", trials, seed)
  )
  monkeypatch.setattr(assembly, "together", lambda *parts: list(parts))


def test_without_a_memory_on_the_host_effort_decides_alone(parts):
  assert assembly.for_run("effort", None, 3) == "effort"
  store = base.Hierarchy(9, 9, trains="store")
  assert assembly.for_run("effort", store, 3) == "effort"


def test_sizes_decide_last_and_patience_first(parts):
  found = assembly.for_run("effort", base.Hierarchy(9, 9, swap=0.25), 3)
  assert found == ["effort", ("swap", 0.25), ("sizes", None, 3)]
  for patience, early in ((0, []), (2, [("early", 2)])):
    trials = base.Trials(patience=patience)
    hierarchy = base.Hierarchy(9, 9, swap=0.5, trials=trials)
    found = assembly.for_run("effort", hierarchy, 4)
    assert found == ["effort", *early, ("swap", 0.5), ("sizes", trials, 4)]
