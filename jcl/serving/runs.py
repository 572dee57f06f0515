"""Runs of systems over scripted streams: kept on disk, and reported on."""

from collections.abc import Callable, Mapping
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jcl import metrics
from jcl.control.drift import accounting, systems
from jcl.control.drift.times import Times
from jcl.errors import UsageError
from jcl.report import page
from jcl.serving import live as live_lib
from jcl.serving import log, measured_times, paragraph, pictures, setup, virtual

WARMUP = 4  # windows that do not count


class Script(NamedTuple):
  """A scripted stream; see `drift.scenarios`."""

  name: str
  fps: int = 30
  segment_seconds: int = 60
  segments: int = 28

  @property
  def window(self) -> int:
    """Returns the frames of two segments, a window of the score."""
    return 2 * self.segment_seconds * self.fps


class Run(NamedTuple):
  """Run of a system over a stream."""

  script: Script
  system: str
  seed: int
  log: log.Log


def build(text: str, seconds: Times, live: bool = False) -> systems.System:
  """Returns the system that a text describes.

  Raises:
    ValueError: as `systems.build`; for one that looks ahead, if live.
  """
  found = systems.build(text, seconds)
  if live and not found.causal:
    raise UsageError(
      f"{text!r} looks at frames to come, which a wall clock does not have: "
      "leave it out, or serve in virtual time"
    )
  return found


def run(
  on: setup.Stage,
  script: Script,
  system: str,
  seconds: Times,
  seed: int,
  path: Path,
  *,
  oracle: bool = False,
  about: Mapping[str, Any] | None = None,
  live: bool = False,
  progress: Callable[[int, int], None] | None = None,
) -> Run:
  """Returns a run, from disk where it is finished.

  On the wall clock it takes as long as the stream. Phases last as long as
  planned, and longer where this machine is slower; what its kernels take is
  measured first, while nothing else runs.

  Args:
    on: where networks, weights and images come from.
    script: the stream.
    system: its text, such as "dacapo:drift=robust".
    seconds: of the kernels; on the wall clock, phases are planned by them.
    seed: of the stream, the weights and all draws.
    path: of the two files that keep it, without their endings.
    oracle: whether labels are the truth instead of the teacher's.
    about: what every number has to be read with.
    live: on the wall clock instead of in virtual time.
    progress: called, if live, with frames done and frames in all after every
      phase.

  Raises:
    ValueError: as `build`.
  """
  if path.with_suffix(".json").exists():
    return Run(script, system, seed, log.load(path))
  built = build(system, seconds, live)
  path.parent.mkdir(parents=True, exist_ok=True)
  weights = on.weights(seed)
  footage = on.footage(on.script(seed=seed, **script._asdict()))
  parts = built, on.student, weights, footage
  options: dict[str, Any] = {
    "labeller": None if oracle else on.labeller(seed),
    "seed": seed,
    "about": {"scenario": script.name, **(about or {})},
  }
  if live:
    found = _live(*parts, progress=progress, **options)
  else:
    found = virtual.run(*parts, infer=seconds.infer, **options)
  log.save(found, path)
  return Run(script, system, seed, found)


def _live(system, student, weights, footage, *, labeller, **options) -> log.Log:
  """Returns the log of a run on the wall clock, with what it took."""
  some = slice(0, len(footage), max(1, len(footage) // 256))
  kernels = measured_times.times(
    student, weights, footage.frames[some], footage.labels[some], labeller
  )
  made = live_lib.run(
    system,
    student,
    weights,
    footage,
    labeller=labeller,
    checked=True,
    **options,
  )
  told = {**made.log.about, "milliseconds": _milliseconds(made, kernels)}
  return dataclasses.replace(made.log, about=told)


def _milliseconds(
  made: live_lib.Result, kernels: Times
) -> dict[str, float | None]:
  """Returns how late answers were, and what the machine took; None: no such."""
  overall, retraining = made.summary(), made.summary("retrain")
  found = {
    "p50 ms": overall.p50,
    "p99 ms": overall.p99,
    "p99 ms, retraining": retraining.p99,
    "update ms": kernels.train,
    "label ms": kernels.label,
    "phases late, ms": sum(span.late for span in made.spans),
  }
  return {
    name: 1e3 * value if math.isfinite(value) else None
    for name, value in found.items()
  }


def row(run: Run) -> dict[str, Any]:
  """Returns a run's figures, shares and scores in percent."""
  script, found = run.script, run.log
  return {
    "scenario": script.name,
    "system": run.system,
    "seed": run.seed,
    "score": 100 * found.score(script.window, WARMUP),
    "strict": 100 * found.score(script.window, WARMUP, "strict"),
    "dropped": 100 * found.drop_ratio,
    "mean": 100 * float(found.correct().mean()),
    "range": 100 * float(np.ptp(found.accuracies(script.window // 2))),
    "retrainings": len(found.retrainings),
    "decisions": len(found.decisions),
    "drifts": sum(each.drifted for each in found.decisions),
    "right labels": 100 * found.label_accuracy,
    **found.about.get("milliseconds", {}),
  }


def table(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns scores by system and scenario, means over seeds with intervals.

  Args:
    frame: a `row` of each run.
  """
  by_cell = frame.groupby(["system", "scenario"], sort=False)["score"]
  found = by_cell.apply(told).unstack("scenario")
  found["all"] = overall(frame).apply(told)
  return found.loc[frame["system"].unique(), [*by_scenario(frame), "all"]]


def by_scenario(frame: pd.DataFrame) -> list[str]:
  """Returns the scenarios in the order in which they first come."""
  return list(frame["scenario"].unique())


def overall(frame: pd.DataFrame) -> pd.Series:
  """Of each system, the geometric means over scenarios, by seed."""
  grouped = frame.groupby(["system", "seed"])["score"]
  means = grouped.apply(accounting.geometric_mean)
  return means.groupby("system").apply(list)


def told(values: Any) -> str:
  """Mean and half-width of the 95 % interval."""
  mean, half = metrics.confidence_interval(values)
  return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def write(
  on: setup.Stage, runs: list[Run], folder: Path, about: Mapping[str, Any]
) -> tuple[Path, pd.DataFrame]:
  """Writes tables, a picture of each scenario and the page over all.

  Pictures show the first seed. Returns the page's path, and `row` of each run.
  """
  frame = pd.DataFrame(map(row, runs))
  frame.to_csv(folder / "runs.csv", index=False)
  scores = table(frame)
  scores.to_csv(folder / "table.csv")
  first, shown = runs[0].seed, []
  for name in by_scenario(frame):
    logs = {
      each.system: each.log
      for each in runs
      if each.seed == first and each.script.name == name
    }
    script = next(each.script for each in runs if each.script.name == name)
    figure = pictures.picture(
      logs,
      script.fps,
      span=script.window // 4,
      changes=on.script(seed=first, **script._asdict()).changes,
      title=f"{name}: dotted lines are changes, triangles drifts called",
    )
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120)
    caption = (
      "Above, accuracy while serving. Below, what each system did when: "
      "triangles are drifts it called, thin lines new weights. Seed "
      f"{first}."
    )
    shown.append(page.picture((f"Scenario {name}", caption), path))
  means = frame.groupby(["system", "scenario"], sort=False).mean()
  means = means.drop(columns="seed").round(1).astype(object)
  target = folder / "report.html"
  target.write_text(
    page.rendered(
      "serving.html",
      sentences=paragraph.sentences(frame),
      scores=scores.reset_index(),
      means=means.where(means.notna(), "").reset_index(),
      pictures=shown,
      about=about,
    ),
    encoding="utf-8",
  )
  return target, frame
