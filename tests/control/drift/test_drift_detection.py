"""Drift tests at their thresholds, and their false alarms."""

import numpy as np
import pytest
import signatures

from jcl.control.drift import detection


def test_a_fall_of_five_points_is_a_drift():
  assert detection.paper(75.0, 80.0)
  assert not detection.paper(75.01, 80.0)
  assert not detection.paper(80.0, 75.0)
  # 0.7 and 0.65 are no binary fractions
  assert detection.paper(100 * 0.65, 100 * 0.7)
  assert detection.paper(78.0, 80.0, threshold=-2.0)


def test_the_z_score_is_that_of_a_hand():
  # 70/100 against 85/100: pooled 0.775, z = -0.15 / sqrt(0.775 * 0.225 / 50)
  z = -0.15 / np.sqrt(0.775 * 0.225 / 50)
  found = detection.p_value(70, 100, 85, 100)
  assert z == pytest.approx(-2.54, abs=0.005)
  assert found == pytest.approx(0.00555, abs=1e-4)
  assert detection.robust(70, 100, 85, 100)
  assert not detection.robust(70, 100, 85, 100, level=0.005)
  assert not detection.robust(70, 100, 85, 100, design=2)
  assert not detection.robust(85, 100, 70, 100)


def test_a_level_that_is_met_is_a_drift():
  level = float(detection.p_value(70, 100, 85, 100))
  assert detection.robust(70, 100, 85, 100, level=level)
  assert not detection.robust(70, 100, 85, 100, level=level - 1e-9)
  # One case of 100 by default.
  assert 0.007 < detection.p_value(88, 100, 97, 100) < 0.01
  assert detection.robust(88, 100, 97, 100)
  assert 0.01 < detection.p_value(89, 100, 97, 100) < 0.02
  assert not detection.robust(89, 100, 97, 100)


def test_the_ends_of_the_scale():
  assert detection.paper(0, 100) and not detection.paper(100, 0)
  for accuracies in ((-1, 50), (50, -1), (50, 101)):
    with pytest.raises(ValueError, match="give percent, 0 to 100"):
      detection.paper(*accuracies)
  for counts in ((-1, 4, 1, 4), (1, 4, -1, 4), (1, 4, 5, 4), (0, 0, 1, 4)):
    with pytest.raises(ValueError, match="give counts"):
      detection.p_value(*counts)
  # Of different numbers of samples, each counts by its own.
  z = (1 / 4 - 6 / 8) / np.sqrt(7 / 12 * 5 / 12 * (1 / 4 + 1 / 8))
  found = detection.p_value(1, 4, 6, 8)
  assert z == pytest.approx(-1.656, abs=1e-3)
  assert found == pytest.approx(0.0489, abs=1e-4)


def test_false_alarms_of_one_sample_each():
  # Right on one and wrong on the other: a fall of all, but no rare one.
  found = detection.false_alarms(0.5, 1, 1)
  assert (found.paper, found.robust) == (pytest.approx(0.25), 0)
  assert detection.false_alarms(0.5, 2, 2, track=2).paper == pytest.approx(
    3 / 8
  )
  for numbers in ((0, 1), (1, 0)):
    with pytest.raises(ValueError, match="give 1 or more"):
      detection.false_alarms(0.5, *numbers)


def test_equal_outcomes_are_no_drift():
  for right in (0, 50, 100):
    assert not detection.robust(right, 100, right, 100)


def test_noise_alone_sets_off_the_published_test():
  found = [detection.false_alarms(a) for a in (0.85, 0.8, 0.7)]
  assert [round(100 * each.paper) for each in found] == [15, 17, 21]
  assert all(each.robust < 0.02 for each in found)
  assert detection.standard_error(0.8, 108, 108) == pytest.approx(
    5.44, abs=0.01
  )


def test_false_alarms_are_those_of_a_simulation():
  generator = np.random.default_rng(0)
  num, track, accuracy = 50, 4, 0.75
  outcomes = generator.random((100_000, 13)) < accuracy
  sizes = np.array([4] * 12 + [2])
  label = outcomes @ sizes
  valid = generator.binomial(40, accuracy, 100_000)
  found = detection.false_alarms(accuracy, num, 40, track=track)
  paper = detection.paper(100 * label / num, 100 * valid / 40)
  robust = detection.robust(label, num, valid, 40)
  assert found.paper == pytest.approx(paper.mean(), abs=0.005)
  assert found.robust == pytest.approx(robust.mean(), abs=0.005)


def test_frames_of_one_object_need_the_design_effect():
  plain = detection.false_alarms(0.8, track=3)
  allowed = detection.false_alarms(0.8, track=3, design=3)
  assert plain.robust > 0.02 > allowed.robust
  assert plain.paper == allowed.paper


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_certain_outcomes_alarm_nobody(accuracy):
  assert detection.false_alarms(accuracy) == (0.0, 0.0)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: detection.paper(101, 80), "acc_label=101"),
    (lambda: detection.paper(80, np.nan), "acc_valid=nan"),
    (lambda: detection.robust(5, 4, 1, 2), "correct_label=5"),
    (lambda: detection.robust(0, 4, 0, 0), "num_valid=0"),
    (lambda: detection.robust(1, 4, 1, 4, level=0), "level=0"),
    (lambda: detection.robust(1, 4, 1, 4, level=1), "level=1"),
    (lambda: detection.false_alarms(-0.1), "accuracy=-0.1"),
    (lambda: detection.robust(1, 4, 1, 4, design=0.5), "design=0.5"),
    (lambda: detection.false_alarms(1.5), "accuracy=1.5"),
    (lambda: detection.false_alarms(0.5, track=0), "track=0"),
  ],
)
def test_bad_numbers_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(detection.paper) == {"threshold": -5.0}
  assert signatures.defaults(detection.robust) == {"level": 0.01, "design": 1.0}
  assert signatures.defaults(detection.p_value) == {"design": 1.0}
  assert signatures.defaults(detection.false_alarms) == {
    "num_label": 108,
    "num_valid": 108,
    "track": 1,
    "design": 1.0,
  }
