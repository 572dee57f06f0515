"""Every function of a module and every method says its types, read from code.

Functions within functions may leave theirs out: mypy reads most of them from
their surroundings.
"""

import ast
from collections.abc import Iterator
import pathlib

import pytest

import jcl

PACKAGE = pathlib.Path(jcl.__file__).parent


def functions(
  node: ast.AST, owner: str = "", is_class: bool = False
) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
  """Yields functions outside of others: name, node, whether it is a method."""
  for child in ast.iter_child_nodes(node):
    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
      yield owner + child.name, child, is_class
    elif isinstance(child, ast.ClassDef):
      yield from functions(child, f"{owner}{child.name}.", True)
    else:  # an `if` or `try` of the module or class
      yield from functions(child, owner, is_class)


def lacks(function: ast.FunctionDef, is_method: bool) -> list[str]:
  """Lists the arguments without a type, and "return" where it has none."""
  given = function.args
  named = [*given.posonlyargs, *given.args]
  decorators = {getattr(each, "id", "") for each in function.decorator_list}
  if is_method and "staticmethod" not in decorators:
    named = named[1:]  # self or cls
  named += given.kwonlyargs
  named += [each for each in (given.vararg, given.kwarg) if each]
  found = [each.arg for each in named if each.annotation is None]
  return found if function.returns else [*found, "return"]


def found_in(source: str) -> dict[str, list[str]]:
  """Returns what each function of a module lacks, by name; no empty lists."""
  found = {
    name: lacks(function, is_method)
    for name, function, is_method in functions(ast.parse(source))
  }
  return {name: lacking for name, lacking in found.items() if lacking}


MODULES = {
  ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
  for path in sorted(PACKAGE.rglob("*.py"))
}


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_annotated(name):
  lacking = found_in(MODULES[name].read_text(encoding="utf-8"))
  assert not lacking, f"annotate them: {lacking}"


@pytest.mark.parametrize(
  "source, found",
  [
    ("def f(x: int, *, y: int = 0) -> int: ...", {}),
    ("def f(x, *y, z=0, **w): ...", {"f": ["x", "z", "y", "w", "return"]}),
    ("def f() -> None:\n  def g(x): ...", {}),
    ("class A:\n  def f(self) -> None: ...", {}),
    ("class A:\n  def f(self, x) -> None: ...", {"A.f": ["x"]}),
    ("class A:\n  @staticmethod\n  def f(x) -> None: ...", {"A.f": ["x"]}),
    ("if True:\n  def f(): ...", {"f": ["return"]}),
  ],
)
def test_lacks_are_found(source, found):
  assert found_in(source) == found
