import errno
import json
import os
import subprocess
import sys

import pytest
import tiny_network

from jcl import base, recipes, session, workdir
from jcl.selection import fixed

ABOUT = {"seed": 0, "training": {"epochs": 1, "clip": None}}


def test_a_folder_of_other_settings_is_refused_with_the_differences(tmp_path):
  workdir.claim(tmp_path, ABOUT)
  workdir.claim(tmp_path, ABOUT)  # the same ones may go on
  other = {"seed": 1, "training": {"epochs": 5, "clip": None}, "extra": "x"}
  with pytest.raises(workdir.WorkdirError) as caught:
    workdir.claim(tmp_path, other)
  message = str(caught.value)
  assert "training.epochs was 1 and is now 5" in message
  assert "seed was 0 and is now 1" in message
  assert "extra was None and is now 'x'" in message
  assert "clip" not in message and "--noresume" in message
  workdir.claim(tmp_path, other, resume=False)
  assert json.loads((tmp_path / "config.json").read_text()) == other


def test_a_folder_has_one_user_at_a_time(tmp_path):
  code = (
    "import pathlib, sys; from jcl import workdir\n"
    "try:\n"
    "  with workdir.locked(pathlib.Path(sys.argv[1])): print('free')\n"
    "except workdir.WorkdirError as error: print(error)\n"
  )

  def other():
    done = subprocess.run(
      [sys.executable, "-c", code, str(tmp_path)],
      capture_output=True,
      text=True,
      check=True,
    )
    return done.stdout

  with workdir.locked(tmp_path):
    assert "is in use by another run" in other()
  assert other() == "free\n"


def test_text_is_replaced_as_a_whole(tmp_path, monkeypatch):
  path = tmp_path / "file.json"
  workdir.write_atomically(path, "old")

  def fail(*args):
    raise OSError(errno.ENOSPC, "no space")

  monkeypatch.setattr(os, "fsync", fail)
  with pytest.raises(OSError):
    workdir.write_atomically(path, "new")
  assert path.read_text() == "old"
  monkeypatch.undo()
  workdir.write_atomically(path, "new")
  assert path.read_text() == "new"
  assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
  "number, advice",
  [
    (errno.ENOSPC, "free some space"),
    (errno.EDQUOT, "quota"),
    (errno.EROFS, "read-only"),
    (errno.EACCES, "permission"),
    (errno.EIO, "Input/output"),
  ],
)
def test_failures_to_write_say_what_to_do(number, advice, tmp_path):
  with pytest.raises(workdir.WorkdirError, match=advice) as caught:
    with workdir.explained(tmp_path):
      raise OSError(number, os.strerror(number))
  assert "run the same command again" in str(caught.value)
  assert caught.value.__cause__.errno == number


def test_a_path_that_cannot_be_made_is_told(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(workdir.WorkdirError, match="cannot write to"):
    workdir.Folder(tmp_path / "file" / "run", ABOUT)


def test_nothing_is_cleared_but_what_a_run_wrote(tmp_path):
  workdir.Folder(tmp_path, ABOUT).close()
  (tmp_path / "notes.txt").write_text("mine")
  (tmp_path / "records.jsonl").write_text("{}\n")
  other = {**ABOUT, "seed": 3}
  workdir.Folder(tmp_path, other, resume=False).close()
  assert (tmp_path / "notes.txt").read_text() == "mine"
  assert not (tmp_path / "records.jsonl").exists()
  assert json.loads((tmp_path / "config.json").read_text())["seed"] == 3


def test_environment_may_change_and_a_closed_folder_is_free(tmp_path):
  for host in ("one", "two"):
    about = {**ABOUT, "environment": {"host": host}}
    workdir.Folder(tmp_path, about).close()


def test_without_a_path_nothing_is_kept():
  folder = workdir.Folder(None, ABOUT)
  assert folder.restore(lambda selection: None) is None
  folder.close()


@pytest.fixture
def setting():
  method = recipes.finetune()._replace(selector=fixed.head_only())
  return session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    method,
    base.Training(epochs=1, batch_size=6, momentum=0.9),
    options=session.Options(steps_per_dispatch=2),
  )


def test_the_memory_of_the_last_step_is_kept_and_nothing_is_compiled_for_it(
  setting, tmp_path, monkeypatch
):
  learner = setting.learner
  told = session.run(setting, tmp_path).summary
  steps = [key for key in learner.compiler if key[0] == "step"]
  assert steps == [("step", tiny_network.HEAD)]
  assert told["step_memory"]["gradients"] == 4 * 36
  peak = learner.step_program(tiny_network.HEAD).cost.peak_bytes
  assert told["step_memory"]["peak"] == peak
  assert "step_memory_full" not in told
  kept = json.loads((tmp_path / "summary.json").read_text())
  assert kept["step_memory"] == told["step_memory"]
  # Taken up again where it has ended, by a process that compiles nothing.
  with monkeypatch.context() as patch:
    patch.setattr(learner.compiler, "_found", {})
    again = session.run(setting, tmp_path).summary
  assert again["step_memory"] == told["step_memory"]
  learner.step_program(tiny_network.EVERYTHING)
  told = session.run(setting).summary
  assert told["step_memory_full"]["gradients"] == 4 * (40 + 72 + 36)


def test_a_damaged_summary_is_written_anew(setting, tmp_path):
  told = session.run(setting, tmp_path).summary
  (tmp_path / "summary.json").write_text("{")
  again = session.run(setting, tmp_path).summary
  assert again["total"] == told["total"] and "step_memory" not in again
