"""What examples set aside say: scores, their noise, and when to end."""

import contextlib
import types

import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.control.verdict import Verdict
from jcl.run import judge, loop, session
from jcl.train import scoring


def test_all_that_is_set_aside_is_read_a_few_at_a_time(monkeypatch):
  sizes = []

  def set_aside(job, part):
    sizes.append(part)
    return np.arange(150)[part]

  def judged(job, state, aside, scope):
    return Verdict(aside % 2 == 0, aside.astype(np.float32))

  monkeypatch.setattr(judge, "set_aside", set_aside)
  monkeypatch.setattr(judge, "judged", judged)
  archive = types.SimpleNamespace(aside=np.arange(150))
  job = types.SimpleNamespace(
    feed=types.SimpleNamespace(tiers=types.SimpleNamespace(archive=archive)),
    ledger=types.SimpleNamespace(timed=lambda _: contextlib.nullcontext()),
  )
  monkeypatch.setattr(judge.tier_feed, "tiers_of", lambda feed: feed.tiers)
  found = judge.looked(job, None, None)
  assert found.logs.tolist() == list(range(150)) and len(found.right) == 150
  assert [part.stop - part.start for part in sizes] == [64] * 3
  archive.aside = np.arange(0)
  assert len(judge.looked(job, None, None).right) == 0


def test_a_learner_judges_as_its_network_answers():
  job = assemble("carm:em=20,sb=30", epochs=1)
  state, _ = loop.start(job)
  data = job.stream.experiences[0].data
  data = base.Dataset("some", data.x[:37], data.y[:37], data.class_names)
  head = np.array([True, True, True, False])
  right, logs = scoring.judge(job.learner, state, data, head)
  outputs = scoring.outputs(job.learner, state, data.x, "logits")[:, :3]
  shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
  np.testing.assert_array_equal(right, outputs.argmax(axis=1) == data.y)
  given = shares[np.arange(37), data.y]
  np.testing.assert_allclose(np.exp(logs), given, rtol=1e-5)
  nothing = base.Dataset("none", data.x[:0], data.y[:0], data.class_names)
  none, _ = scoring.judge(job.learner, state, nothing, head)
  assert none.shape == (0,)


def assemble(text, epochs):
  return session.assemble(
    tiny_network.stream(tasks=2, per_class=120),
    tiny_network.build(),
    recipes.build(text),
    base.Training(epochs=epochs, batch_size=30, learning_rate=0.1),
    options=session.Options(steps_per_dispatch=2, progress=False),
  )


@pytest.mark.parametrize("policy", ["half", "enough"])
@pytest.mark.parametrize("patience", [0, 2])
def test_an_experience_ends_where_going_on_brings_nothing(
  policy, patience, tmp_path, monkeypatch
):
  tiny_hierarchy.read_at_once(monkeypatch)
  accuracies = iter([50, 60, 60, 56] + 3 * [70] + 40 * [80])

  def told(*_):
    right = np.arange(100) < next(accuracies)
    return Verdict(right, np.zeros(100, np.float32))

  monkeypatch.setattr(judge, "looked", told)
  text = f"miro:em=20,sb=30,policy={policy},patience={patience},share=0.5"
  job = assemble(f"{text},warmup=1,trial_epochs=1", epochs=20)
  seen, decisions = [], []
  with session.fed(job, tmp_path) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "steps":
        seen.append((event.place.experience, event.place.epoch))
      if event.kind == "experience":
        decisions += place.decisions
  ended = [
    (d["experience"], d["epoch"]) for d in decisions if "ended" in d.values()
  ]
  # Looks are two epochs apart: 60 is not exceeded by the two after it, the
  # latter within five points of it, nor is 70.
  assert ended == ([(0, 8), (1, 6)] if patience else [])
  last = [max(e for i, e in seen if i == index) for index in (0, 1)]
  assert last == ([8, 6] if patience else [20, 20])
  if patience:
    [reason] = [d["reason"] for d in decisions if d["epoch"] == 8]
    assert "60.0 %" in reason and "8 of 20 epochs" in reason
    assert place.records[0].decision.epochs == 8


def test_looks_are_ten_however_few_epochs_there_are(tmp_path, monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)
  for epochs, looks in ((3, 2), (10, 9), (24, 9)):
    job = assemble("miro:em=20,sb=30,policy=half,patience=99", epochs)
    with session.fed(job, tmp_path / str(epochs)) as running:
      state, place = loop.start(running)
      for event in loop.run(running, state, place):
        if event.kind == "experience":
          break
      found = place.control[1]["looks"]
      assert len(found) == looks
      assert all(0 <= each <= 100 for look in found for each in look)
