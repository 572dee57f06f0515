"""When `auto` retrains, pauses, doubts and forgets, by hand and in a run."""

import math

import numpy as np
import pytest
import signatures
import tiny_serving

from jcl.control.drift import pausing, systems, times
from jcl.serving import virtual

Answers, Change, Known = pausing.Answers, pausing.Change, pausing.Known
RULES = pausing.Rules()
# A turn of 21 batches that train, 14 that validate and 108 labels: 9.22 s.
FAST = times.Times(infer=0.01, train=0.4, valid=0.02, label=0.005)


def test_a_change_counts_both_ways():
  before = np.array([True, True, False, False, False])
  after = np.array([True, False, True, True, False])
  assert pausing.change(before, after) == Change(5, better=2, worse=1)
  with pytest.raises(ValueError, match="the same frames"):
    pausing.change(before, after[:4])


def test_a_gain_is_a_mean_with_its_error():
  changes = [Change(30, 3, 0), Change(70, 5, 2)]
  mean, error = pausing.gain(changes)
  assert mean == pytest.approx(0.06)  # (8 - 2) / 100
  assert error == pytest.approx(math.sqrt((0.10 - 0.0036) / 100))
  assert pausing.gain(changes, design=4.0)[1] == pytest.approx(2 * error)
  # As of the differences -1, 0 and 1 themselves.
  differences = np.repeat([1, -1, 0], [8, 2, 90])
  assert error == pytest.approx(differences.std() / 10)
  assert pausing.gain([Change(9, 9, 0)]) == (1.0, 0.0)
  assert pausing.gain([]) == pausing.gain([Change(0, 0, 0)]) == (0.0, 0.0)


def test_retraining_gains_where_the_latest_exceed_their_error():
  none, much = Change(100, 0, 0), Change(100, 20, 0)
  mixed = Change(100, 11, 9)  # 2 points, with an error of 4.5
  assert pausing.gains([none], patience=2)  # too few to tell
  assert not pausing.gains([none, none], patience=2)
  assert not pausing.gains([much, none, none], patience=2)
  assert pausing.gains([none, none, much], patience=2)
  assert not pausing.gains([mixed], patience=1)
  # 10 points, of an error of 3 points or of twice as much as 10.
  ten = Change(100, 10, 0)
  assert pausing.gains([ten], patience=1)
  assert not pausing.gains([ten], patience=1, design=12.0)


@pytest.mark.parametrize(
  "pauses, start, most, following",
  [(0, 2, 8, 2), (2, 2, 8, 4), (4, 2, 8, 8), (8, 2, 8, 8), (0, 3, 3, 3)],
)
def test_pauses_double_up_to_the_most(pauses, start, most, following):
  assert pausing.longer(pauses, start, most) == following


def test_what_a_test_says():
  said = [pausing.outcome(p, 0.01, 0.1) for p in (0, 0.01, 0.011, 0.1, 0.2, 1)]
  assert said == ["drift", "drift", "doubt", "doubt", "calm", "calm"]
  assert pausing.outcome(0.02, 0.05, 0.05) == "drift"  # nothing is doubted


def test_what_follows_a_test():
  none, much, now = Change(90, 0, 0), Change(90, 30, 0), Answers(50, 54)
  idle = Known(Answers(80, 108), (none, none))

  def after(known, said="calm", trained=True):
    return pausing.following(known, said, now, RULES, trained)

  # Answers of the same weights add up, and pauses begin.
  assert after(idle) == Known(Answers(130, 162), (none, none), 2, 2)
  assert after(idle._replace(pauses=2)).left == 4
  assert after(idle._replace(pauses=8)).left == 8
  # The first retraining behind a doubt is too little to judge by.
  assert after(Known(Answers(80, 108), (none,))).left == 0
  gained = idle._replace(changes=(none, none, much), pauses=4)
  assert after(gained) == Known(Answers(130, 162), (none, much))
  # One pause less to come; the next time there are twice as many.
  paused = idle._replace(pauses=4, left=3)
  found = after(paused, trained=False)
  assert found == paused._replace(answers=Answers(130, 162), left=2)
  for said in ("drift", "doubt"):
    assert after(paused, said, trained=False) == Known()
    assert after(gained, said) == Known()


def run(text, num, student, weights=0.8, seconds=FAST):
  return virtual.run(
    systems.build(text, seconds),
    student,
    weights,
    tiny_serving.frames_of(num),
    infer=seconds.infer,
  )


def kinds(found):
  return [each.kind for each in found.phases if each.complete]


class Changing(tiny_serving.Student):
  """Right on all frames before `change`, on a share of those from there on."""

  def __init__(self, change, share):
    super().__init__()
    self.change, self.share, self.trained = change, share, []

  def predict(self, weights, images):
    high, low = images[:, 0, 1:3, 0].astype(int).T
    late = 256 * high + low >= self.change
    return np.where(
      late[:, None],
      super().predict(self.share, images),
      super().predict(1.0, images),
    )

  def passes(self, weights, images, labels, epochs, seed):
    high, low = images[:, 0, 1:3, 0].astype(int).T
    self.trained.append(np.sort(256 * high + low))
    return super().passes(weights, images, labels, epochs, seed)


def test_without_gain_pauses_grow_and_labels_go_on():
  student = tiny_serving.Student()
  found = run("auto", 6000, student)
  turn, pause = ["retrain", "label"], ["wait", "label"]
  expected = ["first_label", *2 * turn, *2 * pause, *turn, *4 * pause]
  expected += [*turn, *8 * pause, *turn, *8 * pause, *turn]
  made = kinds(found)
  assert made[: len(expected)] == expected
  # A pause lasts half as long as a retraining, and half as much is labelled.
  wait = found.phases[made.index("wait")]
  retrain = found.phases[made.index("wait") - 2]
  assert retrain.kind == "retrain"
  assert retrain.seconds == pytest.approx(21 * 0.4 + 7 * 0.02)
  assert wait.seconds == pytest.approx(retrain.seconds / 2)
  assert wait.result == {} and "2 pauses to come" in wait.reason
  assert [each["kind"] for each in wait.candidates] == ["retrain", "wait"]
  labelled = [each.result["labelled"] for each in found.phases[:9:2]]
  assert labelled == [432, 108, 108, 54, 54]
  # What is answered once more costs time, and in a pause nothing is.
  lasts = [each.seconds for each in found.phases[:9:2]]
  np.testing.assert_allclose(lasts[1:], [0.68, 0.68, 0.27, 0.27])
  assert not any(each.drifted for each in found.phases)
  assert found.working < 0.5


def test_with_gain_it_never_pauses():
  found = run("auto", 6000, tiny_serving.Student(gain=0.05), weights=0.2)
  gained = [each for each in found.decisions if each.note["acc_label"] < 95]
  assert len(gained) > 10
  assert not any(each.kind == "wait" for each in gained)
  third = gained[2].note
  assert third["gain"] == pytest.approx(5, abs=4)
  assert 0 < third["error"] < third["gain"]
  assert found.phases[1].note == {}  # nothing was tested yet


def test_patience_and_the_lengths_of_pauses_are_options():
  made = kinds(
    run("auto:patience=1,start=1,most=2", 3000, tiny_serving.Student())
  )
  turn, pause = ["retrain", "label"], ["wait", "label"]
  expected = [
    "first_label",
    *turn,
    *pause,
    *turn,
    *2 * pause,
    *turn,
    *2 * pause,
  ]
  assert made[: len(expected)] == expected


def test_a_drift_ends_pauses_drops_samples_and_labels_more():
  student = Changing(3000, share=0.4)
  found = run("auto", 6000, student)
  (drift,) = (each for each in found.phases if each.drifted)
  at = found.phases.index(drift)
  assert drift.kind == "extra_label" and drift.first >= 3000
  assert drift.result["labelled"] == 324 and not drift.note["doubt"]
  assert [each.kind for each in found.phases[at - 2 : at]] == ["wait", "label"]
  after = [each.kind for each in found.phases[at + 1 : at + 6]]
  assert after == ["retrain", "label", "retrain", "label", "wait"]
  before = sum(each.kind == "retrain" for each in found.phases[:at])
  # Only what was labelled behind the drift, or in the turn that found it.
  assert student.trained[before].min() >= found.phases[at - 2].first
  assert student.trained[before - 1].max() < 3000
  none = run("auto:first=1", 6000, Changing(3000, share=0.4))
  assert "extra_label" not in kinds(none)
  assert any(each.drifted for each in none.phases)


def test_a_doubt_ends_pauses_and_drops_nothing():
  student = Changing(3000, share=0.8)
  found = run("auto:level=1e-9,watch=0.2", 4500, student)
  (first, *_) = (each for each in found.phases if each.note.get("doubt"))
  at = found.phases.index(first)
  assert first.kind == "retrain" and first.first >= 3000 and not first.drifted
  assert first.reason.startswith("doubt: ")
  assert [each.kind for each in found.phases[at - 2 : at]] == ["wait", "label"]
  after = [each.kind for each in found.phases[at : at + 3]]
  assert after == ["retrain", "label", "retrain"]
  before = sum(each.kind == "retrain" for each in found.phases[:at])
  assert student.trained[before].min() < 3000
  assert "extra_label" not in kinds(found)


def test_the_buffer_holds_few_turns():
  trained = {}
  for horizon in (4, 10):
    student = Changing(10**6, share=1.0)
    run(f"auto:most=2,horizon={horizon}", 4500, student)
    trained[horizon] = student.trained[6]
  assert trained[4].min() > trained[10].min()


@pytest.mark.parametrize(
  "text, message",
  [
    ("auto:watch=0.005", "watch=0.005: give a share from level=0.01"),
    ("auto:watch=1", "watch"),
    ("auto:level=0", "level"),
    ("auto:design=0.5", "design"),
    ("auto:patience=0", "patience"),
    ("auto:start=0", "start"),
    ("auto:most=1", "most=1: give start=2 pauses or more"),
    ("auto:labels=0", "labels"),
    ("auto:horizon=3", "horizon"),
  ],
)
def test_bad_options(text, message):
  with pytest.raises(ValueError, match=message):
    systems.build(text, FAST)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(pausing.Rules) == {
    "level": 0.01,
    "watch": 0.1,
    "design": 3.0,
    "patience": 2,
    "start": 2,
    "most": 8,
  }
  assert signatures.defaults(pausing.gains) == {"design": 1.0}
  assert signatures.defaults(systems.auto) == {
    "labels": 108,
    "first": 4,
    "horizon": 4,
    "level": 0.01,
    "watch": 0.1,
    "design": 3.0,
    "patience": 2,
    "start": 2,
    "most": 8,
  }
