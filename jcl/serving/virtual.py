"""Runs a system in virtual time, which only its own phases advance.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353, evaluate in this
way: kernels really train and predict, but their times come from a model of the
hardware. The frames that arrive while a phase lasts are served by the weights
at its start; its work is done at its end. Frames are numbered on an exact clock
(`control.drift.allocation`) and no real clock is read, so that a run repeats
bit for bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jcl.control.drift import accounting, allocation, phased, phases
from jcl.options.errors import UsageError
from jcl.serving import books as books_lib
from jcl.serving import log

_MOST_IDLE = 100  # phases in a row in which no frame arrives


def run(
  system: phases.System,
  student: books_lib.Student,
  weights: books_lib.Weights,
  frames: books_lib.LabelledFrames,
  *,
  infer: allocation.Seconds,
  labeller: books_lib.Labeller | None = None,
  seed: int = 0,
  about: Mapping[str, Any] | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> log.Log:
  """Runs a system over a stream to its end.

  As published, the work of a phase is lost if the stream ends in this phase.

  Args:
    system: labels and retrains.
    student: serves and learns.
    weights: the first weights; they are not changed.
    frames: the stream.
    infer: seconds of serving a frame, which decide how many are dropped.
    labeller: the teacher, from images to classes; None: labels are the truth.
    seed: of retrainings and of the system's own draws.
    about: more facts for the log, such as the mode of the cost model.
    progress: called with frames done and frames in all after every phase.

  Raises:
    CausalityError: for a system that uses the future.
    ValueError: for phases that never advance the clock.
  """
  num = len(frames)
  served = accounting.served(num, frames.fps, infer)
  books = books_lib.Books(
    student,
    weights,
    frames,
    labeller,
    served,
    causal=system.causal,
    seed=seed,
  )
  entries: list[log.Entry] = []
  asked = phased.Asked(phased.controller(system), books.view, num)
  sent: phases.Result | None = None
  idle, took = 0, 0.0
  while books.seen < num:
    decided = asked.next(sent, took)
    phase = decided.phase
    owned = allocation.owned(books.seen, phase.seconds, frames.fps)
    idle = 0 if owned else idle + 1
    if idle > _MOST_IDLE:
      raise UsageError(
        f"system {system.name!r} lasts 0 seconds in {idle} phases in a row, "
        f"the last being {phase.kind!r}: give them seconds"
      )
    books.serve(range(owned.start, min(owned.stop, num)))
    complete, sent = owned.stop <= num, None
    told: dict[str, float] = {}
    if complete and phase.work is not None:
      sent, told = books.perform(phase.work, owned.start)
    took = (books.seen - owned.start) / frames.fps
    entries.append(
      log.Entry.of(decided, (owned.start, books.seen), complete, told, took)
    )
    if progress is not None:
      progress(books.seen, num)
  more = {"infer_seconds": float(infer), "clock": "virtual", **(about or {})}
  return books.close(system, entries, more)
