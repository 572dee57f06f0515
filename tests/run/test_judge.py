"""What examples set aside say: scores, their noise, and when to end."""

import contextlib
import math
import types

import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.run import judge, loop, session, tiering


def verdict(probabilities, right=None):
  logs = np.log(np.asarray(probabilities, np.float32))
  if right is None:
    right = np.asarray(probabilities) > 0.5
  return judge.Verdict(np.asarray(right, bool), logs)


def test_scores_by_hand():
  found = verdict([0.9, 0.4, 0.6, 0.1])
  assert found.score("accuracy") == 50
  product = 0.9 * 0.4 * 0.6 * 0.1
  assert found.score("likelihood") == pytest.approx(100 * product**0.25)


def test_noise_is_that_of_paired_differences():
  before, after = verdict([0.2, 0.2, 0.8]), verdict([0.4, 0.4, 0.8])
  # Logarithms grow by ln 2 twice and not at all once.
  spread = math.log(2) * math.sqrt(1 / 3) / math.sqrt(3)
  found = after.noise(before, "likelihood")
  assert found == pytest.approx(after.score("likelihood") * spread, rel=1e-5)
  # Where all examples grow alike there is none, however they differ.
  twice = verdict([0.1, 0.3, 0.4]), verdict([0.2, 0.6, 0.8])
  assert twice[1].noise(twice[0], "likelihood") == pytest.approx(0, abs=1e-4)
  right = verdict([1, 1, 1, 1], [1, 1, 0, 0]), verdict([1] * 4, [1, 1, 1, 0])
  assert right[1].noise(right[0], "accuracy") == pytest.approx(25)
  assert verdict([0.5]).noise(verdict([0.4]), "likelihood") == math.inf


def test_two_examples_have_a_noise_and_one_has_none():
  before, after = verdict([0.5, 0.5]), verdict([0.5, 0.25])
  spread = math.log(2) / math.sqrt(2) / math.sqrt(2)
  assert after.noise(before, "likelihood") == pytest.approx(
    after.score("likelihood") * spread, rel=1e-5
  )
  one = verdict([0.5], [True])
  assert one.noise(verdict([0.5], [False]), "accuracy") == math.inf


def ended(epochs, done, patience=1, batch=0, examples=5):
  plan = types.SimpleNamespace(patience=patience)
  tiers = types.SimpleNamespace(
    looks=[(40.0, 40.0)], hierarchy=types.SimpleNamespace(plan=plan)
  )
  place = types.SimpleNamespace(
    epoch=done, decision=types.SimpleNamespace(epochs=epochs)
  )
  setting = types.SimpleNamespace(tiers=tiers)
  found = judge.exhausted(setting, None, place, None)
  return found, len(tiers.looks) - 1


def test_which_epochs_are_looked_at(monkeypatch):
  monkeypatch.setattr(
    judge, "_looked", lambda *_: verdict([0.1] * 9, [1] * 3 + [0] * 6)
  )
  for epochs, looks in (
    (24, [3, 5, 8, 10, 12, 15, 17, 20, 22]),
    (10, list(range(1, 10))),
    (3, [1, 2]),
    (1, []),
  ):
    found = [d for d in range(epochs + 2) if ended(epochs, d)[1]]
    assert found == looks
  assert ended(10, 3) == (True, 1)  # 40 stays the best; 33 is within 16 of it
  assert ended(10, 3, patience=2) == (False, 1)
  assert ended(10, 3, patience=0) == (False, 0)
  monkeypatch.setattr(judge, "_looked", lambda *_: verdict([]))
  assert ended(10, 3) == (False, 0)


def test_all_that_is_set_aside_is_read_a_few_at_a_time(monkeypatch):
  sizes = []

  def set_aside(setting, part):
    sizes.append(part)
    return np.arange(150)[part]

  def judged(setting, state, aside, scope):
    return judge.Verdict(aside % 2 == 0, aside.astype(np.float32))

  monkeypatch.setattr(judge, "set_aside", set_aside)
  monkeypatch.setattr(judge, "judged", judged)
  archive = types.SimpleNamespace(aside=np.arange(150))
  setting = types.SimpleNamespace(
    tiers=types.SimpleNamespace(archive=archive),
    ledger=types.SimpleNamespace(timed=lambda _: contextlib.nullcontext()),
  )
  found = judge._looked(setting, None, None)
  assert found.logs.tolist() == list(range(150)) and len(found.right) == 150
  assert [part.stop - part.start for part in sizes] == [64] * 3
  archive.aside = np.arange(0)
  assert len(judge._looked(setting, None, None).right) == 0


def test_a_learner_judges_as_its_network_answers():
  setting = assemble("carm:em=20,sb=30", epochs=1)
  state, _ = loop.start(setting)
  data = setting.stream.experiences[0].data
  data = base.Dataset("some", data.x[:37], data.y[:37], data.class_names)
  head = np.array([True, True, True, False])
  right, logs = setting.learner.judge(state, data, head)
  outputs = setting.learner.outputs(state, data.x, "logits")[:, :3]
  shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
  np.testing.assert_array_equal(right, outputs.argmax(axis=1) == data.y)
  given = shares[np.arange(37), data.y]
  np.testing.assert_allclose(np.exp(logs), given, rtol=1e-5)
  nothing = base.Dataset("none", data.x[:0], data.y[:0], data.class_names)
  none, _ = setting.learner.judge(state, nothing, head)
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
  judged = judge.judged

  def told(*given):
    found = judged(*given)
    if not looking:
      return found
    number = next(accuracies)
    return verdict(np.ones(100), np.arange(100) < number)

  looking = []
  exhausted = judge.exhausted

  def look(*given):
    looking.append(0)
    try:
      return exhausted(*given)
    finally:
      looking.clear()

  monkeypatch.setattr(judge, "judged", told)
  monkeypatch.setattr(judge, "exhausted", look)
  text = f"miro:em=20,sb=30,policy={policy},patience={patience},share=0.5"
  setting = assemble(f"{text},warmup=1,trial_epochs=1", epochs=20)
  seen = []
  with tiering.opened(setting, tmp_path) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "steps":
        seen.append((event.place.experience, event.place.epoch))
    decisions = running.tiers.decisions
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
    setting = assemble("miro:em=20,sb=30,policy=half,patience=99", epochs)
    with tiering.opened(setting, tmp_path / str(epochs)) as running:
      state, place = loop.start(running)
      for event in loop.run(running, state, place):
        if event.kind == "experience":
          break
      assert len(running.tiers.looks) == looks
      assert all(0 <= each <= 100 for each in sum(running.tiers.looks, ()))


def test_an_end_is_no_bad_moment():
  looks = [(90, 50), (90, 50), (89, 50)]
  assert not judge.may_end(looks, 3, 100)
  assert judge.may_end(looks, 2, 100)
  assert judge.may_end([*looks, (87, 50)], 2, 100)  # a standard error is 3
  assert not judge.may_end([*looks, (86.9, 50)], 2, 100)
  assert not judge.may_end([(100, 50), (99, 50)], 1, 1000)


def test_a_look_is_better_by_either_measure():
  assert judge.idle([(50, 30)]) == 0
  assert judge.idle([(50, 30), (50, 30.9), (50, 30.9)]) == 2
  assert judge.idle([(50, 30), (50, 31), (50, 31)]) == 1
  assert judge.idle([(50, 30), (51, 20), (40, 30.5), (51, 30.9)]) == 2
