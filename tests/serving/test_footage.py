"""Frames that the user brings: read, brought into shape, and refused."""

import csv
import dataclasses
from pathlib import Path
import types

import numpy as np
from PIL import Image
import pytest
import signatures

from jcl.control.drift import times
from jcl.options.errors import MissingFileError, MissingPackageError, UsageError
from jcl.serving import footage, log, paragraph, runs, setup
from jcl.streams import sources, video

CLASSES = ("bus", "car", "dog")
SCRIPT = runs.StreamScript(footage.NAME, 1, 5, 12)  # windows of 10 frames
NETWORK = "mlp:width=8,depth=1"


def source(shape=(8, 8, 3)):
  generator = np.random.default_rng(0)
  y = np.arange(30) % 3
  x = generator.integers(0, 60, (30, *shape), dtype=np.uint8)
  x[..., 0] += (60 * y).astype(np.uint8)[:, None, None]
  return sources.arrays(x, y, name="street", class_names=CLASSES)


def listed(folder, num=60, *, side=16, mode="RGB", weather=(), named=CLASSES):
  """Writes PNG files and a list of them; classes come in turn."""
  path = folder / "drive.csv"
  rows = []
  for i in range(num):
    name = f"{i:03}.png"
    level = (60 * (i % 3) + 30, 20, 20) if mode == "RGB" else 4 * (i % 60)
    Image.new(mode, (side, side), level).save(folder / name)
    rows.append([name, named[i % 3], *(each[i] for each in weather)])
  head = ["file", "category", *(f"c{i}" for i in range(len(weather)))]
  with path.open("w", newline="") as file:
    csv.writer(file).writerows([head, *rows])
  return str(path)


def read(text, data=None, **more):
  options = {"fps": 1, "window": 10, "least": 5, "most": 60, **more}
  return footage.read(text, data or source(), **options)


def test_a_list_is_read_in_order_and_shape(tmp_path):
  text = listed(tmp_path, 63)
  found = read(text)
  assert found.images.shape == (60, 8, 8, 3) and found.images.dtype == np.uint8
  assert found.labels.tolist() == [0, 1, 2] * 20
  assert found.images[:4, 0, 0, 0].tolist() == [30, 90, 150, 30]
  assert found.notes == (
    "the last 3 of 63 frames are left out, as they fill no window of 10 frames",
  )
  large = read(text, enlarge=3)
  assert large.images.shape == (60, 24, 24, 3)
  unlabelled = dataclasses.replace(found, labels=None)
  others = [found, large, unlabelled, read(text)]
  assert len({each.digest() for each in others}) == 3
  assert {len(each.digest()) for each in others} == {8}
  assert len({found, found, large}) == 2  # by identity


def test_conditions_change_where_a_column_does_and_numbers_do_not(tmp_path):
  rain = ["dry"] * 20 + ["wet"] * 30 + ["dry"] * 10
  text = listed(tmp_path, weather=(rain, list(map(str, range(60)))))
  assert read(text).changes == (20, 50)


@pytest.mark.parametrize(
  "mode, shape, told",
  [
    ("RGB", (8, 8, 1), "in colour and became grey, as street is"),
    ("L", (8, 8, 3), "grey and got three equal channels, as street has"),
    ("L", (8, 8, 1), None),
  ],
)
def test_other_channels_are_told(tmp_path, mode, shape, told):
  found = read(listed(tmp_path, mode=mode), source(shape))
  assert found.images.shape == (60, *shape)
  assert [told in note for note in found.notes] == ([True] if told else [])
  if mode == "L" and told:
    assert (found.images == found.images[..., :1]).all()


def test_images_that_are_no_squares_must_fit(tmp_path):
  text = listed(tmp_path, 50, side=8)
  with pytest.raises(UsageError, match="8 by 8 pixels, street .* of 8 by 6"):
    read(text, source((8, 6, 3)))


@pytest.mark.parametrize(
  "num, told",
  [
    (49, "49 frames, 4 whole windows of 10 .* give 50 frames or more"),
    (9, "9 frames, 0 whole windows"),
    (0, "has no entries"),
  ],
)
def test_too_few_frames_are_refused(tmp_path, num, told):
  with pytest.raises(UsageError, match=told):
    read(listed(tmp_path, num))


def test_the_first_class_that_is_unknown_is_named(tmp_path):
  text = listed(tmp_path, named=("bus", "tram", "ship"))
  told = "entry 1, .*'tram', which is unknown; known: bus, car, dog"
  with pytest.raises(UsageError, match=told):
    read(text)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
  for text in ("none.csv", "none.avi", "x" * 5000, str(tmp_path)):
    with pytest.raises(MissingFileError, match="there is no such file"):
      footage.check(text)
  with pytest.raises(UsageError, match="camera:0"):
    footage.check("camera:front")
  text = listed(tmp_path)
  (tmp_path / "031.png").write_bytes(b"no image")
  with pytest.raises(UsageError, match=r"031\.png"):
    read(text)
  (tmp_path / "031.png").unlink()
  with pytest.raises(UsageError, match=r"031\.png.* names a file that is not"):
    read(text)


@pytest.fixture
def filmed(tmp_path, monkeypatch):
  """Has a video, or a camera, deliver frames that are made up."""
  asked = []

  def frames(place, *, size=None, fps=None):
    assert size is None
    asked.append((place, fps))
    rates = {"fast.avi": 1.0, "slow.avi": 0.5, "film.avi": 3.0}
    rate = 1.0 if isinstance(place, int) else rates[Path(place).name]
    for i in range(72):
      pixels = np.zeros((6, 6, 3), np.uint8)
      pixels[..., 0] = 60 * (i % 3) + 30
      yield video.Frame(i / rate, pixels)

  monkeypatch.setattr(video, "frames", frames)
  for name in ("fast.avi", "slow.avi", "film.avi"):
    (tmp_path / name).write_bytes(b"video")
  return tmp_path, asked


def test_a_video_has_frames_without_labels(filmed):
  folder, asked = filmed
  found = read(str(folder / "fast.avi"))
  assert asked == [(str(folder / "fast.avi"), 1)]
  assert found.labels is None and found.images.shape == (70, 8, 8, 3)
  assert found.images[:4, 0, 0, 0].tolist() == [30, 90, 150, 30]
  assert "last 2 of 72" in found.notes[0] and len(found.notes) == 1
  grey = read(str(folder / "fast.avi"), source((8, 8, 1)))
  assert grey.images.shape == (70, 8, 8, 1) and "became grey" in grey.notes[0]
  with pytest.raises(UsageError, match="8 by 6"):
    read(str(folder / "fast.avi"), source((8, 6, 3)))
  with pytest.raises(UsageError, match=r"has 0.5 frames per second, fewer"):
    read(str(folder / "slow.avi"))
  with pytest.raises(UsageError, match=r"fps=4: give --fps=3 or less"):
    read(str(folder / "film.avi"), fps=4)


def test_a_camera_is_recorded_as_long_as_a_stream(filmed):
  found = read("camera:2")
  assert filmed[1] == [(2, 1)]
  assert found.labels is None and len(found) == 60


def test_a_video_takes_opencv(tmp_path):
  (tmp_path / "a.avi").write_bytes(b"video")
  try:
    import cv2  # noqa: F401
  except ImportError:
    with pytest.raises(MissingPackageError, match="OpenCV"):
      read(str(tmp_path / "a.avi"))
  else:
    with pytest.raises(UsageError, match="cannot be opened"):
      read(str(tmp_path / "a.avi"))


def test_a_real_video_is_read(tmp_path):
  cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is missing")
  path = str(tmp_path / "clip.avi")
  code = cv2.VideoWriter_fourcc(*"MJPG")
  writer = cv2.VideoWriter(path, code, 2.0, (32, 16))
  if not writer.isOpened():
    pytest.skip("this OpenCV writes no video")
  for _ in range(100):
    writer.write(np.full((16, 32, 3), (0, 0, 200), np.uint8))  # red
  writer.release()
  found = read(path)
  assert found.images.shape == (50, 8, 8, 3) and found.labels is None
  assert abs(int(found.images[..., 0].mean()) - 200) < 6
  with pytest.raises(UsageError, match="has 2 frames per second"):
    read(path, fps=4)


def served(folder, frames, system):
  """Serves frames by a small student; returns assets, system and run."""
  roles = setup.Roles(NETWORK, NETWORK, (60, 60), (2, 2), classes=3)
  on = setup.Assets(source(), roles, folder / "weights", frames)
  seconds = times.Times(infer=0.02, train=0.1, valid=0.05, label=0.05)
  path = folder / system.partition(":")[0]
  return on, runs.run(on, SCRIPT, system, seconds, 0, path)


@pytest.mark.parametrize("system", ["dacapo:labels=4", "frozen"])
def test_a_list_is_served_with_its_labels(tmp_path, system):
  frames = read(listed(tmp_path, weather=(["a"] * 30 + ["b"] * 30,)))
  on, made = served(tmp_path, frames, system)
  assert made.log.truth.tolist() == frames.labels.tolist()
  assert made.log.measure == log.ACCURACY and "measure" not in made.log.about
  assert bool(made.log.retrainings) == (system != "frozen")
  given = made.log.label_accuracy
  assert np.isnan(given) if system == "frozen" else 0 <= given <= 1
  target, frame = runs.write(on, [made], tmp_path, {})
  page = target.read_text(encoding="utf-8")
  assert "agreement" not in page and "Scenario frames" in page
  assert frame["score"].between(0, 100).all()


def test_without_truth_scores_are_agreement_with_the_teacher(tmp_path):
  frames = read(listed(tmp_path))
  frames = footage.Footage(frames.images, None)
  on, made = served(tmp_path, frames, "dacapo:labels=4")
  told = on.labeller(0)(frames.images)
  assert made.log.truth.tolist() == told.tolist()
  assert made.log.measure == log.AGREEMENT == "agreement with the teacher"
  assert np.isnan(made.log.label_accuracy)
  assert not any("right_labels" in each.result for each in made.log.phases)
  assert log.load(tmp_path / "dacapo").measure == log.AGREEMENT
  target, frame = runs.write(on, [made], tmp_path, {})
  page = target.read_text(encoding="utf-8")
  assert "geometric mean of the agreement with the teacher" in page
  assert "Above: agreement with the teacher while serving" in page
  assert "accurac" not in page.replace("not accuracy: the frames", "")
  told = paragraph.sentences(frame, made.log.measure)
  assert any("agreement with the teacher, not accuracy" in s for s in told)
  assert not any("labels were right" in sentence for sentence in told)


def test_the_shape_of_a_data_set():
  classes = ("a", "b")
  square = footage._Form("street", classes, (8, 8, 3))
  high, wide, grey = (
    square._replace(shape=shape) for shape in ((8, 6, 3), (6, 8, 3), (5, 5, 1))
  )
  assert [each.size for each in (square, high, wide, grey)] == [
    8,
    None,
    None,
    5,
  ]
  assert [each.color for each in (square, grey)] == ["rgb", "grey"]
  wide.check("film", (6, 8, 3))
  told = "film has frames of 7 by 9 pixels, street images of 6 by 8: only"
  with pytest.raises(UsageError, match=told):
    wide.check("film", (7, 9, 3))
  assert square.channels(True) == grey.channels(False) == ()
  assert grey.channels(True)[0].startswith("frames are in colour")
  assert square.channels(False)[0].startswith("frames are grey")


def test_windows_must_be_whole_and_enough():
  score = footage._Score(fps=2, window=10, least=5)
  assert score.whole("film", 50) == (50, ())
  assert score.whole("film", 60) == (60, ())
  assert score.whole("film", 59) == (
    50,
    (
      "the last 9 of 59 frames are left out, as they fill no window of 10 "
      "frames",
    ),
  )
  with pytest.raises(UsageError) as caught:
    score.whole("film", 49)
  assert str(caught.value) == (
    "film has 49 frames, 4 whole windows of 10 frames (two segments of "
    "--segment_seconds, at --fps=2); the score takes 5 windows, as the first 4 "
    "warm up: give 50 frames or more, or lower --segment_seconds or --fps"
  )


def test_what_changes_more_than_once_in_a_segment_is_no_condition():
  def values(*at):
    return [str(sum(i >= change for change in at)) for i in range(12)]

  attributes = {"rain": values(3, 6, 11), "object": values(1, 2, 5, 9)}
  assert footage._changes(attributes, 12, 4) == (3, 6, 11)
  assert footage._changes(attributes, 12, 3) == (1, 2, 3, 5, 6, 9, 11)
  assert footage._changes(attributes, 11, 4) == (3, 6)
  assert footage._changes({"first": values(1)}, 2, 2) == (1,)
  assert footage._changes({}, 12, 4) == ()


def test_a_segment_is_half_a_window(tmp_path):
  often = [str(i // 5) for i in range(60)]  # 11 changes in 12 segments
  more = [str(i // 4) for i in range(60)]  # 14
  assert read(listed(tmp_path, weather=(often, more))).changes == tuple(
    range(5, 60, 5)
  )


@pytest.mark.parametrize(
  "limits, taken", [((0.0, 9.0), (0.0, 9.0)), (None, "data")]
)
def test_a_list_is_scaled_like_the_data_set(limits, taken, monkeypatch):
  asked = []

  def listed_of(text, form, score, limits):
    asked.append((form, score, limits))
    return footage.Footage(np.zeros((4, 8, 6, 3), np.uint8), np.zeros(4))

  monkeypatch.setattr(footage, "_listed", listed_of)
  monkeypatch.setattr(footage, "check", lambda text: None)
  x = types.SimpleNamespace(shape=(30, 8, 6, 3), range=limits)
  train = types.SimpleNamespace(name="street", class_names=CLASSES, x=x)
  source_of = types.SimpleNamespace(train=train)
  found = footage.read("A.CSV", source_of, fps=2, window=4, most=9)
  assert found.images.shape == (4, 8, 6, 3)
  form = footage._Form("street", CLASSES, (8, 6, 3))
  assert asked == [(form, footage._Score(2, 4, 1), taken)]
  assert signatures.defaults(footage.read) == {"least": 1, "enlarge": 1}


def test_the_first_file_tells_whether_frames_are_in_colour(tmp_path):
  text = listed(tmp_path, 50, mode="L")
  Image.new("RGB", (16, 16), (9, 20, 20)).save(tmp_path / "000.png")
  assert read(text).notes == ()
  assert "became grey" in read(text, source((8, 8, 1))).notes[0]


def film(monkeypatch, *shapes, apart=1.0):
  """Has videos deliver black frames of these shapes."""

  def frames(place, *, fps):
    for i, shape in enumerate(shapes):
      yield video.Frame(i * apart, np.zeros((*shape, 3), np.uint8))

  monkeypatch.setattr(video, "frames", frames)
  monkeypatch.setattr(footage, "check", lambda text: None)


def test_frames_may_be_a_hundredth_further_apart(monkeypatch):
  film(monkeypatch, *[(8, 8)] * 4, apart=1.009)
  assert len(read("a.avi", window=2, least=2)) == 4
  film(monkeypatch, *[(8, 8)] * 4, apart=1.011)
  with pytest.raises(UsageError, match="fps=1: give --fps=1 or less"):
    read("a.avi", window=2, least=2)
  film(monkeypatch, *[(8, 8)] * 4, apart=0.2525)
  with pytest.raises(UsageError, match="has 3.96 frames .* give --fps=4 or"):
    read("a.avi", window=2, least=2, fps=5)
  film(monkeypatch, (8, 8))
  assert len(read("a.avi", window=1, least=1)) == 1
  film(monkeypatch, *[(8, 8)] * 2, apart=1.02)
  with pytest.raises(UsageError, match=r"has 0\.9804 frames per second"):
    read("a.avi", window=1, least=1)


def test_the_first_frame_of_a_film_tells_its_shape(monkeypatch):
  film(monkeypatch, (8, 6), (7, 6))
  with pytest.raises(UsageError, match="has frames of 8 by 6 pixels"):
    read("a.avi", source((9, 6, 3)), window=1, least=1)
  film(monkeypatch, (8, 6))
  with pytest.raises(UsageError, match="has frames of 8 by 6 pixels"):
    read("a.avi", source((9, 6, 3)), window=1, least=1)
  film(monkeypatch, (9, 6), (9, 6))
  found = read("a.avi", source((9, 6, 3)), window=1, least=1)
  assert found.images.shape == (2, 9, 6, 3)


def test_lists_and_cameras_by_their_names():
  for text, labelled in (("a.csv", 1), ("b.JSON", 1), ("c.avi", 0), ("d", 0)):
    assert footage.is_labelled(text) == labelled
  footage.check("camera:12")
  for text in ("camera:", "camera:-1", "camera:one"):
    with pytest.raises(UsageError, match=f"--frames={text}: give the camera's"):
      footage.check(text)


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(footage.Footage)
