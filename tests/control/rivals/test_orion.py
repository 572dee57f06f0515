"""Orion by hand, and what its figure of urgency follows."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st
import pytest
import signatures

from jcl.control.rivals import orion
from jcl.control.rivals.orion import Figures, Settings

LIMITS = Figures(0.5, 0.5, 30.0, 4096.0)
SHARES = st.floats(0, 1)
FIGURES = st.builds(
  Figures, SHARES, SHARES, st.floats(0, 1e4), st.floats(0, 1e4)
)


def settings(slopes=orion.BALANCED, **changed):
  given_ = {"thresholds": LIMITS, "threshold": 0.1, "decay": 0.5, **changed}
  return Settings(slopes=slopes, **given_)


# By hand


def test_at_all_thresholds_urge_is_a_sixteenth():
  assert orion.urge(LIMITS, settings()) == 0.0625


def test_plasticity_far_below_its_threshold():
  seen = LIMITS._replace(plasticity=LIMITS.plasticity - 2)
  found = orion.urge(seen, settings(Figures(1, 1, 1, 1)))
  assert found == pytest.approx(0.880797 / 8, abs=1e-6)
  assert found == pytest.approx(0.110100, abs=1e-6)


def test_pressures_have_their_signs():
  """Slow and forgetful is urgent, a full memory forbids."""
  base = orion.urge(LIMITS, settings())
  for name, change, more in (
    ("plasticity", -0.3, True),
    ("plasticity", 0.3, False),
    ("stability", -0.3, True),
    ("seconds", 9, True),
    ("seconds", -9, False),
    ("memory", -9, True),
    ("memory", 9, False),
  ):
    seen = LIMITS._replace(**{name: getattr(LIMITS, name) + change})
    assert (orion.urge(seen, settings()) > base) is more


def test_the_threshold_falls():
  assert orion.threshold(settings(), 2) == pytest.approx(0.036788, abs=1e-6)
  assert orion.threshold(settings(), 0) == 0.1


def test_sizes_follow():
  memory = orion.resized(64, 0.1, urge=0.6, threshold=0.2)
  assert memory == pytest.approx(66.56)
  assert orion.fitting(memory, 4) == 16
  assert orion.resized(100, 0.2, 0.6, 0.2) == pytest.approx(108)
  assert orion.resized(100, 0.2, 0.2, 0.6) == pytest.approx(92)
  assert orion.resized(100, 9.0, 0.2, 0.6) == 0  # not below
  assert orion.fitting(0.3, 0.1) == 3 and 0.3 / 0.1 < 3
  assert orion.fitting(3, 4) == 0 and orion.fitting(3, 4, least=1) == 1


@given(SHARES, SHARES)
def test_plasticity_and_stability_hardly_move_urge(plasticity, stability):
  seen = LIMITS._replace(plasticity=plasticity)
  factor = orion.urge(seen, settings()) / 0.125
  assert 0.468791 - 1e-6 <= factor <= 0.531209 + 1e-6
  seen = LIMITS._replace(stability=stability)
  factor = orion.urge(seen, settings()) / 0.125
  assert 0.468791 - 1e-6 <= factor <= 0.531209 + 1e-6


def test_the_bounds_of_these_factors_are_reached():
  low, high = (
    orion.urge(LIMITS._replace(stability=value), settings()) / 0.125
    for value in (1.0, 0.0)
  )
  assert (low, high) == pytest.approx((0.468791, 0.531209), abs=1e-6)


@pytest.mark.parametrize(
  "urge, needed, room, chosen",
  [
    (0.3, 10, math.inf, "advanced"),
    (0.3, 10, 10, "advanced"),
    (0.3, 10, 9.9, "default"),  # refused: it would not fit
    (0.3, 10, -5, "default"),
    (0.2, 0, math.inf, "default"),  # not above
    (0.1, 0, math.inf, "default"),
  ],
)
def test_the_advanced_optimiser_is_refused_before_it_allocates(
  urge, needed, room, chosen
):
  assert orion.optimizer(urge, 0.2, needed, room) == chosen


def test_preferences_are_slopes():
  found = orion.slopes(["seconds", "stability", "memory", "plasticity"])
  assert found == Figures(0.1, 0.3, 0.4, 0.2)
  assert sum(found) == pytest.approx(1)
  assert sum(orion.BALANCED) == 1


def test_figures_of_a_matrix():
  one = orion.figures([[0.9]], 3.0, 64.0)
  assert one == Figures(0.9, 1.0, 3.0, 64.0)
  three = [[0.9, 0, 0], [0.6, 0.7, 0], [0.5, 0.6, 0.8]]
  found = orion.figures(three, 3.0, 64.0)
  # Of .9 and .7 are left .5 and .6.
  assert found == pytest.approx((0.8, 1 - (0.4 + 0.1) / 2, 3.0, 64.0))


def test_a_decision_by_hand():
  state = orion.init(64, 100)
  seen = LIMITS  # URGE .0625
  step, state = orion.decide(
    state, seen, settings(decay=math.log(2)), row=4, example=0.5, needed=10
  )
  # Thr .05: both grow a little.
  assert step.threshold == pytest.approx(0.05) and step.urge == 0.0625
  assert state["batch"] == pytest.approx(64 * (1 + 0.1 * 0.0125))
  assert state["replay"] == pytest.approx(100 * (1 + 0.2 * 0.0125))
  assert (step.batch, step.replay, step.optimizer) == (16, 200, "advanced")
  assert step.reason == "URGE 0.0625 is above 0.05: batches grow"
  # Thr .025 next, and the sizes go on from these.
  again, after = orion.decide(
    state, seen, settings(decay=math.log(2)), 4, 0.5, needed=10, room=9
  )
  assert after["t"] == 2
  assert after["batch"] == pytest.approx(state["batch"] * (1 + 0.1 * 0.0375))
  assert again.optimizer == "default"
  assert "9 of memory are free, the advanced optimiser takes 10" in again.reason


def test_urge_at_its_threshold_changes_nothing():
  at = settings(threshold=0.0625, decay=0.0)
  step, state = orion.decide(orion.init(0, 100), LIMITS, at, 4, 1, needed=0)
  assert (step.batch, step.replay, step.optimizer) == (1, 100, "default")
  assert state == {"t": 1, "batch": 0, "replay": 100}
  assert "is not above 0.0625" in step.reason


def test_far_from_its_thresholds_urge_stays_a_number():
  far = Figures(0.5, 0.5, -1e6, 1e9)
  assert orion.urge(far, settings()) == 0
  far = Figures(-1e6, -1e6, 1e6, -1e9)
  assert orion.urge(far, settings()) == 1


def test_below_its_threshold_it_is_static_replay_that_decays():
  """Where memory saturates its factor, URGE never gets near the threshold."""
  state, sizes = orion.init(64, 1000), []
  seen = Figures(0.1, 0.1, 30.0, 4196.0)  # 100 above the limit
  for _ in range(5):
    step, state = orion.decide(
      state, seen, settings(decay=0.0), row=4, example=1, needed=0
    )
    assert step.optimizer == "default" and "shrink" in step.reason
    sizes.append(step.replay)
  assert sizes == sorted(sizes, reverse=True)
  assert sizes[-1] == math.floor(1000 * 0.98**5)


# Whatever is seen


@given(FIGURES, FIGURES)
def test_urge_is_a_share_and_monotone(first, second):
  both = settings(Figures(1, 1, 1, 1))
  worse = Figures(
    min(first.plasticity, second.plasticity),
    min(first.stability, second.stability),
    max(first.seconds, second.seconds),
    min(first.memory, second.memory),
  )
  found = orion.urge(first, both)
  assert 0 <= found <= orion.urge(worse, both) <= 1


@given(FIGURES, st.integers(0, 50), st.floats(0, 100), st.floats(0, 100))
def test_no_decision_opens_what_does_not_fit(seen, t, needed, room):
  state = {"t": t, "batch": 64.0, "replay": 64.0}
  step, after = orion.decide(state, seen, settings(), 4, 1, needed, room)
  assert step.optimizer == "default" or needed <= room
  assert step.batch >= 1 and step.replay >= 0
  assert json.loads(json.dumps(after)) == after and after["t"] == t + 1
  assert state == {"t": t, "batch": 64.0, "replay": 64.0}


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: settings(threshold=-1), "orion: threshold=-1: give 0"),
    (lambda: settings(alpha=math.nan), "orion: alpha=nan"),
    (
      lambda: settings(Figures(1, -1, 1, 1)),
      "orion: a slope of -1 for stability",
    ),
    (
      lambda: settings(thresholds=LIMITS._replace(memory=math.inf)),
      "orion: a threshold of inf for memory",
    ),
    (
      lambda: orion.slopes(["memory"]),
      "orion: an order of memory: give plasticity, stability, seconds, memory",
    ),
    (
      lambda: orion.urge(LIMITS._replace(seconds=math.nan), settings()),
      "orion: seconds=nan",
    ),
    (lambda: orion.fitting(1, 0), "orion: 0 of memory for one example"),
    (lambda: orion.fitting(1, math.inf), "orion: inf of memory for one"),
    (lambda: orion.init(-1, 1), "orion: memory of -1"),
    (lambda: orion.init(1, math.inf), "orion: memory of inf"),
    (lambda: settings(decay=math.inf), "orion: decay=inf"),
  ],
)
def test_bad_arguments_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  found = Settings(LIMITS, 0.1, 0.5)
  assert (found.slopes, found.alpha, found.beta) == ((0.25,) * 4, 0.1, 0.2)
  assert signatures.defaults(orion.optimizer) == {"room": math.inf}
