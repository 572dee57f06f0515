"""What threads of libraries print, and what of it is left out."""

import sys
import types

from absl import logging
import pytest

from jcl.run import console


def raised(text):
  return types.SimpleNamespace(exc_value=RuntimeError(text))


def record(level, path):
  logger = logging.get_absl_logger()
  return logger.makeRecord("absl", level, path, 1, "told", (), None)


def test_threads_of_checkpointing_are_quiet_and_others_are_not(monkeypatch):
  seen = []
  monkeypatch.setattr(sys, "unraisablehook", seen.append)
  logger = logging.get_absl_logger()
  logger.removeFilter(console._is_wanted)  # of a run that has failed
  with console.quiet_savers():
    sys.unraisablehook(raised("Event loop is closed"))
    sys.unraisablehook(other := raised("another"))
    assert seen == [other]
    assert not logger.filter(record(40, "x/orbax/checkpoint/future.py"))
    assert logger.filter(record(40, "x/jcl/loop.py"))
    assert logger.filter(record(30, "x/orbax/checkpoint/future.py"))
  assert sys.unraisablehook == seen.append
  assert logger.filter(record(40, "x/orbax/checkpoint/future.py"))


def test_after_a_failure_they_stay_quiet(monkeypatch):
  seen = []
  monkeypatch.setattr(sys, "unraisablehook", seen.append)
  logger = logging.get_absl_logger()
  with pytest.raises(OSError):
    with console.quiet_savers():
      raise OSError
  sys.unraisablehook(raised("Event loop is closed"))
  assert not seen
  logger.removeFilter(console._is_wanted)
