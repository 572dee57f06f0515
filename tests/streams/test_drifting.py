"""The ladder, the split, and manifests that come back as they were."""

import dataclasses
import json

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.streams import drifting, manifest

LABELS = np.arange(600) % 10


def small(name="S6", seed=0, **options):
  options = {"fps": 6, "segment_seconds": 10, **options}
  rows = drifting.split(LABELS, seed=seed).stream
  return drifting.build(name, LABELS, rows, seed=seed, **options)


def values(segments, attribute):
  return {getattr(each, attribute) for each in segments}


def changes(segments):
  pairs = zip(segments, segments[1:], strict=False)
  return [i for i, (a, b) in enumerate(pairs, 1) if a != b]


def test_the_control_never_changes():
  assert drifting.ladder("none", seed=0) == (manifest.Attributes(),) * 28


@pytest.mark.parametrize(
  ("name", "varying"),
  [
    ("S1", {"mix"}),
    ("S2", {"mix", "light"}),
    ("S3", {"mix", "place"}),
    ("S4", {"mix", "weather"}),
    ("S5", {"mix", "light", "place"}),
    ("S6", {"mix", "light", "place", "weather"}),
  ],
)
def test_each_rung_has_its_attributes(name, varying):
  gaps = []
  for seed in range(30):
    segments = drifting.ladder(name, seed=seed)
    assert len(segments) == 28
    found = {a for a in manifest.VALUES if len(values(segments, a)) > 1}
    assert found == varying
    at = changes(segments)
    assert at[0] < 8  # the warm-up drifts already
    assert all(i % 2 for i in at)  # never where a window begins
    gaps += np.diff([0, *at]).tolist()
  assert 4.5 < np.mean(gaps) < 5.5


def test_the_extremes_flip_everything_every_two_minutes():
  for name in ("ES1", "ES2"):
    segments = drifting.ladder(name, seed=0)
    at = changes(segments)
    assert at == list(range(1, 28, 2))
    for i in at:
      pair = segments[i - 1], segments[i]
      assert all(
        getattr(pair[0], a) != getattr(pair[1], a) for a in manifest.VALUES
      )
    assert all(len(values(segments, a)) > 1 for a in manifest.VALUES)
    assert values(segments, "weather") == set(manifest.VALUES["weather"])
  first, second = (drifting.ladder(n, seed=0) for n in ("ES1", "ES2"))
  assert first[0] == manifest.Attributes()
  assert second[0].light == "night" and second[0].mix == "B"


@hypothesis.given(
  st.lists(st.integers(3, 12), min_size=1, max_size=6), st.integers(0, 9)
)
def test_no_image_is_in_two_parts(sizes, seed):
  labels = np.repeat(np.arange(len(sizes)), sizes)
  parts = drifting.split(labels, seed=seed)
  everything = np.concatenate(parts)
  assert len(set(everything.tolist())) == len(everything) == len(labels)
  for part in parts:
    assert set(labels[part].tolist()) == set(range(len(sizes)))


def test_shares_of_the_parts():
  parts = drifting.split(LABELS, (0.1, 0.2, 0.3), seed=0)
  assert [len(part) for part in parts] == [60, 120, 180]


def test_the_bounds_of_shares():
  # a third each of three images, and of six by rounding
  thirds = (0.5, 0.25, 0.25)
  parts = drifting.split([0] * 3, thirds, seed=0)
  assert [len(part) for part in parts] == [1, 1, 1]
  parts = drifting.split([0] * 8, thirds, seed=0)
  assert [len(part) for part in parts] == [4, 2, 2]
  # at least one image each, wherever the shares round to none
  for shares in ((0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)):
    parts = drifting.split([0] * 10, shares, seed=0)
    assert sorted(len(part) for part in parts) == [1, 1, 8]
  for shares in ((0, 0.5, 0.5), (0.5, 0.3, 0.3)):
    with pytest.raises(ValueError, match="three above 0, of sum 1 at most"):
      drifting.split(LABELS, shares, seed=0)


def test_the_extremes_by_hand():
  first, second = (
    drifting.ladder(name, seed=0, segments=5) for name in ("ES1", "ES2")
  )
  night, weather = manifest.VALUES["light"], manifest.VALUES["weather"]
  turns = [night.index(each.light) for each in first]
  assert turns == [0, 1, 1, 0, 0]
  assert [night.index(each.light) for each in second] == [1, 0, 0, 1, 1]
  turns = [weather.index(each.weather) for each in first]
  assert turns == [0, 1, 1, 2, 2]
  turns = [weather.index(each.weather) for each in second]
  assert turns == [3, 2, 2, 1, 1]
  assert len(drifting.ladder("S1", seed=0, segments=1)) == 1


def test_label_mixes():
  a, b = (drifting.prior(mix, 9, 3) for mix in "AB")
  assert sorted(a / a.max(), reverse=True) == pytest.approx(
    [1 / rank for rank in range(1, 10)]
  )
  rare = np.argsort(a)[:4]
  assert b[rare] == pytest.approx(0.225)
  assert b.sum() == pytest.approx(1)
  few = drifting.prior("B", 3, 0)
  assert sorted(few) == pytest.approx([0.05, 0.05, 0.9])
  for classes, major in ((2, 1), (7, 3), (8, 4), (20, 4)):
    found = drifting.prior("B", classes, 0)
    rarest = np.argsort(drifting.prior("A", classes, 0))[:major]
    assert found[rarest] == pytest.approx(0.9 / major)
    assert found.sum() == pytest.approx(1)
  two = drifting.build("none", [0, 1], [0, 1], seed=0, classes=2, fps=1)
  assert len(two) == 28 * 60


def test_tracks_show_one_image_for_some_frames():
  stream = small(fps=30, segment_seconds=20)
  length = stream.segment_frames
  for track in np.unique(stream.track)[:200]:
    rows = np.flatnonzero(stream.track == track)
    assert len(np.unique(stream.source[rows])) == 1
    assert np.all(np.diff(rows) == 1)
    assert rows[0] // length == rows[-1] // length
    ends = (rows[-1] + 1) % length == 0
    assert len(rows) <= 30 and (len(rows) >= 10 or ends)
  assert stream.label.tolist() == LABELS[stream.source].tolist()
  assert stream.label.max() == 8  # of ten classes nine take part
  assert np.abs(stream.shift).max() == 4
  assert np.abs(stream.gain - 1000).max() == 20
  rows = drifting.split(LABELS, seed=0).stream
  assert set(stream.source.tolist()) <= set(rows.tolist())


def test_mixes_reach_the_frames():
  stream = small("S1", fps=30, segment_seconds=60)
  share = {}
  for mix in "AB":
    segments = [i for i, e in enumerate(stream.segments) if e.mix == mix]
    frames = np.isin(np.arange(len(stream)) // 1800, segments)
    share[mix] = np.bincount(stream.label[frames], minlength=9) / frames.sum()
    order = np.random.SeedSequence(0).generate_state(2)[1]
    expected = drifting.prior(mix, 9, int(order))
    np.testing.assert_allclose(share[mix], expected, atol=0.06)


def same(first, second):
  for field in dataclasses.fields(manifest.Manifest):
    a, b = getattr(first, field.name), getattr(second, field.name)
    if isinstance(a, np.ndarray):
      assert a.dtype == b.dtype
      np.testing.assert_array_equal(a, b)
    else:
      assert a == b


def test_manifests_repeat_and_come_back(tmp_path):
  stream = small(strengths=manifest.Strengths(night_gain=0.5))
  same(stream, small(strengths=manifest.Strengths(night_gain=0.5)))
  manifest.save(stream, tmp_path / "s6")
  same(stream, manifest.load(tmp_path / "s6"))
  assert stream.changes == tuple(60 * i for i in changes(stream.segments))
  assert stream.attributes(119) == stream.segments[1]
  other = small(seed=1)
  assert not np.array_equal(stream.source, other.source)


@pytest.mark.parametrize("seconds", [1, 4])
def test_small_scenarios_have_the_same_structure(seconds):
  stream = small("S2", segment_seconds=seconds)
  assert len(stream) == 28 * 6 * seconds
  assert stream.segments == small("S2").segments


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_damaged_manifests_are_named(tmp_path, suffix):
  manifest.save(small(), tmp_path / "s6")
  path = tmp_path / f"s6.{suffix}"
  path.write_bytes(path.read_bytes()[:50])
  with pytest.raises(ValueError, match="s6.json or .npz is damaged"):
    manifest.load(tmp_path / "s6")
  path.unlink()
  with pytest.raises(FileNotFoundError):
    manifest.load(tmp_path / "s6")


def test_strengths_and_their_bounds():
  published = (2.2, 0.35, 0.03, 0.08, 0.6, 2, 0.6, 7, 0.02, 0.04, 0.8)
  assert dataclasses.astuple(manifest.Strengths()) == published
  least = manifest.Strengths(hue=0, squeeze=1, rain_blur=1, night_gamma=0.1)
  assert (least.hue, least.squeeze) == (0, 1)
  for name, bad in [("hue", 100), ("night_gain", -0.1)] + [
    (name, 0) for name in ("squeeze", "rain_blur", "night_gamma")
  ]:
    with pytest.raises(ValueError, match=f"{name}={bad}: give"):
      manifest.Strengths(**{name: bad})


def test_the_bounds_of_a_manifest():
  found = small(segments=1)
  frames = len(found)
  edge = {
    "source": np.full(frames, 599, np.int32),
    "shift": np.full((frames, 2), -4, np.int8),
    "plate": np.full((frames, 2), 63, np.uint8),
  }
  assert len(dataclasses.replace(found, **edge)) == 60
  for name, bad in (
    ("source", np.full(frames, 600)),
    ("source", np.full(frames, -1)),
    ("shift", np.full((frames, 2), -5)),
    ("plate", np.full((frames, 2), 64)),
    ("plate", np.zeros(frames)),
  ):
    with pytest.raises(ValueError, match=name):
      dataclasses.replace(found, **{name: bad})
  for value, name in (
    (found, "seed"),
    (found.strengths, "hue"),
    (found.segments[0], "mix"),
  ):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(value, name, 1)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: drifting.ladder("S7", seed=0), "name='S7'"),
    (lambda: drifting.ladder("S1", seed=0, segments=0), "segments=0"),
    (lambda: small(fps=0), "fps=0"),
    (lambda: small(classes=1), "classes=1"),
    (lambda: small(segment_seconds=0), "segment_seconds=0"),
    (lambda: small(classes=11), r"no image among the rows is of 10: "),
    (lambda: drifting.split([0, 0], seed=0), "class 0 has 2 images"),
    (lambda: drifting.split(LABELS, (1, 1, 1), seed=0), "shares="),
    (lambda: manifest.Attributes(weather="hail"), "weather='hail'"),
    (lambda: manifest.Strengths(hue=-1), "hue=-1"),
    (lambda: manifest.Strengths(squeeze=0), "squeeze=0"),
    (
      lambda: dataclasses.replace(small(), label=np.zeros(3)),
      r"label has shape \(3,\)",
    ),
    (lambda: dataclasses.replace(small(), num_images=5), "among 5 images"),
    (
      lambda: dataclasses.replace(small(), shift=np.full((1680, 2), 5)),
      "shift reaches 5",
    ),
  ],
)
def test_bad_options_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_defaults():
  assert signatures.defaults(drifting.split) == {"shares": (0.3, 0.4, 0.3)}
  assert signatures.defaults(drifting.ladder) == {"segments": 28}
  assert signatures.defaults(drifting.build) == {
    "classes": 9,
    "fps": 30,
    "segment_seconds": 60,
    "segments": 28,
  }


@pytest.mark.parametrize(
  "error",
  [
    *(AttributeError, EOFError, KeyError, OSError, TypeError, ValueError),
    RecursionError,
  ],
)
def test_any_error_of_a_damaged_manifest_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(text):
    raise error("no such thing")

  (tmp_path / "a.json").write_text("{}")
  monkeypatch.setattr(manifest.json, "loads", fail)
  with pytest.raises(ValueError, match="a.json or .npz is damaged .*no such"):
    manifest.load(tmp_path / "a")
  with pytest.raises(FileNotFoundError):
    manifest.load(tmp_path / "b")


@pytest.mark.parametrize(
  ("name", "known"),
  [
    ("S1", [("Ad0c", 5), ("Bd0c", 6), ("Ad0c", 6), ("Bd0c", 6), ("Ad0c", 4),
            ("Bd0c", 1)]),
    ("S6", [("Ad0c", 5), ("Bn0c", 6), ("Bd0c", 4), ("Bd1c", 4), ("Bd0s", 4),
            ("Ad0s", 4), ("An0s", 1)]),
  ],
)  # fmt: skip
def test_the_ladder_of_a_seed_stays_as_it_is(name, known):
  """Mix, light, place and weather, by a letter each, and for how long."""
  found = [
    each.mix + each.light[0] + each.place[1] + each.weather[0]
    for each in drifting.ladder(name, seed=1)
  ]
  assert found == [letters for letters, num in known for _ in range(num)]


def test_names_and_mixes_may_come_from_a_file():
  def read(text):
    return json.loads(json.dumps(text))  # another object of the same letters

  for name in drifting.NAMES:
    found = drifting.ladder(read(name), seed=2)
    assert found == drifting.ladder(name, seed=2)
  assert len({drifting.ladder(n, seed=2) for n in drifting.NAMES}) == 9
  for mix in "AB":
    expected = drifting.prior(mix, 9, 3)
    assert drifting.prior(read(mix), 9, 3).tolist() == expected.tolist()


def test_all_images_of_a_class_are_shown_before_one_repeats():
  stream = small("S1", fps=30, segment_seconds=20)
  first = np.flatnonzero(np.diff(stream.track, prepend=-1))
  sources = stream.source[first]
  held = drifting.split(LABELS, seed=0).stream
  for label in range(9):
    shown = sources[LABELS[sources] == label]
    num = int((LABELS[held] == label).sum())
    assert len(set(shown[:num].tolist())) == min(num, len(shown))
    assert shown[num:].tolist() == shown[: max(0, len(shown) - num)].tolist()
  lengths = np.diff(np.append(first, len(stream)))
  assert lengths.max() == 30 and 10 in lengths
  assert (stream.gain.min(), stream.gain.max()) == (980, 1020)
  assert (stream.shift.min(), stream.shift.max()) == (-4, 4)
  assert (stream.plate.min(), stream.plate.max()) == (0, 63)
  assert stream.track[0] == 0 and stream.track[-1] == len(first) - 1


def test_strengths_that_are_given_are_taken():
  given = manifest.Strengths(night_gain=0.5)
  assert small(segments=1, strengths=given).strengths == given
  assert small(segments=1).strengths == manifest.Strengths()


def test_a_manifest_as_it_is_written(tmp_path):
  manifest.save(small("S1", segments=2), tmp_path / "s1")
  text = (tmp_path / "s1.json").read_text()
  assert text.startswith('{\n "format": 1,\n "name": "S1",\n "seed": 0,\n')
  fields = json.loads(text)
  fields["format"] = 2
  (tmp_path / "s1.json").write_text(json.dumps(fields))
  with pytest.raises(ValueError, match="its format is not 1"):
    manifest.load(tmp_path / "s1")


def test_manifests_are_told_apart_by_identity_and_may_be_empty():
  found = small(segments=1)
  assert len({found, found, dataclasses.replace(found)}) == 2
  none = {name: getattr(found, name)[:0] for name in manifest.ARRAYS}
  assert len(dataclasses.replace(found, segments=(), **none)) == 0
  with pytest.raises(
    ValueError, match="shift reaches 5 and .*: give 4 and 63 a"
  ):
    dataclasses.replace(found, shift=np.full((60, 2), 5))
  day, night = (manifest.Attributes(light=light) for light in ("day", "night"))
  three = dataclasses.replace(
    small(segments=4), segments=(day, day, night, day)
  )
  assert three.changes == (120, 180)
  assert [three.attributes(at).light for at in (119, 120, 239)] == (
    ["day", "night", "day"]
  )


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(manifest.Manifest)


def test_no_array_of_objects_is_written(tmp_path):
  odd = small()
  object.__setattr__(odd, "label", np.array([None]))
  with pytest.raises(ValueError, match="allow_pickle=False"):
    manifest.save(odd, tmp_path / "s6")
