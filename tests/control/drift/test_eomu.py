"""Key frames, the trigger's examples, and the walk over epochs."""

import math

import numpy as np
import pytest
import signatures

from jcl.control.drift import eomu


@pytest.mark.parametrize(
  ("past", "current", "retrains"),
  [
    ([90, 80, 70], 66, True),
    ([90, 80, 70], 67, False),
    ([70, 80, 90], 67, True),  # the newest weighs most
    ([80], 79.9, True),
    ([80], 80, False),
    ([60, 90], 70, False),
    ([], 0, False),
  ],
)
def test_the_trigger(past, current, retrains):
  assert eomu.triggers(past, current) == retrains


def test_the_warm_up_always_retrains_and_is_forgotten():
  history = eomu.History()
  decided = []
  for window, current in enumerate([90, 90, 10, 10, 9]):
    retrain, history = eomu.observe(history, current, 10.0 * window, warmup=20)
    decided.append(retrain)
  # the third has no past, the fourth is no worse than the third
  assert decided == [True, True, False, False, True]
  assert history.accuracies == (10, 10, 9)


def test_frames_that_get_brighter_are_key():
  frames = np.zeros((5, 20, 20, 3), np.float32)
  frames[2, :, :10] = 2.0  # half of the pixels rise
  frames[3, :, :10] = 2.0
  frames[3, :6, :] = 2.0  # fifteen percent more
  assert eomu.key_frames(frames).tolist() == [2]
  assert eomu.key_frames(frames, share=0.1).tolist() == [2, 3]
  assert eomu.key_frames(frames[::-1]).tolist() == [1]
  assert eomu.key_frames(0.4 * frames / 2).tolist() == []
  assert eomu.key_frames(frames[:1]).tolist() == []


def test_one_pixel_is_smoothed_away():
  frames = np.zeros((2, 9, 9, 3))
  frames[1, 4, 4] = 1.0
  weights = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 0.8**2))
  most = (weights[1] / weights.sum()) ** 2  # what the middle keeps
  assert 0.2 < most < 0.5
  assert not len(eomu.key_frames(frames, threshold=most + 1e-6, share=0))
  assert len(eomu.key_frames(frames, threshold=most - 1e-6, share=0))


def test_key_frames_are_thinned_to_the_rate():
  keys = np.arange(1, 201)
  assert eomu.thin(keys, 300, 0.19).tolist() == list(range(1, 172, 3))
  assert len(eomu.thin(keys, 300, 0.19)) == 57
  assert eomu.thin(keys[:40], 300, 0.19).tolist() == keys[:40].tolist()
  assert len(eomu.thin(keys[:100], 300, 0.19)) == 57
  assert len(eomu.thin(keys[:0], 300, 0.19)) == 0
  assert eomu.thin(keys[:5], 300, 1).tolist() == [1, 2, 3, 4, 5]
  assert eomu.thin(keys[:5], 100, 0.01).tolist() == [1]  # a frame of 100
  assert eomu.thin(keys[:58], 100, 0.29).tolist() == list(range(1, 59, 2))


def test_more_than_the_share_of_the_pixels():
  frames = np.zeros((2, 4, 4, 3))
  frames[1, :2] = 3.0  # more than 1 counts as 1
  changed = 8 / 16
  for share, found in ((changed - 1e-9, [1]), (changed, [])):
    assert eomu.key_frames(frames, share=share).tolist() == found
  # At the edge each side mirrors the other: a whole frame stays as it is.
  whole = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.75)])
  for threshold, found in ((0.75 - 1e-9, [1]), (0.75 + 1e-9, [])):
    keys = eomu.key_frames(whole, threshold=threshold, share=0.99)
    assert keys.tolist() == found


def test_a_pixel_that_stays_has_not_changed():
  still = np.zeros((2, 4, 4, 3))
  assert eomu.key_frames(still, threshold=0, share=0).tolist() == []


def test_channels_weigh_as_in_grey():
  for channel, weight in enumerate((0.299, 0.587, 0.114)):
    frames = np.zeros((2, 4, 4, 3))
    frames[1, ..., channel] = 1.0
    below = eomu.key_frames(frames, threshold=weight - 1e-6)
    above = eomu.key_frames(frames, threshold=weight + 1e-6)
    assert (len(below), len(above)) == (1, 0)


def test_the_ends_of_the_scale():
  assert eomu.observe(eomu.History(), 0, 0) == (True, ((0,), False))
  assert eomu.observe(eomu.History(), 100, 479.9) == (True, ((100,), False))
  # Warm at 480 s: what came before is forgotten, once.
  before = eomu.History((90, 80))
  retrain, after = eomu.observe(before, 10, 480)
  assert (retrain, after) == (False, ((10,), True))
  assert eomu.observe(after, 9, 490) == (True, ((10, 9), True))


def test_utility_by_hand():
  # 60 key frames of 300 for 60 * (0.02 + 10 * 0.03) s
  assert eomu.utility(10, 80, 60, 0.02, 0.03) == pytest.approx(80 - 0.2 * 19.2)
  assert eomu.utility(30, 1, 300, 1, 1) == 0


class Script:
  """A generator that gives the steps and chances it is told."""

  def __init__(self, steps, chances):
    self.steps, self.chances = iter(steps), iter(chances)

  def integers(self, low, high):
    assert (low, high) == (-1, 2)
    return next(self.steps)

  def random(self):
    return next(self.chances)


def test_the_walk_returns_what_was_proposed_last():
  # fewer epochs are worth more; more are refused by a chance of 1
  walk = Script([-1, -1, 1, 1, 1, 1, 1], [1.0] * 7)
  assert eomu.choose_epochs(walk, 80, 60, 0.02, 0.03) == 14
  # 15 -> 14 -> 13, then five in a row refused: 14 was proposed last


def test_a_worse_proposal_may_be_taken():
  change = 0.2 * 60 * 0.03
  worth = eomu.utility(16, 80, 60, 0.02, 0.03)
  chance = math.exp(-change / (worth + 1e-5))
  steps = [1, 1, *[1] * 5]
  below = Script(steps, [chance - 1e-10, *[1.0] * 6])
  assert eomu.choose_epochs(below, 80, 60, 0.02, 0.03) == 17
  above = Script(steps, [chance + 1e-10, *[1.0] * 6])
  assert eomu.choose_epochs(above, 80, 60, 0.02, 0.03) == 16


def test_the_walk_ends():
  """After a hundred tries, all taken, or five in a row that were not."""
  same = Script([0] * 100, [0.5] * 100)
  assert eomu.choose_epochs(same, 80, 60, 0.02, 0.03) == 15
  assert next(same.steps, None) is None
  four = [1] * 4 + [-1]  # what is taken in between begins the count anew
  walk = Script([*four * 2, *[1] * 5], [1.0] * 15)
  assert eomu.choose_epochs(walk, 80, 60, 0.02, 0.03) == 14
  assert next(walk.steps, None) is None
  # A proposal as good as where it stands is taken whatever the chance.
  for start, step in ((1, -1), (30, 1)):
    edge = Script([step] * 100, [0.999] * 100)
    found = eomu.choose_epochs(edge, 80, 60, 0.02, 0.03, start=start)
    assert found == start and next(edge.steps, None) is None


def test_walks_stay_in_range_and_repeat():
  found = []
  for seed in range(200):
    walk = [
      eomu.choose_epochs(
        np.random.default_rng(seed), 50, 57, 0.017, 0.03, start=start
      )
      for start in (1, 15, 30)
    ]
    assert walk[1] == eomu.choose_epochs(
      np.random.default_rng(seed), 50, 57, 0.017, 0.03
    )
    found += walk
  assert min(found) >= 1 and max(found) <= 30
  assert len(set(found)) > 10


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: eomu.key_frames(np.zeros((2, 4, 4, 1))), "frames .2, 4, 4, 1."),
    (lambda: eomu.key_frames(np.zeros((2, 4, 4, 3), np.uint8)), "normalise"),
    (lambda: eomu.thin(np.arange(3), 300, 0.0), "rate=0.0"),
    (lambda: eomu.key_frames(np.zeros((4, 4, 3))), "frames .4, 4, 3."),
    (lambda: eomu.thin(np.arange(3), 10, 0.05), "rate=0.05"),
    (lambda: eomu.thin(np.arange(3), 10, 1.1), "rate=1.1"),
    (lambda: eomu.observe(eomu.History(), -1, 0), "current=-1"),
    (
      lambda: eomu.choose_epochs(
        np.random.default_rng(0), 1, 1, 1, 1, start=31
      ),
      "start=31",
    ),
    (lambda: eomu.observe(eomu.History(), 101, 0), "current=101"),
    (
      lambda: eomu.choose_epochs(np.random.default_rng(0), 1, 1, 1, 1, start=0),
      "start=0",
    ),
  ],
)
def test_bad_input_is_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(eomu.key_frames) == {
    "threshold": 0.5,
    "share": 0.4,
  }
  assert signatures.defaults(eomu.observe) == {"warmup": 480}
  assert signatures.defaults(eomu.utility) == {"num_frames": 300}
  assert signatures.defaults(eomu.choose_epochs) == {
    "num_frames": 300,
    "start": 15,
  }
  assert signatures.defaults(eomu.History) == {"accuracies": (), "warm": False}
