"""Recipes over memory and storage: what they ask for, refuse and resume."""

import os
import signal

import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.recipes import memory
from jcl.replay.store import store
from jcl.run import session

CARM = "carm:em=8,sb=12,swap={swap}"
OPTIONS = session.Options(
  steps_per_dispatch=1, checkpoint_seconds=60.0, progress=False
)
TRAINING = {"epochs": 2, "batch_size": 6, "learning_rate": 0.1}


def assemble(text):
  return session.assemble(
    tiny_network.stream(tasks=2, per_class=16),
    tiny_network.build(),
    recipes.build(text),
    base.Training(**TRAINING),
    options=OPTIONS,
  )


def interrupted(job, folder, monkeypatch, call):
  """Starts a run that gets a signal as it fetches its `call`th batch."""
  put, calls = job.learner.put_batches, []

  def signalling(batches):
    calls.append(0)
    if len(calls) == call:
      os.kill(os.getpid(), signal.SIGTERM)
    return put(batches)

  with monkeypatch.context() as patch:
    patch.setattr(job.learner, "put_batches", signalling)
    with pytest.raises(session.Interrupted):
      session.run(job, folder, OPTIONS)


def told(result):
  """What must be the same, time and joules left out."""
  found = []
  for record in result.records:
    held = dict(record.memory)
    held["decisions"] = [
      {k: d[k] for k in ("kind", "em", "sb", "swap", "step", "epoch")}
      for d in held["decisions"]
    ]
    found.append((record.accuracy, record.loss, record.steps, held))
  return found


# Trials that go by accuracy alone: energy has no place in an exact repetition.
MIRO = (
  "miro:em=8,sb=12,swap={swap},warmup=1,trial_epochs=1,share=0.5,held_out=1,"
  "policy=accuracy,grid=8x12/4x6"
)


@pytest.mark.parametrize(
  "text",
  [
    *(CARM.format(swap=swap) for swap in (0, 1)),
    *("er:minibatch=4+" + CARM.format(swap=swap) for swap in (0, 1)),
    "derpp:minibatch=4+" + CARM.format(swap=1),
    "icarl+" + CARM.format(swap=1),
    "gdumb+" + CARM.format(swap=1),
    MIRO.format(swap=1),
    MIRO.format(swap=1).replace("=accuracy", "=enough,patience=1"),
    "carm:em=8,sb=12,gate=hard,balanced=true,keep=reservoir",
    "storage_only",
  ],
)
def test_a_run_that_is_interrupted_ends_as_if_it_were_not(
  text, tmp_path, monkeypatch
):
  tiny_hierarchy.read_at_once(monkeypatch)
  tiny_hierarchy.draw_nothing(monkeypatch)
  job = assemble(text)
  expected = session.run(job, None, OPTIONS)
  total = sum(record.steps for record in expected.records)
  # One in the first experience, and one in the middle of the second.
  interrupted(job, tmp_path, monkeypatch, 2)
  interrupted(job, tmp_path, monkeypatch, 3 * total // 4 - 1)
  found = session.run(job, tmp_path, OPTIONS)
  assert tiny_network.same_bits(found.state, expected.state)
  assert told(found) == told(expected)
  if "swap=1" in text:
    assert expected.records[1].memory["exchanges"]["applied"] > 0
  for name in ("store", *(("extras",) if "derpp" in text else ())):
    with store.Store.open(tmp_path / name, mode="r") as opened:
      assert len(opened) == 64  # each example once


@pytest.mark.parametrize(
  "text, message",
  [
    ("carm:swap=1.5", "swap=1.5: give a number from 0 to 1"),
    ("carm:em=0", "em=0: give a number of examples from 1"),
    ("carm:sb=-1", "sb=-1: give a number of examples from 0"),
    ("carm:em=5 apples", "em=5 apples: .* bytes with their unit"),
    ("carm:gate=easy", "gate=easy: give one of random, hard, late"),
    ("carm:keep=best", "keep=best: give one of ring, greedy"),
    ("carm:remainder=lost", "remainder=lost: give one of spread, drop"),
    ("carm:loss=mse", "loss=mse: give one of softmax, sigmoid"),
    ("miro:grid=5-6", "grid=5-6: give sizes as memory x stream buffer"),
    ("miro:grid=5x-6", "grid=5x-6"),
    ("miro:policy=best", "policy=best: give one of utility"),
    ("miro:cutline=0", "cutline=0: give a number above 0"),
    ("miro:share=2", "share=2: give a number above 0"),
    ("miro:start=0", "start=0: give a whole number from 1"),
    ("er+carm:gate=hard", "does not report: write gate=random"),
    ("joint+carm", "needs no memory hierarchy"),
    ("er+storage_only", "storage_only"),
    ("carm+carm", "one memory hierarchy is enough"),
  ],
)
def test_mistakes_are_told_when_a_recipe_is_built(text, message):
  with pytest.raises(ValueError, match=message.replace("+", r"\+")):
    recipes.build(text)


def test_storage_alone_cannot_hold_anothers_memory():
  with pytest.raises(ValueError, match="storage_only has no memory.*carm"):
    memory.over(recipes.er(), recipes.storage_only())


def test_a_memory_with_fewer_seats_than_classes_is_refused():
  with pytest.raises(ValueError, match="em=3 makes 3 seats.*4 classes.*em=4"):
    session.run(assemble("carm:em=3,sb=9"))


def test_a_method_keeps_what_it_draws_and_how_it_keeps():
  found = {
    name: recipes.build(f"{name}+carm:em=9,sb=7").hierarchy
    for name in ("er", "icarl", "gdumb", "finetune", "derpp")
  }
  assert {name: h.trains for name, h in found.items()} == {
    "er": "stream",
    "icarl": "stream",
    "gdumb": "memory",
    "finetune": "both",
    "derpp": "stream",
  }
  assert found["icarl"].keep == "herding" and found["gdumb"].keep == "greedy"
  assert all((h.em, h.sb) == (9, 7) for h in found.values())
  method = recipes.build("er:minibatch=5+carm")
  assert method.replay.on_host and method.replay.num_samples == 5
  assert recipes.ram_only(em=5).hierarchy == base.Hierarchy(5, 1000, 0.0)


def test_gdumb_is_balanced_over_all_classes(tmp_path):
  result = session.run(assemble("gdumb+carm:em=8"))
  assert result.records[-1].memory["per_class"] == [2] * 4
