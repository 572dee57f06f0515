"""Accounts against a clock that the test turns."""

import dataclasses
import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from jcl import base
from jcl.cost import devices, ledger

DEVICE = devices.Device("cpu", "test", 1, 2, 1.0, 10.0, "modelled: test")


class Clock:
  """Seconds that pass only when told to."""

  def __init__(self, now: float = 100.0):
    self.now = now

  def __call__(self) -> float:
    return self.now

  def wait(self, seconds: float) -> None:
    self.now += seconds


@pytest.fixture
def clock():
  return Clock()


@pytest.fixture
def book(clock):
  return ledger.Ledger(DEVICE, clock)


def seconds(costs) -> dict[str, float]:
  return {name: cost.seconds for name, cost in costs.items() if cost.seconds}


def test_a_block_is_charged_with_its_time_work_and_modelled_energy(book, clock):
  with book.timed("train", flops=7.0, bytes=5.0) as entry:
    clock.wait(2.0)
  expected = base.Cost(seconds=2.0, joules=20.0, flops=7.0, bytes=5.0)
  assert entry.cost == expected
  assert book.totals()["train"] == expected
  assert book.total() == expected


def test_time_outside_of_blocks_is_idle_at_idle_power(book, clock):
  clock.wait(3.0)
  with book.timed("data"):
    clock.wait(1.0)
  clock.wait(4.0)
  assert seconds(book.totals()) == {"idle": 7.0, "data": 1.0}
  assert book.totals()["idle"].joules == 7.0


def test_nested_blocks_charge_the_inner_account_only(book, clock):
  with book.timed("evaluate"):
    clock.wait(1.0)
    with book.timed("compile"):
      clock.wait(2.0)
      with book.timed("data"):
        clock.wait(4.0)
    clock.wait(8.0)
  assert seconds(book.totals()) == {
    "evaluate": 9.0,
    "compile": 2.0,
    "data": 4.0,
  }


def test_an_account_may_be_nested_in_itself(book, clock):
  with book.timed("data"):
    clock.wait(1.0)
    with book.timed("data"):
      clock.wait(2.0)
  assert seconds(book.totals()) == {"data": 3.0}


def test_shares_divide_one_block(book, clock):
  with book.shared({"train": 0.75, "replay": 0.25}, 8.0, 4.0) as entry:
    clock.wait(2.0)
  assert entry.cost == base.Cost(2.0, 20.0, 8.0, 4.0)
  assert book.totals()["train"] == base.Cost(1.5, 15.0, 6.0, 3.0)
  assert book.totals()["replay"] == base.Cost(0.5, 5.0, 2.0, 1.0)


def test_a_charge_is_taken_out_of_what_is_around_it(book, clock):
  clock.wait(5.0)
  book.charge("probe", base.Cost(seconds=2.0, joules=1.0))
  with book.timed("train"):
    clock.wait(4.0)
    book.charge("data", base.Cost(seconds=1.0))
  assert seconds(book.totals()) == {
    "idle": 3.0,
    "probe": 2.0,
    "train": 3.0,
    "data": 1.0,
  }


def test_a_block_that_fails_is_charged_and_closed(book, clock):
  with pytest.raises(KeyError), book.timed("train"):
    clock.wait(1.0)
    raise KeyError
  clock.wait(2.0)
  assert seconds(book.totals()) == {"train": 1.0, "idle": 2.0}


def test_drain_returns_what_came_since_the_last_drain(book, clock):
  with book.timed("train", flops=3.0):
    clock.wait(1.0)
  assert seconds(book.drain()) == {"train": 1.0}
  clock.wait(2.0)
  with book.timed("train", flops=4.0):
    clock.wait(0.5)
  second = book.drain()
  assert seconds(second) == {"train": 0.5, "idle": 2.0}
  assert second["train"].flops == 4.0
  assert set(book.drain().values()) == {base.Cost()}
  assert tuple(second) == ledger.ACCOUNTS
  assert book.total().seconds == 3.5


def test_idle_waits_for_the_end_of_an_open_block(book, clock):
  with book.timed("checkpoint"):
    clock.wait(1.0)
    assert book.total().seconds == 0.0
  assert seconds(book.totals()) == {"checkpoint": 1.0}


def test_a_restored_ledger_goes_on_where_the_saved_one_was(book, clock):
  with book.timed("train", flops=3.0):
    clock.wait(1.0)
  book.drain()
  with book.timed("data"):
    clock.wait(0.1)
  state = json.loads(json.dumps(book.state()))
  later = Clock(9000.0)
  again = ledger.Ledger(DEVICE, later)
  later.wait(50.0)  # set-up of the new process, before it resumes
  again.restore(state)
  assert again.totals() == book.totals()
  later.wait(2.0)
  assert again.total().seconds == pytest.approx(3.1)
  assert seconds(again.drain()) == {"data": pytest.approx(0.1), "idle": 2.0}


def test_totals_cannot_be_changed_from_outside(book):
  book.totals()["train"] = base.Cost(seconds=1.0)
  assert book.totals()["train"] == base.Cost()


@pytest.mark.parametrize(
  "use",
  [
    lambda book: book.timed("trian").__enter__(),
    lambda book: book.charge("trian", base.Cost()),
  ],
)
def test_unknown_accounts_are_refused(book, use):
  with pytest.raises(ValueError, match="'trian': choose from train, replay"):
    use(book)


@pytest.mark.parametrize(
  "shares",
  [
    {"train": 0.5, "replay": 0.4},
    {"train": 1.5, "replay": -0.5},
    {"train": float("nan")},
  ],
)
def test_shares_that_do_not_divide_are_refused(book, shares):
  with pytest.raises(ValueError, match="shares from 0 up that add up to 1"):
    book.shared(shares).__enter__()


# A day of a ledger: waits, blocks (with what happens inside them), drains.
waits = st.floats(0, 100)
days = st.recursive(
  st.lists(waits | st.just("drain"), max_size=4),
  lambda inner: st.lists(
    waits | st.tuples(st.sampled_from(ledger.ACCOUNTS[:-1]), inner),
    max_size=4,
  ),
  max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(days)
def test_accounts_add_up_to_the_time_that_passed(day):
  clock = Clock(0.0)
  book = ledger.Ledger(DEVICE, clock)
  drained = []

  def live(day):
    for event in day:
      if event == "drain":
        drained.append(book.drain())
      elif isinstance(event, tuple):
        with book.timed(event[0]):
          live(event[1])
      else:
        clock.wait(event)

  live(day)
  drained.append(book.drain())
  total = book.total()
  assert total.seconds == pytest.approx(clock.now, abs=1e-9)
  parts = sum(
    (sum(part.values(), base.Cost()) for part in drained), base.Cost()
  )
  assert dataclasses.astuple(parts) == pytest.approx(
    dataclasses.astuple(total), abs=1e-9
  )
  assert min(cost.seconds for cost in book.totals().values()) >= 0
