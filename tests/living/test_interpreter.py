"""Python's interpreter, set up to answer while it learns."""

import gc
import sys

from jcl.living.face import interpreter


def test_threads_take_turns_sooner_and_old_objects_are_not_collected():
  before = sys.getswitchinterval()
  try:
    interpreter.answer_soon()
    assert sys.getswitchinterval() < before / 5
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < gc.get_freeze_count() / 5
  finally:
    sys.setswitchinterval(before)
    gc.unfreeze()
