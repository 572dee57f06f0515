"""Weights under PyTorch's names give PyTorch's outputs."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors as safetensors_lib
from safetensors import numpy as safetensors
import signatures
from torch_layouts import writer
import torch_names

from jcl.networks import catalogue, external

# Compiles faster, to slower machine code.
quick = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)

# Of each network: inputs, options, its definition, and the first logits that
# PyTorch 2.13 computed with the same weights.
CASES = {
  "resnet18": (
    (12, 8, 3),
    {"filters": 4},
    functools.partial(
      torch_names.resnet, classes=5, stages=(2, 2, 2, 2), filters=4
    ),
    (1.674837, -0.6792507, 0.7617188),
  ),
  "resnet50": (
    (36, 32, 3),
    {"filters": 2},
    functools.partial(
      torch_names.resnet,
      classes=5,
      stages=(3, 4, 6, 3),
      filters=2,
      bottleneck=True,
      large=True,
    ),
    (-0.8422514, 0.3661981, -4.2138209),
  ),
  "vit": (
    (8, 12, 3),
    {"width": 12, "depth": 2, "heads": 3, "gelu": "exact"},
    functools.partial(
      torch_names.vit, classes=5, patch=4, width=12, depth=2, heads=3
    ),
    (-1.6320596, 2.1507225, -1.9193741),
  ),
}


@functools.cache
def build(name, classes=5, **options):
  shape, usual, _, _ = CASES[name]
  return catalogue.build(name, shape, classes, **{**usual, **options})


@functools.cache
def reference(name):
  """Returns inputs, weights by name and logits."""
  shape, _, define, _ = CASES[name]
  x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
  weights = torch_names.Weights(3)
  logits = define(weights, x.transpose(0, 3, 1, 2).astype(np.float64))
  return x, weights.arrays, logits


@pytest.fixture
def save(tmp_path):
  """Writes arrays to a file and returns its path."""

  def write(arrays, name="weights.safetensors"):
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    safetensors.save_file(arrays, tmp_path / name)
    return str(tmp_path / name)

  return write


def logits_of(network, params, stats, x):
  return quick(lambda *args: network.apply(*args).logits)(params, stats, x)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_pytorch(name, save):
  x, arrays, logits = reference(name)
  network = build(name)
  read = external.read(save(arrays))
  params, stats, fresh = external.arrange(network, read, fresh=())
  assert fresh == ()
  found = logits_of(network, params, stats, x)
  np.testing.assert_allclose(found, logits, atol=1e-5)
  np.testing.assert_allclose(found[0, :3], CASES[name][3], atol=1e-5)


def test_the_approximate_gelu_is_another_function():
  x, arrays, logits = reference("vit")
  params, stats, _ = external.arrange(build("vit"), arrays, fresh=())
  found = logits_of(build("vit", gelu="tanh"), params, stats, x)
  assert 1e-5 < np.abs(found - logits).max() < 1e-2


@pytest.mark.parametrize(
  ("name", "count"),
  [("resnet18", 102), ("resnet50", 267), ("vit", 8 + 2 * 12)],
)
def test_published_numbers_of_arrays(name, count):
  """Without the counters of torchvision's normalisers."""
  names = {source.name for source in external.sources(build(name)).values()}
  assert names == set(without(reference(name)[1]))
  assert len(names) == count


def test_a_network_begins_with_the_weights_of_a_file(save):
  arrays = reference("vit")[1]
  path = save({f"module.model.{name}": v for name, v in arrays.items()})
  network = external.with_file(build("vit", classes=3), path)
  params, _ = quick(network.init)(jax.random.key(0))
  kernel = params["block_1"]["key"]["kernel"]
  qkv = arrays["blocks.1.attn.qkv.weight"]
  np.testing.assert_array_equal(kernel, qkv[12:24].T)
  assert params["head"]["dense"]["kernel"].shape == (12, 3)


def test_heads_are_fresh_where_asked_or_of_other_classes():
  arrays = reference("resnet18")[1]
  kept, _, fresh = external.arrange(build("resnet18"), without(arrays), ())
  assert fresh == () and "head" in kept
  for classes, asked in ((5, ("head",)), (7, ())):
    network = build("resnet18", classes)
    kept, _, fresh = external.arrange(network, without(arrays), asked)
    assert fresh == ("head",) and "head" not in kept
  headless = {k: v for k, v in arrays.items() if not k.startswith("fc.")}
  external.arrange(build("resnet18"), without(headless))


def without(arrays):
  return {k: v for k, v in arrays.items() if "num_batches" not in k}


def test_a_stem_of_another_size_is_refused_or_drawn_anew():
  arrays = without(reference("resnet18")[1])
  arrays["conv1.weight"] = np.zeros((4, 3, 7, 7), np.float32)
  network = build("resnet18")
  shapes = r"stem/conv/kernel the shape \(7, 7, 3, 4\), not \(3, 3, 3, 4\)"
  with pytest.raises(ValueError, match=f"conv1.weight gives {shapes}"):
    external.arrange(network, arrays)
  params, stats, _ = external.arrange(network, arrays, fresh=("stem",))
  assert "stem" not in params and "stem" not in stats
  assert "head" in params and "block_7" in stats


def test_missing_and_extra_arrays_are_listed(save):
  arrays = without(reference("resnet18")[1])
  del arrays["layer1.0.bn1.running_var"]
  arrays["extra"] = arrays.pop("layer2.0.downsample.0.weight")
  for index in range(4):
    arrays[f"other.{index}"] = np.zeros(2, np.float32)
  path = save(arrays)
  with pytest.raises(ValueError) as caught:
    external.with_file(build("resnet18"), path)
  message = str(caught.value)
  assert message.startswith(f"{path}: the weights are not those of network")
  assert "layer1.0.bn1.running_var is missing" in message
  assert "layer2.0.downsample.0.weight is missing" in message
  assert "extra has no place" in message and "and 2 more" in message


def test_short_floats_become_float32(save):
  arrays = without(reference("vit")[1])
  half = {k: np.asarray(v, jnp.bfloat16) for k, v in arrays.items()}
  read = external.read(save(half))
  params, _, _ = external.arrange(build("vit"), read)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {
    np.dtype(np.float32)
  }


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_damaged_files_are_named(cut, save, tmp_path):
  whole = (tmp_path / save({"conv1.weight": np.ones(300)})).read_bytes()
  path = tmp_path / "damaged.safetensors"
  path.write_bytes(whole[:cut])
  with pytest.raises(ValueError, match="damaged.safetensors is no safetensors"):
    external.with_file(build("resnet18"), str(path))


def test_a_file_of_pytorch_gives_the_same_arrays(save, tmp_path):
  arrays = {
    "module.fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "module.fc.num_batches_tracked": np.array(3),
  }
  storages = {"0": arrays["module.fc.weight"].ravel(), "1": np.array([3])}
  views = {
    "module.fc.weight": writer.Array("0", 0, (2, 3), (3, 1)),
    "module.fc.num_batches_tracked": writer.Array("1", 0, (), ()),
  }
  path = tmp_path / "model.pth"
  path.write_bytes(writer.stream(views, storages))
  found, wanted = external.read(str(path)), external.read(save(arrays))
  assert list(found) == list(wanted) == ["fc.weight"]
  np.testing.assert_array_equal(found["fc.weight"], wanted["fc.weight"])


def test_other_files_and_networks_are_refused(tmp_path):
  with pytest.raises(ValueError, match="resnet18.ckpt may hold anything"):
    external.read(str(tmp_path / "resnet18.ckpt"))
  with pytest.raises(FileNotFoundError, match="none.safetensors"):
    external.read(str(tmp_path / "none.safetensors"))
  network = catalogue.build("mlp", (4,), 2)
  with pytest.raises(ValueError, match="'mlp' has dense_0/dense/bias, which"):
    external.arrange(network, {})
  with pytest.raises(ValueError, match="no unit 'tail'"):
    external.arrange(build("vit"), {}, fresh=("tail",))


def test_defaults():
  assert signatures.defaults(external.with_file) == {"fresh": ("head",)}
  assert signatures.defaults(external.arrange) == {"fresh": ("head",)}


@pytest.mark.parametrize(
  "error",
  [
    *(safetensors_lib.SafetensorError, AttributeError, MemoryError, OSError),
    *(TypeError, KeyError),
  ],
)
def test_any_error_of_a_damaged_file_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(path):
    raise error("no such thing")

  monkeypatch.setattr(safetensors, "load_file", fail)
  with pytest.raises(ValueError, match="no safetensors file, or a damaged one"):
    external.read(tmp_path / "a.safetensors")


def test_names_of_torchvision():
  name = functools.partial(external._torchvision, [0, 2, 4])
  found = {
    path: name(tuple(path.split("/")))
    for path in (
      *("stem/conv/kernel", "stem/norm/scale", "head/dense/bias"),
      *("block_0/conv_0/kernel", "block_1/norm_1/bias"),
      *("block_2/conv_shortcut/kernel", "block_3/norm_2/mean"),
      *("block_5/norm_shortcut/var", "block_3/dense/kernel"),
    )
  }
  assert [*found.values()] == [
    *("conv1.weight", "bn1.weight", "fc.bias"),
    *("layer1.0.conv1.weight", "layer1.1.bn2.bias"),
    *("layer2.0.downsample.0.weight", "layer2.1.bn3.running_mean"),
    *("layer3.1.downsample.1.running_var", None),
  ]


def test_stages_begin_where_shortcuts_are_projected():
  paths = [
    ("stem", "conv_shortcut"),
    ("block_4", "conv_shortcut", "kernel"),
    ("block_2", "conv_shortcut", "kernel"),
    ("block_3", "conv_0", "kernel"),
  ]
  assert external._stages(paths) == [0, 2, 4]
  assert external._stages([("block_0", "conv_shortcut")]) == [0]
  assert external._stages([]) == [0]


def test_names_of_efficientnet_lite_and_of_timm():
  lite = {
    "stem/conv/kernel": "_conv_stem.weight",
    "stem/norm/mean": "_bn0.running_mean",
    "last/norm/var": "_bn1.running_var",
    "head/dense/kernel": "_fc.weight",
    "block_11/expand_norm/scale": "_blocks.11._bn0.weight",
    "block_3/filter_conv/kernel": "_blocks.3._depthwise_conv.weight",
    "block_3/conv_0/kernel": None,
    "stem/dense/kernel": None,
  }
  for path, name in lite.items():
    assert external._lite(tuple(path.split("/"))) == name
  timm = {
    "embed/patch/kernel": "patch_embed.proj.weight",
    "embed/class_token": "cls_token",
    "embed/positions": "pos_embed",
    "block_7/query/kernel": "blocks.7.attn.qkv.weight",
    "block_7/mlp_1/bias": "blocks.7.mlp.fc2.bias",
    "head/norm/scale": "norm.weight",
    "head/dense/kernel": "head.weight",
    "block_7/conv/kernel": None,
  }
  for path, name in timm.items():
    assert external._timm(tuple(path.split("/"))) == name


def test_orders_of_axes():
  kernel = np.arange(24).reshape(2, 3, 4, 1)
  found = external._transposed(kernel)
  assert found.shape == (4, 1, 3, 2) and found[3, 0, 1, 1] == kernel[1, 1, 3, 0]
  rows = np.arange(12).reshape(6, 2)
  np.testing.assert_array_equal(external._transposed(rows), rows.T)
  cube = np.arange(8).reshape(2, 2, 2)
  assert external._transposed(cube) is cube
  for index, name in enumerate(("query", "key", "value")):
    convert = external._layout(("block_0", name, "kernel"))
    part = rows[2 * index : 2 * index + 2]
    np.testing.assert_array_equal(convert(rows), part.T)
    np.testing.assert_array_equal(convert(rows[:, 0]), part[:, 0])
  convert = external._layout(("block_0", "out", "kernel"))
  np.testing.assert_array_equal(convert(rows), rows.T)


@pytest.mark.parametrize("count, more", [(5, ""), (6, "; and 1 more")])
def test_at_most_five_faults_are_told(count, more):
  arrays = without(reference("vit")[1])
  extra = {f"other.{index}": np.zeros(2) for index in range(count)}
  with pytest.raises(ValueError) as caught:
    external.arrange(build("vit"), arrays | extra)
  told = "; ".join(f"other.{index} has no place" for index in range(5))
  assert str(caught.value) == (
    f"the weights are not those of network 'vit': {told}{more}. Units named in "
    "fresh= need none"
  )


def test_a_file_without_arrays(save):
  assert external.read(save({})) == {}
  # A prefix that not all names have belongs to them.
  names = ["model.a.b", "module.c"]
  arrays = {name: np.ones(2, np.float32) for name in names}
  assert sorted(external.read(save(arrays))) == names
  names = {f"model.{name}": np.ones(2, np.float32) for name in ("a.b", "c")}
  assert sorted(external.read(save(names))) == ["a.b", "c"]


def test_without_the_library(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "safetensors", None)
  with pytest.raises(ImportError, match=r'pip install "jcl\[weights\]"'):
    external.read(str(tmp_path / "a.safetensors"))
