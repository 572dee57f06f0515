"""`jcl convert`: what it writes, and what it leaves alone."""

import functools
import hashlib
import re

import numpy as np
import pytest
from safetensors import numpy as safetensors
from torch_layouts import ARRAYS, EXPECTED, STORAGES, writer

CONTENT = writer.stream(ARRAYS, STORAGES)


@pytest.fixture
def convert(jcl_command, tmp_path):
  """Calls `jcl convert` in this process; returns status and messages."""
  (tmp_path / "a.pth").write_bytes(CONTENT)
  return functools.partial(jcl_command, "convert")


def test_arrays_stay_as_they_are(convert, tmp_path):
  digest = hashlib.sha256(CONTENT).hexdigest()
  status, told = convert("a.pth", "b.safetensors", f"--sha256={digest}")
  assert (status, told) == (0, "b.safetensors: 3 arrays, 40 bytes\n")
  found = safetensors.load_file(tmp_path / "b.safetensors")
  assert found.keys() == EXPECTED.keys()
  for name, expected in EXPECTED.items():
    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == expected.dtype
  assert sorted(path.name for path in tmp_path.iterdir()) == (
    ["a.pth", "b.safetensors"]
  )


def test_a_file_is_replaced_only_where_that_is_asked(convert, tmp_path):
  new = tmp_path / "b.safetensors"
  new.write_text("mine")
  status, told = convert("a.pth", "b.safetensors")
  assert status == 2 and "b.safetensors is there already" in told
  assert new.read_text() == "mine"
  status, _ = convert("a.pth", "b.safetensors", "--overwrite")
  assert status == 0 and len(safetensors.load_file(new)) == 3


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ((), "takes two files.*got 0"),
    (("a.pth",), "takes two files.*got 1"),
    (("a.bin", "b.safetensors"), "a.bin: give a file of PyTorch's first"),
    (("a.pth", "b.npz"), "b.npz: give the new file second"),
    (("none.pth", "b.safetensors"), "there is no none.pth"),
    (("a.pth", "none/b.safetensors"), "none/b.safetensors cannot be written"),
    (("a.pth", "b.safetensors", "--sha256=ab"), "has the SHA-256"),
    (
      ("a.pth", "b.safetensors", "--epochs=3"),
      "convert does not read --epochs",
    ),
  ],
)
def test_what_is_refused(convert, tmp_path, words, message):
  status, told = convert(*words)
  assert status == 2
  assert re.search(message, told), told
  assert not (tmp_path / "b.safetensors").exists()
