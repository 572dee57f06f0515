"""Cross-entropy with and without replay."""

import linear_case
import numpy as np
import pytest

from jcl.objectives import batches, supervised

NOW = linear_case.batch([2, 3, 2])
OLD = linear_case.batch([0, 1], seed=5)
SCOPE = linear_case.scope()
PARAMS = linear_case.params()
LOGITS = linear_case.logits(PARAMS, NOW.x)
OLD_LOGITS = linear_case.logits(PARAMS, OLD.x)


def test_cross_entropy_of_the_stream():
  value, aux = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  expected = linear_case.nll(LOGITS, NOW.y, range(4))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert aux.stats["calls"] == 1


@pytest.mark.parametrize("one_loss", [True, False])
def test_experience_replay(one_loss):
  objective = supervised.experience_replay(one_loss=one_loss)
  value, aux = linear_case.call(objective, PARAMS, NOW, (OLD,), SCOPE)
  new = linear_case.nll(LOGITS, NOW.y, range(4))
  old = linear_case.nll(OLD_LOGITS, OLD.y, range(4))
  expected = (3 * new + 2 * old) / 5 if one_loss else new + old
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert aux.stats["calls"] == (1 if one_loss else 2)


@pytest.mark.parametrize("one_loss", [True, False])
def test_replay_from_an_empty_memory_is_cross_entropy(one_loss):
  empty = OLD._replace(weight=np.zeros(2, np.float32))
  objective = supervised.experience_replay(one_loss=one_loss)
  value, _ = linear_case.call(objective, PARAMS, NOW, (empty,), SCOPE)
  plain, _ = linear_case.call(
    supervised.cross_entropy(), PARAMS, NOW, (), SCOPE
  )
  np.testing.assert_allclose(value, plain, rtol=1e-6)


def test_padding_rows_show_stream_inputs():
  memory = linear_case.batch([0, 1, 2, 3, 4], weight=[1, 0, 1, 0, 0])
  filled = batches.fill(memory, NOW)
  x = np.asarray(filled.x)
  np.testing.assert_array_equal(x[[0, 2]], memory.x[[0, 2]])
  np.testing.assert_array_equal(x[[1, 3, 4]], NOW.x[[1, 0, 1]])
  np.testing.assert_array_equal(filled.weight, memory.weight)
  whole = batches.join(NOW, memory)
  np.testing.assert_array_equal(whole.y, [2, 3, 2, 0, 1, 2, 3, 4])
  assert whole.extras == {}
