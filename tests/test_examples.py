"""The examples in docstrings give what stands below them."""

import doctest
import importlib
import pathlib

import pytest

import jcl

PACKAGE = pathlib.Path(jcl.__file__).parent


def examples():
  """Yields each module that has examples, with their number."""
  for path in sorted(PACKAGE.rglob("*.py")):
    lines = path.read_text(encoding="utf-8").splitlines()
    number = sum(line.lstrip().startswith(">>>") for line in lines)
    if number:
      name = path.relative_to(PACKAGE.parent).with_suffix("").as_posix()
      yield name.replace("/", "."), number


def test_there_are_examples():
  assert list(examples())


@pytest.mark.parametrize("name, number", list(examples()))
def test_examples_give_what_they_show(name, number):
  done = doctest.testmod(importlib.import_module(name))
  assert done.failed == 0
  assert done.attempted == number, "doctest does not see all of them"
