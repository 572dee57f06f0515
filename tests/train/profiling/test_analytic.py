"""The analytic profile against hand counts and compiled programs."""

import dataclasses
import functools
import types

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import signatures
import tiny_mobilenet

from jcl import base
from jcl.networks import chain, layers, resnet, vit
from jcl.selection import mask
from jcl.train.kernels import lowering
from jcl.train.profiling import analytic
from tests import tiny_network

BATCH = 4
# What XLA does without fusing, which recomputes values that several fused
# operations read. Without optimising machine code it compiles ten times faster.
UNFUSED = {
  "xla_disable_hlo_passes": "fusion,instruction-fusion,cpu-instruction-fusion",
  "xla_backend_optimization_level": 0,
}


def mobilenet_in_short():
  """A block of each kind: without expansion, with, with a sum and a stride."""
  return tiny_mobilenet.build(
    (16, 16, 3),
    10,
    stem=16,
    last=320,
    block_0=(1, 16, 1, False),
    block_1=(6, 24, 1, False),
    block_2=(6, 24, 1, True),
    block_3=(6, 32, 2, False),
  )


NETWORKS = {
  "resnet": lambda: resnet._resnet("resnet", (16, 16, 3), 10, (2, 1), 4),
  "mobilenet": mobilenet_in_short,
  "vit": lambda: vit.vit((16, 16, 3), 10, width=24, depth=1),
}


@functools.cache
def build(name):
  return NETWORKS[name]()


def shapes(network, batch=BATCH):
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  return (
    params,
    stats,
    jax.ShapeDtypeStruct((batch, *network.input_shape), jnp.float32),
  )


def lowered(network, trainable, batch=BATCH):
  """Lowers loss and gradient of what trains, or the loss alone."""
  params, stats, x = shapes(network, batch)
  labels = jax.ShapeDtypeStruct((batch, network.num_classes), jnp.float32)
  trainable = tuple(map(bool, trainable))
  if any(trainable):
    chosen = mask.split(params, network, base.Selection(trainable))
  else:
    chosen = jax.tree.map(lambda leaf: None, params), params

  def loss(trained, frozen, stats, x, labels):
    out = network.apply(mask.merge(trained, frozen), stats, x)
    return optax.softmax_cross_entropy(out.logits, labels).mean()

  fn = jax.value_and_grad(loss) if any(trainable) else loss
  return jax.jit(fn).lower(*chosen, stats, x, labels)


def compiled_flops(*args, **options):
  options = options or UNFUSED
  compiled = lowered(*args).compile(compiler_options=options)
  return compiled.cost_analysis()["flops"]


def counted(network, times, trainable):
  """The profile's count of what `lowered` does: all but the updates."""
  updates = np.asarray(times.update)[np.asarray(trainable, bool)]
  return times.step(trainable) - updates.sum()


def random_masks(network, count=20, seed=0):
  random = np.random.default_rng(seed)
  for _ in range(count):
    size = len(network.tensors)
    chosen = random.random(size) < random.random()
    chosen[: random.integers(size)] = False  # at every depth
    chosen[-1] |= not chosen.any()
    yield chosen


def position(network, path):
  paths = ["/".join(tensor.path) for tensor in network.tensors]
  return paths.index(path)


@pytest.fixture(scope="module")
def tiny():
  network = tiny_network.build()
  return network, analytic.flops(network, *shapes(network))


def test_products_of_a_chain_by_hand(tiny):
  _, times = tiny
  width = tiny_network.WIDTH
  product = 2 * BATCH * width * width  # of the middle layer
  kernel, bias = 2, 3
  assert times.weight_grad[kernel] == product
  assert times.weight_grad[bias] == (BATCH - 1) * width
  # What a kernel's gradient needs has reached the bias behind it.
  assert times.arrival[kernel] == 0
  # The input gradient of the middle layer is paid on the way to the first
  # layer's bias, with the derivative of tanh: 1 - y^2, times what arrives.
  assert product < times.arrival[1] <= product + 4 * BATCH * width
  assert times.forward[kernel] == product
  assert times.forward[bias] == BATCH * width  # tanh counts nothing


def test_the_deepest_tensor_forms_no_input_gradient(tiny):
  _, times = tiny
  first = 2 * BATCH * 4 * tiny_network.WIDTH
  assert times.arrival[0] == 0
  assert times.weight_grad[0] == first
  assert times.backward == times.backward_total


def test_updates_are_counted_tensor_by_tensor(tiny):
  network, times = tiny
  sizes = [np.prod(tensor.shape) for tensor in network.tensors]
  # Momentum: decay, add the gradient, scale, add to the parameter.
  np.testing.assert_array_equal(times.update, 4 * np.array(sizes))
  plain = analytic.flops(network, *shapes(network), optimizer=optax.sgd(0.1))
  np.testing.assert_array_equal(plain.update, 2 * np.array(sizes))


def test_seconds_are_flops_on_a_device_of_one_flop_per_second(tiny):
  network, times = tiny
  rates = analytic.Rates(1.0, np.inf, 0.0)
  seconds = analytic.profile(network, *shapes(network), rates=rates)
  assert dataclasses.replace(seconds, about=times.about) == times


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_cost_what_compiled_programs_differ_by(name):
  """Within 2 % of the full step less the forward pass, and of the latter."""
  network = build(name)
  times = analytic.flops(network, *shapes(network), expands_groups=True)
  size = len(network.tensors)
  forward = compiled_flops(network, [False] * size)
  full = compiled_flops(network, [True] * size)
  assert times.backward == pytest.approx(full - forward, rel=0.02)
  # XLA makes one operation of each pair of bounds in ReLU6.
  assert times.always == pytest.approx(forward, rel=0.03)
  assert times.backward == pytest.approx(times.backward_total, rel=1e-12)


@pytest.mark.parametrize(
  ("name", "num_masks", "num_compiled"),
  [("resnet", 8, 5), ("mobilenet", 4, 2), ("vit", 8, 3)],
)
def test_masks_cost_forward_chain_and_their_gradients(
  name, num_masks, num_compiled
):
  """Within 3 % of the steps of random masks, as lowered and compiled."""
  network = build(name)
  times = analytic.flops(network, *shapes(network))
  expanded = analytic.flops(network, *shapes(network), expands_groups=True)
  for index, trainable in enumerate(random_masks(network, num_masks)):
    program = lowered(network, trainable)
    assert counted(network, times, trainable) == pytest.approx(
      program.cost_analysis()["flops"], rel=0.03
    )
    if index < num_compiled:
      compiled = program.compile(compiler_options=UNFUSED)
      assert counted(network, expanded, trainable) == pytest.approx(
        compiled.cost_analysis()["flops"], rel=0.03
      )


def test_fusion_recomputes_little_at_the_published_width():
  network = resnet.slim_resnet18((16, 16, 3), 10)
  times = analytic.flops(network, *shapes(network))
  size = len(network.tensors)
  default = {"xla_backend_optimization_level": 0}
  forward = compiled_flops(network, [False] * size, **default)
  full = compiled_flops(network, [True] * size, **default)
  assert times.backward == pytest.approx(full - forward, rel=0.02)


def test_times_sit_at_their_tensors():
  """Products whose size is known stand where their kernels are listed."""
  network = build("resnet")
  times = analytic.flops(network, *shapes(network))
  shortcut = position(network, "block_2/conv_shortcut/kernel")
  assert times.weight_grad[shortcut] == 2 * BATCH * 8 * 8 * 4 * 8
  # A 1x1 convolution of stride 2: its input gradient arrives one unit deeper.
  before = position(network, "block_1/norm_1/bias")
  assert times.arrival[before] > 2 * BATCH * 8 * 8 * 4 * 8

  network = build("mobilenet")
  times = analytic.flops(network, *shapes(network))
  project = position(network, "block_1/project/conv/kernel")
  depthwise = position(network, "block_1/filter/conv/kernel")
  shape = network.tensors[project].shape
  assert times.weight_grad[project] == 2 * BATCH * 16 * 16 * np.prod(shape)
  meetings = (3 * 16 - 2) ** 2  # of 3x3 taps with 16x16 pixels
  assert times.weight_grad[depthwise] == 2 * BATCH * meetings * shape[2]

  network = build("vit")
  times = analytic.flops(network, *shapes(network))
  tokens = BATCH * 17
  for part, sizes in {
    "query": 24 * 24,
    "key": 24 * 24,
    "value": 24 * 24,
    "out": 24 * 24,
    "mlp_0": 24 * 96,
    "mlp_1": 24 * 96,
  }.items():
    place = position(network, f"block_0/{part}/kernel")
    assert times.weight_grad[place] == 2 * tokens * sizes


def test_names_and_their_order_change_nothing():
  def build_chain(names):
    class Norm(nn.Module):
      @nn.compact
      def __call__(self, x, training):
        return nn.relu(nn.BatchNorm(use_running_average=not training)(x))

    modules = [layers.Head(6), Norm(), layers.Head(5), layers.Head(3)]
    return chain.chain("some", list(zip(names, modules, strict=True)), (4,), 3)

  first = build_chain(["a", "b", "c", "d"])
  second = build_chain(["z", "m", "y", "b"])
  assert [t.path[1:] for t in first.tensors] == [
    t.path[1:] for t in second.tensors
  ]
  assert analytic.profile(first, *shapes(first)) == analytic.profile(
    second, *shapes(second)
  )
  params, stats, x = shapes(second)
  backwards = {
    unit: dict(reversed(list(arrays.items())))
    for unit, arrays in reversed(list(params.items()))
  }
  assert list(backwards) != list(params)
  assert analytic.profile(second, backwards, stats, x) == analytic.profile(
    second, params, stats, x
  )


def test_normalisers_in_training_mode_cost_more():
  network = build("resnet")
  frozen = analytic.flops(network, *shapes(network))
  batch = analytic.flops(network, *shapes(network), norms="batch")
  assert batch.always > frozen.always
  assert batch.backward > frozen.backward


def test_arrays_do_as_well_as_shapes(tiny):
  network, times = tiny
  params, stats = network.init(jax.random.key(0))
  x = np.zeros((BATCH, *network.input_shape), np.float32)
  assert analytic.flops(network, params, stats, x) == times


def test_a_tensor_that_is_never_read_delays_nothing():
  def apply(params, stats, x, *, training=(), key=None, taps=()):
    return base.Output(x @ params["head"]["w"], stats, {})

  def init(key):
    return {"head": {"w": jnp.ones((4, 3)), "idle": jnp.ones((7, 7))}}, {}

  tensors = tuple(
    base.Tensor(("head", name), "head", "other", shape)
    for name, shape in (("w", (4, 3)), ("idle", (7, 7)))
  )
  network = base.Network("idle", ("head",), tensors, init, apply, (4,), 3, None)
  times = analytic.flops(network, *shapes(network))
  assert times.arrival[1] == times.weight_grad[1] == times.forward[1] == 0
  assert times.weight_grad[0] == 2 * BATCH * 4 * 3


@pytest.mark.parametrize("scale, count", [(3.0, 1.0), (1.0, 2.0)])
def test_what_depends_on_no_tensor_is_paid_by_any_selection(scale, count):
  def network(scale, count):
    def apply(params, stats, x, *, training=(), key=None, taps=()):
      x = x if scale == 1 else x * scale
      if count != 1:
        stats = {"head": {"seen": stats["head"]["seen"] * count}}
      return base.Output(x @ params["head"]["w"], stats, {})

    def init(key):
      return {"head": {"w": jnp.ones((4, 3))}}, {"head": {"seen": jnp.ones(5)}}

    tensors = (base.Tensor(("head", "w"), "head", "other", (4, 3)),)
    return base.Network("one", ("head",), tensors, init, apply, (4,), 3, None)

  plain, more = (
    analytic.flops(each, *shapes(each))
    for each in (network(1, 1), network(scale, count))
  )
  products = BATCH * 4 if scale != 1 else 5  # one for each input or count
  assert more.fixed - plain.fixed == products
  assert more.forward == plain.forward


def test_what_it_rejects(tiny):
  network, _ = tiny
  params, stats, x = shapes(network)
  with pytest.raises(ValueError, match="norms='running': give 'frozen'"):
    analytic.profile(network, params, stats, x, norms="running")
  with pytest.raises(ValueError, match=r"\(3, 5\): give a batch of 'tiny'"):
    analytic.profile(network, params, stats, np.zeros((3, 5)))


def test_rates_of_this_machine():
  rates = analytic.measure_rates(rounds=2)
  assert 1e7 < rates.flops_per_second < 1e16
  assert 1e7 < rates.bytes_per_second < 1e14
  assert 0 < rates.seconds_per_op < 1e-2
  assert rates.grouped_flops_per_second is not None
  assert 1e5 < rates.grouped_flops_per_second < 1e16
  on_xla = jax.default_backend() == "cpu" and bool(lowering.why_not())
  assert rates.expands_groups == on_xla


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(analytic.measure_rates) == {"rounds": 20}
  assert signatures.defaults(analytic.flops) == {
    "norms": "frozen",
    "expands_groups": False,
  }


def test_rates_from_times(monkeypatch):
  """With every call taking half a second, rates are twice the work."""
  seen = []

  def median(call, args, rounds):
    seen.append(rounds)
    return 0.5

  compiled = types.SimpleNamespace(compile=lambda: None)
  monkeypatch.setattr(analytic, "_median", median)
  sizes = []

  def lower(fn, args):
    sizes.append(args[0].shape)
    return compiled

  monkeypatch.setattr(analytic.lowering, "lower", lower)
  monkeypatch.setattr(analytic.lowering, "why_not", lambda: "not here")
  rates = analytic.measure_rates(7)
  meetings = (3 * 32 - 2) ** 2
  product = 2 * 512**3 / 0.5
  convolution = 2 * 16 * meetings * 32 * 32 / 0.5
  assert rates.flops_per_second == pytest.approx((product * convolution) ** 0.5)
  assert rates.grouped_flops_per_second == 2 * 4 * meetings * 32 / 0.5
  assert rates.bytes_per_second == 3 * 4 * 2**22 / 0.5
  assert rates.seconds_per_op == 0.5 / 40
  assert rates.expands_groups == (jax.default_backend() == "cpu")
  assert seen == [7] * 5 and (8, 8) in sizes
  monkeypatch.setattr(analytic.lowering, "why_not", lambda: "")
  assert analytic.measure_rates(7).expands_groups is False


def test_the_median_of_calls_that_are_warm(monkeypatch):
  now, calls = [0.0], []

  def call(x):
    calls.append(x)
    now[0] += [100, 100, 100, 1, 9, 2][len(calls) - 1]
    return x

  clock = types.SimpleNamespace(perf_counter=lambda: now[0])
  monkeypatch.setattr(analytic, "time", clock)
  assert analytic._median(call, [4], 3) == 2
  assert calls == [4] * 6


def test_typical_rates_and_momentum():
  assert analytic.TYPICAL == analytic.Rates(5e10, 1e10, 2e-6)
  state = analytic.MOMENTUM.init(1.0)
  first, state = analytic.MOMENTUM.update(1.0, state)
  second, _ = analytic.MOMENTUM.update(1.0, state)
  assert (first, second) == (pytest.approx(-0.01), pytest.approx(-0.019))


def test_what_a_profile_tells_of_itself(tiny):
  network, times = tiny
  assert times.about == {
    "unit": "flops",
    "expands_groups": False,
    "batch": BATCH,
    "norms": "frozen",
  }
  seconds = analytic.profile(network, *shapes(network), norms="batch")
  assert seconds.about == {
    "unit": "seconds",
    "rates": dataclasses.asdict(analytic.TYPICAL),
    "batch": BATCH,
    "norms": "batch",
  }
  assert signatures.defaults(analytic.profile) == {"norms": "frozen"}
  params, stats, _ = shapes(network)
  with pytest.raises(ValueError, match=r"shape \(0, 4\): give a batch"):
    analytic.flops(network, params, stats, np.zeros((0, 4)))
