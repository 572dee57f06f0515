"""Which tests are run on a change of which module."""

import importlib.util
from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutation():
  spec = importlib.util.spec_from_file_location(
    "mutation_driver", ROOT / "experiments" / "mutation.py"
  )
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  spec.loader.exec_module(module)
  yield module
  for name in ("modules", "sample", "seed"):
    delattr(module.flags.FLAGS, name)
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
