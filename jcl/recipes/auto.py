"""One recipe for any budget: a solved classifier, updates where they pay."""

import functools
import math
from typing import NamedTuple

from jcl import base
from jcl.control import joint
from jcl.objectives import closed_form, set_aside, solved_head
from jcl.options import errors, kinds
from jcl.options.errors import UsageError
from jcl.recipes import judged
from jcl.recipes.er import er
from jcl.replay import balanced, held_out

# Numbers of random features, the usual one first; their cost grows with the
# square, and accuracy falls a little with each.
_FEATURES = (2000, 1000, 500, 250, 100, 50)
_BUFFER = 500  # examples, where memory is not limited
_MINIBATCH = 32
_KNOBS = frozenset({"way", "epochs"})
_PART = 0.6  # of a budget, that the classifiers may take where updates could
# What seconds and joules are worth in operations, ahead of the run: a slow
# board's pace, so that the classifier leaves something of the budget anywhere.
_FLOPS_PER_SECOND, _WATTS = 1e10, 10.0
_ROWS = 128  # examples of a batch of the pass
_ASIDE = 400
_DRAW = 60.0  # operations of a random number
_RATE = 1e-3  # of Adam, which knows no scale of inputs
_FLOAT = 4  # bytes


def auto(
  behind: base.Method | None = None,
  /,
  *,
  free: str = "way/epochs",
  buffer: kinds.Size | None = None,
  minibatch: kinds.Count | None = None,
  m: kinds.Count | None = None,
  share: kinds.InnerShare = 0.1,
  aside: kinds.Count = _ASIDE,
) -> base.Method:
  """Learns in the way that its budget pays for.

  Semantics: ahead of an experience's updates one pass adds `m` random Fourier
  features of its inputs to sums, of which discriminant analysis is solved, as
  `randumb` does. Then the network is trained with replay, while what that gains
  on examples set aside is worth its cost; see `control.joint`. The network
  predicts where it answers more of them than the classifier. The memory takes
  an experience in when it has ended.

  Args:
    behind: recipe whose network is trained, with a memory on the device, such
      as derpp:buffer=500; None: er.
    free: what is decided on, with a stroke in between: "way", whether
      classifier or network predicts, and "epochs", how long the network is
      trained. "none" leaves the recipe as it is, to the bit.
    buffer: memory of examples that are replayed, in examples or in bytes such
      as "2MB"; None: 500, and with a limit on memory what the sums leave of it.
    minibatch: examples replayed in each step; None: 32.
    m: number of Fourier features; None: the most of 2000, 1000, 500, 250, 100
      and 50 whose classifiers take three fifths of each limit or less; where
      none does, the network alone predicts.
    share: of the examples, those that neither train nor enter the sums, and
      are judged by.
    aside: examples set aside that the memory holds beside its own, the same
      number of every class.
  """
  knobs = _knobs(free)
  if behind is not None:
    for name, given in (("buffer", buffer), ("minibatch", minibatch)):
      if given is not None:
        raise UsageError(
          f"{name}={given}: the recipe ahead of +auto has a memory; give it "
          f"{name} there, as in er:{name}={given}+auto"
        )
    if not knobs:
      return behind
    _check(behind)
  own = _Own(behind, knobs, buffer, minibatch or _MINIBATCH, m, share, aside)
  method = _method(own)
  open_sizes = m is None or (buffer is None and behind is None)
  if not open_sizes:
    return method
  return method._replace(suited=functools.partial(_suited, own))


class _Own(NamedTuple):
  """Options of the recipe; None leaves a size to the run."""

  behind: base.Method | None
  knobs: frozenset[str]
  buffer: int | str | None
  minibatch: int
  m: int | None
  share: float
  aside: int


def _knobs(free: str) -> frozenset[str]:
  """Returns what is decided on."""
  found = frozenset() if free == "none" else frozenset(free.split("/"))
  if not found <= _KNOBS:
    raise UsageError(
      f"free={errors.short(free)}: give some of {', '.join(sorted(_KNOBS))} "
      "with a stroke in between, such as free=way/epochs, or none"
    )
  return found


def _check(behind: base.Method) -> None:
  """Raises UsageError for a recipe that cannot be judged as it goes."""
  judged.check(
    behind,
    "+auto",
    "compares a classifier with the network's outputs",
    "er or derpp",
  )
  if behind.controller is not None or behind.consolidation.settle is not None:
    raise UsageError(
      "+auto decides how much to learn, and the recipe does so by itself: put "
      "it behind one that does not, such as er or derpp"
    )


def _method(own: _Own) -> base.Method:
  """Returns the recipe, with the usual sizes where none are given."""
  behind = own.behind
  if behind is None:
    behind = er(buffer=own.buffer or _BUFFER, minibatch=own.minibatch)
    usual = base.Training(optimizer="adam", learning_rate=_RATE)
    behind = behind._replace(defaults=usual)
  if not own.knobs:
    return behind
  memory = behind.replay
  if memory.when == "step":  # there may be no steps
    memory = memory._replace(when="after")
  rule = held_out.by_number(own.share)
  method = behind._replace(
    replay=held_out.aside(memory, balanced.ring(own.aside, 0), rule),
    objective=set_aside.objective(behind.objective, rule),
    consolidation=set_aside.kept(rule),
  )
  if "epochs" in own.knobs:
    method = method._replace(govern=joint.joint)
  if "way" not in own.knobs:
    return method
  parts = solved_head.SolvedHead(
    behind.objective,
    closed_form.shared_covariance,
    lambda network: 0,
    rule,
    own.aside,
    view=base.EXPAND,
  )
  features = own.m or _FEATURES[0]
  return method._replace(
    objective=parts.objective,
    consolidation=parts.consolidation,
    predictor=solved_head.trained_or_solved(view=base.EXPAND),
    expand=base.Expansion(features, "fourier", trunk=False, beside=True),
  )


def _suited(own: _Own, outlook: base.Outlook) -> base.Method:
  """Returns the recipe with sizes that a run's limits allow."""
  m, knobs, aside = own.m, own.knobs, own.aside
  if math.inf > min(_allowed(outlook.total), outlook.ram):
    most = math.ceil(own.share * outlook.examples)  # more never come
    aside = min(aside, max(outlook.classes, most))
  if m is None and "way" in knobs:
    m = _features(outlook, aside)
    if not m and "epochs" not in knobs:
      raise UsageError(_too_little(outlook, aside))
    if not m:
      knobs = knobs - {"way"}
  buffer = own.buffer
  if own.behind is None and buffer is None and outlook.ram < math.inf:
    sums = 0 if m is None else _bytes_of_sums(m, outlook.classes)
    rows = int((outlook.ram - sums) // outlook.row_bytes)
    aside = min(aside, max(outlook.classes, rows // 5))
    buffer = rows - aside
    if buffer < outlook.classes:
      least = sums + 2 * outlook.classes * outlook.row_bytes
      raise UsageError(
        f"memory_budget={outlook.ram:.0f} holds no example of each of "
        f"{outlook.classes} classes, and one set aside: give {least} or more"
      )
  own = own._replace(knobs=knobs, m=m, buffer=buffer, aside=aside)
  return _method(own)


def _features(outlook: base.Outlook, aside: int) -> int:
  """Returns the number of features whose classifiers a run can pay, or 0.

  Args:
    outlook: on the run.
    aside: examples that the memory holds to judge by.
  """
  allowed = _allowed(outlook.total)
  for m in _FEATURES:
    sums = _bytes_of_sums(m, outlook.classes)
    if (
      _flops(m, outlook, aside) <= _PART * allowed
      and sums <= _PART * outlook.ram
    ):
      return m
  return 0


def _allowed(total: base.Cost) -> float:
  """Returns about how many operations a budget is worth."""
  seconds = min(total.seconds, total.joules / _WATTS)
  return min(total.flops, seconds * _FLOPS_PER_SECOND)


def _too_little(outlook: base.Outlook, aside: int) -> str:
  """Tells that a budget pays no classifier, and what one takes."""
  least = _FEATURES[-1]
  needed = errors.amount(_flops(least, outlook, aside), "FLOP")
  given = errors.amount(_allowed(outlook.total), "FLOP")
  return (
    f"the budget is about {given}, of which a classifier may take {_PART:.0%}, "
    f"and one of {least} random features takes {needed}: give more, or "
    "free=epochs"
  )


def _flops(m: int, outlook: base.Outlook, aside: int) -> float:
  """Returns about how many operations all classifiers take.

  Each batch of the pass and each of two looks at examples set aside draws the
  random matrix; the last batch of an experience is not full.
  """
  width, experiences = outlook.width, outlook.experiences
  batches = outlook.examples / _ROWS + experiences
  each = 2.0 * _ROWS * m * (width + m)
  looks = 2.0 * experiences * 2 * aside * m * width
  drawing = (batches + 2 * experiences) * _DRAW * m * width
  solving = experiences * closed_form.solve_flops(m, outlook.classes)
  return batches * each + looks + drawing + solving


def _bytes_of_sums(m: int, classes: int) -> int:
  """Returns the bytes of sums and classifier."""
  return _FLOAT * (m * m + 3 * m * classes)
