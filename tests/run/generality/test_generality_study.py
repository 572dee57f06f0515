"""The study as a command."""

import pandas as pd
import ready


def test_the_study_makes_tables_and_pictures(tmp_path):
  done = ready.call(
    ready.ROOT / "experiments" / "generality.py",
    "--quick",
    "--network=mlp:width=16,depth=1",
    f"--workdir={tmp_path}",
  )
  assert done.returncode == 0, done.stderr
  table = pd.read_csv(tmp_path / "table.csv")
  assert table["calibration"].tolist() == ["base", "stream"]
  assert table["unit"].tolist() == ["dense_0"] * 2
  assert (table["G"] == table[["MS", "LP"]].min(axis=1)).all()
  assert ((table["G"] >= 0.9) == (table["frozen"] == "yes")).all()
  measured = pd.read_csv(tmp_path / "measures.csv")
  assert len(measured) == 2 + 3
  assert measured["MS"].isna().tolist() == [True, False, True, False, False]
  text = (tmp_path / "table.txt").read_text()
  assert "of 1 units at tau 0.9" in text and "gate: " in text
  assert all((tmp_path / f"{name}.png").exists() for name in ("base", "stream"))
