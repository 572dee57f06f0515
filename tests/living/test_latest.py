"""The latest model of a learner, which reaches its file in the end."""

import threading
import time

import pytest

from jcl.living import latest
from jcl.run import workdir
from jcl.run.inference import files


@pytest.fixture
def saves(monkeypatch):
  """Returns what was written so far; `saves.failing` says whether it fails."""

  class Saves(list):
    failing = False

    def save(self, made, path):
      assert path.name == files.NAME
      if self.failing:
        raise OSError(28, "no space left")
      time.sleep(0.01)
      self.append(made)

  found = Saves()
  monkeypatch.setattr(latest.files, "save", found.save)
  return found


def wait_for(condition):
  until = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < until
    time.sleep(0.01)


def test_models_that_follow_at_once_are_skipped_but_the_last(saves, tmp_path):
  kept = latest.Latest(tmp_path)
  for made in range(20):
    kept.keep(made)
  assert saves[0] == 0 and len(saves) < 10
  kept.flush()
  assert saves[-1] == 19
  count = len(saves)
  kept.flush()
  assert len(saves) == count


def test_the_last_is_written_without_another_call(saves, tmp_path):
  kept = latest.Latest(tmp_path)
  for made in range(3):
    kept.keep(made)
  wait_for(lambda: saves[-1] == 2)
  wait_for(lambda: "Timer" not in str(threading.enumerate()))


def test_what_a_late_write_met_is_told_by_the_next_call(saves, tmp_path):
  kept = latest.Latest(tmp_path)
  kept.keep(0)
  saves.failing = True
  kept.keep(1)
  wait_for(lambda: kept._failed is not None)
  with pytest.raises(workdir.WorkdirError, match="disk is full"):
    kept.keep(2)
  with pytest.raises(workdir.WorkdirError, match="disk is full"):
    kept.flush()
  saves.failing = False
  kept.flush()
  assert saves == [0, 2]
