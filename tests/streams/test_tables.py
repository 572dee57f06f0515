import gzip
import pickle

import numpy as np
import pytest

from jcl.options import errors
from jcl.streams import tables


def table(path, rows, header="a,b,label"):
  text = "\n".join([header, *rows]) + "\n"
  if path.suffix == ".gz":
    path.write_bytes(gzip.compress(text.encode()))
  else:
    path.write_text(text)


@pytest.mark.parametrize("name", ["toy.csv", "toy.csv.gz"])
def test_csv_keeps_time_and_holds_out_the_end_of_each_tenth(tmp_path, name):
  rows = [f"{i},{i / 2},{'up' if i % 3 else 'down'}" for i in range(50)]
  table(tmp_path / name, rows)
  train, test = tables.csv(tmp_path, path=name)
  assert train.name == "toy"
  assert test.x[:, 0].tolist() == list(range(4, 50, 5))
  assert train.x[:5, 0].tolist() == [0, 1, 2, 3, 5]
  assert train.x.dtype == np.float32 and train.x[3, 1] == 1.5
  assert train.class_names == ("down", "up")
  assert train.y[:4].tolist() == [0, 1, 1, 0]


def test_csv_label_anywhere_and_whole_floats(tmp_path):
  rows = [f"{7.0 if i % 2 else 3.0},{i},True" for i in range(20)]
  table(tmp_path / "t.csv", rows)
  train, test = tables.csv(tmp_path, path=str(tmp_path / "t.csv"), label="a")
  assert test.x[:, 0].tolist() == [4, 9, 14, 19]
  assert train.class_names == ("3", "7")
  assert train.x.shape[1] == 2


@pytest.mark.parametrize(
  "rows, header, label, message",
  [
    (["1,x,0"] * 20, "a,b,label", None, "'b' is not numeric .line 2 holds 'x'"),
    (["1,2,0.5"] * 20, "a,b,label", None, "holds '0.5', which is no class"),
    (["1,2,0"] * 5 + ["1,2,"], "a,b,label", None, "line 7, column 'label' hol"),
    (["1,2,0"] * 20, "a,b,label", None, "label .the last column. is always 0"),
    (["1,2,0"] * 20, "a,b,label", "c", "no column 'c'; write label=.*a, b"),
    (["1"] * 20, "label", None, "no column beside"),
    (["1,2,0"] * 4, "a,b,label", None, "has 4 rows, too few"),
  ],
)
def test_csv_complains(tmp_path, rows, header, label, message):
  table(tmp_path / "t.csv", rows, header)
  with pytest.raises(ValueError, match=message) as caught:
    tables.csv(tmp_path, path="t.csv", label=label)
  assert str(tmp_path / "t.csv") in str(caught.value)


@pytest.mark.parametrize(
  "name, content",
  [
    ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:-20]),
    ("t.csv.gz", b"plain"),
  ],
  # The bytes of a gzip header tell the time, and names must not change.
  ids=["cut", "not-compressed"],
)
def test_csv_damage_is_named(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=f"{name} is damaged"):
    tables.csv(tmp_path, path=name)


def test_missing_tables(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.csv"):
    tables.csv(tmp_path, path="none.csv")
  with pytest.raises(FileNotFoundError, match="Harries.*1999"):
    tables.electricity(tmp_path)
  with pytest.raises(FileNotFoundError, match="none.npz"):
    tables.npz(tmp_path, path="none.npz")


@pytest.mark.parametrize("read", [tables.csv, tables.npz])
def test_a_path_is_looked_for_in_two_places(read, tmp_path, monkeypatch):
  data, here = tmp_path / "data", tmp_path / "here"
  data.mkdir()
  (here / "own").mkdir(parents=True)
  monkeypatch.chdir(here)
  name = f"own/t.{read.__name__}"
  with pytest.raises(errors.MissingFileError) as told:
    read(data, path=name)
  for place in (data / name, here / name):
    assert str(place) in str(told.value)
  assert "below --data_dir or below the working directory" in str(told.value)

  def write(folder, num):
    x, y = np.arange(num), np.arange(num) % 2
    (folder / "own").mkdir(exist_ok=True)
    if read is tables.npz:
      np.savez(folder / name, x=np.float32(x)[:, None], y=y)
    else:
      rows = [f"{a},{b}" for a, b in zip(x, y, strict=True)]
      table(folder / name, rows, header="a,label")

  def rows_read():
    return sum(len(part) for part in read(data, path=name) if part is not None)

  write(here, 50)
  assert rows_read() == 50
  write(data, 60)  # looked for first
  assert rows_read() == 60
  with pytest.raises(errors.MissingFileError) as told:
    read(data, path=str(here / "none"))
  assert str(told.value).count("none\n") == 1  # an absolute path: one place


def test_electricity(tmp_path):
  (tmp_path / "electricity").mkdir()
  header = "period,nswprice,nswdemand,vicprice,vicdemand,transfer,class"
  rows = [f"0.1,0.2,0.3,0.4,0.5,0.6,{i % 2}" for i in range(100)]
  table(tmp_path / "electricity" / "elec.csv.gz", rows, header)
  train, test = tables.electricity(tmp_path)
  assert train.x.shape == (80, 6) and len(test) == 20


def test_npz(tmp_path):
  x, y = np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 2, 0])
  np.savez(tmp_path / "one.npz", x=x, y=y)
  train, test = tables.npz(tmp_path, path="one.npz")
  assert test is None and train.class_names == ("0", "1", "2")
  np.savez(
    tmp_path / "two.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[1:2] + 3
  )
  train, test = tables.npz(tmp_path, path="two.npz")
  assert test.y.tolist() == [3]
  assert train.class_names == test.class_names == ("0", "1", "2", "4")


def test_npz_numbers_labels_and_groups(tmp_path):
  x = np.zeros((4, 2), np.float32)
  np.savez(
    tmp_path / "own.npz",
    x_train=x,
    y_train=np.array([[731001], [400123], [400123], [731001]]),
    group_train=np.array(["wood", "sea", "sea", "wood"]),
    x_test=x[:2],
    y_test=np.array([[400123], [400987]]),
    group_test=np.array(["air", "wood"]),
  )
  train, test = tables.npz(tmp_path, path="own.npz")
  assert train.class_names == test.class_names == ("400123", "400987", "731001")
  assert train.y.tolist() == [2, 0, 0, 2] and test.y.tolist() == [0, 1]
  assert train.group_names == test.group_names == ("air", "sea", "wood")
  assert train.group.tolist() == [2, 1, 1, 2] and test.group.tolist() == [0, 2]
  np.savez(tmp_path / "whole.npz", x=x, y=np.arange(4), group=[7, 7, 2, 2])
  train, test = tables.npz(tmp_path, path="whole.npz")
  assert test is None and train.group.tolist() == [1, 1, 0, 0]
  assert train.group_names == ("2", "7")


@pytest.mark.parametrize(
  "arrays, message",
  [
    ({"images": [1]}, "no x_train: it has 'images'; name its arrays x_train"),
    ({"x": [[1.0]]}, "no y: it has 'x'"),
    ({"y_train": [1]}, "no x_train"),
    ({"x": [[1.0]], "y": [1], "id": [1]}, "'id', which is not read beside 'x'"),
    ({"x": [[1.0]], "y": [1], "x_train": [[1.0]]}, "'x_train', which is not"),
    ({"x": [[1.0]], "y": [1], "group_train": [1]}, "'group_train', which is"),
    ({"x": [[1.0]], "y": [1], "y_test": [1]}, "no x_test"),
    (
      {"x": [[1.0]], "y": [1], "group": [1], "x_test": [[1.0]], "y_test": [1]},
      "no group_test",
    ),
    (
      {
        "x": [[1.0]],
        "y": [1],
        "x_test": [[1.0]],
        "y_test": [1],
        "group_test": [1],
      },
      "group_test but no group:",
    ),
    ({"x": np.array([{}, {}]), "y": [0, 1]}, "x holds Python obj.*np.stack"),
    ({"x": [[0.0]], "y": np.array(["a"], object)}, r"y holds .*astype\(str\)"),
  ],
)
def test_npz_complains(tmp_path, arrays, message):
  np.savez(tmp_path / "bad.npz", **arrays)
  with pytest.raises(ValueError, match=message) as raised:
    tables.npz(tmp_path, path="bad.npz")
  assert len(str(raised.value)) < 600


def test_an_array_is_no_archive(tmp_path):
  np.save(tmp_path / "one.npy", np.zeros(3))
  with pytest.raises(ValueError, match="one array, not an archive"):
    tables.npz(tmp_path, path="one.npy")
  for content in (
    b"a,b\n1,2\n",
    b"MATLAB 5.0 MAT-file",
    pickle.dumps({"x": 1}),
  ):
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is no archive of NumPy; save one"):
      tables.npz(tmp_path, path="other.npz")


def test_npz_damage_is_named(tmp_path):
  np.savez(tmp_path / "cut.npz", x=np.zeros((9, 9)), y=np.zeros(9, int))
  whole = (tmp_path / "cut.npz").read_bytes()
  (tmp_path / "cut.npz").write_bytes(whole[:300])
  with pytest.raises(ValueError, match="cut.npz is damaged"):
    tables.npz(tmp_path, path="cut.npz")


@pytest.mark.parametrize("num, held", [(5, [4]), (9, [7, 8]), (10, [4, 9])])
def test_five_rows_suffice(tmp_path, num, held):
  table(tmp_path / "t.csv", [f"{i},0,{i % 2}" for i in range(num)])
  train, test = tables.csv(tmp_path, path="t.csv")
  assert test.x[:, 0].tolist() == held and len(train) == num - len(held)


def test_there_are_ten_parts_at_most(tmp_path):
  table(tmp_path / "t.csv", [f"{i},0,{i % 2}" for i in range(60)])
  _, test = tables.csv(tmp_path, path="t.csv")
  assert test.x[:, 0].tolist() == list(range(5, 60, 6))  # a fifth of six


def test_a_label_that_is_always_the_same_is_named_in_forty_letters(tmp_path):
  long = "c" * 41
  table(tmp_path / "t.csv", [f"1,2,{'v' * 41}"] * 5, f"a,b,{long}")
  with pytest.raises(ValueError) as caught:
    tables.csv(tmp_path, path="t.csv", label=long)
  told = f"the label ({'c' * 37}...) is always {'v' * 37}...; write label="
  assert told in str(caught.value)


def test_groups_of_a_table_are_split_like_its_rows(tmp_path):
  rows = [f"{i}.5,{'bo' if i < 7 else 'al'},{i % 2}" for i in range(10)]
  table(tmp_path / "t.csv", rows, "a,who,label")
  train, test = tables.csv(tmp_path, path="t.csv", group="who")
  assert train.group_names == test.group_names == ("al", "bo")
  assert train.group.tolist() == [1] * 6 + [0] * 2
  assert test.group.tolist() == [1, 0] and train.notes == ()
  table(tmp_path / "u.csv", ["1,2,0", "3,4,1"] * 5, "9,8,7")
  train, test = tables.csv(tmp_path, path="u.csv", header=False)
  assert train.group is None and test.group is None
  assert train.notes == test.notes and "columns are called" in train.notes[0]


def test_electricity_beside_its_folder(tmp_path):
  header = "period,nswprice,nswdemand,vicprice,vicdemand,transfer,class"
  rows = [f"0.1,0.2,0.3,0.4,0.5,0.6,{i % 2}" for i in range(10)]
  table(tmp_path / "elec.csv.gz", rows, header)
  train, test = tables.electricity(tmp_path)
  assert (train.name, len(train), len(test)) == ("electricity", 8, 2)


def test_arrays_of_python_objects_are_told_by_their_kind(tmp_path):
  x, y = np.zeros((2, 3)), np.arange(2)
  objects = np.array([{}, {}])
  for bad, advice in (
    ({"x_train": objects}, "save x as np.stack makes of"),
    ({"y_train": objects}, r"save y\.astype\(str\) of text"),
    ({"group_train": objects}, r"save text by \.astype\(str\), numbers by"),
  ):
    np.savez(tmp_path / "a.npz", **{"x_train": x, "y_train": y, **bad})
    (key,) = bad
    with pytest.raises(ValueError, match=f"{key} holds Python .*{advice}"):
      tables.npz(tmp_path, path="a.npz")


def test_an_empty_file_is_a_damaged_archive(tmp_path):
  for content in (b"", b"PK", b"\x93NUMPY"):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="a.npz is damaged"):
      tables.npz(tmp_path, path="a.npz")


def test_a_test_set_beside_one_set(tmp_path):
  x, y = np.zeros((2, 3), np.float32), np.arange(2)
  np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x + 1, y_test=y + 1)
  train, test = tables.npz(tmp_path, path="a.npz")
  assert train.class_names == ("0", "1", "2") and test.y.tolist() == [1, 2]
  assert test.x.tolist() == (x + 1).tolist()
  assert train.group is None and test.group is None
