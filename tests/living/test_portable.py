"""What a learner in memory is made of: batches, figures, shared programs."""

import pickle

import numpy as np
import pytest

from jcl.living import batches, portable, programs, standard
from jcl.options.errors import UsageError
from jcl.train import background


def arrived():
  found = batches.Batches()
  found.add(np.arange(6, dtype=np.float32).reshape(3, 2), [7, 5, 7])
  found.add(np.arange(6, 10, dtype=np.float32).reshape(2, 2), [5, 9])
  return found


def test_batches_number_labels_by_arrival():
  found = arrived()
  assert found.classes == [7, 5, 9] and found.count == 2
  assert [found.known(i) for i in range(2)] == [2, 3]
  assert [found.size(i) for i in range(2)] == [3, 2]
  assert found.ended(0).y.tolist() == [0, 1, 0]
  assert found.ended(1).y.tolist() == [1, 2]
  assert found.ended(1).ids.tolist() == [3, 4]
  assert found.example.tolist() == [0, 0] and found.corrections(1) == ()


def test_batches_read_across_experiences_in_any_order():
  read = arrived().read(np.array([4, 0, 3, 2, 0]))
  assert read[:, 0].tolist() == [8, 0, 6, 4, 0]
  assert read[:, 1].tolist() == [9, 1, 7, 5, 1]


def test_batches_drop_what_is_learned():
  found = arrived()
  found.drop(1)
  assert found.read(np.array([3])).tolist() == [[6, 7]]
  with pytest.raises(KeyError):
    found.read(np.array([0]))
  assert found.ended(0).y.tolist() == [0, 1, 0]
  found.add(np.zeros((1, 2), np.float32), [5])
  found.drop(3)
  with pytest.raises(KeyError):
    found.ended(0)
  again = pickle.loads(pickle.dumps(found))
  assert again.ended(2).y.tolist() == [1] and again.size(0) == 3


def test_figures_of_features_pass_over_what_is_missing():
  x = np.array([[1.0, 5, np.nan], [3, 5, np.nan], [np.nan, 5, np.nan]])
  found = standard.of(x)
  assert found.mean.tolist() == [2, 5, 0]
  assert found.deviation.tolist() == [1, 1, 1]
  scaled = found(np.array([[4.0, np.nan, 1e300]]))
  assert scaled.dtype == np.float32 and scaled.tolist() == [[2, 0, 1e6]]


def test_rounding_is_no_deviation():
  assert standard.of(np.full((7, 1), 0.1)).deviation.tolist() == [1]


def test_programs_of_the_kinds_used_last_are_kept():
  shared = programs.Programs(most=2)
  made = background.Compiler(None)
  program = background.Program(abs, None)
  made.add({"step": program})
  for kind in ("a", "b", "a", "c"):  # "b" goes
    shared.keep(kind, made)
  for kind, found in (("a", {"step": program}), ("b", {})):
    other = background.Compiler(None)
    shared.lend(kind, other)
    assert other.programs == found


def test_a_learner_in_memory_answers_once_it_has_learned():
  learner = portable.Portable("ncm", "mlp:width=8,depth=1", labels=2)
  x = np.array([[0.0, 1], [1, 0], [0, 2], [2, 0]])
  with pytest.raises(UsageError, match="nothing is learned yet"):
    learner.probabilities(x)
  assert learner.labels.tolist() == []
  assert learner.learn(x, [1, 0, 1, 0]) == "learned"
  assert learner.labels.tolist() == [1, 0]
  assert learner.probabilities(x).argmax(axis=1).tolist() == [0, 1, 0, 1]
