import hashlib

import pytest

from jcl.streams import download, idx


def remote(path, digest=None):
  digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
  return download.RemoteFile(path.as_uri(), "sha256", digest)


@pytest.fixture
def published(tmp_path):
  path = tmp_path / "host" / "file.bin"
  path.parent.mkdir()
  path.write_bytes(b"content" * 1000)
  return path


def test_a_verified_file_arrives_whole(published, tmp_path):
  target = tmp_path / "new" / "file.bin"
  download.fetch(remote(published), target)
  assert target.read_bytes() == published.read_bytes()
  assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


def test_a_wrong_checksum_leaves_nothing_behind(published, tmp_path):
  target = tmp_path / "new" / "file.bin"
  with pytest.raises(ValueError, match="sha256 .* instead of 00ff"):
    download.fetch(remote(published, "00ff"), target)
  assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_keeps_what_was_there(published, tmp_path):
  target = tmp_path / "file.bin"
  target.write_bytes(b"older")
  with pytest.raises(ValueError, match="nothing was kept"):
    download.fetch(remote(published, "00ff"), target)
  assert target.read_bytes() == b"older"


def test_an_unreachable_file_leaves_nothing_behind(published, tmp_path):
  gone = remote(published)
  published.unlink()
  target = tmp_path / "new" / "file.bin"
  with pytest.raises(OSError):
    download.fetch(gone, target)
  assert list(target.parent.iterdir()) == []


def test_only_absent_files_are_fetched(published, tmp_path, monkeypatch):
  other = published.with_name("other.bin")
  other.write_bytes(b"other")
  entries = (remote(published, "never looked at"), remote(other))
  monkeypatch.setitem(download.FILES, "toy", entries)
  folder = tmp_path / "toy"
  folder.mkdir()
  (folder / "file.bin").write_bytes(b"mine")
  download.fetch_all("toy", folder)
  assert (folder / "file.bin").read_bytes() == b"mine"
  assert (folder / "other.bin").read_bytes() == b"other"


def test_a_reader_downloads_only_when_asked(tmp_path, monkeypatch):
  from test_idx import write_set

  host = tmp_path / "host"
  write_set(host, compress=True)
  entries = tuple(remote(path) for path in sorted(host.iterdir()))
  monkeypatch.setitem(download.FILES, "mnist", entries)
  data_dir = tmp_path / "data"
  with pytest.raises(FileNotFoundError):
    idx.mnist(data_dir)
  assert not data_dir.exists()
  train, _ = idx.mnist(data_dir, download=True)
  assert len(train) == 6
  assert len(list((data_dir / "mnist").iterdir())) == 4


def test_the_table_holds_plausible_digests():
  for name, entries in download.FILES.items():
    for entry in entries:
      size = 2 * hashlib.new(entry.algorithm).digest_size
      assert len(entry.digest) == size, name
      int(entry.digest, 16)
