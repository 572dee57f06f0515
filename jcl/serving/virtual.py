"""Runs a system on a clock that only its own phases move.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, evaluate so: kernels really train and predict, but
how long they take comes from a model of the hardware. A phase that starts at
frame i and lasts d seconds owns the frames that arrive meanwhile; they are
served by the weights as they are at its start, and its work is done at its end.
Frames are numbered on an exact clock (`drift.allocation`) and no time of day is
read, so that a run repeats itself bit for bit.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from jcl.control.drift import accounting, allocation, phases
from jcl.serving import books, log

_MOST_IDLE = 100  # phases in a row in which no frame arrives


def run(
  system: phases.System,
  student: books.Student,
  weights: books.Weights,
  footage: books.Footage,
  *,
  infer: allocation.Seconds,
  labeller: books.Labeller | None = None,
  seed: int = 0,
  about: Mapping[str, Any] | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> log.Log:
  """Runs a system over a stream to its end.

  Work of a phase that the stream ends in is lost, as published.

  Args:
    system: what labels and retrains.
    student: serves and learns.
    weights: it begins with; they are left as they are.
    footage: what arrives.
    infer: seconds that serving a frame takes, which decides what is dropped.
    labeller: the teacher, from images to classes; None takes the truth.
    seed: of retrainings and of the system's own draws.
    about: more for the log to say, such as the mode of the cost model.
    progress: called with frames done and frames in all after every phase.

  Raises:
    CausalityError: where the system uses what it cannot know.
    ValueError: where phases stop the clock.
  """
  num = len(footage)
  served = accounting.served(num, footage.fps, infer)
  site = books.Site(
    student,
    weights,
    footage,
    labeller,
    served,
    causal=system.causal,
    seed=seed,
  )
  entries: list[log.Entry] = []
  steps = system.phases(site.view)
  sent: phases.Result | None = None
  idle = 0
  while site.seen < num:
    try:
      phase = steps.send(sent)
    except StopIteration:  # it is done: the weights serve on
      phase = phases.Phase("wait", Fraction(num - site.seen, footage.fps))
    owned = allocation.owned(site.seen, phase.seconds, footage.fps)
    idle = 0 if owned else idle + 1
    if idle > _MOST_IDLE:
      raise ValueError(
        f"system {system.name!r} lasts 0 seconds in {idle} phases in a row, "
        f"the last being {phase.kind!r}: give them seconds"
      )
    site.serve(range(owned.start, min(owned.stop, num)))
    complete, sent = owned.stop <= num, None
    told: dict[str, float] = {}
    if complete and phase.work is not None:
      sent, told = site.perform(phase.work, owned.start)
    entries.append(
      log.Entry(
        phase.kind,
        owned.start,
        site.seen,
        float(phase.seconds),
        complete,
        dict(phase.note),
        told,
      )
    )
    if progress is not None:
      progress(site.seen, num)
  steps.close()
  if system.causal:
    site.check()
  return log.Log(
    site.predictions,
    footage.labels.astype("int32"),
    served,
    site.version,
    tuple(entries),
    {
      "system": system.name,
      "causal": system.causal,
      "seed": seed,
      "fps": footage.fps,
      "infer_seconds": float(infer),
      "labels": "oracle" if labeller is None else "teacher",
      "clock": "virtual",
      **(about or {}),
    },
  )
