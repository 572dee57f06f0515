"""The inner loop: ordered examples, learned from one dispatch at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jcl import base
from jcl.streams import batching
from jcl.train import background
from jcl.train import learner as learner_lib


class Source(Protocol):
  """A training set, whose rows are read as host batches."""

  def __len__(self) -> int:
    """Returns the number of examples."""

  def batch(self, rows: np.ndarray) -> base.Batch:
    """Reads rows [K, B], where -1 pads, as batches [K, B, ...]."""


class Chunk(NamedTuple):
  """The batches of one dispatch, on the device."""

  batches: base.Batch  # [K, B, ...] for K steps per dispatch
  ids: np.ndarray  # [K, B] of the stream, -1 where padded
  num_steps: int  # how many of the K are made
  last: bool = False  # whether the epoch ends with them

  def first(self, num_steps: float) -> "Chunk":
    """Returns the same batches with no more than `num_steps` to be made."""
    if num_steps >= self.num_steps:
      return self
    return self._replace(num_steps=int(num_steps), last=False)


def rows_of(order: np.ndarray, learner: learner_lib.Learner) -> np.ndarray:
  """Cuts an order [N] of examples into the rows [n, B] of n batches.

  A batch holds as many examples as a step takes from the stream; -1 pads the
  rest of its B.
  """
  rows = batching.batch_rows(order, learner.stream_rows)
  return batching.padded(rows, len(rows), learner.batch_size)


def read(
  learner: learner_lib.Learner,
  source: Source,
  rows: np.ndarray,
  last: bool = False,
) -> Chunk:
  """Reads rows [n, B] of at most K batches, and puts them on the device.

  Args:
    learner: whose device they go to.
    source: of the examples.
    rows: positions in the source, where -1 pads.
    last: whether the epoch ends with them.
  """
  whole = batching.padded(rows, learner.steps_per_dispatch, rows.shape[1])
  batches = source.batch(whole)
  ids = np.asarray(batches.ids)
  return Chunk(learner.put_batches(batches), ids, len(rows), last)


def of_order(
  learner: learner_lib.Learner, source: Source, order: np.ndarray
) -> Iterator[Chunk]:
  """Reads an order [N] of examples chunk by chunk, each as it is asked for."""
  rows = rows_of(order, learner)
  for start in range(0, len(rows), learner.steps_per_dispatch):
    part = rows[start : start + learner.steps_per_dispatch]
    yield read(learner, source, part)


def of_rows(
  learner: learner_lib.Learner, source: Source, order: np.ndarray, rows: int
) -> Iterator[Chunk]:
  """Reads an order [N] in chunks of one batch of `rows` examples each."""
  for part in batching.batch_rows(order, rows):
    batches = source.batch(part[None])
    yield Chunk(learner.put_batches(batches), np.asarray(batches.ids), 1)


def run(
  program: background.Program,
  key: base.Key,
  state: base.LearnerState,
  chunk: Chunk,
  scope: base.Scope,
) -> tuple[base.LearnerState, Any]:
  """Makes a chunk's steps; returns before the device has made them.

  Returns:
    The state after the last of them, and a `step.Info` of [K, ...].
  """
  steps = np.int32(chunk.num_steps)
  return program.call(key, state, chunk.batches, steps, scope)


def work(program: background.Program, num_steps: int) -> tuple[float, float]:
  """Counts the operations and the bytes moved of some steps."""
  cost = program.cost
  return num_steps * cost.flops, num_steps * cost.bytes_accessed


def with_draws(learner: learner_lib.Learner, batches: base.Batch) -> base.Batch:
  """Returns stream batches [K, B, ...] with empty rows for draws, if any."""
  rows = np.shape(batches.y)[0], learner.fed_rows
  if not learner.fed_rows:
    return batches
  batches = batches._replace(
    extras={
      name: np.zeros((rows[0], np.shape(batches.y)[1], *np.shape(a)), a.dtype)
      for name, a in learner.example.extras.items()
    }
  )
  return jax.tree.map(
    lambda leaf: np.concatenate(
      [leaf, np.zeros((*rows, *leaf.shape[2:]), leaf.dtype)], axis=1
    ),
    batches,
  )
