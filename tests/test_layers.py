"""What may import what: read from the code, not from what happens to run."""

import ast
import pathlib
import subprocess
import sys

import pytest

import jcl

PACKAGE = pathlib.Path(jcl.__file__).parent
ROOT = PACKAGE.parent

# Parts of jcl, from the bottom up. A module imports from rows above its own,
# and from its own part; siblings in a row meet through `base`, but for the
# pairs below.
ROWS = (
  ("kinds",),
  ("base", "spec", "wording"),
  (
    "networks",
    "objectives",
    "predictors",
    "selection",
    "replay",
    "cost",
    "metrics",
    "meters",
    "storage",
    "streams",
    "kernels",
  ),
  ("hierarchy", "sparsity", "drift", "numerics"),
  ("train", "control"),
  ("progress", "recipes", "report", "profiling", "latents"),
  ("reselection", "removal", "scoring", "judging"),
  ("trials",),
  ("sizing",),
  ("tiering",),
  ("loop",),
  ("checkpoint", "console", "estimate", "generality", "pruning"),
  ("workdir",),
  ("session",),
  ("pretraining",),
  ("serving",),
)
# The package's own face gathers what is below it.
TOP = ("__init__",)

PURE = ("networks", "objectives", "selection", "replay")
# Part or module, and what it does not import although it comes from outside.
BARRED = {
  "control": {"jax", "optax", "flax"},
  "report": {"jax", "optax", "flax"},
  "metrics": {"jax", "optax", "flax"},
  "streams": {"jax", "optax", "flax"},
  **{
    part: {"pathlib", "time", "logging", "os", "io", "shutil"}
    for part in (*PURE, "train.step", "train.augment")
  },
}


def modules():
  for path in sorted(PACKAGE.rglob("*.py")):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    yield name, ast.parse(path.read_text(encoding="utf-8"))


MODULES = dict(modules())


def imports(tree):
  """Yields the dotted names that a module imports, wherever it does so."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, "write imports in full"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def part_of(name: str) -> str:
  return name.split(".")[0]


def row_of(part: str) -> int:
  return next(i for i, row in enumerate(ROWS) if part in row)


def test_every_part_has_its_place():
  parts = {part_of(name) for name in MODULES} - set(TOP)
  assert parts == {part for row in ROWS for part in row}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward(name):
  own = part_of(name)
  if own in TOP:
    return
  for target in imports(MODULES[name]):
    if not target.startswith("jcl."):
      assert target != "jcl", "import a module of jcl, not all of it"
      continue
    part = target.split(".")[1]
    assert part == own or row_of(part) < row_of(own), (
      f"{name} imports {target}, which is not below it"
    )


@pytest.mark.parametrize("name", MODULES)
def test_modules_keep_to_their_means(name):
  barred: set[str] = set()
  for prefix, names in BARRED.items():
    if name == prefix or name.startswith(prefix + "."):
      barred |= names
  used = {target.split(".")[0] for target in imports(MODULES[name])}
  used |= {
    target.split(".")[1]
    for target in imports(MODULES[name])
    if target.startswith("absl.")
  }
  assert not used & barred
  assert "flags" not in used, "flags belong to run.py and experiments"
  assert "experiments" not in used and "run" not in used
  if {"pathlib", "io"} & barred:
    opened = [
      node.lineno
      for node in ast.walk(MODULES[name])
      if isinstance(node, ast.Call)
      and isinstance(node.func, ast.Name)
      and node.func.id in ("open", "print")
    ]
    assert not opened, f"{name} opens files or prints in lines {opened}"


def test_importing_jcl_is_light():
  if not (PACKAGE / "__init__.py").read_text(encoding="utf-8").strip():
    pytest.skip("the package has no public face yet")
  code = (
    "import sys, jcl; heavy = {'sklearn', 'matplotlib', 'pandas', "
    "'tensorboardX', 'PIL', 'scipy.stats', 'orbax.checkpoint'}; "
    "print(sorted(heavy & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.strip() == "[]"
