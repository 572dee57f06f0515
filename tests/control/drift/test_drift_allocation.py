"""Phases and the frames they own, against published durations."""

import dataclasses
from fractions import Fraction
import math

import hypothesis
from hypothesis import strategies as st
import pytest
import signatures

from jcl.control.drift import allocation

RESNET18 = allocation.Kernels(
  train=0.993158584, valid=0.60 / 7, label=0.034770054
)
# seconds of first labelling, training, validation and labelling as published
PAIRS = {
  "resnet18": (15.02, 20.86, 0.60, 3.76, 25.2, 66),
  "vit_b32": (15.10, 35.72, 0.97, 3.78, 40.5, 41),
  "resnet34": (31.14, 43.44, 1.29, 7.79, 52.5, 31),
}
STATIC = {
  "resnet18": (0.2075, RESNET18, 747, 25.97, 93.36, 94.03),
  "vit_b32": (
    457 / 3600,
    allocation.Kernels(1.70103653, 0.1, 15.98 / 457),
    457,
    15.98,
    98.66,
    104.02,
  ),
  "resnet34": (
    346 / 3600,
    allocation.Kernels(91.01 / 44, 0.1, 24.94 / 346),
    346,
    24.94,
    91.01,
    95.06,
  ),
}


def kernels(pair):
  first, train, valid, _, _, _ = PAIRS[pair]
  return allocation.Kernels(train / 21, valid / 7, first / 432)


def test_the_first_phases_own_the_published_frames():
  phases = list(allocation.timeline(RESNET18))
  kinds = [each.kind for each in phases[:3]]
  assert kinds == ["first_label", "retrain", "label"]
  assert phases[0].frames == range(0, 451)
  assert phases[1].frames == range(451, 1095)
  assert phases[2].frames == range(1095, 1208)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_published_cycles(pair):
  *_, label, cycle, retrainings = PAIRS[pair]
  phases = list(allocation.timeline(kernels(pair)))
  frames = [i for each in phases for i in each.frames]
  assert frames == list(range(50_400))
  assert allocation.labelling_seconds(kernels(pair), 108) == pytest.approx(
    label, abs=0.01
  )
  turn = len(phases[1].frames) + len(phases[2].frames)
  assert turn / 30 == pytest.approx(cycle, abs=0.1)
  complete = [each for each in phases if each.complete]
  found = sum(each.kind == "retrain" for each in complete)
  assert abs(found - retrainings) <= 1
  assert all(each.complete for each in phases[:-1])


@hypothesis.given(
  st.floats(1e-4, 3), st.floats(1e-4, 3), st.floats(1e-4, 3),
  st.integers(1, 60), st.integers(0, 3000),
)  # fmt: skip
def test_frames_are_owned_once(train, valid, label, fps, num_frames):
  sizes = allocation.Sizes(train=30, valid=10, label=10, first_label=40)
  phases = allocation.timeline(
    allocation.Kernels(train, valid, label),
    num_frames=num_frames,
    fps=fps,
    sizes=sizes,
  )
  following, last = 0, None
  for each in phases:
    assert each.frames.start == following and each.frames
    assert last is None or last.complete
    following, last = each.frames.stop, each
  assert following == num_frames


@hypothesis.given(
  st.integers(0, 50_000), st.fractions(0, 100), st.integers(1, 60)
)
def test_a_phase_owns_the_frames_stamped_in_it(first, seconds, fps):
  found = allocation.owned(first, seconds, fps)
  start = Fraction(first, fps)
  assert found.start == first
  if found:
    assert Fraction(found[-1], fps) < start + seconds
  assert Fraction(found.stop, fps) >= start + seconds


def test_decimal_seconds_are_what_they_look_like():
  assert allocation.exact(0.04) == Fraction(1, 25)
  assert allocation.owned(0, 0.04, 25) == range(0, 1)
  assert allocation.owned(0, 3 * 0.1, 10) == range(0, 3)
  assert allocation.exact(2 / 30) * 30 == 2
  assert float(allocation.exact(1.70103653)) == 1.70103653


def test_ragged_batches_take_a_whole_one():
  each = allocation.Kernels(train=1.0, valid=0.1, label=0.01)
  assert allocation.retraining_seconds(each, 324, 108) == 21 + Fraction(7, 10)
  assert allocation.retraining_seconds(each, 33, 0, epochs=2) == 6
  assert allocation.retraining_seconds(each, 0, 0) == 0


def test_a_cut_phase_is_not_complete():
  found = allocation.phase("label", 10, 1.0, 10, 20)
  assert found.complete and found.frames == range(10, 20)
  found = allocation.phase("label", 11, 1.0, 10, 20)
  assert not found.complete and found.frames == range(11, 20)


@pytest.mark.parametrize("pair", STATIC)
def test_static_windows_as_published(pair):
  rate, kernels, labels, label, train, first = STATIC[pair]
  static = allocation.Static(kernels, rate)
  assert static.num_labels == labels
  assert float(static.training) == pytest.approx(train, abs=0.01)
  assert float(static.retrain_seconds) == pytest.approx(first, abs=0.01)
  assert float(120 - static.retrain_seconds) == pytest.approx(label, abs=0.01)
  window = static.window(3)
  assert window.retrain.start == 3 * 3600
  assert window.label.start == window.retrain.stop
  assert window.label.stop == 4 * 3600
  # the frame stamped at the end is the first phase's
  assert (window.retrain[-1] - 3 * 3600) / 30 <= static.retrain_seconds
  assert window.label[0] - 3 * 3600 > static.retrain_seconds * 30


def test_window_zero_labels_as_slowly_as_it_can():
  static = allocation.Static(RESNET18, 0.2075)
  seconds = static.first_seconds([0.01, 0.1, 0.15, 0.2])
  assert seconds == 120 - 747 * Fraction(15, 100)
  window = static.window(0, seconds)
  assert len(window.retrain) == math.floor(seconds * 30) + 1
  with pytest.raises(ValueError, match="none of them"):
    static.first_seconds([0.2])


def test_a_window_that_is_exactly_full():
  """Five labels of a second each, then one batch of five seconds."""
  kernels = allocation.Kernels(5, 1, 1)
  sizes = {"seconds": 10, "fps": 1, "epochs": 1}
  static = allocation.Static(kernels, 0.5, **sizes)
  assert (static.frames, static.num_labels) == (10, 5)
  assert static.training == static.retrain_seconds == 5
  assert static.window(2) == allocation.Window(
    range(20, 26), range(26, 30), Fraction(5)
  )
  # A first phase of the whole window leaves nothing behind it.
  assert static.window(1, Fraction(10)).label == range(20, 20)
  assert static.first_seconds([2, 1.5]) == Fraction(5, 2)  # 2 leaves nothing
  slower = dataclasses.replace(kernels, train=5.01)
  with pytest.raises(ValueError, match="5.01 s does not fit the 5 s"):
    allocation.Static(slower, 0.5, **sizes)


def test_the_bounds_of_a_rate():
  kernels = allocation.Kernels(1e-3, 1e-3, 1e-3)
  assert allocation.Static(kernels, 1).num_labels == 3600
  assert allocation.Static(kernels, 1 / 3600).num_labels == 1
  for rate in (0, 1.001, 0.99 / 3600):
    with pytest.raises(ValueError, match="at least one frame"):
      allocation.Static(kernels, rate)


def test_published_sizes():
  assert allocation.Sizes() == allocation.Sizes(324, 108, 108, 432, 16)
  assert allocation.Sizes(1, 1, 1, 1, 1).batch == 1
  each = allocation.Kernels(1, 1, 1)
  assert allocation.retraining_seconds(each, 16, 17) == 3
  static = allocation.Static(each, 1e-3)
  assert dataclasses.astuple(static)[2:] == (120, 30, 2, 16)


@pytest.mark.parametrize(
  ("value", "name"),
  [
    (RESNET18, "train"),
    (allocation.Sizes(), "batch"),
    (allocation.Phase("label", range(1), True), "frames"),
    (allocation.Window(range(1), range(1), Fraction(1)), "label"),
    (allocation.Static(RESNET18, 0.1), "rate"),
  ],
)
def test_values_cannot_be_changed(value, name):
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(value, name, 1)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: allocation.Kernels(0, 1, 1), "train=0"),
    (lambda: allocation.Kernels(1, 1, math.inf), "label=inf"),
    (lambda: allocation.Sizes(batch=0), "batch=0"),
    (lambda: allocation.Static(RESNET18, 0.5), "does not fit"),
    (lambda: allocation.Static(RESNET18, 1.5), "rate=1.5"),
    (lambda: allocation.Static(RESNET18, 1e-6), "at least one frame"),
  ],
)
def test_bad_numbers_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_sizes_are_values():
  assert dataclasses.replace(allocation.Sizes(), label=54).label == 54


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(allocation.retraining_seconds) == {
    "batch": 16,
    "epochs": 1,
  }
  assert signatures.defaults(allocation.timeline) == {
    "num_frames": 50400,
    "fps": 30,
  }
  assert signatures.defaults(allocation.Sizes) == {
    "train": 324,
    "valid": 108,
    "label": 108,
    "first_label": 432,
    "batch": 16,
  }
  assert signatures.defaults(allocation.Static) == {
    "seconds": 120,
    "fps": 30,
    "epochs": 2,
    "batch": 16,
  }
