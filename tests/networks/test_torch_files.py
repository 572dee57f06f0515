"""PyTorch's files are read to the bit, and nothing in them is run."""

import hashlib
import io
import pickle
import zipfile

import numpy as np
import pytest
from torch_layouts import ARRAYS, EXPECTED, STORAGES, writer

from jcl.networks import torch_files
from jcl.options.errors import UsageError

STREAM = writer.stream(ARRAYS, STORAGES)
ARCHIVE = writer.archive(ARRAYS, STORAGES)


@pytest.fixture
def read(tmp_path):
  """Reads bytes as a file."""

  def from_bytes(content, sha256=None):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    return torch_files.read(str(path), sha256)

  return from_bytes


def tensors(value):
  """A stream whose pickle of tensors is another one."""
  return writer.stream(ARRAYS, STORAGES, {3: writer.program(value)})


def one(view, elements=8, **more):
  """A stream of a storage of 8 values and one tensor."""
  of = writer.storage("9", "FloatStorage", elements, **more)
  changed = {
    3: writer.program(writer.dictionary({"a": writer.tensor(of, view)}))
  }
  return writer.stream({}, {"9": STORAGES["9"]}, changed)


@pytest.mark.parametrize("content", [STREAM, ARCHIVE])
def test_both_layouts_come_back_equal(content, read):
  found = read(content)
  assert list(found) == list(EXPECTED)
  for name, expected in EXPECTED.items():
    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == expected.dtype
    assert found[name].flags.c_contiguous and found[name].flags.owndata


def test_empty_tensors_and_shared_ones(read):
  arrays = {
    "a": writer.Array("9", 0, (2, 4), (4, 1)),
    "tied": writer.Array("9", 0, (2, 4), (4, 1)),
    "empty": writer.Array("9", 8, (0, 3), (3, 1)),
  }
  found = read(writer.stream(arrays, {"9": STORAGES["9"]}))
  assert found["a"] is found["tied"]
  assert found["empty"].shape == (0, 3)


def test_a_digest_decides_ahead_of_everything(read):
  digest = hashlib.sha256(STREAM).hexdigest()
  assert read(STREAM, digest.upper()).keys() == EXPECTED.keys()
  with pytest.raises(UsageError, match=f"has the SHA-256 {digest} and not 'ab"):
    read(STREAM, "ab" * 32)
  with pytest.raises(UsageError, match="SHA-256"):
    read(b"no model at all", digest)


class Touches:
  """What would make a file if a pickle of it were run."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return (open, (str(self.path), "w"))


def test_nothing_is_run(read, tmp_path):
  made = tmp_path / "made"
  for protocol in range(6):
    content = pickle.dumps({"a": Touches(made)}, protocol)
    for file in (
      content,
      writer.stream(ARRAYS, STORAGES, {3: content}),
      writer.archive(ARRAYS, STORAGES, {"data.pkl": content}),
    ):
      with pytest.raises(
        UsageError, match="no dictionary of PyTorch's tensors"
      ):
        read(file)
  assert not made.exists()


@pytest.mark.parametrize(
  ("module", "attribute"),
  [
    ("os", "system"),
    ("builtins", "eval"),
    ("torch", "HalfStorage"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict.fromkeys"),
  ],
)
def test_other_names_are_refused(module, attribute, read):
  call = writer.name(module, attribute) + writer.tupled(writer.text("x")) + b"R"
  with pytest.raises(UsageError, match=f"refers to {module}.{attribute}"):
    read(tensors(writer.dictionary({"a": call})))


VIEW = writer.Array("9", 0, (2, 2), (2, 1))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "cut short"),
    (STREAM[:10], "cut short"),
    (STREAM[:-1], "ends 1 bytes early"),
    (STREAM[:-9], "a pickle that is cut short|ends|early"),
    (STREAM + b"\0", "1 bytes are left over"),
    (one(VIEW._replace(stride=(7, 1))), "reaches beyond its storage of 8"),
    (one(VIEW._replace(offset=6)), "reaches beyond"),
    (one(VIEW._replace(offset=9, size=(0,), stride=(1,))), "reaches beyond"),
    (one(VIEW._replace(stride=(-1, 1))), "negative"),
    (one(VIEW._replace(offset=-1)), "negative"),
    (one(VIEW._replace(stride=(1,))), "2 sizes and 1 strides"),
    (one(VIEW._replace(size=(2,))), "1 sizes and 2 strides"),
    (one(VIEW._replace(size=(3, 3), stride=(0, 1))), "repeats the values"),
    (one(VIEW._replace(size=(1,) * 17, stride=(1,) * 17)), "17 sizes"),
    (one(VIEW, elements=9), "storage of 9 values holds 8"),
    (one(VIEW, location="cuda:0"), "not on the CPU"),
    (one(VIEW, more=(writer.tupled(),)), "or a view"),
    (tensors(writer.number(3)), "it holds a int, not a dictionary"),
    (tensors(writer.dictionary({"epoch": b"K\3"})), "'epoch' is a int, not"),
    (tensors(writer.EMPTY), "storages it lists are not those"),
    *(
      (
        writer.stream(
          ARRAYS,
          STORAGES,
          {4: writer.program(b"](" + b"".join(map(writer.text, keys)) + b"e")},
        ),
        "storages it lists are not those",
      )
      for keys in (["9", "10", "10"], ["9", "11"])
    ),
  ],
)
def test_streams_of_another_form_are_refused(content, message, read):
  with pytest.raises(UsageError, match=message):
    read(content)


def test_hooks_are_refused(read):
  of = writer.storage("9", "FloatStorage", 8)
  hooks = writer.dictionary({"0": b"N"})
  value = writer.dictionary({"a": writer.tensor(of, VIEW, hooks)})
  with pytest.raises(UsageError, match="hooks, which are code"):
    read(tensors(value))


@pytest.mark.parametrize(
  ("number", "value", "what"),
  [
    (0, writer.number(writer.MAGIC + 1), "magic number"),
    (1, writer.number(1000), "version"),
    (2, writer.MACHINE.replace(b"\x88", b"\x89"), "machine"),
    (2, writer.MACHINE.replace(b"\x88", b"K\1"), "machine"),
    (2, writer.MACHINE.replace(b"K\4", b"K\x08"), "machine"),
  ],
)
def test_other_machines_are_refused(number, value, what, read):
  changed = {number: writer.program(value)}
  with pytest.raises(UsageError, match=f"its {what} is another one"):
    read(writer.stream(ARRAYS, STORAGES, changed))


def test_a_storage_of_two_kinds_is_refused(read):
  views = [
    writer.tensor(writer.storage("9", kind, 8), VIEW)
    for kind in ("FloatStorage", "LongStorage")
  ]
  value = writer.dictionary({"a": views[0], "b": views[1]})
  with pytest.raises(UsageError, match="'9' is of two kinds"):
    read(tensors(value))


def test_views_take_no_more_than_the_file(read):
  many = {f"a{i}": VIEW._replace(offset=i % 4, size=(2, 2)) for i in range(4)}
  storages = {"9": STORAGES["9"]}
  assert len(read(writer.stream(many, storages))) == 4
  wide = {
    f"a{i}{j}{k}": writer.Array("9", i, (j, k), (1, 1))
    for i in range(4)
    for j in (1, 2)
    for k in (1, 2, 3)
  }
  big = {"9": np.zeros(4000, "<f4")}
  wide |= {f"b{i}": writer.Array("9", i, (3000,), (1,)) for i in range(9)}
  with pytest.raises(UsageError, match="its tensors take .* bytes, the whole"):
    read(writer.stream(wide, big))


def test_tensors_may_have_sixteen_axes(read):
  axes = VIEW._replace(size=(1,) * 16, stride=(1,) * 16)
  assert read(one(axes))["a"].shape == (1,) * 16


def test_tensors_may_take_all_of_the_file():
  storage = torch_files.Storage("9", np.dtype("<f4"), 8)
  tensor = torch_files.Tensor(storage, 0, (2, 4), (4, 1))
  raw = {"9": STORAGES["9"].view(np.uint8)}
  found = torch_files._arrays({"a": tensor}, raw, 32)
  np.testing.assert_array_equal(found["a"].ravel(), STORAGES["9"])
  with pytest.raises(ValueError, match="take 32 bytes, the whole file 31"):
    torch_files._arrays({"a": tensor}, raw, 31)


def spaced(gap, behind):
  """An archive of two entries, with bytes between them and behind them."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as made:
    made.writestr(zipfile.ZipInfo("a"), b"xP")  # the next one begins with P
    made.writestr(zipfile.ZipInfo("b"), b"")
  content, second, directory = file.getvalue(), 33, 64
  parts = content[: second + min(gap, 0)], content[second:directory]
  space = b"\0" * max(gap, 0), b"\0" * behind
  head = parts[0] + space[0] + parts[1] + space[1]
  tail = bytearray(content[directory:])
  tail[47 + 42 : 47 + 46] = (second + gap).to_bytes(4, "little")
  tail[-6:-2] = len(head).to_bytes(4, "little")
  return np.frombuffer(head + tail, np.uint8)


@pytest.mark.parametrize(
  ("gap", "behind", "message"),
  [
    (0, 0, None),
    (24, 24, None),
    (25, 0, "bytes ahead of entry 'b' belong to none"),
    (-1, 0, "bytes ahead of entry 'b' belong to none"),
    (0, 25, "25 bytes behind the last entry"),
  ],
)
def test_entries_fill_an_archive(gap, behind, message, tmp_path):
  content = spaced(gap, behind)
  content.tofile(tmp_path / "a.pth")
  if message is None:
    found = torch_files._entries(str(tmp_path / "a.pth"), content)
    assert {k: bytes(v) for k, v in found.items()} == {"a": b"xP", "b": b""}
    return
  with pytest.raises(ValueError, match=message):
    torch_files._entries(str(tmp_path / "a.pth"), content)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (ARCHIVE + b"\0", "bytes behind it"),
    (b"PK\3\4" + ARCHIVE, "ahead of entry"),
    (ARCHIVE[:-30], "has no end"),
    (
      writer.archive(ARRAYS, STORAGES, compression=zipfile.ZIP_DEFLATED),
      "compressed or encrypted",
    ),
    (writer.archive(ARRAYS, STORAGES, {"byteorder": b"big"}), "little-endian"),
    (
      writer.archive(ARRAYS, STORAGES, {"data/9": b"\0" * 28}),
      "holds 28 bytes",
    ),
    (
      writer.archive(
        ARRAYS, {"9": STORAGES["9"], "10": STORAGES["10"]}, {"data/11": b"\0"}
      ),
      "'model/data/11' belongs to no tensor",
    ),
    (writer.archive(ARRAYS, STORAGES, {"code/a.py": b""}), "belongs to no"),
    (
      writer.archive(
        ARRAYS, STORAGES, {"data.pkl": writer.model(ARRAYS, STORAGES) + b"."}
      ),
      "1 bytes are left over in data.pkl",
    ),
    (writer.archive(ARRAYS, STORAGES, {"x/data.pkl": b""}), "2 entries data"),
    (ARCHIVE.replace(STORAGES["9"].tobytes(), b"\1" * 32), "another checksum"),
  ],
)
def test_archives_of_another_form_are_refused(content, message, read):
  with pytest.raises(UsageError, match=message):
    read(content)


def test_a_storage_that_is_missing_is_told(read):
  content = writer.archive(ARRAYS, STORAGES)
  model = writer.model(ARRAYS, STORAGES)
  alone = writer.archive({}, {}, {"data.pkl": model})
  assert len(alone) < len(content)
  with pytest.raises(UsageError, match="a storage of 32 bytes is missing"):
    read(alone)


def test_files_that_are_none(tmp_path):
  with pytest.raises(FileNotFoundError, match="there is no .*none.pth"):
    torch_files.read(str(tmp_path / "none.pth"))
  with pytest.raises(UsageError, match="cannot be read: Is a directory"):
    torch_files.read(str(tmp_path))
