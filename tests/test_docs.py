"""Every block of code in README.md and docs/ runs as it is written.

Blocks of a page run in order, in one empty folder and one namespace. A line
`<!-- not run: REASON -->` ahead of a block leaves that one out, and `<!-- run
with: PACKAGE, PACKAGE -->` does where a package is not installed.
"""

import functools
import importlib.util
import os
from pathlib import Path
import re
import subprocess
from typing import NamedTuple

import pytest
import ready

import jcl
from jcl import recipes
from jcl.cli import definitions
from jcl.options import errors

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
_BLOCK = re.compile(
  r"(?:^<!-- (?:not run: (?P<reason>[^\n]+)|run with: (?P<needs>[^\n]+))"
  r" -->\n)?"
  r"^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```$",
  re.M | re.S,
)
_SHOWN = {"text", ""}  # what is seen, not typed


class Block(NamedTuple):
  """A fenced block of a page."""

  kind: str  # what stands behind the fence
  code: str
  reason: str | None  # why it is not run
  line: int
  needs: tuple[str, ...] = ()  # packages, beside those of jcl


def blocks(page):
  text = page.read_text(encoding="utf-8")
  return [
    Block(
      found["kind"].strip(),
      found["code"],
      found["reason"],
      text.count("\n", 0, found.start("code")),
      tuple(re.findall(r"\w+", found["needs"] or "")),
    )
    for found in _BLOCK.finditer(text)
  ]


def test_blocks_are_found_with_their_reasons(tmp_path):
  page = tmp_path / "page.md"
  page.write_text(
    "<!-- not run: slow -->\n```bash\nsleep 9\n```\n\n```python\na = 1\n```\n"
    "<!-- not run: apart -->\n\n```bash\nls\n```\n"
    "<!-- run with: a, b_c -->\n```python\nb = 1\n```\n"
  )
  assert blocks(page) == [
    Block("bash", "sleep 9\n", "slow", 2),
    Block("python", "a = 1\n", None, 6),
    Block("bash", "ls\n", None, 11),
    Block("python", "b = 1\n", None, 15, ("a", "b_c")),
  ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_says_what_it_is(page):
  for block in blocks(page):
    directive = block.kind.startswith("{")
    assert directive or block.kind in {"python", "bash", *_SHOWN}, block
    if block.kind in _SHOWN:
      assert block.reason is None, block
      typed = re.search(r"^(jcl|python) ", block.code, re.M)
      assert not typed, f"{page}:{block.line}: mark as bash"
  fences = len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.M))
  assert fences == 2 * len(blocks(page))  # none is overlooked


@pytest.fixture
def shell(tmp_path, monkeypatch):
  """Runs a block of bash where `python` and `jcl` are those under test."""
  tools = tmp_path / "bin"
  tools.mkdir()
  ready.tool(tools / "python")
  ready.tool(tools / "jcl", "-c", "from jcl.cli import start; start.jcl()")
  folder = tmp_path / "page"
  folder.mkdir()
  (folder / "experiments").symlink_to(ROOT / "experiments")
  monkeypatch.chdir(folder)
  environment = {
    **os.environ,
    "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
  }

  def call(code):
    return subprocess.run(
      ["bash", "-euo", "pipefail", "-c", code],
      env=environment,
      capture_output=True,
      text=True,
    )

  return call


RUN = [
  page
  for page in PAGES
  if any(
    each.kind in ("python", "bash") and each.reason is None
    for each in blocks(page)
  )
]


@pytest.mark.parametrize("page", RUN, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(page, shell):
  namespace: dict = {"__name__": "__page__"}
  absent = set()
  for block in blocks(page):
    lacking = {n for n in block.needs if importlib.util.find_spec(n) is None}
    absent |= lacking
    if block.reason is not None or lacking:
      continue
    if block.kind == "python":
      # Lines of a traceback are then those of the page.
      code = "\n" * block.line + block.code
      exec(compile(code, str(page), "exec"), namespace)
    elif block.kind == "bash":
      done = shell(block.code)
      where = f"{page}:{block.line}\n"
      assert done.returncode == 0, where + done.stdout + done.stderr
  if absent:
    pytest.skip(f"some blocks need {', '.join(sorted(absent))}")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page):
  text = page.read_text(encoding="utf-8")
  for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text):
    if not re.match(r"https?://", link):
      assert (page.parent / link).exists(), f"{page}: {link}"
  for path in re.findall(
    r"`(?:python )?((?:jcl|tests|experiments)/[\w/]+\.\w+)", text
  ):
    assert (ROOT / path).exists(), f"{page}: {path}"


def found(name):
  """Whether a dotted name is a module or something in one."""
  for cut in range(name.count(".") + 1):
    module, *rest = name.rsplit(".", cut)
    try:
      value = importlib.import_module(module)
    except errors.MissingPackageError:  # of an extra: read, not imported
      path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
      if not path.exists():
        continue
      source = path.read_text(encoding="utf-8")
      return all(
        re.search(rf"^(?:class|def) {each}\b", source, re.M) for each in rest
      )
    except ModuleNotFoundError:
      continue
    try:
      functools.reduce(getattr, rest, value)
    except AttributeError:
      return False
    return True
  return False


@pytest.mark.parametrize(
  "page", [*PAGES, ROOT / "BUILD.md"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_names_of_the_package_exist(page):
  text = page.read_text(encoding="utf-8")
  for name in re.findall(r"(?<![\w./])jcl(?:\.[A-Za-z_]\w*)+", text):
    assert found(name), f"{page}: {name}"


def test_all_that_jcl_exports_is_in_the_api():
  text = "".join(
    page.read_text(encoding="utf-8") for page in (ROOT / "docs/api").iterdir()
  )
  missing = {
    name for name in jcl.__all__ if not re.search(rf"jcl\.{name}\b", text)
  }
  assert not missing


def test_the_readme_is_short_and_names_how_to_install_and_test():
  lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
  assert len(lines) <= 150
  for command in (
    "pip install -e . && python run.py",
    'pip install -e ".[test]" && python -m pytest -n 2',
  ):
    assert command in lines


@pytest.mark.parametrize(
  "page", ["README.md", "docs/concepts/recipes.md", "docs/api/recipes.md"]
)
def test_every_recipe_has_a_place(page):
  text = (ROOT / page).read_text(encoding="utf-8")
  named = set(re.findall(r"(?:`|jcl\.recipes\.)(\w+)", text))
  assert set(recipes.choices()) <= named


def test_every_flag_has_a_place():
  text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
  # Those of `run.py` that are commands of `jcl`.
  missing = set(definitions.ALL) - {"estimate", "list"}
  assert not missing - set(re.findall(r"--(\w+)", text))


def commands(text):
  """Yields command and flags of each `jcl COMMAND ...` in a text."""
  text = text.replace("\\\n", " ")
  for words in re.findall(
    r"(?<![\w./-])jcl "
    r"((?:learn|serve|device|report|list|estimate|convert|export)\b[^\n`|#]*)",
    text,
  ):
    yield words.split()[0], re.findall(r"(?<![\w-])--(\w+)", words)


def test_flags_that_pages_name_exist():
  read = {
    flag: each.by
    for name, each in definitions.ALL.items()
    for flag in (name, f"no{name}")
  }
  for page in PAGES:
    text = page.read_text(encoding="utf-8")
    for command, flags in commands(text):
      for flag in flags:
        known = flag == "help" or command in read.get(flag, ())
        assert known, f"{page}: jcl {command} --{flag}"
    for line in text.splitlines():
      if re.search(
        r"experiments/|pip |pytest|jcl\.replay\.store|sphinx|curl", line
      ):
        continue  # those have flags of their own
      for flag in re.findall(r"(?<![\w-])--(\w+)", line):
        assert flag == "help" or flag in read, f"{page}: --{flag}"
