"""Programs of every form, read on whichever JAX is installed."""

from types import SimpleNamespace

from flax import linen as nn
import jax
import jax.numpy as jnp
import jaxpr_forms
import numpy as np
import pytest

from jcl.base import jaxprs
from jcl.cost import gemms
from jcl.networks import channels, linen
from jcl.train import step
from jcl.train.profiling import operations

forms = pytest.mark.parametrize("form", [None, *jaxpr_forms.FORMS])


@pytest.fixture
def traced(monkeypatch):
  """Has programs traced into a form; None leaves them as JAX gives them."""
  real = jaxprs.trace

  def use(form):
    def trace(fn, *args):
      program = real(fn, *args)
      return program if form is None else jaxpr_forms.written(program, form)

    monkeypatch.setattr(jaxprs, "trace", trace)

  return use


X, W = jnp.ones(3), jnp.ones((3, 3))


def scanned(w, x, steps, scales):
  def body(carry, each):
    step, scale = each
    hidden = jnp.tanh(carry @ w + step * scale)
    return hidden, (hidden, scale)

  return jax.lax.scan(body, x, (steps, scales))


def only(program, name):
  (found,) = [e for e in jaxprs.equations(program) if e.name == name]
  return found


@forms
def test_a_scan_tells_its_carried_values(form, traced):
  traced(form)
  steps, scales = jnp.ones((5, 3)), jnp.ones(5)
  loop = jaxprs.loop(only(jaxprs.trace(scanned, W, X, steps, scales), "scan"))
  assert loop.carried == range(1, 2) and loop.length == 5
  assert jaxprs.num_inputs(loop.body) == 4


@forms
def test_scans_without_constants_slices_or_carries(form, traced):
  traced(form)
  counted = lambda x: jax.lax.fori_loop(0, 4, lambda i, c: c * 2, x)  # noqa: E731
  loop = jaxprs.loop(only(jaxprs.trace(counted, X), "scan"))
  assert loop.carried == range(0, 2) and loop.length == 4
  mapped = lambda x: jax.lax.map(lambda t: t * t, x)  # noqa: E731
  loop = jaxprs.loop(only(jaxprs.trace(mapped, X), "scan"))
  assert loop.carried == range(0, 0) and loop.length == 3


@forms
def test_calls_are_told_from_loops_choices_and_reductions(form, traced):
  traced(form)

  def fn(x):
    x = jax.jit(lambda x: x * 2)(x)
    x = jax.checkpoint(lambda x: x - 3)(x)
    x = jax.nn.relu(x)
    x = jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x)
    x = jax.lax.cond(x.sum() > 0, lambda x: x * 5, lambda x: x, x)
    return jax.lax.reduce(x, 0.0, lambda a, b: a + 2 * b, (0,))

  program = jaxprs.trace(fn, X)
  found = []
  jaxprs.follow(
    program,
    [None],
    lambda equation, _: (
      found.append((equation.name, jaxprs.called(equation) is not None))
      or [None] * len(equation.gives)
    ),
    lambda _: None,
  )
  calls = [name for name, is_call in found if is_call]
  assert calls[0] in ("jit", "pjit")
  assert calls[1] in ("checkpoint", "remat", "remat2")
  assert calls[2:] == ["custom_jvp_call"]
  others = {name for name, is_call in found if not is_call}
  assert {"while", "cond", "reduce"} <= others
  inner = [equation.name for equation in jaxprs.equations(program)]
  assert {"mul", "sub", "max", "add", "gt"} <= set(inner)
  assert len(jaxprs.programs(only(program, "cond"))) == 2
  assert len(jaxprs.programs(only(program, "while"))) == 2


def body_of(fn, *shapes, form):
  args = [jnp.ones(shape) for shape in shapes]
  return jaxpr_forms.written(jax.make_jaxpr(fn)(*args), form)


@pytest.mark.parametrize("form", jaxpr_forms.FORMS)
@pytest.mark.parametrize(
  ("name", "parameter"),
  [
    ("pjit", "jaxpr"),
    ("jit", "jaxpr"),
    ("closed_call", "call_jaxpr"),
    ("core_call", "call_jaxpr"),
    ("checkpoint", "jaxpr"),
    ("remat2", "jaxpr"),
    ("custom_jvp_call", "call_jaxpr"),
    ("custom_vjp_call", "call_jaxpr"),
    ("custom_vjp_call_jaxpr", "fun_jaxpr"),
  ],
)
def test_calls_of_every_name(form, name, parameter):
  body = body_of(lambda x, y: x @ y, (3,), (3, 3), form=form)
  params = {parameter: body, "num_consts": 0, "jvp_jaxpr_fun": lambda: None}
  made = jaxpr_forms.equation(name, params, [(3,), (3, 3)], [(3,)])
  assert jaxprs.called(jaxprs.read_equation(made)) is body
  # A program on parts of the operands is no call, whatever holds it.
  made = jaxpr_forms.equation(name, params, [(7, 3), (3, 3)], [(7, 3)])
  assert jaxprs.called(jaxprs.read_equation(made)) is None
  made = jaxpr_forms.equation(name, params, [(3,)], [(3,)])
  assert jaxprs.called(jaxprs.read_equation(made)) is None


@pytest.mark.parametrize("name", sorted(jaxprs.LOOPS))
def test_loops_are_no_calls_even_where_shapes_fit(name):
  body = body_of(lambda x: x + 1, (3,), form=jaxpr_forms.FORMS[1])
  made = jaxpr_forms.equation(
    name, {"jaxpr": body, "length": 2}, [(3,)], [(3,)]
  )
  equation = jaxprs.read_equation(made)
  assert jaxprs.called(equation) is None
  assert (jaxprs.loop(equation) is not None) == (name == "scan")


@forms
def test_constants_and_literals_are_told_apart(form, traced):
  traced(form)
  table = np.arange(3, dtype=np.float32)
  program = jaxprs.trace(lambda x: (x + table) * 2 + table.sum(), X)
  asked = []
  out = jaxprs.follow(
    program,
    ["x"],
    lambda _, operands: ["+".join(operands)],
    lambda aval: asked.append(aval.shape) or "array",
    lambda aval: "number",
  )
  assert out == ["x+array+number+number"] and asked == [(3,)]


def test_results_that_are_arguments_are_handed_on():
  table = jnp.arange(3.0)

  def fn(x, y):
    twice = x * 2 + table
    return twice, y, twice, 4.0, x

  run, sources = jaxprs.own_results(jaxprs.trace(fn, X, W))
  assert sources == (("out", 0), ("in", 1), ("out", 0), ("out", 1), ("in", 0))
  first, number = run(X, W)
  np.testing.assert_array_equal(first, [2, 3, 4])
  assert number == 4


def test_programs_that_compute_the_same_share_a_signature():
  def text(fn, *shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jaxprs.signature(jaxprs.trace(fn, *args))

  assert text(lambda a: a * 2, (3,)) == text(lambda b: b * 2, (3,))
  assert text(lambda a: a * 2, (3,)) != text(lambda a: a * 3, (3,))
  assert text(lambda a: a * 2, (3,)) != text(lambda a: a * 2, (4,))


def test_values_of_a_trace_are_told_from_arrays():
  seen = []
  jax.jit(lambda x: seen.append(jaxprs.is_traced(x)))(X)
  assert seen == [True] and not jaxprs.is_traced(X)


class Turned(nn.Module):
  """A layer of a stack whose weights `nn.scan` stacks."""

  @nn.compact
  def __call__(self, x, _):
    return nn.tanh(nn.Dense(4, name="turn")(x)), None


class Recurrent(nn.Module):
  """A layer ahead, a cell in a scan, a stack in a scan, and a head."""

  cell: type

  @nn.compact
  def __call__(self, x):
    x = nn.remat(nn.Dense)(4, name="zone")(x)
    x = nn.RNN(self.cell(4, name="memory"))(x)[:, -1]
    stack = nn.scan(
      Turned, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
    )
    x, _ = stack(name="column")(x, None)
    return nn.Dense(2, name="answer")(x)


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.OptimizedLSTMCell])
def test_recurrent_and_scanned_networks_in_every_form(cell, traced):
  found = []
  for form in (None, *jaxpr_forms.FORMS):
    traced(form)
    network = linen.from_linen(Recurrent(cell), (6, 3), 2)
    assert network.units == ("zone", "memory", "column", "answer")
    products = gemms.of(network, batch=2)
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, 6, 3), jnp.float32)
    program = jaxprs.trace(network.apply, params, stats, x)
    flops = sum(map(operations.flops, operations.flatten(program).operations))
    found.append(
      (
        [tensor.path for tensor in network.tensors],
        [gemm[:5] for gemm in products],
        flops,
        [group.name for group in channels.groups(network)],
        step.has_convolution(program),
      )
    )
  assert found[0] == found[1] == found[2]
  _, products, flops, _, convolves = found[0]
  by_times = {}
  for _, k, n, times, _ in products:
    by_times[times] = by_times.get(times, 0) + k * n
  # Rows of all steps ahead; one step's in the cell, one layer's in the stack.
  assert by_times[6] in (2 * 4 * 4 * 3, 2 * 4 * 4 * 4)
  assert by_times[3] == 4 * 4
  assert flops > 2 * 2 * (6 * 3 * 4 + 6 * by_times[6] + 3 * 16 + 8)
  assert not convolves


def test_an_operation_that_keeps_its_program_to_itself_is_one_operation():
  made = jaxpr_forms.equation(
    "call_hi_primitive", {"_prim": SimpleNamespace(jaxpr=None)}, [(3,)], [(3,)]
  )
  equation = jaxprs.read_equation(made)
  assert jaxprs.programs(equation) == [] and jaxprs.called(equation) is None
