"""Scores of tensors against sums by hand, and their first-order meaning."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures
import tiny_network

from jcl import base
from jcl.selection import importance

NETWORK = tiny_network.build()
RATE = 1e-3
BATCHES = tuple(tiny_network.batch(seed=seed) for seed in range(2))
KEY = jax.random.key(3)
ORDER = [tensor.path for tensor in NETWORK.tensors]
WAYS = [
  (point, step)
  for point in ("after", "before")
  for step in ("optimizer", "sgd")
]


@pytest.fixture(scope="module")
def params():
  return jax.tree.map(np.asarray, NETWORK.init(jax.random.key(0))[0])


def loss(params, batch, scale=1.0):
  stats = {unit: {"calls": 0.0} for unit in tiny_network.UNITS[:2]}
  logits = NETWORK.apply(params, stats, batch.x).logits
  return scale * jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
  )


_gradient = jax.jit(jax.grad(loss))


def probe_of(params, batches=BATCHES, *, rate=RATE, trace=None, scale=1.0):
  """A probe; its optimiser has the momentum 0.9 and `trace` to begin with."""

  def advance(grads, params):
    held = (
      grads
      if trace is None
      else jax.tree.map(lambda g, t: g + 0.9 * t, grads, trace)
    )
    return jax.tree.map(lambda p, h: p - rate * h, params, held)

  return base.Probe(
    params,
    tuple(batches),
    lambda params, batch, key: _gradient(params, batch, scale),
    advance,
    rate,
  )


def by_hand(product, first, second):
  """Sums over the entries, in the network's order."""
  first, second = (
    {
      tuple(entry.key for entry in path): np.asarray(leaf, np.float64)
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (first, second)
  )
  return np.array([product(first[p], second[p]).sum() for p in ORDER])


def moved(params, change, path, by):
  """Returns parameters with one tensor moved along `change`."""

  def move(where, leaf, step):
    here = tuple(entry.key for entry in where) == path
    return leaf + by * step if here else leaf

  return jax.tree_util.tree_map_with_path(move, params, change)


@pytest.mark.parametrize("point, step", WAYS)
def test_finite_differences_of_the_loss_agree(params, point, step):
  with jax.enable_x64(True):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    trace = jax.tree.map(lambda leaf: 0.1 * np.cos(leaf), params)
    batches = [
      batch._replace(x=batch.x.astype(np.float64)) for batch in BATCHES
    ]
    probe = probe_of(params, batches, trace=trace)
    found = importance.update_times_gradient(
      probe, KEY, ORDER, point=point, step=step
    )
    value = jax.jit(loss)
    expected = np.zeros(len(ORDER))
    for batch in batches:
      grads = _gradient(params, batch, 1.0)
      after = probe.advance(grads, params)
      if step == "sgd":
        after = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
      change = jax.tree.map(lambda a, b: a - b, after, params)
      there = after if point == "after" else params
      # What undoing half of the tensor's update and doing half of it again
      # change, from the point on: symmetric, so exact to second order.
      expected += [
        float(value(moved(there, change, path, -0.5), batch))
        - float(value(moved(there, change, path, 0.5), batch))
        for path in ORDER
      ]
  np.testing.assert_allclose(found, expected / len(batches), rtol=1e-4)
  assert found.dtype == np.float64 and found.shape == (len(ORDER),)


def test_undoing_an_update_raises_the_loss_by_the_score(params):
  # The paper's own words, one-sided, so right within a per cent only.
  with jax.enable_x64(True):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    batch = BATCHES[0]._replace(x=BATCHES[0].x.astype(np.float64))
    probe = probe_of(params, [batch])
    found = importance.update_times_gradient(probe, KEY, ORDER)
    change = jax.tree.map(lambda g: -RATE * g, _gradient(params, batch, 1.0))
    after = jax.tree.map(lambda p, c: p + c, params, change)
    rise = [
      float(loss(moved(after, change, path, -1), batch) - loss(after, batch))
      for path in ORDER
    ]
  np.testing.assert_allclose(found, rise, rtol=0.01)


@pytest.mark.parametrize("point, step", WAYS)
def test_a_step_that_lowers_the_loss_scores_above_0(params, point, step):
  probe = probe_of(params)
  found = importance.update_times_gradient(
    probe, KEY, ORDER, point=point, step=step
  )
  assert (found > 0).all()
  after = probe.advance(_gradient(params, BATCHES[0], 1.0), params)
  assert loss(after, BATCHES[0]) < loss(params, BATCHES[0])


def test_a_step_that_raises_the_loss_scores_below_0(params):
  probe = probe_of(params)._replace(
    advance=lambda grads, params: jax.tree.map(
      lambda p, g: p + RATE * g, params, grads
    )
  )
  assert (importance.update_times_gradient(probe, KEY, ORDER) < 0).all()


def test_overshooting_shows_behind_the_update_only(params):
  # Past the bottom of the valley the slope has turned.
  probe = base.Probe(
    {"unit": {"w": np.float32([1.0])}},
    BATCHES[:1],
    lambda params, batch, key: params,  # of w ** 2 / 2
    lambda grads, params: jax.tree.map(lambda p, g: p - 3 * g, params, grads),
    3.0,
  )
  for step in ("optimizer", "sgd"):
    score = {
      point: importance.update_times_gradient(
        probe, KEY, [("unit", "w")], point=point, step=step
      ).tolist()
      for point in ("before", "after")
    }
    assert score == {"before": [3.0], "after": [-6.0]}


@pytest.mark.parametrize("point, step", WAYS)
def test_the_scale_of_the_loss_does_not_change_the_ranking(params, point, step):
  ranks = [
    np.argsort(
      importance.update_times_gradient(
        probe_of(params, scale=scale), KEY, ORDER, point=point, step=step
      )
    ).tolist()
    for scale in (0.125, 1.0, 8.0)
  ]
  assert ranks[0] == ranks[1] == ranks[2]


def test_momentum_counts_unless_the_step_is_plain(params):
  trace = jax.tree.map(np.zeros_like, params)
  trace["first"]["bias"] = (
    9 * _gradient(params, BATCHES[0], 1.0)["first"]["bias"]
  )
  still, moving = (
    {
      step: importance.update_times_gradient(
        probe_of(params, BATCHES[:1], trace=held),
        KEY,
        ORDER,
        point="before",
        step=step,
      )
      for step in ("optimizer", "sgd")
    }
    for held in (None, trace)
  )
  np.testing.assert_array_equal(moving["sgd"], still["sgd"])
  ratio = moving["optimizer"] / still["optimizer"]
  np.testing.assert_allclose(ratio, [1, 9.1, 1, 1, 1, 1], rtol=1e-3)


def test_pairs_take_the_step_of_one_batch_and_the_slope_of_another(params):
  batches = [tiny_network.batch(seed=seed) for seed in range(4)]
  grads = [_gradient(params, batch, 1.0) for batch in batches]
  expected = [
    RATE * by_hand(np.multiply, grads[i], grads[i + 1]) for i in (0, 2)
  ]
  for step in ("optimizer", "sgd"):
    found = importance.update_times_gradient(
      probe_of(params, batches),
      KEY,
      ORDER,
      point="before",
      step=step,
      fresh_pair=True,
    )
    # Differences of parameters lose digits.
    rtol = 1e-2 if step == "optimizer" else 1e-5
    np.testing.assert_allclose(
      found, np.mean(expected, axis=0), rtol=rtol, atol=1e-8
    )


def test_pairs_do_not_take_noise_for_progress():
  # Gradients of pure noise: on one batch the score is their square.
  def gradient(params, batch, key):
    return {"unit": {"w": jax.random.normal(key, (200,))}}

  def score(**options):
    probe = base.Probe(
      {"unit": {"w": np.zeros(200, np.float32)}},
      BATCHES * 20,
      gradient,
      lambda grads, params: params,
      1.0,
    )
    return importance.update_times_gradient(
      probe, KEY, [("unit", "w")], point="before", step="sgd", **options
    ).item()

  assert score() == pytest.approx(200, rel=0.1)
  # Twenty products of standard deviation sqrt(200).
  assert abs(score(fresh_pair=True)) < 4 * np.sqrt(200 / 20)


@pytest.mark.parametrize("step", ["optimizer", "sgd"])
def test_both_gradients_of_a_batch_see_one_key(params, step):
  probe, seen = probe_of(params), []

  def gradient(params, batch, key):
    seen.append((batch.ids[0], tuple(jax.random.key_data(key).tolist())))
    return probe.gradient(params, batch, key)

  batches = tuple(
    batch._replace(ids=batch.ids + 10 * i) for i, batch in enumerate(BATCHES)
  )
  watched = probe._replace(gradient=gradient, batches=batches)
  importance.update_times_gradient(watched, KEY, ORDER, step=step)
  assert [name for name, _ in seen] == [0, 0, 10, 10]
  assert seen[0] == seen[1] and seen[2] == seen[3]
  assert seen[0][1] != seen[2][1]
  seen.clear()
  importance.update_times_gradient(
    watched, KEY, ORDER, step=step, fresh_pair=True
  )
  assert [name for name, _ in seen] == [0, 10]
  assert seen[0][1] != seen[1][1]


def test_nothing_of_the_probe_changes(params):
  probe = probe_of(params)
  copies = jax.tree.map(np.copy, (probe.params, probe.batches))
  for point, step in WAYS:
    importance.update_times_gradient(probe, KEY, ORDER, point=point, step=step)
  importance.gradient_magnitude(probe, KEY, ORDER)
  assert tiny_network.same_bits((probe.params, probe.batches), copies)


def test_magnitudes_are_sums_over_entries(params):
  found = importance.gradient_magnitude(probe_of(params), KEY, ORDER)
  each = [
    by_hand(lambda g, _: abs(g), *[_gradient(params, batch, 1.0)] * 2)
    for batch in BATCHES
  ]
  np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)
  found = importance.weight_magnitude(params, ORDER)
  expected = by_hand(lambda w, _: abs(w), params, params)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scores_come_in_the_order_asked_for(params):
  probe = probe_of(params)
  forward = importance.update_times_gradient(probe, KEY, ORDER)
  backward = importance.update_times_gradient(probe, KEY, ORDER[::-1])
  np.testing.assert_allclose(forward, backward[::-1], rtol=1e-6)
  assert len(set(forward.tolist())) == len(ORDER)


def test_paths_are_sorted_whatever_order_a_dict_has(params):
  assert importance.paths(params) == tuple(sorted(ORDER))
  turned = collections.OrderedDict(
    (unit, collections.OrderedDict(reversed(params[unit].items())))
    for unit in reversed(params)
  )
  assert importance.paths(turned) == tuple(sorted(ORDER))


def test_low_precision_parameters_are_summed_in_float32():
  params = {"unit": {"w": jnp.full(3000, 1.0, jnp.bfloat16)}}
  # In bfloat16 the sum has 8 bits.
  found = importance.weight_magnitude(params, [("unit", "w")])
  assert found.tolist() == [3000.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_probe_that_left_the_finite_numbers_names_the_tensors(params, bad):
  probe = probe_of(params)

  def gradient(params, batch, key):
    grads = jax.tree.map(np.array, probe.gradient(params, batch, key))
    grads["second"]["bias"][1] = bad
    return grads

  broken = probe._replace(gradient=gradient)
  match = "importance of second/bias is not finite: .* lower the learning rate"
  with pytest.raises(ValueError, match=match):
    importance.update_times_gradient(broken, KEY, ORDER, point="before")
  with pytest.raises(ValueError, match=match):
    importance.gradient_magnitude(broken, KEY, ORDER)
  with pytest.raises(ValueError, match="and 1 more is not finite"):
    importance.weight_magnitude(
      jax.tree.map(lambda leaf: np.full_like(leaf, bad), params), ORDER
    )


@pytest.mark.parametrize(
  "options, count, message",
  [
    ({"point": "middle"}, 1, "point='middle': give 'after' or 'before'"),
    ({"step": "adam"}, 1, "step='adam': give 'optimizer' or 'sgd'"),
    ({}, 0, "the probe has no batch"),
    ({"fresh_pair": True}, 1, "two different batches .* got 1: give an even"),
    ({"fresh_pair": True}, 3, "got 3"),
  ],
)
def test_bad_requests_are_refused(params, options, count, message):
  probe = probe_of(params, (BATCHES * 2)[:count])
  with pytest.raises(ValueError, match=message):
    importance.update_times_gradient(probe, KEY, ORDER, **options)
  if not count:
    with pytest.raises(ValueError, match=message):
      importance.gradient_magnitude(probe, KEY, ORDER)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(importance.update_times_gradient) == {
    "point": "after",
    "step": "optimizer",
    "fresh_pair": False,
  }
