from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl import base
from jcl.streams import batching, views

X = np.arange(10, dtype=np.uint8).reshape(5, 2)
DATA = base.Dataset("toy", X, np.int32([0, 1, 2, 3, 4]), tuple("abcde"))


@settings(max_examples=20)
@given(st.integers(0, 50), st.integers(0, 5), st.integers(0, 5))
def test_epoch_order_is_a_permutation_of_its_arguments_only(n, t, epoch):
  order = batching.epoch_order(n, 7, t, epoch)
  assert order.dtype == np.int32 and sorted(order) == list(range(n))
  np.random.random()  # no global state takes part
  np.testing.assert_array_equal(order, batching.epoch_order(n, 7, t, epoch))


def test_epoch_orders_differ():
  orders = {
    tuple(batching.epoch_order(30, seed, t, epoch).tolist())
    for seed in range(3)
    for t in range(3)
    for epoch in range(3)
  }
  assert len(orders) == 27


def test_time_order_is_kept():
  order = batching.epoch_order(6, 1, 2, 3, ordered=True)
  assert order.dtype == np.int32 and order.tolist() == list(range(6))


@pytest.mark.parametrize(
  "n, b, k", [(0, 4, 0), (4, 4, 1), (5, 4, 2), (3, 9, 1)]
)
def test_num_batches(n, b, k):
  assert batching.num_batches(n, b) == k
  with pytest.raises(ValueError, match="batch_size=0: write 1"):
    batching.num_batches(n, 0)


def test_batch_rows_pad_the_last_batch():
  rows = batching.batch_rows(np.int32([4, 0, 2]), 2)
  assert rows.dtype == np.int32 and rows.tolist() == [[4, 0], [2, -1]]
  assert batching.batch_rows(np.int32([1]), 3).tolist() == [[1, -1, -1]]


@pytest.mark.parametrize("lazy", [False, True])
def test_gather_by_hand(lazy):
  data = views.take(DATA, np.arange(5)) if lazy else DATA
  rows = np.array([[4, 1, 3], [2, -1, -1], [-1, -1, -1]])
  batch = batching.gather(data, 6, rows, first_id=100)
  assert batch.x.dtype == np.uint8 and batch.y.dtype == np.int32
  assert batch.x[0].tolist() == [[8, 9], [2, 3], [6, 7]]
  assert batch.x[1].tolist() == [[4, 5]] * 3  # pads repeat the first example
  assert batch.x[2].tolist() == [[0, 0]] * 3
  assert batch.y.tolist() == [[4, 1, 3], [2, 2, 2], [0, 0, 0]]
  assert batch.ids.tolist() == [[104, 101, 103], [102, -1, -1], [-1] * 3]
  assert batch.weight.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
  assert batch.task.tolist() == [[6] * 3] * 3 and batch.extras == {}


def test_gather_leaves_the_data_set_alone():
  batch = batching.gather(DATA, 0, np.array([[0, 1]]))
  assert batch.ids.tolist() == [[0, 1]]
  batch.x[:] = 99
  assert DATA.x.max() == 9


def test_an_epoch_in_batches_shows_every_example_once():
  rows = batching.batch_rows(batching.epoch_order(5, 0, 0, 0), 2)
  batch = batching.gather(DATA, 0, rows)
  shown = batch.ids[batch.weight > 0]
  assert sorted(shown.tolist()) == list(range(5))


def test_padded_on_two_sides():
  rows = np.array([[1, 2, 4], [3, 0, 5]], np.int32)
  assert batching.padded(rows, 3, 5).tolist() == [
    [1, 2, 4, -1, -1],
    [3, 0, 5, -1, -1],
    [-1] * 5,
  ]
  assert batching.padded(rows, 2, 3).tolist() == rows.tolist()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(batching.epoch_order) == {"ordered": False}
  assert signatures.defaults(batching.gather) == {"first_id": 0}
