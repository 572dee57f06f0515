"""Machines without GPUs, and files that nobody may open, root or not."""

import builtins
import sys

import pytest


@pytest.fixture
def no_gpus(monkeypatch):
  monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def denied(monkeypatch):
  """Makes opening of some files fail, as the kernel would."""
  errors = {}
  real = builtins.open

  def guarded(file, *args, **options):
    if str(file) in errors:
      error = errors[str(file)]
      raise type(error)(error.errno, error.strerror, str(file))
    return real(file, *args, **options)

  monkeypatch.setattr(builtins, "open", guarded)

  def deny(path, error=None):
    # The meter may come by another of the kernel's links to the same file.
    for link in {path, path.resolve(), *_aliases(path)}:
      errors[str(link)] = error or PermissionError(13, "Permission denied")

  return deny


def _aliases(path):
  root = next(p for p in path.parents if (p / "class").is_dir())
  for folder in (root / "class").glob("*/*"):
    if folder.resolve() == path.parent.resolve():
      yield folder / path.name
