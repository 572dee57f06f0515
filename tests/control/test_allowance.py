"""Budgets of learners that do not know how many experiences there will be."""

import dataclasses
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

import jcl
from jcl import base
from jcl.control import allowance, fixed, limits
from jcl.control.together import together

DAY = 86_400.0
MONDAY = 1_772_409_600.0  # 2026-03-02 00:00 UTC, by `date -u`
LENGTHS = {"hour": 3600.0, "day": DAY, "week": 7 * DAY}


class Clock:
  """Shows the time that a test sets."""

  def __init__(self, now=MONDAY):
    self.now = now

  def __call__(self):
    return self.now


def seen(moment="dispatch", decision=None, spent=0.0, **more):
  """What a controller sees of a learner that has spent some joules."""
  cost = spent if isinstance(spent, base.Cost) else base.Cost(joules=spent)
  return base.Observation(
    more.pop("experience", 0),
    1,
    10,
    cost,
    moment=moment,
    decision=decision,
    **more,
  )


class Asked:
  """A controller whose state goes through JSON, as in a checkpoint."""

  def __init__(self, controller):
    self.controller, self.state = controller, controller.init()
    self.decision = None

  def __call__(self, moment="dispatch", spent=0.0, **more):
    state = json.loads(json.dumps(self.state))
    given = seen(moment, self.decision, spent, **more)
    self.decision, self.state = self.controller.decide(state, given)
    return self.decision


def asked(clock=None, epochs=3, **budget):
  made = jcl.Budget(**budget)
  return Asked(allowance.controller(epochs, made, clock or Clock()))


# The budget itself.


def test_a_budget_goes_through_json():
  budget = jcl.Budget(
    joules=2_000, seconds=0.5, flops=1e12, bytes=10**12, per="day", ram="64MiB"
  )
  fields = json.loads(json.dumps(dataclasses.asdict(budget), allow_nan=False))
  assert jcl.Budget(**fields) == budget
  assert budget.amounts == {
    "seconds": 0.5,
    "joules": 2_000,
    "flops": 1e12,
    "bytes": 10**12,
  }
  plain = jcl.Budget(**dataclasses.asdict(jcl.Budget()))
  assert plain == jcl.Budget() and plain.amounts == {}
  assert (plain.per, plain.ram) == ("experience", None)
  with pytest.raises(dataclasses.FrozenInstanceError):
    budget.joules = 1
  scalar = jcl.Budget(joules=np.float32(0.5))
  assert json.dumps(scalar.joules) == "0.5"


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"joules": 0}, "budget: joules=0: give a number above 0"),
    ({"seconds": -1.5}, "budget: seconds=-1.5: give a number above 0"),
    ({"flops": math.inf}, "budget: flops=inf: give a number above 0"),
    ({"bytes": math.nan}, "budget: bytes=nan: give a number above 0"),
    ({"joules": "20"}, "budget: joules='20': give a number above 0"),
    ({"joules": True}, "budget: joules=True: give a number above 0"),
    (
      {"per": "month"},
      "per='month': give one of experience, hour, day, week, total, such as "
      "per=experience",
    ),
    ({"per": None}, "budget: per=None: give one of"),
    ({"ram": "64"}, "ram='64': give a number of bytes from 1, or bytes with"),
    ({"ram": "64XB"}, "budget: ram='64XB': give a number of bytes"),
    ({"ram": 0}, "budget: ram=0: give a number of bytes from 1"),
    ({"ram": "0.1B"}, "budget: ram='0.1B': give a number of bytes from 1"),
    ({"ram": 1.5}, "budget: ram=1.5: give a number of bytes"),
    ({"ram": math.inf}, "budget: ram=inf: give a number of bytes"),
  ],
)
def test_what_is_no_budget_is_refused(given, message):
  with pytest.raises(jcl.UsageError) as told:
    jcl.Budget(**given)
  assert message in str(told.value)


@pytest.mark.parametrize(
  ("ram", "room"),
  [
    (None, math.inf),
    ("64MiB", 64 * 2**20),
    ("2 kB", 2000),
    (1, 1),
    (2**40, 2**40),  # more than there are rows of an array
  ],
)
def test_room_in_bytes(ram, room):
  budget = jcl.Budget(ram=ram)
  assert allowance.room(budget) == room
  if ram is not None:
    allowance.check(budget, room, "the head")
    with pytest.raises(jcl.UsageError, match="^the head needs"):
      allowance.check(budget, room + 1, "the head")
  else:
    allowance.check(budget, 1e30, "the head")


def test_what_needs_too_much_says_how_much():
  with pytest.raises(jcl.UsageError) as told:
    allowance.check(jcl.Budget(ram="2kB"), 3000.5, "a head of 64 classes")
  assert str(told.value) == (
    "a head of 64 classes needs 3,000 bytes at once, and the budget of ram=2kB "
    "allows 2,000: give ram=3001 or more, or ask for less"
  )


# Whichever it is per.


def test_no_amount_is_no_limit():
  for per in ("experience", "day", "total"):
    made = allowance.controller(2, jcl.Budget(per=per, ram=100), rho=0.5)
    decision, _ = made.decide(made.init(), seen("experience"))
    assert decision == fixed.fixed(2, 0.5).decide((), None)[0]


@pytest.mark.parametrize("per", ["experience", "hour", "total"])
def test_effort_is_as_given_and_checked(per):
  budget = jcl.Budget(joules=1.0, per=per)
  made = allowance.controller(2, budget, Clock(), rho=0.5)
  decision, _ = made.decide(made.init(), seen("experience"))
  assert decision.allocation == base.Allocation(2, rho=0.5)
  assert made.moments == ("experience", "dispatch")
  with pytest.raises(jcl.UsageError, match="epochs=-1"):
    allowance.controller(-1, budget, Clock())
  with pytest.raises(jcl.UsageError, match="budget of 1.5 is no share"):
    allowance.controller(1, budget, Clock(), rho=1.5)


@pytest.mark.parametrize("per", ["experience", "hour", "total"])
def test_knobs_that_others_turned_are_left_alone(per):
  ask = asked(joules=4.0, per=per)
  ask("experience")
  ask.decision = ask.decision.changed(em=7, sb=9, epochs=2)
  assert ask(spent=1.0).allocation == base.Allocation(2, em=7, sb=9)
  # Of the experience before, nothing stays.
  assert ask("experience", spent=2.0).allocation == base.Allocation(3)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(allowance.controller) == {"rho": 1.0}


# Per experience.


def test_every_experience_gets_the_same():
  ask = asked(joules=50, flops=2e9)
  decision = ask("experience", spent=1e9)
  assert decision.limit == dataclasses.replace(
    base.UNLIMITED, joules=50, flops=2e9
  )
  assert decision.counts == limits.LEARNING
  assert decision.reason == "at most 50 J and 2 GFLOP for every experience"
  assert not decision.wait and decision.reserved == base.Cost()
  assert ask(spent=2e9) == decision  # however much the learner spends


def test_passes_behind_the_updates_are_priced_first():
  calls = []

  def closing():
    calls.append(None)
    return base.Cost(seconds=9.0, flops=20.0, bytes=7.0)

  ask = asked(flops=100, seconds=5)
  decision = ask("experience", closing=closing)
  assert decision.reserved == base.Cost(flops=20.0)
  assert decision.reason == (
    "at most 5 s and 100 FLOP for every experience, 20 FLOP of it for passes "
    "behind the updates"
  )
  assert ask(closing=closing) == decision and len(calls) == 1
  both = asked(flops=100, bytes=50)("experience", closing=closing)
  assert both.reserved == base.Cost(flops=20.0, bytes=7.0)
  # What only running tells is not asked for.
  asked(joules=100, seconds=5)("experience", closing=closing)
  assert len(calls) == 2


# In total.


def test_an_experience_takes_half_of_what_is_left_at_most():
  ask = asked(joules=600, per="total")
  first = ask("experience")
  assert first.limit == dataclasses.replace(base.UNLIMITED, joules=300)
  assert first.reason == (
    "600 of 600 J left until further notice: at most half of it, 300 J"
  )
  assert first.counts == limits.LEARNING and not first.wait
  assert ask(spent=250.0) == first  # of this experience
  second = ask("experience", spent=300.0)
  assert second.limit.joules == 150
  assert ask("experience", spent=599.0).limit.joules == 0.5
  nothing = ask("experience", spent=601.0)
  assert nothing.wait and nothing.limit.joules == 0
  assert nothing.reason == (
    "0 of 600 J left until further notice: waits for a larger budget"
  )
  assert ask("experience", spent=600.0).wait
  assert not ask("experience", spent=599.9).wait


def test_the_scarcest_amount_counts():
  ask = asked(joules=10, seconds=100, per="total")
  decision = ask("experience", spent=base.Cost(seconds=60.0, joules=10.0))
  assert decision.wait
  assert decision.reason.startswith(
    "40 of 100 s and 0 of 10 J left until further notice"
  )


def test_a_budget_that_is_raised_ends_the_waiting():
  ask = asked(joules=10, per="total")
  assert ask("experience", spent=10.0).wait and ask(spent=10.0).wait
  budget = jcl.Budget(joules=30, per="total")
  ask.controller = allowance.controller(3, budget, Clock())
  assert not ask(spent=10.0).wait and ask.decision.limit.joules == 10


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_halves_never_add_up_to_more_than_the_whole(shares):
  ask, spent = asked(joules=8.0, per="total"), 0.0
  for share in shares:
    limit = ask("experience", spent=spent).limit.joules
    assert ask.decision.wait or limit > 0
    spent += share * limit
  assert spent <= 8.0


# Per window.


def test_an_experience_goes_on_in_the_next_window():
  clock = Clock(MONDAY + 5 * 3600)
  ask = asked(clock, joules=2000, per="day")
  begun = ask("experience", spent=70.0)
  assert begun == base.Decision(
    3, reason="2,000 of 2,000 J left of the day until 2026-03-03 00:00 UTC"
  )
  clock.now += 3600
  going = ask(
    spent=1270.0, used=base.Cost(joules=900.0), updates=30, planned=200
  )
  assert not going.wait and going.limit == base.UNLIMITED
  assert going.reason == (
    "800 of 2,000 J left of the day until 2026-03-03 00:00 UTC; 30 of the "
    "experience's 200 updates are made, and all of them take 3 times the "
    "budget of one day"
  )
  waiting = ask(spent=2070.0)
  assert waiting.wait and waiting.limit == base.UNLIMITED
  assert waiting.reason == (
    "0 of 2,000 J left of the day: waits until 2026-03-03 00:00 UTC"
  )
  clock.now = MONDAY + DAY - 1
  assert ask(spent=2070.0).wait
  clock.now = MONDAY + DAY
  assert not ask(spent=2070.0).wait
  assert ask.decision.reason == (
    "2,000 of 2,000 J left of the day until 2026-03-04 00:00 UTC"
  )


def test_an_experience_may_begin_where_nothing_is_left():
  ask = asked(joules=5, per="hour")
  ask("experience")
  assert ask("experience", spent=5.0).wait and ask(spent=5.0).wait
  assert not ask("experience", spent=4.99).wait


@pytest.mark.parametrize(
  ("per", "now", "end"),
  [
    ("hour", MONDAY, MONDAY + 3600),
    ("hour", MONDAY - 1, MONDAY),
    ("day", MONDAY + 1, MONDAY + DAY),
    ("day", MONDAY + DAY, MONDAY + 2 * DAY),
    ("week", MONDAY, MONDAY + 7 * DAY),
    ("week", MONDAY - 1, MONDAY),
    ("week", MONDAY + 6.9 * DAY, MONDAY + 7 * DAY),
    ("week", 0.0, 4 * DAY),  # 1970 began on a Thursday
    ("day", -1.0, 0.0),
  ],
)
def test_windows_end_by_the_calendar(per, now, end):
  clock = Clock(now)
  ask = asked(clock, joules=1, per=per)
  ask("experience")
  clock.now = end - 0.5
  assert ask(spent=1.0).wait
  clock.now = end
  assert not ask(spent=1.0).wait


def test_what_is_left_of_a_window_is_not_carried_over():
  clock = Clock()
  ask = asked(clock, joules=10, per="day")
  ask("experience")
  clock.now += 5 * DAY
  assert not ask(spent=4.0).wait  # the learner slept for four windows
  assert not ask(spent=13.9).wait and ask(spent=14.0).wait


def test_waiting_is_not_spending():
  recorded = {"idle": base.Cost(joules=40.0), "train": base.Cost(joules=9.0)}
  ask = asked(joules=10, per="day")
  ask("experience", spent=49.0, recorded=recorded)
  for idle, spent, waits in ((100.0, 9.0, False), (100.0, 10.0, True)):
    pending = {"idle": base.Cost(joules=idle), "data": base.Cost(joules=spent)}
    total = 49.0 + idle + spent
    ask(spent=total, recorded=recorded, pending=pending)
    assert ask.decision.wait is waits


def test_every_amount_of_a_window_counts():
  ask = asked(seconds=10, joules=100, per="hour")
  ask("experience")
  decision = ask(
    spent=base.Cost(seconds=10.0, joules=20.0),
    used=base.Cost(seconds=5.0, joules=10.0),
    updates=1,
    planned=4,
  )
  assert decision.wait
  assert decision.reason == (
    "0 of 10 s and 80 of 100 J left of the hour: waits until 2026-03-02 01:00 "
    "UTC; 1 of the experience's 4 updates are made, and all of them take 2 "
    "times the budget of one hour"
  )


def test_a_budget_may_become_another_kind_while_training_waits():
  clock = Clock()
  ask = asked(clock, joules=5, per="week")
  ask("experience")
  assert ask(spent=5.0).wait
  budgets = {
    per: jcl.Budget(joules=5, per=per)
    for per in ("hour", "experience", "total", "day")
  }
  made = {
    per: allowance.controller(3, budget, clock)
    for per, budget in budgets.items()
  }
  ask.controller = made["hour"]
  assert ask(spent=5.0).wait
  clock.now += 2 * 3600  # not a week
  assert not ask(spent=5.0).wait
  ask.controller = made["experience"]
  assert ask(spent=9.0).limit.joules == 5 and ask.decision.counts
  ask.controller = made["total"]
  assert ask(spent=4.0).limit.joules == 0.5
  ask.controller = made["day"]
  assert ask(spent=9.9).limit == base.UNLIMITED and not ask.decision.counts
  ask.state = []  # of a learner without a budget, from JSON
  assert not ask(spent=50.0).wait and ask(spent=55.0).wait


# The clock.


def test_a_clock_that_steps_back_gives_nothing_anew():
  clock = Clock(MONDAY + 3600)
  ask = asked(clock, joules=10, per="day")
  ask("experience")
  clock.now -= 3 * DAY
  assert not ask(spent=9.0).wait and ask(spent=10.0).wait
  assert ask.decision.reason.endswith("waits until 2026-03-01 00:00 UTC")
  clock.now += DAY  # into the next day, which is none of its own
  assert ask(spent=10.0).wait
  clock.now += DAY - 3601
  assert ask(spent=10.0).wait
  clock.now += 1
  assert not ask(spent=10.0).wait and ask(spent=20.0).wait


def test_a_clock_set_by_seconds_at_the_end_of_a_day_gives_one_day():
  clock = Clock(MONDAY - 1)
  ask = asked(clock, joules=10, per="day")
  ask("experience")
  clock.now = MONDAY + 1
  assert not ask(spent=10.0).wait
  for now in (MONDAY - 1, MONDAY, MONDAY - 2, MONDAY + 1):
    clock.now = now
    assert ask(spent=20.0).wait
  clock.now = MONDAY + DAY - 1
  assert ask(spent=20.0).wait
  clock.now = MONDAY + DAY
  assert not ask(spent=20.0).wait


def test_a_clock_that_was_a_year_ahead_blocks_for_two_windows_at_most():
  clock = Clock()
  ask = asked(clock, joules=10, per="day")
  ask("experience")
  clock.now += 365 * DAY
  assert (
    not ask(spent=10.0).wait and ask(spent=20.0).wait
  )  # one window, not 365
  clock.now -= 365 * DAY - 60
  assert ask(spent=20.0).wait
  clock.now = MONDAY + 2 * DAY - 1
  assert ask(spent=20.0).wait
  clock.now += 1
  assert not ask(spent=20.0).wait


def test_a_clock_beyond_the_calendar_is_told_in_seconds():
  ask = asked(Clock(1e15), joules=1, per="hour")
  assert ask("experience").reason.endswith(
    "of the hour until 1000000000000800 s"
  )


@settings(max_examples=200)
@given(
  st.sampled_from(sorted(LENGTHS)),
  st.lists(
    st.tuples(st.floats(0, 2), st.floats(0.01, 3)), min_size=1, max_size=60
  ),
)
def test_a_window_takes_its_amount_and_one_dispatch_at_most(per, steps):
  """Steps are (windows that pass, cost of the dispatch behind that)."""
  length, clock = LENGTHS[per], Clock()
  ask = asked(clock, joules=1.0, per=per)
  ask("experience")
  spent, windows = 0.0, {}
  for passed, cost in steps:
    clock.now += passed * length
    window = math.floor((clock.now - MONDAY) / length)
    if ask(spent=spent).wait:
      assert sum(windows[window]) >= 1 - 1e-9  # nothing is held back
      continue
    windows.setdefault(window, []).append(cost)
    spent += cost
  for costs in windows.values():
    assert sum(costs[:-1]) < 1 + 1e-9


@settings(max_examples=200)
@given(
  st.lists(
    st.tuples(
      st.one_of(st.floats(-2, 2), st.sampled_from([-400.0, 400.0])),
      st.floats(0.01, 0.5),
    ),
    min_size=1,
    max_size=80,
  )
)
def test_clocks_that_go_anyhow_give_a_window_for_each_that_they_go_on(steps):
  """Steps are (windows that the clock moves, cost of the dispatch then)."""
  clock = Clock()
  ask = asked(clock, joules=1.0, per="day")
  ask("experience")
  spent = onward = 0.0
  for moved, cost in steps:
    clock.now += moved * DAY
    # A jump begins one window, however far it goes, and ends anywhere in it.
    onward += min(max(moved, 0.0), 2.0)
    if not ask(spent=spent).wait:
      spent += cost
    assert 0 < ask.state["until"] - clock.now <= 2 * DAY
    assert spent <= 1.5 * (2 + onward)
  clock.now += 2 * DAY
  assert not ask(spent=spent).wait  # never for good


# Among other controllers.


def test_others_decide_about_an_experience_that_begins_without_a_budget():
  """The sizes of a memory are theirs, and as they would be without a pause."""

  def sized(state, observed):
    given = observed.decision.changed(em=4)
    return dataclasses.replace(given, wait=False), [*state, observed.moment]

  clock = Clock()
  budget = jcl.Budget(joules=1, per="hour")
  sizes = base.Controller(list, sized, ("experience", "dispatch"))
  ask = Asked(together(allowance.controller(1, budget, clock), sizes))
  assert not ask("experience").wait
  assert ask("experience", spent=1.0).wait
  assert ask.decision.allocation.em == 4
  assert ask(spent=1.0).wait
  clock.now += 3600
  assert not ask(spent=1.0).wait
  assert ask.state[1] == ["experience", "experience", "dispatch", "dispatch"]
