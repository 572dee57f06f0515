"""Memory that grows and shrinks in place, against lists and from outside."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tracemalloc
from unittest import mock

from hypothesis import settings, stateful
from hypothesis import strategies as st
import numpy as np
import psutil
import pytest

from jcl.replay.tiers import ram

SMALL = ram.row_type((3,), np.uint8, {})
# Rows end anywhere on a page, and a few of them fill one.
ODD = ram.row_type((1111,), np.uint8, {"logits": ((2,), np.float32)})
CIFAR = ram.row_type((32, 32, 3), np.uint8, {})
IMAGES = 20_000


def rows(ids, dtype=SMALL):
  made = np.empty(len(ids), dtype)
  ids = np.asarray(ids, np.int64)
  made["id"], made["y"] = ids, ids % 7
  made["x"].T[...] = ids % 251
  if "logits" in dtype.names:
    made["logits"] = ids[:, None]
  return made


def anonymous():
  """Has memory made as on a system without files in memory."""
  return mock.patch.object(os, "memfd_create", side_effect=OSError, create=True)


@pytest.fixture(params=["file", "anonymous"])
def backing(request):
  if request.param == "file":
    if not hasattr(os, "memfd_create"):
      pytest.skip("this system has no files in memory")
    yield
  else:
    with anonymous():
      yield


class Model(stateful.RuleBasedStateMachine):
  """Any order of calls leaves what a list of rows would hold."""

  def __init__(self):
    super().__init__()
    self.memory, self.model, self.next = ram.Ram(ODD, 4), [], 0

  def teardown(self):
    self.memory.close()

  def fresh(self, number):
    self.next += number
    return rows(np.arange(self.next - number, self.next), ODD)

  @stateful.rule(number=st.integers(0, 12))
  def append(self, number):
    new = self.fresh(number)
    if len(self.model) + number > self.memory.capacity:
      with pytest.raises(ValueError, match="do not fit"):
        self.memory.append(new)
    else:
      slots = self.memory.append(new)
      assert slots.tolist() == [
        *range(len(self.model), len(self.model) + number)
      ]
      self.model += list(new)

  @stateful.rule(data=st.data())
  def put(self, data):
    count = len(self.model)
    slots = data.draw(st.lists(st.integers(0, max(0, count - 1)), max_size=5))
    slots = slots if count else []
    new = self.fresh(len(slots))
    self.memory.put(slots, new)
    for slot, row in zip(slots, new, strict=True):
      self.model[slot] = row

  @stateful.rule(data=st.data())
  def keep(self, data):
    order = data.draw(st.permutations(range(len(self.model))))
    kept = order[: data.draw(st.integers(0, len(order)))]
    with mock.patch.object(ram, "_PIECE", 2 * ODD.itemsize):
      slots = self.memory.keep(kept)
    assert sorted(slots.tolist()) == [*range(len(kept))]
    assert all(
      new == old
      for new, old in zip(slots.tolist(), kept, strict=True)
      if old < len(kept)
    )
    self.model = [
      row
      for _, row in sorted(
        zip(slots.tolist(), [self.model[slot] for slot in kept], strict=True),
        key=lambda pair: pair[0],
      )
    ]

  @stateful.rule(capacity=st.integers(0, 40))
  def resize(self, capacity):
    if capacity < len(self.model):
      with pytest.raises(ValueError, match="call keep with"):
        self.memory.resize(capacity)
    else:
      self.memory.resize(capacity)
      assert self.memory.capacity == capacity

  @stateful.invariant()
  def holds_the_same(self):
    expected = np.array(self.model, ODD) if self.model else np.empty(0, ODD)
    assert self.memory.count == len(expected)
    found = self.memory.take(np.arange(len(expected)))
    np.testing.assert_array_equal(found, expected)
    for name in ODD.names:
      np.testing.assert_array_equal(self.memory.field(name), expected[name])
      backward = np.arange(len(expected))[::-1]
      np.testing.assert_array_equal(
        self.memory.take(backward, name), expected[name][::-1]
      )


def test_any_order_of_calls(backing):
  stateful.run_state_machine_as_test(
    Model,
    settings=settings(max_examples=25, stateful_step_count=20),
  )


def test_sizes(backing):
  with ram.Ram(SMALL, 5) as memory:
    assert (memory.row_bytes, memory.capacity, memory.count) == (15, 5, 0)
    assert memory.nbytes == ram.PAGE
    memory.resize(0)
    assert memory.nbytes == 0
    assert memory.append(rows([])).tolist() == []
    memory.resize(ram.PAGE)
    assert memory.nbytes == 15 * ram.PAGE


def test_keeping_rows_moves_the_tail_into_holes(backing):
  with ram.Ram(SMALL, 6) as memory:
    memory.append(rows([10, 11, 12, 13, 14, 15]))
    assert memory.keep([5, 1, 4]).tolist() == [0, 1, 2]
    assert memory.field("id").tolist() == [15, 11, 14]
    assert memory.keep([]).tolist() == []
    assert memory.count == 0


def test_of_equal_slots_the_last_row_holds(backing):
  with ram.Ram(SMALL, 2) as memory:
    memory.append(rows([1, 2]))
    memory.put([0, 0], rows([3, 4]))
    assert memory.field("id").tolist() == [4, 2]


def test_what_was_read_outlives_the_memory(backing):
  memory = ram.Ram(SMALL, 2)
  memory.append(rows([1, 2]))
  row, ids, all_ids = (
    memory.take([1]),
    memory.take([1], "id"),
    memory.field("id"),
  )
  memory.close()
  memory.close()
  assert (row["id"], ids) == (2, 2)
  assert all_ids.tolist() == [1, 2]
  assert (memory.capacity, memory.count, memory.nbytes) == (0, 0, 0)
  with pytest.raises(ValueError, match="closed: make another"):
    memory.resize(3)
  with pytest.raises(ValueError, match="1 rows do not fit: 0 of 0"):
    memory.append(rows([1]))


def test_row_type():
  dtype = ram.row_type((2, 3), "float32", {"hard": ((), bool)})
  assert dtype.names == ("x", "y", "id", "hard")
  assert dtype.itemsize == 24 + 4 + 8 + 1
  assert dtype["x"].shape == (2, 3)
  assert (dtype["y"], dtype["id"]) == (np.int32, np.int64)


@pytest.mark.parametrize(
  "arguments, text",
  [
    (((2,), "uint8", {"id": ((), "int8")}), "extras id: .* already"),
    (((2,), object, {}), "'x' is of type object: store numbers"),
    (((2,), "uint8", {"name": ((), "U5")}), "'name' is of type <U5"),
  ],
)
def test_rows_of_other_things(arguments, text):
  with pytest.raises(ValueError, match=text):
    ram.row_type(*arguments)


@pytest.mark.parametrize(
  "dtype", [np.dtype("int32"), np.dtype([("x", object)]), np.dtype([])]
)
def test_memory_of_other_things(dtype):
  with pytest.raises(ValueError, match="give a structured type of numbers"):
    ram.Ram(dtype, 1)


@pytest.mark.parametrize(
  "call, text",
  [
    (lambda m: m.resize(-1), "capacity=-1: write a number of rows"),
    (lambda m: m.resize(2), "a capacity of 2 is below the 3 rows in use"),
    (lambda m: m.append(rows([1, 2])), "2 rows do not fit: 3 of 4 slots"),
    (lambda m: m.append(rows([1], ODD)), "the memory's are of type"),
    (lambda m: m.append(rows([1])[0:1, None]), r"shape \[1, 1\]"),
    (lambda m: m.put([0], rows([1, 2])), "2 rows for 1 slots"),
    (lambda m: m.put([3], rows([1])), "slots from 3 to 3: .* below 3"),
    (lambda m: m.take([-1, 0]), "slots from -1 to 0"),
    (lambda m: m.take([True, False]), r"type bool.*np\.flatnonzero\(mask\)"),
    (lambda m: m.take(1), r"shape \[\]: give"),
    (lambda m: m.take([0.0]), "type float64"),
    (lambda m: m.take([0], "z"), "no field 'z': choose from x, y, id"),
    (lambda m: m.field("z"), "no field 'z': choose from x, y, id"),
    (lambda m: m.keep([1, 1]), "given twice"),
    (lambda m: m.keep([7]), "slots from 7 to 7"),
  ],
)
def test_calls_that_are_refused_change_nothing(call, text):
  with ram.Ram(SMALL, 4) as memory:
    memory.append(rows([7, 8, 9]))
    with pytest.raises(ValueError, match=text):
      call(memory)
    assert (memory.capacity, memory.count) == (4, 3)
    assert memory.field("id").tolist() == [7, 8, 9]


def test_a_capacity_below_zero():
  with pytest.raises(ValueError, match="capacity=-3: write"):
    ram.Ram(SMALL, -3)


def test_shrinking_copies_little_and_gives_memory_back(backing):
  with ram.Ram(CIFAR, IMAGES) as memory:
    for start in range(0, IMAGES, 1000):
      memory.append(rows(np.arange(start, start + 1000), CIFAR))
    kept = np.random.default_rng(0).permutation(IMAGES)[:2000]
    before = psutil.Process().memory_info().rss
    tracemalloc.start()
    try:
      slots = memory.keep(kept)
      memory.resize(2000)
      peak = tracemalloc.get_traced_memory()[1]
    finally:
      tracemalloc.stop()
    freed = before - psutil.Process().memory_info().rss
    assert peak < 2 * 2**20  # one piece, and the numbers of slots
    assert freed > 0.8 * (IMAGES - 2000) * memory.row_bytes
    assert memory.nbytes <= 2000 * memory.row_bytes + ram.PAGE
    assert (memory.take(slots, "id") == kept).all()
    assert (memory.take(slots, "x")[:, 5, 5, 1] == kept % 251).all()


# A process that steps its capacity at random and says first what it will have
# at most, or afterwards what it has left.
CHILD = """
import runpy, sys
import numpy as np

Ram = runpy.run_path(sys.argv[1])["Ram"]
generator = np.random.default_rng(0)
dtype = np.dtype([("x", "u1", (3001,)), ("id", "i8")])
memory = Ram(dtype, 0, "seen-from-outside")
while True:
  capacity = int(generator.integers(1, 4000))
  size = -(-capacity * dtype.itemsize // 4096) * 4096
  grows = capacity > memory.capacity
  if grows:
    print(size, flush=True)
  elif capacity < memory.count:
    kept = generator.permutation(memory.count)[:capacity]
    memory.keep(kept)
  memory.resize(capacity)
  assert memory.nbytes == size
  if not grows:
    print(size, flush=True)
  memory.append(np.ones(capacity - memory.count, dtype))
"""


def allocated(process):
  """Returns the bytes of each file in memory of this name."""
  found = {}
  for link in pathlib.Path(f"/proc/{process}/fd").iterdir():
    with contextlib.suppress(FileNotFoundError):  # one more, of a mapping
      if "seen-from-outside" in os.readlink(link):
        about = link.stat()
        found[about.st_ino] = about.st_blocks * 512
  return sum(found.values())


def mapped(process):
  """Returns the most bytes that a mapping of this name has in memory.

  Not their sum, as the kernel tells them one after the other: one that went and
  the one that came for it may both be told.
  """
  sizes, named = [0], False
  for line in pathlib.Path(f"/proc/{process}/smaps").read_text().splitlines():
    first = line.split()[0]
    if not first.endswith(":"):
      named = "memfd:seen-from-outside" in line
    elif named and first == "Rss:":
      sizes.append(int(line.split()[1]) * 1024)
  return max(sizes)


@pytest.mark.skipif(
  not (sys.platform == "linux" and hasattr(os, "memfd_create")),
  reason="other processes see memory by its name on Linux only",
)
def test_never_above_what_is_announced_as_seen_from_outside():
  child = subprocess.Popen(
    [sys.executable, "-c", CHILD, ram.__file__], stdout=subprocess.PIPE
  )
  bounds, levels, rest = [int(child.stdout.readline())], set(), b""
  os.set_blocking(child.stdout.fileno(), False)

  def listen():
    nonlocal rest
    *lines, rest = (rest + (child.stdout.read() or b"")).split(b"\n")
    bounds.extend(map(int, lines))

  try:
    while len(levels) < 40:
      assert child.poll() is None, "the other process failed"
      listen()
      del bounds[:-1]
      seen = max(allocated(child.pid), mapped(child.pid))
      listen()  # what it said while we looked holds as well
      assert seen <= max(bounds)
      levels.add(seen)
  finally:
    child.kill()
    child.wait()
    child.stdout.close()
  assert max(levels) > 2**20


def test_a_row_larger_than_a_piece_is_moved(monkeypatch):
  monkeypatch.setattr(ram, "_PIECE", 1)
  with ram.Ram(SMALL, 6) as memory:
    memory.append(rows([10, 11, 12, 13, 14, 15]))
    assert memory.keep([5, 1, 4]).tolist() == [0, 1, 2]
    assert memory.field("id").tolist() == [15, 11, 14]
