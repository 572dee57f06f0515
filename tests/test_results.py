"""RESULTS.md is what its script writes from the files of results."""

import csv
from pathlib import Path
import re
import subprocess
import sys

import pytest
import studies

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "results.py"
FOLDER = ROOT / "experiments" / "results"


@pytest.fixture(scope="module")
def results():
  return studies.load("results")


def write(path, rows):
  with path.open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows(rows)


HEADER = ["row", "score", "score ±", "commit", "date", "machine"]


def test_the_file_is_what_the_script_writes():
  done = subprocess.run(
    [sys.executable, SCRIPT, "--check"], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_intervals_join_their_means_and_origins_are_told_once(
  results, tmp_path
):
  write(
    tmp_path / "a.csv",
    [
      HEADER,
      ["er", "1.0", "0.2", "abc", "2026-01-01", "a board"],
      ["joint", "2.0", "", "abc", "2026-01-01", "a board"],
      ["ewc", "", "", "def", "2026-01-02", "not recorded"],
    ],
  )
  (tmp_path / "template.md").write_text("# R\n\n{{ a }}\n", encoding="utf-8")
  assert results.render(tmp_path).splitlines() == [
    "# R",
    "",
    "| row | score |",
    "| --- | --- |",
    "| er | 1.0 ± 0.2 |",
    "| joint | 2.0 |",
    "| ewc |  |",
    "",
    "*commit abc, 2026-01-01, machine: a board; commit def, 2026-01-02, "
    "machine: not recorded*",
  ]


@pytest.mark.parametrize("template", ["nothing", "{{ a }}\n{{ a }}", "{{ b }}"])
def test_each_file_stands_in_the_text_once(results, tmp_path, template):
  write(tmp_path / "a.csv", [HEADER])
  (tmp_path / "template.md").write_text(template, encoding="utf-8")
  with pytest.raises(ValueError, match="needs one place in template.md: [ab]"):
    results.render(tmp_path)


def test_a_file_without_origins_or_of_ragged_rows_is_refused(results, tmp_path):
  write(tmp_path / "a.csv", [["row", "score"], ["er", "1"]])
  with pytest.raises(ValueError, match="last columns must be commit"):
    results.read(tmp_path / "a.csv")
  write(tmp_path / "a.csv", [HEADER, ["er", "1"]])
  with pytest.raises(ValueError, match="line 2: 2 cells for 6 columns"):
    results.read(tmp_path / "a.csv")


def test_every_measurement_says_where_it_comes_from(results):
  files = sorted(FOLDER.glob("*.csv"))
  assert len(files) > 20
  for path in files:
    _, rows = results.read(path)
    assert rows, path
    for row in rows:
      commit, date, machine = row[-3:]
      assert re.fullmatch(r"[0-9a-f]{7,40}|not recorded", commit), path
      assert re.fullmatch(r"\d{4}-\d\d-\d\d|not recorded", date), path
      assert machine, path


def test_every_script_has_a_row(tmp_path):
  text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
  listed = re.findall(r"^\| \[(\w+\.py)\]\((\w+\.py)\) \|", text, re.M)
  assert all(name == link for name, link in listed)
  scripts = sorted(path.name for path in FOLDER.parent.glob("*.py"))
  assert sorted(name for name, _ in listed) == scripts
  sections = re.findall(r"\(\.\./RESULTS\.md#([\w-]+)\)", text)
  titles = re.findall(
    r"^#+ (.*)$", (ROOT / "RESULTS.md").read_text(encoding="utf-8"), re.M
  )
  assert set(sections) <= {title.lower().replace(" ", "-") for title in titles}
