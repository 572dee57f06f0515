"""What a loss that is not finite is told with."""

import types

import numpy as np
import pytest

from jcl.run import finite


def stream(*names, sources=()):
  """Experiences by name; of ids, those known come from (experience, row)."""
  known = dict(sources)
  return types.SimpleNamespace(
    experiences=[types.SimpleNamespace(name=name) for name in names],
    sources_of=lambda ids: {known[i] for i in ids.tolist() if i in known},
  )


IDS = np.array([[1, 2], [3, 4], [5, -1]], np.int32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_such_update_is_named_whole(value):
  made = stream("", "june", sources=[(3, (1, 8)), (4, (0, 6)), (5, (1, 9))])
  losses = np.float32([1.0, value, np.nan])
  with pytest.raises(finite.NonFiniteLossError) as told:
    finite.check(made, 1, 30, losses, IDS)
  assert str(told.value) == (
    f"the loss became {value} at step 31, experience 1 ('june'): lower the "
    "learning rate, or look for extreme values in what the step was shown, "
    "rows 8 of the training data, rows 6 of earlier ones, counted from 0"
  )
  assert isinstance(told.value, ArithmeticError)


def test_losses_that_are_finite_pass():
  finite.check(stream(""), 0, 0, np.float32([0.0, -1.0, 3e38]), IDS)
  finite.check(stream(""), 0, 0, np.zeros(0, np.float32), IDS[:0])


def test_rows_are_listed_once_in_their_order():
  known = [(1, (0, 30)), (2, (0, 4)), (5, (0, 7)), (6, (0, 4))]
  made = stream("", sources=known)
  found = finite._shown(made, 0, np.array([1, 2, 5, 6, -1]))
  assert found == ", rows 4, 7, 30 of the training data, counted from 0"
  found = finite._shown(made, 1, np.array([2]))
  assert found == ", rows 4 of earlier ones, counted from 0"
  assert finite._shown(made, 0, np.array([-1, 9])) == ""
  assert finite._named(made, 0) == "experience 0"
