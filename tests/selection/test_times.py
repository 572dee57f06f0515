"""Sums over a profile, against small cases by hand and the knapsack."""

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.selection import knapsack
from jcl.selection.times import TensorTimes, scaled

TIMES = TensorTimes(
  forward=(1.0, 2.0, 3.0),
  arrival=(4.0, 0.0, 1.0),
  weight_grad=(2.0, 0.5, 3.0),
  update=(0.25, 0.5, 1.0),
  fixed=0.5,
  method="analytic",
  backward_total=10.0,
)


@st.composite
def profiles(draw):
  count = draw(st.integers(1, 6))
  time = st.just(0.0) | st.floats(1e-3, 1e3)
  times = st.lists(time, min_size=count, max_size=count)
  arrays = [tuple(draw(times)) for _ in range(4)]
  return TensorTimes(*arrays, fixed=draw(st.floats(1e-3, 10)), method="timed")


def test_sums_by_hand():
  assert TIMES.always == 6.5
  assert TIMES.backward == 10.5
  assert TIMES.full == 6.5 + 10.5 + 1.75
  assert TIMES.training == (2.25, 1.0, 4.0)
  assert TIMES.closure == 1.05


@pytest.mark.parametrize(
  ("trainable", "seconds"),
  [
    ((False, False, False), 6.5),
    ((False, False, True), 6.5 + 1 + 4),
    ((False, True, False), 6.5 + 1 + 0 + 1),
    # What lies on the way is paid for, trained or not.
    ((True, False, False), 6.5 + 1 + 0 + 4 + 2.25),
    ((True, True, True), 18.75),
  ],
)
def test_a_step_pays_the_chain_down_to_its_deepest_tensor(trainable, seconds):
  assert TIMES.step(trainable) == seconds


def test_the_least_share_is_that_of_the_cheapest_tensor():
  # Not the last one: its kernel is dear, the one ahead of it cheap.
  assert TIMES.least_share == pytest.approx((6.5 + 1 + 1) / 18.75)


def test_budgets_by_hand():
  assert TIMES.budget(1.0) == 18.75 - 6.5
  assert TIMES.budget(0.6) == pytest.approx(0.6 * 18.75 - 6.5)


def test_the_papers_budget_follows_from_forward_being_half_of_backward():
  """rho_b = 1.5 rho - 0.5: 0.3 of the backward time at rho 0.5333."""
  times = TensorTimes(
    (0.5,) * 2, (0.6, 0.4), (0.5,) * 2, (0.0,) * 2, 0, "timed"
  )
  assert times.always == times.backward / 2
  for rho, share in ((8 / 15, 0.3), (0.6, 0.4), (0.7, 0.55)):
    # The head alone needs 0.45 of the backward time; ask for no less.
    if rho >= times.least_share:
      assert times.budget(rho) == pytest.approx(share * times.backward)
    else:
      with pytest.raises(ValueError, match="takes between"):
        times.budget(rho)


@pytest.mark.parametrize("share", [0.1, 1.01, math.nan])
def test_shares_out_of_reach_are_answered_with_the_least(share):
  with pytest.raises(ValueError, match=r"takes between 0\.4534 and 1"):
    TIMES.budget(share)


@given(profiles())
def test_training_everything_takes_a_full_step(times):
  assert times.step([True] * len(times.forward)) == pytest.approx(times.full)
  assert times.budget(1.0) == times.full - times.always


@given(profiles(), st.randoms(use_true_random=False))
def test_training_more_never_takes_less(times, random):
  count = len(times.forward)
  mask = np.array([random.random() < 0.5 for _ in range(count)])
  more = mask.copy()
  more[random.randrange(count)] = True
  assert times.step(mask) <= times.step(more) * (1 + 1e-12)


@given(profiles(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_sets_of_the_knapsack_keep_to_the_share(times, place, random):
  # A hair above the least, so that rounding does not decide.
  least = min(1.0, times.least_share * (1 + 1e-6))
  share = least + place * (1 - least)
  solution = knapsack.select(
    times.arrival,
    times.training,
    [random.random() + 0.01 for _ in times.forward],
    times.budget(share),
  )
  assert any(solution.mask)
  assert times.step(solution.mask) <= share * times.full * (1 + 1e-6)


def test_times_out_of_range_are_refused():
  with pytest.raises(ValueError, match="of one length"):
    dataclasses.replace(TIMES, update=(1.0,))
  with pytest.raises(ValueError, match="of one length"):
    TensorTimes((), (), (), (), 0.0, "analytic")
  for bad in (-1.0, math.inf, math.nan):
    with pytest.raises(ValueError, match="arrival must be finite"):
      dataclasses.replace(TIMES, arrival=(0.0, bad, 0.0))
    with pytest.raises(ValueError, match="fixed must be finite"):
      dataclasses.replace(TIMES, fixed=bad)
  with pytest.raises(ValueError, match="the mask has shape"):
    TIMES.step([True])


def test_closure_is_not_a_number_where_there_is_no_other_sum():
  assert math.isnan(dataclasses.replace(TIMES, backward_total=math.nan).closure)
  assert math.isnan(dataclasses.replace(TIMES, backward_total=0.0).closure)


def test_scaled_times_keep_their_description():
  assert scaled(TIMES, 2.0) == TensorTimes(
    forward=(2.0, 4.0, 6.0),
    arrival=(8.0, 0.0, 2.0),
    weight_grad=(4.0, 1.0, 6.0),
    update=(0.5, 1.0, 2.0),
    fixed=1.0,
    method="analytic",
    backward_total=20.0,
    compile_seconds=TIMES.compile_seconds,
  )


def test_times_that_are_not_given():
  alone = TensorTimes((0.0,), (0.0,), (1.0,), (0.0,), 0.0, "analytic")
  assert math.isnan(alone.backward_total) and math.isnan(alone.compile_seconds)
  assert alone.about == {} and alone.least_share == 1.0
  again = TensorTimes(
    (0.0,), (0.0,), (1.0,), (0.0,), 0.0, "analytic", -math.nan
  )
  assert again == alone
  assert alone.budget(1) == 1.0
  with pytest.raises(dataclasses.FrozenInstanceError):
    alone.fixed = 1.0
