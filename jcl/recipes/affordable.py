"""Random features whose classifiers a run can pay, told before it starts.

What the classifiers take is estimated here from shapes; the run itself prices
its own programs, see `control.joint`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jcl import base
from jcl.base import jaxprs
from jcl.objectives import closed_form
from jcl.options import errors
from jcl.train.profiling import operations

# Numbers of random features of inputs, the usual one first; their cost grows
# with the square, and accuracy falls a little with each.
OF_INPUTS = (2000, 1000, 500, 250, 100)
_CRUDE = 50  # features that are better than nothing
# Number of random features of a trunk's, several times as many as those are.
OF_TRUNK = 5000
# The part of a budget that classifiers may take where updates could. With every
# experience of new classes a network forgets, and a classifier does not; where
# classes stay the same, replay keeps most, and a classifier is for safety.
# Where updates would be few, it is all there is.
_PART, _PART_OF_SAME, _ALL = 0.6, 0.05, 0.9
_SAME = 0.8  # share of the classes that the first experience has brought
_LEAST_ASIDE = 100  # examples, of which fewer tell classifier and network apart
# What seconds and joules are worth in operations, ahead of the run: a slow
# board's pace, so that the classifier leaves something of the budget anywhere.
_FLOPS_PER_SECOND, _WATTS = 1e10, 10.0
_ROWS = 128  # examples of a batch of the pass
# Updates of an experience, of which fewer teach a network nothing: of classes
# that it knows, and of new ones, among which it has yet to tell.
_FEW, _FEW_OF_NEW = 4, 10
_UPDATED, _BACKWARD = 42, 3.0  # examples of one, and forwards it is worth
_DRAW = 60.0  # operations of a random number
_FLOAT = 4  # bytes


def of_inputs(outlook: base.Outlook, aside: int, share: float) -> int:
  """Returns the number of random features of inputs, 0 where none is paid for.

  Where classes stay the same, none is either with too few examples to judge by.

  Args:
    outlook: on the run.
    aside: examples that the memory holds to judge by.
    share: of the examples, those that are set aside.
  """
  judges = min(aside, share * outlook.examples)
  if same_classes(outlook) and judges < _LEAST_ASIDE:
    return 0
  looks = 0.0
  if outlook.network is not None and is_limited(outlook):
    looks = 2 * outlook.experiences * aside * _forward(outlook.network)
  for m in OF_INPUTS:
    if _fits(m, outlook.width, 0.0, outlook, aside, looks):
      return m
  return 0


def alone(outlook: base.Outlook) -> int:
  """Returns the number of features of a classifier that is all a run can pay.

  That is where a budget buys so few updates that a network would learn nothing
  of them; 0 where it buys more, or no classifier either.

  Args:
    outlook: on the run.
  """
  given = allowed(outlook.total)
  if outlook.network is None or math.isinf(given):
    return 0
  update = _BACKWARD * _UPDATED * _forward(outlook.network)
  few = _FEW if same_classes(outlook) else _FEW_OF_NEW
  if given >= few * outlook.experiences * update:
    return 0
  for m in (*OF_INPUTS, _CRUDE):
    flops = _flops(m, outlook.width, 0.0, outlook, 0)
    if flops <= _ALL * given and num_bytes(m, outlook.classes) <= outlook.ram:
      return m
  return 0


def same_classes(outlook: base.Outlook) -> bool:
  """Tells whether the first experience has nearly all classes."""
  return outlook.first >= _SAME * outlook.classes


def of_trunk(outlook: base.Outlook, network: base.Network, aside: int) -> int:
  """Returns the number of random features behind a trunk.

  Args:
    outlook: on the run.
    network: a chain that names its features.
    aside: examples that the memory holds to judge by.

  Returns:
    `OF_TRUNK`, or 0 where the trunk's features are to be read as they are.
  """
  width = features(network)
  if network.blocks is None or width * 2 > OF_TRUNK:
    return 0
  forward = _forward(network)
  fits = _fits(OF_TRUNK, width, forward, outlook, aside, looks=0.0)
  return OF_TRUNK if fits else 0


def features(network: base.Network) -> int:
  """Returns the number of features that a network's head reads."""
  tap = str(network.features)
  out = jax.eval_shape(
    lambda *args: network.apply(*args, taps=(tap,)), *_arguments(network)
  )
  return int(out.taps[tap].shape[-1])


def too_little(outlook: base.Outlook, aside: int) -> str:
  """Tells that a budget pays no classifier, and what one takes."""
  least = OF_INPUTS[-1]
  flops = _flops(least, outlook.width, 0.0, outlook, aside)
  needed = errors.amount(flops, "FLOP")
  given = errors.amount(allowed(outlook.total), "FLOP")
  return (
    f"the budget is about {given}, of which a classifier may take "
    f"{_part(outlook):.0%}, and one of {least} random features takes {needed}: "
    "give more, or free=epochs"
  )


def allowed(total: base.Cost) -> float:
  """Returns about how many operations a budget is worth."""
  seconds = min(total.seconds, total.joules / _WATTS)
  return min(total.flops, seconds * _FLOPS_PER_SECOND)


def num_bytes(m: int, classes: int) -> int:
  """Returns the bytes of sums over `m` features, and of their classifier."""
  return _FLOAT * (m * m + 3 * m * classes)


def is_limited(outlook: base.Outlook) -> bool:
  """Tells whether anything that sizes depend on is limited."""
  return math.inf > min(allowed(outlook.total), outlook.ram)


def _forward(network: base.Network) -> float:
  """Returns the operations of a forward pass of an example."""
  traced = jaxprs.trace(
    lambda *args: network.apply(*args).logits, *_arguments(network)
  )
  program = operations.flatten(traced)
  return sum(operations.flops(each) for each in program.operations)


def _arguments(network: base.Network) -> tuple[base.Params, base.Stats, Any]:
  """Returns shapes of weights, statistics and one example."""
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
  return params, stats, x


def _fits(
  m: int,
  width: int,
  forward: float,
  outlook: base.Outlook,
  aside: int,
  looks: float,
) -> bool:
  """Tells whether all classifiers take their part of each limit or less.

  Args:
    m: number of random features; this and the next ones as for `_flops`.
    width: of what these read.
    forward: operations ahead of that.
    outlook: on the run.
    aside: examples that judge.
    looks: operations of the network, where it judges beside the classifier.
  """
  flops = _flops(m, width, forward, outlook, aside)
  given = allowed(outlook.total)
  return (
    flops <= _part(outlook) * given
    and flops + looks <= _ALL * given
    and num_bytes(m, outlook.classes) <= _PART * outlook.ram
  )


def _part(outlook: base.Outlook) -> float:
  """Returns the part of a budget that classifiers may take beside updates."""
  return _PART_OF_SAME if same_classes(outlook) else _PART


def _flops(
  m: int, width: int, forward: float, outlook: base.Outlook, aside: int
) -> float:
  """Returns about how many operations all classifiers take.

  Each batch of the pass and each of two looks at examples set aside draws the
  random matrix; the last batch of an experience is not full.

  Args:
    m: number of random features.
    width: of what these read.
    forward: operations ahead of that, for an example.
    outlook: on the run.
    aside: examples that the memory holds to judge by.
  """
  experiences = outlook.experiences
  batches = outlook.examples / _ROWS + experiences
  each = _ROWS * (forward + 2.0 * m * (width + m))
  looks = 2 * experiences * aside * (forward + 2.0 * m * width)
  drawing = (batches + 2 * experiences) * _DRAW * m * width
  solving = experiences * closed_form.solve_flops(m, outlook.classes)
  return batches * each + looks + drawing + solving
