"""What each system does next, step by step, with numbers made by hand."""

import dataclasses
from fractions import Fraction
import inspect
import itertools
import math

import numpy as np
import pytest

from jcl.control.drift import baselines, microprofile, systems, times
from jcl.control.drift import eomu as policy
from jcl.control.drift.phases import Labelled, Retrained, Tried

FPS = 4
SECONDS = times.Times(infer=0.01, train=0.5, valid=0.25, label=0.125, batch=4)
PARTS = {
  "window": 20,
  "rate": 0.5,
  "fractions": (0.25, 1.0),
  "epochs": (2, 4),
  "share": 0.5,
  "trial_epochs": 2,
}


class View:
  """Frames that have arrived: their number is their only pixel."""

  fps, seed = FPS, 5

  def __init__(self):
    self.seen = 0

  def pixels(self, ids):
    return np.asarray(ids, np.uint8)[:, None, None, None] * np.ones(
      (1, 2, 2, 1), np.uint8
    )


class Drive:
  """Sends a system what its phases found."""

  def __init__(self, system):
    self.view = View()
    self.phases = system.phases(self.view)
    self.result = None

  def __call__(self):
    """Returns the next phase, at whose end the clock then stands."""
    phase = self.phases.send(self.result)
    self.view.seen += math.ceil(Fraction(phase.seconds) * FPS)
    self.result = None
    return phase

  def labelled(self, phase, served=True):
    ids = phase.work.choose(self.view)
    right = np.full(len(ids), served)
    self.result = Labelled(ids, np.zeros(len(ids), np.int32), right, right)
    return ids


def even(first, frames, num):
  return [first + j * frames // num for j in range(num)]


def profiled(seconds=SECONDS, **options):
  """An Ekya in its second window, after its trials' phase was asked for."""
  drive = Drive(baselines.ekya(seconds, **(PARTS | options)))
  wait, label = drive(), drive()
  ids = drive.labelled(label)
  return drive, ids, wait, label, drive()


def test_ekya_labels_then_tries():
  _, ids, wait, label, profile = profiled()
  # Of 20 s labelling takes 5; the frame at the end is the first phase's.
  assert (wait.kind, wait.seconds, wait.work) == ("wait", Fraction(61, 4), None)
  assert (label.kind, label.seconds) == ("label", Fraction(19, 4))
  assert ids.tolist() == even(0, 80, 40)
  assert profile.kind == "profile" and profile.work.epochs == 2
  (few, judge), (many, judges) = profile.work.sets
  quarter = ids[even(0, 40, 10)]
  half = quarter[even(0, 10, 5)]
  assert few.tolist() == half[:4].tolist() and judge.tolist() == [half[4]]
  half = ids[even(0, 40, 20)]
  assert judges.tolist() == half[4::5].tolist()
  assert many.tolist() == [i for i in half if i not in judges]
  # Validated once before, and after each of two epochs: 1 batch of 4 and 1,
  # 4 batches of 16 and 1.
  first = 0.25 + 2 * (0.5 + 0.25)
  assert profile.seconds == first + 0.25 + 2 * (4 * 0.5 + 0.25)


def expected(curve):
  return microprofile.extrapolate(curve[0], curve[-1], 2, (2, 4), end=4)


def test_ekya_trains_what_looks_best_of_what_fits():
  drive, ids, *_ = profiled()
  accuracies = np.array([[0.5, 0.6, 0.7], [0.5, 0.8, 0.9]])
  drive.result = Tried(accuracies)
  retrain = drive()
  # Left are 35 frames, 8.75 s: all forty frames take 10 s for two epochs.
  assert retrain.kind == "retrain" and retrain.seconds == 4 * 3 * 0.5
  assert retrain.work.train.tolist() == ids[even(0, 40, 10)].tolist()
  assert retrain.work.valid.tolist() == []
  assert (retrain.work.epochs, retrain.work.keep) == (4, "last")
  two, four = map(float, expected(accuracies[0]))
  assert retrain.note == {"expected": four}
  assert retrain.reason == (
    f"4 epochs on 10 frames are expected to give {100 * four:.1f} %, the most "
    "of 2 ways"
  )
  assert retrain.candidates == [
    {"frames": 10, "epochs": 2, "seconds": 3.0, "expected": two},
    {"frames": 10, "epochs": 4, "seconds": 6.0, "expected": four},
  ]
  rest = drive()
  assert (rest.kind, rest.seconds) == ("wait", Fraction(141 - 130, 4))
  label = drive()
  assert label.seconds == Fraction(160 - 141, 4)
  assert drive.labelled(label).tolist() == even(80, 80, 40)


def test_ekya_by_the_mean_of_what_is_left():
  drive, ids, *_ = profiled(by="estimate")
  accuracies = np.array([[0.5, 0.6, 0.7], [0.5, 0.8, 0.9]])
  drive.result = Tried(accuracies)
  retrain = drive()
  after = expected(accuracies[0])
  means = [
    (took * 0.5 + (8.75 - took) * high) / 8.75
    for took, high in zip((3, 6), after, strict=True)
  ]
  assert means[0] > means[1]
  assert retrain.work.epochs == 2 and retrain.seconds == 3
  assert retrain.note["expected"] == pytest.approx(means[0])


def test_ekya_trains_nothing_that_does_not_fit():
  drive, *_ = profiled(epochs=(20,))
  drive.result = Tried(np.array([[0.5, 0.6, 0.7]] * 2))
  rest = drive()
  assert (rest.kind, rest.seconds) == ("wait", Fraction(141 - 106, 4))


def test_of_equal_ways_ekya_takes_the_longest():
  drive, *_ = profiled()
  drive.result = Tried(np.array([[0.5, 0.5, 0.5]] * 2))
  assert drive().work.epochs == 4


def test_ekya_validates_on_the_last_of_few():
  *_, profile = profiled(fractions=(0.05, 0.1), share=0.1)
  # Of two frames and of four; the first two where a share has fewer.
  assert profile.work.sets == (([0], [40]), ([0], [20]))
  *_, profile = profiled(fractions=(0.1, 0.1), share=0.5)
  assert profile.work.sets == (([0], [40]),) * 2


def test_ekya_fills_a_window_to_its_end():
  # A trial takes 0.25 + 4 * 0.6125 + 0.25 s, 12 frames: 49 frames are left.
  exact = times.Times(0.01, train=0.6125, valid=0.25, label=0.125, batch=4)
  drive, *_ = profiled(exact, fractions=(1.0,), epochs=(2,), trial_epochs=1)
  drive.result = Tried(np.array([[0.5, 0.6]]))
  assert drive().seconds == Fraction(49, 4)
  assert drive().kind == "label"


@pytest.mark.parametrize(
  ("build", "options", "message"),
  [
    (baselines.ekya, {"share": 1.01}, "share=1.01: give shares in"),
    (baselines.ekya, {"fractions": (1.0, 0.0)}, "fractions=0.0: give"),
    (baselines.ekya, {"by": "chance"}, "by='chance': give"),
    (baselines.ekya, {"window": 0}, "window=0"),
    (baselines.ekya, {"epochs": (2, 0)}, "epochs=0"),
    (baselines.ekya, {"trial_epochs": 0}, "trial_epochs=0"),
    (baselines.eomu, {"window": 0}, "window=0"),
    (baselines.eomu, {"start": 0}, "start=0"),
    (baselines.oracle, {"window": 0}, "window=0"),
    (baselines.oracle, {"samples": 0}, "samples=0"),
    (baselines.oracle, {"epochs": 0}, "epochs=0"),
  ],
)
def test_numbers_out_of_range_are_refused(build, options, message):
  with pytest.raises(ValueError, match=message):
    build(SECONDS, **options)


def test_trials_that_fill_a_window_are_refused():
  # They take 15.5 s, as much as labelling forty frames leaves.
  full = times.Times(infer=0.01, train=0.5, valid=0.25, label=0.1125, batch=4)
  with pytest.raises(ValueError, match="trials take 15.5 s of 15.5 s: give"):
    profiled(full, trial_epochs=5)
  room = times.Times(infer=0.01, train=0.5, valid=0.25, label=0.11, batch=4)
  *_, profile = profiled(room, trial_epochs=5)
  assert profile.seconds == 15.5


@pytest.fixture
def walk(monkeypatch):
  """EOMU with key frames, trigger and epochs as told; returns what it asked."""
  asked = []

  def observe(history, current, start, *, warmup):
    asked.append(("observe", current, start, warmup))
    return walk.retrain, history

  def choose(generator, current, keys, label, train, *, num_frames, start):
    first = np.random.default_rng((5, 23)).random()
    asked.append((current, keys, label, train, num_frames, start))
    walk.same = generator.random() == first
    return walk.epochs

  def key_frames(pixels):
    asked.append(pixels)
    return np.array(walk.keys, int)

  monkeypatch.setattr(policy, "key_frames", key_frames)
  monkeypatch.setattr(
    policy, "thin", lambda keys, num, rate: asked.append((num, rate)) or keys
  )
  monkeypatch.setattr(policy, "observe", observe)
  monkeypatch.setattr(policy, "choose_epochs", choose)

  class Walk:
    keys, retrain, epochs, same = (3, 7, 11), True, 7, None

  walk = Walk()
  walk.asked = asked
  return walk


SLOW = times.Times(infer=0.01, train=0.5, valid=0.25, label=2.0, batch=4)


def test_eomu_labels_trains_and_waits(walk):
  drive = Drive(baselines.eomu(SLOW, window=5, rate=0.25, warmup=60, start=9))
  first = drive()
  assert (first.kind, first.seconds, first.work) == ("wait", 5, None)
  label = drive()
  pixels, (num, rate), *_ = walk.asked
  assert pixels.shape == (20, 2, 2, 3) and pixels.dtype == np.float32
  np.testing.assert_allclose(pixels[:, 1, 0, 2], np.arange(20) / (255 / 4))
  assert (num, rate) == (20, 0.25)
  # Of three key frames, two can be labelled until the last frame comes.
  assert (label.kind, label.seconds) == ("label", 4)
  assert drive.labelled(label).tolist() == [3, 7]
  drive.result.served[0] = False
  retrain = drive()
  assert walk.asked[2:] == [
    ("observe", 50.0, 0, 60),
    (50.0, 2, 2.0, 0.125, 20, 9),
  ]
  assert walk.same  # draws by the run's seed
  # One second is left: two epochs of half a second each, of seven.
  assert (retrain.kind, retrain.seconds) == ("retrain", 1)
  assert retrain.work.train.tolist() == [3, 7] and not len(retrain.work.valid)
  assert retrain.work.epochs == 2 and retrain.work.keep == "last"
  assert retrain.note == {"keys": 2, "acc_label": 50.0, "trigger": True}
  walk.epochs = 1
  drive.labelled(drive())
  again = drive()
  # The walk goes on from the epochs chosen, not those there was time for.
  assert walk.asked[-1][-1] == 7 and walk.asked[-2][2] == 5
  assert again.work.train.tolist() == [23, 27] and again.work.epochs == 1
  drive.labelled(drive())
  assert drive().kind == "retrain" and walk.asked[-2][2] == 10


@pytest.mark.parametrize(("label", "num"), [(2.375, 2), (2.4, 1)])
def test_eomu_labels_until_the_last_frame_comes(walk, label, num):
  """Which is a frame's time before the end of the window, after 4.75 s."""
  seconds = times.Times(infer=0.01, train=0.5, valid=0.25, label=label, batch=4)
  drive = Drive(baselines.eomu(seconds, window=5))
  drive()
  asked = drive()
  assert drive.labelled(asked).tolist() == [3, 7][:num]
  assert asked.reason == f"{num} frames of the window before differ"
  assert drive().reason == "100.0 % of the labels were served rightly"


def test_eomu_waits_where_nothing_changes_or_nothing_got_worse(walk):
  walk.keys = ()
  drive = Drive(baselines.eomu(SLOW, window=5))
  drive()
  quiet = drive()
  assert (quiet.kind, quiet.seconds, quiet.work) == ("wait", 5, None)
  assert quiet.note == {"keys": 0}
  walk.keys, walk.retrain = (0,), False
  assert drive.labelled(drive()).tolist() == [20]
  rest = drive()
  assert (rest.kind, rest.seconds, rest.work) == ("wait", 3, None)
  assert rest.note == {"keys": 1, "acc_label": 100.0, "trigger": False}
  walk.retrain, walk.epochs = True, 0
  drive.labelled(drive())
  assert drive().kind == "wait"


def test_colours_are_left_as_they_are(walk):
  drive = Drive(baselines.eomu(SLOW, window=5))
  drive.view.pixels = lambda ids: np.full((len(ids), 2, 2, 3), 255, np.uint8)
  drive(), drive()
  assert walk.asked[0].shape == (20, 2, 2, 3) and (walk.asked[0] == 4).all()


@pytest.mark.parametrize("causal", [False, True])
def test_the_ceiling_step_by_step(causal):
  system = baselines.oracle(
    SECONDS, window=10, samples=10, epochs=3, causal=causal
  )
  assert (system.name, system.causal) == ("oracle", causal)
  drive = Drive(system)
  assert drive().seconds == 10
  for start in (0, 40):
    label = drive()
    assert (label.kind, label.seconds) == ("label", 0)
    ids = drive.labelled(label)
    assert ids.tolist() == even(start, 40, 10)
    retrain = drive()
    assert (retrain.kind, retrain.seconds) == ("retrain", 0)
    assert (retrain.work.epochs, retrain.work.keep) == (3, "best")
    train, valid = retrain.work.train.tolist(), retrain.work.valid.tolist()
    if causal:
      assert valid == [start + 16, start + 36]
      assert train == [i for i in ids if i not in valid]
    else:
      assert train == ids.tolist() and valid == even(start + 40, 40, 10)
    wait = drive()
    assert (wait.kind, wait.seconds) == ("wait", 10)
  every = Drive(baselines.oracle(SECONDS, window=1, samples=9))
  every()
  assert every.labelled(every()).tolist() == [0, 1, 2, 3]


def test_dacapo_step_by_step():
  system = systems.dacapo(SECONDS, labels=8, first=3, epochs=2)
  drive = Drive(system)
  first = drive()
  # 24 images take 3 s to label, and as many frames 6 s to come.
  assert (first.kind, first.seconds) == ("first_label", 6)
  assert drive.labelled(first).tolist() == list(range(24))
  retrain = drive()
  # Of 24 samples, fewer than 32, a quarter validate.
  assert len(retrain.work.train) == 18 and len(retrain.work.valid) == 6
  assert retrain.seconds == 2 * 5 * 0.5 + 2 * 0.25
  assert retrain.work.epochs == 2 and retrain.note == {}
  drive.result = Retrained(3, 6)
  label = drive()
  assert (label.kind, label.seconds) == ("label", 1)
  ids = drive.labelled(label, served=False)
  assert ids.tolist() == even(24, 26, 8)  # of all since the first labelling
  extra = drive()
  assert extra.kind == "extra_label" and extra.seconds == 4
  assert extra.note == {"drift": True, "acc_label": 0.0, "acc_valid": 50.0}
  more = drive.labelled(extra)
  assert more.tolist() == list(range(50, 66))
  retrain = drive()
  # What came before the drift is forgotten.
  drawn = {*retrain.work.train.tolist(), *retrain.work.valid.tolist()}
  assert drawn == {*ids.tolist(), *more.tolist()} and retrain.note == {}


@pytest.mark.parametrize(
  ("right", "told"),
  [
    (
      (0, 0),
      "drift is not tested: 0.0 % of the labels were served rightly, 0.0 % in "
      "validation",
    ),
    (
      (1, 1),
      "drift: 0.0 % of the labels were served rightly, 100.0 % in validation",
    ),
  ],
)
def test_dacapo_tests_where_anything_was_validated(right, told):
  drive = Drive(systems.dacapo(SECONDS, labels=8, first=1))
  first = drive()
  assert first.reason == "nothing is labelled yet"
  drive.labelled(first)
  assert drive().reason == "8 frames are labelled"
  drive.result = Retrained(*right)
  drive.labelled(drive(), served=False)
  retrain = drive()
  assert retrain.kind == "retrain" and retrain.reason == told
  ways = [way["kind"] for way in retrain.candidates]
  assert ways == (["retrain"] if right[1] else [])


def robust(monkeypatch, p_value):
  """A DaCapo that has retrained, and whose test will give this value."""
  monkeypatch.setattr(systems.detection, "p_value", lambda *a, **k: p_value)
  drive = Drive(systems.dacapo(SECONDS, labels=8, first=2, drift="robust"))
  drive.labelled(drive())
  drive()
  drive.result = Retrained(3, 4)
  return drive


@pytest.mark.parametrize(("p_value", "drift"), [(0.01, True), (0.012, False)])
def test_a_robust_test_alarms_at_its_level(monkeypatch, p_value, drift):
  drive = robust(monkeypatch, p_value)
  drive.labelled(drive())
  following = drive()
  assert following.kind == ("extra_label" if drift else "retrain")
  assert following.note == {
    "drift": drift,
    "p": p_value,
    "acc_label": 100.0,
    "acc_valid": 75.0,
  }
  assert following.reason == (
    f"{'drift' if drift else 'no drift'}: 100.0 % of the labels were served "
    f"rightly, 75.0 % in validation, p = {p_value}"
  )


def test_a_robust_test_needs_labels_predicted_again(monkeypatch):
  drive = robust(monkeypatch, 0.5)
  drive.labelled(drive())
  drive.result = dataclasses.replace(drive.result, now=None)
  with pytest.raises(ValueError, match="second prediction: ask for `recheck`"):
    drive()


@pytest.mark.parametrize("active", [False, True])
def test_dacapo_spatial_step_by_step(active):
  system = systems.dacapo_spatial(
    SECONDS, window=20, rate=0.5, epochs=2, active=active
  )
  drive = Drive(system)
  # The nearer to the end of its window a frame is, the less certain.
  drive.view.confidence = lambda ids: 1 - (ids % 80) / 160
  trained = None
  for start in (0, 80):
    retrain = drive()
    assert (retrain.kind, retrain.seconds) == ("retrain", Fraction(61, 4))
    if start:
      assert retrain.work.train.tolist() == trained
      assert not len(retrain.work.valid) and retrain.work.epochs == 2
    else:
      assert retrain.work is None
    label = drive()
    assert (label.kind, label.seconds) == ("label", Fraction(19, 4))
    trained = drive.labelled(label).tolist()
    late = list(range(start + 40, start + 80))
    assert trained == (late if active else even(start, 80, 40))


def test_what_a_system_takes_unless_told_otherwise():
  def defaults(function):
    return [
      p.default
      for p in inspect.signature(function).parameters.values()
      if p.kind is p.KEYWORD_ONLY
    ]

  assert defaults(baselines.ekya) == [
    *(120, 0.0, (0.23, 0.616, 1.0), tuple(range(2, 11)), 0.1, 5, "accuracy")
  ]
  assert defaults(baselines.eomu) == [10, 0.19, 480, 15]
  assert defaults(baselines.oracle) == [120, 720, 10, False]
  assert defaults(systems.dacapo) == [
    *(108, 4, "paper", -5.0, 0.01, 3.0, 1, False)
  ]
  assert defaults(systems.dacapo_spatial) == [120, 0.0, 2, False, False]
  assert defaults(systems.frozen) == [10]
  frozen = Drive(systems.frozen(SECONDS))
  assert [frozen().seconds for _ in itertools.repeat(None, 2)] == [10, 10]
