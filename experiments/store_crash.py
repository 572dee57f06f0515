"""Does a store keep what it acknowledged, and does it open fast?

python experiments/store_crash.py --kills=200
python experiments/store_crash.py --parts=open --records=10_000_000

kills  A process adds to one store and is sent SIGKILL at random moments,
       while it opens, recovers, writes or begins a segment. After each, every
       record that is new must be right, byte for byte; at the end all are
       read again. Must end with 0 lost and 0 wrong.
open   Seconds and memory to open a store of small records, by its index and
       from its segments alone (Linux only).
"""

import os
from pathlib import Path
import random
import signal
import tempfile
import time

from absl import app, flags, logging
import numpy as np

from jcl.replay.store import check, records, store

PARTS = ("kills", "open")

_PARTS = flags.DEFINE_list("parts", ["kills"], "of " + ", ".join(PARTS))
_FOLDER = flags.DEFINE_string("folder", None, "for the files")
_KILLS = flags.DEFINE_integer("kills", 200, "signals to send", lower_bound=1)
_RECORDS = flags.DEFINE_integer("records", 10_000_000, "of `open`")
_SEED = flags.DEFINE_integer("seed", 0, "of the moments")

IMAGE = (16, 16, 3)
_NOISE = np.random.default_rng(0).integers(0, 256, 2000, np.uint8)


def main(argv):
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  wrong = [part for part in _PARTS.value if part not in PARTS]
  if wrong:
    raise app.UsageError(f"--parts={wrong}: choose from {', '.join(PARTS)}")
  logging.set_verbosity(logging.ERROR)
  failed = False
  for part in _PARTS.value:
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
      if part == "open":
        opening(Path(folder), _RECORDS.value)
      else:
        failed |= kills(Path(folder), _KILLS.value)
  return int(failed)


def images(ids: np.ndarray) -> np.ndarray:
  """Returns the images that these records must have, all different."""
  size = int(np.prod(IMAGE))
  x = _NOISE[(ids[:, None] * 7 + np.arange(size)) % len(_NOISE)]
  x[:, :8] = ids[:, None].astype("<i8").view(np.uint8)
  return x.reshape(-1, *IMAGE)


def class_name(i: int) -> str:
  return f"class {i % 7 if i % 1000 else i}"  # now and then a new one


def write_on(folder: Path, pipe: int, seed: int) -> None:
  """Adds to a store without end; tells the pipe what was acknowledged."""
  rng = random.Random(seed)
  fsync = rng.choice(("always", "batch", 0.01))
  size = rng.choice((2**18, 2**24))
  with store.Store.open(folder, fsync=fsync, segment_bytes=size) as opened:
    while True:
      first = opened.contents.index.count
      ids = first + np.arange(rng.choice((1, rng.randint(1, 40), 4000)))
      given = opened.append(
        images(ids), [class_name(i) for i in ids.tolist()], task=ids % 5
      )
      os.write(pipe, int(given[-1] + 1).to_bytes(8, "little"))
      if rng.random() < 0.1:
        opened.flush()


def right(opened: store.Store, ids: np.ndarray) -> int:
  """Returns how many of the records are what they must be."""
  good = 0
  for start in range(0, len(ids), 1000):
    part = ids[start : start + 1000]
    found = opened.read(part)
    names = np.array(opened.classes)[found.labels]
    good += int(
      (
        (found.x == images(part)).all((1, 2, 3))
        & (names == [class_name(i) for i in part.tolist()])
        & (found.tasks == part % 5)
      ).sum()
    )
  return good


def kills(folder: Path, count: int) -> bool:
  """Kills a writer again and again; returns whether anything went wrong."""
  rng = random.Random(_SEED.value)
  acknowledged = checked = lost = wrong = cuts = 0
  for kill in range(count):
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
      os.close(read_end)
      try:
        write_on(folder / "store", write_end, kill)
      finally:
        os._exit(1)
    os.close(write_end)
    time.sleep(rng.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
      raise AssertionError("the writer ended by itself")
    with os.fdopen(read_end, "rb") as pipe:
      told = pipe.read()
    if told:
      acknowledged = int.from_bytes(told[-8:], "little")
    try:
      opened = store.Store.open(folder / "store", mode="r")
    except records.StoreError:
      lost += acknowledged > 0  # a store that was never acknowledged may miss
      continue
    with opened:
      last = opened.contents.segments[-1]
      cuts += last.path.stat().st_size > last.end
      lost += max(0, acknowledged - len(opened)) + len(opened.notes)
      fresh = np.arange(checked, len(opened))
      wrong += len(fresh) - right(opened, fresh)
      checked = len(opened)
  with store.Store.open(folder / "store") as opened:
    everything = np.arange(len(opened))
    lost += max(0, acknowledged - len(everything))
    wrong += len(everything) - right(opened, everything)
    wrong += len(check.verify(opened).damaged)
    size = len(opened.contents.segments)
  print(
    f"{count} kills, {acknowledged} records acknowledged, {checked} stored in "
    f"{size} segments, {cuts} torn tails: {lost} lost, {wrong} wrong"
  )
  return bool(lost or wrong)


def opening(folder: Path, count: int) -> None:
  """Prints what it takes to open a store of `count` small records."""
  rng, piece = np.random.default_rng(_SEED.value), min(count, 100_000)
  names = [f"class {i}" for i in rng.integers(0, 1000, piece)]
  x = np.zeros((piece, 4), np.uint8)
  begin = time.perf_counter()
  with store.Store.open(folder / "store") as opened:
    for start in range(0, count, piece):
      opened.append(x[: count - start], names[: count - start])
  print(f"written in {time.perf_counter() - begin:.1f} s")
  for what, rebuild in (("open", False), ("open without index", True)):
    child = os.fork()
    if not child:
      try:
        report_opening(what, folder / "store", count, rebuild)
      finally:
        os._exit(0)
    os.waitpid(child, 0)


def report_opening(what: str, folder: Path, count: int, rebuild: bool) -> None:
  before, begin = resident(), time.perf_counter()
  opened = store.Store.open(folder, mode="r", rebuild=rebuild)
  opened_in, opened_at = time.perf_counter() - begin, resident()
  begin = time.perf_counter()
  counts = opened.count_by_class()
  counted = time.perf_counter() - begin
  begin = time.perf_counter()
  found = len(opened.ids_of(next(iter(counts))))
  first = time.perf_counter() - begin
  begin = time.perf_counter()
  opened.ids_of("class 7")
  second = time.perf_counter() - begin
  if sum(counts.values()) != count or found != counts[opened.classes[0]]:
    raise AssertionError("the counts are wrong")
  print(
    f"{what}: {opened_in:.2f} s, {(opened_at - before) / count:.1f} B of "
    f"memory a record; counts {counted:.3f} s; ids of a class {first:.3f} s, "
    f"then {second * 1e6:.0f} us; after it {(resident() - before) / count:.1f} "
    f"B a record, peak {(peak() - before) / count:.1f} B",
    flush=True,
  )


def resident() -> int:
  pages = int(Path("/proc/self/statm").read_text().split()[1])
  return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
  status = Path("/proc/self/status").read_text()
  [line] = [row for row in status.splitlines() if row.startswith("VmHWM")]
  return 1024 * int(line.split()[1])


if __name__ == "__main__":
  app.run(main)
