"""Runs a system on the wall clock, beside a thread that serves.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353, serve, label and
retrain at the same time on parts of one array. Here one thread serves frames
one by one as they arrive, and loses frames that arrive while it is busy; the
calling thread labels and retrains. With several devices, each thread has its
own; on a single device they compete, which is measured, not modelled.

A phase lasts as long as its system plans, or until its work is done if that is
later. Retraining begins with the phase; the new weights are staged when they
are ready, and serve from the end of the phase on. Frames to label are known at
the end of a phase only, so they are labelled then. If no frame is lost and no
phase is late, all decisions equal those of `virtual.run`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import dataclasses
import math
import threading
import time
from typing import Any, Self

import jax
import numpy as np

from jcl import base
from jcl.control.drift import allocation, phased, phases, sampling
from jcl.serving import books as books_lib
from jcl.serving import latency, log, weight_swap

# weights, images [n, ...] uint8 -> logits [n, C]
Predict = Callable[[Any, np.ndarray], Any]

_NEAR = 1e-9  # frames: stamps this near count as equal
_LOOKS = 50  # looks at the server's progress in the time of a frame
_LONGEST = 0.1  # seconds between two looks, at most


def stopwatch(
  clock: Callable[[], float] = time.monotonic,
) -> Callable[[], float]:
  """Returns a clock of the seconds since this call."""
  start = clock()
  return lambda: clock() - start


def _to_serve(weights: books_lib.Weights) -> books_lib.Weights:
  """Returns the parts of a learner's state that serving reads."""
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

  A frame that arrives while another frame is being answered is lost. A frame is
  read before its arrival, as if a camera had it ready.

  Args:
    predict: from weights and images [1, ...] to logits [1, C].
    weights: read once per frame.
    frames: [n, ...] uint8, an array or an object that is read like one.
    fps: frames per second.
    clock: returns seconds, 0 as frame 0 arrives; None: a `stopwatch`.
    sleep: waits for seconds of that clock.
    stop: is called before each frame; True ends the serving.
    record: collects the answers, for other threads to read; None: a new one.

  Returns:
    The answers; `control.drift.accounting.correct` scores lost frames.
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


def _answer(
  predict: Predict, tree: Any, image: np.ndarray
) -> tuple[int, float]:
  """Returns the class of one frame, and its probability."""
  logits = np.asarray(predict(tree, image))
  return int(np.argmax(logits[0])), float(sampling.top_probability(logits)[0])


@dataclasses.dataclass(frozen=True)
class Span:
  """Times of a phase, in seconds from frame 0's arrival."""

  kind: str
  began: float
  ended: float
  late: float  # beyond its plan, in whole frames
  work: tuple[float, float] | None  # start and end of its work beside serving


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """A run on the wall clock; its log has the form of `virtual.run`'s log."""

  log: log.Log
  answers: latency.Served  # seconds from frame 0's arrival
  times: np.ndarray  # [V, 2] seconds, see `weight_swap.Weights.times`
  spans: tuple[Span, ...]  # of the phases

  def summary(self, kind: str | None = None) -> latency.Summary:
    """Summarises latencies, losses and staleness.

    Args:
      kind: of phases, such as "retrain": only frames that arrived during the
        work of such phases count; "idle": only frames that arrived while no
        work was done; None: all frames.
    """
    stamps = np.arange(len(self.log.truth)) / self.log.about["fps"]
    answers = self.answers
    if kind is not None:
      spans = [
        span.work
        for span in self.spans
        if span.work and kind in ("idle", span.kind)
      ]

      def chosen(stamps: np.ndarray) -> np.ndarray:
        return latency.inside(stamps, spans) != (kind == "idle")

      answers = latency.choose(answers, chosen(answers.stamps))
      stamps = stamps[chosen(stamps)]
    return latency.summarise(answers, len(stamps), self.times)


def run(
  system: phases.System,
  student: books_lib.Student,
  weights: books_lib.Weights,
  frames: books_lib.LabelledFrames,
  *,
  labeller: books_lib.Labeller | None = None,
  seed: int = 0,
  devices: Sequence[jax.Device] = (),
  checked: bool = False,
  clock: Callable[[], float] = time.monotonic,
  sleep: Callable[[float], None] = time.sleep,
  about: Mapping[str, Any] | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> Result:
  """Runs a system over a stream as it arrives, to its end.

  The work of a phase is lost if the stream ends in this phase. Retraining and
  labelling should be compiled before the run: compiling makes phases late.

  Args:
    system: labels and retrains.
    student: serves and learns; it knows the devices that it trains on.
    weights: the first weights; they are not changed.
    frames: the stream.
    labeller: the teacher, from images to classes; None: labels are the truth.
    seed: of retrainings and of the system's own draws.
    devices: serve; new weights are copied to them before the swap. Empty: the
      devices where the weights lie.
    checked: compares checksums of the weights before and after each swap.
    clock: returns seconds, monotonic.
    sleep: waits for seconds of that clock.
    about: more facts for the log.
    progress: called with frames done and frames in all after every phase.

  Raises:
    CausalityError: for a system that uses the future.
    Torn: if `checked`, for weights that changed while they served.
  """
  put = weight_swap.copied if not devices else weight_swap.onto(devices)
  slot = weight_swap.Weights(_to_serve(weights), put=put, checked=checked)
  first = np.asarray(frames.images[np.array([0])])
  # A first answer compiles before the stream begins, so that no frame waits. It
  # runs in a thread of its own: if the caller changed JAX's defaults for its
  # own thread, JAX would compile again for the serving thread.
  with futures.ThreadPoolExecutor(1, "first") as pool:
    pool.submit(_answer, student.predict, slot.current.tree, first).result()
  num = len(frames)
  books = books_lib.Books(
    student,
    weights,
    frames,
    labeller,
    np.ones(num, bool),
    causal=system.causal,
    seed=seed,
  )
  server = _Server(student.predict, slot, frames, stopwatch(clock), sleep)
  trainer = _Trainer(books, server, checked)
  asked = phased.Asked(phased.controller(system), books.view, num)
  sent, took = None, 0.0
  entries, spans = [], []
  with server:
    while books.seen < num:
      entry, span, sent = trainer.run(asked.next(sent, took))
      took = span.ended - span.began
      entries.append(entry)
      spans.append(span)
      if progress is not None:
        progress(books.seen, num)
  made = books.close(system, entries, {"clock": "live", **(about or {})})
  return Result(made, server.record.served(), slot.times, tuple(spans))


class _Server:
  """The serving thread and its progress."""

  def __init__(
    self,
    predict: Predict,
    slot: weight_swap.Weights,
    frames: books_lib.LabelledFrames,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
  ) -> None:
    self.slot, self.fps, self.num = slot, frames.fps, len(frames)
    self.clock, self.sleep = clock, sleep
    self.record = latency.Record()
    self._stopped = threading.Event()
    self._error: BaseException | None = None

    def work() -> None:
      try:
        serve(
          predict,
          slot,
          frames.images,
          frames.fps,
          clock=clock,
          sleep=sleep,
          stop=self._stopped.is_set,
          record=self.record,
        )
      except BaseException as error:  # raised in the calling thread
        self._error = error

    self._thread = threading.Thread(target=work, name="serve", daemon=True)

  def __enter__(self) -> Self:
    self._thread.start()
    return self

  def __exit__(self, *_: Any) -> None:
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
  """Does the work of phases beside the server, and keeps the books."""

  def __init__(
    self, books: books_lib.Books, server: _Server, checked: bool
  ) -> None:
    self._books, self._server, self._checked = books, server, checked

  def run(
    self, decided: phased.Decided
  ) -> tuple[log.Entry, Span, phases.Result | None]:
    """Runs a phase; returns its log entry, its times and its result."""
    phase = decided.phase
    books, server, work = self._books, self._server, phase.work
    first, num, began = books.seen, server.num, server.clock()
    planned = allocation.owned(first, phase.seconds, server.fps).stop
    complete = planned <= num
    span: tuple[float, float] | None = None
    told: dict[str, float] = {}
    sent: phases.Result | None = None
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
    late = (books.seen - min(planned, num)) / server.fps
    ended = server.clock()
    frames, took = (first, books.seen), ended - began
    return (
      log.Entry.of(decided, frames, complete, told, took),
      Span(phase.kind, began, ended, late, span),
      sent,
    )

  def _perform(
    self, work: phases.Work, first: int
  ) -> tuple[phases.Result, dict[str, float], tuple[float, float]]:
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
    # The new version cannot have served a frame before these.
    versions[-1] = dataclasses.replace(versions[-1], born=self._books.seen)

  def _book(self, stop: int) -> None:
    """Waits until the frames before `stop` are settled, and records them."""
    self._server.settle(stop)
    books, answers = self._books, self._server.record.served()
    ids = np.arange(books.seen, stop)
    # A lost frame repeats the answer before it; frame 0 is never lost.
    rows = np.searchsorted(answers.frames, ids, side="right") - 1
    books.served[ids] = answers.frames[rows] == ids
    books.predictions[ids] = answers.predictions[rows]
    books.confidence[ids] = answers.confidences[rows]
    books.version[ids] = answers.versions[rows]
    books.arrive(stop)
