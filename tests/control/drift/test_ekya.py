"""The thief: against brute force, and never worse than equal shares."""

import dataclasses
from fractions import Fraction
import math

import hypothesis
from hypothesis import strategies as st
import pytest
import signatures

from jcl.control.drift import ekya

FULL = ekya.Inference(0.25, 1.0)
HALF = ekya.Inference(0.05, 0.8)

INFERENCES = st.lists(
  st.builds(
    ekya.Inference,
    st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    st.sampled_from([0.3, 0.6, 0.8, 1.0]),
  ),
  min_size=1,
  max_size=3,
).map(tuple)
RETRAININGS = st.lists(
  st.builds(
    ekya.Retraining,
    st.sampled_from([0.3, 0.5, 0.7, 0.9]),
    st.sampled_from([5.0, 20.0, 60.0, 90.0]),
  ),
  max_size=3,
).map(tuple)
STREAMS = st.builds(
  ekya.Stream, st.sampled_from([0.2, 0.5, 0.7]), INFERENCES, RETRAININGS
)
SETTINGS = hypothesis.settings(max_examples=40)


def equal_shares(streams, gpus, seconds):
  jobs = len(streams) + sum(bool(each.retrainings) for each in streams)
  share = Fraction(gpus) / jobs
  found = [
    ekya.pick(each, share, share if each.retrainings else 0, seconds).accuracy
    for each in streams
  ]
  return sum(found) / len(found)


def test_the_estimate_is_that_of_a_hand():
  stream = ekya.Stream(0.5, (FULL,), (ekya.Retraining(0.9, 30),))
  (retraining,) = stream.retrainings
  # half a GPU takes 60 s of 120
  found = ekya.estimate(stream, retraining, 0.5, 0.8, 120)
  assert found == pytest.approx(0.8 * 0.7)
  assert ekya.estimate(stream, retraining, 0.25, 1.0, 120) == pytest.approx(0.5)
  assert ekya.estimate(stream, retraining, 0.2, 1.0, 120) is None
  assert ekya.estimate(stream, retraining, 0, 1.0, 120) is None


def test_the_best_configurations_are_picked():
  stream = ekya.Stream(
    0.5,
    (HALF, FULL),
    (ekya.Retraining(0.6, 10), ekya.Retraining(0.9, 100)),
  )
  assert ekya.pick(stream, 0.25, 0.1, 100) == ekya.Choice(1, None, 0.5)
  assert ekya.pick(stream, 0.2, 0.5, 100).retraining == 0
  assert ekya.pick(stream, 0.2, 2, 100).retraining == 1
  assert ekya.pick(stream, 0.01, 2, 100) == ekya.Choice(None, None, 0.0)


def test_what_is_just_enough():
  # exactly the least accuracy, and of two equal ways the first
  assert ekya.pick(ekya.Stream(0.4, (FULL,)), 1, 0, 9).accuracy == 0.4
  twice = ekya.Stream(0.5, (ekya.Inference(0.1, 0.8), ekya.Inference(0, 0.8)))
  assert ekya.pick(twice, 0.1, 0, 100) == ekya.Choice(0, None, 0.4)
  # a retraining that changes nothing, and two that are as good
  idle = ekya.Retraining(0.5, 50)
  assert ekya.pick(ekya.Stream(0.5, (FULL,), (idle,)), 1, 1, 100) == (
    ekya.Choice(0, None, 0.5)
  )
  good = ekya.Retraining(0.9, 50)
  found = ekya.pick(ekya.Stream(0.5, (FULL,), (good, good)), 1, 1, 100)
  assert found.retraining == 0 and found.accuracy == pytest.approx(0.7)


def test_the_ends_of_all_scales():
  assert ekya.Inference(0, 0).factor == 0 and ekya.Inference(0, 1).gpus == 0
  stream = ekya.Stream(0, (FULL,), (ekya.Retraining(1, 1e-3),))
  # It is served: no way to serve lifts an accuracy of 0 to the least.
  plan = ekya.thief([stream], 1, 100)
  assert plan.choices[0].retraining == 0 and plan.accuracy > 0.99
  assert ekya.Stream(1, (FULL,), (ekya.Retraining(0, 1),)).accuracy == 1


def test_no_share_of_a_stream_is_tried_twice(monkeypatch):
  asked, pick = [], ekya.pick

  def noted(stream, serve, train, seconds, least):
    asked.append((stream.accuracy, serve, train))
    return pick(stream, serve, train, seconds, least)

  monkeypatch.setattr(ekya, "pick", noted)
  streams = [
    ekya.Stream(accuracy, (FULL,), (ekya.Retraining(0.9, 5),))
    for accuracy in (0.5, 0.6)
  ]
  ekya.thief(streams, 1, 100)
  assert len(asked) == len(set(asked)) > 10


def test_values_cannot_be_changed():
  stream = ekya.Stream(0.5, (FULL,), (ekya.Retraining(0.9, 5),))
  plan = ekya.thief([stream], 1, 100)
  (part, *_) = ekya.window([stream], 1, 100)
  for value, name in (
    (FULL, "gpus"),
    (stream.retrainings[0], "accuracy"),
    (stream, "accuracy"),
    (plan.choices[0], "accuracy"),
    (plan, "serve"),
    (part, "start"),
  ):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(value, name, 1)


def test_a_stream_below_the_least_accuracy_is_not_served():
  stream = ekya.Stream(0.45, (HALF, FULL))
  assert ekya.pick(stream, 0.1, 0, 100).inference is None  # 0.36 left
  assert ekya.pick(stream, 0.1, 0, 100, least=0.3).inference == 0
  # with the best way it has just enough, and is held to it
  even = ekya.Stream(0.4, (HALF, FULL))
  assert ekya.pick(even, 0.1, 0, 100).inference is None
  # one that no way to serve lifts to it is held to none
  bad = ekya.Stream(0.3, (HALF, FULL))
  assert ekya.pick(bad, 0.1, 0, 100).inference == 0


def test_a_retraining_that_does_not_pay_is_left():
  worse = ekya.Stream(0.8, (FULL,), (ekya.Retraining(0.7, 1),))
  plan = ekya.thief([worse], 1, 100)
  assert plan.choices[0].retraining is None
  assert plan.accuracy == pytest.approx(0.8)


@SETTINGS
@hypothesis.given(
  st.lists(STREAMS, min_size=1, max_size=3),
  st.sampled_from([0.5, 1, 2]),
  st.sampled_from(["every", "until_worse"]),
)
def test_shares_add_up_and_beat_equal_ones(streams, gpus, steals):
  plan = ekya.thief(streams, gpus, 100, delta=0.1, steals=steals)
  shares = [*plan.serve, *plan.train]
  assert all(share >= 0 for share in shares)
  assert sum(shares) == Fraction(gpus)
  assert plan.accuracy >= equal_shares(streams, gpus, 100) - 1e-9


@SETTINGS
@hypothesis.given(STREAMS, st.sampled_from([1, 2]))
def test_one_stream_gets_the_best_of_all_shares(stream, gpus):
  plan = ekya.thief([stream], gpus, 100, delta=0.1)
  tenths = [Fraction(i, 10) for i in range(10 * gpus + 1)]
  best = max(
    ekya.pick(stream, gpus - train, train, 100).accuracy
    for train in (tenths if stream.retrainings else [Fraction(0)])
  )
  assert plan.accuracy == pytest.approx(best)


def test_the_published_listing_stops_where_one_step_does_not_pay():
  # training fits the window with 0.8 GPUs only, three steps from 0.5
  stream = ekya.Stream(
    0.5, (ekya.Inference(0.1, 1.0),), (ekya.Retraining(0.9, 70),)
  )
  patient = ekya.thief([stream], 1, 100)
  hasty = ekya.thief([stream], 1, 100, steals="until_worse")
  assert hasty.accuracy == pytest.approx(0.5)
  assert patient.train == (Fraction(9, 10),)
  assert patient.accuracy == pytest.approx(0.9 - 0.4 * 70 / 90)


def listing(streams, gpus, seconds, delta):
  """The published listing: all jobs that serve, then all that retrain."""
  names = [f"serve {i}" for i in range(len(streams))]
  names += [f"train {i}" for i, each in enumerate(streams) if each.retrainings]
  best = dict.fromkeys(names, Fraction(gpus) / len(names))

  def worth(shares):
    return sum(
      ekya.pick(
        each, shares[f"serve {i}"], shares.get(f"train {i}", 0), seconds
      ).accuracy
      for i, each in enumerate(streams)
    ) / len(streams)

  for taker in names:
    for victim in names:
      while taker != victim and best[victim] >= delta:
        after = dict(best)
        after[taker] += delta
        after[victim] -= delta
        if worth(after) <= worth(best) + 1e-12:
          break
        best = after
  return best


@SETTINGS
@hypothesis.given(
  st.lists(STREAMS, min_size=1, max_size=3), st.sampled_from([0.5, 1, 2])
)
def test_shares_are_those_of_the_published_listing(streams, gpus):
  tenth = Fraction(1, 10)
  plan = ekya.thief(streams, gpus, 100, delta=tenth, steals="until_worse")
  best = listing(streams, gpus, 100, tenth)
  for i in range(len(streams)):
    assert plan.serve[i] == best[f"serve {i}"]
    assert plan.train[i] == best.get(f"train {i}", 0)


def test_what_serves_steals_first_in_the_published_listing():
  """A second tenth goes to serving, which pays less than retraining would."""
  stream = ekya.Stream(
    0.5,
    (ekya.Inference(0.2, 0.9), ekya.Inference(0.6, 1.0)),
    (ekya.Retraining(0.9, 30),),
  )
  plan = ekya.thief(
    [stream], 1, 100, delta=Fraction(1, 10), steals="until_worse"
  )
  assert (plan.serve, plan.train) == ((Fraction(6, 10),), (Fraction(4, 10),))
  assert plan.accuracy == pytest.approx(0.6)
  other = ekya.pick(stream, 0.4, 0.6, 100)
  assert other.accuracy == pytest.approx(0.9 * 0.7)


def test_what_is_left_below_a_step_is_stolen_last():
  streams = [
    ekya.Stream(0.5, (ekya.Inference(0, 1.0),), (ekya.Retraining(0.9, 50),)),
    ekya.Stream(0.9, (ekya.Inference(0, 1.0),)),
  ]
  plan = ekya.thief(streams, 1, 100, delta=0.25)  # thirds to begin with
  assert plan.train[0] == 1 and plan.serve == (0, 0)


def test_the_scheduler_runs_again_when_a_retraining_ends():
  streams = [
    ekya.Stream(0.5, (FULL, HALF), (ekya.Retraining(0.9, 20),)),
    ekya.Stream(0.6, (FULL, HALF), (ekya.Retraining(0.8, 30),)),
  ]
  parts = list(ekya.window(streams, 1, 200))
  assert len(parts) == 3
  assert parts[0].start == 0 and parts[-1].end == 200
  for before, after in zip(parts, parts[1:], strict=False):
    assert before.end == after.start
  accuracies = [part.accuracy for part in parts]
  assert accuracies == sorted(accuracies)
  assert accuracies[-1] == pytest.approx(0.85)
  assert all(choice.retraining is None for choice in parts[-1].plan.choices)
  # planning again is never worse than the first plan was meant to be
  planned = parts[0].plan.accuracy
  assert ekya.mean_accuracy(parts) >= planned - 1e-9


@SETTINGS
@hypothesis.given(
  st.lists(STREAMS, min_size=1, max_size=3), st.sampled_from([1, 2])
)
def test_a_window_is_covered_once(streams, gpus):
  parts = list(ekya.window(streams, gpus, 100, delta=0.25))
  assert parts[0].start == 0 and parts[-1].end == 100
  assert len(parts) <= len(streams) + 1
  for before, after in zip(parts, parts[1:], strict=False):
    assert before.end == after.start > before.start
  for part in parts:
    assert sum([*part.plan.serve, *part.plan.train]) == gpus


def test_parts_of_a_window_count_by_their_length():
  plan = ekya.thief([ekya.Stream(0.5, (FULL,))], 1, 9)
  parts = [
    ekya.Segment(Fraction(start), Fraction(end), plan, accuracy)
    for start, end, accuracy in ((2, 3, 0.9), (3, 6, 0.5))
  ]
  assert ekya.mean_accuracy(parts) == pytest.approx(0.6)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: ekya.thief([], 1, 100), "streams is empty"),
    (lambda: ekya.thief([ekya.Stream(0.5, (FULL,))], 0, 100), "gpus=0"),
    (lambda: ekya.thief([], 1, 100, delta=0), "delta=0"),
    (lambda: ekya.thief([], 1, 100, steals="most"), "steals='most'"),
    (lambda: ekya.Stream(0.5, ()), "0 inferences"),
    (lambda: ekya.Inference(-1, 1), "gpus=-1"),
    (lambda: ekya.Retraining(0.5, 0), "gpu_seconds=0"),
    (lambda: ekya.Retraining(0.5, math.inf), "gpu_seconds=inf"),
    (lambda: ekya.Retraining(1.1, 1), "accuracy=1.1"),
    (lambda: ekya.Retraining(-0.1, 1), "accuracy=-0.1"),
    (lambda: ekya.Inference(math.inf, 1), "gpus=inf"),
    (lambda: ekya.Inference(0, 1.1), "factor=1.1"),
    (lambda: ekya.Inference(0, -0.1), "factor=-0.1"),
    (lambda: ekya.Stream(1.1, (FULL,)), "accuracy=1.1"),
    (lambda: ekya.Stream(-0.1, (FULL,)), "accuracy=-0.1"),
    (lambda: ekya.thief([], math.inf, 100), "gpus=inf"),
    (lambda: ekya.thief([], 1, 0), "seconds=0"),
  ],
)
def test_bad_numbers_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(ekya.pick) == {"least": 0.4}
  assert signatures.defaults(ekya.thief) == {
    "delta": 0.1,
    "least": 0.4,
    "steals": "every",
  }
  assert signatures.defaults(ekya.window) == {
    "delta": 0.1,
    "least": 0.4,
    "steals": "every",
  }
