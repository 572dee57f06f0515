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
