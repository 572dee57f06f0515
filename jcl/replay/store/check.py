"""A check of a whole store: every record, every checksum, the index."""

import os
from typing import NamedTuple

import numpy as np

from jcl.replay.store import index as index_lib
from jcl.replay.store import segments
from jcl.replay.store import store as store_lib


class Report(NamedTuple):
  """Findings of a check of all records."""

  records: int  # intact records of the index
  bytes: int  # of the segments
  damaged: np.ndarray  # int64 ids in the index without an intact record
  regained: np.ndarray  # int64 ids that are intact, but lost in the index


def verify(store: store_lib.Store) -> Report:
  """Checks every checksum of an open store, and the index against records.

  Examples that are added during the check are left out.
  """
  contents = store.contents
  index, count = contents.index, contents.index.count
  columns = index.columns
  intact = np.zeros(count, bool)
  seen = np.zeros(count, bool)
  total = 0
  for segment in contents.segments:
    # A descriptor of its own: these reads are in order.
    fd = os.open(segment.path, os.O_RDONLY)
    try:
      total += os.fstat(fd).st_size
      header = segments.read_header(fd)
      start = header.end if header else 0
      found = segments.scan(fd, start, contents.seed, segment.first_id)
    finally:
      os.close(fd)
    here = found.heads["id"] < count
    heads, offsets = found.heads[here], found.offsets[here]
    ids = heads["id"].astype(np.int64)
    same = columns["offset"][ids] == offsets
    for name in index_lib.COLUMNS:
      if name != "offset":
        same &= columns[name][ids] == heads[name]
    seen[ids] = True
    intact[ids] |= same
  known = columns["offset"][:count] > 0
  return Report(
    records=int((known & intact).sum()),
    bytes=total,
    damaged=np.flatnonzero(known & ~intact),
    regained=np.flatnonzero(~known & seen),
  )
