import bz2
import gzip
import lzma
from pathlib import Path
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from jcl.streams import delimited, dialects, files

LONG = "x" * 37 + "..."  # of more than forty letters


def read(tmp_path, text, name="t.csv", **options):
  path = tmp_path / name
  path.write_bytes(text.encode() if isinstance(text, str) else text)
  return delimited.read(path, delimited.Options(**options))


def complaint(tmp_path, text, **options):
  with pytest.raises(ValueError) as caught:
    read(tmp_path, text, **options)
  message = str(caught.value)
  assert len(message) < 400 and message.count("\n") < 5
  assert "fetch" not in message and str(tmp_path) in message
  return message


@pytest.fixture
def frame():
  rng = np.random.default_rng(0)
  y = rng.integers(0, 4, 60)
  x = (rng.normal(size=(60, 3)) + y[:, None]).round(3)
  return pd.DataFrame(x, columns=list("xyz")).assign(label=y)


@pytest.mark.parametrize(
  "written",
  [
    {},
    {"sep": ";"},
    {"sep": ";", "decimal": ","},
    {"sep": "\t"},
    {"sep": "\t", "decimal": ","},
    {"sep": "|"},
    {"sep": " "},
    {"index": True},
    {"header": False},
    {"header": False, "sep": ";", "decimal": ","},
    {"encoding": "utf-8-sig"},
    {"encoding": "utf-16"},
    {"quoting": 1},
    {"lineterminator": "\r\n"},
    {"lineterminator": "\r"},
    {"index": True, "sep": ";", "decimal": ","},
  ],
)
def test_dialects_are_recognised(tmp_path, frame, written):
  frame.to_csv(tmp_path / "t.csv", **{"index": False, **written})
  table = delimited.read(tmp_path / "t.csv", delimited.Options())
  np.testing.assert_array_equal(
    table.x, frame[list("xyz")].to_numpy(np.float32)
  )
  assert table.y.tolist() == frame["label"].tolist()
  assert table.class_names == ("0", "1", "2", "3")


def test_notes_say_what_was_recognised(tmp_path, frame):
  def notes(**written):
    frame.to_csv(tmp_path / "t.csv", **written)
    return delimited.read(tmp_path / "t.csv", delimited.Options()).notes

  assert (
    "column without a name, are left out (index=false reads them)" in notes()[0]
  )
  assert "columns are called 0 to 3" in notes(index=False, header=False)[0]
  assert "decimal comma" in notes(index=False, sep=";", decimal=",")[0]
  assert notes(index=False) == ()


def test_a_shuffled_index_is_recognised_and_another_is_told(tmp_path, frame):
  frame.sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv")
  table = delimited.read(tmp_path / "t.csv", delimited.Options())
  assert table.x.shape == (60, 3)
  message = complaint(tmp_path, ",x,label\n5,1,0\n5,2,1\n3,4,0\n")
  assert "index=true" in message and "index=false" in message
  table = read(tmp_path, ",x,label\n5,1,0\n5,2,1\n3,4,0\n", index=False)
  assert table.x.shape == (3, 2)


def test_an_index_by_name_and_names_of_rows(tmp_path):
  text = "id,x,label\nb,1,0\na,2,1\n"
  assert read(tmp_path, text, index="id").x.tolist() == [[1], [2]]
  assert read(tmp_path, text, index=True).x.tolist() == [[1], [2]]
  written_by_r = "x,label\nMazda,1,0\nFiat,2,1\n"
  table = read(tmp_path, written_by_r)
  assert table.x.tolist() == [[1], [2]] and "index=false" in table.notes[0]


@pytest.mark.parametrize(
  "text",
  [
    "x,label,\n1,0,\n2,1,\n",
    "x,label,\n1,0\n2,1\n",
    "x,label\n1,0,\n2,1,\n",
  ],
)
def test_separators_at_the_ends_of_lines(tmp_path, text):
  table = read(tmp_path, text)
  assert table.x.tolist() == [[1], [2]] and table.y.tolist() == [0, 1]


def test_no_example_is_taken_for_a_header(tmp_path):
  iris = "5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,versicolor\n"
  table = read(tmp_path, iris)
  assert len(table.x) == 3 and table.class_names == ("setosa", "versicolor")
  message = complaint(tmp_path, iris.replace("5.1,3.5,setosa", "5.1,3.5,odd"))
  assert "line 1 (5.1, 3.5, odd)" in message and "header=false" in message
  assert len(read(tmp_path, "?,2,0\n3,4,1\n", missing="drop", na="?").x) == 1
  message = complaint(tmp_path, "0,1,2\n3,4,5\n6,7,8\n")
  assert "header=true" in message
  assert len(read(tmp_path, "0,1,2\n3,4,5\n6,7,8\n", header=False).x) == 3
  assert len(read(tmp_path, "0,1,2\n3,4,5\n6,7,8\n", header=True).x) == 2


def test_a_column_without_values_does_not_tell_of_a_header(tmp_path):
  message = complaint(tmp_path, "x,5,red\n?,4,blue\n?,3,red\n?,2,blue\n")
  assert "column '0' is not numeric (line 1 holds 'x')" in message


def test_columns_that_numbers_name(tmp_path):
  text = "0,1,2\n0.5,1.5,7\n2.5,3.5,8\n"
  for label in (2, "2", 2.0):
    table = read(tmp_path, text, label=label)
    assert table.x.tolist() == [[0.5, 1.5], [2.5, 3.5]]
  assert read(tmp_path, text, label=2, header=False).x.shape == (3, 2)
  beside_words = read(tmp_path, "a,2.0,b\n1,7,3\n2,8,4\n", label=2)
  assert beside_words.class_names == ("7", "8")
  message = complaint(tmp_path, text, label=3)
  assert "no column '3'; write label= and one of 0, 1, 2" in message
  text = "a,true\n1,0\n2,1\n"
  assert read(tmp_path, text, label=True).x.tolist() == [[1], [2]]
  # Python holds 1 and True for equal; a column that is called 1 is not meant.
  for name, label in (("1", True), ("0", False)):
    message = complaint(tmp_path, f"a,{name},b\n1,0,4\n2,1,5\n", label=label)
    assert f"no column '{label}'; write label= and one of a, {name}" in message


@pytest.mark.parametrize("na", [True, ["?", True], {"a": 1}, [["?"]]])
def test_missing_values_are_told_by_texts(tmp_path, na):
  with pytest.raises(ValueError) as caught:
    read(tmp_path, "x,label\n1,0\n2,1\n", na=na)
  assert str(caught.value).startswith(f"na={na!r}: give the text that means")
  assert str(caught.value).count(".") == 0


def test_columns_of_one_name(tmp_path):
  table = read(tmp_path, "a,a,label\n1,2,0\n3,4,1\n")
  assert table.x.tolist() == [[1, 2], [3, 4]]
  message = complaint(tmp_path, "a,a,label\n1,2,0\n3,4,1\n", label="a")
  assert "2 columns that are called 'a'" in message


def test_groups(tmp_path):
  text = "who,x,label\nbo,1,0\nal,2,1\nbo,3,1\n"
  table = read(tmp_path, text, group="who")
  assert table.group.tolist() == [1, 0, 1] and table.x.shape == (3, 1)
  assert table.group_names == ("al", "bo")
  assert "different columns" in complaint(tmp_path, text, group="label")
  message = complaint(tmp_path, text.replace("al", ""), group="who")
  assert "line 3, column 'who' holds ''" in message


@pytest.mark.parametrize("word", ["", "NA", "nan", "null"])
def test_missing_values_are_shown_where_they_are(tmp_path, word):
  text = (
    'temp,"hum\nidity",label\n1,2,a\n\n3,4,"b\nc"\n' + f"5,{word},a\n6,,a\n"
  )
  message = complaint(tmp_path, text)
  assert f"line 7, column 'hum\\nidity' holds {word!r}, which stands" in message
  assert "the first of 2 in 2 rows" in message
  table = read(tmp_path, text, missing="drop")
  assert table.x.tolist() == [[1, 2], [3, 4]] and table.y.tolist() == [0, 1]
  assert (
    "2 of 4 rows are left out, as they lack values, the first in line 7"
    in (table.notes[-1])
  )


def test_other_words_for_missing_values(tmp_path):
  text = "temp,hum,label\n1,2,0\n3,?,1\n5,6,0\n7,8,1\n"
  message = complaint(tmp_path, text)
  assert "line 3, column 'hum' holds '?', which is no number" in message
  assert "na=?" in message
  for na in ("?", ["?", "-"], "[?, -]"):
    message = complaint(tmp_path, text, na=na)
    assert "line 3, column 'hum' holds '?', which stands for a miss" in message
    assert len(read(tmp_path, text, na=na, missing="drop").x) == 3
  text = text.replace("?", "-999")
  assert "'-999'" in complaint(tmp_path, text, na=-999)


def test_classes_may_be_called_none(tmp_path):
  text = "x,label\n1,None\n2,walk\n"
  assert "na=false" in complaint(tmp_path, text)
  assert read(tmp_path, text, na=False).class_names == ("None", "walk")


@pytest.mark.parametrize(
  "column, value",
  [("date", "2020-01-01"), ("size", '"1,234"'), ("text", "word")],
)
def test_values_that_are_no_numbers_are_shown(tmp_path, column, value):
  text = f"{column},x,label\n1,2,0\n3,4,1\n{value},5,1\n"
  shown = value.replace('"', "'") if '"' in value else repr(value)
  message = complaint(tmp_path, text)
  assert f"line 4, column {column!r} holds {shown}, which is no numb" in message


def test_truth_values_and_huge_numbers(tmp_path):
  text = "a,b,label\nTrue,123456789012345678901234567890,0\nFalse,2,1\n"
  table = read(tmp_path, text)
  assert table.x.tolist() == [
    [1, np.float32(123456789012345678901234567890)],
    [0, 2],
  ]
  message = complaint(tmp_path, text.replace("False", ""))
  assert "line 3, column 'a' holds '', which stands for a miss" in message
  text = "time,label\n1700000000,0\n1700000001,1\n"
  assert "above 16,777,216 are rounded" in read(tmp_path, text).notes[-1]
  message = complaint(tmp_path, "x,label\n1,0\n1e39,1\n")
  assert "line 3, column 'x' holds '1e39', which is infinite" in message
  assert "'inf'" in complaint(tmp_path, "x,label\n1,0\ninf,1\n")


def test_features_that_count_the_rows_are_told(tmp_path):
  rows = "".join(f"{i},{i % 3},{i % 2}\n" for i in range(20))
  table = read(tmp_path, "id,x,label\n" + rows)
  assert table.x.shape == (20, 2) and "count the rows: id" in table.notes[0]


@pytest.mark.parametrize(
  "text, message",
  [
    ("", "is empty"),
    (" \n\n", "is empty"),
    ('""\n""', "is empty"),
    ("x" * 9999 + ",label\na,0\nb,1\n", "is not numeric (line 2 holds 'a')"),
    ("x,label\n1,0\n2,1\n" + "[" * 9999 + ",1\n", "which is no number; mend"),
    ("a,b,label\n", "no rows below its header"),
    ("label\n1\n2\n", "no column beside the label"),
    ("a,b\n1,2\n1,2,3,4\n", "line 3 has 4 fields, the lines before 2"),
    ("a,b\n1,2\n\n1\n3,4\n", "line 4 has 1 fields, the lines before 2"),
    ("a,b\n1,2\x00\n", "line 2 holds a NUL"),
    ("x;label\n1,234;0\n5,678;1\n", "decimal=comma"),
  ],
)
def test_tables_that_cannot_be_read(tmp_path, text, message):
  assert message in complaint(tmp_path, text)


@pytest.mark.parametrize(
  "option",
  [
    {"sep": "=="},
    {"decimal": "x"},
    {"header": "maybe"},
    {"encoding": "klingon"},
    {"encoding": "zip"},
    {"missing": "guess"},
  ],
)
def test_options_of_a_wrong_kind(tmp_path, option):
  with pytest.raises(ValueError, match=f"{next(iter(option))}="):
    read(tmp_path, "x,label\n1,0\n2,1\n", **option)


def test_other_encodings_are_told_and_read(tmp_path):
  text = "x,label\n1,b\n2,\u00fcber\n".encode("latin-1")
  message = complaint(tmp_path, text)
  assert "line 3 is not in the encoding utf-8" in message
  assert "encoding=latin-1" in message
  names = read(tmp_path, text, encoding="latin-1").class_names
  assert names == ("b", "\u00fcber")


def test_compressed_tables(tmp_path):
  text = b"x,label\n1,0\n2,1\n"
  for name, pack in (
    ("t.csv.gz", gzip.compress),
    ("t.csv.bz2", bz2.compress),
    ("t.csv.xz", lzma.compress),
  ):
    assert read(tmp_path, pack(text), name).x.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match=f"{name} is damaged"):
      read(tmp_path, pack(text)[:-9], name)
  with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
    archive.writestr("t.csv", text)
  options = delimited.Options()
  assert delimited.read(tmp_path / "t.zip", options).y.tolist() == [0, 1]
  with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
    archive.writestr("u.csv", text)
  with pytest.raises(ValueError, match="2 files .t.csv, u.csv."):
    delimited.read(tmp_path / "t.zip", options)
  with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
    for name in "abcd":
      archive.writestr(name, text)
  with pytest.raises(ValueError, match=r"6 files \(t.csv, .* c and 1 more\)"):
    delimited.read(tmp_path / "t.zip", options)
  with pytest.raises(ValueError, match="is a folder"):
    delimited.read(tmp_path, options)


def test_content_above_the_limit_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "MOST_BYTES", 1000)
  with pytest.raises(ValueError, match="t.csv.gz has 1,001 bytes or more"):
    read(tmp_path, gzip.compress(b"1,0\n" * 999), "t.csv.gz")


@settings(deadline=None, max_examples=60)
@given(
  values=st.lists(
    st.tuples(st.floats(-99, 99, width=32), st.integers(0, 3)),
    min_size=2,
    max_size=8,
  ),
  sep=st.sampled_from(",;\t|"),
  header=st.booleans(),
  index=st.booleans(),
)
def test_no_value_is_lost_or_changed(
  tmp_path_factory, values, sep, header, index
):
  path = tmp_path_factory.mktemp("t") / "t.csv"
  frame = pd.DataFrame(values, columns=["x", "label"])
  frame.to_csv(path, sep=sep, header=header, index=index and header)
  try:
    table = delimited.read(path, delimited.Options())
  except ValueError as error:
    assert "write " in str(error)
    return
  assert table.x.tolist() == [[np.float32(x)] for x, _ in values]
  names = [table.class_names[i] for i in table.y]
  assert names == [str(y) for _, y in values]


@pytest.mark.parametrize("error", [ValueError, OverflowError, MemoryError])
def test_any_error_of_a_damaged_table_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(*args, **options):
    raise error("no such thing")

  monkeypatch.setattr(pd, "read_csv", fail)
  assert "t.csv is damaged" in complaint(tmp_path, "x,label\n1,0\n2,1\n")


@pytest.mark.parametrize("encoding", ["latin-99", "a\0b", "hex"])
def test_encodings_that_python_does_not_know(tmp_path, encoding):
  with pytest.raises(ValueError, match="is not known; write encoding=utf-8"):
    read(tmp_path, "x,label\n1,0\n2,1\n", encoding=encoding)


def recognised(text, **given):
  options = {"sep": None, "decimal": None, "header": None, **given}
  return dialects.recognise(Path("t.csv"), text.encode(), **options)


def test_records_that_are_blank_are_passed_over():
  def fields(text, sep=","):
    return list(dialects.records(text.encode(), sep))

  assert fields("a, b\n \n1,2\n") == [(1, ["a", "b"]), (3, ["1", "2"])]
  assert fields(",1\n,\n") == [(1, ["", "1"]), (2, ["", ""])]
  assert fields("0\n") == [(1, ["0"])]
  assert fields("a  b\n", " ") == [(1, ["a", "", "b"])]
  assert fields('"a\nb",1\n2,3\n') == [(1, ["a\nb", "1"]), (3, ["2", "3"])]


@pytest.mark.parametrize(
  ("text", "shape"),
  [
    ("a,b\n", (1, 2, False)),
    ("a,b,\n", (1, 3, False)),
    ("a,b\n1,2\n", (2, 2, False)),
    ("a,b\n1,2,\n3,4,\n", (3, 2, True)),
    ("a,b,\n1,2,\n", (2, 2, True)),
    ("a,b,\n1,2\n3,4\n", (3, 2, True)),
    ("a,b,\n1,2,\n3,4,5\n", (3, 3, False)),
    ("a,b,\n1,2,3\n3,4,\n", (3, 3, False)),
    ("a,b\n1,\n2,\n", (3, 2, False)),  # an empty column with a name
    ("a,b\nr,1,2\nq,3,4\n", (3, 3, False)),  # rows have names
  ],
)
def test_the_shape_of_a_table(text, shape):
  assert dialects._shape(Path("t.csv"), text.encode(), ",") == shape


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("a,b\n1,2,3,4\n", "line 2 has 4 fields, the lines before 2 (separated"),
    ("a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the lines before 2"),
    ("a,b\n1,2,3\n1,2\n", "line 3 has 2 fields, the lines before 3"),
    ("a,b,c\n1,2\n", "the first line has 3 fields, the others 2 (separated"),
  ],
)
def test_lines_of_other_lengths(text, told):
  with pytest.raises(ValueError) as caught:
    dialects._shape(Path("t.csv"), text.encode(), ",")
  assert told in str(caught.value) and "by comma); mend" in str(caught.value)


@pytest.mark.parametrize(
  ("first", "rows", "header"),
  [
    (["a", "b"], [], True),
    (["1", "b"], [], False),
    # Words above numbers: where half of the known values are numbers.
    (["h", "5"], [["1", "3"], ["x", "4"]], True),
    (["h", "5"], [["1", "3"], ["x", "4"], ["y", "5"]], None),
    (["h", "5"], [["1", "3"], ["?", "4"], ["", "5"], ["x", "6"]], True),
    (["h", "5"], [["?", "3"], ["", "4"]], None),
    (["?", "5"], [["1", "3"], ["2", "4"]], False),  # it tells nothing
    # Words above words only.
    (["h", "k"], [["x", "y"]], True),
    (["x", "5"], [["y", "3"], ["x", "4"]], False),
    (["h", "0", "1"], [["x", "5", "6"], ["y", "7", "8"]], True),
    (["h", "2", "1"], [["x", "5", "6"], ["y", "7", "8"]], None),
    # Numbers above numbers.
    (["3", "5"], [["1", "2"]], False),
    (["0", "1"], [["5", "2"], ["7", "3"]], None),
    (["0", "1"], [["0.5", "2"], ["1.5", "3"]], True),
    (["0", "1"], [["0.5", "2"], ["1", "3"]], None),
    (["1", "2"], [["4", "1e3"], ["5", "2e3"]], True),
    # A first column without a name, as pandas writes the rows' numbers.
    (["", "0", "1"], [["0", "5", "6"], ["1", "7", "8"]], True),
    (["", "0", "1"], [["5", "5", "6"], ["9", "7", "8"]], None),
    (["", "0", ""], [["0", "0.5", "6"], ["1", "7.5", "8"]], True),
    (["", "0", ""], [["0", "5", "6"], ["1", "7", "8"]], None),
  ],
)
def test_which_first_records_name_columns(first, rows, header):
  assert dialects._has_header(first, rows) is header


def test_texts_that_count():
  for texts in (["0"], ["1"], ["0", "1", "2"], ["1", "2", "3"]):
    assert dialects._counts(texts)
  for texts in ([], ["2"], ["-1"], ["1", "0"], ["2", "3"], ["0", "2"], ["0.0"]):
    assert not dialects._counts(texts)


@pytest.mark.parametrize(
  ("at", "decimal"), [(998, ","), (999, ","), (1000, "."), (1001, ".")]
)
def test_a_thousand_records_are_looked_at(at, decimal):
  rows = ["1;2"] * 1200
  rows[at] = "1,5;2"
  assert recognised("\n".join(rows), sep=";", header=False).decimal == decimal


@pytest.mark.parametrize(
  ("rows", "decimal"),
  [
    ("1;2", "."),
    ("1,5;2", ","),
    ("1,5;2.5", "."),
    ("1,500;2,5", ","),
    ("word, word;2", "."),
  ],
)
def test_which_decimal_mark_is_meant(rows, decimal):
  found = recognised(f"a;b\n{rows}\n")
  assert (found.sep, found.decimal, found.header) == (";", decimal, True)
  assert (found.names, found.num_records) == (("a", "b"), 1)


def test_thousands_may_be_decimals():
  with pytest.raises(ValueError, match="'1,500' may have a decimal comma"):
    recognised("a;b\n1,500;22,750\n")
  assert recognised("a;b\n1,500;2\n", decimal="point").decimal == "."
  assert recognised("a,b\n1,500\n").decimal == "."


@pytest.mark.parametrize(
  ("text", "sep"),
  [
    ("a,b\n1,2\n", ","),
    ("a;b;c\n1,0;2,0;3,0\n", ";"),
    ("a|b\n1|2\n", "|"),
    ("a b\n1 2\n", " "),
    ("x y,b\nu v,2\n", ","),  # half of the fields are numbers, not none
    ("x,b\nr,1,2\n", ","),  # one more than names
    ("x,b,\n1,2\n", ","),  # one less
    ("x y,b\nr s,1,2\n", ","),  # however well blanks fit
    ("x y,b,\nr s,2\n", ","),
    ("a x,b,c,d\n1 z,3\n", " "),  # two less
    ("a ,b\n1 ,\n", ","),  # one value, and a number: more than half of two
    ('a,b\n"",""\n', ","),  # no value at all
  ],
)
def test_which_separator_is_meant(text, sep):
  assert dialects._separator(Path("t.csv"), text.encode(), None) == sep


def test_separators_that_are_unsure_or_wrong():
  def separator(text, given=None):
    return dialects._separator(Path("t.csv"), text.encode(), given)

  with pytest.raises(ValueError, match="separated by comma or semicolon; writ"):
    separator("a,b;c\n1,x;2\n")
  # The one that makes most fields is told of, where lines differ in length.
  assert separator("a;b,c,d\n1;2,3,4\n1,2\n1;2;3\n1;2,3,4,5\n") == ","
  with pytest.raises(ValueError, match="no column beside the label, or is not"):
    separator("a\n1\n")
  for wrong, shown in (("", ""), ("==", "=="), ('"', '"'), ("x" * 41, LONG)):
    told = f"^sep={shown!r}: write one character, or comma"
    with pytest.raises(ValueError, match=told):
      separator("a\n1\n", wrong)
  for wrong in "\n\r":
    with pytest.raises(ValueError, match="^sep='': write one character"):
      separator("a\n1\n", wrong)
  with pytest.raises(ValueError, match=f"^decimal='{LONG}': write decimal=poi"):
    recognised("a,b\n1,2\n", decimal="x" * 41)
  for text, sep in (("tab", "\t"), ("\\t", "\t"), ("#", "#"), ("pipe", "|")):
    assert separator("a\n1\n", text) == sep


def test_a_line_that_may_be_either_shows_its_first_five_fields():
  with pytest.raises(ValueError) as caught:
    recognised("0,1,2,3,4,5,6\n9,8,7,6,5,4,3\n", sep=",")
  assert "line 1 (0, 1, 2, 3, 4 and 2 more) may be" in str(caught.value)
  found = recognised("\n5,6\n7,8\n", header=False)
  assert (found.names, found.num_records) == (("0", "1"), 2)


def test_bytes_of_another_encoding_are_shown_with_their_neighbours():
  content = b"x,label\n1,b\n0123456789abc\xfcABCDEFGHIJK\n"
  with pytest.raises(ValueError) as caught:
    dialects.to_utf8(Path("t.csv"), content, None)
  assert "line 3 is" in str(caught.value)
  assert r"(it holds b'56789abc\xfcABCDEFGH')" in str(caught.value)
  with pytest.raises(ValueError, match=r"it holds b'\\xfcABCDEFGH'"):
    dialects.to_utf8(Path("t.csv"), content[content.index(b"\xfc") :], None)
  for encoding in ("utf-8-sig", "utf-16", "utf-32"):
    content = "a,\u00fc".encode(encoding)
    assert dialects.to_utf8(Path("t"), content, None) == b"a,\xc3\xbc"
  with pytest.raises(ValueError) as caught:
    dialects.to_utf8(Path("t"), b"a", "x" * 41)
  assert f"encoding={LONG} is not known" in str(caught.value)


def test_whole_numbers_up_to_two_to_the_24_are_exact(tmp_path):
  def notes(number):
    text = f"a,label\n{number},0\n5,1\n"
    return read(tmp_path, text).notes

  assert notes(16777216) == () == notes(-16777216)
  for number in (16777217, -16777217):
    assert notes(number) == (
      "whole numbers above 16,777,216 are rounded to 32 bits: a",
    )


@pytest.mark.parametrize(("num", "told"), [(9, 0), (10, 1)])
def test_ten_rows_tell_of_a_counter(tmp_path, num, told):
  rows = "".join(f"{i + 5},{2 * i},{i % 2}\n" for i in range(num))
  table = read(tmp_path, "id,even,label\n" + rows)
  notes = "features that count the rows: id (index=NAME leaves one out)"
  assert table.notes == (notes,) * told
  assert read(tmp_path, "id,even,label\n" + rows, index=False).notes == ()


def test_the_text_that_is_infinite_is_found_in_any_place(tmp_path):
  text = "a,b,label\n1,2,0\n3,1e39,1\n1e39,4,0\n"
  message = complaint(tmp_path, text)
  assert "line 3, column 'b' holds '1e39', which is infinite" in message
  text = "a,b,label\n1e39,,0\n3,4,1\n5,6,0\n"  # a row that is dropped
  assert read(tmp_path, text, missing="drop").x.tolist() == [[3, 4], [5, 6]]


def test_which_column_without_a_name_numbers_rows(tmp_path):
  # Two columns are needed beside it.
  table = read(tmp_path, ",label\n1,0\n2,1\n")
  assert table.x.tolist() == [[1], [2]] and table.notes == ()
  table = read(tmp_path, ",,x,label\n1,4,7,0\n2,3,8,1\n")
  assert table.x.tolist() == [[7], [8]]
  told = "column without a name, without a name, are left out"
  assert told in table.notes[0]
  table = read(tmp_path, "Unnamed: 0,x,label\n1,7,0\n2,8,1\n")
  assert table.x.tolist() == [[7], [8]]
  table = read(tmp_path, ",x,label\nb,7,0\nb,8,1\n")  # names may repeat
  assert table.x.tolist() == [[7], [8]]
  assert "write index=true" in complaint(tmp_path, ",x,y\n.5,7,0\n1,8,1\n")


def test_where_most_values_are_no_numbers_the_column_is_told(tmp_path):
  def told(*values, **options):
    rows = "".join(f"{value},{i % 2}\n" for i, value in enumerate(values))
    return complaint(tmp_path, "a,label\n" + rows, header=True, **options)

  assert "line 2, column 'a' holds 'x', which is no number; take" in told(
    "x", 1
  )
  assert "is not numeric (line 3 holds 'x')" in told(1, "x", "y")
  assert "which is no number; mend it, or write na=x" in told(1, "x")
  for length, offered in ((19, True), (20, False)):
    assert (f"na={'x' * length} if" in told(1, "x" * length)) == offered
  assert "without commas of thousands" in told(1, '"2,345"')
  message = complaint(tmp_path, "x,1,0\n4,2,1\n", header=False)
  assert "line 1, column '0' holds 'x', which is no number; mend" in message
  for value in ("x" * 60, "x" * 61):
    shown = value if len(value) == 60 else "x" * 57 + "..."
    assert f"holds '{shown}', which" in told(1, value)
    assert f"(line 2 holds '{shown}'); leave" in told(value, "x", "y")


def test_classes_are_whole_numbers_that_64_bits_hold(tmp_path):
  most = 2**53
  table = read(tmp_path, f"x,label\n1,{most - 1}.0\n2,{1 - most}.0\n")
  assert table.class_names == (str(1 - most), str(most - 1))
  for label in (f"{most}.0", f"-{most}.0", "0.5"):
    message = complaint(tmp_path, f"x,label\n1,1\n2,{label}\n")
    assert f"line 3, column 'label' holds '{label}', which is no" in message
  text = "g,x,label\n0.5,1,0\n1,2,1\n"
  assert "which is no whole number" in complaint(tmp_path, text, group="g")
  text = "g,x,label\n2.0,1,0\n1,2,1\n,3,0\n"
  table = read(tmp_path, text, group="g", missing="drop")
  assert table.group_names == ("1", "2") and table.group.tolist() == [1, 0]
  assert table.group.dtype == table.y.dtype == np.int32


def test_how_many_values_are_missing(tmp_path):
  message = complaint(tmp_path, "a,b,label\n1,2,0\n,4,1\n")
  assert "a missing value; fill it, or write missing=drop" in message
  message = complaint(tmp_path, "a,b,label\n1,,0\n,,1\n")
  assert "column 'b' holds ''" in message
  assert "the first of 3 in 2 rows; fill" in message
  assert "na=false" not in message
  # The first column of the file counts, even where it is the label.
  text = "label,a,b\n0,1,2\nNA,NA,3\n"
  message = complaint(tmp_path, text, label="label")
  assert "column 'label' holds 'NA'" in message and "na=false" in message


def test_texts_of_missing_values():
  assert delimited._texts(None) == delimited._texts(False) == [""]
  assert delimited._texts("[a, b]") == ["", "a", "b"]
  assert delimited._texts("[a") == ["", "[a"]
  assert delimited._texts("a]") == ["", "a]"]
  assert delimited._texts(-1) == ["", "-1"]
  assert delimited._texts(("?", 0.5)) == ["", "?", "0.5"]


def test_unknown_columns_are_told_with_twenty_that_are_known(tmp_path):
  names = [f"c{i}" for i in range(22)]
  text = ",".join(names) + "\n" + ",".join("1" * 22) + "\n"
  message = complaint(tmp_path, text, label="x" * 41)
  assert f"no column '{'x' * 37}...'; write label= and one of c0" in message
  assert message.endswith("c18, c19 and 2 more")
