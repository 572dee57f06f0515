"""Fetches published files, on request only, and verifies each of them."""

import hashlib
import os
from pathlib import Path
import tempfile
from typing import NamedTuple
import urllib.request

from jcl.options.errors import UsageError

_CHUNK = 1 << 20  # bytes read at a time
_TIMEOUT = 60.0  # seconds without an answer


class RemoteFile(NamedTuple):
  """One file as its publisher offers it."""

  url: str
  algorithm: str  # a name that `hashlib.new` knows
  digest: str  # hexadecimal


def _mnist(name: str, md5: str) -> RemoteFile:
  return RemoteFile(
    f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}", "md5", md5
  )


def _fashion(name: str, md5: str) -> RemoteFile:
  host = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
  return RemoteFile(f"{host}/{name}", "md5", md5)


def _cifar(name: str, md5: str) -> RemoteFile:
  return RemoteFile(f"https://www.cs.toronto.edu/~kriz/{name}", "md5", md5)


# Digests as the publishers state them; MD5 guards against accidents only.
FILES: dict[str, tuple[RemoteFile, ...]] = {
  "mnist": (
    _mnist("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    _mnist("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    _mnist("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    _mnist("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
  ),
  "fashion_mnist": (
    _fashion("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    _fashion("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    _fashion("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    _fashion("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
  ),
  "cifar10": (
    _cifar("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
  ),
  "cifar100": (
    _cifar("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
  ),
}


def fetch_all(name: str, folder: Path) -> None:
  """Fetches the files of the set `name` that `folder` does not hold yet."""
  for remote in FILES[name]:
    path = folder / remote.url.rpartition("/")[2]
    if not path.exists():
      fetch(remote, path)


def fetch(remote: RemoteFile, path: Path) -> None:
  """Writes a remote file to `path`, whole and verified, or not at all.

  Raises:
    OSError: where the file cannot be read or written.
    ValueError: where its checksum is not the expected one.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  digest = hashlib.new(remote.algorithm, usedforsecurity=False)
  handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
  try:
    with (
      os.fdopen(handle, "wb") as output,
      urllib.request.urlopen(remote.url, timeout=_TIMEOUT) as response,
    ):
      while chunk := response.read(_CHUNK):
        digest.update(chunk)
        output.write(chunk)
    if digest.hexdigest() != remote.digest:
      raise UsageError(
        f"{remote.url} has {remote.algorithm} {digest.hexdigest()} instead of "
        f"{remote.digest}; nothing was kept. Fetch the file by hand, check "
        f"where it comes from, and put it at {path.absolute()}"
      )
    os.chmod(partial, 0o644)  # mkstemp's files are private to their owner
    os.replace(partial, path)
  finally:
    Path(partial).unlink(missing_ok=True)
