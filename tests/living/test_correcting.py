"""Labels that are corrected after they were learned from."""

import living_data
import numpy as np
import pytest

import jcl

OPTIONS = {"network": "mlp:width=12,depth=1", "batch_size": 8, "capacity": 8}


def taught(folder, recipe, wrong, corrections=(), until=6, stop=None):
  """Scores of a learner that is told labels, and corrections of them later.

  Args:
    folder: of the learner; None: in memory.
    recipe: of the learner.
    wrong: label of the first five examples.
    corrections: label, by the experience ahead of which it is given.
    until: classes in the stream.
    stop: experience behind which the learner is opened anew.
  """
  x, y = living_data.examples()
  corrections = dict(corrections)
  learner = jcl.live(folder, recipe=recipe, **OPTIONS)
  for number, first in enumerate(range(0, until, 2)):
    rows = (y == first) | (y == first + 1)
    labels = y[rows].tolist()
    if not number:
      ids = learner.observe(x[rows], [wrong] * 5 + labels[5:])[:5]
    else:
      learner.observe(x[rows], labels)
    if number in corrections:
      learner.label(ids, [corrections[number]] * 5)
    learner.learn()
    if number == stop:
      learner.close()
      learner = jcl.live(folder)
  with learner:
    # By class, as positions are given in the order of arrival.
    return learner.predict_scores(x)[:, np.argsort(learner.classes_)]


@pytest.mark.parametrize("recipe", ["ncm", "slda", "ridge"])
@pytest.mark.parametrize("kept", [True, False])
def test_sums_are_those_of_the_right_labels(tmp_path, recipe, kept):
  folder = tmp_path / "device" if kept else None
  right = taught(None, recipe, 0)
  found = taught(folder, recipe, 1, {1: 0}, stop=0 if kept else None)
  np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)
  assert np.abs(taught(None, recipe, 1) - right).max() > 0.01


@pytest.mark.parametrize("stop", [None, 0, 1])
def test_the_last_of_several_corrections_counts(tmp_path, stop):
  folder = tmp_path / "device"
  right = taught(None, "ridge", 0)
  found = taught(folder, "ridge", 1, {1: 2, 2: 0}, stop=stop)
  np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)


def test_a_class_that_comes_later_is_waited_for(tmp_path):
  right = taught(None, "ridge", 4)
  found = taught(tmp_path / "device", "ridge", 0, {1: 4})
  np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)
  # In memory, the examples are gone by then.
  unchanged = taught(None, "ridge", 0, {1: 4})
  np.testing.assert_array_equal(unchanged, taught(None, "ridge", 0))


@pytest.mark.parametrize("recipe", ["ridge:decay=0.999", "slda:published=True"])
def test_sums_that_forget_keep_what_they_took_in(recipe):
  first, second = (taught(None, recipe, 1, told) for told in ({}, {1: 0}))
  np.testing.assert_array_equal(first, second)
