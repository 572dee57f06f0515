"""The results of runs over drifting streams in a few sentences."""

import pandas as pd

from jcl.serving import log


def sentences(frame: pd.DataFrame, measure: str = log.ACCURACY) -> list[str]:
  """Returns the first sentences of a report on systems.

  Figures are means over seeds and scenarios, scores in percent.

  Args:
    frame: a `runs.row` for each run.
    measure: what shares of right answers are.
  """
  means = frame.groupby("system", sort=False).mean(numeric_only=True)
  ranked = means.sort_values("score", ascending=False, kind="stable")
  scenarios = ", ".join(frame["scenario"].unique())
  seeds = frame["seed"].nunique()
  names = [str(name) for name in ranked.index]
  scores = [float(score) for score in ranked["score"]]
  told = [
    f"Scenarios {scenarios}, {seeds} {'seed' if seeds == 1 else 'seeds'}.",
    f"{names[0]} served best, with a score of {scores[0]:.1f} %"
    + "".join(
      f", {scores[0] - score:.1f} points above {name}"
      for name, score in zip(names[1:], scores[1:], strict=True)
    )
    + ".",
  ]
  if measure != log.ACCURACY:
    told.append(
      f"Scores are {measure}, not accuracy: the frames have no true labels."
    )
  told += [_did(str(name), row) for name, row in ranked.iterrows()]
  dropped = float(means["dropped"].max())
  told.append(
    "Every frame was served."
    if not dropped
    else f"Up to {dropped:.1f} % of a system's frames were not served."
  )
  return told


def _did(name: str, row: pd.Series) -> str:
  """Returns a sentence on a system's retrainings, drifts and labels."""
  parts = [f"{name} retrained {row['retrainings']:.3g} times"]
  if row["decisions"]:
    parts.append(
      f"called a drift in {row['drifts']:.3g} of {row['decisions']:.3g} tests"
    )
  if pd.notna(row["right labels"]):
    parts.append(f"{row['right labels']:.0f} % of its labels were right")
  return ", ".join(parts) + "."
