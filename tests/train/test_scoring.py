"""Outputs and scores of examples of any number, a few at a time."""

import bare_learner
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.train import evaluate, scoring

PARAMS, STATS = tiny_network.build().init(jax.random.key(0))
BATCH = tiny_network.batch(5)
EVERY = np.ones(4, bool)
CLASSES = ("0", "1", "2", "3")


def learner(**predictor):
  method = recipes.finetune()
  own = method.predictor._replace(**predictor)
  return bare_learner.Learner(method._replace(predictor=own))


def state(one, **changes):
  return bare_learner.state(one, params=PARAMS, stats=STATS, **changes)


def dataset(count=5):
  return base.Dataset("set", BATCH.x[:count], BATCH.y[:count], CLASSES)


@pytest.mark.parametrize("kind", ["logits", "features"])
def test_outputs_are_those_of_all_examples(kind, monkeypatch):
  monkeypatch.setattr(scoring, "EVALUATION_BATCH", 2)
  one = learner()
  found = scoring.outputs(one, state(one), BATCH.x, kind)
  out = one.network.apply(PARAMS, STATS, BATCH.x, taps=("second",))
  expected = out.logits if kind == "logits" else out.taps["second"]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  assert one.filed == [("probe", kind)] * 3


def test_answers_are_judged_a_few_at_a_time(monkeypatch):
  monkeypatch.setattr(scoring, "JUDGED_BATCH", 2)
  one, head = learner(), np.array([True, True, True, False])
  right, logs = scoring.judge(one, state(one), dataset(), head)
  judge = evaluate.build_judge(one.network, one.preprocess)
  expected = judge(PARAMS, STATS, BATCH.x, BATCH.y, head)
  np.testing.assert_array_equal(right, expected[0])
  np.testing.assert_allclose(logs, expected[1], rtol=1e-5)
  assert one.filed == [("probe", "judge")] * 3
  right, logs = scoring.judge(one, state(one), dataset(0), head)
  assert (right.dtype, logs.dtype) == (bool, np.float32)
  assert right.shape == logs.shape == (0,)


def test_test_sets_are_laid_out_once():
  one = learner()
  sets, tasks = [dataset(), dataset(3)], [(0, 1), (2, 3)]
  scores = scoring.evaluate(one, state(one), sets, tasks, EVERY)
  logits = np.asarray(one.network.apply(PARAMS, STATS, BATCH.x).logits)
  right = logits.argmax(axis=1) == BATCH.y
  assert scores.accuracy == (right.mean(), right[:3].mean())
  first = one.tested
  assert first.are(sets, tasks)
  scoring.evaluate(one, state(one), sets, tasks, EVERY)
  assert one.tested is first
  scoring.evaluate(one, state(one), list(sets), tasks, EVERY)
  assert one.tested is not first
  assert set(one.filed) == {("evaluate", "evaluate")}  # no fit is run


def test_a_predictor_is_fitted_to_a_memory():
  def fit(apply, params, stats, memory, *recalled):
    return params is PARAMS, stats is STATS, memory, recalled

  one = learner(fit=fit, recalls=lambda state: (state, 1))
  kept = base.ReplayState("kept", np.int32(1), ())
  for replay, given, memory in (
    ((), None, None),
    (kept, None, "kept"),
    (kept, "given", "given"),
    ((), "given", "given"),
  ):
    found = scoring.fitted(one, state(one, replay=replay), given)
    assert found == (True, True, memory, ("told", 1))
  assert set(one.filed) == {("evaluate", "fit")}


def test_a_predictor_is_solved_once_for_what_is_recalled():
  solved = []

  def solve(*arrays):
    solved.append(arrays)
    return len(solved), 9.0

  one = learner(solve=solve, recalls=lambda state: state)
  kept = np.ones(2), np.zeros(3)
  assert scoring.fitted(one, state(one, objective=kept)) == 1
  assert scoring.fitted(one, state(one, objective=kept)) == 1
  for others in ((kept[0], np.zeros(3)), kept[:1], kept, (np.ones(2), kept[1])):
    before = len(solved)
    assert scoring.fitted(one, state(one, objective=others)) == before + 1
  assert one.ledger.totals()["train"].flops == 5 * 9
  assert all(isinstance(each, np.ndarray) for each in solved[0])
