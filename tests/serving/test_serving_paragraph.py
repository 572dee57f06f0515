"""What the first sentences on systems say, with figures made by hand."""

import math

import pandas as pd

from jcl.serving import paragraph


def row(system, score, seed=0, **more):
  return {
    "system": system,
    "scenario": "S1",
    "seed": seed,
    "score": score,
    "retrainings": 12,
    "decisions": 0,
    "drifts": 0,
    "right labels": math.nan,
    "dropped": 0.0,
    **more,
  }


def test_systems_are_told_from_the_best_on():
  told = paragraph.sentences(
    pd.DataFrame(
      [
        row("ekya", 70.0),
        row("dacapo", 80.0, decisions=6, drifts=2, **{"right labels": 90.6}),
        row("ekya", 71.0, seed=1, scenario="S2", retrainings=13),
        row("dacapo", 81.0, decisions=8, drifts=2, **{"right labels": 91.0}),
        row("frozen", 50.25),
      ]
    )
  )
  assert told == [
    "Scenarios S1, S2, 2 seeds.",
    "dacapo served best, with a score of 80.5 %, 10.0 points above ekya, 30.2 "
    "points above frozen.",
    "dacapo retrained 12 times, called a drift in 2 of 7 tests, 91 % of its "
    "labels were right.",
    "ekya retrained 12.5 times.",
    "frozen retrained 12 times.",
    "Every frame was served.",
  ]


def test_one_system_that_drops_frames():
  told = paragraph.sentences(
    pd.DataFrame([row("a", 40.0, dropped=20.0), row("a", 50.0, dropped=5.0)])
  )
  assert told == [
    "Scenarios S1, 1 seed.",
    "a served best, with a score of 45.0 %.",
    "a retrained 12 times.",
    "Up to 12.5 % of a system's frames were not served.",
  ]


def test_what_is_no_accuracy_is_told():
  frame = pd.DataFrame([row("a", 40.0)])
  assert paragraph.sentences(frame, "a share")[2] == (
    "Scores are a share, not accuracy: the frames have no true labels."
  )
  plain = paragraph.sentences(frame)
  assert plain == paragraph.sentences(frame, "accuracy") and len(plain) == 4


def test_equal_systems_keep_their_order():
  told = paragraph.sentences(pd.DataFrame([row("b", 50.0), row("a", 50.0)]))
  assert told[1] == "b served best, with a score of 50.0 %, 0.0 points above a."
