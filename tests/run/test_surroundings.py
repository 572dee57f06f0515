"""Streams, terminals and homes that are missing."""

import gc
import io
import os
from pathlib import Path
import subprocess
import sys

import pytest

from jcl.run import console, interrupts, surroundings

ROOT = Path(__file__).parents[2]


def test_streams_of_other_encodings_write_escapes(monkeypatch):
  out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
  monkeypatch.setattr(sys, "stdout", out)
  surroundings.open_streams()
  print("a 猫")
  out.flush()
  assert out.buffer.getvalue() == b"a \\u732b\n"


def test_streams_that_are_not_of_text_files_stay(monkeypatch):
  out = io.StringIO()  # as notebooks and tests put in their place
  monkeypatch.setattr(sys, "stdout", out)
  surroundings.open_streams()
  assert sys.stdout is out


def test_what_is_opened_first_takes_no_standard_stream_s_place(tmp_path):
  code = f"""
import os, sys
from jcl.run import surroundings
surroundings.open_streams()
print("lost")
print("lost", file=sys.stderr)
file = open({str(tmp_path / "file")!r}, "w")
os.write(2, b"from a library")
file.write(f"{{file.fileno() > 2}} {{sys.stdout.fileno() > 2}}")
"""
  done = subprocess.run(
    ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    timeout=60,
  )
  assert done.returncode == 0
  assert (tmp_path / "file").read_text() == "True True"


def test_a_stream_that_is_missing_or_closed_is_no_terminal(monkeypatch):
  closed = io.StringIO()
  closed.close()
  assert not surroundings.is_terminal(None)
  assert not surroundings.is_terminal(closed)
  assert not surroundings.is_terminal(io.StringIO())

  class Terminal(io.StringIO):
    def isatty(self):
      return True

  assert surroundings.is_terminal(Terminal())
  monkeypatch.setattr(sys, "stderr", None)
  with console.counted("frames", "frame") as move:
    move(1, 2)


def test_the_cache_follows_the_user_s_folders(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  assert surroundings.cache_folder() == tmp_path / ".cache"
  monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # to be ignored
  assert surroundings.cache_folder() == tmp_path / ".cache"
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
  assert surroundings.cache_folder() == tmp_path / "a" / "b"
  assert (tmp_path / "a" / "b").is_dir()


def test_without_a_home_that_can_be_written_nothing_is_kept(
  tmp_path, monkeypatch
):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("HOME", str(tmp_path / "file"))
  assert surroundings.cache_folder() is None
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setattr(os, "access", lambda *_: False)
  assert surroundings.cache_folder() is None

  def nobody():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.setattr(Path, "home", nobody)
  assert surroundings.cache_folder() is None


@pytest.mark.parametrize("handler", [None, 0])
def test_handlers_of_a_host_program_are_left(handler, monkeypatch):
  set_, real = [], interrupts.signal.signal

  def signal(number, value):
    set_.append(value)
    if value is None:
      raise TypeError("signal handler must be signal.SIG_IGN, ...")
    return handler

  monkeypatch.setattr(interrupts.signal, "signal", signal)
  with interrupts.signals() as received:
    assert received == []
  assert set_[2:] == ([] if handler is None else [handler] * 2)
  assert real is not signal


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("lost", ["a reader that left", "a full disk"])
def test_a_program_outlasts_who_reads_its_output(stream, lost, tmp_path):
  code = f"""
import sys
from pathlib import Path
from jcl.run import surroundings
with surroundings.lasting_output():
  for i in range(3):
    print("lost" * 5000, file=sys.{stream}, flush=bool(i))
    sys.{stream}.writelines(["held ", "back\\n"])
  Path({str(tmp_path / "done")!r}).write_text("done")
"""
  if lost == "a full disk":
    if not Path("/dev/full").exists():
      pytest.skip("needs /dev/full")
    end = os.open("/dev/full", os.O_WRONLY)
  else:
    read, end = os.pipe()
    os.close(read)
  kept = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: end}
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    timeout=60,
    **kept,
  )
  os.close(end)
  assert done.returncode == 0
  assert (tmp_path / "done").exists()
  assert not done.stdout and not done.stderr


def test_output_that_lasts_is_the_stream_s_own(monkeypatch):
  out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
  monkeypatch.setattr(sys, "stdout", out)
  with surroundings.lasting_output():
    print("told")
    assert sys.stdout.encoding == "utf-8"
  assert sys.stdout is out
  assert out.buffer.getvalue() == b"told\n"


def test_imports_collect_no_garbage_and_later_collections_skip_them():
  before = gc.get_freeze_count()
  with surroundings.importing():
    assert not gc.isenabled()
    made = [[] for _ in range(100)]
  assert gc.isenabled() and gc.get_freeze_count() >= before + len(made)


def test_whoever_collects_no_garbage_goes_on_so():
  gc.disable()
  try:
    with surroundings.importing():
      pass
    assert not gc.isenabled()
  finally:
    gc.enable()
