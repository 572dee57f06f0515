"""The command `jcl`: help, what it asks for, and what it refuses."""

import os
from pathlib import Path
import subprocess
import sys

from absl.testing import flagsaver
import pytest

from jcl.cli import definitions, listing, main, start, teach
from jcl.cli import flags as own
from jcl.options.errors import UsageError
from jcl.replay.store import records
from jcl.replay.tiers import feed
from jcl.run import finite

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jcl(capsys, monkeypatch):
  """Calls `jcl` in this process; returns its status and what it printed."""

  def call(*words):
    monkeypatch.setattr(sys, "argv", ["/somewhere/jcl", *words])
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
      start.jcl()
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err

  return call


def learned(jcl, folder, recipe):
  """Calls `jcl learn` on the digits, for as long as it takes."""
  return jcl(
    *("learn", f"--recipe={recipe}", "--model=mlp:width=8", "--epochs=1"),
    *("--data=digits", "--compare=none", f"--workdir={folder}"),
  )


@pytest.mark.parametrize(
  "error",
  [
    records.StoreError("a store that is damaged: repair it"),
    records.DamageError("two examples are lost: repair it"),
    finite.NonFiniteLossError("the loss became nan: lower the learning rate"),
    UsageError("no such thing: write another"),
  ],
)
def test_errors_of_files_and_numbers_are_told_in_a_sentence(
  error, jcl, monkeypatch
):
  def fail(arguments):
    raise error

  monkeypatch.setattr(listing, "command", fail)
  status, shown, told = jcl("list")
  assert (status, shown, told) == (2, "", f"jcl: {error}\n")


def test_other_errors_show_where_they_are_from(monkeypatch):
  def fail(arguments):
    raise ArithmeticError("a mistake of the program")

  monkeypatch.setattr(listing, "command", fail)
  with pytest.raises(ArithmeticError, match="a mistake of the program"):
    main.main(["jcl", "list"], main.JCL)


def test_a_damaged_store_is_told_in_a_sentence(jcl, tmp_path):
  run = tmp_path / "run"
  assert learned(jcl, run, "carm:em=20,sb=20")[0] == 0
  (store,) = run.glob(f"*/seed_0/{feed.FILES[0]}")
  for path in store.iterdir():
    path.write_bytes(b"not what it was")
  status, _, told = learned(jcl, run, "carm:em=20,sb=20")
  assert status == 2 and "Traceback" not in told
  assert "no segment in" in told and "or remove it" in told


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_without_a_command_shows_all_of_them(jcl, words):
  status, told, _ = jcl(*words)
  assert status == 0
  for command in main.COMMANDS:
    assert f"jcl {command}" in told
  assert len(told.splitlines()) < 30


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_of_a_command_has_an_example_and_its_flags(jcl, command):
  status, told, _ = jcl(command, "--help")
  assert status == 0
  assert told.startswith(f"jcl {command}")
  assert f"  jcl {command}" in told.split("Example", 1)[1]
  for name, flag in definitions.ALL.items():
    shown = f"  --{name}" in told or f"  --[no]{name}" in told
    assert shown == (command in flag.by), name
  assert max(map(len, told.splitlines())) <= 100


def test_every_command_has_a_lesson_and_reads_what_its_examples_name():
  assert list(teach.LESSONS) == list(main.COMMANDS)
  for command, lesson in teach.LESSONS.items():
    for example in lesson.examples:
      for word in example.split():
        if word.startswith("--"):
          name = word[2:].split("=")[0]
          assert command in definitions.ALL[name].by, example


@pytest.mark.parametrize(
  "words, told",
  [
    (["lern"], "did you mean learn?"),
    (["learn", "--recip=er"], "no flag is called --recip; did you mean"),
    (["learn", "--epochs=many"], "epochs"),
    (["learn", "surplus"], "surplus"),
    (["list", "surplus"], "surplus"),
    (["report"], "jcl report DIR"),
    (["report", "--recipe=er", "x"], "jcl report does not read --recipe"),
    (["serve", "--epochs=3"], "--epochs, which is for jcl learn"),
    (["learn", "--list"], "--list, which is for jcl list"),
    (["--recipe=er"], "say what to do"),
    (["serve", "dacapoo"], "did you mean 'dacapo'"),
    (["estimate", "--data=moonist"], "'moonist'"),
  ],
)
def test_mistakes_are_told_in_a_sentence(jcl, words, told):
  status, _, error = jcl(*words)
  assert status == 2
  assert error.startswith("jcl: ") and told in error
  assert "Traceback" not in error


def test_list_and_estimate_are_commands(jcl, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  status, told, _ = jcl("list")
  assert status == 0 and "derpp" in told and "slim_resnet18" in told
  status, told, _ = jcl("estimate", "--compare=none", "--model=mlp:width=4")
  assert status == 0 and "FLOP" in told and "finetune" not in told
  assert not list(tmp_path.iterdir())


def test_estimate_tells_what_budgets_buy(jcl):
  words = (
    "--recipe=auto:m=50",
    "--compare=none",
    "--model=mlp:width=4",
    "--epochs=1",
  )
  status, told, error = jcl("estimate", *words, "--flops_budget=1e8")
  assert status == 0, error
  assert "> 100 MFLOP" in told and "to 9" in told
  assert "100 MFLOP: a classifier of 50 random features and about" in told
  assert "the cheapest way of learning takes" in told
  status, told, error = jcl("estimate", *words, "--flops_budget=1e6")
  assert status == 2 and "nothing here learns for less" in error


def test_the_two_ways_in_share_a_work_directory(jcl, tmp_path):
  words = (
    "--compare=none",
    "--model=mlp:width=4",
    "--epochs=1",
    f"--workdir={tmp_path / 'w'}",
  )
  status, told, error = jcl("learn", *words)
  assert status == 0, error
  assert "report:" in told
  records = tmp_path / "w" / "er" / "seed_0" / "records.jsonl"
  before = records.read_text()
  with flagsaver.flagsaver():
    own.reset()
    assert main.main(own.VALUES(["run.py", *words]), main.RUN_PY) == 0
  assert records.read_text() == before
  status, told, error = jcl("report", str(tmp_path / "w"))
  assert status == 0 and "report:" in told, error


def test_help_may_be_read_in_part():
  """By `head`, which leaves before all is written."""
  program = "import sys; sys.argv[1:] = ['learn', '--help']\n"
  program += "from jcl.cli import start; start.jcl()"
  begun = subprocess.Popen(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert begun.stdout is not None and begun.stderr is not None
  begun.stdout.close()
  assert begun.stderr.read() == b""
  assert begun.wait(60) == 0


def test_help_needs_no_jax(tmp_path):
  """So that it is there at once."""
  (tmp_path / "jax.py").write_text("raise SystemExit('imported')")
  program = "import sys; sys.argv[1:] = ['learn', '--help']\n"
  program += "from jcl.cli import start; start.jcl()"
  done = subprocess.run(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stderr
  assert "jcl learn" in done.stdout
