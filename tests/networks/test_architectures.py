"""Published networks: parameter counts, shapes, strides and refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures

from jcl.networks import catalogue, conv1d, layers, mlp, mobilenet, resnet, vit

# Compiles faster, to slower machine code.
quick = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


build = functools.cache(catalogue.build)  # one of a kind for all tests


def count(network):
  return sum(math.prod(tensor.shape) for tensor in network.tensors)


@pytest.mark.parametrize(
  ("name", "shape", "classes", "expected"),
  [
    ("mlp", (28, 28), 10, 784 * 100 + 100 + 100 * 101 + 101 * 10),
    ("resnet18", (32, 32, 3), 10, 11_173_962),
    ("resnet18", (64, 64, 3), 200, 11_271_432),
    ("slim_resnet18", (32, 32, 3), 100, 1_109_240),
    # 464,154 of the published option A, plus two shortcuts with normalisers.
    ("resnet32", (32, 32, 3), 10, 464_154 + 512 + 64 + 2048 + 128),
    ("resnet50", (224, 224, 3), 1000, 25_557_032),
    ("mobilenet", (224, 224, 3), 1000, 3_504_872),
  ],
)
def test_published_parameter_counts(name, shape, classes, expected):
  assert count(build(name, shape, classes)) == expected


def test_vit_parameters_by_hand():
  network = catalogue.build("vit", (32, 32, 3), 10)
  block = 2 * 2 * 192 + 4 * (192 * 192 + 192) + 2 * 192 * 768 + 768 + 192
  embed = 4 * 4 * 3 * 192 + 192 + 192 + 65 * 192
  assert count(network) == embed + 6 * block + 2 * 192 + 193 * 10


SMALL = [
  ("mlp", (2, 3, 4), {"width": 5, "depth": 1}),
  ("mlp", (7,), {"depth": 0}),
  ("resnet18", (8, 8, 1), {"filters": 2}),
  ("slim_resnet18", (9, 7, 2), {"filters": 2}),
  ("resnet32", (8, 8, 3), {"filters": 2}),
  ("resnet50", (16, 16, 3), {"filters": 2}),
  ("mobilenet", (8, 8, 1), {"width": 0.1}),
  ("vit", (8, 4, 1), {"width": 6, "depth": 1}),
  ("vit", (8, 8, 3), {"width": 6, "depth": 1, "pooling": "mean"}),
  ("conv1d", (9, 4), {"width": 3}),
]


# Logits of the first example, with the statistics of its batch.
KEPT = [
  (4.9625, -6.8672, 4.1068),
  (-0.73286, 0.50908, -0.5747),
  (2.5117, -2.2663, 1.9721),
  (2.8606, -2.682, 2.3063),
  (26.275, -20.703, 22.627),
  (17.261, -18.978, 18.079),
  (655.56, -653.98, 652.37),
  (1.3181, -1.2079, 0.72112),
  (2.0458, -1.1357, 1.8541),
  (2.5283, -1.9169, 1.596),
]


@pytest.mark.parametrize(("name", "shape", "options"), SMALL)
def test_shapes(name, shape, options):
  network = build(name, shape, 3, **options)
  key = jax.random.key(0)
  params, stats = jax.eval_shape(network.init, key)
  x = jax.ShapeDtypeStruct((5, *shape), jnp.float32)
  taps = (network.features,) if network.features else ()
  out = jax.eval_shape(
    lambda *args: network.apply(*args, training=network.units, taps=taps),
    params,
    stats,
    x,
  )
  assert out.logits.shape == (5, 3)
  assert network.units[-1] == "head"
  assert all(len(tap.shape) == 2 for tap in out.taps.values())
  like = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), stats)
  assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), out.stats) == like
  assert len(jax.tree.leaves(params)) == len(network.tensors)


@pytest.mark.parametrize(
  ("name", "shape", "options"),
  [SMALL[0], SMALL[7]],
)
def test_trains(name, shape, options):
  """A few gradient steps fit two examples."""
  network = build(name, shape, 3, **options)
  params, stats = quick(network.init)(jax.random.key(0))
  x = jax.random.normal(jax.random.key(1), (2, *shape))

  @quick
  def step(params):
    def loss(params):
      out = network.apply(params, stats, x, training=network.units)
      return -jnp.diag(jax.nn.log_softmax(out.logits)).mean()

    value, grads = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

  values = []
  for _ in range(20):
    value, params = step(params)
    values.append(float(value))
  assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize(
  ("name", "unit", "last", "options"),
  [
    ("resnet18", "block_0", ("norm_1",), {"filters": 2}),
    ("mobilenet", "block_2", ("project/norm",), {"width": 0.1}),
    ("vit", "block_0", ("mlp_1", "out"), {"width": 6, "depth": 1}),
  ],
)
def test_residual_blocks_start_from_the_identity(name, unit, last, options):
  """With its last arrays at zero, a block returns what it reads."""
  network = catalogue.build(name, (8, 8, 3), 2, **options)
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  block = next(block for block in network.blocks if block.name == unit)

  def fill(path, leaf):
    name = "/".join(key.key for key in path)
    return jnp.full(leaf.shape, 0.0 if name.startswith(last) else 0.5)

  params = jax.tree_util.tree_map_with_path(fill, params[unit])
  stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), stats.get(unit, {}))
  width = {"resnet18": 2, "mobilenet": 8, "vit": 6}[name]
  shape = (2, 5, width) if name == "vit" else (2, 4, 4, width)
  x = jnp.abs(jax.random.normal(jax.random.key(0), shape))
  y, _ = quick(lambda x: block.apply(params, stats, x, False, None))(x)
  np.testing.assert_allclose(y, x, rtol=1e-6)


def shape_of(network, unit):
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
  out = jax.eval_shape(
    lambda *args: network.apply(*args, taps=(unit,)), params, stats, x
  )
  return out.taps[unit].shape[1:]


@pytest.mark.parametrize(
  ("name", "side", "classes", "unit", "expected"),
  [
    ("resnet18", 32, 10, "block_6", (4, 4, 512)),
    ("resnet32", 32, 10, "block_13", (8, 8, 64)),
    ("resnet50", 224, 1000, "block_14", (7, 7, 2048)),
    ("mobilenet", 32, 10, "block_16", (4, 4, 320)),
    ("mobilenet", 224, 1000, "block_16", (7, 7, 320)),
  ],
)
def test_resolution(name, side, classes, unit, expected):
  assert shape_of(build(name, (side, side, 3), classes), unit) == expected


def drawn(tree, generator):
  """Draws values in place of all arrays; those of variances are above 0."""
  return jax.tree.map(
    lambda leaf: generator.uniform(0.2, 0.8, leaf.shape).astype(np.float32),
    tree,
  )


@pytest.mark.parametrize(("case", "kept"), list(zip(SMALL, KEPT, strict=True)))
def test_what_networks_compute_stays(case, kept):
  """Golden logits of one example, with weights drawn by NumPy."""
  name, shape, options = case
  network = build(name, shape, 3, **options)
  generator = np.random.default_rng(0)
  params, stats = drawn(
    jax.eval_shape(network.init, jax.random.key(0)), generator
  )
  # Signs differ along the last axis, so that no activation is all off or on.
  params = jax.tree.map(
    lambda leaf: leaf * (-1) ** np.arange(leaf.shape[-1]), params
  )
  x = generator.normal(size=(5, *shape)).astype(np.float32)
  apply = quick(functools.partial(network.apply, training=network.units))
  logits = apply(params, stats, x).logits
  np.testing.assert_allclose(logits[0], kept, rtol=1e-3)


def test_initial_mlp():
  network = catalogue.build("mlp", (50,), 10)
  params, stats = network.init(jax.random.key(0))
  assert stats == {}
  for unit, (fan_in, fan_out) in {
    "dense_0": (50, 100),
    "head": (100, 10),
  }.items():
    bound = math.sqrt(6 / (fan_in + fan_out))
    kernel = np.abs(params[unit]["dense"]["kernel"])
    assert 0.9 * bound < kernel.max() <= bound
    assert not params[unit]["dense"]["bias"].any()


def test_mlp_by_hand():
  network = catalogue.build("mlp", (2,), 1, width=2, depth=1)
  dense = {"kernel": jnp.array([[1.0, -1.0], [2.0, 0.0]]), "bias": jnp.ones(2)}
  head = {"kernel": jnp.array([[1.0], [10.0]]), "bias": jnp.zeros(1)}
  params = {"dense_0": {"dense": dense}, "head": {"dense": head}}
  out = network.apply(params, {}, jnp.array([[1.0, 1.0], [3.0, 0.0]]))
  # relu([1+2+1, -1+1]) = [4, 0]; relu([3+1, -3+1]) = [4, 0].
  np.testing.assert_allclose(out.logits, [[4.0], [4.0]])


def test_vit_dropout_needs_a_key():
  network = catalogue.build(
    "vit", (4, 4, 1), 2, width=4, heads=1, depth=1, dropout=0.5
  )
  params, stats = quick(network.init)(jax.random.key(0))
  x = jnp.ones((2, 4, 4, 1))

  @quick
  def logits(seed):
    key = jax.random.key(seed)
    return network.apply(
      params, stats, x, training=("block_0",), key=key
    ).logits

  np.testing.assert_array_equal(logits(0), logits(0))
  assert (logits(0) != logits(1)).any()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet", "vit"])
def test_image_networks_say_what_fits_other_shapes(name):
  with pytest.raises(ValueError, match=f"{name} reads images.*conv1d.*mlp"):
    catalogue.build(name, (125, 45), 6)


@pytest.mark.parametrize(
  ("name", "shape", "options", "message"),
  [
    ("conv1d", (8, 8, 3), {}, "conv1d reads series.*resnet18"),
    ("conv1d", (4, 2), {"depth": 4}, "4 time steps cannot be halved 3 .* <= 3"),
    ("vit", (30, 32, 3), {}, "do not tile images of 30x32"),
    (
      "vit",
      (8, 8, 3),
      {"width": 10},
      "width 10 is no multiple of heads 3; give 12",
    ),
    (
      "vit",
      (8, 8, 3),
      {"pooling": "max"},
      "pooling='max': give one of token, mean",
    ),
    (
      "vit",
      (8, 8, 3),
      {"dropout": 1.0},
      r"dropout=.*: give a number from 0 and below 1",
    ),
    (
      "vit",
      (8, 8, 3),
      {"gelu": "erf"},
      "gelu='erf': give one of tanh, exact",
    ),
    ("mobilenet", (8, 8, 3), {"width": 0}, "width=0: give a number above 0"),
    (
      "mlp",
      (4,),
      {"depth": "deep"},
      "depth='deep': give a whole number from 0",
    ),
    ("mlp", (4,), {"width": 0}, "width=0: give a whole number from 1"),
    (
      "resnet18",
      (8, 8, 3),
      {"filters": 0},
      "filters=.*: give a whole number from 1",
    ),
  ],
)
def test_options_that_do_not_fit(name, shape, options, message):
  with pytest.raises(ValueError, match=message):
    catalogue.build(name, shape, 3, **options)


def test_unknown_names_and_options_list_the_choices():
  with pytest.raises(ValueError, match="'resnet81'.*resnet18.*vit"):
    catalogue.build("resnet81", (8, 8, 3), 3)
  with pytest.raises(ValueError, match="no option 'widht'.*depth, width"):
    catalogue.build("mlp", (4,), 3, widht=5)


def test_describe_tells_every_model_and_its_options():
  lines = catalogue.describe()
  assert set(lines) == set(catalogue.MODELS)
  assert "width=100, depth=2" in lines["mlp"]


@pytest.mark.parametrize(
  ("shape", "name"),
  [
    ((32, 32, 3), "slim_resnet18"),
    ((28, 28, 1), "mlp"),
    ((125, 45), "conv1d"),
    ((64,), "mlp"),
  ],
)
def test_suggestions_can_be_built(shape, name):
  assert catalogue.suggest(shape) == name
  assert catalogue.build(name, shape, 4).num_classes == 4


def test_recipes_that_convolve_get_a_network_that_does():
  found = [catalogue.suggest(shape, True) for shape in ((8, 8, 1), (9, 4))]
  assert found == ["slim_resnet18:filters=8", "conv1d"]
  assert catalogue.suggest((8, 8, 2), True) == "slim_resnet18"
  with pytest.raises(ValueError, match=r"shape \(64,\) are vectors"):
    catalogue.suggest((64,), True)
  name, options = catalogue.read("auto:filters=3", (8, 8, 1), True)
  assert (name, options) == ("slim_resnet18", {"filters": 3})


def test_defaults():
  assert signatures.defaults(conv1d.conv1d) == {
    "width": 64,
    "depth": 3,
    "kernel": 5,
  }
  assert signatures.defaults(mlp.mlp) == {"width": 100, "depth": 2}
  assert signatures.defaults(mobilenet.mobilenet) == {"width": 1.0}
  assert signatures.defaults(resnet.resnet18) == {"filters": 64}
  assert signatures.defaults(resnet.slim_resnet18) == {"filters": 20}
  assert signatures.defaults(resnet.resnet32) == {"filters": 16}
  assert signatures.defaults(resnet.resnet50) == {"filters": 64}
  assert signatures.defaults(vit.vit) == {
    "patch": 4,
    "width": 192,
    "depth": 6,
    "heads": 3,
    "expansion": 4,
    "pooling": "token",
    "dropout": 0.0,
    "gelu": "tanh",
  }


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(catalogue.read) == {"convolutional": False}
  assert signatures.defaults(catalogue.suggest) == {"convolutional": False}
  assert signatures.defaults(layers.norm) == {"momentum": 0.9, "epsilon": 1e-05}
