"""The sharpness of scores, by hand."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import special

from jcl.objectives import temperature


def test_three_to_one_by_hand():
  """Scores one apart, right in three of four rows: odds of three to one."""
  scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
  found = temperature.sharpness(scores, np.array([0, 1, 0, 1]), [True, True])
  assert found.factor == pytest.approx(math.log(3), abs=1e-9)
  assert found.flops > 0
  # Scores twice as far apart need half of it, and a shift changes nothing.
  wide = temperature.sharpness(2 * scores + 7, [0, 1, 0, 1], [True, True])
  assert wide.factor == pytest.approx(math.log(3) / 2, abs=1e-9)


def test_classes_that_are_not_known_do_not_compete():
  scores = np.array([[9.0, 1.0, 0.0], [9.0, 1.0, 0.0]] * 2)
  found = temperature.sharpness(scores, [1, 1, 1, 2], [False, True, True])
  assert found.factor == pytest.approx(math.log(3), abs=1e-9)


@pytest.mark.parametrize("count", [1, 3, 256])
def test_right_answers_alone_make_no_one_certain(count):
  scores = np.tile([[0.1, 0.0]], (count, 1))
  factor, _ = temperature.sharpness(scores, [0] * count, [True, True])
  surprise = math.log1p(math.exp(-0.1 * factor))
  assert surprise == pytest.approx(1 / (count + 2), rel=1e-9)


@pytest.mark.parametrize(
  "scores, labels, factor",
  [
    (np.zeros((0, 2)), [], 1.0),  # no row
    (np.ones((3, 2)), [0, 1, 0], 1.0),  # no score apart
    ([[5.0, 0.0]] * 2, [1, 1], 0.2),  # wrong throughout: a nat apart
    ([[2.0, 0.0]] * 4, [1, 1, 1, 0], 0.5),  # mostly wrong
  ],
)
def test_scores_that_tell_nothing(scores, labels, factor):
  found = temperature.sharpness(np.asarray(scores), labels, [True, True])
  assert found.factor == factor
  looks = 0 if factor == 1 else 1
  assert found.flops == 4 * looks * np.size(scores)
  alone = temperature.sharpness(np.ones((2, 1)), [0, 0], [True])
  assert alone == (1.0, 0.0)


@settings(max_examples=30)
@given(st.integers(0, 999), st.floats(0.1, 10))
def test_no_other_factor_surprises_less(seed, scale):
  generator = np.random.default_rng(seed)
  labels = generator.integers(0, 3, 40)
  scores = generator.normal(size=(40, 3)) + np.eye(3)[labels]
  known = [True] * 3
  factor, _ = temperature.sharpness(scale * scores, labels, known)

  def surprise(factor):
    rows = factor * scale * scores
    top = np.log(np.exp(rows).sum(axis=1))
    return (top - rows[np.arange(40), labels]).mean()

  assert surprise(factor) <= surprise(1.001 * factor) + 1e-12
  assert surprise(factor) <= surprise(0.999 * factor) + 1e-12


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 0, 0, 0]])
def test_every_look_is_counted(labels, monkeypatch):
  looks = []

  def counted(function):
    def look(*args, **kwargs):
      looks.append(args[0].shape)
      return function(*args, **kwargs)

    return look

  for name in ("logsumexp", "softmax"):
    function = counted(getattr(special, name))
    monkeypatch.setattr(special, name, function)
  scores = np.array([[1.0, 0.0]] * 4)
  found = temperature.sharpness(scores, labels, [True, True])
  assert set(looks) == {(4, 2)} and len(looks) > 4
  assert found.flops == 4 * len(looks) * 8


def test_a_fit_takes_no_more_operations_than_are_reckoned_with():
  drawn = np.random.default_rng(0)
  for scale in (1e-6, 1e-2, 1.0, 1e6):
    for right in (0.0, 0.5, 5.0):  # by chance, mostly and surely
      labels = drawn.integers(4, size=30)
      scores = drawn.normal(size=(30, 4)) + right * np.eye(4)[labels]
      found = temperature.sharpness(scale * scores, labels, [True] * 4)
      assert found.flops <= temperature.MOST_FLOPS * scores.size
