"""Stability, plasticity and generality from tables of features."""

import json

import numpy as np
import pytest
import signatures

from jcl.metrics import accuracy, generality, similarity


def features(seed, units=2):
  generator = np.random.default_rng(seed)
  return tuple(generator.normal(size=(10, 3 + i)) for i in range(units))


def cka(x, y):
  return similarity.debiased_cka(x, y)


def test_records_follow_the_definitions():
  learned = [features(0), features(1)]
  before, now = features(2), [features(3), features(4), features(5)]
  # Related, so that the values are not all clipped.
  now = [
    tuple(a + b for a, b in zip(x, y, strict=True))
    for x, y in zip(now, [*learned, before], strict=True)
  ]
  record = generality.record(learned, before, now)
  assert json.loads(json.dumps(record)) == record
  for unit in range(2):
    stability = np.mean([cka(learned[i][unit], now[i][unit]) for i in range(2)])
    assert 0 < stability < 1
    assert record["ms"][unit] == pytest.approx(stability)
    assert record["lp"][unit] == pytest.approx(cka(before[unit], now[2][unit]))


def test_nothing_is_lost_in_the_first_experience():
  record = generality.record([], features(0), [features(0)])
  assert record["ms"] is None
  np.testing.assert_allclose(record["lp"], 1)
  ms, lp = generality.table([record, {"ms": [0.5, 0.25], "lp": [1, 0.75]}])
  np.testing.assert_array_equal(ms, [[np.nan] * 2, [0.5, 0.25]])
  np.testing.assert_allclose(lp, [[1, 1], [1, 0.75]])


def test_units_that_stay_are_stable_and_serve():
  still = features(0)
  np.testing.assert_allclose(generality.stability([still] * 3, [still] * 3), 1)
  np.testing.assert_allclose(generality.agreement(still, still), 1)


def test_generality_is_the_least_of_both():
  ms = np.array([[np.nan] * 3, [0.9, 0.8, 0.7], [0.95, 0.6, 0.9]])
  lp = np.array([[0.1, 1.0, 1.0], [0.5, 1.0, 1.0], [1.0, 0.9, 0.3]])
  np.testing.assert_allclose(generality.generality(ms, lp), [0.5, 0.6, 0.3])
  from_learned = generality.generality(ms, lp, first=0)
  np.testing.assert_allclose(from_learned, [0.1, 0.6, 0.3])


def test_units_behind_the_first_that_falls_short_train():
  values = (1, 0.97, 0.93, 0.95, 0.6, 0.99)
  assert generality.prefix(values) == 4
  assert generality.prefix(values, tau=0.6) == 6
  assert generality.prefix((0.5, 1, 1)) == 0
  assert generality.prefix((0.9, np.nan, 1)) == 1
  assert generality.prefix((1, 1, 0.999), tau=1) == 2


def test_ratios_to_a_run_with_nothing_frozen():
  nothing = [[0.8, 0.5, 0.5], [0.6, 0.5, 0.5], [0.5, 0.3, 0.0]]
  frozen = [[0.4, 0.5, 0.5], [0.9, 0.25, 0.5], [0.2, 0.2, 0.5]]
  lpx, msx = generality.frozen_ratios(np.array([nothing, frozen]))
  np.testing.assert_allclose(lpx, [[1, 1, np.nan], [0.5, 0.5, np.nan]])
  np.testing.assert_allclose(msx, [[np.nan, 1, 1], [np.nan, 1.5, 0.5]])


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: generality.prefix([1.0], tau=0), "tau=0"),
    (
      lambda: generality.agreement(features(0), features(0, 1)),
      "2 units before",
    ),
    (lambda: generality.stability([], []), "0 earlier experiences"),
    (lambda: generality.generality([[1.0]], [[1.0]]), "1 experiences"),
    (lambda: generality.generality([[1.0]], [[1.0, 1.0]]), "ms has shape"),
    (
      lambda: generality.generality(np.ones((2, 1)), np.ones((2, 1)), first=2),
      "first=2",
    ),
    (lambda: generality.frozen_ratios(np.ones((2, 2))), "accuracy has shape"),
  ],
)
def test_arguments_that_do_not_fit(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_defaults():
  assert signatures.defaults(accuracy.confidence_interval) == {"level": 0.95}
  assert signatures.defaults(generality.generality) == {"first": 1}
  assert signatures.defaults(generality.prefix) == {"tau": 0.9}


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: generality.prefix([1.0], tau=1.01), "tau=1.01"),
    (lambda: generality.prefix([1.0], tau=-0.1), "tau=-0.1"),
    (lambda: generality.stability([features(0)], []), "1 earlier .* 0 now"),
    (
      lambda: generality.generality([1.0, 1.0], [1.0, 1.0]),
      r"ms has shape \(2,\)",
    ),
    (
      lambda: generality.generality(np.ones((2, 1)), np.ones((2, 1)), first=-1),
      "first=-1",
    ),
    (
      lambda: generality.frozen_ratios(np.ones((2, 2, 3))),
      r"accuracy has shape \(2, 2, 3\)",
    ),
  ],
)
def test_bounds_of_arguments(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_a_share_of_all_units():
  assert generality.prefix([0.9, 0.9]) == 2
  assert generality.prefix([]) == 0
  assert generality.prefix([0.001], tau=0.001) == 1
  assert generality.TAU == 0.9
