"""Lists of image files: both formats, order, and damage."""

import csv
import json

import numpy as np
from PIL import Image
import pytest
import signatures

from jcl.streams import frame_lists

ENTRIES = [
  {"file": "a.png", "category": "car", "attributes": {"weather": "rain"}},
  {"file": "b.png", "category": "bus", "attributes": {"weather": "clear"}},
  {"file": "a.png", "category": "car", "attributes": {"weather": "clear"}},
]


@pytest.fixture
def folder(tmp_path):
  for name, level in (("a", 10), ("b", 200)):
    Image.new("RGB", (6, 4), (level, 0, 0)).save(tmp_path / f"{name}.png")
  return tmp_path


def write_json(folder, entries):
  path = folder / "list.json"
  path.write_text(json.dumps(entries))
  return path


def write_csv(folder, rows):
  path = folder / "list.csv"
  with path.open("w", newline="") as file:
    csv.writer(file).writerows(rows)
  return path


def check(found):
  assert len(found) == 3
  assert found.categories == ("bus", "car")
  assert found.y.tolist() == [1, 0, 1]
  assert found.attributes == {"weather": ("rain", "clear", "clear")}
  assert found.x.shape == (3, 4, 6, 3)
  assert found.x[np.array([1, 2])][:, 0, 0, 0].tolist() == [200, 10]


def test_both_formats_say_the_same(folder):
  check(frame_lists.read(write_json(folder, ENTRIES), folder))
  flat = [entry | entry["attributes"] for entry in ENTRIES]
  for entry in flat:
    del entry["attributes"]
  check(frame_lists.read(write_json(folder, flat), folder))
  rows = [list(flat[0])] + [list(entry.values()) for entry in flat]
  check(frame_lists.read(write_csv(folder, rows), folder))


def test_categories_and_size_can_be_given(folder):
  found = frame_lists.read(
    write_json(folder, ENTRIES),
    folder,
    categories=["car", "truck", "bus"],
    size=8,
  )
  assert found.y.tolist() == [0, 2, 0]
  assert found.x[np.array([0])].shape == (1, 8, 8, 3)


def test_frames_are_in_order(folder):
  rows = [["file", "category", "frame"], ["a.png", "car", 3]]
  ordered = [*rows, ["b.png", "car", 10]]
  found = frame_lists.read(write_csv(folder, ordered), folder)
  assert found.attributes == {}
  for frame, message in (
    (3, "entry 1, .*b.png.* is out of order"),
    (2, "entry 1, .* is out of order"),
    ("x", "entry 1, .* no number"),
  ):
    path = write_csv(folder, [*rows, ["b.png", "car", frame]])
    with pytest.raises(ValueError, match=message):
      frame_lists.read(path, folder)


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    ([], "has no entries"),
    ({"file": "a.png"}, "holds no list"),
    (["a.png"], "entry 0, a.png, is not of the form"),
    ([{"file": "a.png"}], "entry 0, .* has no category"),
    ([{"file": "", "category": "car"}], "entry 0, .* has no file"),
    ([*ENTRIES, {"file": "c.png", "category": "car"}], "entry 3, .* weather"),
    (
      [{"file": "c.png", "category": "car"}],
      "entry 0, .*c.png.* names a file that is not in",
    ),
    (
      [{"file": "a.png", "category": "car", "attributes": 3}],
      "entry 0, .* unclear",
    ),
  ],
)
def test_the_wrong_entry_is_named(folder, entries, message):
  path = write_json(folder, entries)
  with pytest.raises(ValueError, match=message):
    frame_lists.read(path, folder)


def test_unknown_categories_are_named(folder):
  path = write_json(folder, ENTRIES)
  with pytest.raises(ValueError, match="entry 1, .*bus.* known: car"):
    frame_lists.read(path, folder, categories=["car"])


def test_damaged_lists_are_named(folder):
  path = folder / "list.json"
  path.write_text("[{")
  with pytest.raises(ValueError, match="list.json is damaged"):
    frame_lists.read(path, folder)
  with pytest.raises(ValueError, match="ends in .json or .csv"):
    frame_lists.read(folder / "list.txt", folder)
  with pytest.raises(FileNotFoundError):
    frame_lists.read(folder / "none.json", folder)
  path = write_csv(folder, [["file", "category"], ["a.png", "car", "more"]])
  frame_lists.read(path, folder)


@pytest.mark.parametrize(
  "error", [csv.Error, OSError, RecursionError, ValueError]
)
def test_any_error_of_a_damaged_list_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(text):
    raise error("no such thing")

  (tmp_path / "a.json").write_text("[]")
  monkeypatch.setattr(frame_lists.json, "loads", fail)
  with pytest.raises(ValueError, match="a.json is damaged .*no such thing"):
    frame_lists.read(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_name_that_no_file_can_have_is_no_file(error, monkeypatch):
  def fail(path):
    raise error("no such thing")

  monkeypatch.setattr(frame_lists.Path, "is_file", fail)
  assert frame_lists._is_file(frame_lists.Path("a")) is False


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(frame_lists.FrameList)
