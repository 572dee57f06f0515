"""Learning that gives way to predictions between small pieces of its work."""

import threading
import time

import living_data
import numpy as np
import pytest

import jcl
from jcl.living import turns as turns_lib


@pytest.fixture
def clock(monkeypatch):
  """A clock that moves while someone sleeps: what it was told to sleep."""
  slept = []

  def sleep(seconds):
    slept.append(seconds)

  monkeypatch.setattr(turns_lib.time, "sleep", sleep)
  monkeypatch.setattr(turns_lib.time, "perf_counter", lambda: sum(slept))
  return slept


def test_nobody_is_waited_for_where_nobody_predicts(clock):
  turns = turns_lib.Turns()
  turns.give()
  with turns:
    pass
  turns.give()
  assert not clock


def test_a_long_prediction_is_waited_for_no_longer_than_a_moment(clock):
  turns = turns_lib.Turns()
  with turns, turns:
    turns.give()
  assert sum(clock) == pytest.approx(turns_lib._MOST)


def test_the_end_of_a_prediction_is_waited_for(monkeypatch):
  monkeypatch.setattr(turns_lib, "_MOST", 60.0)
  turns, begun, ends = turns_lib.Turns(), threading.Event(), threading.Event()

  def predict():
    with turns:
      begun.set()
      ends.wait(60)

  threads = [threading.Thread(target=call) for call in (predict, turns.give)]
  threads[0].start()
  begun.wait(60)
  threads[1].start()
  time.sleep(0.05)
  assert threads[1].is_alive()
  ends.set()
  threads[1].join(30)
  assert not threads[1].is_alive()
  threads[0].join()


def test_a_prediction_that_fails_is_none_any_more(clock):
  turns = turns_lib.Turns()
  with pytest.raises(ValueError), turns:
    raise ValueError
  turns.give()
  assert not clock


def test_learning_gives_way_to_every_kind_of_prediction(monkeypatch):
  given, made = [], []
  monkeypatch.setattr(turns_lib.Turns, "give", lambda _: given.append(True))
  x, y = living_data.examples()
  with jcl.live(
    network="mlp:width=4,depth=1", recipe="finetune", batch_size=8, epochs=3
  ) as learner:
    for part in (y < 3, y >= 3):
      given.clear()
      learner.observe(x[part], y[part])
      learner.learn()
      # Before and after each of three dispatches, and around them.
      assert len(given) > 6 + 2
    enter = turns_lib.Turns.__enter__
    monkeypatch.setattr(
      turns_lib.Turns, "__enter__", lambda self: made.append(enter(self))
    )
    for call in learner.predict, learner.predict_scores, learner.predict_proba:
      assert len(call(x)) == len(x)
    assert len(made) == 3 and not learner.turns._made
    assert np.array_equal(learner.latest().predict(x), learner.predict(x))
