"""What a run shows its learner: the seam between data and training.

A `Feed` shows an experience's examples batch by batch. This one takes them from
the stream, or from a memory on the device; others wrap it or take its place.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jcl import base
from jcl.cost import ledger as ledger_lib
from jcl.cost import program_cost
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import chunks, gather
from jcl.train import learner as learner_lib


class Sent(NamedTuple):
  """Updates that were made of a chunk."""

  step: int  # of the run, of the first one
  epoch: int  # of the experience
  ids: np.ndarray  # [k, B] of the stream, -1 where padded


class Feed:
  """Shows what an experience brings, or what its method trains on instead.

  Args:
    stream: of the run.
    learner: that is shown the batches.
    ledger: where reading is filed.
    seed: of the run.
  """

  # Entries of a run's folder that belong to the feed.
  files: tuple[str, ...] = ()

  def __init__(
    self,
    stream: stream_lib.Stream,
    learner: learner_lib.Learner,
    ledger: ledger_lib.Ledger,
    seed: int,
  ) -> None:
    self.stream, self.learner = stream, learner
    self.ledger, self.seed = ledger, seed
    self.index = -1  # of the experience
    self._source: chunks.Source | None = None
    # The epoch of which the rows are known, and these [n, B].
    self._rows: tuple[int | None, np.ndarray] = None, np.array([])

  @property
  def source(self) -> Any:
    """The experience's training set, a `chunks.Source`."""
    assert self._source is not None
    return self._source

  # An experience.

  def arrive(self, index: int) -> None:
    """Takes in the examples of experience `index`, ahead of any decision."""
    self.index = index

  def open(self, allocation: base.Allocation) -> None:
    """Makes ready for the experience, by the sizes decided on."""
    del allocation

  def show(self, state: base.LearnerState) -> None:
    """Fixes the training set, at its beginning or when it is taken up again."""
    self._source = self.training_set(state)
    self._rows = None, np.array([])

  def training_set(self, state: base.LearnerState) -> chunks.Source:
    """Returns what the experience trains on."""
    memory = state.replay.items if state.replay else None
    trains_on = self.learner.method.trains_on
    return gather.training_set(trains_on, self.stream, self.index, memory)

  def close(self, state: base.LearnerState, size: int) -> None:
    """Ends the experience; a memory on the host keeps `size` examples."""
    del state, size

  def plan(self, updates: int) -> bool:
    """Notes how many updates the experience is to have.

    Returns:
      Whether its epochs show other examples than they did before.
    """
    del updates
    return False

  # Batches.

  @property
  def num_batches(self) -> int:
    """Batches of an epoch."""
    return batching.num_batches(len(self.source), self.learner.stream_rows)

  def order(self, epoch: int) -> np.ndarray:
    """Returns the order [N] in which an epoch goes through the training set."""
    return self._whole_order(epoch)

  def _whole_order(self, epoch: int) -> np.ndarray:
    ordered = self.stream.ordered and self.source.own
    return batching.epoch_order(
      len(self.source), self.seed, self.index, epoch, ordered=ordered
    )

  def first_batch(self, epoch: int) -> base.Batch:
    """Returns the first batch [K, B, ...] of an epoch, for hooks to look at."""
    rows = chunks.rows_of(self._whole_order(epoch), self.learner)[:1]
    return chunks.read(self.learner, self.source, rows).batches

  def whole(self, epoch: int) -> Iterator[chunks.Chunk]:
    """Reads the training set once, in the order of an epoch."""
    order = self._whole_order(epoch)
    return chunks.of_order(self.learner, self.source, order)

  def take(self, epoch: int, batch: int) -> chunks.Chunk | None:
    """Reads the next chunk of an epoch; None where nothing is to be shown."""
    if not len(self.source):
      return None
    if self._rows[0] != epoch:
      self._rows = epoch, chunks.rows_of(self.order(epoch), self.learner)
    rows = self._rows[1][batch : batch + self.learner.steps_per_dispatch]
    last = batch + len(rows) >= len(self._rows[1])
    return chunks.read(self.learner, self.source, rows, last)

  def again(self, epoch: int, batch: int) -> tuple[int, int]:
    """Orders an epoch anew, which may go through other examples by now.

    Returns:
      The epoch and the batch to go on with: those given, or the next epoch's
      first where this one ends earlier.
    """
    rows = chunks.rows_of(self.order(epoch), self.learner)
    self._rows = epoch, rows
    return (epoch + 1, 0) if 0 < len(rows) <= batch else (epoch, batch)

  # What happens between dispatches.

  def due(self, step: int) -> None:
    """Makes the changes that were to be there ahead of update `step`."""

  def knows(self, epoch: int, now: int) -> bool:
    """Tells whether the order of `epoch` is known while `now` is trained."""
    del epoch, now
    return True

  def sent(self, sent: Sent) -> None:
    """Notes the updates of a dispatch, before the device has made them."""

  def learned(self, sent: Sent, difficulty: np.ndarray) -> None:
    """Notes what the updates of a dispatch found.

    Args:
      sent: the updates.
      difficulty: [K, B'] of `train.step.Info`.
    """

  def apply(self, allocation: base.Allocation, begins: bool) -> bool:
    """Follows a decision; tells whether the epoch goes through others now.

    Args:
      allocation: in force from here on.
      begins: whether an epoch begins.
    """
    del allocation, begins
    return False

  def accounts(self, state: base.LearnerState) -> dict[str, float]:
    """Returns the shares of a dispatch by account: stream, and replay."""
    memory = state.replay
    empty = not memory or int(memory.seen) == 0
    replayed = 0.0 if empty else self.learner.replay_share
    return {"train": 1 - replayed, "replay": replayed}

  # A memory on the host.

  def held(self, trained: int | None) -> base.Held | None:
    """Returns a controller's view of the memory on the host, if any.

    Args:
      trained: examples that the experience before was trained on, if any.
    """
    del trained
    return None

  def memory(self) -> base.Batch | None:
    """Returns all that a memory on the host holds; None without one."""
    return None

  def summary(self, state: base.LearnerState) -> dict[str, Any]:
    """Returns what the memory holds, for the record of an experience."""
    num_classes = self.stream.num_classes
    if not state.replay:
      return {"examples": 0, "bytes": 0, "per_class": [0] * num_classes}
    items = state.replay.items
    filled = np.asarray(items.weight) > 0
    per_class = np.bincount(np.asarray(items.y)[filled], minlength=num_classes)
    return {
      "examples": int(filled.sum()),
      "bytes": program_cost.num_bytes(items),
      "per_class": per_class.tolist(),
    }

  def expected_rows(
    self, earlier: int, fresh: int, allocation: base.Allocation | None
  ) -> int:
    """Returns how many examples an epoch of an experience goes through.

    Args:
      earlier: examples of the experiences before.
      fresh: examples of the experience.
      allocation: in force, if any is yet.
    """
    del allocation
    trains_on = self.learner.method.trains_on
    count = fresh if trains_on == "current" else earlier + fresh
    if trains_on == "memory":
      count = min(count, self.learner.memory_slots)
    return count

  # Saving and going on.

  def state(self) -> dict[str, Any]:
    """Returns all that going on needs beside the learner's state, for JSON."""
    return {"index": self.index}

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from what `state` returned."""
    self.index = state["index"]
