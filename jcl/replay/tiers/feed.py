"""Feed of a run over a memory in RAM above a store of every example."""

from collections.abc import Iterable, Iterator
import contextlib
import functools
import math
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

from jcl import base
from jcl.options.errors import UsageError
from jcl.replay import feed, herding
from jcl.replay.store import store as store_lib
from jcl.replay.tiers import archive as archive_lib
from jcl.replay.tiers import limits
from jcl.replay.tiers import tiers as tiers_lib
from jcl.train import chunks, scoring
from jcl.train import learner as learner_lib

_RUN = "run"  # name of the run in its own store
FILES = ("store", "extras")  # folders beside a run's other files
# Dispatches between the request of an exchange and the exchange; and dispatches
# whose rows may be in flight: twice as many, so that the reader never starves.
_LAG, _STAGED = 4, 8


class TierFeed(feed.Feed):
  """Feeds memory, stream buffer or both to training, or all that is stored.

  Args:
    tiers: memory, stream buffer and archive.
    *rest: those of `feed.Feed`.
  """

  files = FILES

  def __init__(self, tiers: tiers_lib.Tiers, *rest: Any) -> None:
    super().__init__(*rest)
    self.tiers = tiers
    self._epochs = 1  # of the experience, as decided when it began

  @property
  def _trains(self) -> str:
    return self.tiers.hierarchy.trains

  @property
  def _data(self) -> base.Dataset:
    return self.stream.experiences[self.index].data

  def arrive(self, index: int) -> None:
    super().arrive(index)
    with self.ledger.timed("data"):
      self.tiers.store(index, self._data)
    self.tiers.fit_staging()

  def open(self, allocation: base.Allocation) -> None:
    """Shares out the memory for the experience."""
    tiers, em = self.tiers, allocation.em
    self._epochs = allocation.epochs
    tiers.exchanges.progress.target = allocation.swap
    if self._trains == "store":
      return
    with self.ledger.timed("data"):
      if self._trains == "memory":
        tiers.arrange(min(em, len(tiers.em)), 0)
        tiers.absorb(self._data, em)
        tiers.sizes = em, 0
        tiers.begin_epoch()
      else:
        tiers.arrange(em, allocation.sb, self._data)

  def training_set(self, state: base.LearnerState) -> chunks.Source:
    del state
    method = self.learner.method
    draws = method.objective.num_draws if method.replay.on_host else 0
    return self.tiers.source(draws, method.replay.num_samples)

  def close(self, state: base.LearnerState, size: int) -> None:
    """Takes the experience's examples into the memory."""
    tiers, extras, order = self.tiers, None, None
    if self._trains == "store":
      return
    if tiers.archive.extra_names:
      extras = functools.partial(_logits, self.learner, state)
    if tiers.hierarchy.keep == "herding":
      order = functools.partial(_herded, self.learner, state)
    with self.ledger.timed("data"):
      tiers.end(self._data, size, extras, order)

  def due(self, step: int) -> None:
    self.tiers.apply(step)

  @property
  def _gated(self) -> bool:
    """Whether the examples that leave the memory depend on results of steps."""
    return self.tiers.hierarchy.gate != "random"

  def sent(self, sent: feed.Sent) -> None:
    if not self._gated:
      self._exchange(sent, np.zeros_like(sent.ids, np.float32))

  def learned(self, sent: feed.Sent, difficulty: np.ndarray) -> None:
    if self._gated:
      self._exchange(sent, difficulty)

  def _exchange(self, sent: feed.Sent, difficulty: np.ndarray) -> None:
    """Requests exchanges of the examples that a dispatch has replayed."""
    part = sent.epoch / max(self._epochs, 1)
    for i, row in enumerate(sent.ids):
      self.tiers.trained(sent.step + i, part, sent.epoch, row, difficulty[i])

  def apply(self, allocation: base.Allocation, begins: bool) -> bool:
    """Gives memory and stream buffer the sizes decided on."""
    tiers, sizes = self.tiers, (allocation.em, allocation.sb)
    tiers.exchanges.progress.target = allocation.swap
    if self._trains == "store":
      return False
    changed = sizes != tiers.sizes
    if changed:
      # A buffer that grows is filled from the experience's examples.
      grows = sum(sizes) > sum(tiers.sizes)
      buffered = self._trains != "memory"
      tiers.arrange(*sizes, self._data if grows and buffered else None)
      if grows:
        tiers.begin_epoch()
    if begins:
      changed |= tiers.begin_epoch()
    return changed

  def accounts(self, state: base.LearnerState) -> dict[str, float]:
    tiers = self.tiers
    if tiers.span:
      replayed = tiers.span / max(len(self.source), 1)
    else:
      replayed = self.learner.replay_share if len(tiers.em) else 0.0
    return {"train": 1 - replayed, "replay": replayed}

  def held(self, trained: int | None) -> base.Held | None:
    tiers = self.tiers
    if self._trains == "store":
      return None
    tiers.fit_staging()
    limit = tiers.limit()  # asked once, as it may change at any time
    counts = tiers.reader.counts
    return base.Held(
      room=tiers.room_of(limit),
      over=tiers.nbytes > limit,
      allowed=f"{limit / 2**20:.3g} MiB",
      row_bytes=tiers.row_bytes,
      rows=self.learner.stream_rows,
      given=tiers.given,
      classes=int(self.stream.classes_seen(self.index).sum()),
      aside=len(tiers.archive.aside),
      trained=trained,
      earlier=lambda: {k: len(ids) for k, ids in tiers.earlier().items()},
      fresh=lambda: {k: len(ids) for k, ids in tiers.fresh().items()},
      exchanges=lambda: (counts.applied, counts.late),
    )

  def memory(self) -> base.Batch | None:
    return self.tiers.memory()

  def summary(self, state: base.LearnerState) -> dict[str, Any]:
    del state
    return self.tiers.summary()

  def expected_rows(
    self, earlier: int, fresh: int, allocation: base.Allocation | None
  ) -> int:
    sizes = (0, 0)
    if allocation is not None:
      sizes = allocation.em, allocation.sb
    return self.tiers.expected_rows(earlier, fresh, sizes)

  def state(self) -> dict[str, Any]:
    return {
      **super().state(),
      "epochs": self._epochs,
      "tiers": self.tiers.state(),
    }

  def restore(self, state: dict[str, Any]) -> None:
    super().restore(state)
    self._epochs = state["epochs"]
    held = state["tiers"]
    data = self.stream.experiences[max(held["experience"], 0)].data
    self.tiers.restore(held, data)


def tiers_of(fed: feed.Feed) -> tiers_lib.Tiers:
  """Returns the tiers that a run is fed from."""
  assert isinstance(fed, TierFeed)
  return fed.tiers


@contextlib.contextmanager
def opened(
  learner: learner_lib.Learner,
  names: tuple[str, ...],
  seed: int,
  folder: Path | None,
  limit: limits.Limit | str | None = None,
) -> Iterator[tiers_lib.Tiers]:
  """Opens the tiers that a learner's method asks for.

  Args:
    learner: whose method has a hierarchy.
    names: of the classes.
    seed: of the run.
    folder: of the run, which holds the store; None: a temporary one.
    limit: bytes that memory, stream buffer and rows in flight may take; a text
      for `limits.parse`, or "auto" for half of the memory that is available,
      within what the control group allows.

  Raises:
    ValueError: where the memory has fewer seats than there are classes.
    StoreError: where the store cannot be used.
  """
  hierarchy = learner.method.hierarchy
  assert hierarchy is not None
  bound = None if limit == "auto" else limits.parse(limit)
  with contextlib.ExitStack() as stack:
    if folder is None:
      folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    store, extras = (folder / name for name in FILES)
    main = stack.enter_context(store_lib.Store.open(store))
    beside = None
    if learner.example.extras:
      beside = stack.enter_context(store_lib.Store.open(extras))
    tiers = tiers_lib.Tiers(
      hierarchy,
      archive_lib.Archive(main, _RUN, names, learner.example, beside),
      seed=seed,
      limit=bound or (lambda: math.inf),
      lag=_LAG * learner.steps_per_dispatch,
      staged=_STAGED * learner.steps_per_dispatch * learner.rows_per_step,
    )
    stack.callback(tiers.close)
    seats = tiers.in_examples(hierarchy.em)
    if hierarchy.trains != "store" and seats < len(names):
      raise UsageError(
        f"em={hierarchy.em} makes {seats} seats in memory for {len(names)} "
        f"classes: give em={len(names)} or more"
      )
    if limit == "auto":
      tiers.limit = limits.lowest(
        limits.available(lambda: tiers.nbytes),
        limits.cgroup(lambda: tiers.nbytes),
      )
    yield tiers


def _logits(
  learner: learner_lib.Learner, state: base.LearnerState, x: np.ndarray
) -> dict[str, np.ndarray]:
  return {"logits": scoring.outputs(learner, state, x, "logits")}


def _herded(
  learner: learner_lib.Learner,
  state: base.LearnerState,
  labels: np.ndarray,
  blocks: Iterable[np.ndarray],
) -> np.ndarray:
  """Returns positions [N], of each class the most representative ones last."""
  features = np.concatenate(
    [scoring.outputs(learner, state, x, "features") for x in blocks]
  )
  found = []
  for label in np.unique(labels):
    mine = np.flatnonzero(labels == label)
    best = herding.herd(features[mine], len(mine))
    found.append(mine[best[::-1]])
  return np.concatenate(found)
