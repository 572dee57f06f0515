"""Tests of programs whose convolutions are kernels of oneDNN."""

from importlib import metadata
import math
import os
import subprocess
import sys
import types

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_mobilenet

from jcl.networks import resnet
from jcl.train import background
from jcl.train.kernels import bridge, choice, lowering, onednn, problem

installed = pytest.mark.skipif(
  bool(lowering.why_not()), reason=f"no kernels: {lowering.why_not()}"
)


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
  monkeypatch.setattr(choice, "pays", lambda problem: True)


def count(program):
  return program.as_text().count(f'custom_call_target="{bridge.TARGET}"')


def assert_same(fn, *args, kernels=None, rtol=1e-5, atol=0.0):
  """Compares a function's results with those of XLA's convolutions."""
  args = jax.tree.map(jnp.asarray, args)
  program = lowering.lower(fn, args).compile()
  if kernels is not None:
    assert count(program) == kernels
  found = program(*args)
  wanted = jax.jit(fn)(*args)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    scale = float(jnp.max(jnp.abs(other))) or 1.0
    chex.assert_trees_all_close(
      one, other, rtol=rtol, atol=max(atol, rtol * scale)
    )
  return program


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@st.composite
def convolutions(draw):
  """Draws arguments and options of a convolution, of one to three axes."""
  rank = draw(st.integers(1, 3))
  size = st.integers(1, 7)
  groups = draw(st.sampled_from([1, 1, 2, 3]))
  per_group = draw(st.integers(1, 5))
  channels = groups * per_group
  outs = groups * draw(st.integers(1, 5))
  kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
  space = draw(st.lists(size, min_size=rank, max_size=rank))
  several = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
  dilations = draw(several)
  spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
  edge = st.tuples(st.integers(-1, 3), st.integers(-1, 3))
  padding = draw(st.lists(edge, min_size=rank, max_size=rank))
  space = [
    max(n, span - low - high, 1)
    for n, span, (low, high) in zip(space, spans, padding, strict=True)
  ]
  letters = "DHW"[-rank:]
  layout = draw(st.sampled_from(["N{}C", "NC{}"])).format(letters)
  weights = draw(st.sampled_from(["{}IO", "OI{}"])).format(letters)
  sizes = dict(zip(letters, space, strict=True))
  taps = dict(zip(letters, kernel, strict=True))
  of_x = {"N": draw(st.integers(1, 3)), "C": channels, **sizes}
  of_w = {"I": per_group, "O": outs, **taps}
  return (
    normal(0, *(of_x[letter] for letter in layout)),
    normal(1, *(of_w[letter] for letter in weights)),
    {
      "window_strides": draw(several),
      "padding": padding,
      "lhs_dilation": draw(st.one_of(st.just([1] * rank), several)),
      "rhs_dilation": dilations,
      "dimension_numbers": (layout, weights, layout),
      "feature_group_count": groups,
    },
  )


@installed
def test_depthwise_kernels_larger_than_images():
  def run(x, w):
    out, pull = jax.vjp(
      lambda x, w: jax.lax.conv_general_dilated(
        x,
        w,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=24,
      ),
      x,
      w,
    )
    return out, pull(jnp.sin(out))

  assert_same(run, normal(0, 2, 3, 3, 24), normal(1, 5, 5, 1, 24), kernels=3)


@installed
@hypothesis.settings(max_examples=40)
@hypothesis.given(convolutions())
def test_results_are_those_of_xla(drawn):
  x, w, options = drawn

  def run(x, w):
    out, pull = jax.vjp(
      lambda x, w: jax.lax.conv_general_dilated(x, w, **options), x, w
    )
    return out, pull(jnp.sin(out))

  hypothesis.assume(math.prod(jax.eval_shape(run, x, w)[0].shape))
  assert_same(run, x, w)


def convolve(x, w, stride=1):
  return jax.lax.conv_general_dilated(
    x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


X, W = normal(0, 4, 8, 8, 6), normal(1, 3, 3, 6, 10)


@installed
def test_batches_of_examples_and_of_weights():
  many, weights = normal(2, 3, 4, 8, 8, 6), normal(3, 3, 3, 3, 6, 10)
  assert_same(jax.vmap(convolve, (0, None)), many, W, kernels=1)
  assert_same(jax.vmap(convolve), many, weights)


@installed
def test_gradients_of_gradients_and_rematerialised_ones():
  def loss(w):
    inner = jax.grad(lambda x: jnp.sum(jnp.tanh(convolve(x, w, 2))))(X)
    return jnp.sum(inner**2)

  assert_same(jax.grad(loss), W)
  rematerialised = jax.checkpoint(lambda w: jnp.sum(convolve(X, w) ** 2))
  assert_same(jax.grad(rematerialised), W)


@installed
def test_forward_derivatives():
  other = normal(6, *X.shape), normal(7, *W.shape)
  assert_same(lambda x, w: jax.jvp(convolve, (x, w), other), X, W, kernels=3)


@installed
def test_loops_hold_kernels():
  def run(x, w):
    return jax.lax.scan(lambda x, _: (convolve(x, w), None), x, length=3)[0]

  assert_same(run, X, normal(4, 3, 3, 6, 6), kernels=1)


@installed
def test_other_types_are_left_to_xla():
  half = [jnp.asarray(each, jnp.bfloat16) for each in (X, W)]
  assert_same(convolve, *half, kernels=0)


@installed
def test_operations_are_counted_as_xla_does():
  def run(x, w):
    return jax.value_and_grad(lambda w: jnp.sum(convolve(x, w, 2)))(w)

  kernels = background.compile_program(run, (X, W)).cost.flops
  plain = jax.jit(run).lower(X, W).compile().cost_analysis()["flops"]
  np.testing.assert_allclose(kernels, plain, rtol=0.01)


def resnet_in_short():
  """A stage of equal blocks, and two that begin with a stride."""
  return resnet._resnet("resnet", (16, 16, 3), 5, (2, 1, 1), 4)


def mobilenet_in_short():
  """A block of each kind: without expansion, with a stride, with a sum."""
  return tiny_mobilenet.build(
    (16, 16, 3),
    5,
    stem=8,
    last=16,
    narrow=(1, 4, 1, False),
    stride=(6, 6, 2, False),
    skip=(6, 6, 1, True),
  )


@installed
@pytest.mark.parametrize("build", [resnet_in_short, mobilenet_in_short])
def test_networks_learn_the_same(build):
  network = build()
  params, stats = jax.jit(network.init)(jax.random.key(0))

  def gradients(params, x):
    def loss(params):
      out = network.apply(params, stats, x, training=network.units)
      return jnp.mean(jnp.sin(out.logits))

    return jax.grad(loss)(params)

  # Batch normalisation of few values makes more of rounding.
  x = normal(5, 8, 16, 16, 3)
  program = assert_same(gradients, params, x, rtol=5e-3, atol=1e-5)
  assert count(program) > 20


@installed
def test_a_program_from_the_cache_on_disk_runs(tmp_path):
  code = (
    "import jax, numpy as np\n"
    "from jcl.train.kernels import choice, lowering\n"
    "choice.pays = lambda problem: True\n"
    "x, w = np.ones((2, 8, 8, 4), 'f'), np.ones((3, 3, 4, 4), 'f')\n"
    "f = lambda x, w: jax.lax.conv(x.transpose(0, 3, 1, 2),"
    " w.transpose(3, 2, 0, 1), (1, 1), 'SAME')\n"
    "print(float(lowering.lower(f, (x, w)).compile()(x, w).sum()))\n"
  )
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
    "JAX_PLATFORMS": "cpu",
  }
  printed = [
    subprocess.run(
      [sys.executable, "-c", code],
      env=environment,
      check=True,
      capture_output=True,
      text=True,
    ).stdout
    for _ in range(2)
  ]
  assert list(tmp_path.iterdir())
  assert printed == ["15488.0\n"] * 2


@installed
def test_threads_may_be_the_first_to_compile():
  code = (
    "from concurrent import futures\n"
    "import numpy as np\n"
    "from jcl.train.kernels import choice, lowering\n"
    "choice.pays = lambda problem: True\n"
    "x = np.ones((1, 1, 8, 8), 'f')\n"
    "def run(size):\n"
    "  import jax\n"
    "  f = lambda x, w: jax.lax.conv(x, w, (1, 1), 'VALID')\n"
    "  w = np.ones((1, 1, size, size), 'f')\n"
    "  return float(lowering.lower(f, (x, w)).compile()(x, w)[0, 0, 0, 0])\n"
    "with futures.ThreadPoolExecutor(6) as pool:\n"
    "  print(*pool.map(run, range(1, 7)))\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "1.0 4.0 9.0 16.0 25.0 36.0\n"


@installed
def test_an_unknown_plan_is_an_error_not_a_crash():
  bridge.plans()

  def run(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    scratch = jax.ShapeDtypeStruct((1,), jnp.uint8)
    call = jax.ffi.ffi_call(bridge.TARGET, (shape, scratch))
    return call(x, x, plan=np.int64(12345))[0]

  with pytest.raises(jax.errors.JaxRuntimeError, match="no kernel here"):
    jax.block_until_ready(jax.jit(run)(X))


def test_without_the_package_xla_convolves(monkeypatch):
  monkeypatch.setattr(lowering, "why_not", lambda: "it is not installed")
  program = assert_same(convolve, X, W, kernels=0)
  assert lowering.flops(program) == 0


def test_kernels_can_be_declined(monkeypatch):
  monkeypatch.setenv("JCL_CONVOLUTIONS", "xla")
  assert lowering.why_not.__wrapped__() == "JCL_CONVOLUTIONS=xla"
  monkeypatch.setenv("JCL_CONVOLUTIONS", "onednn")
  with pytest.raises(ValueError, match="'onednn': write auto or xla"):
    lowering.why_not.__wrapped__()


def test_what_is_missing_is_told(monkeypatch):
  def missing(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(onednn.metadata, "distribution", missing)
  with pytest.raises(onednn.Missing, match="pip install"):
    onednn._path()


@pytest.mark.parametrize(
  "place, name, value, told",
  [
    (jax, "default_backend", lambda: "tpu", "it runs on a tpu"),
    (jax, "device_count", lambda: 2, "there are several devices"),
    (
      lowering.platform,
      "machine",
      lambda: "aarch64",
      "oneDNN has no kernels for aarch64",
    ),
    (lowering.rules, "why_not", lambda: "no rules", "no rules"),
    (
      lowering.importlib.util,
      "find_spec",
      lambda name: None,
      "numba is not installed: pip install numba",
    ),
  ],
)
def test_why_xla_convolves(place, name, value, told, monkeypatch):
  monkeypatch.delenv("JCL_CONVOLUTIONS", raising=False)
  usual = (
    (jax, "default_backend", lambda: "cpu"),
    (jax, "device_count", lambda: 1),
    (lowering.platform, "machine", lambda: "AMD64"),
    (lowering.rules, "why_not", lambda: ""),
    (lowering.importlib.util, "find_spec", lambda name: name),
    (onednn, "library", lambda: None),
  )
  for each in usual:
    monkeypatch.setattr(*each)
  assert lowering.why_not.__wrapped__() == ""
  monkeypatch.setattr(place, name, value)
  assert lowering.why_not.__wrapped__() == told
  monkeypatch.setattr(lowering, "why_not", lambda: told)
  assert lowering.describe() == f"XLA ({told})"


def test_a_missing_library_is_the_reason(monkeypatch):
  def missing():
    raise onednn.Missing("not here")

  monkeypatch.setattr(onednn, "library", missing)
  monkeypatch.setattr(lowering.rules, "why_not", lambda: "")
  monkeypatch.setattr(lowering.platform, "machine", lambda: "x86_64")
  monkeypatch.setattr(lowering.importlib.util, "find_spec", lambda name: name)
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
  monkeypatch.delenv("JCL_CONVOLUTIONS", raising=False)
  assert lowering.why_not.__wrapped__() == "not here"


@installed
def test_what_does_not_pay_is_left_to_xla(monkeypatch):
  monkeypatch.setattr(choice, "pays", lambda problem: False)
  assert_same(convolve, X, W, kernels=0)


def operands():
  return (
    problem.Operand(shape, (0, 1, 2))
    for shape in ((1, 3, 5), (2, 3, 1), (1, 2, 5))
  )


def test_numbers_are_the_same_in_all_processes():
  case = problem.Problem("forward", *operands(), 1, (1,), (1,), ((0, 0),))
  number = lowering.number_of(case)
  assert number == 4313285520891834360 and 0 < number < 2**62
  assert lowering.number_of(case._replace(kind="weights")) != number


def test_kernels_of_a_program_are_summed(monkeypatch):
  case = problem.Problem("forward", *operands(), 1, (1,), (1,), ((0, 0),))
  larger = case._replace(x=case.x._replace(shape=(1, 6, 5)))
  monkeypatch.setattr(lowering, "_known", {5: case, 17: larger})
  call = '%a = custom-call(), custom_call_target="{}", backend_config={{plan = '
  call = call.format(bridge.TARGET)
  text = "\n".join(f"{call}{number} : i64}}" for number in (5, 17, 5))
  program = types.SimpleNamespace(as_text=lambda: text)
  monkeypatch.setattr(lowering, "why_not", lambda: "")
  # Two operations per product: 5 places, 2 outputs, 3 or 6 inputs.
  assert lowering.flops(program) == 2 * 5 * 2 * (3 + 6 + 3)
  monkeypatch.setattr(lowering, "why_not", lambda: "none here")
  assert lowering.flops(program) == 0
