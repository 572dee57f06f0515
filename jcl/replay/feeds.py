"""The feed that a method asks for."""

from collections.abc import Iterator
import contextlib
from pathlib import Path

from jcl.cost import ledger as ledger_lib
from jcl.replay import drawn, removal
from jcl.replay.feed import Feed
from jcl.replay.tiers import feed as tier_feed
from jcl.replay.tiers import limits
from jcl.streams import stream as stream_lib
from jcl.train import learner as learner_lib

# Entries of a run's folder that a feed of any kind may have made.
FILES = tuple(
  name
  for kind in (Feed, removal.Removal, tier_feed.TierFeed)
  for name in kind.files
)


@contextlib.contextmanager
def opened(
  stream: stream_lib.Stream,
  learner: learner_lib.Learner,
  ledger: ledger_lib.Ledger,
  seed: int,
  folder: Path | None = None,
  limit: limits.Limit | str | None = None,
) -> Iterator[Feed]:
  """Opens the feed of a run.

  Args:
    stream: of the run.
    learner: that is shown the batches, whose method says what they are.
    ledger: where reading is filed.
    seed: of the run.
    folder: of the run; None: a temporary one where the feed needs any.
    limit: of a memory on the host, see `tiers.feed.opened`.

  Raises:
    ValueError: where a memory has fewer seats than there are classes.
    StoreError: where a store cannot be used.
  """
  parts = stream, learner, ledger, seed
  if learner.method.hierarchy is None:
    yield plain(*parts)
    return
  names = stream.class_names
  with tier_feed.opened(learner, names, seed, folder, limit) as tiers:
    yield tier_feed.TierFeed(tiers, *parts)


def plain(
  stream: stream_lib.Stream,
  learner: learner_lib.Learner,
  ledger: ledger_lib.Ledger,
  seed: int,
) -> Feed:
  """Returns the feed of a run without a memory on the host."""
  if learner.method.removal is not None:
    return removal.Removal(stream, learner, ledger, seed)
  if learner.method.draw is not None:
    return drawn.Drawn(stream, learner, ledger, seed)
  return Feed(stream, learner, ledger, seed)
