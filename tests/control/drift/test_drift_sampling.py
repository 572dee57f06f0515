"""Which frames are labelled."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.control.drift import sampling


def test_the_published_stride_leaves_the_tail():
  assert sampling.paper(11, 4).tolist() == [0, 2, 4, 6]
  assert sampling.even(11, 4).tolist() == [0, 2, 5, 8]
  for labels, stride, share in ((747, 4, 17), (457, 7, 11), (346, 10, 4)):
    found = sampling.paper(3600, labels)
    assert found[1] == stride
    assert round(100 * (3600 - labels * stride) / 3600) == share


@hypothesis.given(st.integers(1, 500), st.data())
def test_both_rules_take_frames_once(frames, data):
  num = data.draw(st.integers(1, frames))
  paper, even = sampling.paper(frames, num), sampling.even(frames, num)
  for found in (paper, even):
    assert len(found) == num
    assert np.all(np.diff(found) > 0)
    assert found[0] == 0 and found[-1] < frames
  if frames % num == 0:
    assert paper.tolist() == even.tolist()
  assert frames - even[-1] <= -(-frames // num)  # the tail is one gap


def test_the_least_certain_are_nearest_to_one_half():
  top = [0.9, 0.75, 0.125, 0.25, 0.5, 1.0]
  assert sampling.least_certain(top, 1).tolist() == [4]
  assert sampling.least_certain(top, 2).tolist() == [1, 4]
  assert sampling.least_certain(top, 4).tolist() == [1, 2, 3, 4]


def test_certain_frames_and_ties():
  """0 and 1 are as far from one half; the earlier is taken."""
  assert sampling.least_certain([1.0, 0.0], 1).tolist() == [0]
  assert sampling.least_certain([1.0, 0.0], 2).tolist() == [0, 1]
  assert sampling.least_certain([0.25, 0.75, 0.5], 2).tolist() == [0, 2]


def test_probabilities_come_from_logits():
  found = sampling.top_probability([[0.0, 0.0], [0.0, np.log(3)], [900, 0]])
  np.testing.assert_allclose(found, [0.5, 0.75, 1.0])


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: sampling.paper(3, 4), "4 of 3 frames"),
    (lambda: sampling.even(3, 0), "0 of 3 frames"),
    (lambda: sampling.least_certain([0.5], 2), "2 of 1 frames"),
    (
      lambda: sampling.least_certain([7.5, 0.1, 0.2, 0.3], 1),
      r"values like \[7.5 0.1 0.2\]: give .*top_probability",
    ),
    (lambda: sampling.least_certain([-0.1, 0.1], 1), "top_probability"),
    (lambda: sampling.least_certain([[0.5]], 1), "top has shape .1, 1."),
  ],
)
def test_bad_numbers_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()
