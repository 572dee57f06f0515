from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jcl.streams import delimited, tidying

PLAIN = "x,y,label\n1,2.5,a\n3,4,b\n5,6.5,a\n"


def read(tmp_path, text, **options):
  path = tmp_path / "t.csv"
  path.write_bytes(text.encode() if isinstance(text, str) else text)
  return delimited.read(path, delimited.Options(**options))


@pytest.mark.parametrize(
  "text, note",
  [
    ("sep=,\r\n" + PLAIN, ""),
    ('\ufeff"sep=;"\n' + PLAIN.replace(",", ";"), ""),
    ("# made in May\n# by hand, in two parts\n" + PLAIN, "2 lines of comm"),
    ("# made in May\n#" + PLAIN, "1 line of comments, which begin with #"),
    (PLAIN.replace("\n3", "\n # paused\n3"), "1 line of comments"),
    (PLAIN + ",,\n , ,\n", "2 rows without any value left out"),
    (PLAIN.replace(",", ", "), ""),
    (PLAIN.replace("a\n", '"a" \n').replace(",", ", "), ""),
    (PLAIN.replace(",", "   "), ""),
    (PLAIN.replace(",", "   ").replace("\n", "  \n  "), ""),
    ("#" + PLAIN.replace(",", " "), ""),
  ],
)
def test_lines_around_a_table_are_taken_out(tmp_path, text, note):
  table = read(tmp_path, text)
  assert table.x.tolist() == [[1, 2.5], [3, 4], [5, 6.5]]
  assert table.y.tolist() == [0, 1, 0] and table.class_names == ("a", "b")
  assert len(table.notes) == bool(note)
  assert note in "".join(table.notes)


def test_lines_keep_their_numbers(tmp_path):
  text = "sep=;\n# a\nx;label\n1;0\n;\n# b\n?;1\n"
  with pytest.raises(ValueError, match="line 7, column 'x' holds '.'"):
    read(tmp_path, text)


def test_aligned_columns_are_read_as_frames_print(tmp_path):
  rng = np.random.default_rng(0)
  frame = pd.DataFrame(rng.normal(size=(30, 3)).round(3), columns=list("xyz"))
  frame["label"] = rng.integers(0, 3, 30)
  for text in (
    frame.to_string(index=False),
    frame.to_string(),
    frame.to_string(index=False, header=False),
  ):
    for sep in (None, "space"):
      table = read(tmp_path, text, sep=sep)
      np.testing.assert_array_equal(
        table.x, frame[list("xyz")].to_numpy(np.float32)
      )
      assert table.y.tolist() == frame["label"].tolist()


def test_single_blanks_may_leave_a_value_out(tmp_path):
  text = "x y label\n1 2 0\n3  1\n5 6 0\n"
  with pytest.raises(ValueError, match="line 3, column 'y' holds ''"):
    read(tmp_path, text)
  assert read(tmp_path, text, missing="drop").x.tolist() == [[1, 2], [5, 6]]


def test_values_that_begin_as_comments_do_are_kept(tmp_path):
  text = "tag,x,label\n#a,1,0\n#b,2,1\n"
  table = read(tmp_path, text, index="tag")
  assert table.x.tolist() == [[1], [2]]
  table = read(tmp_path, "x,tag\n1,#a\n2,#b\n")
  assert table.class_names == ("#a", "#b")
  assert read(tmp_path, "x#tag\n1#0\n2#1\n", sep="#").x.tolist() == [[1], [2]]
  text = 'x,label\n1,"a\n,\n#b"\n2,c\n'
  assert read(tmp_path, text).class_names[0].startswith("a\n,\n")


def test_blanks_around_labels_make_no_classes(tmp_path):
  table = read(tmp_path, "x,label\n1,a\n2, a\n3,a \n4,b\n")
  assert table.y.tolist() == [0, 0, 0, 1] and table.class_names == ("a", "b")


def test_blanks_alone_are_a_missing_value(tmp_path):
  text = "x,label\n1,0\n  ,1\n3,0\n"
  with pytest.raises(ValueError, match="stands for a missing value"):
    read(tmp_path, text)
  assert read(tmp_path, text, missing="drop").x.tolist() == [[1], [3]]
  with pytest.raises(ValueError, match="stands for a missing value"):
    read(tmp_path, text.replace("  ,", "NaN ,"))


@pytest.mark.parametrize(
  "content, what",
  [
    (b"PK\x03\x04\x00", "an Excel workbook"),
    (b"PAR1\x00", "a Parquet file"),
    (b'[{"x": 1}]', "a JSON file"),
    (b"\n <!DOCTYPE html>", "a web page"),
    (b"@RELATION iris\n", "an ARFF file"),
    (b"\x1f\x8b\x08", "compressed by gzip"),
  ],
)
def test_other_kinds_of_files_are_named(content, what):
  with pytest.raises(ValueError, match=f"t.csv is {what}.*save it as CSV"):
    tidying.check(Path("t.csv"), content)


def test_a_line_of_units_is_told(tmp_path):
  text = "x,y,label\nmm,kg,\n1,2,0\n3,4,1\n5,6,1\n"
  with pytest.raises(ValueError, match="line 2.*second header or holds units"):
    read(tmp_path, text)
  with pytest.raises(ValueError, match="write label= and the column"):
    read(tmp_path, "x,y,z\n1,0,.5\n2,1,.7\n")


def test_long_runs_of_separators_take_no_time(tmp_path):
  for text in ("," * 200_000 + "x\n1\n", "x" + " " * 200_000 + "y z\n1 2\n"):
    with pytest.raises(ValueError):
      read(tmp_path, text * 2)


def test_an_example_of_words_and_a_nought_is_no_header(tmp_path):
  table = read(tmp_path, "cat,0\ndog,1\ncat,2\n", label=0)
  assert table.x.tolist() == [[0], [1], [2]] and table.y.tolist() == [0, 1, 0]


def test_huge_numbers_beside_decimal_commas(tmp_path):
  digits = "1" + "0" * 25
  for last in ("3", "1,5", "-4"):
    text = f"x;y;label\n1,5;{digits};0\n2,25;7;1\n2,5;{last};1\n"
    table = read(tmp_path, text)
    assert table.x[0].tolist() == [1.5, np.float32(1e25)]


@pytest.mark.parametrize(
  ("text", "score"),
  [
    (b"a b\n1 2\n", 1.0),
    (b"a b\n1 x\n", 0.5),
    (b"b\nr 2\nq 3\n", 0.5),  # rows have names
    (b"a b c\n1 2\n", 1.0),
    (b"a b c d\n1 2\n", -1.0),
    (b"a\n0 1 2\n", -1.0),
    (b"a b\n1 2\n1 2 3\n", -1.0),
    (b"a\n1\n", -1.0),
    (b"a b\n", -1.0),
  ],
)
def test_shares_of_numbers(text, score):
  assert tidying._score(text, " ") == score


def test_blanks_fit_where_no_column_is_empty():
  assert tidying._fits(b"1 2\n3 4\n") and tidying._fits(b"1  2\n3 5 4\n")
  assert not tidying._fits(b"1  2\n3  4\n")
  assert not tidying._fits(b"1 2\n3 4 5\n")


def test_separators_and_words_of_a_line():
  assert tidying._shape(b" a,b;c;d\te|f g \n") == (1, 2, 1, 1, 3)
  assert tidying._names(b"# x,y", (1, 0, 0, 0, 1))
  assert tidying._names(b"#x y", (0, 0, 0, 0, 2))
  assert not tidying._names(b"#x y z", (0, 0, 0, 0, 2))
  assert tidying._names(b"# big x,y", (1, 0, 0, 0, 1))
  assert not tidying._names(b"# x,1", (1, 0, 0, 0, 1))
  assert not tidying._names(b"# x;y", (1, 0, 0, 0, 1))


def test_a_value_of_several_lines_may_begin_the_file():
  text = b'"x\n#y",label\n1,0\n'
  assert tidying.tidy(text, None) == (text, None, [])
  text = b'"x",label\n#y\n1,0\n'
  told = ["1 line of comments, which begin with #, left out"]
  assert tidying.tidy(text, ",") == (b'"x",label\n\n1,0\n', ",", told)
