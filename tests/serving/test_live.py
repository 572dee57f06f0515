"""Serving on a clock that tests move, on the wall clock, and on devices."""

import itertools
import json
import os
import threading
import types

import numpy as np
import pytest
import ready
import signatures

from jcl.control.drift import accounting, phased, phases, systems
from jcl.control.drift.times import Times
from jcl.serving import books, latency, live, log, virtual, weight_swap

SECONDS = Times(infer=0.04, train=0.5, valid=0.1, label=0.05)


class Simulated:
  """Time that passes only while all threads sleep; one of them runs at once."""

  def __init__(self):
    self._now, self._main = 0.0, threading.current_thread()
    self._turn = threading.Condition()
    self._wakes, self._order = {}, itertools.count()

  def __call__(self):
    return self._now

  def sleep(self, seconds):
    me = threading.current_thread()
    with self._turn:
      self._wakes[me] = self._now + max(seconds, 0.0), next(self._order)
      self._turn.notify_all()
      while not self._mine(me):
        self._turn.wait(0.01)  # threads end without a word
      self._now = max(self._now, self._wakes.pop(me)[0])

  def _mine(self, me):
    all_ = {
      t for t in threading.enumerate() if t is self._main or t.name == "serve"
    }
    first = min(self._wakes, key=self._wakes.__getitem__)
    return all_ <= set(self._wakes) and first is me


class Centroids:
  """Answers with the nearest centre, and moves the centres to the samples."""

  def __init__(self, sleep=lambda _: None, infer=0.0, epoch=0.0):
    self._sleep, self._infer, self._epoch = sleep, infer, epoch

  def predict(self, weights, images):
    if threading.current_thread().name == "serve":
      self._sleep(self._infer)
    return -(np.abs(images[:, None] - weights["centres"]).mean(-1))

  def passes(self, weights, images, labels, epochs, seed):
    centres = weights["centres"]
    for epoch in range(epochs):
      self._sleep(self._epoch)
      centres = centres.copy()
      noise = np.random.default_rng((seed, epoch)).normal(0, 0.1, centres.shape)
      for label in np.unique(labels):
        centres[label] += images[labels == label].mean(0)
        centres[label] /= 2
      yield {"centres": (centres + noise).astype(np.float32)}


CENTRES = np.array([[0, 0], [100, 0], [0, 100]], np.float32)


def frames_of(num=900, fps=10, seed=0):
  """Three blobs that all move at once in the middle."""
  generator = np.random.default_rng(seed)
  labels = generator.integers(0, 3, num)
  moved = CENTRES + np.where(np.arange(num) < num // 2, 0, 70)[:, None, None]
  points = moved[np.arange(num), labels] + generator.normal(30, 25, (num, 2))
  return books.LabelledFrames(points.clip(0, 255).astype(np.uint8), labels, fps)


def simulated(system, stream, *, infer=0.0, epoch=0.0, **options):
  clock = Simulated()
  student = Centroids(clock.sleep, infer, epoch)
  return live.run(
    system,
    student,
    {"centres": CENTRES},
    stream,
    clock=clock,
    sleep=clock.sleep,
    **options,
  )


def virtually(system, stream, infer=0.04):
  weights = {"centres": CENTRES}
  return virtual.run(system, Centroids(), weights, stream, infer=infer)


@pytest.mark.parametrize(
  ("options", "infer", "epoch"),
  [
    ({"drift": "paper"}, 0.0, 0.0),
    ({"drift": "paper"}, 0.04, 0.5),
    ({"drift": "robust", "level": 0.2, "design": 1.0}, 0.04, 0.5),
  ],
)
def test_live_repeats_the_decisions_of_virtual(options, infer, epoch):
  system = systems.dacapo(SECONDS, labels=8, **options)
  stream = frames_of()
  expected = virtually(system, stream)
  found = simulated(system, stream, infer=infer, epoch=epoch, checked=True)
  assert found.log.served.all()
  assert found.log.phases == expected.phases
  assert found.log.predictions.tolist() == expected.predictions.tolist()
  assert found.log.versions.tolist() == expected.versions.tolist()
  assert len(expected.retrainings) > 10
  assert any(each.drifted for each in expected.phases)
  assert all(span.late == 0 for span in found.spans)
  assert found.log.about["clock"] == "live"


@pytest.mark.parametrize("infer", [0.05, 0.1, 0.15, 0.31])
def test_a_busy_server_loses_the_frames_that_arrive(infer):
  clock = Simulated()
  stream = frames_of(40)

  def predict(weights, images):
    clock.sleep(infer)
    return Centroids().predict(weights, images)

  served = live.serve(
    predict,
    weight_swap.Weights({"centres": CENTRES}),
    stream.images,
    stream.fps,
    clock=clock,
    sleep=clock.sleep,
  )
  expected = np.flatnonzero(accounting.served(40, stream.fps, infer))
  assert served.frames.tolist() == expected.tolist()
  late = served.done - served.stamps
  assert late == pytest.approx(np.full(len(expected), infer))
  assert served.begun == pytest.approx(served.stamps)


def test_lost_frames_repeat_the_last_answer():
  stream = frames_of(200)
  idle = phases.System("frozen", lambda view: (yield from ()))
  found = simulated(idle, stream, infer=0.15)
  assert found.log.drop_ratio == 0.5
  assert found.log.served[::2].all()
  predictions = found.log.predictions
  assert (predictions[1::2] == predictions[::2]).all()
  stale, strict = (found.log.correct(p).mean() for p in ("stale", "strict"))
  assert 0 < strict < stale
  summary = found.summary()
  assert summary.p50 == summary.p99 == pytest.approx(0.15)
  assert summary.drop_ratio == 0.5


def test_work_that_takes_longer_makes_phases_late():
  system = systems.dacapo(SECONDS, labels=8)
  found = simulated(system, frames_of(), epoch=3.0)
  retrained = [s for s in found.spans if s.kind == "retrain"]
  planned = [e.seconds for e in found.log.phases if e.kind == "retrain"]
  assert max(planned) < 2
  whole = retrained[:-1]  # the stream may end in the last
  assert all(span.ended - span.began > 2.99 for span in whole)
  late = [span.late for span in whole]
  assert late == pytest.approx([3.0 - planned[0]] * len(whole), abs=0.21)
  ends = [(each.first, each.stop) for each in found.log.phases]
  assert [a for a, _ in ends] == [0, *(b for _, b in ends[:-1])]
  assert ends[-1][1] == 900
  assert found.log.served.all()  # the server has its own time


def test_staleness_and_latency_are_told_apart_by_work():
  stream = frames_of()
  system = systems.dacapo(SECONDS, labels=8)
  found = simulated(system, stream, infer=0.02, epoch=0.5)
  every, idle = found.summary(), found.summary("idle")
  retraining = found.summary("retrain")
  assert idle.frames + retraining.frames == every.frames == 900
  assert retraining.frames > 0
  # Weights are ready half a second into a phase, and serve from its end on.
  planned = next(e.seconds for e in found.log.phases if e.kind == "retrain")
  assert every.behind_seconds_worst == pytest.approx(planned - 0.5, abs=0.21)
  assert every.behind_versions_worst == 1
  assert retraining.behind_versions == 0
  assert every.age_seconds > 0
  assert found.times.shape == (found.log.versions.max() + 1, 2)
  assert (np.diff(found.times[:, 0]) > 0).all()


def test_work_of_a_phase_that_the_stream_ends_in_is_lost():
  system = systems.dacapo(SECONDS, labels=8)
  for num in (20, 40, 55):
    stream = frames_of(num)
    found, expected = simulated(system, stream), virtually(system, stream)
    assert found.log.phases == expected.phases
    assert not found.log.phases[-1].complete
  # Here the phase fits the stream, but its work does not.
  found = simulated(system, frames_of(60), epoch=9.0)
  last = found.log.phases[-1]
  assert (last.kind, last.complete, last.result) == ("retrain", False, {})
  assert not found.log.versions.any()


def test_on_the_wall_clock():
  system = systems.dacapo(
    Times(infer=1e-3, train=0.01, valid=0.005, label=0.002), labels=8
  )
  stream = frames_of(100, fps=100)
  told = []
  found = live.run(
    system,
    Centroids(),
    {"centres": CENTRES},
    stream,
    checked=True,
    progress=lambda done, num: told.append((done, num)),
  )
  assert told[-1] == (100, 100)
  assert found.log.served[0] and found.log.served.sum() == len(
    found.answers.frames
  )
  assert (found.answers.done >= found.answers.begun).all()
  assert (np.diff(found.answers.versions) >= 0).all()
  assert (found.log.predictions >= 0).all()
  last = found.log.phases[-1]
  assert last.stop == 100
  json.loads(found.summary().to_json())


def test_what_fails_in_either_thread_is_told():
  class Blind(Centroids):
    def predict(self, weights, images):
      if threading.current_thread().name == "serve":
        raise OSError("no camera")
      return super().predict(weights, images)

  class Diverging(Centroids):
    def passes(self, *_):
      raise ArithmeticError("not finite")

  times = Times(infer=1e-3, train=1e-3, valid=1e-3, label=1e-3)
  system = systems.dacapo(times, labels=2)
  stream = frames_of(2000, fps=100)
  for student, error in ((Blind(), OSError), (Diverging(), ArithmeticError)):
    with pytest.raises(error):
      live.run(system, student, {"centres": CENTRES}, stream)
    assert "serve" not in {t.name for t in threading.enumerate()}


def test_serving_ends_when_told_to():
  record = latency.Record()
  live.serve(
    Centroids().predict,
    weight_swap.Weights({"centres": CENTRES}),
    frames_of(10_000).images,
    1000,
    stop=lambda: len(record) >= 5,
    record=record,
  )
  assert len(record) == 5


DEVICES = """
import json, threading
import jax, numpy as np
from jcl import base
from jcl.networks import catalogue
from jcl.control.drift import systems
from jcl.control.drift.times import Times
from jcl.serving import books, live, models

serving, *training = jax.devices()[:3]
network = catalogue.build("mlp", (4, 4, 1), 3, width=8, depth=1)
generator = np.random.default_rng(0)
frames = generator.integers(0, 255, (150, 4, 4, 1), np.uint8)
labels = generator.integers(0, 3, 150)
student = models.Student(
  network, mean=np.float32(0), std=np.float32(255), devices=training)
weights = student.begin(*network.init(jax.random.key(0)))
student.retrain(weights, frames[:32], labels[:32])  # compiles

used, predict = [], student.predict

def watched(weights, images):
  leaf = jax.tree.leaves(weights.train.params)[0]
  me = threading.current_thread().name
  found = sorted(d.id for d in leaf.devices())
  used.append((me in ("first_0", "serve"), found))
  return predict(weights, images)

student.predict = watched
found = live.run(
  systems.dacapo(Times(infer=.01, train=.05, valid=.05, label=.01), labels=8),
  student, weights, books.LabelledFrames(frames, labels, 100),
  devices=[serving], checked=True)
print(json.dumps({
  "serve": sorted({tuple(d) for mine, d in used if mine}),
  "train": sorted({tuple(d) for mine, d in used if not mine}),
  "versions": len(found.times), "frames": int(found.log.phases[-1].stop)}))
"""


def test_each_side_has_its_own_devices():
  flags = (
    "--xla_force_host_platform_device_count=3",
    "--xla_backend_optimization_level=0",
  )
  environment = {
    **os.environ,
    "XLA_FLAGS": " ".join(flags),
    "JAX_PLATFORMS": "cpu",
  }
  done = ready.call("-c", DEVICES, env=environment)
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["serve"] == [[0]] and found["train"] == [[1, 2]]
  assert found["versions"] > 1 and found["frames"] == 150


def test_how_long_is_waited_for_frames_to_settle():
  now, slept = [0.05], []
  server = object.__new__(live._Server)
  server.fps, server._error, server.num = 10, None, 9
  server.record = types.SimpleNamespace(settled=0)
  server.clock = lambda: now[0]

  def sleep(seconds):
    slept.append(seconds)
    now[0] += seconds
    if len(slept) == 6:
      server.record.settled = 5

  server.sleep = sleep
  server.settle(5)  # the last of them arrives at 0.4
  # A tenth of a second at most, a fiftieth of a frame at least.
  expected = [0.1, 0.1, 0.1, 0.05, 0.002, 0.002]
  assert slept == pytest.approx(expected)
  for second, arrived in ((0.0, 1), (0.099, 1), (0.1, 2), (5.0, 9)):
    now[0] = second
    assert server.arrived == arrived
  server.record.settled, server._error = 0, KeyError("predict")
  with pytest.raises(KeyError):
    server.settle(1)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(live.run) == {
    "seed": 0,
    "devices": (),
    "checked": False,
  }


@pytest.mark.parametrize(
  ("busy", "slept", "settled"),
  [
    (0.25, [], [1, 2, 3]),  # ready as the next frame arrives
    (0.125, [0.125, 0.125], [1, 2, 3]),
    (0.375, [0.125], [2, 3]),  # the second frame is lost
    (9.0, [], [3]),  # no more than there are
  ],
)
def test_a_server_sleeps_only_until_the_next_frame(busy, slept, settled):
  now, waits, told = [0.0], [], []

  def sleep(seconds):
    waits.append(seconds)
    now[0] += seconds

  def predict(weights, images):
    now[0] += busy
    return np.array([[0.0, 1.0]])

  class Record(latency.Record):
    def add(self, *answer, settled):
      told.append(settled)
      super().add(*answer, settled=settled)

  served = live.serve(
    predict,
    weight_swap.Weights({"w": np.zeros(1)}),
    np.zeros((3, 2, 2, 1), np.uint8),
    4,
    clock=lambda: now[0],
    sleep=sleep,
    record=Record(),
  )
  assert waits == slept and told == settled
  assert set(served.predictions.tolist()) == {1}
  top = np.exp(1) / (1 + np.exp(1))
  assert served.confidences == pytest.approx([top] * len(settled))


class Stage:
  """A server and books beside a trainer, with a clock that work moves on.

  Ten frames a second arrive, 20 in all; all of them are answered in time.
  """

  num, fps = 20, 10

  def __init__(self, takes, checked=False, first=0):
    self.now, self.takes = first / self.fps, takes
    self.seen, self.weights = first, {"w": np.zeros(1)}
    self.versions = [books.Version(0, 0, 0)]
    self.performed, self.staged, self.booked = [], [], []
    self.slot = types.SimpleNamespace(
      current="current",
      stage=lambda *given: self.staged.append(given[1:]),
      swap=lambda: self.staged.append("swap"),
    )
    self.trainer = live._Trainer(self, self, checked)
    self.trainer._book = self.book

  def clock(self):
    return self.now

  @property
  def arrived(self):
    return min(self.num, int(self.now * self.fps) + 1)

  def book(self, stop):
    self.booked.append(stop)
    self.seen = stop
    self.now = max(self.now, (stop - 1) / self.fps)

  def perform(self, work, first):
    self.performed.append(first)
    self.now += self.takes
    if isinstance(work, phases.Retrain):
      self.versions.append(books.Version(self.seen, first, 0))
    return "sent", {"done": 1}

  def run(self, seconds, work):
    phase = phases.Phase("some", seconds, work)
    return self.trainer.run(phased.decided(phase))


RETRAIN = phases.Retrain(np.array([3, 5, 4]), np.array([], int))


@pytest.mark.parametrize(
  ("seconds", "takes", "complete", "booked", "late"),
  [
    (1.0, 0.5, True, 10, 0.0),  # in time
    (0.5, 1.25, True, 13, 0.8),  # frames 0 to 12 have arrived
    (2.0, 2.0, True, 20, 0.0),  # all to the very end
    (1.0, 2.0, True, 20, 1.0),
    (1.0, 2.0625, False, 20, 1.0),  # the stream was over
    (2.1, None, False, 20, 0.0),  # the stream ends in it
  ],
)
def test_retraining_begins_with_its_phase(
  seconds, takes, complete, booked, late
):
  stage = Stage(takes)
  entry, span, sent = stage.run(seconds, RETRAIN)
  assert (entry.complete, sent) == (complete, "sent" if complete else None)
  assert entry.result == ({"done": 1} if complete else {})
  assert (entry.first, entry.stop) == (0, booked) and stage.booked == [booked]
  assert span.late == pytest.approx(late)
  assert stage.performed == ([] if takes is None else [0])
  assert span.work == (None if takes is None else (0.0, takes))
  made = [] if takes is None else [(takes, 0.5)]  # frame 5 is the newest
  assert stage.staged == made + ["swap"] * complete
  assert (stage.versions[-1].born == booked) == complete
  assert len(stage.versions) == 1 + len(made)


@pytest.mark.parametrize(
  ("takes", "complete", "booked", "late"),
  [
    (0.0, True, [15, 15], 0.0),
    (0.3125, True, [15, 18], 0.3),
    (0.6, True, [15, 20], 0.5),
    (0.6875, False, [15, 20], 0.5),
  ],
)
def test_labelling_ends_its_phase(takes, complete, booked, late):
  stage = Stage(takes, first=5)
  entry, span, sent = stage.run(1.0, phases.Label(lambda view: []))
  assert (entry.complete, sent) == (complete, "sent" if complete else None)
  assert stage.booked == booked and stage.performed == [5]
  assert (entry.first, entry.stop) == (5, booked[-1])
  assert span.late == pytest.approx(late)
  assert span.work == pytest.approx((1.4, 1.4 + takes))
  assert (span.kind, span.began, span.ended) == ("some", 0.5, stage.now)
  assert entry.took == pytest.approx(stage.now - 0.5)
  assert not stage.staged  # no weights are new


def test_phases_without_work_only_pass():
  stage = Stage(None)
  entry, span, sent = stage.run(2.0, None)
  assert entry.complete and sent is None and span.work is None
  assert stage.booked == [20] and not stage.performed and not stage.staged


@pytest.mark.parametrize("checked", [False, True])
def test_weights_are_verified_before_and_after_a_swap(checked, monkeypatch):
  stage = Stage(0.5, checked)
  verified = stage.staged.append
  monkeypatch.setattr(live.weight_swap, "verify", verified)
  stage.run(1.0, RETRAIN)
  order = ["current", "swap", "current"] if checked else ["swap"]
  assert stage.staged[1:] == order


def test_weights_without_samples_know_of_none():
  stage = Stage(0.5)
  stage.run(1.0, phases.Retrain(np.array([], int), np.array([], int)))
  assert stage.staged[0] == (0.5, -np.inf)


def test_a_summary_takes_the_frames_that_arrive_during_work():
  num = 10  # two a second, from 0 to 4.5 s; frame 5 is lost
  frames = np.delete(np.arange(num), 5)
  stamps = frames / 2
  ones = np.ones(len(frames), int)
  answers = latency.Served(
    frames, stamps, stamps, stamps + frames / 100, 0 * ones, ones, 1.0 * ones
  )
  spans = (
    live.Span("retrain", 0.0, 2.0, 0.0, (1.0, 2.0)),  # frames 2 and 3
    live.Span("label", 2.0, 4.0, 0.0, (2.5, 4.0)),  # 5, 6 and 7
    live.Span("wait", 4.0, 5.0, 0.0, None),
  )
  truth = np.zeros(num, np.int32)
  made = log.Log(truth, truth, truth == 0, truth, (), {"fps": 2})
  found = live.Result(made, answers, np.array([[0.0, -np.inf]]), spans)
  counts = {
    kind: (found.summary(kind).frames, found.summary(kind).served)
    for kind in (None, "retrain", "label", "wait", "idle")
  }
  assert counts == {
    None: (10, 9),
    "retrain": (2, 2),
    "label": (3, 2),
    "wait": (0, 0),
    "idle": (5, 5),
  }
  assert found.summary("retrain").worst == pytest.approx(0.03)
  assert found.summary("idle").worst == pytest.approx(0.09)
  assert len({found, found}) == 1  # by identity


def test_a_stream_of_one_frame_and_what_is_told_of_it():
  idle = phases.System("frozen", lambda view: (yield from ()))
  found = simulated(idle, frames_of(1), about={"mode": "full"})
  assert found.log.served.tolist() == [True]
  assert (found.log.about["clock"], found.log.about["mode"]) == ("live", "full")


def test_a_system_is_told_what_its_phases_took(monkeypatch):
  told = []
  ask = phased.Asked.next

  def asked(self, result, took):
    told.append(took)
    return ask(self, result, took)

  monkeypatch.setattr(phased.Asked, "next", asked)

  def two(view):
    yield phases.Phase("one", 1.0)
    yield phases.Phase("two", 0.5)

  found = simulated(phases.System("two", two), frames_of(30))
  assert [each.kind for each in found.log.phases] == ["one", "two", "wait"]
  spans = [span.ended - span.began for span in found.spans]
  assert told == [0.0, *spans[:-1]] and 0.5 < told[1] < 1.1


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(live.Result)
