"""Whole runs: with and without a folder, stopped, damaged, taken up again."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess

import jax
import pytest
import tiny_network

from jcl import base, recipes
from jcl.report import summary
from jcl.run import curve as curve_lib
from jcl.run import session, workdir
from jcl.selection import fixed
from jcl.streams import scenarios, sources

OPTIONS = session.Options(
  steps_per_dispatch=2, evaluate_every=3, checkpoint_seconds=0.0
)
METHOD = recipes.er(buffer=8, minibatch=4)._replace(selector=fixed.top_units(2))
TRAINING = base.Training(
  epochs=2, batch_size=6, learning_rate=0.1, optimizer="adam"
)


def assemble(**changes):
  return session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    METHOD,
    base.Training(**changes).over(TRAINING),
    options=OPTIONS,
  )


@pytest.fixture(scope="module")
def job():
  """One setting for all: its programs compile once."""
  return assemble()


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
  return session.run(job, tmp_path_factory.mktemp("whole"), OPTIONS)


def same(result, other):
  """Compares states bit by bit, and what records and curve say."""
  assert tiny_network.same_bits(result.state, other.state)
  assert len(result.records) == len(other.records)
  for one, two in zip(result.records, other.records, strict=True):
    for name in ("accuracy", "accuracy_task", "loss", "steps", "memory"):
      assert getattr(one, name) == getattr(two, name), name
  if result.folder and other.folder:
    assert curve(result.folder) == curve(other.folder)


def curve(folder):
  lines = (folder / "curve.jsonl").read_text().splitlines()
  points = [json.loads(line) for line in lines]
  timed = ("seconds", "steps_per_second")
  return [{k: v for k, v in p.items() if k not in timed} for p in points]


def interrupt(job, folder, monkeypatch, call, number=signal.SIGTERM):
  """Carries out a run that gets a signal as it fetches its `call`th batch."""
  put, calls = job.learner.put_batches, []

  def signalling(batches):
    calls.append(0)
    if len(calls) == call:
      os.kill(os.getpid(), number)
    return put(batches)

  with monkeypatch.context() as patch:
    patch.setattr(job.learner, "put_batches", signalling)
    with pytest.raises(session.Interrupted) as caught:
      session.run(job, folder, OPTIONS)
  return caught.value


def test_a_folder_changes_nothing_and_holds_everything(job, undisturbed):
  same(session.run(job, None, OPTIONS), undisturbed)
  folder = undisturbed.folder
  run = summary.read_run(folder)
  assert run.summary["finished"] and len(run.records) == 2
  assert run.summary["network"]["name"] == "tiny"
  config = json.loads((folder / "config.json").read_text())
  assert config["training"]["optimizer"] == "adam" and config["seed"] == 0
  steps = [point["step"] for point in curve(folder)]
  assert steps == sorted(steps) and steps[-1] == 16
  assert undisturbed.summary["class_incremental"]
  assert 0 <= undisturbed.average_accuracy <= 1


@pytest.mark.parametrize("call", [2, 5, 8])
def test_a_signal_saves_and_the_rest_is_bit_identical(
  call, job, undisturbed, tmp_path, monkeypatch
):
  before = signal.getsignal(signal.SIGTERM)
  stopped = interrupt(job, tmp_path, monkeypatch, call)
  assert stopped.number == signal.SIGTERM
  assert "SIGTERM" in str(stopped) and "same command" in str(stopped)
  assert signal.getsignal(signal.SIGTERM) is before
  same(session.run(job, tmp_path, OPTIONS), undisturbed)


def test_interrupt_from_the_keyboard_and_no_folder(job, monkeypatch):
  stopped = interrupt(job, None, monkeypatch, 3, signal.SIGINT)
  assert "nothing was saved" in str(stopped)


def test_slots_of_a_partial_selection_come_back(undisturbed):
  slots = jax.tree.leaves(undisturbed.state.train.opt_state)
  assert len(slots) == 3 * 4  # a count and two moments of four tensors each
  assert undisturbed.records[-1].trained == (4, 6)


def damage(folder, newest_only):
  saved = sorted((folder / "checkpoints").iterdir(), key=lambda p: int(p.name))
  for checkpoint in saved[-1:] if newest_only else saved:
    files = [p for p in (checkpoint / "arrays").rglob("*") if p.is_file()]
    for path in files:
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  return len(saved)


@pytest.mark.parametrize("newest_only", [True, False])
def test_a_run_gets_over_damage(
  newest_only, job, undisturbed, tmp_path, monkeypatch, caplog
):
  interrupt(job, tmp_path, monkeypatch, 8)
  assert damage(tmp_path, newest_only) == 2
  same(session.run(job, tmp_path, OPTIONS), undisturbed)
  assert caplog.text.count("is damaged") == (1 if newest_only else 2)


def test_half_a_line_and_lines_ahead_of_the_checkpoint_are_dropped(
  job, undisturbed, tmp_path, monkeypatch
):
  interrupt(job, tmp_path, monkeypatch, 5)
  with open(tmp_path / "curve.jsonl", "a") as file:
    file.write(json.dumps({"step": 999, "experience": 1, "loss": 0.0}) + "\n")
    file.write('{"step": 8, "exper')
  with open(tmp_path / "records.jsonl", "a") as file:
    file.write('{"experience": 1')
  same(session.run(job, tmp_path, OPTIONS), undisturbed)
  assert len(summary.read_run(tmp_path).records) == 2


def test_a_finished_run_is_not_trained_again(
  job, undisturbed, tmp_path, monkeypatch
):
  shutil.copytree(undisturbed.folder, tmp_path, dirs_exist_ok=True)

  def refuse(*args):
    raise AssertionError("it trains")

  monkeypatch.setattr(job.learner, "step_program", refuse)
  monkeypatch.setattr(job.learner, "init", refuse)
  again = session.run(job, tmp_path, OPTIONS)
  same(again, undisturbed)


def test_starting_over_and_other_settings(undisturbed, tmp_path):
  shutil.copytree(undisturbed.folder, tmp_path, dirs_exist_ok=True)
  other = assemble(learning_rate=0.2)
  with pytest.raises(workdir.WorkdirError) as caught:
    session.run(other, tmp_path, OPTIONS)
  assert "training.learning_rate was 0.1 and is now 0.2" in str(caught.value)
  with pytest.raises(workdir.WorkdirError, match="context|recipe"):
    session.run(
      other, tmp_path, OPTIONS, {"recipe": {"name": "er", "options": {}}}
    )


def test_a_full_disk_says_what_to_do(job, undisturbed, tmp_path):
  """On a file system of 200 kB, where one can be made."""
  mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
  try:
    done = subprocess.run(mount, capture_output=True)
  except FileNotFoundError:
    pytest.skip("no mount command")
  if done.returncode:
    pytest.skip("file systems cannot be mounted here")
  try:
    with pytest.raises(workdir.WorkdirError, match="free some space"):
      session.run(job, tmp_path, OPTIONS)
    subprocess.run(
      ["mount", "-o", "remount,size=64m", str(tmp_path)], check=True
    )
    same(session.run(job, tmp_path, OPTIONS), undisturbed)
  finally:
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_parts_that_do_not_fit_are_told():
  stream = tiny_network.stream()
  with pytest.raises(ValueError, match="has 3 outputs.*num_classes=4"):
    session.learn(stream, tiny_network.build(num_classes=3), METHOD)
  with pytest.raises(ValueError, match=r"takes inputs \(5,\).*\(4,\)"):
    session.learn(stream, tiny_network.build(5), METHOD)
  with pytest.raises(ValueError, match="augment='flip' needs images"):
    session.learn(
      stream,
      tiny_network.build(),
      METHOD,
      options=session.Options(augment="flip"),
    )
  with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
    session.learn(stream, tiny_network.build(), METHOD, learnig_rate=1)
  with pytest.raises(ValueError, match="did you mean 'workdir'"):
    session.learn(stream, tiny_network.build(), METHOD, work_dir="here")
  with pytest.raises(ValueError, match=r"options=jcl.Options\(resume="):
    session.learn(stream, tiny_network.build(), METHOD, resume=False)


def test_hyper_parameters_come_from_the_method_first():
  method = METHOD._replace(training=base.Training(learning_rate=0.3))
  found = session.complete(method, base.Training(learning_rate=0.5, epochs=4))
  assert (found.learning_rate, found.epochs, found.optimizer) == (0.3, 4, "sgd")


def test_costs_survive_a_stop(job, tmp_path, monkeypatch):
  interrupt(job, tmp_path, monkeypatch, 8)
  result = session.run(job, tmp_path, OPTIONS)
  for record in result.records:
    spent = record.costs["train"]
    assert spent.seconds > 0 and math.isfinite(spent.seconds)
  assert result.records[0].costs["checkpoint"].seconds > 0


def test_writing_has_an_account_and_classes_have_names(tmp_path):
  source = tiny_network.source()
  names = ("phone box", "猫", "b", "d")
  train = dataclasses.replace(
    source.train, class_names=names, notes=("2 rows were left out",)
  )
  test = dataclasses.replace(source.test, class_names=names)
  stream = scenarios.class_incremental(sources.Source(train, test), tasks=2)
  network = tiny_network.build()
  told = session.learn(stream, network, METHOD, workdir=tmp_path, epochs=1)
  first, second = told.records
  assert first.class_names == names[:2] and second.class_names == names[2:]
  assert first.costs["write"].seconds > 0  # a summary ahead of all work
  assert second.costs["write"].seconds > 0
  assert told.summary["closing"]["write"]["seconds"] > 0
  assert told.summary["class_names"] == list(names)
  assert told.summary["notes"] == ["2 rows were left out"]
  kept = summary.read_run(tmp_path)
  assert kept.records[1].class_names == names[2:]
  assert kept.summary["class_names"] == list(names)
  again = session.learn(stream, network, METHOD, workdir=tmp_path, epochs=1)
  assert again.summary["closing"] == told.summary["closing"]
  assert again.summary["total"] == told.summary["total"]


def test_a_run_goes_on_where_data_and_versions_have_moved(tmp_path, caplog):
  def learn(name, epochs=1, shift=0.0):
    source = tiny_network.source()
    train = dataclasses.replace(
      source.train, name=name, x=source.train.x + shift
    )
    stream = scenarios.class_incremental(
      sources.Source(train, source.test), tasks=2
    )
    network = tiny_network.build()
    folder = tmp_path / ("a" if not (tmp_path / "b").exists() else "b")
    return session.learn(stream, network, METHOD, workdir=folder, epochs=epochs)

  first = learn("here")
  (tmp_path / "a").rename(tmp_path / "b")  # the work directory moves as well
  config = json.loads((tmp_path / "b" / "config.json").read_text())
  # As a version without these settings, or the digest, has written it.
  del config["options"]["lead"], config["training"]["clip"]
  (tmp_path / "b" / "config.json").write_text(json.dumps(config))
  told = json.loads((tmp_path / "b" / "summary.json").read_text())
  told["environment"]["device"] = "another device"
  (tmp_path / "b" / "summary.json").write_text(json.dumps(told))
  again = learn("there")
  assert [r.costs for r in again.records] == [r.costs for r in first.records]
  assert "taken up elsewhere: device was 'another device'" in caplog.text
  with pytest.raises(workdir.WorkdirError, match="inputs of the data"):
    learn("there", shift=1.0)
  with pytest.raises(workdir.WorkdirError, match="epochs was 1 and is now 2"):
    learn("there", epochs=2)


def test_evaluations_on_the_way_count_without_a_folder_too(job, undisturbed):
  result = session.run(job, None, OPTIONS)
  for scenario in ("class_incremental", "task_incremental"):
    name = "anytime_average"
    assert result.summary[scenario][name] == undisturbed.summary[scenario][name]


def test_the_curve_does_not_depend_on_when_a_run_is_saved(
  job, tmp_path, monkeypatch
):
  monkeypatch.setattr(curve_lib, "POINTS", 3)  # points of several updates
  rarely = dataclasses.replace(OPTIONS, checkpoint_seconds=1e9)
  session.run(job, tmp_path / "rarely", rarely)
  session.run(job, tmp_path / "often", OPTIONS)
  assert len(curve(tmp_path / "rarely")) < 14
  assert curve(tmp_path / "rarely") == curve(tmp_path / "often")
  interrupt(job, tmp_path / "stopped", monkeypatch, call=6)
  session.run(job, tmp_path / "stopped", OPTIONS)
  assert curve(tmp_path / "rarely") == curve(tmp_path / "stopped")


def test_a_memory_of_exemplars_holds_one_of_each_class():
  parts = tiny_network.stream(), tiny_network.build()
  held = session.assemble(*parts, recipes.icarl(buffer=4), base.Training())
  assert held.learner.memory_slots == 4
  with pytest.raises(ValueError, match="memory of 3 examples.*buffer=4"):
    session.assemble(*parts, recipes.icarl(buffer=3), base.Training())
