from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import signatures

from jcl import base
from jcl.streams import splits


@settings(max_examples=30)
@given(
  st.lists(st.integers(0, 4), min_size=1, max_size=60),
  st.floats(0, 0.99),
  st.integers(0, 9),
)
def test_stratified_takes_the_share_of_each_label(labels, share, seed):
  labels = np.array(labels)
  marked = splits.stratified(labels, share, seed)
  for label in np.unique(labels):
    total = int((labels == label).sum())
    taken = int(marked[labels == label].sum())
    assert taken == min(round(share * total), total - 1)
  np.testing.assert_array_equal(marked, splits.stratified(labels, share, seed))


def test_stratified_depends_on_the_seed():
  labels = np.zeros(100, int)
  first, second = (splits.stratified(labels, 0.5, seed) for seed in (0, 1))
  assert (first != second).any()


def test_last():
  assert np.flatnonzero(splits.last(20, 0.2, parts=2)).tolist() == [
    8,
    9,
    18,
    19,
  ]
  assert np.flatnonzero(splits.last(5, 0.4)).tolist() == [3, 4]
  assert not splits.last(3, 0.0).any()


def test_strata_separate_groups():
  y, group = np.array([0, 1, 0, 1]), np.array([3, 3, 5, 5])
  toy = base.Dataset("toy", np.zeros((4, 1)), y, ("a", "b"), group=group)
  assert splits.strata(toy).tolist() == [6, 7, 10, 11]


def test_defaults():
  assert signatures.defaults(splits.last) == {"parts": 1}
  assert splits.TEST_SHARE == 0.2
