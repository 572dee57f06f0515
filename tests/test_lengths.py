"""Functions and classes that are short enough to read at once."""

import ast
from collections.abc import Iterator
import io
import pathlib
import tokenize

import jcl

PACKAGE = pathlib.Path(jcl.__file__).parent

# Lines of code at most; docstrings, comments and blank lines count for nothing.
FUNCTION, CLASS = 60, 250

# Tokens that are no code.
BLANK = (
  tokenize.COMMENT,
  tokenize.DEDENT,
  tokenize.ENDMARKER,
  tokenize.INDENT,
  tokenize.NEWLINE,
  tokenize.NL,
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def code_lines(source: str, tree: ast.Module) -> set[int]:
  """Returns the numbers of the lines that hold code."""
  lines: set[int] = set()
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type not in BLANK:
      lines.update(range(token.start[0], token.end[0] + 1))
  for node in ast.walk(tree):
    if isinstance(node, Definition | ast.Module) and ast.get_docstring(node):
      text = node.body[0]
      lines.difference_update(range(text.lineno, text.end_lineno + 1))
  return lines


def definitions(
  node: ast.AST, owner: str = ""
) -> Iterator[tuple[str, Definition]]:
  """Yields functions and classes, those within others too, by dotted name."""
  for child in ast.iter_child_nodes(node):
    if isinstance(child, Definition):
      yield owner + child.name, child
      yield from definitions(child, f"{owner}{child.name}.")
    else:
      yield from definitions(child, owner)


def too_long(source: str) -> dict[str, int]:
  """Returns the lines of code of functions and classes with too many."""
  tree = ast.parse(source)
  lines = code_lines(source, tree)
  found = {}
  for name, node in definitions(tree):
    count = len(lines & set(range(node.lineno, node.end_lineno + 1)))
    if count > (CLASS if isinstance(node, ast.ClassDef) else FUNCTION):
      found[name] = count
  return found


def everywhere() -> Iterator[tuple[str, int]]:
  for path in sorted(PACKAGE.rglob("*.py")):
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for name, count in too_long(path.read_text(encoding="utf-8")).items():
      yield f"{module}.{name}", count


def test_functions_and_classes_are_short():
  more = dict(everywhere())
  assert not more, f"cut them along their seams: {more}"


def test_code_lines_are_counted():
  body = '  """Text\n  of two lines."""\n\n  # A comment.\n' + "  x = [\n  ]\n"
  assert too_long(f"def f():\n{body}" + "  y = 1\n" * 57) == {}
  assert too_long(f"def f():\n{body}" + "  y = 1\n" * 58) == {"f": 61}
  nested = "class A:\n  def f(self):\n" + "    y = 1\n" * 60
  assert too_long(nested) == {"A.f": 61}
  assert too_long("class A:\n" + "  y = 1\n" * 250) == {"A": 251}
