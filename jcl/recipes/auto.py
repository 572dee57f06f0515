"""One recipe for any budget: a solved classifier, updates where they pay."""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

from jcl import base
from jcl.control import joint
from jcl.objectives import closed_form, set_aside, solved_head, statistics
from jcl.options import errors, kinds
from jcl.options.errors import UsageError
from jcl.recipes import affordable, judged
from jcl.recipes.closed_form import OF_RANDOM, randumb
from jcl.recipes.er import er
from jcl.replay import held_out, sampled
from jcl.selection import fixed

_BUFFER = 500  # examples, where memory is not limited
_MINIBATCH = 32
_KNOBS = frozenset({"way", "epochs"})
# Without a classifier there is nothing to compare with: all of the budget goes
# to updates, and all examples train.
_BLIND = frozenset({"blind"})
_ASIDE, _SHARE, _SHARE_OF_SAME = 400, 0.1, 0.05
_RATE = 1e-3  # of Adam, which knows no scale of inputs


def auto(
  behind: base.Method | None = None,
  /,
  *,
  free: str = "way/epochs",
  buffer: kinds.Size | None = None,
  minibatch: kinds.Count | None = None,
  m: kinds.Count | None = None,
  share: kinds.InnerShare | None = None,
  aside: kinds.Count = _ASIDE,
) -> base.Method:
  """Learns in the way that its budget pays for.

  Semantics: ahead of an experience's updates one pass adds `m` random Fourier
  features of its inputs to sums, of which discriminant analysis is solved, as
  `randumb` does. Then the network is trained with replay, while what that gains
  on examples set aside is worth its cost; see `control.joint`. The network
  predicts where it answers more of them than the classifier. The memory takes
  an experience in when it has ended.

  Of a network with learned weights all but the head stays as it is, and the
  classifier reads what the head does: by `m` random directions and ridge
  regression, as `ranpac`, or as it is by discriminant analysis, as `slda`. The
  head is trained on from there. Behind a recipe with a frozen trunk, such as
  er+freeze:until=last, the classifier reads the trunk.

  Args:
    behind: recipe whose network is trained, with a memory on the device, such
      as derpp:buffer=500; None: er.
    free: what is decided on, with a stroke in between: "way", whether
      classifier or network predicts, and "epochs", how long the network is
      trained. "none" leaves the recipe as it is, to the bit.
    buffer: memory of examples that are replayed, in examples or in bytes such
      as "2MB"; None: 500, and with a limit on memory what the sums leave of it.
    minibatch: examples replayed in each step; None: 32.
    m: number of random features; None: the most of 2000, 1000, 500, 250 and
      100 whose classifiers take three fifths of each limit or less, or a
      twentieth where the first experience has the classes of all; where none
      does, the network alone is trained, on all examples, and predicts. A
      budget of fewer than four updates in each experience, or ten where it
      brings new classes, goes to a classifier alone. Behind a learned trunk
      5000 by the same rule, else its features as they are.
    share: of the examples, those that neither train nor enter the sums, and
      are judged by; None: a tenth, or a twentieth where the first experience
      has the classes of all.
    aside: examples set aside that the memory holds beside its own, the same
      number of every experience.
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
  return _method(own)._replace(suited=functools.partial(_suited, own))


class _Own(NamedTuple):
  """Options of the recipe; None leaves a size to the run."""

  behind: base.Method | None
  knobs: frozenset[str]
  buffer: int | str | None
  minibatch: int
  m: int | None
  share: float | None
  aside: int
  trunk: base.Network | None = None  # whose features the classifier reads


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
    if own.trunk is not None:
      features = str(own.trunk.features).split("/")[0]
      behind = behind._replace(
        selector=fixed.head_only(), trunk=base.EXPAND if own.m else features
      )
  if not own.knobs:
    return behind
  if own.knobs == _BLIND:
    return behind._replace(govern=joint.joint)
  memory = behind.replay
  if memory.when == "step":  # there may be no steps
    memory = memory._replace(when="after")
  rule = held_out.by_number(own.share or _SHARE)
  method = behind._replace(
    replay=held_out.aside(memory, sampled.sampled(own.aside, 0), rule),
    objective=set_aside.objective(behind.objective, rule),
    consolidation=set_aside.kept(rule),
  )
  if "epochs" in own.knobs:
    method = method._replace(govern=joint.joint)
  if "way" not in own.knobs:
    return method
  reads = _of_inputs(own) if own.trunk is None else _of_trunk(own)
  parts = solved_head.SolvedHead(
    behind.objective, reads.solve, reads.begins, rule, own.aside, reads.view
  )
  return method._replace(
    objective=parts.objective,
    consolidation=parts.consolidation,
    predictor=reads.predictor,
    expand=reads.expand,
  )


class _Reads(NamedTuple):
  """A classifier: the features that it reads, and the rule that solves it."""

  solve: Callable[[statistics.Statistics], closed_form.Solved]
  begins: Callable[[base.Network], int]
  predictor: base.Predictor
  expand: base.Expansion | None
  view: str | None = None


def _of_inputs(own: _Own) -> _Reads:
  """Discriminant analysis of Fourier features beside the network."""
  m = own.m or affordable.OF_INPUTS[0]
  return _Reads(
    closed_form.shared_covariance,
    lambda network: 0,
    solved_head.trained_or_solved(view=base.EXPAND),
    base.Expansion(m, "fourier", trunk=False, beside=True),
    base.EXPAND,
  )


def _of_trunk(own: _Own) -> _Reads:
  """Discriminant analysis, or ridge regression of random features, at a cut."""
  until: str | int | float = "head"
  if own.behind is not None and own.behind.trunk is not None:
    until = own.behind.trunk
  elif own.trunk is not None:
    until = own.trunk.units[-1]

  def begins(network: base.Network) -> int:
    return fixed.first_trained(network, until)

  predictor = solved_head.trained_or_solved(until=until)
  if not own.m:
    return _Reads(closed_form.shared_covariance, begins, predictor, None)
  solve = functools.partial(closed_form.ridge, prior=OF_RANDOM)
  return _Reads(solve, begins, predictor, base.Expansion(own.m))


def _suited(own: _Own, outlook: base.Outlook) -> base.Method:
  """Returns the recipe with sizes that a run's limits allow."""
  knobs, aside, share = own.knobs, own.aside, own.share
  if share is None:
    same = affordable.same_classes(outlook)
    share = _SHARE_OF_SAME if same else _SHARE
  trunk = _learned(own, outlook) if "way" in knobs else None
  least = affordable.alone(outlook) if knobs == _KNOBS else 0
  if least and trunk is None and own.behind is None and own.m is None:
    return randumb(m=least)
  if affordable.is_limited(outlook):
    most = math.ceil(share * outlook.examples)  # more never come
    aside = min(aside, max(outlook.classes, most))
  m = own.m
  if trunk is not None and m is None and own.behind is None:
    m = affordable.of_trunk(outlook, trunk, aside)
  elif trunk is None and m is None and "way" in knobs:
    m = affordable.of_inputs(outlook, aside, share)
    if not m and "epochs" not in knobs:
      raise UsageError(affordable.too_little(outlook, aside))
    if not m:
      knobs = _BLIND
  buffer = own.buffer
  if own.behind is None and buffer is None and outlook.ram < math.inf:
    least, more = 2 * outlook.classes, ", and one set aside"
    if knobs == _BLIND:
      aside, least, more = 0, outlook.classes, ""
    width = m or (affordable.features(trunk) if trunk is not None else 0)
    sums = affordable.num_bytes(width, outlook.classes)
    rows = int((outlook.ram - sums) // outlook.row_bytes)
    aside = min(aside, max(outlook.classes, rows // 5))
    buffer = rows - aside
    if rows < least:
      raise UsageError(
        f"memory_budget={outlook.ram:.0f} holds no example of each of "
        f"{outlook.classes} classes{more}: give "
        f"{sums + least * outlook.row_bytes} or more"
      )
  own = own._replace(
    knobs=knobs, m=m, buffer=buffer, share=share, aside=aside, trunk=trunk
  )
  return _method(own)


def _learned(own: _Own, outlook: base.Outlook) -> base.Network | None:
  """Returns the network whose frozen features the classifier can read.

  It has learned weights, and nothing trains ahead of its head, or of the cut of
  the recipe that stands ahead; None where there is no such network.
  """
  network = outlook.network
  if network is None or not network.pretrained or network.features is None:
    return None
  if own.behind is None:
    return network
  frozen = own.behind.trunk is not None and own.m is None
  return network if frozen else None
