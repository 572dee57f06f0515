"""What may import what: read from the code, not from what happens to run."""

import ast
import functools
import importlib
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
  ("keys", "options"),
  ("base", "metrics"),
  ("cost", "networks", "objectives", "selection", "streams"),
  ("control", "report", "train"),
  ("replay",),
  ("recipes",),
  ("run",),
  ("living", "serving"),
  ("cli", "river", "sklearn"),
)
# Rooms at most, and floors of them.
ROOMS, FLOORS = 20, 9
# The package's own face gathers what is below it.
TOP = ("__init__",)

PURE = (
  "networks",
  "objectives",
  "selection",
  *(
    f"replay.{name}"
    for name in "balanced held_out herding memory nothing reservoir sampled"
    " sampling forgetting".split()
  ),
)
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

# Modules that log; all others return what they have to say, or raise it.
LOGGING = {
  "living.live",
  "replay.store.contents",
  "replay.store.records",
  "replay.tiers.limits",
  *(f"run.{name}" for name in ("checkpoint", "console", "session")),
  *(f"run.{name}" for name in ("cursor", "workdir")),
}

# What JAX changes between its versions is read in these modules alone.
JAXPRS, RULES = "jcl/base/jaxprs.py", "jcl/train/kernels/rules.py"
# Its own parts that go beyond arrays and transformations.
INNER = {
  JAXPRS: {"jax.extend.core"},
  RULES: {"jax._src.interpreters.mlir", "jax._src.lax.convolution"},
}
# What a jaxpr and its equations are read by.
FORM = {"call_jaxpr", "constvars", "eqns", "invars", "jaxpr", "outvars"}


MODULES = {
  ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
  for path in sorted(PACKAGE.rglob("*.py"))
}


def parsed(path):
  return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree):
  """Yields the dotted names that a module imports, wherever it does so."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, "write imports in full"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


@functools.cache
def imports_of(module):
  return tuple(imports(parsed(MODULES[module])))


def part_of(name: str) -> str:
  return name.split(".")[0]


def row_of(part: str) -> int:
  return next(i for i, row in enumerate(ROWS) if part in row)


def test_every_part_has_its_place():
  parts = {part_of(name) for name in MODULES} - set(TOP)
  assert parts == {part for row in ROWS for part in row}
  assert len(parts) <= ROOMS and len(ROWS) <= FLOORS


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward(name):
  own = part_of(name)
  if own in TOP:
    return
  for target in imports_of(name):
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
  used = {target.split(".")[0] for target in imports_of(name)}
  used |= {
    target.split(".")[1]
    for target in imports_of(name)
    if target.startswith("absl.")
  }
  assert not used & barred
  absl = {t for t in imports_of(name) if t.split(".")[0] == "absl"}
  if part_of(name) != "cli":
    allowed = {"absl.logging"} if name in LOGGING else set()
    assert absl <= allowed, "flags and the like belong to jcl.cli"
  assert "experiments" not in used and "run" not in used
  if {"pathlib", "io"} & barred:
    opened = [
      node.lineno
      for node in ast.walk(parsed(MODULES[name]))
      if isinstance(node, ast.Call)
      and isinstance(node.func, ast.Name)
      and node.func.id in ("open", "print")
    ]
    assert not opened, f"{name} opens files or prints in lines {opened}"


def test_the_command_line_starts_without_other_libraries():
  """It may start Python anew, which should not cost the imports twice."""
  outside = {
    target
    for name in ("cli.__init__", "cli.start", "__init__")
    for node in parsed(MODULES[name]).body
    if isinstance(node, ast.Import | ast.ImportFrom)
    for target in imports(node)
  }
  assert {target.split(".")[0] for target in outside} <= {
    "importlib",
    "os",
    "sys",
    "typing",
  }


def printed(code):
  """Returns what a program prints in a process of its own."""
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()


def test_observing_for_a_live_learner_is_light():
  code = (
    "import sys; import jcl.living.log.log; "
    "heavy = {'jax', 'flax', 'pandas', 'scipy', 'sklearn', 'matplotlib'}; "
    "print(sorted(heavy & set(sys.modules)))"
  )
  assert printed(code) == "[]"


def test_the_public_face_names_what_it_imports():
  face = parsed(MODULES["__init__"])
  checked = next(node for node in face.body if isinstance(node, ast.If))
  named = {
    alias.asname or alias.name: f"{node.module}.{alias.name}"
    for node in checked.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
  }
  assert sorted(named) == sorted(jcl.__all__)
  for name, target in named.items():
    found = getattr(jcl, name)
    module, _, inner = target.rpartition(".")
    assert found is getattr(importlib.import_module(module), inner)
  assert not hasattr(jcl, "nothing") and set(jcl.__all__) <= set(dir(jcl))


# Module or package below jcl, and parts that it does not import, directly: it
# knows nothing of them, and they plug in through the seams.
NEVER = {
  "run.loop": ("replay.tiers", "replay.removal", "selection", "run.pruning"),
  "run.dispatch": ("replay.tiers", "replay.removal", "selection"),
  "run.cursor": ("replay.tiers", "replay.removal", "selection", "run.pruning"),
  "replay.tiers": ("control", "run"),
  "control": ("run", "replay", "train", "networks", "streams"),
  "run.checkpoint": ("replay", "selection", "control", "run.pruning"),
  "run.workdir": ("replay", "control", "run.pruning"),
  "replay.removal": ("run", "replay.tiers"),
  "replay.feed": ("run", "replay.tiers", "replay.removal", "control"),
  "train": ("run", "replay", "control"),
}


@pytest.mark.parametrize("name", NEVER)
def test_parts_meet_at_the_seams_alone(name):
  here = [
    module
    for module in MODULES
    if module == name or module.startswith(name + ".")
  ]
  assert here
  for module in here:
    for target in imports_of(module):
      found = target.removeprefix("jcl.")
      for barred in NEVER[name]:
        assert found != barred and not found.startswith(barred + "."), (
          f"{module} imports {target}"
        )


def test_the_loop_is_short():
  lines = (PACKAGE / "run" / "loop.py").read_text(encoding="utf-8")
  assert len(lines.splitlines()) <= 200


# All that is not a test, by its path from the root.
SOURCES = {
  path.relative_to(ROOT).as_posix(): path
  for path in sorted(
    [
      *PACKAGE.rglob("*.py"),
      *ROOT.glob("run.py"),
      *(ROOT / "experiments").glob("*.py"),
    ]
  )
}
JAX = ("chex", "flax", "jax", "jaxlib", "optax", "orbax")


def dotted(node) -> str:
  """The name that an expression such as jax.core.Tracer spells, else ""."""
  if isinstance(node, ast.Name):
    return node.id
  if isinstance(node, ast.Attribute):
    before = dotted(node.value)
    return before and f"{before}.{node.attr}"
  return ""


def inner_names(tree):
  """Yields names of JAX that it keeps private, or that are of its insides."""
  outside = set(JAX)
  for node in ast.walk(tree):
    if isinstance(node, ast.Import | ast.ImportFrom):
      module = getattr(node, "module", None)
      for alias in node.names:
        name = f"{module}.{alias.name}" if module else alias.name
        if name.split(".")[0] in JAX:
          outside.add(alias.asname or alias.name.split(".")[0])
          yield name
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute):
      name = dotted(node)
      if name.split(".")[0] in outside:
        yield name
    elif isinstance(node, ast.keyword) and (node.arg or "").startswith("_"):
      yield f"jax({node.arg}=)"


def is_inner(name: str) -> bool:
  parts = name.replace("(", ".").split(".")
  private = [p for p in parts if p.startswith("_") and not p.endswith("__")]
  return bool(private) or parts[1:2] in (
    ["core"],
    ["extend"],
    ["interpreters"],
    ["lib"],
  )


@pytest.mark.parametrize("name", SOURCES)
def test_the_insides_of_jax_are_read_in_two_modules(name):
  tree = parsed(SOURCES[name])
  found = {each for each in inner_names(tree) if is_inner(each)}
  if name in INNER:
    imported = {each for each in imports(tree) if is_inner(each)}
    assert imported == INNER[name]
  else:
    assert not found
  if name != JAXPRS:
    read = {
      node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    } & FORM
    texts = {
      node.value
      for node in ast.walk(tree)
      if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } & FORM
    assert not read | texts, "jcl.base.jaxprs reads the form of programs"


@pytest.mark.parametrize(
  "line, name",
  [
    ("from jax._src import core", "jax._src.core"),
    ("from jax.extend import core", "jax.extend.core"),
    ("import jax\njax.core.Tracer", "jax.core.Tracer"),
    ("from jax import lax\nlax._conv", "lax._conv"),
    ("import jax.numpy as jnp\njnp._where", "jnp._where"),
    ("from flax.core import _x", "flax.core._x"),
    ("f(_private_parameters=1)", "jax(_private_parameters=)"),
  ],
)
def test_the_insides_of_jax_are_recognised(line, name):
  assert name in filter(is_inner, inner_names(ast.parse(line)))


def test_importing_jcl_is_light():
  if not (PACKAGE / "__init__.py").read_text(encoding="utf-8").strip():
    pytest.skip("the package has no public face yet")
  code = (
    "import sys; from jcl import *; "
    "heavy = {'sklearn', 'matplotlib', 'pandas', "
    "'tensorboardX', 'PIL', 'scipy.stats', 'orbax.checkpoint'}; "
    "print(sorted(heavy & set(sys.modules)))"
  )
  assert printed(code) == "[]"
