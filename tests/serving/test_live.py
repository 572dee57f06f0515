"""Serving on a clock that tests move, on the wall clock, and on devices."""

import itertools
import json
import os
from pathlib import Path
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import signatures

from jcl.control.drift import accounting, phases, systems
from jcl.control.drift.times import Times
from jcl.serving import books, latency, live, virtual, weight_swap

TESTS = Path(__file__).parents[1]
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
    "PYTHONPATH": str(TESTS),
  }
  done = subprocess.run(
    [sys.executable, "-c", DEVICES],
    env=environment,
    capture_output=True,
    text=True,
  )
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
