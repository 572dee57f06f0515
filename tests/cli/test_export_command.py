"""`jcl export`: what it writes, and what it leaves alone."""

import errno
import functools
import os
import re

import pytest
import tiny_network
from untrained import made

from jcl.run.inference import files

pytest.importorskip("flatbuffers", reason="JAX writes programs by flatbuffers")


@pytest.fixture
def export(jcl_command, tmp_path):
  """Calls `jcl export` in this process; returns status and messages."""
  files.save(made(), tmp_path / "m.npz")
  return functools.partial(jcl_command, "export")


def test_a_model_becomes_a_program(export, tmp_path):
  status, told = export("m.npz", "new.safetensors")
  size = (tmp_path / "new.safetensors").stat().st_size
  assert (status, told) == (
    0,
    f"new.safetensors: [N, 4] float32 -> scores of 4 classes, {size:,} bytes\n",
  )


def test_a_file_is_replaced_only_where_that_is_asked(export, tmp_path):
  new = tmp_path / "new.safetensors"
  new.write_text("mine")
  status, told = export("m.npz", "new.safetensors")
  assert status == 2 and "new.safetensors is there already" in told
  assert new.read_text() == "mine"
  assert export("m.npz", "new.safetensors", "--overwrite")[0] == 0
  assert new.read_bytes() != b"mine"


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ((), "takes a model and a new file.*got 0"),
    (("m.npz",), "takes a model and a new file.*got 1"),
    (("none", "new.safetensors"), "there is no none: give a file of"),
    ((".", "new.safetensors"), "holds no model.npz"),
    (("m.npz", "new.npz"), r"new.npz: give a name that ends in .safetensors"),
    (("m.npz", "no/new.safetensors"), "there is no folder no; make it"),
    (("m.npz", "new.safetensors", "--format=tflite"), "stablehlo"),
    (("m.npz", "n.safetensors", "--sha256=a"), "export does not read --sha256"),
  ],
)
def test_what_is_refused(export, tmp_path, words, message):
  status, told = export(*words)
  assert status == 2
  assert re.search(message, told) and told.count("\n") == 1, told
  assert os.listdir(tmp_path) == ["m.npz"]


def test_a_full_disk_is_told_in_a_sentence(export, tmp_path, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(os, "fsync", full)
  status, told = export("m.npz", "new.safetensors")
  assert status == 2
  assert told == (
    "jcl: new.safetensors cannot be written: No space left on device\n"
  )
  assert os.listdir(tmp_path) == ["m.npz"]


def test_a_network_of_ones_own_is_told(export, tmp_path):
  files.save(made(tiny_network.build()), tmp_path / "own.npz")
  status, told = export("own.npz", "new.safetensors")
  assert status == 2 and "was trained with a network of your own" in told
