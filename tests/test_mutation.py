"""Which tests are run on a change of which module."""

import importlib.util
from pathlib import Path
import sys
import types

from absl import flags
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutation():
  spec = importlib.util.spec_from_file_location(
    "mutation_driver", ROOT / "experiments" / "mutation.py"
  )
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  # The command line's own flags, if a test before has defined them.
  own, defined = ("modules", "sample", "seed"), flags.FLAGS
  kept = {name: defined[name] for name in own if name in defined}
  for name in kept:
    delattr(defined, name)
  spec.loader.exec_module(module)
  yield module
  for name in own:
    delattr(defined, name)
  for name, flag in kept.items():
    defined[name] = flag
  del sys.modules[spec.name]


def test_every_module_has_tests(mutation):
  for module in mutation.modules():
    tests = mutation.tests_of(module)
    assert tests, module
    assert all((ROOT / test).exists() for test in tests), tests


def test_what_is_named_exists(mutation):
  for name in mutation.MIRRORS:
    assert (ROOT / "jcl" / f"{name}.py").exists(), name
  for name in mutation.EQUIVALENT:
    assert (ROOT / name).exists(), name


def test_files_lines_and_folders_are_found(mutation):
  one = mutation.modules(["jcl/train/slots.py:127", "jcl/replay/memory.py"])
  assert one == {
    Path("jcl/train/slots.py"): 127,
    Path("jcl/replay/memory.py"): None,
  }
  folder = mutation.modules(["jcl/selection"])
  assert Path("jcl/selection/mask.py") in folder
  assert all(path.parent == Path("jcl/selection") for path in folder)
  assert mutation.tests_of(Path("jcl/train/slots.py")) == [
    Path("tests/train/test_slots.py")
  ]


def test_the_table_tells_what_time_alone_noticed(mutation, capsys):
  mutation.report(
    mutation.Tried(Path("jcl", part, "a.py"), noticed, late)
    for part, noticed, late in (
      ("train", True, False),
      ("streams", True, True),
      ("streams", False, False),
    )
  )
  assert capsys.readouterr().out.splitlines() == [
    "streams         1 of    2 noticed   50%,  1 by time alone",
    "train           1 of    1 noticed  100%,  0 by time alone",
    "all             2 of    3 noticed   67%,  1 by time alone",
  ]


@pytest.mark.parametrize(
  ("output", "killed", "told"),
  [
    (
      "timeout",
      True,
      "jcl/selection/mask.py:7: the tests ran out of time\n-a\n+b\n",
    ),
    ("1 failed", True, ""),
    ("1 passed", False, "jcl/selection/mask.py:7\n-a\n+b\n"),
  ],
)
def test_what_is_printed_of_a_change(
  mutation, capsys, monkeypatch, output, killed, told
):
  mutating = pytest.importorskip("cosmic_ray.mutating")
  testing = pytest.importorskip("cosmic_ray.testing")
  outcomes = pytest.importorskip("cosmic_ray.work_item").TestOutcome
  result = types.SimpleNamespace(
    output=output,
    is_killed=killed,
    test_outcome=outcomes.KILLED if killed else outcomes.SURVIVED,
    diff="--- mutation diff ---\n--- a\n+++ b\n@@ -7 +7 @@\n-a\n+b",
  )
  monkeypatch.setattr(
    testing, "run_tests", lambda command, limit: (outcomes.SURVIVED, "")
  )
  monkeypatch.setattr(mutating, "mutate_and_test", lambda *args: result)
  monkeypatch.chdir(ROOT)
  module = Path("jcl/selection/mask.py")
  change = types.SimpleNamespace(module_path=module, start_pos=(7, 0))
  assert list(mutation.run([change])) == [
    mutation.Tried(module, killed, output == "timeout")
  ]
  assert capsys.readouterr().out == told


def test_what_python_warns_of_is_not_drawn(mutation, monkeypatch):
  pytest.importorskip("cosmic_ray.plugins")
  monkeypatch.chdir(ROOT)
  found = mutation.changes(["jcl/networks/sparsity/published.py:72"])
  drawn = {
    each.operator_name.rpartition("_Not")[2]: mutation._counts(each)
    for each in found
    if "NotEq" in each.operator_name
  }
  others = ("Eq", "Lt", "LtE", "Gt", "GtE")
  assert drawn == {
    **{f"Eq_{name}": True for name in others},
    "Eq_Is": False,
    "Eq_IsNot": False,
  }
