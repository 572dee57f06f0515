"""Feature anchors: chosen channels, held maps, the drift, and whole runs."""

import dataclasses
import functools
import inspect

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl import base, recipes
from jcl.networks import chain, layers, pretrained
from jcl.objectives import anchors, supervised
from jcl.run import session
from jcl.selection import fixed, mask
from jcl.streams import scenarios, sources
from jcl.train import augment as augmentation
from jcl.train import executors, step_spec
from jcl.train import optimizer as optimizers

CLASSES, CHANNELS, COUNT = 4, 6, 3


class Layer(nn.Module):
  channels: int
  pool: bool = False

  @nn.compact
  def __call__(self, x, training):
    x = nn.relu(layers.norm(training, "norm")(nn.Dense(self.channels)(x)))
    self.sow("intermediates", "map", x)
    return x.mean(axis=(1, 2)) if self.pool else x


@functools.cache
def network() -> base.Network:
  units = [
    ("low", Layer(5)),
    ("mid", Layer(CHANNELS)),
    ("top", Layer(CHANNELS, pool=True)),
    ("head", layers.Head(CLASSES)),
  ]
  return chain.chain("maps", units, (2, 2, 3), CLASSES)


def begins(net):
  return fixed.first_trained(net, "mid")


def forward(norms="batch", net=None):
  net = net or network()
  selection = fixed.frozen_prefix("mid").choose((), net, None, 1.0)
  preprocess = augmentation.Preprocess(np.zeros(3), np.ones(3))
  modes = step_spec.modes(net, selection, norms)
  trained = mask.trained_units(net, selection)
  return step_spec.Forward(net, preprocess, modes, trained)


def batch(rows=5, seed=0, task=1) -> base.Batch:
  generator = np.random.default_rng(seed)
  return base.Batch(
    generator.normal(size=(rows, 2, 2, 3)).astype(np.float32),
    np.arange(rows, dtype=np.int32) % 2 + 2 * task,
    np.full(rows, task, np.int32),
    np.arange(rows, dtype=np.int32),
    np.ones(rows, np.float32),
    {},
  )


def scope(task=1) -> base.Scope:
  current = (
    np.array([False, False, True, True])
    if task
    else np.array([True, True, False, False])
  )
  seen = np.ones(4, bool) if task else current
  return base.Scope(np.int32(task), current, seen, seen)


def inputs(params, stats, now, where, state=(), seed=2) -> base.LossInputs:
  key = jax.random.key(seed)
  return base.LossInputs(params, stats, now, (), where, state, key)


@functools.cache
def begun(published=False, task=1):
  """Returns an objective, its state once an experience is open, and weights."""
  objective = anchors.anchored(
    1.0, 1.0, COUNT, begins=begins, published=published
  )
  net = network()
  params, stats = net.init(jax.random.key(0))
  state = objective.init(params, stats, *objective.sizes(net))
  call = forward("moving" if published else "batch")
  shown = inputs(params, stats, batch(), scope(0), state, seed=1)
  state, _ = objective.last_batch(call, shown)
  shown = shown._replace(scope=scope(task), state=state)
  state, _ = objective.first_batch(call, shown)
  return objective, state, params, stats, call


def drift(objective, call, params, stats, state):
  _, aux = objective.loss(call, inputs(params, stats, batch(), scope(), state))
  return aux.info["anchors"]


def test_channels_are_counted_exactly():
  rng = np.random.default_rng(0)
  maps = jnp.asarray(np.abs(rng.normal(size=(4, 2, 2, 16))) + 0.1)
  ones = np.ones(4)
  wanted = {0: 0, 0.05: 1, 0.15: 2, 0.5: 8, 1: 16}
  published = {0: 1, 0.05: 2, 0.15: 3, 0.5: 9, 1: 16}
  for ratio, count in wanted.items():
    found = anchors.choose_channels(maps, ones, ratio)
    assert int(found.sum()) == count
    importance = np.asarray(maps).sum(axis=(0, 1, 2))
    assert set(np.flatnonzero(found)) == set(np.argsort(-importance)[:count])
  for ratio, count in published.items():
    assert int(anchors.choose_channels(maps, ones, ratio, True).sum()) == count


def test_ties_and_silent_channels():
  maps = jnp.array([[1.0, 2.0, 2.0, 2.0, 0.0, 0.0]])
  first_of_equals = anchors.choose_channels(maps, np.ones(1), 2 / 6)
  assert np.flatnonzero(first_of_equals).tolist() == [1, 2]
  awake = anchors.choose_channels(maps, np.ones(1), 0.99)
  assert np.flatnonzero(awake).tolist() == [0, 1, 2, 3]
  with_ties = anchors.choose_channels(maps, np.ones(1), 2 / 6, True)
  assert np.flatnonzero(with_ties).tolist() == [1, 2, 3]
  distinct = jnp.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
  assert anchors.choose_channels(distinct, np.ones(1), 0.99, True).all()
  # Where the threshold is 0, all reach it.
  assert anchors.choose_channels(maps, np.ones(1), 4 / 6, True).all()


def test_padding_does_not_count():
  maps = jnp.array([[1.0, 0.0], [0.0, 9.0]])
  found = anchors.choose_channels(maps, np.array([1.0, 0.0]), 0.5)
  assert found.tolist() == [True, False]


def test_union_grows_up_to_the_cap():
  objective = anchors.anchored(1.0, 0.34, COUNT, begins=begins, cap=0.5)
  net = network()
  params, stats = net.init(jax.random.key(0))
  state = objective.init(params, stats, *objective.sizes(net))
  call, before = forward(), state.masks
  for seed in range(6):
    shown = inputs(params, stats, batch(seed=seed), scope(0), state)
    state, _ = objective.last_batch(call, shown)
    for old, new in zip(before, state.masks, strict=True):
      assert (new | ~old).all()  # none is lost
      assert int(new.sum()) <= CHANNELS // 2
    before = state.masks
  assert all(maps.shape[-1] == CHANNELS // 2 for maps in state.maps)
  assert max(anchors.density(state)) <= 0.5


@pytest.mark.parametrize("published", [False, True])
def test_nothing_has_drifted_in_the_first_step(published):
  objective, state, params, stats, call = begun(published)
  assert float(drift(objective, call, params, stats, state)) < 1e-9
  moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
  assert float(drift(objective, call, moved, stats, state)) > 1e-3


def test_first_experience_has_no_anchors():
  objective, state, params, stats, call = begun(task=0)
  moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
  assert float(drift(objective, call, moved, stats, state)) == 0


def test_only_later_experiences_pass_over_anchors():
  """Statistics move by the batch alone, then by the anchors ahead of it."""
  objective, state, params, stats, call = begun(published=True)

  def norm(stats):
    return stats["low"]["batch_stats"]["norm"]["mean"]

  def shown(x, stats):
    return norm(call(params, stats, x).stats), call(params, stats, x).stats

  for task, x in ((0, None), (1, batch().x[:COUNT])):
    given = inputs(params, stats, batch(), scope(task), state)
    _, noted = objective.first_batch(call, given)
    _, aux = objective.loss(call, given)
    expected, passed = (norm(stats), stats) if x is None else shown(x, stats)
    np.testing.assert_allclose(norm(noted), expected, rtol=1e-5)
    expected, _ = shown(batch().x, passed)
    np.testing.assert_allclose(norm(aux.stats), expected, rtol=1e-5)


def test_trunk_output_is_held_instead_of_inputs():
  _, state, params, stats, _ = begun()
  out = network().apply(params, stats, batch().x, taps=("low",))
  np.testing.assert_allclose(state.held, out.taps["low"][:COUNT], rtol=1e-6)
  _, raw, *_ = begun(published=True)
  np.testing.assert_array_equal(raw.held, batch().x[:COUNT])


def test_gradient_of_the_plain_sum():
  """With respect to a map, 2 (f - r) in its channels and 0 in others."""
  maps = jnp.asarray(np.random.default_rng(0).normal(size=(COUNT, CLASSES)))

  def apply(params, stats, x, *, training=(), key=None, taps=(), start=None):
    del training, key, start, x
    return base.Output(params["head"], stats, {"mid": params["mid"]})

  net = base.Network(
    "given",
    ("mid", "head"),
    (
      base.Tensor(("mid",), "mid", "other", (COUNT, CHANNELS)),
      base.Tensor(("head",), "head", "other", (COUNT, CLASSES)),
    ),
    lambda key: ({"mid": jnp.zeros((COUNT, CHANNELS)), "head": maps}, {}),
    apply,
    (2, 2, 3),
    CLASSES,
    None,
  )
  inner = supervised.cross_entropy()._replace(
    loss=lambda forward, inputs: (
      jnp.float32(0),
      base.Aux(inputs.stats, inputs.params["head"], {}, {}),
    )
  )
  objective = anchors.anchored(
    3.0, 0.5, COUNT, begins=lambda net: 0, inner=inner, published=True
  )
  mask = jnp.arange(CHANNELS) < 2
  reference = jnp.ones((COUNT, CHANNELS))
  state = anchors.Anchors(
    jnp.zeros((COUNT, 2, 2, 3)),
    jnp.ones(COUNT),
    (jnp.where(mask, reference, 0.0),),
    maps,
    (mask,),
  )
  params = {"mid": 4.0 * reference, "head": maps + 0.5}
  preprocess = augmentation.Preprocess(np.zeros(3), np.ones(3))
  call = step_spec.Forward(net, preprocess, net.units, net.units)
  grads = jax.grad(
    lambda p: objective.loss(call, inputs(p, {}, batch(), scope(), state))[0]
  )(params)
  expected = jnp.broadcast_to(
    jnp.where(mask, 2 * 3.0 * 3.0, 0.0), (COUNT, CHANNELS)
  )
  np.testing.assert_allclose(grads["mid"], expected, rtol=1e-6)
  np.testing.assert_allclose(grads["head"], 3.0, rtol=1e-6)


@pytest.mark.parametrize("published, factor", [(True, 2.0), (False, 1.0)])
def test_more_of_the_same_anchors(published, factor):
  """Twice the anchors weigh twice as much in the plain sum, else the same."""
  objective, state, params, stats, call = begun(published)
  twice = state._replace(
    held=jnp.concatenate([state.held] * 2),
    weight=jnp.concatenate([state.weight] * 2),
    logits=jnp.concatenate([state.logits] * 2),
    maps=tuple(jnp.concatenate([m] * 2) for m in state.maps),
  )
  moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
  call = step_spec.Forward(call.network, call.preprocess, (), call.trained)
  once = float(drift(objective, call, moved, stats, state))
  np.testing.assert_allclose(
    drift(objective, call, moved, stats, twice), factor * once, rtol=1e-5
  )


def test_a_drift_by_hand_at_the_usual_size_and_at_others():
  """Fifteen anchors and maps of 16 places weigh as in the plain sum."""
  objective, state, params, stats, call = begun()
  call = step_spec.Forward(call.network, call.preprocess, (), call.trained)
  taps = ("mid/map", "top/map")
  out = call(params, stats, state.held, taps=taps, start="mid")
  state = state._replace(
    maps=(out.taps[taps[0]] + 1.0, out.taps[taps[1]] + 2.0),
    logits=out.logits + jnp.array([3.0, 4.0, 9.0, 9.0]),
    masks=(jnp.ones(CHANNELS, bool),) * 2,
    weight=jnp.array([1.0, 0.0, 1.0]),
  )
  # Two anchors count; maps have 4 places; classes 0 and 1 are earlier ones.
  mid, top, logits = 4 * CHANNELS * 1.0, 4 * CHANNELS * 4.0, 9.0 + 16.0
  expected = 15 / 2 * 2 * (16 / 4 * (mid + top) + logits)
  found = drift(objective, call, params, stats, state)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  for weight, total in (([0.0, 0.0], 1), ([0.5, 0.0], 1), ([1.0, 0.5], 1.5)):
    assert anchors._total(jnp.array(weight)) == total  # one counts at least


def test_a_few_slots_take_the_most_active_and_hold_them_in_order():
  mask = jnp.array([False, False, True, False, False])
  maps = jnp.array([[5.0, 1.0, 0.0, 7.0, 3.0]])
  settings = anchors._Settings(
    0.0, 0.6, 1, begins, (), 0.5, supervised.cross_entropy(), False, False
  )
  grown = anchors._grown(mask, maps, np.ones(1), settings, 3)
  assert grown.tolist() == [True, False, True, True, False]
  faint = anchors._grown(mask, 0.1 * maps, np.ones(1), settings, 3)
  assert faint.tolist() == grown.tolist()
  assert anchors._grown(mask, maps, np.ones(1), settings, 5).sum() == 4
  full = anchors._grown(grown, 9 * maps, np.ones(1), settings, 3)
  assert full.tolist() == grown.tolist()
  held = anchors._held(maps, grown, 3)
  np.testing.assert_array_equal(held, [[5, 0, 7]])
  np.testing.assert_array_equal(anchors._held(maps, mask, 3), [[0, 0, 0]])
  np.testing.assert_array_equal(
    anchors._held(maps, grown, 5), [[5, 0, 0, 7, 0]]
  )
  assert [anchors._slots(n, 0.5) for n in (1, 4, 5)] == [1, 2, 3]
  assert anchors._slots(4, 0.1) == 1


def test_defaults_and_bounds():
  defaults = {
    name: parameter.default
    for name, parameter in inspect.signature(
      anchors.anchored
    ).parameters.items()
  }
  assert (defaults["beta"], defaults["ratio"]) == (2e-4, 0.15)
  assert (defaults["count"], defaults["cap"]) == (15, 0.5)
  assert defaults["published"] is False
  for options in ({"beta": 0.0}, {"ratio": 0.0}, {"count": 1}, {"cap": 1.0}):
    objective = anchors.anchored(begins=begins, **options)
    assert objective.least_rows == options.get("count", 15)
    assert objective.least_replayed == 0
  replay = supervised.experience_replay()
  old = anchors.anchored(begins=begins, source="old", inner=replay)
  assert (old.least_rows, old.least_replayed) == (0, 15)


def test_only_current_classes_compete():
  _, _, params, stats, _ = begun()

  def call(params, stats, x, key):
    out = network().apply(params, stats, x, key=key)
    return out._replace(logits=out.logits + params["shift"])

  def loss(shift):
    shifted = {**params, "shift": shift}
    inner = supervised.cross_entropy(current=True)
    return inner.loss(call, inputs(shifted, stats, batch(), scope()))[0]

  grads = jax.grad(loss)(jnp.zeros(CLASSES))
  assert (grads[:2] == 0).all() and (grads[2:] != 0).all()
  np.testing.assert_allclose(
    loss(jnp.zeros(CLASSES)), loss(jnp.array([9.0, -9.0, 0.0, 0.0])), rtol=1e-6
  )


def test_taps_below_the_trained_units_are_dropped():
  objective, state, params, stats, call = begun()
  top = step_spec.Forward(
    call.network, call.preprocess, ("top", "head"), ("top", "head")
  )
  moved = {**params, "mid": jax.tree.map(lambda leaf: leaf + 1, params["mid"])}
  everything = drift(objective, call, moved, stats, state)
  assert float(drift(objective, top, moved, stats, state)) < float(everything)


@pytest.mark.parametrize(
  "options, message",
  [
    ({"ratio": 1.2}, r"ratio=1.2.*\[0, 1\]"),
    ({"beta": -1.0}, "beta .* -1.0"),
    ({"count": 0}, "count=0"),
    ({"cap": 0.0}, "cap=0.0"),
    ({"source": "all"}, "source='all'"),
    ({"source": "old"}, "give a buffer"),
  ],
)
def test_arguments_are_checked(options, message):
  with pytest.raises(ValueError, match=message):
    anchors.anchored(begins=begins, **options)


@pytest.mark.parametrize(
  "taps, message",
  [
    (("no/map",), "no place 'no/map'.*low/map"),
    (("low",), "'low' lies in the frozen part.*'mid'"),
  ],
)
def test_taps_are_checked(taps, message):
  objective = anchors.anchored(begins=begins, taps=taps)
  with pytest.raises(ValueError, match=message):
    objective.sizes(network())


@functools.cache
def stream():
  rng = np.random.default_rng(0)
  y = np.arange(120) % CLASSES
  x = rng.normal(size=(120, 2, 2, 3)) + y[:, None, None, None]
  source = sources.arrays(x.astype(np.float32), y)
  return scenarios.class_incremental(source, tasks=2)


@pytest.mark.parametrize("published", [False, True])
def test_frozen_means_frozen(published):
  params, stats = drawn()
  done = trained(f"{RECIPE},published=true" if published else RECIPE)
  train = done.state.train
  same = jax.tree.map(np.array_equal, train.params["low"], params["low"])
  assert all(jax.tree.leaves(same))
  same = jax.tree.map(np.array_equal, train.stats["low"], stats["low"])
  assert all(jax.tree.leaves(same)) != published
  assert done.records[1].costs["probe"].flops > 0
  assert float(done.state.objective.weight.sum()) == 4


RECIPE = "lightcl:freeze=mid,anchors=4,ratio=0.5"


@functools.cache
def drawn():
  return jax.jit(network().init)(jax.random.key(5))


@functools.cache
def learned_weights():
  return pretrained.with_weights(network(), *drawn(), fresh=("head",))


@functools.cache
def trained(text):
  return train(learned_weights(), text)


def train(net, text):
  method = recipes.build(text)
  return session.learn(stream(), net, method, epochs=3, batch_size=8)


def same(one, other, tolerance):
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  for first, second in pairs:
    np.testing.assert_allclose(first, second, atol=tolerance)


def test_keeping_the_trunks_output_changes_nothing():
  kept = trained(RECIPE)
  whole = dataclasses.replace(learned_weights(), blocks=None)
  anew = train(whole, RECIPE)
  assert kept.state.objective.held.shape != anew.state.objective.held.shape
  same(kept.state.train.params, anew.state.train.params, 1e-6)


def test_a_selector_that_may_take_all_is_the_static_choice():
  free = "elastic:rho=1.0,metric=weight,granularity=block,norms=batch"
  one, other = trained(RECIPE), trained(f"{RECIPE}+{free}")
  assert other.records[0].trained == one.records[0].trained == (10, 14)
  same(one.state.train.params, other.state.train.params, 1e-6)


def test_an_untrained_network_learns_its_first_experience_whole():
  method = recipes.lightcl(freeze="mid", anchors=4)
  done = session.learn(stream(), network(), method, epochs=1, batch_size=8)
  assert [r.trained[0] for r in done.records] == [14, 10]


def test_anchors_and_batch():
  method = recipes.lightcl(freeze="mid")
  with pytest.raises(ValueError, match="15 examples.*batch_size=8"):
    session.learn(stream(), network(), method, batch_size=8)


def test_a_draw_holds_the_anchors():
  method = recipes.lightcl(freeze="mid", buffer=20)
  training = optimizers.complete(base.Training(batch_size=20))
  plain = augmentation.Preprocess(np.zeros(3), np.ones(3))
  spec = step_spec.StepSpec(network(), method, training, plain)
  with pytest.raises(ValueError, match="15 replayed.*minibatch=10: give 15"):
    executors.check_batch(spec)
  enough = recipes.lightcl(freeze="mid", buffer=20, minibatch=15)
  assert executors.check_batch(dataclasses.replace(spec, method=enough)) == 20


def test_with_a_memory_anchors_are_replayed_images():
  method = recipes.lightcl(
    freeze="mid", anchors=4, ratio=0.5, buffer=20, minibatch=8
  )
  done = session.learn(stream(), network(), method, epochs=1, batch_size=8)
  assert float(done.state.objective.weight.sum()) == 4


def test_defaults():
  assert signatures.defaults(anchors.anchored) == {
    "beta": 0.0002,
    "ratio": 0.15,
    "count": 15,
    "taps": (),
    "cap": 0.5,
    "source": "new",
    "published": False,
  }


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(anchors.choose_channels) == {"published": False}
