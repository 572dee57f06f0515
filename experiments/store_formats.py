"""Which file format for every example ever seen?

  python experiments/store_formats.py --folder=DIR

Random reads of records of 3 KiB and of 150 KiB, one thread, 64 at a time, as
shares of preads of the same places of one flat file that checks nothing: from
the disk (cached pages dropped first) and from the page cache. Beside it:
records written per second in batches of 64, one sync behind them all; bytes on
disk over bytes given; and the share of acknowledged records that can be read
after the writer was killed before it synced or closed anything. Formats whose
package is missing are left out (`pip install array_record lmdb`).

--folder belongs on the disk in question: a folder in memory tells nothing. On
two cores and a virtual disk it takes about three minutes.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import importlib.util
import json
import os
from pathlib import Path
import shutil
import signal
import sqlite3
import statistics
import tempfile
import time
from typing import Any, NamedTuple
import zlib

from absl import app, flags, logging
import numpy as np

from jcl.replay.store import store

BATCH = 64
SIZES = {3 * 1024: 20_000, 150 * 1024: 1_000}  # bytes of one: how many

_FOLDER = flags.DEFINE_string("folder", None, "for the files, on the disk")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "repetitions", lower_bound=1)
_THIN = flags.DEFINE_integer("thin", 1, "fewer records by this", lower_bound=1)
_FORMATS = flags.DEFINE_list("formats", [], "these only, and preads")
_SEED = flags.DEFINE_integer("seed", 0, "of the places")


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.ERROR)
  with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
    formats(Path(folder))


class Format(NamedTuple):
  """A way to keep records: context managers over a folder."""

  name: str
  package: str | None  # that it needs, beside those of jcl
  writer: Callable[[Path], Any]  # -> (append(list of bytes), sync())
  reader: Callable[[Path], Any]  # -> read(ids) -> something of len(ids)


# What reads and writes each; `sync` returns once the disk keeps it.


@contextlib.contextmanager
def flat_writer(folder):
  with open(folder / "flat", "wb") as file:
    yield (
      lambda blobs: os.write(file.fileno(), b"".join(blobs)),
      lambda: os.fsync(file.fileno()),
    )


@contextlib.contextmanager
def flat_reader(folder, size, checked=False):
  fd = os.open(folder / "flat", os.O_RDONLY)
  os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

  def read(ids):
    found = [os.pread(fd, size, place) for place in (ids * size).tolist()]
    if checked:
      for blob in found:
        zlib.crc32(blob)
    return found

  yield read
  os.close(fd)


@contextlib.contextmanager
def store_writer(folder):
  with store.Store.open(folder / "store") as opened:

    def append(blobs):
      x = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), -1)
      opened.append(x, ["class"] * len(blobs))

    yield append, opened.flush


@contextlib.contextmanager
def store_reader(folder):
  with store.Store.open(folder / "store", mode="r") as opened:
    yield lambda ids: opened.read(ids).x


@contextlib.contextmanager
def array_record_writer(folder):
  from array_record.python import array_record_module

  made = array_record_module.ArrayRecordWriter(
    str(folder / "records"), "group_size:1,uncompressed"
  )
  # It syncs nothing by itself, and its index is written when it is closed.
  yield lambda blobs: [made.write(blob) for blob in blobs], lambda: None
  made.close()


@contextlib.contextmanager
def array_record_reader(folder):
  from array_record.python import array_record_module

  made = array_record_module.ArrayRecordReader(
    str(folder / "records"), "readahead_buffer_size:0"
  )
  yield lambda ids: made.read(ids.tolist())
  made.close()


@contextlib.contextmanager
def lmdb_writer(folder):
  import lmdb

  made = lmdb.open(str(folder / "lmdb"), map_size=2**34, sync=False)
  count = 0

  def append(blobs):
    nonlocal count
    with made.begin(write=True) as transaction:
      for blob in blobs:
        transaction.put(count.to_bytes(8, "big"), blob, append=True)
        count += 1

  yield append, lambda: made.sync(True)
  made.close()


@contextlib.contextmanager
def lmdb_reader(folder):
  import lmdb

  made = lmdb.open(str(folder / "lmdb"), readonly=True, readahead=False)

  def read(ids):
    with made.begin() as transaction:
      keys = [i.to_bytes(8, "big") for i in ids.tolist()]
      return [transaction.get(key) for key in keys]

  yield read
  made.close()


@contextlib.contextmanager
def sqlite_writer(folder):
  made = sqlite3.connect(folder / "sqlite")
  made.execute("pragma journal_mode=wal")
  made.execute("pragma synchronous=normal")
  made.execute("create table records (id integer primary key, content blob)")

  def append(blobs):
    with made:
      made.executemany(
        "insert into records (content) values (?)", ((blob,) for blob in blobs)
      )

  yield (
    append,
    lambda: made.execute("pragma wal_checkpoint(truncate)").fetchone(),
  )
  made.close()


@contextlib.contextmanager
def sqlite_reader(folder):
  made = sqlite3.connect(folder / "sqlite")

  def read(ids):
    query = "select content from records where id = ?"
    rows = (made.execute(query, (i + 1,)).fetchone() for i in ids.tolist())
    return [row[0] for row in rows]

  yield read
  made.close()


@contextlib.contextmanager
def files_writer(folder):
  written: list[Path] = []

  def append(blobs):
    for blob in blobs:
      written.append(folder / f"{len(written)}.bin")
      written[-1].write_bytes(blob)

  yield append, lambda: sync_each(written)


@contextlib.contextmanager
def files_reader(folder):
  yield lambda ids: [(folder / f"{i}.bin").read_bytes() for i in ids.tolist()]


def tensorstore_open(folder):
  import tensorstore as ts

  spec = {"driver": "ocdbt", "base": f"file://{folder / 'ocdbt'}/"}
  # With no cache, so that the disk is what is measured.
  context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
  return ts, ts.KvStore.open(spec, context=context).result()


@contextlib.contextmanager
def tensorstore_writer(folder):
  ts, made = tensorstore_open(folder)
  count = 0

  def append(blobs):
    nonlocal count
    with ts.Transaction() as transaction:
      for blob in blobs:
        made.with_transaction(transaction)[f"{count:012d}"] = blob
        count += 1

  yield append, lambda: None  # every transaction syncs


@contextlib.contextmanager
def tensorstore_reader(folder):
  _, made = tensorstore_open(folder)

  def read(ids):
    futures = [made.read(f"{i:012d}") for i in ids.tolist()]
    return [future.result().value for future in futures]

  yield read


def candidates(size: int) -> list[Format]:
  """The flat file first, and the formats whose packages are there."""
  found = [
    Format("preads", None, flat_writer, lambda path: flat_reader(path, size)),
    Format(
      "preads, CRC-32",
      None,
      flat_writer,
      lambda path: flat_reader(path, size, checked=True),
    ),
    Format("jcl.replay.store", None, store_writer, store_reader),
    Format(
      "ArrayRecord", "array_record", array_record_writer, array_record_reader
    ),
    Format("LMDB", "lmdb", lmdb_writer, lmdb_reader),
    Format("SQLite", None, sqlite_writer, sqlite_reader),
    Format("a file each", None, files_writer, files_reader),
    Format(
      "TensorStore", "tensorstore", tensorstore_writer, tensorstore_reader
    ),
  ]
  return [
    made
    for made in found
    if (made.package is None or importlib.util.find_spec(made.package))
    and (not _FORMATS.value or made.name in ("preads", *_FORMATS.value))
  ]


# Measurements.


def formats(folder: Path) -> None:
  """Prints a table for each size of record."""
  for size, count in SIZES.items():
    count = max(count // _THIN.value, 2 * BATCH)
    rows = []
    for made in candidates(size):
      given = (folder / made.name, made, size, count)
      rows.append(apart(measure, *given) | apart(kept, *given))
    preads = rows[0]
    print(f"\n{count} records of {size} bytes")
    print(
      "| format | disk, records/s | of preads | cache, records/s | of preads | "
      "written/s | bytes | kept after SIGKILL |\n" + "|---|" + "---:|" * 7
    )
    for row in rows:
      print(
        f"| {row['name']} | {row['disk']:,.0f} | "
        f"{row['disk'] / preads['disk']:.0%} | {row['cache']:,.0f} | "
        f"{row['cache'] / preads['cache']:.0%} | {row['written']:,.0f} | "
        f"{row['bytes']:.3f} | {row['kept']:.0%} |"
      )


def apart(work: Callable[..., dict], *given) -> dict:
  """Does work in a process of its own: some packages bear no fork later."""
  read_end, write_end = os.pipe()
  child = os.fork()
  if not child:
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
      json.dump(work(*given), pipe)
      pipe.flush()
      os._exit(0)
  os.close(write_end)
  with os.fdopen(read_end) as pipe:
    found = pipe.read()
  os.waitpid(child, 0)
  return json.loads(found)


def measure(folder: Path, made: Format, size: int, count: int) -> dict:
  """Writes, reads, kills and removes one format's files."""
  folder.mkdir()
  places = np.random.default_rng(_SEED.value)
  begin = time.perf_counter()
  with made.writer(folder) as (append, sync):
    for start in range(0, count, BATCH):
      append(blobs(size, start, min(BATCH, count - start)))
    sync()
  row = {
    "name": made.name,
    "written": count / (time.perf_counter() - begin),
    "bytes": used(folder) / (size * count),
  }
  timed: dict[str, list[float]] = {"disk": [], "cache": []}
  for _ in range(_ROUNDS.value):
    drop(folder)
    with made.reader(folder) as read:
      batches = [places.integers(0, count, BATCH) for _ in range(6)]
      timed["disk"].append(seconds(read, batches))
    warm(folder)
    with made.reader(folder) as read:
      batches = [places.integers(0, count, BATCH) for _ in range(40)]
      read(batches[0])
      timed["cache"].append(seconds(read, batches))
  for name, times in timed.items():
    row[name] = 1 / statistics.median(times)
  with made.reader(folder) as read:
    for i in places.integers(0, count, 5):
      [found] = read(np.array([i]))
      if bytes(found) != blobs(size, int(i), 1)[0]:
        raise AssertionError(f"{made.name} returned other bytes")
  shutil.rmtree(folder)
  return row


@functools.cache
def _noise(size: int) -> bytes:
  return np.random.default_rng(1).bytes(size)


def blobs(size: int, start: int, count: int) -> list[bytes]:
  """Records that differ and do not compress, without drawing each anew."""
  noise = _noise(2 * size)
  return [
    (i.to_bytes(8, "little") + noise[i % size : i % size + size])[:size]
    for i in range(start, start + count)
  ]


def seconds(read, batches) -> float:
  """Seconds that a record takes."""
  begin = time.perf_counter()
  for ids in batches:
    if len(read(ids)) != len(ids):
      raise AssertionError("records are missing")
  return (time.perf_counter() - begin) / sum(map(len, batches))


def every(folder: Path) -> Iterator[int]:
  for path in folder.rglob("*"):
    if path.is_file():
      fd = os.open(path, os.O_RDONLY)
      yield fd
      os.close(fd)


def sync_each(paths: list[Path]) -> None:
  for path in paths:
    with open(path, "rb") as file:
      os.fsync(file.fileno())


def drop(folder: Path) -> None:
  """Lets the kernel forget the pages of a folder's files."""
  for fd in every(folder):
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def warm(folder: Path) -> None:
  for fd in every(folder):
    while os.read(fd, 2**22):
      pass


def used(folder: Path) -> int:
  return sum(os.fstat(fd).st_blocks * 512 for fd in every(folder))


def kept(folder: Path, made: Format, size: int, count: int) -> dict:
  """Share of acknowledged records that are there after SIGKILL."""
  folder.mkdir()
  count = min(count, 10 * BATCH) // BATCH * BATCH
  child = os.fork()
  if not child:
    with made.writer(folder) as (append, _):
      for start in range(0, count, BATCH):
        append(blobs(size, start, BATCH))
      os.kill(os.getpid(), signal.SIGKILL)
  os.waitpid(child, 0)
  right = 0
  try:
    with made.reader(folder) as read:
      for i in range(count):
        [found] = read(np.array([i]))
        right += bytes(found) == blobs(size, i, 1)[0]
  except Exception as error:  # whatever a format raises for a broken file
    logging.info("%s after SIGKILL: %s", made.name, error)
  shutil.rmtree(folder)
  return {"kept": right / count}


if __name__ == "__main__":
  app.run(main)
