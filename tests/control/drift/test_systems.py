"""What each system does with its time, by a student made by hand."""

import numpy as np
import pytest
import signatures
import tiny_serving

from jcl.control.drift import allocation, systems, times
from jcl.serving import virtual

TIMES = tiny_serving.RESNET18
# Ten times as fast, for windows of a few seconds.
FAST = times.Times(infer=0.01, train=0.1, valid=0.01, label=0.005)


def run(text, num, *, seconds=FAST, student=None, weights=0.8, **options):
  system = text
  if isinstance(text, str):
    system = systems.build(text, seconds)
  return virtual.run(
    system,
    student or tiny_serving.Student(),
    weights,
    options.pop("footage", None) or tiny_serving.frames_of(num),
    infer=seconds.infer,
    **options,
  )


class Changing(tiny_serving.Student):
  """Right on all frames before `change`, on fewer from there on."""

  def __init__(self, change, after=0.5):
    super().__init__()
    self.change, self.after, self.trained = change, after, []

  def predict(self, weights, images):
    high, low = images[:, 0, 1:3, 0].astype(int).T
    late = 256 * high + low >= self.change
    return np.where(
      late[:, None],
      super().predict(self.after, images),
      super().predict(1.0, images),
    )

  def passes(self, weights, images, labels, epochs, seed):
    high, low = images[:, 0, 1:3, 0].astype(int).T
    self.trained.append(np.sort(256 * high + low))
    return super().passes(weights, images, labels, epochs, seed)


@pytest.mark.parametrize("drift", ["paper", "robust"])
@pytest.mark.parametrize("compat", [False, True])
def test_drift_empties_the_buffer_and_labels_more(drift, compat):
  student = Changing(3000)
  text = f"dacapo:drift={drift},compat={compat}"
  found = run(text, 6000, student=student)
  extra = [each for each in found.phases if each.kind == "extra_label"]
  first = extra[0]
  assert first.drifted and first.first >= 3000
  assert first.result["labelled"] == 324
  assert first.note["acc_label"] < 90 and first.note["acc_valid"] > 95
  assert ("p" in first.note) == (drift == "robust")
  assert all("drift" in each.note for each in found.decisions)
  kinds = [each.kind for each in found.phases]
  cycle = kinds[: kinds.index("extra_label")].count("retrain")
  # What is trained on next was labelled in this cycle: all 432 samples.
  since = found.retrainings[cycle - 1].first
  result = found.retrainings[cycle].result
  assert student.trained[cycle].min() >= since
  assert result["trained"] + result["validated"] == 432
  assert result["trained"] == 324 or compat
  # And nothing was forgotten before that.
  assert student.trained[cycle - 1].min() < since - 500


@pytest.mark.parametrize(
  "options, extra",
  [("drift=never", 0), ("first=1", 0), ("threshold=-60", 0), ("labels=27", 81)],
)
def test_options_of_drift(options, extra):
  found = run(f"dacapo:{options}", 5000, student=Changing(2500))
  more = [each for each in found.phases if each.kind == "extra_label"]
  assert bool(more) == bool(extra)
  assert all(each.result["labelled"] == extra for each in more if each.complete)
  if options == "first=1":
    assert any(each.drifted for each in found.phases)
    assert min(each.result["trained"] for each in found.retrainings) == 81


def test_frames_to_label_are_spread_over_the_cycle():
  seen = {}
  for text in ("dacapo:drift=never", "dacapo:drift=never,compat=true"):
    student = Changing(10**6)
    run(text, 3000, student=student, seconds=TIMES)
    seen[text] = student.trained[1].max()
  even, published = seen.values()
  assert published <= even < 1208


def test_a_teacher_faster_than_the_camera_waits_for_frames():
  quick = times.Times(infer=0.01, train=1e-3, valid=1e-3, label=1e-5)
  found = run("dacapo:drift=robust", 3000, seconds=quick)
  labels = [each for each in found.phases if "labelled" in each.result]
  assert labels[0].stop == 432
  assert all(each.result["labelled"] >= 108 for each in labels)
  assert found.phases[2].stop - found.phases[1].first >= 108


def test_rechecking_labels_takes_time():
  paper = run("dacapo:drift=paper", 3000, weights=1.0, seconds=TIMES)
  robust = run("dacapo:drift=robust", 3000, weights=1.0, seconds=TIMES)
  lasts = [run.phases[2].seconds for run in (paper, robust)]
  assert lasts[1] - lasts[0] == pytest.approx(7 * TIMES.valid)


def test_spatial_windows_as_published():
  found = run(
    "dacapo_spatial:rate=0.2075",
    10_800,
    seconds=TIMES,
    student=tiny_serving.Student(0.05),
  )
  spans = [(each.kind, each.first, each.stop) for each in found.phases]
  assert spans[:3] == [
    ("retrain", 0, 2821),
    ("label", 2821, 3600),
    ("retrain", 3600, 6421),
  ]
  assert [each.result["trained"] for each in found.retrainings] == [747, 747]
  assert {each.result["epochs"] for each in found.retrainings} == {2}
  assert found.versions[6420] == 0 and found.versions[6421] == 1
  # By default a window is filled as far as it goes.
  full = run("dacapo_spatial", 7200, seconds=TIMES).phases[2].result["trained"]
  assert 747 <= full <= 756
  with pytest.raises(ValueError, match="does not fit"):
    run("dacapo_spatial:rate=0.3", 100, seconds=TIMES)


def test_active_labelling_takes_what_is_least_certain():
  class Unsure(Changing):
    def predict(self, weights, images):
      odd = images[:, 0, 2, 0] % 2 == 1
      return super().predict(weights, images) * np.where(odd, 0.2, 5)[:, None]

  student = Unsure(10**6)
  run("dacapo_spatial:window=10,rate=0.2,active=true", 700, student=student)
  assert (student.trained[0] % 2 == 1).all()


def test_ekya_pays_for_its_trials():
  student = tiny_serving.Student(gain=0.02)
  found = run("ekya:window=20", 2400, student=student)
  kinds = [each.kind for each in found.phases]
  assert kinds[:2] == ["wait", "label"]
  assert kinds[2:6] == ["profile", "retrain", "wait", "label"]
  assert found.phases[5].stop == 1200
  profile = found.phases[2]
  assert profile.result == {"trials": 3}
  # Three copies for five epochs, of 28, 17 and 7 in 280 samples or so.
  sizes = [size for size, epochs, _ in student.calls[:3]]
  assert sizes == sorted(sizes) and sizes[0] >= 1
  least = sum(5 * -(-size // 16) * FAST.train for size in sizes)
  assert profile.seconds >= least
  chosen = found.retrainings[0]
  assert 2 <= chosen.result["epochs"] <= 10
  left = found.phases[4].stop - chosen.first
  assert chosen.seconds * 30 <= left
  slow = times.Times(infer=0.01, train=2, valid=1, label=0.005)
  with pytest.raises(ValueError, match="trials take"):
    run("ekya:window=20,rate=0.005", 2400, seconds=slow)


def test_ekya_can_find_training_not_worth_it():
  losing = tiny_serving.Student(gain=-0.05)
  found = run("ekya:window=20,by=estimate", 1200, student=losing)
  assert len(found.retrainings) == 1  # no estimate tells of what serves now


def test_eomu_labels_key_frames_and_serves_from_the_next_window():
  shown = tiny_serving.frames_of(900)
  frames = np.full((900, 12, 12, 1), 20, np.uint8)
  frames[:, :, :4] = shown.images.repeat(12, axis=1)
  frames[np.arange(900) // 30 % 2 == 1, :, 4:] = 220  # a flash every 2 s

  class Student(tiny_serving.Student):
    def predict(self, weights, images):
      spelt = images[:, :1, :4].reshape(-1, 1, 4, 1)
      return super().predict(weights, spelt)

  student = Student(gain=0.01)
  found = run(
    "eomu:window=5",
    900,
    student=student,
    footage=type(shown)(frames, shown.labels, 30),
  )
  windows = [each.first // 150 for each in found.retrainings]
  assert windows == [1, 2, 3, 4, 5]
  assert all(each.stop % 150 == 0 for each in found.retrainings)
  assert {each.result["trained"] for each in found.retrainings} <= {2, 3}
  labelled = [each for each in found.phases if each.kind == "label"]
  assert all(each.first % 150 == 0 for each in labelled)
  still = np.zeros_like(frames)
  quiet = run("eomu:window=5", 900, footage=type(shown)(still, shown.labels))
  assert not quiet.retrainings


def test_the_ceiling_looks_ahead_and_its_twin_does_not():
  text = "oracle:window=10,samples=50,epochs=3"

  class Falling(tiny_serving.Student):
    """Better after the first epoch, worse after more."""

    def passes(self, weights, images, labels, epochs, seed):
      self.calls.append(len(labels))
      yield from (0.9, 0.6, 0.3)

  for options, trained in (("", 50), (",causal=true", 40)):
    student = Falling()
    found = run(text + options, 1200, student=student, weights=0.5)
    assert found.about["causal"] == bool(options)
    assert {each.result["trained"] for each in found.retrainings} == {trained}
    assert found.correct()[300:].mean() == pytest.approx(0.9, abs=0.02)
    assert all(each.seconds == 0 for each in found.retrainings)


def test_frozen_serves_with_what_it_has():
  found = run("frozen", 1000)
  assert not found.versions.any() and not found.retrainings
  assert found.correct().mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
  "text, message",
  [
    ("dacapo:drift=often", "paper"),
    ("dacapo:labels=0", "labels=0"),
    ("dacapo:drift=robust,design=0", "design=0"),
    ("dacapo:rows=3", "no option 'rows'"),
    ("dacopa", "did you mean 'dacapo'"),
    ("dacapo_spatial:window=0", "window=0"),
    ("ekya:share=0", "share=0"),
    ("ekya:by=chance", "by=chance"),
    ("eomu:start=0", "start=0"),
    ("oracle:epochs=0", "epochs=0"),
  ],
)
def test_bad_options(text, message):
  with pytest.raises(ValueError, match=message):
    systems.build(text, FAST)


def test_windows_too_short_for_anything_are_refused():
  with pytest.raises(ValueError, match="window=1 is too short"):
    run("dacapo_spatial:window=1", 100, seconds=TIMES)
  assert set(systems.describe()) == set(systems.choices())
  assert allocation.exact(FAST.kernels.label) == allocation.exact(0.005)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(times.Times) == {"batch": 16, "source": "given"}
