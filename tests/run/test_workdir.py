import errno
import json
import os
import types

import pytest
import ready
import tiny_network

from jcl import base, recipes
from jcl.report import encoding, summarising, summary
from jcl.run import checkpoint, entries, loop, session, workdir
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
    "import pathlib, sys; from jcl.run import workdir\n"
    "try:\n"
    "  with workdir.locked(pathlib.Path(sys.argv[1])): print('free')\n"
    "except workdir.WorkdirError as error: print(error)\n"
  )

  def other():
    return ready.call("-c", code, tmp_path).stdout

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
  assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
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
    (errno.ENOENT, "moved or removed"),
    (errno.ENAMETOOLONG, "shorter --workdir"),
    (errno.EEXIST, "a file of that name: .* give another --workdir"),
    (errno.ENOTDIR, "is a file: .* give another --workdir"),
    (errno.EFBIG, "than is allowed"),
  ],
)
def test_failures_to_write_say_what_to_do(number, advice, tmp_path):
  with pytest.raises(workdir.WorkdirError, match=advice) as caught:
    with workdir.explained(tmp_path):
      raise OSError(number, os.strerror(number))
  assert "run the same command again" in str(caught.value)
  assert caught.value.__cause__.errno == number


def test_beside_writing_only_a_full_disk_is_explained(tmp_path):
  with pytest.raises(workdir.WorkdirError, match="disk is full"):
    with workdir.explained(tmp_path, writing=False):
      raise OSError(errno.ENOSPC, "no space")
  for path, number in ((tmp_path, errno.ENOENT), (None, errno.ENOSPC)):
    with pytest.raises(OSError):  # of a data set's file, or without a folder
      with workdir.explained(path, writing=False):
        raise OSError(number, "no file")


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


def test_a_run_that_starts_over_clears_the_entries_of_all_parts(tmp_path):
  folders = {"checkpoints", "events", "store", "extras"}
  files = {"model.npz", "generality.npz", "hierarchy.png", "profile.json"}
  assert folders | files | {"curve.jsonl", "summary.json"} <= set(entries.ALL)
  workdir.Folder(tmp_path, ABOUT).close()
  for name in entries.ALL:
    path = tmp_path / name
    if name in folders:
      (path / "below").mkdir(parents=True)
    else:
      path.write_text("of an earlier run")
  workdir.Folder(tmp_path, ABOUT, resume=False).close()
  left = {path.name for path in tmp_path.iterdir()}
  assert left == {".lock", "checkpoints", "config.json"}
  assert not list((tmp_path / "checkpoints").iterdir())


def test_environment_may_change_and_a_closed_folder_is_free(tmp_path):
  for host in ("one", "two"):
    about = {**ABOUT, "environment": {"host": host}}
    workdir.Folder(tmp_path, about).close()


def test_without_a_path_nothing_is_kept():
  folder = workdir.Folder(None, ABOUT)
  assert folder.restore(lambda selection: None) is None
  folder.close()


@pytest.fixture
def job():
  method = recipes.finetune()._replace(selector=fixed.head_only())
  return session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    method,
    base.Training(epochs=1, batch_size=6, momentum=0.9),
    options=session.Options(steps_per_dispatch=2),
  )


def test_the_memory_of_the_last_step_is_kept_and_nothing_is_compiled_for_it(
  job, tmp_path, monkeypatch
):
  learner = job.learner
  told = session.run(job, tmp_path).summary
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
    again = session.run(job, tmp_path).summary
  assert again["step_memory"] == told["step_memory"]
  learner.step_program(tiny_network.EVERYTHING)
  told = session.run(job).summary
  assert told["step_memory_full"]["gradients"] == 4 * (40 + 72 + 36)


def test_a_long_path_is_told_in_short(tmp_path):
  with pytest.raises(workdir.WorkdirError) as caught:
    with workdir.explained(tmp_path / ("a" * 3000)):
      raise OSError(errno.ENAMETOOLONG, "too long")
  assert len(str(caught.value)) < 400 and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
  "damage",
  [b"\xff\xfe\0\n", b"[1, 2]\n", b"3\n", b'{"a": 1}\n', b"[" * 99_999]
  + [b'{"step": "x"}\n', b'{"step": 3, "lo', b"\n\n"],
)
def test_a_damaged_curve_loses_but_what_is_damaged(job, tmp_path, damage):
  told = session.run(job, tmp_path).summary
  path = tmp_path / "curve.jsonl"
  before = path.read_bytes()
  path.write_bytes(before + damage)
  assert session.run(job, tmp_path).summary["total"] == told["total"]
  assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["{", "[" * 99_999, "[]", "\0"])
def test_a_damaged_summary_is_written_anew(job, tmp_path, damage):
  told = session.run(job, tmp_path).summary
  (tmp_path / "summary.json").write_text(damage)
  again = session.run(job, tmp_path).summary
  assert again["total"] == told["total"] and "step_memory" not in again


class Killed(BaseException):
  """Ends a run as a signal would: nothing is written on the way out."""


@pytest.fixture
def four():
  """A run of four experiences, with a checkpoint after each."""

  def assemble():
    return session.assemble(
      tiny_network.stream(tasks=4),
      tiny_network.build(),
      recipes.er(buffer=6, minibatch=2),
      base.Training(epochs=1, batch_size=6),
      options=session.Options(steps_per_dispatch=2),
    )

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(checkpoint, "_LEAST_SECONDS", 0.0)
    patch.setattr(checkpoint, "_LEAST_TIMES", 0.0)
    yield assemble


def kill_at_save(monkeypatch, number):
  """Has the save of that number, from 0, end the run before it is made."""
  save, calls = checkpoint.Checkpoints.save, []

  def killed(self, snapshot):
    calls.append(1)
    if len(calls) > number:
      self.wait()
      raise Killed
    save(self, snapshot)

  monkeypatch.setattr(checkpoint.Checkpoints, "save", killed)


def told(folder):
  """What is the same in every run, of its records and its curve."""
  run = summary.read_run(folder)
  records = [encoding.to_json(record) for record in run.records]
  for record in records:
    del record["costs"], record["peak_bytes"]
  timed = "seconds", "steps_per_second"
  curve = [{k: v for k, v in p.items() if k not in timed} for p in run.curve]
  lines = (folder / "records.jsonl").read_text().count("\n")
  assert lines == len(records)  # none twice
  return records, curve, run.finished


@pytest.mark.parametrize("kills", [[0], [1], [3], [2, 1], [0, 0]])
def test_a_kill_between_a_record_and_its_checkpoint(kills, four, tmp_path):
  session.run(four(), tmp_path / "whole")
  for number in kills:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
      kill_at_save(patch, number)
      session.run(four(), tmp_path / "killed")
  held = (tmp_path / "killed" / "records.jsonl").read_text().count("\n")
  assert held == sum(kills) + 1
  session.run(four(), tmp_path / "killed")
  assert told(tmp_path / "killed") == told(tmp_path / "whole")


@pytest.mark.parametrize("behind", ['{"experience": 2, "cl', '{"x": 1}\n'])
def test_what_a_kill_left_behind_the_checkpoint_is_cut(behind, four, tmp_path):
  session.run(four(), tmp_path / "whole")
  folder = tmp_path / "killed"
  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    kill_at_save(patch, 2)
    session.run(four(), folder)
  for name, text in (("records", behind), ("curve", '{"step": 1')):
    with open(folder / f"{name}.jsonl", "a") as file:
      file.write(text)
  session.run(four(), folder)
  assert told(folder) == told(tmp_path / "whole")


def test_records_that_are_gone_are_told_or_made_again(four, tmp_path, caplog):
  session.run(four(), tmp_path / "whole")
  folder = tmp_path / "cut"
  session.run(four(), folder)
  path = folder / "records.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  path.write_text("".join(lines[:3]))  # the checkpoint before knows as many
  session.run(four(), folder)
  assert "holds 3 lines where 4 were written" in caplog.text
  assert told(folder) == told(tmp_path / "whole")
  path.write_text("".join(lines[:1]))
  with pytest.raises(checkpoint.CheckpointError) as caught:
    session.run(four(), folder)
  assert "holds 1 lines where 4 were written" in str(caught.value)
  assert "--noresume" in str(caught.value)


def test_what_is_done_at_each_experience_does_not_grow(
  four, tmp_path, monkeypatch
):
  """Records and points are written once each, and summaries now and then."""
  encoded, summarised = [], []
  to_json, summarise = encoding.to_json, summarising.summarise

  def one(record):
    encoded.append(record.experience)
    return to_json(record)

  def all_of_them(records, **more):
    summarised.append(len(records))
    return summarise(records, **more)

  monkeypatch.setattr(encoding, "to_json", one)
  monkeypatch.setattr(summarising, "summarise", all_of_them)
  monkeypatch.setattr(workdir, "_LEAST_TIMES", 1e9)
  session.run(four(), tmp_path)
  assert encoded == [0, 1, 2, 3]
  assert summarised == [0, 4]
  kept = json.loads((tmp_path / "summary.json").read_text())
  assert kept["finished"] and kept["experiences"] == 4


def test_checkpoints_are_made_where_they_pay_and_at_the_end(
  four, tmp_path, monkeypatch
):
  saved, save = [], checkpoint.Checkpoints.save

  def noted(self, snapshot):
    saved.append(snapshot.place.experience)
    save(self, snapshot)

  monkeypatch.setattr(checkpoint.Checkpoints, "save", noted)
  session.run(four(), tmp_path / "each")
  assert saved == [1, 2, 3, 4]
  saved.clear()
  monkeypatch.setattr(checkpoint, "_LEAST_SECONDS", 1e9)
  session.run(four(), tmp_path / "last")
  assert saved == [4]
  saved.clear()
  options = session.Options(checkpoint_seconds=0.0)
  session.run(four(), tmp_path / "all", options)
  assert len(saved) > 4


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 5000])
def test_damaged_settings_are_told(tmp_path, content):
  (tmp_path / "config.json").write_bytes(content)
  with pytest.raises(workdir.WorkdirError, match="config.json is damaged"):
    workdir.claim(tmp_path, {"seed": 0})


@pytest.mark.parametrize(
  ("processes", "kind", "experience", "stop", "due", "pays", "saves"),
  [
    (1, "steps", 1, False, False, True, False),
    (1, "steps", 1, False, True, False, True),
    (1, "steps", 1, True, False, False, True),
    (1, "experience", 1, False, False, False, False),
    (1, "experience", 1, False, False, True, True),
    (1, "experience", 3, False, False, False, True),  # the last one
    (1, "steps", 3, False, False, False, False),
    # Processes that share a run reach its experiences' ends together.
    (2, "steps", 1, False, True, True, False),
    (2, "steps", 1, True, False, False, True),  # on which all agree
    (2, "experience", 1, False, False, False, True),
  ],
)
def test_when_a_checkpoint_is_made(
  processes, kind, experience, stop, due, pays, saves, monkeypatch
):
  monkeypatch.setattr(workdir.jax, "process_count", lambda: processes)
  folder = workdir.Folder(None, ABOUT)
  folder._checkpoints = types.SimpleNamespace(
    due=lambda: due, pays=lambda: pays
  )
  stream = types.SimpleNamespace(experiences=[None] * 3)
  folder._job = types.SimpleNamespace(stream=stream)
  place = loop.Cursor(experience=experience)
  event = loop.Event(kind, None, place, {})
  assert folder._saves(event, stop) is saves


@pytest.mark.parametrize(
  ("noted", "step", "told"),
  [
    ({"experiences": 2, "closing": "as noted"}, 9, "as noted"),
    ({"experiences": 2, "closing": "as noted"}, 10, "pending"),
    ({"experiences": 1, "closing": "as noted"}, 9, "pending"),
    ({"experiences": 2}, 9, "pending"),
    ({}, 9, "pending"),
  ],
)
def test_the_last_costs_of_a_run_that_had_ended(noted, step, told):
  folder = workdir.Folder(None, ABOUT)
  folder._noted, folder._begun = noted, 9
  record = types.SimpleNamespace(stands_for=1)
  folder._at = loop.Cursor(step=step, records=[record, record])
  ledger = types.SimpleNamespace(pending=lambda: "pending")
  folder._job = types.SimpleNamespace(ledger=ledger)
  assert folder._closing() == told
