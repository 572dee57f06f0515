import json
import os

import pytest

from jcl.report import lines

VALUES = [{"a": 1}, [1.5, None, "é"], {}]


@pytest.fixture
def file(tmp_path):
  return lines.Lines(tmp_path / "some.jsonl")


def values(file):
  text = file.path.read_text(encoding="utf-8")
  return [json.loads(line) for line in text.splitlines()]


def test_lines_are_appended_and_known_up_to_a_mark(file):
  file.replace(VALUES[:1])
  marks = [file.mark]
  for value in VALUES[1:]:
    file.append(value)
    marks.append(file.mark)
  file.sync()
  assert values(file) == VALUES
  assert [mark.count for mark in marks] == [1, 2, 3]
  assert marks[-1].size == file.path.stat().st_size
  other = lines.Lines(file.path)
  for count, mark in enumerate(marks, start=1):
    assert other.read(mark) == VALUES[:count] and other.mark == mark
  assert other.read(lines.Mark()) == []


@pytest.mark.parametrize("behind", ['{"half', '{"whole": 1}\n', ""])
def test_what_lies_behind_a_mark_is_cut_off(behind, file):
  file.replace(VALUES[:2])
  mark = file.mark
  with open(file.path, "a", encoding="utf-8") as written:
    written.write(behind)
  again = lines.Lines(file.path)
  again.read(mark)
  again.cut()
  again.append(VALUES[2])
  assert values(again) == VALUES
  file.append(VALUES[2])
  assert again.mark == file.mark  # whichever way they came


def test_a_file_that_lost_lines_is_told(file):
  file.replace(VALUES)
  mark = file.mark
  text = file.path.read_bytes()
  file.path.write_bytes(text[:-3])
  with pytest.raises(lines.MissingLinesError, match="2 lines where 3 were"):
    lines.Lines(file.path).read(mark)
  file.path.write_bytes(text.replace(b"1.5", b"2.5"))
  with pytest.raises(lines.MissingLinesError, match="other lines"):
    lines.Lines(file.path).read(mark)
  file.path.unlink()
  with pytest.raises(lines.MissingLinesError, match="0 lines where 3 were"):
    lines.Lines(file.path).read(mark)


def test_a_write_that_takes_a_part_is_carried_on(file, monkeypatch):
  real, parts = open, []

  def slowly(path, mode, **options):
    opened = real(path, mode, **options)
    if mode != "ab":
      return opened

    class Slow:
      def __enter__(self):
        return self

      def __exit__(self, *_):
        opened.close()

      def write(self, data):
        parts.append(1)
        return opened.write(data[:2])

    return Slow()

  monkeypatch.setattr(lines, "open", slowly, raising=False)
  file.append({"some": "text"})
  assert values(file) == [{"some": "text"}] and len(parts) > 5
  assert file.mark.size == os.path.getsize(file.path)
