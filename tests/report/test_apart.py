"""A report written by a process of its own is the report."""

import subprocess
import sys

import pytest

import jcl
from jcl.options.errors import MissingFileError
from jcl.report import apart, writing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Returns the folder of a small run."""
  folder = tmp_path_factory.mktemp("run") / "er"
  stream = jcl.class_incremental(jcl.load("digits"), tasks=2)
  network = jcl.build_network("mlp", stream.example_shape, 10, width=4, depth=1)
  jcl.learn(stream, network, jcl.recipes.er(), epochs=1, workdir=folder)
  return folder


@pytest.fixture
def writer():
  """Returns a writer that has its process, as where matplotlib is not here."""
  with apart.Writer() as made:
    if made._process is None:
      made._begin()
    yield made


def files(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_another_process_writes_the_same_files(run, writer, tmp_path):
  expected = writing.write([run], tmp_path / "here")
  told = writer.write([run], tmp_path / "there")
  assert told == expected.replace("here", "there")
  assert writer._process.returncode == 0
  written = files(tmp_path / "there")
  assert written == files(tmp_path / "here")
  assert sum(path.suffix == ".png" for path in written) >= 8


def test_a_process_that_waited_too_long_is_replaced(run, writer, tmp_path):
  writer.close()
  writer._process = subprocess.Popen(
    [sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE
  )
  gone = writer._process
  gone.wait()
  assert "report.html" in writer.write([run], tmp_path / "out")
  assert writer._process is not gone and writer._process.returncode == 0


def test_errors_are_those_of_the_caller(writer, tmp_path):
  with pytest.raises(MissingFileError, match="records.jsonl"):
    writer.write([tmp_path / "nothing"], tmp_path / "out")
  assert writer._process.returncode == 1


def test_no_process_is_begun_beside_matplotlib(run, tmp_path):
  import matplotlib.figure  # noqa: F401

  with apart.Writer() as made:
    assert made._process is None
    assert "report.html" in made.write([run], tmp_path / "out")


def test_a_writer_that_is_not_asked_ends_its_process(writer):
  process = writer._process
  assert process.poll() is None
  writer.close()
  assert process.returncode < 0
