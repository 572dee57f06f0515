"""The sample buffer: order, eviction, and draws counted by hand."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.control.drift import buffer

LABELS = st.lists(st.integers(0, 8), max_size=60)


def filled(labels, **options):
  options = {"capacity": 1000, **options}
  return buffer.push(
    buffer.empty(), np.arange(len(labels)), labels, 0, **options
  )


def test_classes_take_turns_and_the_newest_is_in_front():
  found = filled([1, 1, 0, 2, 1])
  # moved to the front: class 0 (id 2), 1 (0), 2 (3), then 1 (1), then 1 (4)
  assert found.ids.tolist() == [4, 1, 3, 0, 2]
  assert found.labels.tolist() == [1, 1, 2, 1, 0]
  found = buffer.push(found, [7, 8], [0, 0], 1, capacity=6)
  assert found.ids.tolist() == [8, 7, 4, 1, 3, 0]
  assert found.cycles.tolist() == [1, 1, 0, 0, 0, 0]


def one_by_one(held, ids, labels, capacity):
  """As one would do it with cards on a table."""
  piles = {label: [] for label in sorted(set(labels))}
  for i, label in zip(ids, labels, strict=True):
    piles[label].append((i, label))
  held = list(held)
  while any(piles.values()):
    for pile in piles.values():
      if pile:
        held.insert(0, pile.pop(0))
  return held[:capacity]


@hypothesis.given(st.lists(LABELS, max_size=4), st.integers(1, 80))
def test_pushes_are_those_of_cards_on_a_table(pushes, capacity):
  found, cards, first = buffer.empty(), [], 0
  for cycle, labels in enumerate(pushes):
    ids = np.arange(first, first + len(labels))
    before = found
    found = buffer.push(found, ids, labels, cycle, capacity=capacity)
    cards = one_by_one(cards, ids, labels, capacity)
    first += len(labels)
    assert before.dealt == first - len(labels)  # as it was
  pairs = zip(found.ids, found.labels, strict=True)
  assert [(int(i), int(y)) for i, y in pairs] == cards
  assert np.all(np.diff(found.cycles) <= 0)


@hypothesis.given(LABELS, st.data())
def test_draws_are_stratified(labels, data):
  found = filled(labels)
  num = data.draw(st.integers(0, len(labels)))
  drawn = buffer.stratified(found.labels, num)
  assert sum(map(len, drawn)) == num
  counts = np.bincount(labels, minlength=9)
  for positions in drawn:
    (label,) = set(found.labels[positions].tolist())
    floor = num * counts[label] // max(len(labels), 1)
    assert floor <= len(positions) <= counts[label]
    own = np.flatnonzero(found.labels == label)
    stride = len(own) // len(positions)
    assert positions.tolist() == own[::stride][: len(positions)].tolist()


def test_what_floors_leave_goes_to_the_classes_in_order():
  assert buffer.shares([5, 5, 5], 8).tolist() == [3, 3, 2]
  assert buffer.shares([1, 9, 0], 8).tolist() == [1, 7, 0]
  assert buffer.shares([432], 432).tolist() == [432]
  # 2, 2, 0 by floors; class 0 gives the fifth
  assert buffer.shares([4, 4, 1], 5).tolist() == [3, 2, 0]


@pytest.mark.parametrize(
  ("held", "trained", "validated"),
  [(0, 0, 0), (1, 0, 1), (3, 2, 1), (4, 3, 1), (8, 6, 2), (7, 6, 1)],
)
def test_the_published_split_class_by_class(held, trained, validated):
  rest = 16 - held
  labels = [0] * held + [1] * rest
  found = filled(labels)
  drawn = buffer.draw_paper(found, 12, 4)
  assert np.sum(found.labels[drawn.train] == 0) == trained
  assert np.sum(found.labels[drawn.valid] == 0) == validated
  own = np.flatnonzero(found.labels == 0)
  expected = own[: 4 * validated : 4]
  validating = drawn.valid[found.labels[drawn.valid] == 0]
  assert validating.tolist() == expected.tolist()
  everything = np.sort(np.concatenate(drawn))
  assert everything.tolist() == list(range(16))


def test_published_numbers():
  found = filled(np.arange(432) % 9)
  drawn = buffer.draw_paper(found)
  assert len(drawn.train) == 324 and len(drawn.valid) == 108


@pytest.mark.parametrize("draw", [buffer.draw_paper, buffer.draw_robust])
def test_too_few_samples_are_refused(draw):
  found = filled(np.arange(431) % 9)
  with pytest.raises(ValueError, match="432 samples cannot be drawn from 431"):
    draw(found)
  with pytest.raises(ValueError, match="num_valid=0"):
    draw(found, 4, 0)


@hypothesis.given(st.lists(LABELS.filter(bool), min_size=1, max_size=5))
def test_robust_roles_are_given_once(pushes):
  found, first, roles = buffer.empty(), 0, {}
  trained, validated = set(), set()
  for cycle, labels in enumerate(pushes):
    ids = np.arange(first, first + len(labels))
    first += len(labels)
    found = buffer.push(found, ids, labels, cycle, capacity=50)
    for i, role in zip(found.ids.tolist(), found.valid.tolist(), strict=True):
      assert roles.setdefault(i, role) == role
    if 4 <= len(found.ids) and found.valid.any() and not found.valid.all():
      drawn = buffer.draw_robust(found, 3, 1)
      trained |= set(found.ids[drawn.train].tolist())
      validated |= set(found.ids[drawn.valid].tolist())
  assert not trained & validated
  if first <= 50:
    assert found.valid.sum() == first // 4
  assert found.dealt == first


@hypothesis.given(LABELS)
def test_robust_roles_are_fair_to_classes(labels):
  found = filled(labels)
  for label in set(labels):
    own = found.labels == label
    assert abs(found.valid[own].sum() - own.sum() / 4) < 1


def test_after_a_drift_the_buffer_holds_that_cycle_only():
  found = filled(np.arange(1000) % 9)
  found = buffer.cleared(found)
  for start, num in ((0, 108), (108, 324)):
    ids = np.arange(start, start + num)
    found = buffer.push(found, ids, ids % 9, 7)
  assert len(found.ids) == buffer.NUM_AFTER_DRIFT
  assert set(found.cycles.tolist()) == {7}
  assert found.valid.sum() == buffer.NUM_VALID
  drawn = buffer.draw_robust(found)
  assert len(drawn.train) == 324 and len(drawn.valid) == 108


def test_one_role_only_is_refused():
  found = filled(np.zeros(8, int), every=100)
  with pytest.raises(ValueError, match="none of 8 samples is there to valid"):
    buffer.draw_robust(found, 6, 2)


def test_roles_go_on_after_a_drift():
  found = buffer.cleared(filled([0, 0, 0]))
  assert (found.dealt, len(found.ids)) == (3, 0)
  found = buffer.push(found, [7, 8], [0, 0], 1)
  # The fourth sample validates; the newest stands in front.
  assert found.ids[found.valid].tolist() == [7]


def test_the_smallest_numbers():
  assert filled([0, 1], capacity=1).ids.tolist() == [1]
  assert filled([0, 1, 0], every=1).valid.all()
  assert filled([0, 1, 0], every=2).valid.tolist() == [True, False, False]
  assert buffer.shares([0, 0], 0).tolist() == [0, 0]
  drawn = buffer.draw_paper(filled([0, 0]), 1, 1)
  assert [part.tolist() for part in drawn] == [[1], [0]]
  drawn = buffer.draw_robust(filled([0, 0], every=2), 1, 1)
  assert [part.tolist() for part in drawn] == [[1], [0]]
  with pytest.raises(ValueError, match="-1 samples cannot be drawn from 3"):
    buffer.shares([3], -1)
  with pytest.raises(ValueError, match="num_train=0"):
    buffer.draw_paper(filled([0, 0]), 0, 1)


def test_published_sizes():
  sizes = buffer.NUM_TRAIN, buffer.NUM_VALID, buffer.NUM_LABEL
  assert sizes == (324, 108, 108)
  assert (buffer.NUM_AFTER_DRIFT, buffer.CAPACITY) == (432, 1080)
  labels = np.zeros(1081, int)
  assert len(buffer.push(buffer.empty(), labels, labels, 0).ids) == 1080


@pytest.mark.parametrize(
  ("ids", "labels", "options", "message"),
  [
    ([1, 2], [0], {}, "one label per id"),
    ([[1]], [[0]], {}, "one label per id"),
    ([1], [-1], {}, "label -1"),
    ([1], [0], {"capacity": 0}, "capacity=0"),
    ([1], [0], {"every": 0}, "every=0"),
  ],
)
def test_bad_pushes_are_refused(ids, labels, options, message):
  with pytest.raises(ValueError, match=message):
    buffer.push(buffer.empty(), ids, labels, 0, **options)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(buffer.push) == {"capacity": 1080, "every": 4}
  assert signatures.defaults(buffer.draw_paper) == {
    "num_train": 324,
    "num_valid": 108,
  }
  assert signatures.defaults(buffer.draw_robust) == {
    "num_train": 324,
    "num_valid": 108,
  }
