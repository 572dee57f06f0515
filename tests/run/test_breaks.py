"""Places between updates, and what a limit leaves beside what is done there."""

import types

import numpy as np
import pytest

from jcl import base
from jcl.cost import program_cost
from jcl.options.errors import UsageError
from jcl.run import breaks, cursor, rounds

STARTS = np.array([0, 500, 1000])


def test_rounds_are_spread_over_the_stream_whatever_its_experiences():
  """Of 100 updates: behind 33, 66 and 100, where experiences end at 50."""
  first, second = (rounds.spread(STARTS, i, 50, 3) for i in (0, 1))
  assert first == [33] and [50 + place for place in second] == [66, 100]
  assert [rounds.spread(STARTS, i, 50, 1) for i in (0, 1)] == [[], [50]]
  # More than there are updates, and experiences of different sizes.
  assert rounds.spread(STARTS, 0, 2, 10) == [1, 1, 1, 1, 2]
  uneven = np.array([0, 100, 1000])
  found = [rounds.spread(uneven, i, p, 4) for i, p in ((0, 10), (1, 90))]
  assert found == [[], [15, 40, 65, 90]]


def test_rounds_behind_every_so_many_updates():
  assert rounds.every(10, 0, 30) == [10, 20, 30]
  assert rounds.every(10, 25, 20) == [5, 15]
  assert rounds.every(10, 30, 9) == []


class Work:
  """Done behind some updates; notes where."""

  def __init__(self, places, price=0.0):
    self.found, self.done, self._price = places, [], price

  def places(self, job, at):
    return self.found

  def ahead(self, job, at, steps):
    coming = sum(place > at.totals.steps for place in self.found)
    return base.Cost(flops=coming * self._price)

  def act(self, job, state, at, scope, number):
    self.done.append((at.totals.steps, number))
    return state + 1


def at(made, **more):
  found = cursor.Cursor(**more)
  found.totals.steps = made
  return found


def test_what_is_due_is_done_once():
  work, job = Work([2, 2, 5]), types.SimpleNamespace()
  of = breaks.Breaks([work])
  assert [of.until(job, at(made)) for made in (0, 1, 2, 4)] == [2, 1, 3, 1]
  assert of.until(job, at(5)) == breaks.Breaks().until(job, at(0)) == np.inf
  states = [of.take(job, 0, at(made), None) for made in (1, 2, 3, 5)]
  assert states == [0, 2, 0, 1]
  assert work.done == [(2, 0), (2, 1), (5, 2)]
  # An experience that ends early does the rest behind its last update.
  assert of.take(job, 0, at(3), None, last=True) == 1
  assert of.take(job, 0, at(5), None, last=True) == 0


@pytest.mark.parametrize(
  ("price", "made", "expected"),
  [(0, 0, 10), (20, 0, 4), (20, 2, 8), (20, 5, 10), (60, 2, 4)],
)
def test_a_limit_pays_breaks_as_well(price, made, expected):
  cost = program_cost.ProgramCost(10.0, *(0,) * 5)
  decided = base.Decision(base.Allocation(1), counts=("train",))
  place = at(made, decision=decided)
  left = base.Cost(*(np.inf,) * 2, 109.0, np.inf)
  of = breaks.Breaks([Work([2, 2, 5], price)])
  assert of.afford(None, place, cost, left) == expected
  with pytest.raises(UsageError, match="takes 180 flops, and .* leaves 109"):
    breaks.Breaks([Work([2, 2, 5], 60)]).afford(
      None, at(0, decision=decided), cost, left
    )
