"""Which examples stay: balance, order, uniform samples."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl import base
from jcl.replay.tiers import admission


def update(keep, residents, arrivals, stored, size, seed=0):
  hierarchy = base.Hierarchy(size, 10, keep=keep)
  stored = {label: np.array(ids) for label, ids in stored.items()}
  generator = np.random.default_rng(seed)
  return admission.update(
    hierarchy, residents, arrivals, stored, size, generator
  )


@given(
  keep=st.sampled_from(["ring", "greedy", "herding", "reservoir"]),
  old=st.dictionaries(st.integers(0, 3), st.integers(1, 12), min_size=1),
  new=st.dictionaries(st.integers(2, 5), st.integers(1, 12), min_size=1),
  size=st.integers(1, 30),
  seed=st.integers(0, 9),
)
def test_memory_is_full_without_duplicates_and_balanced(
  keep, old, new, size, seed
):
  stored = {k: list(range(100 * k, 100 * k + n)) for k, n in old.items()}
  residents = {k: ids[: max(1, size // 6)] for k, ids in stored.items()}
  while sum(map(len, residents.values())) > size:
    residents.popitem()
  arrivals = {}
  for label, count in new.items():
    begin = 100 * label + old.get(label, 0)
    arrivals[label] = list(range(begin, begin + count))
    stored[label] = stored.get(label, []) + arrivals[label]
  kept = update(keep, residents, arrivals, stored, size, seed)
  everything = [i for ids in kept.values() for i in ids]
  assert len(set(everything)) == len(everything)
  assert len(everything) == min(size, sum(map(len, stored.values())))
  assert all(set(ids) <= set(stored[label]) for label, ids in kept.items())
  if keep != "reservoir":
    room = [len(kept[k]) for k in kept if len(kept[k]) < len(stored[k])]
    most = max(map(len, kept.values()))
    assert all(most - n <= 1 for n in room)


def test_a_ring_keeps_the_latest():
  kept = update(
    "ring", {0: [1, 2, 3]}, {1: [7, 8, 9]}, {0: [1, 2, 3], 1: [7, 8, 9]}, 4
  )
  assert kept == {0: [2, 3], 1: [8, 9]}


def test_herding_keeps_the_last_of_the_order_it_is_given():
  stored = {0: [1, 2, 3, 4]}
  assert update("herding", {}, {0: [4, 1, 3, 2]}, stored, 2) == {0: [3, 2]}


def test_greedy_keeps_any():
  stored = {0: list(range(20))}
  kept = {
    tuple(update("greedy", {}, stored, stored, 3, seed)[0]) for seed in range(9)
  }
  assert len(kept) > 5


def test_a_reservoir_holds_everything_with_one_probability():
  held = np.zeros(30)
  for seed in range(400):
    residents: dict = {}
    stored: dict = {}
    for label in range(3):
      ids = list(range(10 * label, 10 * label + 10))
      stored[label] = ids
      residents = update("reservoir", residents, {label: ids}, stored, 6, seed)
    for ids in residents.values():
      held[ids] += 1
  means = held.reshape(3, 10).mean(axis=1) / 400
  assert means == pytest.approx(6 / 30, abs=0.03)
  assert held.min() / 400 > 0.1


def test_seats_that_nothing_stored_can_fill_stay_empty():
  filled = admission.filled(
    {0: [1]}, {0: np.array([1, 2])}, 9, "spread", np.random.default_rng(0)
  )
  assert filled == {0: [2, 1]}


def test_examples_are_sorted_by_class_but_for_residents():
  found = admission.arrivals(
    np.array([7, 3, 9, 4]),
    np.array([1, 0, 1, 1]),
    np.array([1, 0, 2, 1]),
    residents={9, 5},
  )
  assert found == {0: [3], 1: [7, 4], 2: []}


@pytest.mark.parametrize(
  "held, size", [(6, 4), (6, 6), (6, 12), (1, 8), (0, 9), (3, 5)]
)
def test_a_reservoir_draws_how_many_stay_and_then_which(held, size):
  """Of six old examples some are held, and six come."""
  old, fresh = np.arange(6), np.arange(10, 16)
  stored = {0: old, 1: fresh}
  for seed in range(5):
    residents = {0: old[:held].tolist()}
    kept = update("reservoir", residents, {1: fresh}, stored, size, seed)
    draw = np.random.default_rng(seed)
    number = size - draw.hypergeometric(6, 6, size)
    stay = draw.permutation(old[:held])[:number].tolist()
    if len(stay) < number:
      stay += draw.permutation(old[held:])[: number - len(stay)].tolist()
    come = draw.permutation(fresh)[: size - len(stay)].tolist()
    assert kept == {0: sorted(stay), 1: sorted(come)}
    assert len(stay) + len(come) == size


def test_a_reservoir_names_the_classes_it_had_or_gets():
  stored = {0: [1, 2], 1: [3, 4], 2: [5, 6]}
  kept = update("reservoir", {0: [1]}, {1: [3, 4]}, stored, 0)
  assert kept == {0: [], 1: []}
  kept = update("reservoir", {}, {1: [3, 4]}, {1: [3, 4]}, 9)
  assert kept == {1: [3, 4]}
