"""Video through OpenCV, where it is installed."""

import builtins
import sys
import types

import numpy as np
import pytest

from jcl.streams import video


def test_missing_opencv_is_named(monkeypatch):
  load = builtins.__import__

  def without(name, *args, **kwargs):
    if name == "cv2":
      raise ImportError(name)
    return load(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(ValueError, match="pip install opencv-python-headless"):
    next(video.frames("clip.avi"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
  cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is missing")
  path = str(tmp_path_factory.mktemp("video") / "clip.avi")
  code = cv2.VideoWriter_fourcc(*"MJPG")
  writer = cv2.VideoWriter(path, code, 10.0, (32, 16))
  if not writer.isOpened():
    pytest.skip("this OpenCV writes no video")
  for level in range(0, 200, 20):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[..., 2] = level  # red, in OpenCV's order of channels
    writer.write(pixels)
  writer.release()
  return path


def test_all_frames_in_order(clip):
  found = list(video.frames(clip))
  np.testing.assert_allclose([f.seconds for f in found], np.arange(10) / 10)
  for i, frame in enumerate(found):
    assert frame.pixels.shape == (16, 32, 3)
    assert frame.pixels.dtype == np.uint8
    assert abs(int(frame.pixels[..., 0].mean()) - 20 * i) <= 6
    assert frame.pixels[..., 2].mean() <= 6


def test_frames_are_thinned_and_resized(clip):
  found = list(video.frames(clip, size=8, fps=4))
  assert [round(10 * f.seconds) for f in found] == [0, 3, 5, 8]
  assert found[0].pixels.shape == (8, 8, 3)
  assert len(list(video.frames(clip, fps=100))) == 10


def test_bad_sources_are_refused(clip):
  with pytest.raises(ValueError, match="cannot be opened"):
    next(video.frames(clip + ".none"))
  with pytest.raises(ValueError, match="fps=0"):
    next(video.frames(clip, fps=0))


class Source:
  """As OpenCV reads a source: frames whose blue value is their number."""

  def __init__(self, num, rate, opens=True, unreadable=()):
    self.left, self.rate, self.opens = iter(range(num)), rate, opens
    self.unreadable, self.number, self.asked = unreadable, None, []
    self.released = False

  def isOpened(self):  # noqa: N802
    return self.opens

  def get(self, name):
    assert name == "fps"
    return self.rate

  def grab(self):
    self.number = next(self.left, None)
    return self.number is not None

  def retrieve(self):
    self.asked.append(self.number)
    pixels = np.full((4, 6, 3), [self.number, 1, 2], np.uint8)
    return self.number not in self.unreadable, pixels

  def release(self):
    self.released = True


@pytest.fixture
def opened(monkeypatch):
  """Has OpenCV open a source that is made up."""

  def open_(source):
    def resize(pixels, size, interpolation):
      assert interpolation == "area"
      return np.resize(pixels, (size[1], size[0], 3))

    made = types.ModuleType("cv2")
    made.VideoCapture = lambda name: source
    made.CAP_PROP_FPS, made.INTER_AREA, made.COLOR_BGR2RGB = "fps", "area", 4
    made.resize = resize
    made.cvtColor = lambda pixels, code: pixels[..., ::-1] if code == 4 else 0
    monkeypatch.setitem(sys.modules, "cv2", made)
    return source

  return open_


@pytest.mark.parametrize(
  ("rate", "fps", "kept"),
  [
    (10.0, None, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (10.0, 20, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (10.0, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (10.0, 5, [0, 2, 4, 6, 8]),
    (10.0, 4, [0, 3, 5, 8]),
    (10.0, 3, [0, 4, 7]),
    (10.0, 1, [0]),
    (0.0, 10, [0, 3, 6, 9]),  # 30 where the source does not tell
  ],
)
def test_which_frames_are_kept(opened, rate, fps, kept):
  source = opened(Source(10, rate))
  found = list(video.frames("a.avi", fps=fps))
  assert [frame.pixels[0, 0].tolist() for frame in found] == [
    [2, 1, number] for number in kept
  ]
  seconds = [number / (rate or 30) for number in kept]
  assert [frame.seconds for frame in found] == seconds
  assert source.asked == kept and source.released


def test_a_source_is_closed_however_reading_ends(opened):
  source = opened(Source(9, 10.0, unreadable=(2,)))
  found = list(video.frames(0, size=3))
  assert [frame.pixels.shape for frame in found] == [(3, 3, 3)] * 2
  assert source.released
  source = opened(Source(9, 10.0))
  reading = video.frames(0)
  next(reading)
  assert not source.released
  reading.close()
  assert source.released
  source = opened(Source(9, 10.0, opens=False))
  with pytest.raises(ValueError, match="source=7 cannot be opened"):
    next(video.frames(7))
  assert source.released
  for wrong in ({"size": 0}, {"fps": -1}):
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}: give more than 0"):
      next(video.frames(0, **wrong))
