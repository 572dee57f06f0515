"""Systems of phases as controllers."""

import dataclasses
from fractions import Fraction
import math

import numpy as np
import pytest

from jcl import base
from jcl.control.drift import phased, phases, systems, times


class View:
  """A view of which `seen` frames at 2 a second have arrived."""

  def __init__(self, seen=0, seed=0):
    self.seen, self.fps, self.seed = seen, 2, seed


def system_of(*steps, sent=None):
  def run(view):
    for step in steps:
      found = yield step
      if sent is not None:
        sent.append((view.seen, found))

  return phases.System("some", run)


def test_a_controller_decides_what_its_system_does_next():
  ids, sent, view = np.arange(3), [], View()
  steps = (
    phases.Phase("look", 1.5, phases.Label(lambda _: ids), reason="it is dark"),
    phases.Phase(
      "learn",
      2,
      phases.Retrain(ids, ids[:0], epochs=4),
      candidates=({"kind": "learn", "seconds": 2.0}, {"kind": "rest"}),
    ),
    phases.Phase("try", 3, phases.Trials(((ids, ids),), epochs=6)),
  )
  controller = phased.controller(system_of(*steps, sent=sent))
  assert controller.moments == ("phase",)
  asked = phased.Asked(controller, view, num=40)
  first = asked.next(None, 0.0)
  assert first.phase is steps[0] and first.reason == "it is dark"
  assert first.allocation == base.Allocation(0, label=1.0)
  assert first.limit.seconds == 1.5 and first.limit.joules == math.inf
  assert first.change == base.Change(
    "look", "it is dark", {"predicted": {"seconds": 1.5}, "candidates": []}
  )
  view.seen = 3
  second = asked.next("labels", 1.5)
  assert sent == [(3, "labels")]
  assert second.allocation == base.Allocation(4)
  assert second.change.details == {
    "predicted": {"seconds": 2.0},
    "candidates": [{"kind": "learn", "seconds": 2.0}, {"kind": "rest"}],
  }
  assert asked.next(None, 2.0).allocation == base.Allocation(6)
  view.seen = 35
  for _ in range(2):  # done, and still done
    rest = asked.next(None, 3.0)
    assert (rest.phase.kind, rest.phase.seconds) == ("wait", Fraction(5, 2))
    assert "last weights" in rest.reason and rest.phase.work is None


def test_a_controller_sees_what_the_phase_before_came_to():
  seen = []

  def decide(state, observation):
    seen.append(observation)
    return phased.decided(phases.Phase("wait", 1)), state + 1

  controller = base.Controller(lambda: 0, decide, moments=("phase",))
  asked, view = phased.Asked(controller, View(), num=9), View(4)
  asked.next(None, 0.0)
  asked.view = view
  decided = asked.next("result", 1.25)
  assert decided.allocation == base.Allocation(0)
  first, second = seen
  assert first.moment == second.moment == "phase"
  assert (first.experience, first.num_experiences) == (0, 1)
  assert (first.decision, first.used) == (None, base.Cost())
  assert second.decision.phase.kind == "wait"
  assert second.used == base.Cost(seconds=1.25)
  assert second.spent == base.Cost(seconds=2.0)
  assert (second.num_examples, second.result) == (9, "result")


def test_every_run_begins_with_phases_of_its_own():
  controller = phased.controller(system_of(phases.Phase("look", 1)))
  for _ in range(2):
    asked = phased.Asked(controller, View(), num=2)
    kinds = [asked.next(None, 0.0).phase.kind for _ in range(2)]
    assert kinds == ["look", "wait"]


def labelled(ids, share):
  """Labels of frames, of which a share was served rightly."""
  ids = np.asarray(ids)
  right = np.arange(len(ids)) < share * len(ids)
  return phases.Labelled(ids, np.zeros(len(ids), np.int32), right, right)


def after_a_test(text, share):
  """Returns the decision behind a test for drift in which a share is right."""
  seconds = times.published("resnet18")
  view = View()
  asked = phased.Asked(
    phased.controller(systems.build(text, seconds)), view, num=10**6
  )
  result, kind = None, ""
  while kind != "label":
    decided = asked.next(result, 0.0)
    phase, kind = decided.phase, decided.phase.kind
    view.seen += math.ceil(phase.seconds * view.fps)
    if isinstance(phase.work, phases.Label):
      result = labelled(phase.work.choose(view), share)
    else:
      result = phases.Retrained(len(phase.work.valid), len(phase.work.valid))
    assert decided.reason
  return asked.next(result, 0.0)


@pytest.mark.parametrize("drift", ["paper", "robust"])
def test_dacapo_tells_what_a_test_for_drift_chose_from(drift):
  text = f"dacapo:drift={drift},labels=32"
  calm, alarmed = after_a_test(text, 1.0), after_a_test(text, 0.25)
  assert calm.phase.kind == "retrain"
  assert calm.reason.startswith("no drift: 100.0 % of the labels were served")
  assert alarmed.phase.kind == "extra_label"
  assert alarmed.reason.startswith("drift: 25.0 % of the labels were served r")
  assert "100.0 % in validation" in alarmed.reason
  for each in (calm, alarmed):
    ways = {way["kind"]: way["seconds"] for way in each.phase.candidates}
    assert list(ways) == ["retrain", "extra_label"]
  # What is chosen takes what is predicted, but for frames yet to arrive.
  assert calm.phase.candidates[0]["seconds"] == calm.limit.seconds
  least = alarmed.phase.candidates[1]["seconds"]
  assert 0 < least <= alarmed.limit.seconds


def test_dacapo_without_tests_has_nothing_to_choose_from():
  decided = after_a_test("dacapo:drift=never,labels=32", 0.25)
  assert decided.phase.kind == "retrain" and not decided.phase.candidates
  assert decided.reason.startswith("drift is not tested: 25.0 % of the labels")


def test_decisions_are_changed_like_others():
  decided = phased.decided(phases.Phase("look", 1))
  other = dataclasses.replace(decided, reason="another")
  assert other.phase is decided.phase and other.reason == "another"


def test_decisions_are_compared_by_what_all_of_them_have():
  decided = phased.decided(phases.Phase("look", 1))
  assert decided == dataclasses.replace(decided, phase=phases.Phase("on", 1))
  assert phased.Seen.__eq__ is base.Observation.__eq__
