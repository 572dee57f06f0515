import io
import zipfile

import numpy as np
import pytest

from jcl.streams import archives, files


def write(path, **members):
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in members.items():
      archive.writestr(f"{name}.npy", content)


def array(values):
  file = io.BytesIO()
  np.save(file, np.asarray(values))
  return file.getvalue()


def test_arrays_come_back(tmp_path):
  x, text = np.arange(6).reshape(2, 3), np.array(["a", "\u00e9"])
  np.savez_compressed(tmp_path / "a.npz", x=x, text=text, empty=np.zeros(0))
  found = archives.arrays(tmp_path / "a.npz")
  assert sorted(found) == ["empty", "text", "x"]
  np.testing.assert_array_equal(found["x"], x)
  assert found["text"].tolist() == ["a", "\u00e9"]


def test_python_objects_are_refused(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.array([None], object))
  with pytest.raises(ValueError, match="a.npz is damaged .*allow_pickle=False"):
    archives.arrays(tmp_path / "a.npz")


def test_an_archive_that_declares_more_than_it_holds_is_refused(tmp_path):
  content = array([1, 2, 3]).replace(b"(3,)", b"(9" + b"9" * 9 + b",)")
  assert len(content) > len(array([1, 2, 3]))
  write(tmp_path / "a.npz", x=content)
  with pytest.raises(ValueError, match="a.npz is damaged"):
    archives.arrays(tmp_path / "a.npz")
  write(tmp_path / "b.npz", x=array([1, 2, 3])[:-1])
  with pytest.raises(ValueError, match="declares 24 bytes and holds 23"):
    archives.arrays(tmp_path / "b.npz")


def test_a_member_is_no_larger_than_its_compressed_bytes_can_tell(tmp_path):
  name = "n" * 60
  most = 1032 * (200 + 1)
  for held, message in ((most, "declares 24 bytes"), (most + 1, "so large")):
    write(tmp_path / "a.npz", **{name: array([1, 2, 3]).ljust(200)})
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.index(b"PK\x01\x02")  # of the directory
    content[entry + 24 : entry + 28] = held.to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=f"{'n' * 37}\\.\\.\\. .*{message}"):
      archives.arrays(tmp_path / "a.npz")


def test_versions_of_arrays(tmp_path):
  file = io.BytesIO()
  np.lib.format.write_array(file, np.arange(3), version=(2, 0))
  write(tmp_path / "a.npz", x=file.getvalue())
  assert archives.arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
  file = io.BytesIO()
  np.lib.format.write_array(file, np.arange(3), version=(3, 0))
  write(tmp_path / "a.npz", x=file.getvalue())
  with pytest.raises(ValueError, match="an array of version"):
    archives.arrays(tmp_path / "a.npz")


def test_archives_above_the_limit_are_refused(tmp_path, monkeypatch):
  np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1000))
  monkeypatch.setattr(files, "MOST_BYTES", 5000)
  with pytest.raises(ValueError, match="a.npz .*at most 5,000"):
    archives.arrays(tmp_path / "a.npz")


def test_text_that_is_none_is_refused(tmp_path):
  content = array(["ab"]).replace("a".encode("utf-32-le"), b"\xff" * 4)
  write(tmp_path / "a.npz", x=content)
  with pytest.raises(ValueError, match="a.npz .*text that is none"):
    archives.arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_other_files_are_named(tmp_path, content):
  (tmp_path / "a.npz").write_bytes(content)
  with pytest.raises(ValueError, match="a.npz is damaged"):
    archives.arrays(tmp_path / "a.npz")
  with pytest.raises(FileNotFoundError):
    archives.arrays(tmp_path / "none.npz")
