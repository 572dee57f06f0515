"""The books of a run, entry by entry."""

import numpy as np
import pytest
import signatures

from jcl.control.drift import phases
from jcl.serving import books

TRUTH = np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int64)
FRAMES = books.LabelledFrames(
  np.arange(8, dtype=np.uint8)[:, None], TRUTH, fps=2
)


class Student:
  """Adds its weights to a frame's number; the sum, modulo 3, is the class."""

  def __init__(self, gains=(1, 1, 1)):
    self.gains, self.trained = gains, []

  def predict(self, weights, images):
    logits = np.zeros((len(images), 3), np.float32)
    logits[np.arange(len(images)), (images[:, 0] + weights) % 3] = 2.0
    return logits

  def passes(self, weights, images, labels, epochs, seed):
    self.trained.append((images[:, 0].tolist(), labels.tolist(), epochs, seed))
    for gain in self.gains[:epochs]:
      weights = weights + gain
      yield weights


def opened(weights=0, served=(1,) * 8, student=None, labeller=None, **more):
  return books.Books(
    student or Student(), weights, FRAMES, labeller, np.array(served, bool),
    **more,
  )  # fmt: skip


def label(made, *ids, recheck=False):
  return made.perform(phases.Label(lambda view: np.array(ids), recheck), 0)


def retrain(made, train, valid=(), began=None, **options):
  work = phases.Retrain(np.array(train, int), np.array(valid, int), **options)
  return made.perform(work, made.seen if began is None else began)


def test_frames_that_are_not_served_repeat_the_last_result():
  made = opened(weights=1, served=(0, 1, 0, 0, 1, 0, 0, 0))
  made.serve(range(0, 3))
  assert made.seen == 3
  assert made.predictions[:4].tolist() == [-1, 2, 2, -1]
  made.serve(range(3, 6))
  assert made.predictions[:7].tolist() == [-1, 2, 2, 2, 2, 2, -1]
  top = np.exp(2) / (np.exp(2) + 2)
  np.testing.assert_allclose(made.confidence[:4], [0, top, top, top], rtol=1e-6)
  assert not made.confidence[6] and not made.version.any()
  view = made.view
  assert (view.seen, view.fps, view.seed) == (6, 2, 0)
  assert view.predictions([1, 5]).tolist() == [2, 2]
  assert view.confidence([0, 1]).tolist() == [0, pytest.approx(top)]
  assert view.pixels(np.array([4])).tolist() == [[4]]
  for call in (view.pixels, view.predictions, view.confidence):
    for ids in ([5, 6], [-1, 0]):
      with pytest.raises(books.CausalityError, match="frames 0 to 5 had"):
        call(ids)
  assert len(view.pixels(np.array([], int))) == 0


def test_labels_are_compared_with_what_was_served():
  made = opened(weights=1)
  made.serve(range(0, 4))
  made.weights = 0
  found, figures = label(made, 0, 3, recheck=True)
  assert found.ids.tolist() == [0, 3] and found.labels.tolist() == [0, 0]
  assert found.labels.dtype == np.int32
  assert found.served.tolist() == [False] * 2 and found.now.tolist() == [1, 1]
  assert figures == {"labelled": 2, "right_labels": 2}
  assert label(made, 1)[0].now is None
  assert made.labels.tolist() == [0, 1, -1, 0, -1, -1, -1, -1]
  assert made.labelled.tolist() == [4, 4, -1, 4, -1, -1, -1, -1]
  made.serve(range(4, 6))
  label(made, 3, 5)  # known since the first time
  assert made.labelled[[3, 5]].tolist() == [4, 6]
  with pytest.raises(books.CausalityError):
    label(made, 6)


def test_a_teacher_may_be_wrong():
  made = opened(labeller=lambda images: 2 - images[:, 0] // 4)
  made.serve(range(0, 6))
  found, figures = label(made, 2, 4, 5)
  assert found.labels.tolist() == [2, 1, 1]
  assert figures == {"labelled": 3, "right_labels": 2}


@pytest.mark.parametrize(
  ("keep", "weights", "correct"), [("last", 3, 2), ("best", 1, 1)]
)
def test_retraining_makes_weights_that_serve_from_then_on(
  keep, weights, correct
):
  student = Student(gains=(1, -1, 3))  # after each epoch: 1, 0 and 3
  made = opened(student=student, seed=5)
  made.serve(range(0, 4))
  label(made, 0, 1, 2, 3)
  made.labels[[0, 1]] = [1, 0]  # so that weights of 1 get one, of 0 none
  options = {"epochs": 3, "keep": keep}
  if keep == "last":
    made.labels[[0, 1]] = [0, 1]
  found, figures = retrain(made, (2, 3), (0, 1), **options)
  assert (made.weights, found.correct, found.num) == (weights, correct, 2)
  assert figures == {
    "trained": 2,
    "epochs": 3,
    "validated": 2,
    "correct": correct,
  }
  seed = int(np.random.SeedSequence((5, 1)).generate_state(1)[0])
  assert student.trained == [([2, 3], [2, 0], 3, seed)]
  assert made.versions == [books.Version(0, 0, 0), books.Version(4, 4, 4)]
  made.serve(range(4, 6))
  assert made.version[:6].tolist() == [0] * 4 + [1] * 2
  retrain(made, (2,))
  seed = int(np.random.SeedSequence((5, 2)).generate_state(1)[0])
  assert student.trained[-1] == ([2], [2], 1, seed)
  made.check()


def test_of_equal_epochs_the_first_is_kept():
  made = opened(student=Student(gains=(3, 3)))
  made.serve(range(0, 2))
  label(made, 0, 1)
  retrain(made, (0,), (1,), epochs=2, keep="best")
  assert made.weights == 3


def test_an_epoch_is_kept_even_if_none_is_right():
  made = opened(student=Student(gains=(1, 3)))
  made.serve(range(0, 2))
  label(made, 0, 1)
  found, _ = retrain(made, (0,), (1,), epochs=2, keep="best")
  assert (made.weights, found.correct, found.num) == (1, 0, 1)


def test_a_teacher_is_not_judged_by_itself():
  frames = books.LabelledFrames(FRAMES.images, TRUTH, by_teacher=True)
  made = books.Books(
    Student(), 0, frames, lambda images: images[:, 0], np.ones(8, bool)
  )
  made.serve(range(0, 2))
  assert label(made, 0, 1)[1] == {"labelled": 2}
  about = made.close(phases.System("s", None), (), {}).about
  assert about["measure"] == "agreement with the teacher"
  assert (about["labels"], about["fps"]) == ("teacher", 30)


def test_only_who_may_look_ahead_validates_on_frames_to_come():
  made = opened()
  made.serve(range(0, 4))
  label(made, 0, 1)
  with pytest.raises(books.CausalityError, match="takes 1 frames, such as 6"):
    retrain(made, (0,), (1, 6))
  ahead = opened(causal=False)
  ahead.serve(range(0, 4))
  label(ahead, 0, 1)
  found, _ = retrain(ahead, (0,), (6, 7, 8, 9))  # the stream has eight frames
  assert found.num == 2 and found.correct == 0


def test_training_takes_what_was_labelled_before_it_began():
  made = opened()
  made.serve(range(0, 4))
  label(made, 0, 1)
  with pytest.raises(books.CausalityError, match="from frame 3 on takes 2"):
    retrain(made, (0, 1), began=3)
  retrain(made, (0, 1), began=4)
  with pytest.raises(books.CausalityError, match="takes 1 frames, such as 2"):
    retrain(made, (1, 2))
  work = phases.Trials(((np.array([0]), np.array([3])),), 1)
  with pytest.raises(books.CausalityError, match="such as 3"):
    made.perform(work, 4)


def test_trials_leave_the_weights_as_they_are():
  student = Student(gains=(1, 2))  # 1, then 3: right again
  made = opened(student=student)
  made.serve(range(0, 4))
  label(made, 0, 1, 2, 3)
  sets = (
    (np.array([0]), np.array([1, 2])),
    (np.array([1, 2]), np.array([3])),
  )
  found, figures = made.perform(phases.Trials(sets, 2), 4)
  assert found.accuracies.tolist() == [[1, 0, 1], [1, 0, 1]]
  assert figures == {"trials": 2} and made.weights == 0
  assert len(made.versions) == 1 and len(student.trained) == 2


@pytest.mark.parametrize(
  ("version", "future"),
  [
    ((2, 2, 2), False),
    ((3, 2, 2), True),  # serves frame 2 before it exists
    ((2, 1, 2), True),  # was trained on a label that came later
    ((2, 3, 2), True),  # exists before its training began
  ],
)
def test_weights_that_know_the_future_are_found(version, future):
  made = opened()
  made.serve(range(0, 2))
  made.versions.append(books.Version(2, 2, 2))
  made.serve(range(2, 4))
  made.versions[1] = books.Version(*version)
  system = phases.System("s", None)
  if future:
    with pytest.raises(books.CausalityError, match="frame 2 was served"):
      made.close(system, (), {})
  found = made.close(phases.System("s", None, causal=False), (), {"clock": 1})
  assert found.about == {
    "system": "s",
    "causal": False,
    "seed": 0,
    "fps": 2,
    "labels": "oracle",
    "clock": 1,
  }
  if not future:
    assert made.close(system, (), {}).about["causal"] is True


def test_weights_serve_no_frame_from_before_them():
  made = opened()
  made.versions.append(books.Version(3, 0, 0))
  with pytest.raises(books.CausalityError, match="frame 2 is served by .* 3$"):
    made.serve(range(2, 5))
  made.record(np.array([3]), np.array([1]), np.array([0.5]))
  made.record(np.array([], int), np.array([]), np.array([]))
  assert made.predictions[3] == 1 and made.version[3] == 1


def test_frames_without_labels():
  for images, labels in ((np.zeros((2, 1)), [0]), (np.zeros((0, 1)), [])):
    with pytest.raises(ValueError, match="one label per frame"):
      books.LabelledFrames(images, np.array(labels))
  assert len(FRAMES) == 8 and books.LabelledFrames(TRUTH, TRUTH).fps == 30
  assert books.LabelledFrames(TRUTH, TRUTH, 1).fps == 1
  with pytest.raises(ValueError, match="fps=0"):
    books.LabelledFrames(TRUTH, TRUTH, 0)


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(books.LabelledFrames)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(books.LabelledFrames) == {
    "fps": 30,
    "by_teacher": False,
  }
  assert signatures.defaults(books.Books) == {"causal": True, "seed": 0}
