"""How an order of examples becomes dispatches."""

import types

import jax
import numpy as np
import signatures
import tiny_network

from jcl.train import chunks


class Numbered:
  """Examples that are their row; counts what is read."""

  def __init__(self, size):
    self.size, self.read = size, []

  def __len__(self):
    return self.size

  def batch(self, rows):
    self.read.append(rows)
    return tiny_network.batch()._replace(x=rows, ids=rows)


# Steps take two examples of the stream, in batches of three, four a dispatch.
LEARNER = types.SimpleNamespace(
  stream_rows=2, batch_size=3, steps_per_dispatch=4, put_batches=lambda b: b
)


def test_an_order_becomes_batches_that_are_padded():
  rows = chunks.rows_of(np.array([4, 2, 0, 1, 3]), LEARNER)
  assert rows.tolist() == [[4, 2, -1], [0, 1, -1], [3, -1, -1]]


def test_dispatches_are_full_but_for_the_last():
  source = Numbered(11)
  order = np.arange(11)[::-1]
  first, last = chunks.of_order(LEARNER, source, order)
  assert (first.num_steps, last.num_steps) == (4, 2)
  assert first.ids.shape == last.ids.shape == (4, 3)
  assert last.ids.tolist() == [[2, 1, -1], [0, -1, -1], *[[-1] * 3] * 2]
  shown = np.concatenate([first.ids, last.ids]).ravel()
  assert shown[shown >= 0].tolist() == order.tolist()


def test_a_chunk_is_read_as_it_is_asked_for():
  source = Numbered(30)
  following = chunks.of_order(LEARNER, source, np.arange(30))
  assert not source.read
  next(following)
  assert len(source.read) == 1
  assert not list(chunks.of_order(LEARNER, source, np.arange(0)))


def test_fewer_steps_of_a_chunk_are_made():
  chunk = chunks.read(LEARNER, Numbered(6), np.arange(9).reshape(3, 3))
  assert chunk.num_steps == 3
  assert chunk.first(2).num_steps == 2 and chunk.first(9).num_steps == 3
  assert chunk.first(2).batches is chunk.batches
  assert chunk.first(2.9).num_steps == 2 and not chunk.last
  assert not chunks.Chunk(chunk.batches, chunk.ids, 3).last
  chunk = chunks.read(LEARNER, Numbered(6), np.arange(9).reshape(3, 3), True)
  assert chunk.first(3) is chunk and chunk.last
  assert not chunk.first(2).last


def test_rows_for_what_a_memory_draws_are_empty():
  extras = {"logits": np.zeros(4, np.float16)}
  example = types.SimpleNamespace(extras=extras)
  learner = types.SimpleNamespace(fed_rows=3, example=example)
  batches = jax.tree.map(
    lambda leaf: np.stack([leaf, leaf + 1]), tiny_network.batch(5)
  )
  whole = chunks.with_draws(learner, batches)
  assert whole.x.shape == (2, 8, 4) and whole.ids.shape == (2, 8)
  np.testing.assert_array_equal(whole.x[:, :5], batches.x)
  np.testing.assert_array_equal(whole.ids[:, :5], batches.ids)
  assert not any(leaf[:, 5:].any() for leaf in jax.tree.leaves(whole))
  assert whole.extras["logits"].shape == (2, 8, 4)
  assert whole.extras["logits"].dtype == np.float16
  assert not whole.extras["logits"].any()
  learner.fed_rows = 0
  assert chunks.with_draws(learner, batches) is batches


def test_work_grows_with_steps():
  cost = types.SimpleNamespace(flops=5.0, bytes_accessed=7.0)
  program = types.SimpleNamespace(cost=cost)
  assert chunks.work(program, 3) == (15.0, 21.0)


def test_a_call_makes_the_steps_of_a_chunk():
  called = []
  program = types.SimpleNamespace(call=lambda *given: called.append(given))
  chunk = chunks.read(LEARNER, Numbered(6), np.arange(6).reshape(2, 3))
  chunks.run(program, "key", "state", chunk, "scope")
  ((key, state, batches, steps, scope),) = called
  assert (key, state, scope) == ("key", "state", "scope")
  assert batches is chunk.batches
  assert steps == 2 and steps.dtype == np.int32


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(chunks.Chunk) == {"last": False}
  assert signatures.defaults(chunks.read) == {"last": False}
