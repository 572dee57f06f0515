"""Python's interpreter, set up to answer while it learns."""

import gc
import sys

import pytest

import jcl
from jcl.living import interpreter


def is_set_up():
  frozen = gc.get_freeze_count()
  few = len(gc.get_objects()) < frozen / 5
  return sys.getswitchinterval() < 1e-3 and frozen > 10_000 and few


def test_threads_take_turns_sooner_and_old_objects_are_not_collected():
  before = sys.getswitchinterval()
  try:
    interpreter.answer_soon()
    assert is_set_up() and sys.getswitchinterval() < before / 5
  finally:
    sys.setswitchinterval(before)
    gc.unfreeze()


def test_all_is_as_it_was_behind_a_block():
  before = sys.getswitchinterval()
  with pytest.raises(ValueError), interpreter.answering_soon():
    assert is_set_up()
    raise ValueError
  assert sys.getswitchinterval() == before and gc.get_freeze_count() == 0


def test_a_learner_sets_it_up_where_it_is_asked_until_it_stops():
  before = sys.getswitchinterval()
  with jcl.live(network="mlp", recipe="finetune") as learner:
    learner.start()
    assert sys.getswitchinterval() == before
    learner.stop()
    for end in learner.stop, learner.close:
      learner.start(answer_soon=True)
      learner.start(answer_soon=True)  # goes on already
      assert is_set_up()
      end()
      assert sys.getswitchinterval() == before and gc.get_freeze_count() == 0
