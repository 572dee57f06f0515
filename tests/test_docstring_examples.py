"""Examples in docstrings give the results that stand behind them."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
  ".".join(path.relative_to(ROOT).with_suffix("").parts)
  for path in sorted((ROOT / "jcl").rglob("*.py"))
  if ">>> " in path.read_text(encoding="utf-8")
]


def test_there_are_examples():
  assert MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
  found = doctest.testmod(importlib.import_module(name))
  assert found.attempted and not found.failed
