"""The matrix products of a network, found by tracing it.

They are what a systolic array computes (see `systolic`), counted as Kim et al.,
"DaCapo", ISCA 2024, https://arxiv.org/abs/2403.14353, count them: convolutions
as products of patches, dense layers, and for training two more products for
each. Pooling, normalisers, activations, softmax and weight updates are free.
"""

from collections.abc import Sequence
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jcl import base
from jcl.base import jaxprs
from jcl.cost import systolic
from jcl.options.errors import UsageError

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

  A convolution is [N OH OW, Cin kh kw] x [Cin kh kw, Cout]; padding and the
  holes of dilations are computed. A convolution in G groups is G such products,
  each filling the array by itself. A dense layer is [rows, in] x [in, out]. A
  product of activations (attention) is one product for every member of its
  batch axes, its operands in the order in which JAX multiplies them.

  Args:
    network: the model; it is traced, not computed or compiled.
    mode: "full" counts all products. "compat" counts as the published tables
      do: the head has 4 classes, and transformers count without attention's
      products and without the layers that lead into and out of these.
    batch: examples.
    pass_: "forward", or "train" with the gradients; see `trained`.

  Raises:
    ValueError: for another mode or pass, a batch below 1, or products within
      a loop or branch of unknown count.

  >>> from jcl.networks import mlp
  >>> [gemm[:3] for gemm in of(mlp.mlp((2, 2, 1), 3, width=5), batch=8)]
  [(8, 4, 5), (8, 5, 5), (8, 5, 3)]
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
  """Returns the multiplications of training a part over those of training all.

  The forward pass counts in full. The gradients of the selected tensors count,
  and the gradients of activations that lead to them; the gradient of the
  network's input never counts.

  Args:
    network: the model; it is traced, not computed or compiled.
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
  """Walks a network's forward pass, in which `learned` parameters train."""
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
  """Returns each forward product with the products of its two gradients.

  The gradient of the input sums over the outputs, for the first layer too. The
  gradient of the weights is [Cout, rows] x [rows, Cin kh kw] in convolutional
  networks, also for their head, and [in, rows] x [rows, out] in transformers,
  also for their patch embedding. A product of activations has the gradients of
  its two operands.

  Args:
    gemms: the forward products, as from `of`.
    transformer: whether all layers are ordered as in transformers.

  >>> [gemm[:3] for gemm in trained([Gemm(8, 4, 5)], transformer=False)]
  [(8, 4, 5), (8, 5, 4), (5, 8, 4)]
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
  """A variable of a traced program: what it depends on."""

  is_data: bool = False  # depends on the input
  name: str = ""  # the parameter that it is made of
  is_learned: bool = False  # depends on a parameter that trains
  # The latest products among those that the variable depends on.
  nearest: frozenset[int] = frozenset()


class _Trace:
  """Walks a program and gathers its products."""

  def __init__(self) -> None:
    self.gemms: list[Gemm] = []
    self.gradients: list[int] = []  # how many each needs in training
    self.attention: set[int] = set()  # dense layers next to a product

  def walk(
    self, program: jaxprs.Program, inputs: Sequence[_Value], times: int
  ) -> list[_Value]:
    """Returns the values of the outputs of a program that runs `times`."""
    return jaxprs.follow(
      program,
      inputs,
      lambda equation, operands: self._results(equation, operands, times),
      lambda _: _Value(),
    )

  def _results(
    self, equation: jaxprs.Equation, operands: list[_Value], times: int
  ) -> list[_Value]:
    """Returns the values of an equation's results; gathers its products."""
    name = equation.name
    if name == "conv_general_dilated":
      return [self._add(_convolution(equation), operands, times)]
    if name == "dot_general":
      return [self._add(_product(equation, operands), operands, times)]
    if loop := jaxprs.loop(equation):
      # From the second round on, carried values come from the loop itself.
      is_learned = any(value.is_learned for value in operands)
      operands = [
        value._replace(is_data=True, is_learned=is_learned)
        if index in loop.carried
        else value
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
        f"a product is within a {name}: how often it runs cannot be read off; "
        "write the layers out, or use a scan"
      )
    merged = _Value(
      any(value.is_data for value in operands),
      next((v.name for v in operands if v.name and not v.is_data), ""),
      any(value.is_learned for value in operands),
      frozenset().union(*(value.nearest for value in operands)),
    )
    return [merged] * len(equation.gives)

  def _add(self, gemm: Gemm, operands: list[_Value], times: int) -> _Value:
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


def _convolution(equation: jaxprs.Equation) -> Gemm:
  numbers = equation.params["dimension_numbers"]
  kernel = equation.takes[1].shape
  out = equation.gives[0].shape
  channels = out[numbers.out_spec[1]]
  groups = equation.params["feature_group_count"]
  terms = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
  return Gemm(
    math.prod(out) // channels, terms, channels // groups, groups, kind="conv"
  )


def _product(equation: jaxprs.Equation, operands: Sequence[_Value]) -> Gemm:
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
