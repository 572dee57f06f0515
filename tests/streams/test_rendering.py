"""Frames: each condition by hand, and the same bits however they are read."""

import dataclasses

import numpy as np
import pytest

from jcl.streams import drifting, manifest, rendering

LABELS = np.arange(90) % 9
IMAGES = np.random.default_rng(0).integers(0, 256, (90, 12, 10, 3), np.uint8)
PLAIN = manifest.Attributes()


def stream(attributes=PLAIN, frames=40, **strengths):
  """Frames of one segment under one condition."""
  found = drifting.build(
    "none", LABELS, np.arange(90), seed=3, fps=frames, segment_seconds=1,
    segments=1, strengths=manifest.Strengths(**strengths),
  )  # fmt: skip
  return dataclasses.replace(found, segments=(attributes,))


def still(attributes=PLAIN, **strengths):
  """The same without jitter."""
  found = stream(attributes, **strengths)
  return dataclasses.replace(
    found,
    shift=np.zeros_like(found.shift),
    gain=np.full_like(found.gain, 1000),
  )


def render(found, images=IMAGES):
  return rendering.Frames(images, found)[:]


def test_base_conditions_show_the_images():
  found = still()
  np.testing.assert_array_equal(render(found), IMAGES[found.source])


def test_a_set_of_many_images():
  many = dataclasses.replace(still(), num_images=300)
  images = np.concatenate([IMAGES, np.zeros((210, 12, 10, 3), np.uint8)])
  np.testing.assert_array_equal(render(many, images), render(still()))


def test_jitter_moves_and_brightens():
  found = stream()
  pixels = render(found)
  for i in range(20):
    down, right = found.shift[i]
    image = np.pad(IMAGES[found.source[i]], ((8, 8), (8, 8), (0, 0)), "edge")
    moved = image[8 - down : 20 - down, 8 - right : 18 - right].astype(float)
    expected = np.clip(moved * found.gain[i] / 1000, 0, 255)
    assert np.abs(pixels[i] - expected).max() <= 0.5


def test_night_is_dark_and_noisy():
  quiet = render(still(manifest.Attributes(light="night"), night_noise=0))
  x = IMAGES[still().source] / 255
  assert np.abs(quiet - 255 * 0.35 * x**2.2).max() <= 0.5
  bright = {"night_gain": 1.0, "night_gamma": 1.0}
  grey = np.full_like(IMAGES, 128)
  noisy = render(still(manifest.Attributes(light="night"), **bright), grey)
  assert noisy.std() == pytest.approx(0.03 * 255, rel=0.05)
  assert noisy.mean() == pytest.approx(128, abs=1)
  assert not np.array_equal(noisy[0], noisy[1])


def test_overcast_has_less_contrast():
  pixels = render(still(manifest.Attributes(weather="overcast")))
  x = IMAGES[still().source].astype(float)
  assert np.abs(pixels - (128 + 0.6 * (x - 128))).max() <= 0.5


def test_rain_smears_and_streaks():
  rain = manifest.Attributes(weather="rain")
  dry = render(still(rain, rain_streaks=0))
  x = IMAGES[still().source].astype(float)
  wide = np.pad(x, ((0, 0), (3, 3), (0, 0), (0, 0)), "edge")
  mean = sum(wide[:, i : i + 12] for i in range(7)) / 7
  assert np.abs(dry - mean).max() <= 0.5
  wet = render(still(rain)).astype(int) - dry
  assert wet.min() == 0 and 0 < np.mean(wet > 0) < 0.3


def test_snow_is_white():
  snow = manifest.Attributes(weather="snow")
  dark = np.zeros_like(IMAGES)
  pixels = render(still(snow), dark)
  assert set(np.unique(pixels)) == {26, 255}  # 128 - 0.8 * 128, and flakes
  flakes = pixels == 255
  assert np.mean(flakes) == pytest.approx(0.04, abs=0.02)
  assert np.array_equal(flakes.all(-1), flakes.any(-1))


def test_another_place_turns_colours():
  place = manifest.Attributes(place="P1")
  grey = np.repeat(IMAGES[..., :1], 3, axis=-1)
  same = render(still(place, squeeze=1), grey)
  shown = grey[still().source]
  assert np.abs(same.astype(int) - shown).max() <= 1  # grey has no hue
  red = np.zeros_like(IMAGES)
  red[..., 0] = 200
  turned = render(still(place, squeeze=1), red)[0, 0, 0]
  assert turned[1] > turned[2] and turned[0] < 200  # towards yellow, paler
  kept = render(still(place, squeeze=1, hue=0, saturation=1))
  assert np.abs(kept.astype(int) - IMAGES[still().source]).max() <= 1


def test_a_squeeze_halves_the_width_about_the_middle():
  place = manifest.Attributes(place="P1")
  images = IMAGES[..., :1]
  pixels = render(still(place), images)
  x = images[still().source].astype(float)
  # column 5 + j sees columns 5 + 2 j and the next, mirrored at the edges
  for column, seen in (
    (5, (5, 6)),
    (6, (7, 8)),
    (7, (9, 9)),
    (3, (1, 2)),
    (2, (0, 0)),
  ):
    expected = x[:, :, list(seen)].mean(axis=2)
    assert np.abs(pixels[:, :, column] - expected).max() <= 0.5
  flat = render(still(place), np.full_like(images, 77))
  assert np.all(flat == 77)


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_a_squeeze_takes_the_mean_of_so_many_columns(columns):
  """Against the image beside its mirror images, on both sides."""
  place = manifest.Attributes(place="P1")
  images = IMAGES[..., :1]
  pixels = render(still(place, squeeze=columns), images)
  x = images[still().source].astype(float)
  wide = np.pad(x, ((0, 0), (0, 0), (30, 30), (0, 0)), "symmetric")
  for column in range(10):
    left = 30 + 5 + columns * (column - 5)
    expected = wide[:, :, left : left + columns].mean(axis=2)
    assert np.abs(pixels[:, :, column] - expected).max() <= 0.5


def test_the_same_bits_however_they_are_read():
  found = drifting.build(
    "ES1", LABELS, np.arange(90), seed=0, fps=10, segment_seconds=2
  )
  frames = rendering.Frames(IMAGES, found)
  everything = frames[:]
  assert everything.shape == frames.shape == (560, 12, 10, 3)
  assert everything.dtype == frames.dtype == np.uint8
  order = np.random.default_rng(0).permutation(560)[:100]
  np.testing.assert_array_equal(frames[order], everything[order])
  np.testing.assert_array_equal(frames[17], everything[17])
  np.testing.assert_array_equal(frames[-1], everything[559])
  np.testing.assert_array_equal(np.asarray(frames), everything)
  assert frames[[]].shape == (0, 12, 10, 3)
  again = rendering.Frames(IMAGES, found)
  np.testing.assert_array_equal(again[order], everything[order])
  with pytest.raises(IndexError):
    frames[560]


def test_saved_streams_render_the_same(tmp_path):
  found = drifting.build(
    "S6", LABELS, np.arange(90), seed=5, fps=5, segment_seconds=2
  )
  manifest.save(found, tmp_path / "s6")
  loaded = manifest.load(tmp_path / "s6")
  np.testing.assert_array_equal(render(found), render(loaded))


def test_a_known_frame_keeps_its_bits():
  attributes = manifest.Attributes("A", "night", "P1", "rain")
  ramp = np.arange(90 * 360, dtype=np.uint32).reshape(90, 12, 10, 3)
  found = dataclasses.replace(
    still(attributes),
    source=np.arange(40, dtype=np.int32),
    plate=np.tile(np.array([7, 11], np.uint8), (40, 1)),
  )
  pixels = render(found, (ramp * 7 % 256).astype(np.uint8))
  assert int(pixels.astype(np.int64).sum()) == 441_039
  assert pixels[3, 5, :4, 0].tolist() == [19, 60, 13, 8]


@pytest.mark.parametrize(
  ("images", "message"),
  [
    (IMAGES[..., 0], "images .90, 12, 10."),
    (IMAGES[..., :2], "one or three channels"),
    (IMAGES / 255, "np.round"),
    (IMAGES[:80], "80 images, but the manifest was made for 90"),
  ],
)
def test_other_images_are_refused(images, message):
  with pytest.raises(ValueError, match=message):
    rendering.Frames(images, stream())


def test_the_seeds_of_plates_count_up_to_two_to_the_32():
  def noise(seed):
    plates = rendering._plates(manifest.Strengths(), seed, (2, 3, 1))
    return plates["noise"].ravel()[:8].tolist()

  assert noise(2**32 + 3) == noise(3)
  assert len({tuple(noise(seed)) for seed in (0, 2**31, 2**32 - 1)}) == 3


def test_plates_by_hand(monkeypatch):
  """Levels of noise, streaks of eight pixels, and flakes."""

  class Drawn:
    def __init__(self, seed):
      assert seed == 5
      self._starts = True

    def standard_normal(self, shape):
      assert shape == (12, 9, 3)
      return np.full(shape, 0.5)

    def random_sample(self, shape):
      found = np.ones(shape)
      found[1, 2] = 0.019 if self._starts else 0.039
      found[1, 3] = 0.02 if self._starts else 0.04  # no share of the pixels
      self._starts = False
      return found

  monkeypatch.setattr(rendering.np.random, "RandomState", Drawn)
  monkeypatch.setattr(manifest, "PLATE", 6)
  plates = rendering._plates(manifest.Strengths(), 5, (7, 4, 3))
  assert {each.dtype for each in plates.values()} == {np.dtype(np.int16)}
  assert set(plates["noise"].ravel().tolist()) == {4}  # 255 * 0.03 / 2
  streaks, speckle = plates["streaks"][..., 0], plates["speckle"][..., 0]
  rows, columns = np.nonzero(streaks)
  assert rows.tolist() == list(range(1, 9))
  assert columns.tolist() == [2, 2, 3, 3, 4, 4, 5, 5]
  assert set(streaks[rows, columns].tolist()) == {90}
  assert np.argwhere(speckle).tolist() == [[1, 2]] and speckle[1, 2] == 255
  corner = np.array([[0, 0], [5, 5], [1, 2]])
  windows = rendering._cut(plates["streaks"], corner)
  assert windows.shape == (3, 7, 4, 1)
  for window, (top, left) in zip(windows, corner, strict=True):
    expected = streaks[top : top + 7, left : left + 4]
    assert window[..., 0].tolist() == expected.tolist()


def test_brightness_is_rounded_by_thousandths():
  images = np.array([100, 250, 10], np.uint8).reshape(3, 1, 1, 1)
  images = np.broadcast_to(images, (3, 2, 2, 1))
  for gain, expected in (
    (1005, [101, 251, 10]),  # half a level is one, a quarter more is none
    (1004, [100, 251, 10]),
    (995, [100, 249, 10]),
    (994, [99, 249, 10]),
    (1020, [102, 255, 10]),
    (980, [98, 245, 10]),
  ):
    moved = rendering._jitter(
      images,
      np.arange(3),
      np.zeros((3, 2), np.int8),
      np.full(3, gain, np.int16),
    )
    assert moved[:, 1, 1, 0].tolist() == expected


def test_means_are_rounded_half_up():
  columns = np.array([0, 1, 6, 7, 9, 200], np.uint8)
  wide = columns.reshape(1, 1, 6, 1)
  found = rendering._squeeze(wide, 2)
  # About column 3, which sees 7 and 9; mirrored at the edges.
  assert found.ravel().tolist() == [4, 0, 4, 8, 200, 8]
  high = columns.reshape(1, 6, 1, 1)
  found = rendering._blur(high, 2)  # a pixel and the one above it
  assert found.ravel().tolist() == [0, 1, 4, 7, 8, 105]
  found = rendering._blur(high, 3)
  assert found.ravel().tolist() == [0, 2, 5, 7, 72, 136]
  assert rendering._blur(high, 1).tolist() == high.tolist()


def test_colours_by_thousandths():
  matrix = np.array([[500, 0, 0], [0, 1000, 5], [0, 2000, -1000]], np.int32)
  images = np.array([[1, 200, 99], [2, 10, 100], [0, 3, 7]], np.uint8)
  found = rendering._recolour(images.reshape(1, 1, 3, 3), matrix)
  assert found.reshape(3, 3).tolist() == [[1, 200, 255], [1, 11, 0], [0, 3, 0]]
  grey = images[..., None]
  assert rendering._recolour(grey, matrix) is grey


def test_the_matrix_of_hue_and_saturation():
  same = rendering._hue(manifest.Strengths(hue=0, saturation=1))
  assert same.tolist() == (1000 * np.eye(3)).tolist()
  none = rendering._hue(manifest.Strengths(saturation=0))
  assert none.tolist() == [[299, 587, 114]] * 3
  found = rendering._hue(manifest.Strengths())
  assert found.dtype == np.int32
  known = [[619, 183, 198], [237, 794, -31], [-219, 580, 639]]
  assert found.tolist() == known


def test_levels_by_hand():
  tables = rendering._tables(manifest.Strengths())
  for name, levels in (
    ("overcast", (51, 128, 204)),  # 51.2, 128 and 204.2
    ("snow", (26, 128, 230)),
    ("night", (0, 20, 89)),
  ):
    assert tables[name].dtype == np.uint8 and tables[name].shape == (256,)
    assert tables[name][[0, 128, 255]].tolist() == list(levels)
  more = rendering._tables(manifest.Strengths(overcast_contrast=2))["overcast"]
  assert more[[0, 64, 65, 191, 192]].tolist() == [0, 0, 2, 254, 255]
  levels = np.array([[-300, 200, 100]], np.int16)
  found = rendering._add(np.array([[255, 200, 7]], np.uint8), levels)
  assert found.tolist() == [[0, 255, 107]] and found.dtype == np.uint8


def test_frames_may_be_read_as_another_type():
  frames = rendering.Frames(IMAGES, still())
  found = np.asarray(frames, np.float32)
  assert found.dtype == np.float32 and found.tolist() == frames[:].tolist()
  assert len(frames) == 40 and frames[np.int64(3)].shape == (12, 10, 3)
  with pytest.raises(ValueError, match="90, 12, 10, 3, 1.: give"):
    rendering.Frames(IMAGES[..., None], still())
  with pytest.raises(ValueError, match="91 images, but the manifest was made"):
    rendering.Frames(np.concatenate([IMAGES, IMAGES[:1]]), still())
