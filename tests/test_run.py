"""run.py from end to end, as a user calls it."""

import importlib.util
import json
from pathlib import Path
import subprocess
import sys
import types

from absl.testing import flagsaver
import numpy as np
from PIL import Image
import pytest
import ready

ROOT = Path(__file__).parent.parent


def call(*arguments):
  return ready.call(ROOT / "run.py", *arguments, cwd=ROOT)


@pytest.fixture(scope="module")
def program():
  """run.py as a module, since a process of its own takes seconds to start."""
  spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
  module = importlib.util.module_from_spec(spec)
  sys.modules["run"] = module  # where absl looks for who defines a flag
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def call_here(program, capsys, monkeypatch):
  """Does what `call` does, in this process; errors that escape are raised."""

  def run(*arguments):
    command = [program.__name__, *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", command)
    with flagsaver.flagsaver():
      code = program.main(program.FLAGS(command))
    told = capsys.readouterr()
    return types.SimpleNamespace(
      returncode=code, stdout=told.out, stderr=told.err
    )

  return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "main"
  done = call(
    "--workdir", folder, "--epochs=2", "--seed=0,1", "--evaluate_every=40"
  )
  assert done.returncode == 0, done.stderr
  return folder, done


def test_main_job_writes_everything(finished):
  folder, done = finished
  assert "finetune" in done.stdout and "report:" in done.stdout
  assert "modelled" in done.stdout  # joules are never shown as measured
  page = (folder / "report.html").read_text()
  assert page.count("data:image/png;base64,") >= 6
  assert "http://" not in page.replace("http://www.w3.org", "")
  for picture in (folder / "pictures").glob("*.png"):
    assert Image.open(picture).size[0] > 200
  for name in ("er", "finetune"):
    for seed in (0, 1):
      run = folder / name / f"seed_{seed}"
      records = [
        json.loads(line)
        for line in (run / "records.jsonl").read_text().splitlines()
      ]
      assert [r["experience"] for r in records] == [0, 1, 2, 3, 4]
      summary = json.loads((run / "summary.json").read_text())
      assert summary["finished"] and summary["seed"] == seed
      assert np.array(summary["class_incremental"]["matrix"]).shape == (5, 5)
      spent = sum(cost["seconds"] for cost in summary["costs"].values())
      assert spent == pytest.approx(summary["total"]["seconds"])
      assert summary["joules_source"].startswith("modelled (")
      environment = summary["environment"]
      assert environment["versions"]["jax"]
      assert environment["flags"]["epochs"] == 2
      assert list((run / "events").glob("events.*"))
      curve = (run / "curve.jsonl").read_text().splitlines()
      assert any("accuracy" in json.loads(line) for line in curve)
  accuracy = {
    run["recipe"]["name"]: run["class_incremental"]["final_average_accuracy"]
    for run in json.loads((folder / "summary.json").read_text())["runs"]
  }
  assert accuracy["er"] > accuracy["finetune"] + 0.2


def test_the_same_command_again_trains_nothing(finished):
  folder, _ = finished
  before = (folder / "er" / "seed_0" / "records.jsonl").read_text()
  again = call(
    "--workdir", folder, "--epochs=2", "--seed=0,1", "--evaluate_every=40"
  )
  assert again.returncode == 0, again.stderr
  assert (folder / "er" / "seed_0" / "records.jsonl").read_text() == before


def test_other_settings_are_refused_with_the_difference(finished):
  folder, _ = finished
  done = call("--workdir", folder, "--epochs=3", "--evaluate_every=40")
  assert done.returncode == 2
  assert "epochs was 2 and is now 3" in done.stderr
  assert "--noresume" in done.stderr


def test_a_run_goes_on_elsewhere_and_with_more_flags(
  tmp_path, call_here, monkeypatch
):
  random = np.random.default_rng(0)
  x = random.normal(size=(40, 3)).astype(np.float32)
  arrays = {"x_train": x, "y_train": np.arange(40) % 4}
  for folder in ("here", "there"):
    (tmp_path / folder).mkdir()
    np.savez(tmp_path / folder / "t.npz", **arrays)
  command = [
    "--compare=none",
    "--epochs=1",
    "--stream=class_incremental:tasks=2",
    "--model=mlp:width=4",
    f"--workdir={tmp_path / 'w'}",
  ]
  first = call_here(f"--data=npz:path={tmp_path / 'here' / 't.npz'}", *command)
  assert first.returncode == 0, first.stderr
  records = tmp_path / "w" / "er" / "seed_0" / "records.jsonl"
  before = records.read_text()
  config = json.loads((tmp_path / "w" / "config.json").read_text())
  del config["lead"]  # as a version without this flag has written it
  (tmp_path / "w" / "config.json").write_text(json.dumps(config))
  monkeypatch.chdir(tmp_path)
  again = call_here("--data=npz:path=t.npz", "--data_dir=there", *command)
  assert again.returncode == 0, again.stderr
  assert records.read_text() == before
  arrays["y_train"] = arrays["y_train"][::-1]
  np.savez(tmp_path / "there" / "t.npz", **arrays)
  other = call_here("--data=npz:path=t.npz", "--data_dir=there", *command)
  assert other.returncode == 2
  assert "labels or inputs of the data are others" in other.stderr


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 1.5 MB, where one can be made."""
  mount = "mount -t tmpfs -o size=1500k tmpfs".split()
  try:
    done = subprocess.run([*mount, str(tmp_path)], capture_output=True)
  except FileNotFoundError:
    pytest.skip("no mount command")
  if done.returncode:
    pytest.skip("file systems cannot be mounted here")
  yield tmp_path
  subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_is_told_in_one_sentence(small_disk):
  command = (
    "--recipe=er:buffer=4000",
    "--compare=none",
    "--model=mlp:width=400",
    "--epochs=1",
    "--checkpoint_seconds=0.2",
    f"--workdir={small_disk / 'w'}",
  )
  full = call(*command)
  assert full.returncode == 2 and "Traceback" not in full.stderr
  *_, last = full.stderr.splitlines()
  assert "the disk is full: free some space" in last
  assert full.stderr.count("disk is full") == 1
  assert len(full.stderr.splitlines()) <= 3
  subprocess.run(
    ["mount", "-o", "remount,size=64m", str(small_disk)], check=True
  )
  again = call(*command)
  assert again.returncode == 0, again.stderr
  assert (small_disk / "w" / "report.html").exists()


def test_report_is_rebuilt_from_folders(finished, tmp_path):
  folder, _ = finished
  done = call("report", folder / "er", "--workdir", tmp_path / "again")
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "again" / "report.html").stat().st_size > 100_000
  assert "finetune" not in done.stdout
  lost = call("report", tmp_path / "none")
  assert lost.returncode == 2 and "no run in" in lost.stderr


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--recipe=err"], ["'err'", "did you mean 'er'"]),
    (["--recipe=er:bufer=3"], ["no option 'bufer'", "buffer"]),
    (["--recipe=er:buffer=0"], ["buffer=0", "examples from 1"]),
    (["--recipe=er:buffer=2B"], ["holds no sample"]),
    (["--data=mnist", "--data_dir=nowhere"], ["train-images", "--data_dir"]),
    (["--data=moonist"], ["'moonist'", "mnist"]),
    (["--model=resnet19"], ["'resnet19'", "resnet18"]),
    (["--stream=class_incremental:tasks=11"], ["tasks=11", "10"]),
    (["--seed=a"], ["--seed=a", "--seed=0,1,2"]),
    (["--seed=1,1"], ["different numbers"]),
    (["--batch_size=0"], ["batch_size=0"]),
    (["--epochs=0"], ["epochs=0", "learns by updates", "slda"]),
    (["--recipe=slda:epochs=2"], ["epochs=2", "makes no updates"]),
    (["--recipe=er+slda"], ["'dense_0'", "may train", "er+head_only+slda"]),
    (["--learning_rate=-1"], ["learning_rate=-1"]),
    (["--augment=crop", "--data=csv:path=t.csv"], ["t.csv"]),
    (["--accumulate=3"], ["accumulate=3", "batch_size=10"]),
    (["--seconds_budget=0"], ["--seconds_budget=0.0", "above 0"]),
    (["--epochs=-1"], ["--epochs=-1: give a whole number from 0"]),
    (["--clip=-1"], ["--clip=-1.0"]),
    (["--learning_rate=nan"], ["--learning_rate=nan"]),
    (["--flops_budget=nan"], ["--flops_budget=nan"]),
    (["--learning_rate=inf"], ["--learning_rate=inf"]),
    (["--checkpoint_seconds=-5"], ["--checkpoint_seconds=-5.0"]),
    (["--schedule=cosin"], ["'cosin'", "did you mean 'cosine'"]),
    (["--seed=99999999999"], ["below 2**32"]),
    (["--stream=class_incremental:tasks=[6,2,b"], ["[6,2,b", "50+10x5"]),
    (["--stream=class_incremental:holdout=half"], ["holdout=half", "number"]),
    (["--recipe=er:buffer=many"], ["buffer=many", "2MB"]),
    (["--model=mlp:input_shape=3"], ["no option 'input_shape'"]),
    (["surplus"], ["surplus", "report"]),
    (["report"], ["report DIR"]),
  ],
)
def test_mistakes_are_told_in_a_line_or_two(
  arguments, words, tmp_path, call_here
):
  done = call_here(*arguments, "--workdir", tmp_path / "w")
  assert done.returncode == 2
  assert "Traceback" not in done.stderr
  for word in words:
    assert word in done.stderr
  assert not list(tmp_path.glob("w/*/seed_*"))


def test_mistakes_of_jcl_show_where_they_are(call_here, monkeypatch):
  """Only what users did wrong is told in a sentence."""
  from jcl import recipes
  from jcl.options import errors

  def build(text):
    raise kind(f"made up for {text}")

  monkeypatch.setattr(recipes, "build", build)
  for kind in (ValueError, FileNotFoundError, ImportError):
    with pytest.raises(kind, match="made up for er"):
      call_here()
  kind = errors.UsageError
  done = call_here()
  assert done.returncode == 2
  assert done.stderr == "run.py: made up for er\n"


def test_a_mistake_of_jcl_ends_the_process_with_a_traceback():
  program = f"""
import runpy, sys
from jcl import recipes
recipes.build = lambda text: [].index(text)
sys.argv = [{str(ROOT / "run.py")!r}]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
  done = ready.call("-c", program, cwd=ROOT)
  assert done.returncode == 1
  assert "Traceback" in done.stderr and "is not in list" in done.stderr


@pytest.mark.parametrize(
  "recipe", ["lightcl", "lightcl_sparse", "sparcl", "er+elastic", "er+freeze"]
)
def test_recipes_bring_what_they_need(recipe, tmp_path, call_here, monkeypatch):
  from jcl.run import session

  put_together = []
  assemble = session.assemble

  def assembled(*parts, **more):
    put_together.append(assemble(*parts, **more))
    raise KeyboardInterrupt  # nothing is learned here

  monkeypatch.setattr(session, "assemble", assembled)
  done = call_here(
    f"--recipe={recipe}", "--compare=none", "--workdir", tmp_path / "w"
  )
  assert done.returncode == 130, done.stderr
  (job,) = put_together
  rows = 15 if recipe.startswith("lightcl") else 10
  assert job.learner.stream_rows == rows
  assert job.learner.convolves == (recipe == "sparcl")


def test_own_table_with_bad_values_is_refused(tmp_path, call_here):
  (tmp_path / "t.csv").write_text("a,b,label\n" + "1,nan,x\n2,3,y\n" * 10)
  done = call_here("--data=csv:path=t.csv", "--data_dir", tmp_path)
  assert done.returncode == 2 and "Traceback" not in done.stderr
  (tmp_path / "u.csv").write_text("a,b,label\n" + "1,q,x\n2,3,y\n" * 10)
  done = call_here("--data=csv:path=u.csv", "--data_dir", tmp_path)
  assert done.returncode == 2 and "'b'" in done.stderr


def test_list_and_estimate_learn_nothing(tmp_path, call_here, monkeypatch):
  monkeypatch.chdir(tmp_path)
  listed = call_here("--list")
  assert listed.returncode == 0
  for name in ("derpp", "gas_drift", "blurry", "slim_resnet18"):
    assert name in listed.stdout
  told = call_here("--estimate")
  assert told.returncode == 0, told.stderr
  for word in ("parameters", "FLOP", "replay memory", "compile", "modelled"):
    assert word in told.stdout
  assert not (tmp_path / "runs").exists()
  # Its training set is a memory, empty before the run.
  told = call_here("--estimate", "--recipe=gdumb", "--compare=joint")
  assert told.returncode == 0, told.stderr
  assert "gdumb" in told.stdout and "joint" in told.stdout


def test_budget_stops_training_and_says_why(tmp_path):
  done = call(
    "--workdir", tmp_path, "--flops_budget=3e8", "--compare=none", "--epochs=50"
  )
  assert done.returncode == 0, done.stderr
  lines = (tmp_path / "er" / "seed_0" / "records.jsonl").read_text()
  records = [json.loads(line) for line in lines.splitlines()]
  assert all("left for" in r["decision"]["reason"] for r in records)
  spent = sum(cost["flops"] for r in records for cost in r["costs"].values())
  assert 1e8 < spent < 4e8


def test_a_selecting_recipe_shows_its_profile_and_its_choices(
  tmp_path, call_here
):
  done = call(
    "--recipe=er:buffer=50+elastic:rho=0.9,interval=1",
    "--stream=class_incremental:tasks=2",
    "--compare=none",
    "--epochs=2",
    f"--cache_dir={tmp_path / 'cache'}",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode == 0, done.stderr
  assert "least feasible rho" in done.stdout
  assert "dense_0/dense/kernel" in done.stdout
  (run,) = (tmp_path / "run").glob("er*/seed_0")
  for name in ("profile.csv", "profile.json", "profile.png", "selections.png"):
    assert (run / name).stat().st_size > 100
  records = (run / "records.jsonl").read_text().splitlines()
  assert [len(json.loads(line)["choices"]) for line in records] == [2] * 2
  page = (tmp_path / "run" / "report.html").read_text()
  assert "What trained when" in page
  assert "time goes" in page
  place = f"--workdir={tmp_path / 'refused'}"
  refused = call_here("--recipe=elastic:rho=0.01", "--compare=none", place)
  assert refused.returncode == 2
  assert "rho=0.01" in refused.stderr and "of a full one" in refused.stderr


def test_a_trunk_learned_first(call_here, tmp_path):
  arguments = (
    "--model=mlp:width=12,depth=2",
    "--base_classes=4",
    "--base_epochs=1",
    "--stream=class_incremental:tasks=2",
    "--epochs=1",
    "--recipe=lightcl:anchors=8",
    "--compare=finetune",
    "--trunk_cache=uint8",
    "--diagnose=8",
    f"--workdir={tmp_path}",
  )
  done = call_here(*arguments)
  assert "pre-training on 4 classes" in done.stdout
  run = tmp_path / "lightcl-anchors=8" / "seed_0"
  told = json.loads((run / "summary.json").read_text())
  assert told["trunk_cache"]["held"] > 0
  assert "trunk_cache" not in json.loads(
    (tmp_path / "finetune" / "seed_0" / "summary.json").read_text()
  )
  assert (run / "generality.png").exists()
  page = (tmp_path / "report.html").read_text()
  assert (
    "Stability and plasticity of units" in page
    and "Memory of a training step" in page
  )
  done = call_here("--trunk_cache=raw")
  assert done.returncode == 2
  assert "none of er, finetune freezes a trunk" in done.stderr


def test_a_stream_is_served_while_it_is_learned(call_here, tmp_path):
  command = (
    "serve",
    "dacapo:labels=9",
    "frozen",
    "--segment_seconds=5",
    "--fps=10",
    "--oracle",
    f"--workdir={tmp_path}",
  )
  done = call_here(*command)
  assert done.returncode == 0, done.stderr
  for name in ("report.html", "S6.png", "runs.csv", "table.csv"):
    assert (tmp_path / name).stat().st_size > 0
  page = (tmp_path / "report.html").read_text(encoding="utf-8")
  assert "dacapo:labels=9" in page and "data:image/png" in page
  made = (tmp_path / "S6" / "frozen" / "seed_0.json").stat().st_mtime_ns
  assert call_here(*command).stdout == done.stdout
  again = (tmp_path / "S6" / "frozen" / "seed_0.json").stat().st_mtime_ns
  assert again == made


@pytest.mark.parametrize(
  "arguments, told",
  [
    (("serve", "dacapoo"), "dacapo"),
    (("serve", "--scenario=S9"), "none, S1"),
    (("serve", "--fps=400"), "rows"),
    (("sereve",), "serve SYSTEM"),
  ],
)
def test_mistakes_of_serving(call_here, arguments, told):
  done = call_here(*arguments)
  assert done.returncode == 2
  assert told in done.stderr
