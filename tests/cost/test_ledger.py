"""Accounts against a clock that the test turns."""

import contextlib
import dataclasses
import json
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import signatures

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


def test_what_is_pending_stays_to_be_drained(book, clock):
  with book.timed("write"):
    clock.wait(1.0)
  assert seconds(book.pending()) == seconds(book.pending()) == {"write": 1.0}
  clock.wait(0.5)
  assert seconds(book.drain()) == {"write": 1.0, "idle": 0.5}
  assert seconds(book.pending()) == {}


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


@settings(max_examples=40)
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


class Reading(NamedTuple):
  joules: float
  missing: float


class Meter:
  """Counts `watts` on the test's clock, and nothing while it is silent."""

  def __init__(self, clock, source="measured: hand"):
    self.clock, self.source = clock, source
    self.watts, self.silent, self.running = 100.0, False, False
    clock.wait = self.wait  # so that its count turns with the clock

  def start(self):
    assert not self.running
    self.joules = self.missing = 0.0
    self.running = True

  def wait(self, seconds: float) -> None:
    self.clock.now += seconds
    if self.running and self.silent:
      self.missing += seconds
    elif self.running:
      self.joules += self.watts * seconds

  def read(self):
    assert self.running
    return Reading(self.joules, self.missing)

  def stop(self):
    self.running = False


@pytest.fixture
def meter(clock):
  return Meter(clock)


@pytest.fixture
def measured(clock, meter):
  """A ledger with a meter that runs."""
  book = ledger.Ledger(DEVICE, clock, meter)
  with book.metered():
    yield book


def joules(costs) -> dict[str, float]:
  return {name: cost.joules for name, cost in costs.items() if cost.joules}


def test_a_block_is_charged_with_what_the_meter_counted(measured, clock, meter):
  clock.wait(1.0)
  meter.watts = 50.0
  with measured.timed("train", flops=7.0) as entry:
    clock.wait(2.0)
  meter.watts = 10.0
  clock.wait(3.0)
  assert entry.cost == base.Cost(seconds=2.0, joules=100.0, flops=7.0)
  assert joules(measured.totals()) == {"idle": 130.0, "train": 100.0}
  assert measured.source == "measured (hand)"


def test_measured_joules_of_nested_blocks_are_divided(measured, clock, meter):
  with measured.timed("evaluate"):
    clock.wait(1.0)
    meter.watts = 10.0
    with measured.timed("compile"):
      clock.wait(2.0)
      meter.watts = 1.0
      with measured.shared({"train": 0.25, "replay": 0.75}):
        clock.wait(4.0)
    clock.wait(8.0)
  assert joules(measured.totals()) == {
    "evaluate": 108.0,
    "compile": 20.0,
    "train": 1.0,
    "replay": 3.0,
  }


def test_a_charge_takes_its_joules_out_of_what_is_around_it(measured, clock):
  clock.wait(5.0)
  measured.charge("probe", base.Cost(seconds=2.0, joules=50.0))
  with measured.timed("train"):
    clock.wait(4.0)
    measured.charge("data", base.Cost(seconds=1.0, joules=70.0))
  expected = {"idle": 450.0, "probe": 50.0, "train": 330.0, "data": 70.0}
  assert joules(measured.totals()) == expected
  assert measured.total().seconds == 9.0


def test_what_the_meter_missed_is_modelled_and_said(measured, clock, meter):
  with measured.timed("train"):
    clock.wait(1.0)
    assert measured.source == "measured (hand)"
    meter.silent = True
    clock.wait(2.0)  # at 10 W busy
    with measured.timed("compile"):
      clock.wait(3.0)
      meter.silent = False
      clock.wait(1.0)
    clock.wait(1.0)
  meter.silent = True
  clock.wait(4.0)  # at 1 W idle
  assert joules(measured.totals()) == {
    "train": 200.0 + 20.0,
    "compile": 100.0 + 30.0,
    "idle": 4.0,
  }
  assert measured.total().seconds == 12.0
  assert measured.source == "partly measured (hand)"


def test_a_meter_counts_between_start_and_stop_only(clock, meter):
  book = ledger.Ledger(DEVICE, clock, meter)
  assert book.source == "measured (hand)"  # what is to be expected
  clock.wait(7.0)  # set-up, not charged
  with book.metered():
    clock.wait(1.0)
  assert not meter.running
  assert book.source == "measured (hand)"
  with book.timed("train"):
    clock.wait(2.0)
  assert joules(book.totals()) == {"idle": 100.0, "train": 20.0}
  assert book.source == "partly measured (hand)"
  with book.metered():
    clock.wait(1.0)
  assert joules(book.totals()) == {"idle": 200.0, "train": 20.0}


def test_a_meter_stops_on_errors(clock, meter):
  book = ledger.Ledger(DEVICE, clock, meter)
  with pytest.raises(KeyError), book.metered(), book.timed("train"):
    clock.wait(1.0)
    raise KeyError
  assert not meter.running
  assert joules(book.totals()) == {"train": 100.0}


def test_a_meter_starts_outside_of_blocks(clock, meter):
  book = ledger.Ledger(DEVICE, clock, meter)
  with (
    pytest.raises(ValueError, match="around all of them"),
    book.timed("train"),
    book.metered(),
  ):
    pass
  assert not meter.running


def test_a_block_that_outlives_its_meter_is_modelled(clock, meter):
  book = ledger.Ledger(DEVICE, clock, meter)
  with contextlib.ExitStack() as stack:
    with book.metered():
      stack.enter_context(book.timed("train"))
      clock.wait(1.0)
    clock.wait(1.0)
  assert joules(book.totals()) == {"train": 20.0}


def test_a_meter_that_models_is_left_aside(clock):
  book = ledger.Ledger(DEVICE, clock, Meter(clock, "modelled: by hand"))
  with book.metered():
    clock.wait(1.0)
  assert joules(book.totals()) == {"idle": 1.0}
  assert book.source == "modelled (test)"


def resumed(state, meter_name: str | None, device=DEVICE):
  """Returns a ledger that took up a state and then idled for a second."""
  clock = Clock()
  meter = meter_name and Meter(clock, f"measured: {meter_name}")
  book = ledger.Ledger(device, clock, meter)
  with book.metered():
    book.restore(json.loads(json.dumps(state)))
    clock.wait(1.0)
    return book, book.state()


@pytest.mark.parametrize(
  "meters, source, watts",
  [
    ([None], "modelled (test)", 1.0),
    ([None, None], "modelled (test)", 2.0),
    (["a"], "measured (a)", 100.0),
    (["a", "a"], "measured (a)", 200.0),
    (["b", "a", "b"], "measured (b; a)", 300.0),
    (["a", None], "partly measured (a)", 101.0),
    ([None, "a", "b"], "partly measured (a; b)", 201.0),
  ],
)
def test_the_source_of_a_whole_run_outlives_stops(meters, source, watts):
  state = ledger.Ledger(DEVICE, Clock()).state()
  for name in meters:
    book, state = resumed(state, name)
  assert book.source == source
  assert sum(joules(book.totals()).values()) == watts


def test_devices_that_took_turns_are_all_named():
  _, state = resumed(ledger.Ledger(DEVICE, Clock()).state(), None)
  other = dataclasses.replace(DEVICE, source="modelled: 3 W (a guess)")
  assert resumed(state, None, other)[0].source == (
    "modelled (test; 3 W (a guess))"
  )


def test_states_that_name_no_source_were_modelled(book, clock):
  clock.wait(1.0)
  state = book.state()
  del state["sources"]
  assert resumed(state, "a")[0].source == "partly measured (a)"
  assert resumed(state, None)[0].source == "modelled (test)"


# Stretches of a run: seconds, watts, whether the meter is silent.
stretches = st.tuples(st.floats(0, 100), st.floats(0, 1000), st.booleans())
metered_days = st.recursive(
  st.lists(stretches, max_size=4),
  lambda inner: st.lists(stretches | inner, max_size=4),
  max_leaves=8,
)


@settings(max_examples=40)
@given(metered_days)
def test_accounts_add_up_to_what_was_measured(day):
  clock = Clock(0.0)
  meter = Meter(clock)
  book = ledger.Ledger(DEVICE, clock, meter)
  accounts = iter(ledger.ACCOUNTS[:-1] * 100)

  def live(day):
    for event in day:
      if isinstance(event, list):
        with book.timed(next(accounts)):
          live(event)
      else:
        seconds, meter.watts, meter.silent = event
        clock.wait(seconds)

  with book.metered():
    live(day)
    total = book.total()
  low, high = meter.missing * 1.0, meter.missing * 10.0  # idle or busy
  assert total.seconds == pytest.approx(clock.now, abs=1e-9)
  assert total.joules >= meter.joules + low - 1e-6
  assert total.joules <= meter.joules + high + 1e-6
  # Less than the clock can tell may be lost.
  if meter.missing > 1e-9:
    assert book.source == "partly measured (hand)"
  if not meter.missing:
    assert book.source == "measured (hand)"


def test_a_charge_of_more_than_passed_leaves_nothing_to_idle(book, clock):
  clock.wait(1.0)
  book.charge("probe", base.Cost(seconds=3.0, joules=5.0))
  assert book.totals()["idle"] == base.Cost()
  assert book.total() == base.Cost(seconds=3.0, joules=5.0)


def test_a_charge_of_more_joules_than_counted_leaves_none(measured, clock):
  clock.wait(1.0)  # 100 J
  measured.charge("probe", base.Cost(joules=300.0))
  assert measured.totals()["idle"] == base.Cost(seconds=1.0)


def test_a_share_may_be_nothing(book, clock):
  with book.shared({"train": 1.0, "replay": 0.0}):
    clock.wait(2.0)
  assert seconds(book.totals()) == {"train": 2.0}


def test_a_source_without_a_kind_is_named_whole(clock):
  device = dataclasses.replace(DEVICE, source="by hand")
  assert ledger.Ledger(device, clock).source == "modelled (by hand)"


def test_no_work_is_done_but_what_is_told(book, clock):
  with book.timed("train") as timed:
    clock.wait(1.0)
  with book.timed("data", bytes=3.0) as read:
    pass
  with book.shared({"probe": 1.0}) as shared:
    pass
  assert timed.cost == base.Cost(seconds=1.0, joules=10.0)
  assert (read.cost, shared.cost) == (base.Cost(bytes=3.0), base.Cost())
  assert book.total() == base.Cost(1.0, 10.0, 0.0, 3.0)


def test_a_charge_belongs_to_the_innermost_block(measured, clock):
  with measured.timed("train"):
    clock.wait(1.0)
    with measured.timed("replay"):
      clock.wait(4.0)
      measured.charge("data", base.Cost(seconds=3.0, joules=50.0))
  assert seconds(measured.totals()) == {
    "train": 1.0,
    "replay": 1.0,
    "data": 3.0,
  }
  assert joules(measured.totals()) == {
    "train": 100.0,
    "replay": 350.0,
    "data": 50.0,
  }


def test_a_meter_may_find_that_it_missed_less(measured, clock, meter):
  meter.silent = True
  clock.wait(2.0)
  meter.silent = False
  with measured.timed("train") as entry:
    clock.wait(1.0)
    meter.missing -= 0.5
  assert entry.cost == base.Cost(seconds=1.0, joules=100.0)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(ledger.Ledger.timed) == {
    "flops": 0.0,
    "bytes": 0.0,
  }
  assert signatures.defaults(ledger.Ledger.shared) == {
    "flops": 0.0,
    "bytes": 0.0,
  }
