import numpy as np
import pytest
import signatures
import tiny_network

from jcl.train import gather


@pytest.fixture(scope="module")
def stream():
  return tiny_network.stream(tasks=3, num_classes=6, per_class=4)


def rows(*values):
  return np.array([values], np.int32)


def test_current_and_seen_cover_their_experiences(stream):
  current = gather.training_set("current", stream, 1, None)
  seen = gather.training_set("seen", stream, 2, None)
  assert (len(current), len(seen)) == (8, 24)
  assert current.own and not seen.own
  assert len(gather.training_set("seen", stream, 0, None)) == 8
  whole = seen.batch(rows(*range(24)))
  assert whole.ids[0].tolist() == list(range(24))
  assert whole.task[0].tolist() == [0] * 8 + [1] * 8 + [2] * 8
  for experience in stream.experiences:
    mine = whole.task[0] == experience.index
    np.testing.assert_array_equal(whole.x[0][mine], experience.data.x)
    np.testing.assert_array_equal(whole.y[0][mine], experience.data.y)
  np.testing.assert_array_equal(
    current.batch(rows(*range(8))).x, whole.x[:, 8:16]
  )


def test_pads_weigh_nothing_wherever_the_batch_comes_from(stream):
  seen = gather.training_set("seen", stream, 2, None)
  batch = seen.batch(rows(20, 9, -1, 0, -1))
  assert batch.ids[0].tolist() == [20, 9, -1, 0, -1]
  assert batch.weight[0].tolist() == [1, 1, 0, 1, 0]
  first = stream.experiences[2].data.x[[4]][0]
  np.testing.assert_array_equal(batch.x[0, 0], first)
  assert np.isfinite(batch.x).all()


def test_several_experiences_give_what_each_gives(stream):
  seen = gather.Experiences(stream, range(1, 3))
  wanted = rows(12, 3, -1, 0, 9, -1), rows(1, -1, 15, 8, 2, 7)
  batch = seen.batch(np.concatenate(wanted))
  for k, row in enumerate(wanted):
    for b, i in enumerate(row[0]):
      if i < 0:
        continue
      index, inside = 1 + i // 8, i % 8
      own = gather.Experiences(stream, [index]).batch(rows(inside))
      for whole, alone in zip(batch[:-1], own[:-1], strict=True):
        np.testing.assert_array_equal(whole[k, b], alone[0, 0])
  np.testing.assert_array_equal(batch.x[1, 1], batch.x[1, 0])  # as one's own
  assert not batch.x[0, [2, 5]].any()
  assert batch.task[0, 2] == batch.task[1, 1] == 1


def test_memory_gives_its_filled_slots(stream):
  items = tiny_network.batch(5, weight=(1, 0, 1, 0, 1))
  memory = gather.training_set("memory", stream, 0, items)
  assert len(memory) == 3
  batch = memory.batch(rows(2, 0, -1))
  assert batch.ids[0].tolist() == [4, 0, -1]
  assert batch.weight[0].tolist() == [1, 1, 0]
  np.testing.assert_array_equal(batch.x[0, :2], items.x[[4, 0]])
  assert batch.weight.dtype == np.float32 and batch.ids.dtype == np.int32


def test_mistakes_are_told(stream):
  with pytest.raises(ValueError, match="'all': choose current, seen"):
    gather.training_set("all", stream, 0, None)
  with pytest.raises(ValueError, match="a replay policy that keeps one"):
    gather.training_set("memory", stream, 0, None)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(gather.Experiences) == {"own": True}
