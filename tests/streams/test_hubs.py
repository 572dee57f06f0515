import importlib.util
import subprocess
import sys
import types

import numpy as np
from PIL import Image
import pytest
import signatures
from sklearn import datasets

from jcl.options.errors import UsageError
from jcl.streams import hubs, sources, splits


def test_digits():
  train, test = hubs.digits(None)
  assert len(train) + len(test) == 1797 and train.scale == 16.0
  assert train.x.shape[1:] == (8, 8, 1) and train.x.max() == 16
  share = np.bincount(test.y) / (np.bincount(test.y) + np.bincount(train.y))
  np.testing.assert_allclose(share, 0.2, atol=0.005)
  bunch = datasets.load_digits()
  held = splits.stratified(bunch.target, 0.2, seed=0)
  np.testing.assert_array_equal(test.x[..., 0], bunch.images[held])
  np.testing.assert_array_equal(train.y, bunch.target[~held])


def test_digits_where_scikit_learn_keeps_them_elsewhere(monkeypatch):
  expected = hubs.digits(None)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  for one, other in zip(hubs.digits(None), expected, strict=True):
    assert one.x.dtype == other.x.dtype and one.y.dtype == other.y.dtype
    assert one.class_names == other.class_names
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.y, other.y)


def test_data_of_a_run_import_neither_scikit_learn_nor_scipy():
  code = """
import sys
from jcl.streams import hubs, scenarios, sources, stream
made = scenarios.class_incremental(sources.load("digits"), tasks=5)
stream.statistics(made.experiences[0].data, "standard")
print({"sklearn", "scipy"} & set(sys.modules))
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert done.stdout == "set()\n", done.stderr


class Rows:
  """The part of a Hugging Face dataset that is read."""

  def __init__(self, columns, names=None):
    self.columns = columns
    self.features = {
      name: types.SimpleNamespace(names=names)
      if name == "label" and names
      else None
      for name in columns
    }

  def __len__(self):
    return len(self.columns["label"])

  def __getitem__(self, index):
    if isinstance(index, str):
      return self.columns[index]
    return {k: [v[i] for i in index] for k, v in self.columns.items()}


@pytest.fixture
def hub(monkeypatch):
  """Installs a stand-in for `datasets` and returns its catalogue."""
  catalogue, module = {}, types.ModuleType("datasets")

  def load_dataset(name, cache_dir, download_config):
    if download_config.local_files_only and name not in catalogue:
      raise ConnectionError("offline")
    return catalogue[name]

  module.load_dataset = load_dataset
  module.DownloadConfig = types.SimpleNamespace
  monkeypatch.setitem(sys.modules, "datasets", module)
  return catalogue


def images(count, size=(4, 3)):
  return [Image.new("RGB", size, (i, 0, 0)) for i in range(count)]


def test_huggingface_images(hub, tmp_path):
  hub["pets"] = {
    "train": Rows({"image": images(3), "label": [0, 1, 1]}, ["cat", "dog"]),
    "validation": Rows({"image": images(1), "label": [1]}, ["cat", "dog"]),
  }
  source = sources.load("huggingface", tmp_path, name="pets")
  assert source.train.class_names == ("cat", "dog")
  assert source.train.x.shape == (3, 3, 4, 3)
  assert source.train.x[np.array([2, 0])][:, 0, 0, 0].tolist() == [2, 0]
  assert source.train.x[1].shape == (3, 4, 3)
  assert source.test.y.tolist() == [1]


def test_huggingface_numbers_without_names(hub, tmp_path):
  rows = Rows({"values": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 2]})
  hub["table"] = {"train": rows}
  train, test = hubs.huggingface(tmp_path, name="table", image_column="values")
  assert test is None and train.class_names == ("0", "2")
  assert train.x.dtype == np.float32
  assert train.x[np.array([1])].tolist() == [[3.0, 4.0]]


def test_huggingface_complains(hub, tmp_path):
  with pytest.raises(FileNotFoundError, match="--download"):
    hubs.huggingface(tmp_path, name="absent")
  hub["pets"] = {"train": Rows({"image": images(2), "label": [0, 1]})}
  with pytest.raises(ValueError, match="no column 'img'; write image_column="):
    hubs.huggingface(tmp_path, name="pets", image_column="img")
  hub["odd"] = {"test": hub["pets"]["train"]}
  with pytest.raises(ValueError, match="no split 'train', only"):
    hubs.huggingface(tmp_path, name="odd")
  mixed = images(1) + images(1, size=(9, 9))
  hub["mixed"] = {"train": Rows({"image": mixed, "label": [0, 1]})}
  train, _ = hubs.huggingface(tmp_path, name="mixed")
  with pytest.raises(ValueError, match="differ in size; write size="):
    train.x[np.arange(2)]
  train, _ = hubs.huggingface(tmp_path, name="mixed", size=5)
  assert train.x[np.arange(2)].shape == (2, 5, 5, 3)


@pytest.mark.parametrize("error", [ConnectionError, FileNotFoundError])
def test_a_set_that_is_not_in_the_cache_is_missing(hub, tmp_path, error):
  def fail(name, cache_dir, download_config):
    assert cache_dir == str(tmp_path / "huggingface")
    assert download_config.local_files_only is not download
    raise error("offline")

  sys.modules["datasets"].load_dataset = fail
  for download in (False, True):
    with pytest.raises(FileNotFoundError, match="hub under pets"):
      hubs.huggingface(tmp_path, name="pets", download=download)


def test_what_a_library_refuses_is_told(hub, monkeypatch, tmp_path):
  def fail(*given, **options):
    raise ValueError("no such   configuration")

  sys.modules["datasets"].load_dataset = fail
  other = types.ModuleType("tensorflow_datasets")
  other.builder = fail
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", other)
  for reader in (hubs.huggingface, hubs.tfds):
    with pytest.raises(UsageError, match="^odd: no such configuration$"):
      reader(tmp_path, name="odd")


def test_an_image_that_cannot_be_read_names_its_column(hub, tmp_path):
  class Broken:
    def convert(self, mode):
      raise OverflowError("too much")

  hub["odd"] = {"train": Rows({"image": [Broken()], "label": [0]})}
  with pytest.raises(UsageError, match="an image of column 'image' cannot be"):
    hubs.huggingface(tmp_path, name="odd")


def test_the_test_set_goes_before_the_validation_set(hub, tmp_path):
  parts = {
    part: Rows({"image": images(count), "label": [0] * count}, ["one"])
    for part, count in (("train", 3), ("validation", 2), ("test", 1))
  }
  hub["pets"] = parts
  _, test = hubs.huggingface(tmp_path, name="pets", color="grey")
  assert test.x.shape == (1, 3, 4, 1)


def test_tfds(monkeypatch, tmp_path):
  calls = []

  class Builder:
    info = types.SimpleNamespace(
      splits={"train": None, "test": None},
      supervised_keys=("image", "label"),
      features={"label": types.SimpleNamespace(names=["a", "b"])},
    )

    def download_and_prepare(self):
      calls.append("download")

    def as_dataset(self, split, batch_size, as_supervised):
      assert batch_size == -1 and as_supervised
      count = {"train": 3, "test": 2}[split]
      return np.ones((count, 2, 2, 1), np.uint8), np.arange(count) % 2

  module = types.ModuleType("tensorflow_datasets")
  module.builder = lambda name, data_dir: Builder()
  module.as_numpy = lambda pair: pair
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  with pytest.raises(FileNotFoundError, match="--download"):
    hubs.tfds(tmp_path, name="toy")
  assert not calls
  source = sources.load("tfds", tmp_path, name="toy", download=True)
  assert calls == ["download"]
  assert len(source.train) == 3 and source.test.class_names == ("a", "b")


@pytest.mark.parametrize(
  "reader, module, extra",
  [
    (hubs.huggingface, "datasets", "huggingface"),
    (hubs.tfds, "tensorflow_datasets", "tfds"),
  ],
)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, reader, module, extra):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(ImportError, match=rf'pip install "jcl\[{extra}\]"'):
    reader(tmp_path, name="any")


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(hubs.huggingface) == {
    "image_column": "image",
    "label_column": "label",
    "color": "rgb",
    "range": "data",
    "download": False,
  }
  assert signatures.defaults(hubs.tfds) == {"download": False}
