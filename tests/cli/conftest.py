"""Commands of `jcl`, called in the process of the tests."""

import sys

from absl.testing import flagsaver
import pytest

from jcl.cli import main


@pytest.fixture
def jcl_command(capsys, monkeypatch, tmp_path):
  """Calls `jcl WORDS` in a folder of its own; returns status and messages."""
  monkeypatch.chdir(tmp_path)

  def call(*words):
    monkeypatch.setattr(sys, "argv", ["jcl", *words])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
      main.run(main.JCL)
    told = capsys.readouterr()
    return end.value.code or 0, told.out + told.err

  return call
