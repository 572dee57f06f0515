"""Exemplars: chosen by their mean, kept in order, cut to their quota."""

import itertools

import jax
import numpy as np
import pytest
import signatures
import small_stream

from jcl.replay import herding


def test_herding_by_hand():
  # Directions 0, 90 and 45 degrees: the mean points to 45, then the pair that
  # keeps the mean nearest is either of the others, and the lower index wins.
  features = np.array([[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
  assert herding.herd(features, 3).tolist() == [2, 0, 1]
  assert herding.herd(features, 2).tolist() == [2, 0]


def test_each_choice_is_the_best_next_one():
  features = np.random.default_rng(0).normal(size=(9, 3))
  chosen = herding.herd(features, 9)
  assert sorted(chosen) == list(range(9))
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  for count in range(1, 9):
    prefix = list(chosen[: count - 1])

    def gap(rows):
      return np.linalg.norm(unit[rows].mean(axis=0) - unit.mean(axis=0))

    others = [i for i in range(9) if i not in prefix]
    best = min(gap([*prefix, i]) for i in others)
    np.testing.assert_allclose(gap(list(chosen[:count])), best)


def test_no_more_exemplars_than_examples():
  assert herding.herd(np.ones((2, 3)), 5).tolist() == [0, 1]
  assert herding.herd(np.zeros((2, 3)), 0).tolist() == []
  assert herding.herd(np.zeros((2, 3)), 2).tolist() == [0, 1]


def _experience(labels, first, task, seed=0):
  generator = np.random.default_rng(seed)
  features = generator.normal(size=(len(labels), 3)).astype(np.float32)
  return small_stream.batch(
    labels, first=first, task=task, extras={"features": features}
  )


def _ids_by_class(state):
  items = state.items
  filled = np.asarray(items.weight) > 0
  return {
    label: [
      int(i)
      for i, y, w in zip(items.ids, items.y, items.weight, strict=True)
      if w and y == label
    ]
    for label in np.unique(np.asarray(items.y)[filled]).tolist()
  }


def test_rebuild_shares_the_slots_and_keeps_the_first():
  replay = herding.herding(7, 2)
  state = replay.init(small_stream.EXAMPLE)
  one = _experience([0] * 6 + [1] * 2, first=0, task=0)
  state = replay.rebuild(state, one)
  first = _ids_by_class(state)
  assert {label: len(ids) for label, ids in first.items()} == {0: 3, 1: 2}
  assert first[0] == herding.herd(one.extras["features"][:6], 3).tolist()

  two = _experience([2] * 5, first=20, task=1)
  state = replay.rebuild(state, two)
  second = _ids_by_class(state)
  assert second[0] == first[0][:2] and second[1] == first[1]
  chosen = herding.herd(two.extras["features"], 2)
  assert second[2] == (20 + chosen).tolist()
  assert state.items.x.dtype == np.uint8 and state.items.x.shape == (7, 2)
  np.testing.assert_array_equal(state.items.ids[6:], [-1])
  assert state.seen == 13

  rows = replay.sample(jax.random.key(0), state, small_stream.scope())
  stored = set(itertools.chain(*second.values()))
  assert set(np.asarray(rows.ids).tolist()) <= stored


def test_experiences_share_the_quota_of_a_class_that_comes_back():
  replay = herding.herding(5, 1)
  state = replay.init(small_stream.EXAMPLE)
  for task in range(3):
    batch = _experience([0] * 9, first=10 * task, task=task, seed=task)
    state = replay.rebuild(state, batch)
  tasks = state.items.task[state.items.weight > 0]
  assert tasks.tolist() == [0, 0, 1, 1, 2]


def test_padding_is_left_out():
  batch = _experience([0, 1, 2], first=0, task=0)
  batch = batch._replace(weight=np.array([1, 0, 1], np.float32))
  replay = herding.herding(4, 1)
  state = replay.rebuild(replay.init(small_stream.EXAMPLE), batch)
  assert _ids_by_class(state) == {0: [0], 2: [2]}
  assert state.seen == 2


def test_what_rebuild_cannot_work_with():
  replay = herding.herding(2, 1)
  state = replay.init(small_stream.EXAMPLE)
  with pytest.raises(ValueError, match="capacity of at least 3"):
    replay.rebuild(state, _experience([0, 1, 2], first=0, task=0))
  with pytest.raises(ValueError, match="pass the features"):
    replay.rebuild(state, small_stream.batch([0]))
  assert replay.when == "never"


def test_short_features_count_as_much_as_long_ones():
  directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
  scaled = directions * np.array([[1e-9], [1.0], [1e3]])
  assert (
    herding.herd(scaled, 3).tolist() == herding.herd(directions, 3).tolist()
  )


def test_shares_of_a_quota():
  assert herding._shares(5, 3) == [2, 2, 1]
  assert herding._shares(2, 3) == [1, 1, 0]
  assert herding._shares(6, 3) == [2, 2, 2]


def test_as_many_slots_as_classes_are_enough():
  replay = herding.herding(3, 1)
  state = replay.init(small_stream.EXAMPLE)
  state = replay.rebuild(state, _experience([0, 1, 2], first=0, task=0))
  assert _ids_by_class(state) == {0: [0], 1: [1], 2: [2]}


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(herding.herding) == {"current": True}
