"""What an experience begins and ends with, and by which random keys."""

import types

import jax
import numpy as np
import pytest
import tiny_network

from jcl import keys, recipes
from jcl.train import experience, hooks

STREAM = tiny_network.stream(tasks=2)  # two times 24 examples
SEED = 3
Purpose = keys.Purpose


def told(key):
  return jax.random.key_data(key).tolist()


@pytest.fixture
def calls(monkeypatch):
  """Names of what was called, each with its key, if it has one."""
  found = []

  def noting(name, place):
    def call(learner, *given):
      parts = [told(g) for g in given if isinstance(g, jax.Array)]
      found.append((name, *parts))
      if name == "settle":
        rows = [chunk.ids[chunk.ids >= 0] for chunk in given[2]]
        found.append(("rows", sorted(np.concatenate(rows).tolist())))
      return f"{name}d"

    monkeypatch.setattr(place, name, call)

  for name in ("begin", "finish", "add", "accumulate", "review", "show_batch"):
    noting(name, hooks)
  noting("settle", experience.consolidation)
  return found


def learner(calls, when="never", restart=False, **objective):
  method = recipes.finetune()
  method = method._replace(
    replay=method.replay._replace(when=when),
    objective=method.objective._replace(**objective),
    restart=restart,
  )

  def again(key, state, selection):
    calls.append(("restart", told(key)))
    return "restarted"

  return types.SimpleNamespace(
    method=method,
    restart=again,
    stream_rows=10,
    batch_size=10,
    steps_per_dispatch=2,
    put_batches=lambda batches: batches,
  )


def key(purpose, *more):
  return told(keys.key(SEED, purpose, *more))


@pytest.mark.parametrize("when", ["before", "after", "step"])
@pytest.mark.parametrize("index", [0, 1])
def test_an_experience_opens(calls, when, index):
  made = experience.Hooks(STREAM, SEED)
  one = learner(calls, when, restart=True)
  assert made.open(one, "state", index, "selection", "scope") == "settled"
  again = [("restart", key(Purpose.RESTART, index))] * index
  # Three batches of at most ten, two in a dispatch.
  offers = [("add", key(Purpose.MEMORY, index))] * (2 * (when == "before"))
  settles = ("settle", key(Purpose.SETTLE, index))
  rows = ("rows", sorted(STREAM.experiences[index].source_index.tolist()))
  assert calls[:-1] == [*again, *offers, ("begin",), settles]
  assert calls[-1][0] == "rows" and len(calls[-1][1]) == len(rows[1]) == 24
  calls.clear()
  made.open(learner(calls), "state", index, "selection", "scope")
  assert [name for name, *_ in calls] == ["begin", "settle", "rows"]


@pytest.mark.parametrize("when", ["before", "after", "step"])
def test_an_experience_closes(calls, when):
  made = experience.Hooks(STREAM, SEED)
  made.close(learner(calls, when), "state", 1, "scope")
  offers = [("add", key(Purpose.MEMORY, 1))] * (2 * (when == "after"))
  assert calls == [("finish",), *offers]
  calls.clear()
  made.close(learner(calls, accumulate=abs), "state", 1, "scope")
  shown = [("accumulate", key(Purpose.ACCUMULATE, 1))] * 2
  assert calls == [*shown, ("finish",)]


def test_hooks_that_an_objective_has_are_called(calls):
  made = experience.Hooks(STREAM, SEED)
  plain, state = learner(calls), "state"
  for when, behind in (("first_batch", 0), ("last_batch", 1)):
    hook = hooks.BatchHook(when, "selection")
    given = state, 1, hook, "scope", lambda: "batch"
    assert made.show_batch(plain, *given) == state and not calls
    assert made.show_batch(learner(calls, **{when: abs}), *given) != state
    assert calls.pop() == ("show_batch", key(Purpose.HOOKS, 1, behind))
  given = state, 1, "scope", lambda: "memory"
  assert made.review(plain, *given) == state and not calls
  made.review(learner(calls, review=abs), *given)
  assert calls == [("review", key(Purpose.REVIEW, 1))]
  assert made.rebuild(plain, state, 1) == state
