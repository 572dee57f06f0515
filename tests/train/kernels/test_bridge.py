"""The table of plans, and the code that looks plans up and runs them."""

import ctypes

import numpy as np
import pytest

from jcl.train.kernels import bridge, onednn


def plan(*values, is_shared=True):
  """Returns a plan of one primitive per value, with one argument each."""
  steps = [
    onednn.Step(value, (onednn.Argument(1, 2, 3, value + 4),))
    for value in values
  ]
  return onednn.Plan(is_shared, tuple(steps), 5)


def read(address, count):
  return list((ctypes.c_int64 * count).from_address(int(address)))


def test_a_plan_in_words():
  assert list(onednn.words(plan(7))) == [1, 1, 7, 1, 1, 2, 3, 11]
  assert list(onednn.words(plan(7, 8, is_shared=False))) == [
    *(0, 2),
    *(7, 1, 1, 2, 3, 11),
    *(8, 1, 1, 2, 3, 12),
  ]


def test_numbers_that_fall_into_one_slot():
  plans = bridge.Plans()
  slots = 2**16
  assert plans.table.shape == (slots, 2) and plans.table.dtype == np.int64
  assert not plans.table.any()
  for number in (slots - 1, 2 * slots - 1, 3, 3 * slots - 1, slots + 3):
    plans.add(number, plan(number))
  taken = {slots - 1: slots - 1, 0: 2 * slots - 1, 1: 3 * slots - 1}
  taken |= {3: 3, 4: slots + 3}
  assert sorted(taken) == np.flatnonzero(plans.table[:, 0]).tolist()
  assert sorted(taken) == np.flatnonzero(plans.table[:, 1]).tolist()
  for slot, number in taken.items():
    assert plans.table[slot, 0] == number
    words = read(plans.table[slot, 1], 8)
    assert words == [1, 1, number, 1, 1, 2, 3, number + 4]


def test_the_first_plan_of_a_number_stays():
  plans = bridge.Plans()
  plans.add(5, plan(1))
  before = plans.table.copy()
  plans.add(5, plan(2))
  np.testing.assert_array_equal(plans.table, before)
  assert np.count_nonzero(before) == 2


def test_as_many_plans_as_half_the_slots(monkeypatch):
  monkeypatch.setattr(bridge, "_SLOTS", 8)
  plans = bridge.Plans()
  for number in range(1, 6):
    plans.add(number, plan(number))
  with pytest.raises(MemoryError, match="more than 4 shapes"):
    plans.add(6, plan(6))
  plans.add(5, plan(5))  # known


@pytest.fixture(scope="module")
def handler():
  pytest.importorskip("numba")
  from jcl.train.kernels import handler

  return handler


def test_plans_are_found_by_number(handler):
  table = np.array([[11, 101], [15, 102], [0, 0], [7, 103]], np.int64)
  given = np.zeros(len(handler._FIELDS), np.int64)
  given[:2] = table.ctypes.data, len(table)
  found = [handler._find(given, number) for number in (7, 11, 15, 19, 2)]
  assert found == [103, 101, 102, 0, 0]


class Fake:
  """Functions and records that stand in for those of XLA and oneDNN."""

  def __init__(self, plans, failing=(), high=1 << 32):
    self.log, self.kept = [], []
    self.failing, self.high = failing, high
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)

    def function(name, count):
      def call(*args):
        return self.call(name, args[:count])

      self.kept.append(kind(call))
      return ctypes.cast(self.kept[-1], ctypes.c_void_p).value

    self.make_error = function("error", 1)
    self.fields = {
      "table": self.at(plans.table.ravel()),
      "slots": len(plans.table),
      "version": 77,
      "message": 1234,
      "turn": 21,
      "engine": 22,
      "stream": 23,
      "create": function("create", 4),
      "destroy": function("destroy", 1),
      "execute": function("execute", 4),
      "lock": function("lock", 1),
      "unlock": function("unlock", 1),
    }

  def at(self, values):
    """Keeps some words in memory and returns their address."""
    self.kept.append(np.ascontiguousarray(values, np.int64))
    return self.kept[-1].ctypes.data

  def words(self, size, **places):
    found = np.full(size, -1)
    for place, value in places.items():
      found[int(place[1:])] = value
    return self.at(found)

  def call(self, name, args):
    if name == "create":
      place, *args = args
      handle = 500 + sum(each[0] == "create" for each in self.log)
      ctypes.c_int64.from_address(place).value = handle
    elif name == "execute":
      args = (*args[:3], *read(args[3], 2 * args[2]))
    elif name == "error":
      args = read(args[0], 4)
    self.log.append((name, *args))
    if name == "error":
      return 4321
    # Functions return four bytes; what lies above them means nothing.
    return self.high | (name in self.failing)

  def frame(self, number, extension=0):
    buffers = [self.words(4, _3=address) for address in (1000, 2000)]
    results = [self.words(4, _3=address) for address in (3000, 4000)]
    scalar = self.words(2, _1=self.at([number]))
    return self.words(
      21,
      _1=extension,
      _2=self.words(7, _6=self.make_error),
      _9=self.at(buffers),
      _14=self.at(results),
      _20=self.at([scalar]),
    )


@pytest.fixture(scope="module")
def handle(handler):
  compiled = handler._compiled(handler._handle)

  def run(fake, *frame):
    given = fake.at([fake.fields[name] for name in handler._FIELDS])
    return compiled(given, fake.frame(*frame))

  return run


@pytest.fixture
def plans():
  argument = onednn.Argument
  first = onednn.Step(
    31, (argument(1, 41, onednn.RIGHT, 8), argument(2, 42, onednn.OUT, 0))
  )
  second = onednn.Step(32, (argument(3, 43, onednn.SCRATCH, 64),))
  made = bridge.Plans()
  made.add(5, onednn.Plan(True, (first, second), 0))
  made.add(6, onednn.Plan(False, (second,), 0))
  return made


FIRST = [
  ("create", 41, 22, 2008),
  ("create", 42, 22, 3000),
  ("execute", 31, 23, 2, 1, 500, 2, 501),
  ("destroy", 500),
  ("destroy", 501),
]
ERROR = ("error", 32, 0, 1234, 13)


def test_a_shared_plan_runs_its_steps_while_it_holds_the_lock(handle, plans):
  fake = Fake(plans)
  assert handle(fake, 5) == 0
  assert fake.log == [
    ("lock", 21),
    *FIRST,
    ("create", 43, 22, 4064),
    ("execute", 32, 23, 1, 3, 502),
    ("destroy", 502),
    ("unlock", 21),
  ]


def test_a_plan_of_one_thread_takes_no_lock(handle, plans):
  fake = Fake(plans)
  assert handle(fake, 6) == 0
  assert fake.log == [
    ("create", 43, 22, 4064),
    ("execute", 32, 23, 1, 3, 500),
    ("destroy", 500),
  ]


def test_what_fails_is_an_error_and_the_lock_is_free_again(handle, plans):
  fake = Fake(plans, ["execute"])
  assert handle(fake, 5) == 4321
  assert fake.log == [
    ("lock", 21),
    *FIRST,
    # With one status set, nothing more is executed.
    ("create", 43, 22, 4064),
    ("destroy", 502),
    ("unlock", 21),
    ERROR,
  ]
  fake = Fake(plans, ["create"])
  assert handle(fake, 6) == 4321
  assert fake.log == [("create", 43, 22, 4064), ("destroy", 500), ERROR]


def test_a_number_without_a_plan_is_an_error(handle, plans):
  fake = Fake(plans)
  assert handle(fake, 7) == 4321
  assert fake.log == [ERROR]


def test_xla_asks_for_the_version(handle, plans):
  fake = Fake(plans)
  metadata = fake.at([0] * 5)
  extension = fake.words(4, _3=metadata)
  assert handle(fake, 5, extension) == 0
  assert fake.log == [] and read(metadata, 5) == [0, 0, 0, 77, 0]


def test_the_version_is_two_numbers_in_a_word(handler, tmp_path, monkeypatch):
  folder = tmp_path / "include/xla/ffi/api"
  folder.mkdir(parents=True)
  (folder / "c_api.h").write_text(
    "#define XLA_FFI_API_MAJOR 3\n#define XLA_FFI_API_MINOR 12\n"
  )
  monkeypatch.setattr(handler.jaxlib, "__file__", str(tmp_path / "x.py"))
  assert handler._version() == 3 + (12 << 32)


def test_a_process_has_one_table_of_plans():
  assert hasattr(bridge.plans, "cache_info")
