import gzip
import struct
import zlib

import numpy as np
import pytest
import signatures

from jcl.streams import idx


def encode(array):
  header = bytes((0, 0, 8, array.ndim)) + struct.pack(
    f">{array.ndim}I", *array.shape
  )
  return header + array.tobytes()


def write_set(folder, *, compress=False, dot=False):
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(0)
  written = {}
  for part, count in (("train", 6), ("t10k", 3)):
    for kind, array in (
      ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
      ("labels-idx1", (np.arange(count) % 10).astype(np.uint8)),
    ):
      name = f"{part}-{kind}-ubyte"
      content = encode(array)
      if dot:
        name = name.replace("-idx", ".idx")
      if compress:
        name, content = f"{name}.gz", gzip.compress(content)
      (folder / name).write_bytes(content)
      written[part, kind] = array
  return written


@pytest.mark.parametrize(
  "reader, place, style",
  [
    (idx.mnist, "mnist", {}),
    (idx.mnist, "MNIST/raw", {"compress": True}),
    (idx.mnist, ".", {"dot": True}),
    (idx.fashion_mnist, "fashion-mnist", {"compress": True}),
    (idx.fashion_mnist, "FashionMNIST/raw", {}),
  ],
)
def test_reads_every_layout(tmp_path, reader, place, style):
  written = write_set(tmp_path / place, **style)
  train, test = reader(tmp_path)
  np.testing.assert_array_equal(
    train.x[..., 0], written["train", "images-idx3"]
  )
  np.testing.assert_array_equal(test.y, written["t10k", "labels-idx1"])
  assert train.x.shape == (6, 28, 28, 1) and train.x.dtype == np.uint8
  assert train.num_classes == 10


def test_names_the_files_it_looked_for(tmp_path):
  with pytest.raises(FileNotFoundError) as caught:
    idx.fashion_mnist(tmp_path)
  message = str(caught.value)
  expected = tmp_path / "fashion_mnist" / "train-images-idx3-ubyte.gz"
  assert str(expected) in message
  assert "--data_dir" in message and "--download" in message
  assert "zalandoresearch" in message


@pytest.mark.parametrize(
  "content, message",
  [
    (b"", "no IDX header"),
    (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "no IDX header"),
    (b"\x00\x00\x08", "no IDX header"),
    (b"\x00\x00\x08\x03\x00\x00", "truncated header"),
    (encode(np.zeros((1,) * 9, np.uint8)), "9 axes"),
    (encode(np.zeros((2, 3), np.uint8)) + b"\0\0", "7 values instead of 6"),
    (encode(np.zeros((2, 3), np.uint8))[:-1], "5 values instead of 6"),
    (encode(np.zeros((2, 3), np.uint8)) + b"\0", "7 values instead of 6"),
  ],
)
def test_damaged_file_is_named(tmp_path, content, message):
  path = tmp_path / "images"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    idx.read(path)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flip", "plain"])
def test_damaged_gzip_is_named(tmp_path, damage):
  content = gzip.compress(encode(np.arange(200, dtype=np.uint8)))
  path = tmp_path / "labels.gz"
  path.write_bytes(
    {
      "cut": content[: len(content) // 2],
      "flip": content[:40] + bytes([content[40] ^ 255]) + content[41:],
      "plain": b"not gzip at all",
    }[damage]
  )
  with pytest.raises(ValueError, match="labels.gz is damaged"):
    idx.read(path)


@pytest.mark.parametrize("axes", [1, 4])
def test_images_of_other_axes_are_refused(tmp_path, axes):
  write_set(tmp_path)
  path = tmp_path / "train-images-idx3-ubyte"
  path.write_bytes(encode(np.zeros((6,) * axes, np.uint8)))
  with pytest.raises(ValueError, match=f"{axes} axes instead of 3"):
    idx.mnist(tmp_path)


def test_axes_and_bytes_up_to_the_most_are_read(tmp_path, monkeypatch):
  path = tmp_path / "images"
  path.write_bytes(encode(np.ones((1,) * 7 + (6,), np.uint8)))
  monkeypatch.setattr(idx.files, "MOST_BYTES", 6)
  assert idx.read(path).shape == (1,) * 7 + (6,)
  monkeypatch.setattr(idx.files, "MOST_BYTES", 5)
  with pytest.raises(ValueError, match="images .*at most 5"):
    idx.read(path)


@pytest.mark.parametrize("reader", [idx.mnist, idx.fashion_mnist])
def test_what_is_fetched_goes_to_a_folder_of_its_own(
  reader, tmp_path, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    idx.downloads, "fetch_all", lambda *given: asked.append(given)
  )
  for download in (False, True):
    with pytest.raises(FileNotFoundError):
      reader(tmp_path, download=download)
  assert asked == [(reader.__name__, tmp_path / reader.__name__)]


@pytest.mark.parametrize("error", [EOFError, MemoryError, OSError, zlib.error])
def test_any_error_of_a_damaged_file_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(path, file):
    raise error("no such thing")

  (tmp_path / "a").write_bytes(b"")
  monkeypatch.setattr(idx, "_read", fail)
  with pytest.raises(ValueError, match="a is damaged .*no such .*; delete it"):
    idx.read(tmp_path / "a")


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(idx.mnist) == {"download": False}
  assert signatures.defaults(idx.fashion_mnist) == {"download": False}
