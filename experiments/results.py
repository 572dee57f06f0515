"""Writes RESULTS.md: the text of results/template.md with its tables filled in.

  python experiments/results.py           # writes RESULTS.md
  python experiments/results.py --check   # status 1 where it would differ

A line `{{ NAME }}` of the template becomes the table of results/NAME.csv. A
file has a row per measurement; its last columns are the commit that recorded
it, the date of that commit and the machine, which stand below the table. A
column `X ±` holds 95 % intervals of the column X before it, and a cell then
reads mean ± half-width. To add a measurement, add rows to a file; to add a
study, add a file and a section of the template. No number is typed into
RESULTS.md by hand. It takes a second.
"""

import argparse
from collections.abc import Sequence
import csv
from pathlib import Path
import re
import sys

FOLDER = Path(__file__).parent / "results"
TARGET = Path(__file__).parents[1] / "RESULTS.md"
ORIGIN = ("commit", "date", "machine")
_PLACE = re.compile(r"^\{\{ (\w+) \}\}$", re.M)


def read(path: Path) -> tuple[list[str], list[list[str]]]:
  """Returns the header and the rows of a file of results.

  Raises:
    ValueError: where the last columns are not `ORIGIN`, or a row has more or
      fewer cells than the header.
  """
  with path.open(newline="", encoding="utf-8") as file:
    header, *rows = csv.reader(file)
  if tuple(header[-len(ORIGIN) :]) != ORIGIN:
    raise ValueError(f"{path}: the last columns must be {', '.join(ORIGIN)}")
  for number, row in enumerate(rows, 2):
    if len(row) != len(header):
      raise ValueError(
        f"{path}, line {number}: {len(row)} cells for {len(header)} columns"
      )
  return header, rows


def _joined(header: Sequence[str], row: Sequence[str]) -> list[str]:
  """Joins each `X ±` with the cell before it."""
  cells: list[str] = []
  for name, cell in zip(header, row, strict=True):
    if not name.endswith(" ±"):
      cells.append(cell)
    elif cell:
      cells[-1] += f" ± {cell}"
  return cells


def _origins(rows: Sequence[Sequence[str]]) -> str:
  """Says where rows come from, each origin once."""
  known = dict.fromkeys(tuple(row[-len(ORIGIN) :]) for row in rows)
  told = "; ".join(
    f"commit {commit}, {date}, machine: {machine}"
    for commit, date, machine in known
  )
  return f"*{told}*"


def table(path: Path) -> str:
  """Returns a file of results as a table, with its origins below."""
  header, rows = read(path)
  end = len(header) - len(ORIGIN)
  names = [name for name in header[:end] if not name.endswith(" ±")]
  body = [_joined(header[:end], row[:end]) for row in rows]
  lines = [names, ["---"] * len(names), *body]
  text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
  return f"{text}\n\n{_origins(rows)}"


def render(folder: Path = FOLDER) -> str:
  """Returns the text of RESULTS.md.

  Raises:
    ValueError: where a file of results has no place in the template, or two.
  """
  template = (folder / "template.md").read_text(encoding="utf-8")
  places = sorted(_PLACE.findall(template))
  files = sorted(path.stem for path in folder.glob("*.csv"))
  if places != files:
    odd = sorted(set(places) ^ set(files)) or sorted(
      {name for name in places if places.count(name) > 1}
    )
    raise ValueError(
      f"each file of {folder} needs one place in template.md: {', '.join(odd)}"
    )
  return _PLACE.sub(
    lambda place: table(folder / f"{place[1]}.csv"),
    template,
  )


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--check", action="store_true", help="write nothing")
  flags = parser.parse_args()
  text = render()
  if not flags.check:
    TARGET.write_text(text, encoding="utf-8")
  elif text != TARGET.read_text(encoding="utf-8"):
    print("RESULTS.md is not what experiments/results.py writes")
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
