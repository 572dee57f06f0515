"""The laws of the package are what their script makes of the kept records."""

import csv
import shutil

import pytest
import studies


@pytest.fixture(scope="module")
def study():
  return studies.load("prior")


@pytest.fixture
def folder(study, tmp_path):
  """A copy of the records, to be changed."""
  for name in ("frontier", "shapes", "closed_form", "bounds_fashion_mnist"):
    shutil.copy(study.FOLDER / f"{name}.csv", tmp_path)
  return tmp_path


def rewritten(path, change):
  """Rewrites a table, of which `change` makes other rows."""
  with path.open(newline="", encoding="utf-8") as lines:
    rows = change(list(csv.DictReader(lines)))
  with path.open("w", newline="", encoding="utf-8") as lines:
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def test_the_command_makes_the_laws_of_the_package_again(study):
  for path, text in study.made(study.FOLDER).items():
    kept = path.read_text(encoding="utf-8")
    assert kept == text, "run experiments/prior.py, then experiments/results.py"


def test_more_cells_and_columns_are_read_by_name(study, folder):
  law, _, _ = study.made(folder).values()

  def more(rows):
    new = {**rows[0], "data": "dsads", "GFLOP": "75.4", "auto, %": "90.0"}
    rows = [*(row for row in rows if row["data"] != "dsads"), new]
    rows = [{"gap, %": "9", "seed": "1", **row} for row in rows]
    for row in rows:
      row["er:buffer=500+elastic:rho=0.5, %"] = "1.0"
    return [dict(reversed(row.items())) for row in rows]

  rewritten(folder / "frontier.csv", more)
  found = list(study.results(folder, "auto", shapes(study, folder)))
  assert len([each for each in found if each.data == "dsads"]) == 1
  (cell,) = (each for each in found if each.data == "dsads")
  assert cell.size == pytest.approx(1.0, rel=1e-3)
  assert cell.value == pytest.approx(study.prior.logit(0.9, 19))
  changed, errors, _ = study.made(folder).values()
  assert changed != law and "auto,dsads,1,90.0," in errors


def shapes(study, folder):
  return {
    row["data"]: study.Shape(
      int(row["classes"]), 1, 1, float(row["GFLOP of one pass"])
    )
    for row in study.read(folder / "shapes.csv")
  }


def test_dashes_are_no_results(study, folder):
  def without(rows):
    return [
      {**row, "randumb:m=250, %": "–" if row["data"] != "digits" else "97.8"}
      for row in rows
    ]

  rewritten(folder / "frontier.csv", without)
  found = list(study.results(folder, "randumb", shapes(study, folder)))
  sizes = {(each.data, each.size) for each in found}
  assert ("digits", 250.0) in sizes and ("electricity", 2000.0) in sizes
  assert ("electricity", 250.0) not in sizes


def test_a_data_set_of_unknown_shape_is_asked_for(study, folder):
  rewritten(folder / "shapes.csv", lambda rows: rows[1:])
  with pytest.raises(SystemExit, match="--shapes --data=digits"):
    study.made(folder)
