"""What examples set aside say: scores, and their noise."""

import math

import numpy as np
import pytest

from jcl.control.verdict import Verdict, merged


def verdict(probabilities, right=None):
  logs = np.log(np.asarray(probabilities, np.float32))
  if right is None:
    right = np.asarray(probabilities) > 0.5
  return Verdict(np.asarray(right, bool), logs)


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


def test_verdicts_on_parts_are_one():
  found = merged([verdict([0.9, 0.4]), verdict([0.6])])
  assert found.right.tolist() == [True, False, True]
  np.testing.assert_allclose(np.exp(found.logs), [0.9, 0.4, 0.6], rtol=1e-6)
  assert len(merged([]).right) == len(merged([]).logs) == 0
