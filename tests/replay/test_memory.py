"""Storage: what is written is read back, and costs what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_stream

from jcl.replay import memory, nothing


def test_empty_slots_keep_dtypes_and_weigh_nothing():
  extras = {"logits": np.zeros(3, np.float32)}
  items = memory.empty(4, small_stream.EXAMPLE._replace(extras=extras))
  assert items.x.shape == (4, 2) and items.x.dtype == jnp.uint8
  assert items.extras["logits"].shape == (4, 3)
  assert items.y.dtype == items.task.dtype == jnp.int32
  np.testing.assert_array_equal(items.weight, np.zeros(4))
  np.testing.assert_array_equal(items.ids, np.full(4, -1))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_later_of_two_rows_in_a_slot_stays(wrap):
  items = memory.empty(3, small_stream.EXAMPLE)
  batch = small_stream.batch([7, 8, 9, 6], first=10)
  items = wrap(memory.write)(items, batch, jnp.array([1, 0, 1, 3]))
  np.testing.assert_array_equal(items.ids, [11, 12, -1])
  np.testing.assert_array_equal(items.y, [8, 9, 0])
  np.testing.assert_array_equal(items.x, [[11, 11], [12, 12], [0, 0]])
  np.testing.assert_array_equal(items.weight, [1, 1, 0])
  assert items.x.dtype == jnp.uint8


def test_many_duplicates_equal_writing_one_by_one():
  generator = np.random.default_rng(0)
  slots = generator.integers(0, 6, 50).astype(np.int32)
  batch = small_stream.batch(np.zeros(50))
  items = memory.write(memory.empty(5, small_stream.EXAMPLE), batch, slots)
  expected = np.full(5, -1)
  for row, slot in enumerate(slots):
    if slot < 5:
      expected[slot] = row
  np.testing.assert_array_equal(items.ids, expected)


def test_read_pads_past_the_last_slot():
  items = memory.empty(2, small_stream.EXAMPLE)
  batch = small_stream.batch([3, 4], first=5, weight=[0.5, 1])
  items = memory.write(items, batch, jnp.array([0, 1]))
  rows = memory.read(items, jnp.array([1, 2, 0]))
  np.testing.assert_array_equal(rows.ids, [6, -1, 5])
  np.testing.assert_array_equal(rows.weight, [1, 0, 1])
  np.testing.assert_array_equal(rows.y, [4, 0, 3])


def test_only_the_extras_of_the_memory_are_stored():
  example = small_stream.EXAMPLE._replace(extras={"logits": np.zeros(2)})
  items = memory.empty(2, example)
  extras = {"logits": np.array([[1.0, 2.0]]), "other": np.zeros((1, 9))}
  batch = small_stream.batch([0], extras=extras)
  items = memory.write(items, batch, jnp.array([1]))
  assert list(items.extras) == ["logits"]
  np.testing.assert_array_equal(items.extras["logits"], [[0, 0], [1, 2]])
  with pytest.raises(ValueError, match=r"stores \['logits'\].*Aux.extras"):
    memory.write(items, small_stream.batch([0]), jnp.array([1]))


def test_inputs_of_another_dtype_or_shape_are_refused():
  items = memory.empty(2, small_stream.EXAMPLE)
  batch = small_stream.batch([0])
  for x in (np.zeros((1, 2), np.float32), np.zeros((1, 1), np.uint8)):
    with pytest.raises(AssertionError):
      memory.write(items, batch._replace(x=x), jnp.array([1]))


def test_budgets_in_samples_and_bytes():
  # Two bytes of input, three int32 and a float32.
  assert memory.num_bytes(memory.empty(5, small_stream.EXAMPLE)) == 5 * 18
  for budget, slots in {
    1: 1,
    7: 7,
    "18B": 1,
    "1kB": 55,
    "1 KiB": 56,
    "1.8MB": 100_000,
  }.items():
    found = memory.capacity_in_slots(budget, small_stream.EXAMPLE)
    assert found == slots, budget
  example = small_stream.EXAMPLE._replace(extras={"logits": np.zeros(4)})
  assert memory.capacity_in_slots("340B", example) == 10


@pytest.mark.parametrize("budget", [0, -3, "17B"])
def test_budget_below_one_sample(budget):
  with pytest.raises(ValueError, match='one costs 18 bytes.*at least "18B"'):
    memory.capacity_in_slots(budget, small_stream.EXAMPLE)


@pytest.mark.parametrize("budget", ["", "12", "MB", "2 TB", "2iB", "-1MB"])
def test_text_that_is_no_size(budget):
  with pytest.raises(ValueError, match='such as "2MB"'):
    memory.capacity_in_slots(budget, small_stream.EXAMPLE)


def test_nothing_keeps_nothing():
  replay = nothing.none()
  state = replay.init(small_stream.EXAMPLE)
  key = jax.random.key(0)
  assert replay.add(key, state, small_stream.batch([1])) == state == ()
  assert (replay.capacity, replay.num_samples) == (0, 0)
  assert replay.when == "never"
  with pytest.raises(ValueError, match="the memory keeps none"):
    replay.sample(key, state, small_stream.scope())


def test_sizes_that_no_memory_has():
  memory.check_sizes(1, 0)
  memory.check_sizes("1B", 3)
  for capacity, samples, message in (
    (0, 1, "a memory of 0 keeps nothing"),
    ("0B", 1, "'0B' keeps nothing"),
    (1, -1, "num_samples is -1"),
  ):
    with pytest.raises(ValueError, match=message):
      memory.check_sizes(capacity, samples)
