"""Programs that tests share are those that each would have made by itself."""

import dataclasses
import functools
import threading

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shared_programs
import tiny_network

from jcl import base, recipes
from jcl.run import session
from jcl.train import background

X = jnp.ones(3)
SCALE = 2.0


def key(fn, *shapes, **jit):
  return shared_programs.key(fn, shapes or (X,), jit)


def made(fn, *shapes, **jit):
  return background.compile_program(fn, shapes or (X,), **jit)


def over(value):
  """Returns a function that closes over a value."""

  def run(x):
    return x if value is None else x + 1

  return run


def with_default(value):
  def run(x, by=value):
    return x * by

  return run


@dataclasses.dataclass
class Scaling:
  by: float

  def __call__(self, x):
    return x * self.by

  def run(self, x):
    return x * self.by


class Slotted:
  __slots__ = ("by",)

  def __call__(self, x):
    return x * self.by


def by_a_global(x):
  return (lambda: x * SCALE)()


def begun(text="er:buffer=8,minibatch=4", noise=0.0, seed=0, **training):
  """Returns a learner of a tiny stream, and what it begins with."""
  options = {"batch_size": 4, "learning_rate": 0.1, **training}
  job = session.assemble(
    tiny_network.stream(),
    tiny_network.build(noise=noise),
    recipes.build(text),
    base.Training(**options),
    seed,
  )
  return job.learner, job.learner.init(jax.random.key(seed))[1]


def test_equal_functions_share_a_program():
  first = made(over(Scaling(2.0)))
  assert made(over(Scaling(2.0))) is first
  assert first.call(X).tolist() == [2.0, 2.0, 2.0]
  assert made(over(Scaling(3.0))) is not first


@pytest.mark.parametrize(
  "make",
  [
    lambda: over([1, {"a": (2.5, "b")}, {3, 4}, None]),
    lambda: over(np.arange(6.0).reshape(2, 3)),
    lambda: over(jnp.arange(3)),
    lambda: over(jax.random.key(3)),
    lambda: over(nn.Dense(4)),
    lambda: with_default(2.0),
    lambda: functools.partial(with_default(2.0), by=3.0),
    lambda: Scaling(2.0).run,
    lambda: Scaling(2.0),
    lambda: by_a_global,
    lambda: jnp.tanh,
  ],
)
def test_what_is_made_alike_is_equal(make):
  assert key(make()) == key(make()) and hash(key(make())) == hash(key(make()))


@pytest.mark.parametrize(
  "one, other",
  [
    (over(1), over(2)),
    (over(1), over(1.0)),
    (over(1), over(True)),
    (over(0.0), over(-0.0)),
    (over((1, 2)), over([1, 2])),
    (over(object()), over(object())),
    (over({"a": 1, "b": 2}), over({"b": 2, "a": 1})),
    (over(np.zeros(3)), over(np.array([0.0, 0.0, 1e-9]))),
    (over(np.zeros(3)), over(np.zeros(3, np.float32))),
    (over(np.zeros(3)), over(np.zeros((3, 1)))),
    (over(np.zeros(3, np.float32)), over(jnp.zeros(3))),
    (over(jax.random.key(3)), over(jax.random.key(4))),
    (over(nn.Dense(4)), over(nn.Dense(5))),
    (over(nn.Dense(4)), over(nn.Dense(4, use_bias=False))),
    (with_default(1), with_default(2)),
    (with_default(1), functools.partial(with_default(1), by=1)),
    (Scaling(1.0), Scaling(2.0)),
    (Scaling(1.0).run, Scaling(2.0).run),
    (Scaling(1.0).run, Scaling(1.0)),
    (jnp.sin, jnp.cos),
    (lambda x: x + 1, lambda x: x - 1),
    (lambda x: x + 1, lambda x: x + 2),
  ],
)
def test_whatever_tracing_reads_tells_programs_apart(one, other):
  assert key(one) != key(other)


@pytest.mark.parametrize(
  "shapes, jit",
  [
    ((jnp.ones(4),), {}),
    ((jnp.ones(3, jnp.int32),), {}),
    ((np.ones(3, np.float32),), {}),
    (((X,),), {}),
    ((X, X), {}),
    ((2.0,), {}),
    ((2,), {}),
    ((jax.ShapeDtypeStruct((3,), jnp.float32),), {}),
    ((jax.device_put(X, jax.devices()[0]),), {}),
    ((X,), {"donate_argnums": (0,)}),
    ((X,), {"compiler_options": {"xla_cpu_enable_fast_math": True}}),
  ],
)
def test_arguments_and_options_tell_programs_apart(shapes, jit):
  run = over(1)
  assert key(run, *shapes, **jit) == key(run, *shapes, **jit)
  assert key(run, *shapes, **jit) != key(run, X)
  assert key(run, X) == key(run, X + 1)  # by their shapes alone


def test_the_settings_of_jax_tell_programs_apart():
  usual = key(over(1))
  with jax.default_matmul_precision("highest"):
    assert key(over(1)) != usual
  assert key(over(1)) == usual


def test_what_functions_of_tests_look_up_tells_programs_apart():
  before = key(by_a_global)
  globals()["SCALE"] = 3.0
  try:
    assert key(by_a_global) != before
  finally:
    globals()["SCALE"] = 2.0
  assert key(by_a_global) == before


@pytest.mark.parametrize(
  "part",
  [
    iter([1]),
    threading.Lock(),
    np.random.default_rng(0),
    np.random.default_rng(0).normal,
    np.array([object()]),
    Slotted(),
  ],
)
def test_what_is_not_known_is_not_shared(part):
  with pytest.raises(shared_programs.Unknown):
    key(over(part))
  assert made(over(part)) is not made(over(part))


def test_tracers_are_not_shared():
  @jax.jit
  def run(x):
    with pytest.raises(shared_programs.Unknown):
      key(over(x))
    with pytest.raises(shared_programs.Unknown):
      key(over(1), x)
    return x

  run(X)


def test_what_is_replaced_tells_programs_apart():
  first = made(over(1))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(threading, "TIMEOUT_MAX", 1.0)
    second = made(over(1))
    assert second is not first and made(over(1)) is second
    with pytest.MonkeyPatch.context() as another:
      another.setitem(recipes.__dict__, "er", None)
      assert made(over(1)) is not second
    another.setenv("HOME", "elsewhere")  # no program depends on it
    assert made(over(1)) is second
    another.undo()
    patch.setattr(threading, "TIMEOUT_MAX", 2.0)
    assert made(over(1)) is not second
  assert made(over(1)) is first


def test_what_is_put_back_is_as_it_was():
  first, kept = made(over(1)), threading.TIMEOUT_MAX
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(threading, "TIMEOUT_MAX", 1.0)
    patch.delattr(threading, "TIMEOUT_MAX")
    assert made(over(1)) is not first
    patch.setattr(threading, "TIMEOUT_MAX", kept, raising=False)
    assert made(over(1)) is first


def test_the_least_recently_used_go_first():
  shared_programs.forget()
  first, most = made(over(0)), shared_programs._MOST
  shared_programs._MOST = 2
  try:
    second = made(over(1))
    assert made(over(0)) is first
    third = made(over(2))  # the second one goes
    assert made(over(0)) is first and made(over(2)) is third
    assert made(over(1)) is not second
  finally:
    shared_programs._MOST = most


def test_learners_of_one_recipe_share_their_steps():
  learner, selection = begun()
  step = learner.step_program(selection)
  assert begun(seed=1)[0].step_program(selection) is step
  for other in (
    begun("er:buffer=9,minibatch=4"),
    begun("er:buffer=8,minibatch=5"),
    begun("er_ace:buffer=8,minibatch=4"),
    begun(noise=0.1),
    begun(learning_rate=0.2),
    begun(momentum=0.5),
    begun(batch_size=5),
  ):
    assert other[0].step_program(selection) is not step


def test_a_learner_that_a_test_has_changed_shares_nothing():
  learner, _ = begun()
  fresh = functools.partial(learner._fresh, base.Selection((True,) * 6))
  assert key(fresh) == key(fresh)
  learner.put_batches = None
  with pytest.raises(shared_programs.Unknown):
    key(fresh)
