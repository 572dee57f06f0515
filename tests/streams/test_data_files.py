"""Messages about the files of data sets, and what is read of a file."""

import io
from pathlib import Path
import zipfile

import pytest
import signatures

from jcl.streams import files


def test_long_paths_lose_their_middle():
  for length in (250, 251):
    path = Path("/" + "a" * (length - 2) + "b")
    whole = str(path)
    shown = whole if length == 250 else f"{whole[:120]}...{whole[-120:]}"
    told = str(files.missing("set", [path], "", "--data_dir"))
    assert told == (
      f"set: none of these files exists:\n  {shown}\nSet --data_dir."
    )
    told = str(files.damaged(path, "no end"))
    assert told.startswith(f"{shown} is damaged or not in the expected format ")
    assert told.endswith(" (no end); delete it and fetch it again")
  told = str(files.missing("set", [], "example.org", "--data_dir"))
  assert "\nThe set is published at: example.org.\nSet --data" in told


def test_a_value_takes_no_more_letters_than_allowed():
  assert files.brief("a" * 200) == "a" * 200
  assert files.brief("a" * 201) == "a" * 197 + "..."
  assert (
    files.brief("abcdef", 5) == "ab..." and files.brief("abcde", 5) == "abcde"
  )
  assert files.brief(KeyError()) == "KeyError" and files.brief("") == ""
  assert files.listed(["a" * 41]) == "a" * 37 + "..."
  assert files.listed("ab", 2) == "a, b" and files.listed([]) == ""
  assert files.listed("abcd", 2) == "a, b and 2 more"


def test_sizes_in_messages_have_an_end():
  for size, shown in ((1234, "1,234"), (10**18 + 1, "1" + ",000" * 6)):
    told = str(files.too_large(Path("a"), size, 1000))
    assert told == (
      f"a has {shown} bytes or more, decoded; at most 1,000 are read from one "
      "file"
    )
  assert "at most 17,179,869,184 are" in str(files.too_large(Path("a"), 1))


@pytest.mark.parametrize("count", [0, 1, 2**20, 2**20 + 1])
def test_a_file_is_read_up_to_a_bound(count):
  content = b"x" * count
  assert files.up_to(Path("a"), io.BytesIO(content), count) == content
  with pytest.raises(ValueError, match=f"a has {count + 1:,} bytes or more"):
    files.up_to(Path("a"), io.BytesIO(content + b"xx"), count)
  assert files.first(io.BytesIO(content + b"y"), count) == content
  assert files.first(io.BytesIO(content), count + 9) == content


def test_the_one_file_of_an_archive_is_read(tmp_path):
  path = tmp_path / "a.zip"
  beside = {"data/": b"", "__MACOSX/": b"", "__MACOSX/._t.csv": b"notes"}
  for names, told in ((["data/t"], ""), (["t", "u"], r"2 files \(t, u\)")):
    with zipfile.ZipFile(path, "w") as archive:
      for name, content in (beside | dict.fromkeys(names, b"1,2")).items():
        archive.writestr(name, content)
    if not told:
      assert files.content(path) == b"1,2"
      continue
    with pytest.raises(ValueError, match=told):
      files.content(path)


def test_where_a_path_may_lead():
  assert files.places(Path("d"), "a") == [Path("d/a"), Path("a")]
  assert files.places(Path("d"), "/a") == [Path("/a")]
  assert files.places(Path(), "a") == [Path("a")]


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(files.brief) == {"most": 200}
  assert signatures.defaults(files.listed) == {"most": 10}
