"""Video through OpenCV, where it is installed."""

import builtins

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
