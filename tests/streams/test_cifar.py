import io
import lzma
import os
import pickle
import tarfile
import zlib

import numpy as np
import pytest
import signatures

from jcl.streams import cifar

RNG = np.random.default_rng(0)
NAMES10 = [f"name{i}" for i in range(10)]
FINE = [f"fine{i}" for i in range(100)]
COARSE = [f"coarse{i}" for i in range(20)]


def pixels(count):
  return RNG.integers(0, 256, (count, 3072)).astype(np.uint8)


def write_cifar10(folder, protocol=2):
  folder.mkdir(parents=True)
  parts = {}
  for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
    parts[name] = {"data": pixels(2), "labels": [3, 7]}
    (folder / name).write_bytes(pickle.dumps(parts[name], protocol))
  (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES10}))
  return parts


def write_cifar100(folder):
  folder.mkdir(parents=True)
  parts = {}
  for name in ("train", "test"):
    parts[name] = {
      "data": pixels(3),
      "fine_labels": [99, 0, 5],
      "coarse_labels": [19, 1, 2],
    }
    (folder / name).write_bytes(pickle.dumps(parts[name]))
  meta = {"fine_label_names": FINE, "coarse_label_names": COARSE}
  (folder / "meta").write_bytes(pickle.dumps(meta))
  return parts


def pack(folder, archive, mode):
  with tarfile.open(archive, mode) as tar:
    tar.add(folder, folder.name)


@pytest.mark.parametrize("protocol", [2, 5])
def test_python_version(tmp_path, protocol):
  parts = write_cifar10(tmp_path / "cifar-10-batches-py", protocol)
  train, test = cifar.cifar10(tmp_path)
  assert train.x.shape == (10, 32, 32, 3) and train.x.dtype == np.uint8
  # Planes are red, green, blue, each in rows of 32.
  raw = parts["data_batch_2"]["data"][1]
  assert train.x[3, 4, 5].tolist() == [
    raw[plane * 1024 + 4 * 32 + 5] for plane in range(3)
  ]
  assert train.y.tolist() == [3, 7] * 5
  assert test.class_names == tuple(NAMES10)


@pytest.mark.parametrize(
  "suffix, mode", [("tar.gz", "w:gz"), ("tar.xz", "w:xz")]
)
def test_archive_is_read_in_place(tmp_path, suffix, mode):
  folder = tmp_path / "elsewhere" / "cifar-100-python"
  parts = write_cifar100(folder)
  pack(folder, tmp_path / f"cifar-100-python.{suffix}", mode)
  train, test = cifar.cifar100(tmp_path)
  assert train.y.tolist() == [99, 0, 5]
  np.testing.assert_array_equal(
    test.x.transpose(0, 3, 1, 2).reshape(3, -1), parts["test"]["data"]
  )
  assert not (tmp_path / "cifar-100-python").exists()


def test_coarse_labels(tmp_path):
  write_cifar100(tmp_path / "cifar-100-python")
  train, _ = cifar.cifar100(tmp_path, labels="coarse")
  assert train.y.tolist() == [19, 1, 2]
  assert train.class_names == tuple(COARSE)
  with pytest.raises(ValueError, match="labels='middle': write labels=fine"):
    cifar.cifar100(tmp_path, labels="middle")


def test_binary_versions(tmp_path):
  ten = tmp_path / "cifar-10-batches-bin"
  ten.mkdir()
  raw = pixels(1)
  for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
    (ten / f"{name}.bin").write_bytes(b"\x04" + raw.tobytes())
  (ten / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")
  train, _ = cifar.cifar10(tmp_path)
  assert train.y.tolist() == [4] * 5
  assert train.x[0, 0, 1].tolist() == [raw[0, 1], raw[0, 1025], raw[0, 2049]]

  hundred = tmp_path / "cifar-100-binary"
  hundred.mkdir()
  for name in ("train.bin", "test.bin"):
    (hundred / name).write_bytes(b"\x0b\x63" + raw.tobytes())
  (hundred / "fine_label_names.txt").write_text("\n".join(FINE))
  (hundred / "coarse_label_names.txt").write_text("\n".join(COARSE))
  assert cifar.cifar100(tmp_path)[0].y.tolist() == [99]
  assert cifar.cifar100(tmp_path, labels="coarse")[0].y.tolist() == [11]

  (hundred / "train.bin").write_bytes(b"\x0b\x63" + raw.tobytes()[:-1])
  with pytest.raises(ValueError, match="train.bin is damaged.*3073 bytes"):
    cifar.cifar100(tmp_path)
  (hundred / "train.bin").write_bytes(b"")
  with pytest.raises(ValueError, match="train.bin is .*.0 bytes, not n tim"):
    cifar.cifar100(tmp_path)


class Harmful:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_pickles_run_no_code(tmp_path):
  folder = tmp_path / "cifar-100-python"
  write_cifar100(folder)
  target = tmp_path / "made by the pickle"
  (folder / "meta").write_bytes(pickle.dumps(Harmful(target)))
  with pytest.raises(ValueError, match="refers to (posix|nt|os).mkdir"):
    cifar.cifar100(tmp_path)
  assert not target.exists()


@pytest.mark.parametrize(
  "content, message",
  [
    (b"\x80\x02}q", "meta is damaged"),
    (pickle.dumps([1]), "a list instead of a dict"),
    (pickle.dumps({"fine_label_names": ["a"]}), "1 names, not 100"),
    (pickle.dumps({"other": FINE}), "meta is .*.no names under 'fine_label_"),
    (pickle.dumps({"fine_label_names": [*FINE[1:], 5]}), "no names under"),
    (pickle.dumps({"fine_label_names": tuple(FINE)}), "no names under"),
  ],
)
def test_damaged_meta_is_named(tmp_path, content, message):
  write_cifar100(tmp_path / "cifar-100-python")
  (tmp_path / "cifar-100-python" / "meta").write_bytes(content)
  with pytest.raises(ValueError, match=message):
    cifar.cifar100(tmp_path)


@pytest.mark.parametrize(
  "record, message",
  [
    ({"data": np.zeros((1, 3072), np.uint8)}, "no 'fine_labels'"),
    (
      {"data": np.zeros((1, 9), np.uint8), "fine_labels": [0]},
      r"data is uint8 \(1, 9\)",
    ),
    ({"data": np.zeros((1, 3072)), "fine_labels": [0]}, "data is float64"),
    ({"data": [[0] * 3072], "fine_labels": [0]}, "data is a list"),
    (
      {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]},
      "fine_labels are not 2 numbers",
    ),
    *(
      ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [label]}, words)
      for label, words in (
        (-1, "fine_labels are not 1 numbers"),
        (256, "fine_labels are not 1 numbers"),
        (True, "fine_labels are not 1 numbers"),
        (255, "labels outside 0 to 99"),
        (100, "labels outside 0 to 99"),
      )
    ),
  ],
)
def test_damaged_record_is_named(tmp_path, record, message):
  write_cifar100(tmp_path / "cifar-100-python")
  path = tmp_path / "cifar-100-python" / "train"
  path.write_bytes(pickle.dumps(record))
  with pytest.raises(ValueError, match=message) as caught:
    cifar.cifar100(tmp_path)
  assert str(path.parent) in str(caught.value)


def test_damaged_archive_is_named(tmp_path):
  folder = tmp_path / "there" / "cifar-100-python"
  write_cifar100(folder)
  archive = tmp_path / "cifar-100-python.tar.gz"
  pack(folder, archive, "w:gz")
  archive.write_bytes(archive.read_bytes()[:2000])
  with pytest.raises(ValueError, match="cifar-100-python.tar.gz is damaged"):
    cifar.cifar100(tmp_path)
  with tarfile.open(archive, "w:gz") as tar:
    for name in ("train", "notes", "more notes"):
      tar.addfile(tarfile.TarInfo(f"cifar-100-python/{name}"), io.BytesIO())
  with pytest.raises(ValueError, match=r"no \['meta', 'test'\] in it"):
    cifar.cifar100(tmp_path)


def test_incomplete_folder_and_nothing_at_all(tmp_path):
  with pytest.raises(FileNotFoundError, match="cifar-10-python.tar.gz") as one:
    cifar.cifar10(tmp_path)
  assert str(tmp_path / "cifar-10-batches-py/test_batch") in str(one.value)
  write_cifar10(tmp_path / "cifar-10-batches-py")
  (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
  (tmp_path / "cifar-10-batches-py" / "data_batch_5").unlink()
  with pytest.raises(ValueError, match="incomplete: .*data_batch_4"):
    cifar.cifar10(tmp_path)


def test_a_file_that_cannot_be_read_is_damaged(tmp_path, monkeypatch):
  def fail(path, file, most):
    assert most == 2**30
    raise OSError("no such thing")

  write_cifar100(tmp_path / "cifar-100-python")
  monkeypatch.setattr(cifar.files, "up_to", fail)
  with pytest.raises(ValueError, match="train is damaged .*no such thing"):
    cifar.cifar100(tmp_path)


@pytest.mark.parametrize("reader", [cifar.cifar10, cifar.cifar100])
def test_what_is_fetched_goes_to_a_folder_of_its_own(
  reader, tmp_path, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    cifar.downloads, "fetch_all", lambda *given: asked.append(given)
  )
  for download in (False, True):
    with pytest.raises(FileNotFoundError):
      reader(tmp_path, download=download)
  assert asked == [(reader.__name__, tmp_path / reader.__name__)]


def test_a_folder_called_test_is_not_taken_for_the_file(tmp_path):
  (tmp_path / "test").mkdir()
  with pytest.raises(FileNotFoundError, match="cifar-100-python"):
    cifar.cifar100(tmp_path)


@pytest.mark.parametrize(
  "error",
  [
    *(tarfile.TarError, EOFError, MemoryError, OSError, OverflowError),
    *(ValueError, lzma.LZMAError, zlib.error),
  ],
)
def test_any_error_of_a_damaged_archive_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(place):
    raise error("no such thing")

  (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
  monkeypatch.setattr(cifar.tarfile, "open", fail)
  with pytest.raises(ValueError, match="gz is damaged .*no such .*; delete it"):
    cifar.cifar10(tmp_path)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(cifar.cifar10) == {"download": False}
  assert signatures.defaults(cifar.cifar100) == {
    "labels": "fine",
    "download": False,
  }
