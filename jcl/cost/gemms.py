"""The matrix products of a network, found by tracing it.

What a systolic array computes (see `systolic`), as Kim et al., "DaCapo", ISCA
2024, count it: convolutions as products of patches, dense layers, and for
training two more products of each. Pooling, normalisers, activations, softmax
and weight updates are free.
"""

from collections.abc import Sequence
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base, jaxprs
from jcl.cost import systolic
from jcl.errors import UsageError

Gemm = systolic.Gemm
COMPAT_CLASSES = 4  # of the heads in the published tables


def of(
  network: base.Network,
  *,
  mode: Literal["full", "compat"] = "full",
  batch: int = 1,
  pass_: Literal["forward", "train"] = "forward",
) -> list[Gemm]:
  """Returns the products of one pass of a network, in the order of execution.

  A convolution is [N OH OW, Cin kh kw] x [Cin kh kw, Cout], with padding and
  the holes of dilations computed; one in G groups is G such products, each
  filling the array by itself. A dense layer is [rows, in] x [in, out], a
  product of activations (attention) one for every member of its batch axes,
  with its operands in the order in which JAX multiplies them.

  Args:
    network: the model; nothing is computed or compiled.
    mode: "full" counts all of them. "compat" counts as the published tables
      do: a head of 4 classes, and of transformers neither attention's products
      nor the layers that lead into and out of them.
    batch: examples.
    pass_: "forward", or "train" with the gradients; see `trained`.

  Raises:
    ValueError: for another mode or pass, a batch below 1, or products within
      a loop or branch of unknown count.
  """
  if mode not in ("full", "compat"):
    raise ValueError(f"mode={mode!r}: give 'full' or 'compat'")
  if pass_ not in ("forward", "train"):
    raise ValueError(f"pass_={pass_!r}: give 'forward' or 'train'")
  if type(batch) is not int or batch < 1:
    raise ValueError(f"batch={batch!r}: give an integer >= 1")
  trace = _traced(network, batch, frozenset())
  gemms = trace.gemms
  transformer = any(gemm.kind == "product" for gemm in gemms)
  if mode == "compat":
    gemms = [
      gemm
      for index, gemm in enumerate(gemms)
      if gemm.kind != "product" and index not in trace.attention
    ]
    if gemms:
      gemms[-1] = gemms[-1]._replace(n=COMPAT_CLASSES)
  return trained(gemms, transformer) if pass_ == "train" else gemms


def training_share(network: base.Network, selection: base.Selection) -> float:
  """Returns what training a part takes of training all, in multiplications.

  Forward passes are whole. Of the gradients, those of the selected tensors
  count and those that lead to them; the input's of the first layer never does.

  Args:
    network: the model; nothing is computed or compiled.
    selection: which of its tensors train.

  Raises:
    ValueError: as `of`, or for a network without products.
  """

  def work(selected: Sequence[bool]) -> int:
    learned = frozenset(
      "/".join(tensor.path)
      for tensor, yes in zip(network.tensors, selected, strict=True)
      if yes
    )
    trace = _traced(network, 1, learned)
    return sum(
      gemm.m * gemm.k * gemm.n * gemm.times * (1 + gradients)
      for gemm, gradients in zip(trace.gemms, trace.gradients, strict=True)
    )

  whole = work([True] * len(network.tensors))
  if not whole:
    raise UsageError(f"network {network.name!r} multiplies no matrices")
  return work(selection.trainable) / whole


def _traced(
  network: base.Network, batch: int, learned: frozenset[str]
) -> "_Trace":
  """Walks a network's forward pass, in which some parameters are learned."""
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((batch, *network.input_shape), jnp.float32)
  program = jaxprs.trace(
    lambda *args: network.apply(*args).logits, params, stats, x
  )
  names = [
    "/".join(key.key for key in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  known = [_Value(name=name, is_learned=name in learned) for name in names]
  known += [_Value()] * (jaxprs.num_inputs(program) - len(known) - 1)
  trace = _Trace()
  trace.walk(program, [*known, _Value(is_data=True)], 1)
  return trace


def trained(gemms: Sequence[Gemm], transformer: bool) -> list[Gemm]:
  """Returns the products of training: forward and both gradients, of each.

  The input's gradient sums over the outputs, also for the first layer. The
  weights' is [Cout, rows] x [rows, Cin kh kw] in convolutional networks, their
  head included, and [in, rows] x [rows, out] in transformers, their patch
  embedding included. A product of activations has the gradients of its two
  operands.

  Args:
    gemms: forward, as from `of`.
    transformer: whether layers count as those of transformers.
  """
  found = []
  for gemm in gemms:
    m, k, n = gemm.m, gemm.k, gemm.n
    if gemm.kind == "product" or transformer:
      second = k, m, n
    else:
      second = n, m, k
    found.append(gemm)
    for sizes, operand in (((m, n, k), "input"), (second, "weights")):
      m_, k_, n_ = sizes
      found.append(
        gemm._replace(m=m_, k=k_, n=n_, name=f"{gemm.name} ({operand})")
      )
  return found


class _Value(NamedTuple):
  """Knowledge of a variable."""

  is_data: bool = False  # depends on the input
  name: str = ""  # of the parameter that it is made of
  is_learned: bool = False  # depends on a parameter that trains
  nearest: frozenset[int] = (
    frozenset()
  )  # products it comes from, no other since


class _Trace:
  """Walks a program and gathers its products."""

  def __init__(self):
    self.gemms: list[Gemm] = []
    self.gradients: list[int] = []  # that training needs, of each
    self.attention: set[int] = set()  # dense layers next to a product

  def walk(
    self, program: jaxprs.Program, inputs: Sequence[_Value], times: int
  ) -> list[_Value]:
    """Returns what is known of the outputs of a program that runs `times`."""
    return jaxprs.follow(
      program,
      inputs,
      lambda equation, operands: self._results(equation, operands, times),
      lambda _: _Value(),
    )

  def _results(self, equation, operands, times) -> list[_Value]:
    name = equation.name
    if name == "conv_general_dilated":
      return [self._add(_convolution(equation), operands, times)]
    if name == "dot_general":
      return [self._add(_product(equation, operands), operands, times)]
    if loop := jaxprs.loop(equation):
      # From the second round on, carried values come from the loop itself.
      within = {
        "is_data": True,
        "is_learned": any(value.is_learned for value in operands),
      }
      operands = [
        value._replace(**within) if index in loop.carried else value
        for index, value in enumerate(operands)
      ]
      return self.walk(loop.body, operands, times * loop.length)
    if called := jaxprs.called(equation):
      return self.walk(called, operands, times)
    before = len(self.gemms)
    for program in jaxprs.programs(equation):
      unknown = [_Value()] * jaxprs.num_inputs(program)
      self.walk(program, unknown, times)
    if len(self.gemms) > before:
      raise UsageError(
        f"{self.gemms[-1].name or 'a product'} is within a {name}: how often "
        "it runs cannot be read off; write the layers out, or use a scan"
      )
    merged = _Value(
      any(value.is_data for value in operands),
      next((v.name for v in operands if v.name and not v.is_data), ""),
      any(value.is_learned for value in operands),
      frozenset().union(*(value.nearest for value in operands)),
    )
    return [merged] * len(equation.gives)

  def _add(self, gemm, operands, times) -> _Value:
    index = len(self.gemms)
    name = next((value.name for value in operands if not value.is_data), "")
    nearest = frozenset().union(*(value.nearest for value in operands))
    kinds = {each: self.gemms[each].kind for each in nearest}
    if gemm.kind == "product":
      self.attention |= {each for each in nearest if kinds[each] == "linear"}
    elif "product" in kinds.values():
      self.attention.add(index)
    self.gemms.append(gemm._replace(times=gemm.times * times, name=name))
    self.gradients.append(sum(value.is_learned for value in operands))
    return _Value(
      is_data=True,
      is_learned=any(value.is_learned for value in operands),
      nearest=frozenset({index}),
    )


def _convolution(equation) -> Gemm:
  numbers = equation.params["dimension_numbers"]
  kernel = equation.takes[1].shape
  out = equation.gives[0].shape
  channels = out[numbers.out_spec[1]]
  groups = equation.params["feature_group_count"]
  terms = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
  return Gemm(
    math.prod(out) // channels, terms, channels // groups, groups, kind="conv"
  )


def _product(equation, operands) -> Gemm:
  (summed, _), (batch, _) = equation.params["dimension_numbers"]
  left, right = (aval.shape for aval in equation.takes)
  k = math.prod(left[axis] for axis in summed)
  times = math.prod(left[axis] for axis in batch)
  m = math.prod(left) // (k * times)
  n = math.prod(right) // (k * times)
  is_data = [value.is_data for value in operands]
  if is_data == [False, True]:  # weights on the left
    m, n = n, m
  return Gemm(m, k, n, times, kind="product" if all(is_data) else "linear")
