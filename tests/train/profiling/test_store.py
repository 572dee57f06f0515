"""Profiles on disk: kept, found again, never trusted when damaged."""

import dataclasses
import json
import math
import re
import warnings

import numpy as np
import pytest

from jcl.selection.times import TensorTimes
from jcl.train.profiling import store
from tests import tiny_network

TIMES = TensorTimes(
  forward=(0.1, 0.2),
  arrival=(1 / 3, 0.0),
  weight_grad=(1e-9, 2.0),
  update=(0.0, 0.5),
  fixed=0.25,
  method="calibrated",
  backward_total=2.5,
  compile_seconds=1.5,
  about={"rounds": 20, "rates": {"flops_per_second": 1e9}},
)


class Measure:
  """Counts how often it is asked."""

  def __init__(self, times=TIMES):
    self.times, self.calls = times, 0

  def __call__(self):
    self.calls += 1
    return self.times


def key(**more):
  return store.key(tiny_network.build(), 8, "a board", "calibrated", **more)


def test_a_profile_is_measured_once(tmp_path):
  measure = Measure()
  folder = tmp_path / "not" / "there"
  for _ in range(3):
    assert store.load_or_measure(folder, key(), measure) == TIMES
  assert measure.calls == 1
  assert [path.suffix for path in folder.iterdir()] == [".json"]


def test_the_order_of_a_key_does_not_matter(tmp_path):
  measure = Measure()
  for given in (
    {"a": 1, "b": {"c": 2, "d": 3}},
    {"b": {"d": 3, "c": 2}, "a": 1},
  ):
    assert store.load_or_measure(tmp_path, given, measure) == TIMES
  assert measure.calls == 1


def test_nowhere_to_keep_means_measuring(tmp_path):
  measure = Measure()
  for _ in range(2):
    assert store.load_or_measure(None, key(), measure) is TIMES
  assert measure.calls == 2


@pytest.mark.parametrize(
  "other",
  [
    {"batch_size": 9},
    {"device": "another board"},
    {"method": "timed"},
    {"jax": "0.0"},
    {"norms": "batch"},
    {"tensors": {}},
  ],
)
def test_other_circumstances_are_measured_apart(tmp_path, other):
  store.load_or_measure(tmp_path, key(norms="frozen"), Measure())
  measure = Measure()
  told = key(norms="frozen")
  changed = told | other
  assert changed != told
  store.load_or_measure(tmp_path, changed, measure)
  assert measure.calls == 1
  assert len(list(tmp_path.iterdir())) == 2


def test_the_key_names_what_decides():
  told = key(norms="frozen")
  assert told["network"] == "tiny"
  assert told["tensors"]["second/kernel"] == [8, 8]
  assert told["input_shape"] == [4] and told["batch_size"] == 8
  assert told["norms"] == "frozen"
  assert {"jax", "jaxlib", "jcl"} <= set(told)


@pytest.mark.parametrize(
  "damage",
  [
    lambda text: text[: len(text) // 2],
    lambda text: "[]",
    lambda text: text.replace("0.25", "-0.25"),
    lambda text: text.replace('"arrival"', '"departure"'),
    lambda text: "\x00",
  ],
)
def test_a_damaged_file_is_measured_anew(tmp_path, damage):
  store.load_or_measure(tmp_path, key(), Measure())
  (path,) = tmp_path.iterdir()
  text = path.read_text()
  path.write_text(damage(text))
  assert path.read_text() != text
  measure = Measure()
  with pytest.warns(UserWarning, match="damaged"):
    assert store.load_or_measure(tmp_path, key(), measure) == TIMES
  assert measure.calls == 1
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    store.load_or_measure(tmp_path, key(), measure)
  assert measure.calls == 1


def test_where_nothing_can_be_kept_the_profile_still_comes(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  with pytest.warns(UserWarning) as caught:
    assert store.load_or_measure(blocked, key(), Measure()) == TIMES
  assert "could not be kept" in str(caught[-1].message)


def test_a_failed_measurement_leaves_nothing_behind(tmp_path):
  def fail():
    raise RuntimeError("out of memory")

  with pytest.raises(RuntimeError):
    store.load_or_measure(tmp_path, key(), fail)
  assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
  def fail(*args):
    raise OSError("disk full")

  monkeypatch.setattr(store.os, "replace", fail)
  with pytest.warns(UserWarning, match="disk full"):
    store.load_or_measure(tmp_path, key(), Measure())
  assert not list(tmp_path.iterdir())


def test_json_is_strict_and_keeps_every_bit():
  gaps = dataclasses.replace(
    TIMES,
    backward_total=math.nan,
    compile_seconds=math.nan,
    about={"closure": np.float64("nan"), "factors": np.arange(2)},
  )
  text = json.dumps(store.to_json(gaps), allow_nan=False)
  back = store.from_json(json.loads(text))
  assert math.isnan(back.backward_total) and math.isnan(back.compile_seconds)
  assert back.about == {"closure": None, "factors": [0, 1]}
  assert (back.arrival, back.weight_grad) == (TIMES.arrival, TIMES.weight_grad)
  assert store.from_json(store.to_json(TIMES)) == TIMES


def test_a_profile_of_another_format_is_measured_anew(tmp_path):
  store.load_or_measure(tmp_path, key(), Measure())
  (path,) = tmp_path.iterdir()
  assert re.fullmatch(r"times-[0-9a-f]{20}\.json", path.name)
  kept = json.loads(path.read_text())
  assert kept["format"] == 1
  measure = Measure()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    for changed in ({"format": 2}, {"key": {}}):
      path.write_text(json.dumps(kept | changed))
      store.load_or_measure(tmp_path, key(), measure)
  assert measure.calls == 2


@pytest.mark.parametrize("error", [OSError, ValueError, KeyError, TypeError])
def test_whatever_a_damaged_profile_raises_it_is_measured_anew(
  error, tmp_path, monkeypatch
):
  measure = Measure()
  store.load_or_measure(tmp_path, key(), measure)

  def fail(kept):
    raise error("no such thing")

  monkeypatch.setattr(store, "from_json", fail)
  with pytest.warns(UserWarning, match=f"measured anew .{error.__name__}"):
    assert store.load_or_measure(tmp_path, key(), measure) is TIMES
  assert measure.calls == 2


def test_files_of_a_key_in_any_order(tmp_path):
  store.load_or_measure(tmp_path, key(), Measure())
  measure = Measure()
  backwards = dict(reversed(list(key().items())))
  assert store.load_or_measure(tmp_path, backwards, measure) == TIMES
  assert measure.calls == 0
  (path,) = tmp_path.iterdir()
  assert path.read_text().startswith('{\n "format": 1,\n "key": {')


def test_warnings_point_at_the_caller(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  with pytest.warns(UserWarning) as caught:
    store.load_or_measure(blocked, key(), Measure())
  assert {each.filename for each in caught} == {__file__}


def test_what_json_has_no_word_for():
  about = {"rows": [np.float32(0.5), {"a": math.inf}], "n": np.int64(3)}
  told = store.to_json(dataclasses.replace(TIMES, about=about))["about"]
  assert told == {"rows": [0.5, {"a": None}], "n": 3}
  with pytest.raises(TypeError, match="set is not fit for JSON"):
    store.to_json(dataclasses.replace(TIMES, about={"a": {1}}))


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch):
  def fail(name):
    raise store.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(store.metadata, "version", fail)
  assert store._version() == "unknown"
