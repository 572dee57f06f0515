"""Runs a system on the wall clock, beside a thread that serves.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, serve, label and retrain at the same time on parts
of one array. Here a thread serves each frame as it arrives, one by one, and
loses those that arrive while it is busy; the calling thread labels and
retrains. On several devices each has its own; on one they contend, which is
measured and not modelled.

A phase lasts as long as its system plans, and longer where its work is not done
by then. Retraining begins with the phase; what it makes is staged when it is
ready, and serves from the end of the phase on. Frames to label are known at the
end of a phase only, so they are labelled then. As long as no frame is lost and
no phase is late, decisions are those of `virtual.run`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import dataclasses
from fractions import Fraction
import math
import threading
import time
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.control.drift import allocation, phases, sampling
from jcl.serving import books, latency, log, weight_swap

# weights, images [n, ...] uint8 -> logits [n, C]
Predict = Callable[[Any, np.ndarray], Any]

_NEAR = 1e-9  # frames: stamps this near count as equal
_LOOKS = 50  # at the server's progress, in the time of a frame
_LONGEST = 0.1  # seconds between two looks


def stopwatch(clock: Callable[[], float] = time.monotonic):
  """Returns a clock of seconds since now."""
  start = clock()
  return lambda: clock() - start


def _to_serve(weights: books.Weights) -> books.Weights:
  """Parts of a learner's state that serving reads; its memory stays behind."""
  if not isinstance(weights, base.LearnerState):
    return weights
  train = weights.train._replace(opt_state={})
  return base.LearnerState(train, (), (), ())


def _never() -> bool:
  return False


def serve(
  predict: Predict,
  weights: weight_swap.Weights,
  frames: Any,
  fps: float,
  *,
  clock: Callable[[], float] | None = None,
  sleep: Callable[[float], None] = time.sleep,
  stop: Callable[[], bool] = _never,
  record: latency.Record | None = None,
) -> latency.Served:
  """Answers frames as they arrive, until the last one.

  A frame that arrives while another one is being answered is lost. Each is read
  ahead of its time, as a camera would hand it over.

  Args:
    predict: from weights and images [1, ...] to logits [1, C].
    weights: read once per frame.
    frames: [n, ...] uint8, an array or what reads rows like one.
    fps: frames per second.
    clock: seconds, 0 as frame 0 arrives; None: a `stopwatch`.
    sleep: waits for seconds of that clock.
    stop: asked before each frame whether to end.
    record: takes the answers, for others to read meanwhile.

  Returns:
    The answers; which prediction a lost frame counts with is for
    `drift.accounting.correct` to say.
  """
  clock = stopwatch() if clock is None else clock
  record = latency.Record() if record is None else record
  num, frame = len(frames), 0
  while frame < num and not stop():
    image = np.asarray(frames[np.array([frame])])
    if (early := frame / fps - clock()) > 0:
      sleep(early)
    begun = clock()
    version = weights.current
    best, top = _answer(predict, version.tree, image)
    done = clock()
    following = max(frame + 1, math.ceil(done * fps - _NEAR))
    record.add(
      frame,
      frame / fps,
      begun,
      done,
      version.number,
      best,
      top,
      settled=min(following, num),
    )
    frame = following
  return record.served()


def _answer(predict: Predict, tree: Any, image: np.ndarray):
  """The class of one frame, and its probability."""
  logits = np.asarray(predict(tree, image))
  return int(np.argmax(logits[0])), float(sampling.top_probability(logits)[0])


@dataclasses.dataclass(frozen=True)
class Span:
  """Times of a phase, in seconds from frame 0's arrival."""

  kind: str
  began: float
  ended: float
  late: float  # that it lasted beyond its plan, in whole frames
  work: tuple[float, float] | None  # when its work was done, beside serving


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """A run on the wall clock; the log has the same form as that of `virtual`."""

  log: log.Log
  answers: latency.Served  # seconds from frame 0's arrival
  times: np.ndarray  # [V, 2] seconds, see `handover.Weights.times`
  spans: tuple[Span, ...]  # of the phases

  def summary(self, kind: str | None = None) -> latency.Summary:
    """Returns latencies, losses and staleness.

    Args:
      kind: of phases: of frames that arrived while their work was done. "idle":
        while no work was. None: of all frames.
    """
    stamps = np.arange(len(self.log.truth)) / self.log.about["fps"]
    answers = self.answers
    if kind is not None:
      spans = [
        span.work
        for span in self.spans
        if span.work and kind in ("idle", span.kind)
      ]

      def chosen(stamps):
        return latency.inside(stamps, spans) != (kind == "idle")

      answers = latency.choose(answers, chosen(answers.stamps))
      stamps = stamps[chosen(stamps)]
    return latency.summarise(answers, len(stamps), self.times)


def run(
  system: phases.System,
  student: books.Student,
  weights: books.Weights,
  footage: books.Footage,
  *,
  labeller: books.Labeller | None = None,
  seed: int = 0,
  devices: Sequence[jax.Device] = (),
  checked: bool = False,
  clock: Callable[[], float] = time.monotonic,
  sleep: Callable[[float], None] = time.sleep,
  about: Mapping[str, Any] | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> Result:
  """Runs a system over a stream as it arrives, to its end.

  Work of a phase that the stream ends in is lost. What retraining and labelling
  compile should be compiled before: in the stream it makes phases late.

  Args:
    system: what labels and retrains.
    student: serves and learns.
    weights: it begins with; they are left as they are.
    footage: what arrives.
    labeller: the teacher, from images to classes; None takes the truth.
    seed: of retrainings and of the system's own draws.
    devices: that serve; new weights are copied to them before the swap. None
      given: where the weights lie. The student knows those that it trains on.
    checked: compares checksums of the weights before and after each swap.
    clock: seconds, monotonic.
    sleep: waits for seconds of that clock.
    about: more for the log to say.
    progress: called with frames done and frames in all after every phase.

  Raises:
    CausalityError: where the system uses what it cannot know.
    Torn: where weights were changed while they served, if `checked`.
  """
  put = weight_swap.copied if not devices else weight_swap.onto(devices)
  slot = weight_swap.Weights(_to_serve(weights), put=put, checked=checked)
  first = np.asarray(footage.frames[np.array([0])])
  # Whatever a first answer compiles or loads is not to delay frames. It comes
  # from a thread: where the caller has set JAX's defaults for its own, JAX
  # would compile anew for the thread that serves.
  with futures.ThreadPoolExecutor(1, "first") as pool:
    pool.submit(_answer, student.predict, slot.current.tree, first).result()
  num = len(footage)
  site = books.Site(
    student,
    weights,
    footage,
    labeller,
    np.ones(num, bool),
    causal=system.causal,
    seed=seed,
  )
  server = _Server(student.predict, slot, footage, stopwatch(clock), sleep)
  trainer = _Trainer(site, server, checked)
  steps, sent = system.phases(site.view), None
  entries, spans = [], []
  with server:
    while site.seen < num:
      try:
        phase = steps.send(sent)
      except StopIteration:  # it is done: the weights serve on
        phase = phases.Phase("wait", Fraction(num - site.seen, footage.fps))
      entry, span, sent = trainer.run(phase)
      entries.append(entry)
      spans.append(span)
      if progress is not None:
        progress(site.seen, num)
  steps.close()
  if system.causal:
    site.check()
  made = log.Log(
    site.predictions,
    footage.labels.astype("int32"),
    site.served,
    site.version,
    tuple(entries),
    {
      "system": system.name,
      "causal": system.causal,
      "seed": seed,
      "fps": footage.fps,
      "labels": "oracle" if labeller is None else "teacher",
      "clock": "live",
      **(about or {}),
    },
  )
  return Result(made, server.record.served(), slot.times, tuple(spans))


class _Server:
  """The thread that serves, and how far it is."""

  def __init__(self, predict, slot, footage, clock, sleep) -> None:
    self.slot, self.fps, self.num = slot, footage.fps, len(footage)
    self.clock, self.sleep = clock, sleep
    self.record = latency.Record()
    self._stopped = threading.Event()
    self._error: BaseException | None = None

    def work():
      try:
        serve(
          predict,
          slot,
          footage.frames,
          footage.fps,
          clock=clock,
          sleep=sleep,
          stop=self._stopped.is_set,
          record=self.record,
        )
      except BaseException as error:  # told to the calling thread
        self._error = error

    self._thread = threading.Thread(target=work, name="serve", daemon=True)

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._stopped.set()
    self._thread.join()

  @property
  def arrived(self) -> int:
    """Frames that have arrived."""
    return min(self.num, math.floor(self.clock() * self.fps + _NEAR) + 1)

  def settle(self, stop: int) -> None:
    """Waits until all frames before `stop` are answered or lost."""
    while self.record.settled < stop:
      if self._error is not None:
        raise self._error
      early = (stop - 1) / self.fps - self.clock()
      self.sleep(min(max(early, 1 / self.fps / _LOOKS), _LONGEST))


class _Trainer:
  """Carries phases out beside the server, and keeps the site."""

  def __init__(self, site: books.Site, server: _Server, checked: bool) -> None:
    self._books, self._server, self._checked = site, server, checked

  def run(self, phase: phases.Phase):
    """Returns what goes into the log, how it went, and the result."""
    site, server, work = self._books, self._server, phase.work
    first, num, began = site.seen, server.num, server.clock()
    planned = allocation.owned(first, phase.seconds, server.fps).stop
    complete = planned <= num
    span, told, sent = None, {}, None
    if complete and work is not None and not isinstance(work, phases.Label):
      sent, told, span = self._perform(work, first)
      complete = server.clock() * server.fps <= num
    self._book(min(num, max(planned, server.arrived)))
    if complete and isinstance(work, phases.Label):
      sent, told, span = self._perform(work, first)
      complete = server.clock() * server.fps <= num
      self._book(server.arrived)
    if complete and isinstance(work, phases.Retrain):
      self._swap()
    if not complete:
      told, sent = {}, None
    late = (site.seen - min(planned, num)) / server.fps
    return (
      log.Entry(
        phase.kind,
        first,
        site.seen,
        float(phase.seconds),
        complete,
        dict(phase.note),
        told,
      ),
      Span(phase.kind, began, server.clock(), late, span),
      sent,
    )

  def _perform(self, work: phases.Work, first: int):
    clock = self._server.clock
    began = clock()
    sent, told = self._books.perform(work, first)
    ended = clock()
    if isinstance(work, phases.Retrain):
      newest = max(work.train, default=-math.inf) / self._server.fps
      self._server.slot.stage(_to_serve(self._books.weights), ended, newest)
    return sent, told, (began, ended)

  def _swap(self) -> None:
    slot, versions = self._server.slot, self._books.versions
    if self._checked:
      weight_swap.verify(slot.current)
    slot.swap()
    if self._checked:
      weight_swap.verify(slot.current)
    # No frame before these can have been served by it.
    versions[-1] = dataclasses.replace(versions[-1], born=self._books.seen)

  def _book(self, stop: int) -> None:
    """Waits until the frames before `stop` are settled, and notes them."""
    self._server.settle(stop)
    site, answers = self._books, self._server.record.served()
    ids = np.arange(site.seen, stop)
    # A lost frame has the last answer before it; frame 0 is never lost.
    rows = np.searchsorted(answers.frames, ids, side="right") - 1
    site.served[ids] = answers.frames[rows] == ids
    site.predictions[ids] = answers.predictions[rows]
    site.confidence[ids] = answers.confidences[rows]
    site.version[ids] = answers.versions[rows]
    site.arrive(stop)
