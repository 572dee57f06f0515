"""Sparse kernels whose live weights change while they learn."""

import functools

import jax
import numpy as np
import optax
import pytest
import signatures

from jcl import base
from jcl.networks import catalogue
from jcl.networks.sparsity import dynamic

SHAPE = (3, 3, 4, 5)  # 180 weights
KERNELS = (("a", "conv", "kernel"), ("b", "conv", "kernel"))
NAME = "a/conv/kernel"
SETTING = dynamic.Schedule(
  0.75, ((0.75, 0.7), (0.8, 0.75), (0.75, 0.75)), 4, gradient_period=3
)


def params(seed=0):
  generator = np.random.default_rng(seed)

  def unit():
    kernel = generator.standard_normal(SHAPE).astype(np.float32)
    return {
      "conv": {"kernel": kernel},
      "norm": {
        "scale": np.ones(5, np.float32),
        "bias": np.zeros(5, np.float32),
      },
    }

  return {name: unit() for name in "ab"}


def gradient(step, like):
  generator = np.random.default_rng((7, step))
  return jax.tree.map(
    lambda leaf: generator.standard_normal(leaf.shape, np.float32), like
  )


def largest(scores, count):
  """As `ranking.largest`, on the host."""
  marks = np.zeros(scores.size, bool)
  marks[np.argsort(-scores.ravel(), kind="stable")[:count]] = True
  return marks.reshape(scores.shape)


def compiled(fn, *args):
  """Returns the function for such arguments, compiled quickly."""
  options = {"xla_backend_optimization_level": 0}
  return jax.jit(fn).lower(*args).compile(compiler_options=options)


def rule(seed=0):
  return dynamic.sparse(optax.sgd(0.1, momentum=0.9), KERNELS, SETTING, seed)


@functools.cache
def start(seed=0):
  """Parameters and state ahead of the first update."""

  def begin(weights):
    weights = dynamic.start(weights, KERNELS, SETTING.sparsity)
    return weights, rule(seed).init(weights)

  return compiled(begin, params())(params())


@functools.cache
def program():
  """All updates: masks are values, so that one program makes them."""

  def step(weights, state, grads):
    updates, state = rule().update(grads, state, weights)
    return optax.apply_updates(weights, updates), state

  return compiled(step, *start(), params())


@functools.cache
def learned(seed=0, steps=14):
  """Parameters and state ahead of the first update and behind each."""
  history = [start(seed)]
  for number in range(steps):
    history.append(program()(*history[-1], gradient(number, params())))
  return history


def masks(history, name=NAME):
  return [np.asarray(state[name].mask) for _, state in history]


def test_start_is_by_magnitude():
  weights, state = learned()[0]
  kernel = np.asarray(params()["a"]["conv"]["kernel"])
  order = np.argsort(-np.abs(kernel).ravel(), kind="stable")
  expected = np.zeros(kernel.size, bool)
  expected[order[:45]] = True
  found = np.asarray(weights["a"]["conv"]["kernel"])
  np.testing.assert_array_equal(found != 0, expected.reshape(SHAPE))
  np.testing.assert_array_equal(masks(learned())[0], found != 0)
  again = compiled(lambda w: dynamic.start(w, KERNELS, 0.75), weights)
  jax.tree.map(np.testing.assert_array_equal, again(weights), weights)
  assert set(state) == {
    f"{unit}/{array}"
    for unit in "ab"
    for array in ("conv/kernel", "norm/scale", "norm/bias")
  }


def test_live_weights_by_phase():
  """Changes ahead of updates 0, 4, 8 and 12, exact to the weight."""
  expected = [45] + [54] * 4 + [45] * 10
  for name in (NAME, "b/conv/kernel"):
    assert [mask.sum() for mask in masks(learned(), name)] == expected
  first, second = (masks(learned(), n)[1] for n in (NAME, "b/conv/kernel"))
  assert (first != second).any()


def test_dead_weights_are_zero_and_other_arrays_dense():
  for weights, state in learned():
    kernel = np.asarray(weights["a"]["conv"]["kernel"])
    assert not kernel[~np.asarray(state[NAME].mask)].any()
  # Shifts begin with zeros and learn all the same.
  norm = learned()[-1][0]["a"]["norm"]
  assert (np.asarray(norm["bias"]) != 0).all()
  assert (np.asarray(norm["scale"]) != 1).all()


def test_the_least_important_are_pruned_and_others_grow():
  history, step = learned(), 4  # to 36 and back to 45
  weights, before = history[step]
  kernel = np.asarray(weights["a"]["conv"]["kernel"])
  grad = np.asarray(gradient(step, weights)["a"]["conv"]["kernel"])
  old, new = np.asarray(before[NAME].mask), masks(history)[step + 1]
  importance = np.where(old, np.abs(kernel) + 0.5 * np.abs(grad), -1)
  stay = largest(importance, 36)
  assert new[stay].all()
  assert (new & ~stay).sum() == 9
  # Nine of 144 at random, hardly all of them among those pruned just now.
  assert (new & ~old).any()


def test_masks_and_weights_begin_where_they_were():
  grown = masks(learned())[1] & ~masks(learned())[0]
  kernel = np.asarray(learned()[1][0]["a"]["conv"]["kernel"])
  assert grown.sum() == 9
  # What grows starts from zero: all it has is one update, if let through.
  grad = np.asarray(gradient(0, params())["a"]["conv"]["kernel"])
  pattern = np.asarray(learned()[1][1][NAME].pattern)
  np.testing.assert_allclose(
    kernel[grown], (-0.1 * grad * pattern)[grown], rtol=1e-5
  )


def test_no_growth_in_the_last_phase():
  late = masks(learned())[9:]
  for mask in late[1:]:
    np.testing.assert_array_equal(mask, late[0])


def test_gradients_left_out():
  history = learned()
  patterns = [np.asarray(state[NAME].pattern) for _, state in history]
  assert patterns[0].all()
  for step in range(14):
    assert patterns[step + 1].sum() == 36
    if step % 3:
      np.testing.assert_array_equal(patterns[step + 1], patterns[step])
      continue
    grads = gradient(step, params())["a"]["conv"]["kernel"]
    alive = masks(history)[step + 1]
    expected = largest(np.where(alive, np.abs(grads), 0), 36)
    np.testing.assert_array_equal(patterns[step + 1], expected)


def test_momentum_sees_the_gradients_let_through():
  """The optimiser's own state is that of the gradient with its zeros."""
  _, state = learned()[1]
  trace = np.asarray(state[NAME].slot[0].trace)
  through = np.asarray(state[NAME].mask & state[NAME].pattern)
  grad = np.asarray(gradient(0, params())["a"]["conv"]["kernel"])
  np.testing.assert_allclose(trace, np.where(through, grad, 0), rtol=1e-6)


@pytest.mark.parametrize(("published", "kept"), [(False, 0), (True, 1)])
def test_importance_by_the_gradient_of_now_or_of_before(published, kept):
  """Of two weights one may stay; the pattern lets the second one through."""
  weights = {"kernel": np.float32([0.10, 0.15])}
  schedule = dynamic.Schedule(0.0, ((0.5, 0.5),), 1, 0.5, published=published)
  found = dynamic.sparse(optax.sgd(0.0), (("kernel",),), schedule)
  state = found.init(weights)
  pattern = np.array([False, True])
  # Of the update before, as the pattern lets it through.
  past = np.float32([0, 0]) if published else ()
  state["kernel"] = state["kernel"]._replace(pattern=pattern, past=past)
  _, state = found.update({"kernel": np.float32([0.2, 0])}, state, weights)
  assert np.flatnonzero(state["kernel"].mask).tolist() == [kept]
  if published:
    through = state["kernel"].mask & state["kernel"].pattern
    expected = np.where(through, np.float32([0.2, 0]), 0)
    np.testing.assert_array_equal(state["kernel"].past, expected)


@pytest.mark.parametrize(
  ("sparsity", "alive", "through"), [(0.75, 25, 20), (0.9, 10, 10)]
)
def test_a_fifth_of_all_gradients_may_be_more_than_live(
  sparsity, alive, through
):
  """From a sparsity of 0.8 on, leaving out 0.8 of gradients leaves out none."""
  weights = {"kernel": np.arange(1, 101, dtype=np.float32)}
  schedule = dynamic.Schedule(sparsity, ((sparsity, sparsity),), 1, 0.8)
  found = dynamic.sparse(optax.sgd(0.0), (("kernel",),), schedule)
  state = found.init(weights)
  grads = {"kernel": np.linspace(2, 3, 100, dtype=np.float32)}
  _, state = found.update(grads, state, weights)
  kernel = state["kernel"]
  assert int(kernel.mask.sum()) == alive
  assert int((kernel.mask & kernel.pattern).sum()) == through


def test_restart_begins_the_schedule_anew():
  weights, state = learned()[-1]
  again = dynamic.restart(state)
  assert (int(state[NAME].step), int(again[NAME].step)) == (14, 0)
  assert jax.tree.structure(again) == jax.tree.structure(state)
  _, after = program()(weights, again, gradient(0, params()))
  assert after[NAME].mask.sum() == 54
  # Growth draws on: the same schedule does not bring the same weights.
  key = np.asarray(after[NAME].key)
  assert (key != np.asarray(learned()[1][1][NAME].key)).any()


def test_the_seed_decides():
  other = learned(seed=1, steps=1)
  again = learned(seed=0, steps=1)
  np.testing.assert_array_equal(masks(again)[1], masks(learned())[1])
  assert (masks(other)[1] != masks(learned())[1]).any()


def test_a_selection_of_the_arrays():
  weights = params()
  weights["a"] = jax.tree.map(lambda leaf: None, weights["a"])

  def once(weights):
    state = rule().init(weights)
    return rule().update(weights, state, weights)

  updates, state = jax.eval_shape(once, weights)
  assert {name[0] for name in state} == {"b"}
  assert jax.tree.structure(updates) == jax.tree.structure(weights)
  assert state["b/conv/kernel"].mask.shape == SHAPE


def test_densities():
  assert dynamic.densities(learned()[-1][1])[NAME][0] == 0.25
  found = dynamic.densities(learned()[1][1])
  assert set(found) == {NAME, "b/conv/kernel"}
  state = learned()[1][1][NAME]
  through = np.asarray(state.mask & state.pattern).mean()
  assert found[NAME] == (0.3, pytest.approx(through))


def test_kernels_of_resnet18():
  network = catalogue.build("resnet18", (32, 32, 3), 10)
  found = dynamic.kernels(network)
  assert len(found) == 16
  assert {path[0] for path in found} == set(network.units[1:-1])
  assert {path[1] for path in found} == {"conv_0", "conv_1"}
  flat = catalogue.build("mlp", (4,), 3, width=5)
  with pytest.raises(ValueError, match="mlp.* no convolution larger than 1x1"):
    dynamic.kernels(flat)


def test_published_schedule():
  """Fifty epochs, a change every five."""
  found = dynamic.schedule(0.75, 5 * 280, 50 * 280)
  assert found.period == 1400 and len(found.phases) == 10
  expected = [(0.75, 0.74)] + [(0.76, 0.75)] * 8 + [(0.75, 0.75)]
  np.testing.assert_allclose(found.phases, expected)
  assert (found.gradient_sparsity, found.gradient_period) == (0.8, 30)


@pytest.mark.parametrize("steps", [1, 5, 6, 10, 11])
def test_short_tasks_settle_too(steps):
  phases = dynamic.schedule(0.5, 5, steps).phases
  assert len(phases) == -(-steps // 5)
  assert phases[-1] == (0.5, 0.5)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: dynamic.schedule(0.75, 0, 10), "period=0"),
    (lambda: dynamic.schedule(0.75, 5, 0), "steps_per_task=0"),
    (lambda: dynamic.schedule(0.75, 5, 100, margin=0.8), "margin=0.8"),
    (lambda: dynamic.schedule(0.99, 5, 100, margin=0.02), "sparsity is 1.01"),
    (lambda: dynamic.Schedule(0.5, (), 5), "phases"),
    (lambda: dynamic.Schedule(0.5, ((0.4, 0.5),), 5), "pruned to 0.4"),
    (lambda: dynamic.Schedule(0.5, ((0.5, 0.5),), 5, 1.0), "sparsity is 1.0"),
    (
      lambda: dynamic.Schedule(0.5, ((0.5, 0.5),), 5, 0.8, 0),
      "gradient_period=0",
    ),
  ],
)
def test_schedules_that_cannot_be(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_values_are_needed():
  with pytest.raises(ValueError, match="need their values"):
    rule().update(params(), {})


def test_growth_draws_as_in_the_shape_of_the_kernel():
  for seed in range(3):
    key = jax.random.key(seed)
    flat = jax.random.uniform(key, (180,))
    np.testing.assert_array_equal(
      flat.reshape(SHAPE), jax.random.uniform(key, SHAPE)
    )


def test_defaults():
  assert signatures.defaults(dynamic.schedule) == {"margin": 0.01}
  assert signatures.defaults(dynamic.sparse) == {"seed": 0}


def test_schedules_at_their_bounds():
  least = dynamic.Schedule(0.0, ((0.5, 0.5),), 1, 0.0, 1)
  assert (least.period, least.gradient_period) == (1, 1)
  with pytest.raises(ValueError, match="period=0: give 1 update or more"):
    dynamic.Schedule(0.5, ((0.5, 0.5),), 0)
  assert signatures.defaults(dynamic.Schedule) == {
    "gradient_sparsity": 0.8,
    "gradient_period": 30,
    "published": False,
  }
  assert dynamic.schedule(0.5, 1, 1).phases == ((0.5, 0.5),)
  for margin in (0.0, 0.25):
    expand, *_ = dynamic.schedule(0.25, 1, 3, margin=margin).phases
    assert expand == (0.25, 0.25 - margin)
  for margin in (-0.01, 0.26):
    with pytest.raises(ValueError, match="give a share from 0 to 0.25"):
      dynamic.schedule(0.25, 1, 3, margin=margin)


@pytest.mark.parametrize(
  "steps, expected",
  [
    (10, [(0.5, 0.5)]),
    (11, [(0.5, 0.25), (0.5, 0.5)]),
    (21, [(0.5, 0.25), (0.75, 0.5), (0.5, 0.5)]),
    (31, [(0.5, 0.25), (0.75, 0.5), (0.75, 0.5), (0.5, 0.5)]),
  ],
)
def test_phases_of_a_task(steps, expected):
  found = dynamic.schedule(0.5, 10, steps, margin=0.25)
  assert list(found.phases) == expected


def test_a_kernel_of_two_positions_is_larger_than_one():
  def network(*shapes, kinds=("kernel",) * 9):
    units = [f"unit_{i}" for i in range(len(shapes))]
    tensors = tuple(
      base.Tensor((unit, "w"), unit, kind, shape)
      for unit, shape, kind in zip(units, shapes, kinds, strict=False)
    )
    return base.Network(
      "some", tuple(units), tensors, None, None, (4,), 3, None
    )

  wide = (3, 3, 2, 2)
  found = dynamic.kernels(network(wide, (1, 2, 4, 4), (1, 1, 4, 4), wide, wide))
  assert found == (("unit_1", "w"), ("unit_3", "w"))
  with pytest.raises(ValueError, match="'some' has no convolution"):
    dynamic.kernels(network(wide, (1, 1, 4, 4), wide))
  with pytest.raises(ValueError, match="'some' has no convolution"):
    dynamic.kernels(
      network(wide, wide, wide, kinds=("kernel", "scale", "bias"))
    )
