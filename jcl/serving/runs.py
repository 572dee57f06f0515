"""Runs of systems over scripted streams: saved on disk, and reported on."""

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
from jcl.options.errors import UsageError
from jcl.report import page, predictions
from jcl.serving import (
  books,
  log,
  measured_times,
  models,
  paragraph,
  pictures,
  setup,
  virtual,
)
from jcl.serving import live as live_lib

WARMUP = 4  # windows at the start that do not count


class StreamScript(NamedTuple):
  """A stream that follows a scenario, or that the user brings.

  See `streams.drifting` and `serving.footage`.
  """

  name: str
  fps: int = 30
  segment_seconds: int = 60
  segments: int = 28

  @property
  def window(self) -> int:
    """The frames of a window of the score: those of two segments."""
    return 2 * self.segment_seconds * self.fps


class Run(NamedTuple):
  """Run of a system over a stream."""

  stream_script: StreamScript
  system: str
  seed: int
  log: log.Log


def build(text: str, seconds: Times, live: bool = False) -> systems.System:
  """Returns the system that a text describes.

  Raises:
    ValueError: as `systems.build`; if live, for a system that looks ahead.
  """
  found = systems.build(text, seconds)
  if live and not found.causal:
    raise UsageError(
      f"{text!r} looks at frames to come, which a wall clock does not have: "
      "leave it out, or serve in virtual time"
    )
  return found


def run(
  on: setup.Assets,
  stream_script: StreamScript,
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
  """Runs a system over a stream, or loads the run if it is finished.

  On the wall clock a run takes as long as its stream. Phases last as long as
  planned, or longer if this machine is slower; the times of its kernels are
  measured first, while nothing else runs.

  Args:
    on: networks, weights and images.
    stream_script: the stream.
    system: its text, such as "dacapo:drift=robust".
    seconds: of the kernels; on the wall clock, phases are planned by them.
    seed: of the stream, the weights and all draws.
    path: of the two files that save the run, without their endings.
    oracle: whether labels are the truth instead of the teacher's.
    about: settings to save with the run.
    live: on the wall clock instead of in virtual time.
    progress: if live, called with frames done and frames in all after every
      phase.

  Raises:
    ValueError: as `build`.
  """
  if path.with_suffix(".json").exists():
    return Run(stream_script, system, seed, log.load(path))
  built = build(system, seconds, live)
  path.parent.mkdir(parents=True, exist_ok=True)
  weights = on.weights(seed)
  frames = on.stream(seed=seed, **stream_script._asdict())
  parts = built, on.student, weights, frames
  options: dict[str, Any] = {
    "labeller": None if oracle else on.labeller(seed),
    "seed": seed,
    "about": {"scenario": stream_script.name, **(about or {})},
  }
  if live:
    found = _live(*parts, progress=progress, **options)
  else:
    found = virtual.run(*parts, infer=seconds.infer, **options)
  log.save(found, path)
  return Run(stream_script, system, seed, found)


def _live(
  system: systems.System,
  student: models.Student,
  weights: models.Weights,
  frames: books.LabelledFrames,
  *,
  labeller: books.Labeller | None,
  **options: Any,
) -> log.Log:
  """Returns the log of a run on the wall clock, with measured times."""
  some = slice(0, len(frames), max(1, len(frames) // 256))
  kernels = measured_times.times(
    student, weights, frames.images[some], frames.labels[some], labeller
  )
  made = live_lib.run(
    system,
    student,
    weights,
    frames,
    labeller=labeller,
    checked=True,
    **options,
  )
  told = {**made.log.about, "milliseconds": _milliseconds(made, kernels)}
  return dataclasses.replace(made.log, about=told)


def _milliseconds(
  made: live_lib.Result, kernels: Times
) -> dict[str, float | None]:
  """Returns latencies and times of kernels in ms; None for missing ones."""
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
  """Returns the figures of a run, shares and scores in percent."""
  stream_script, found = run.stream_script, run.log
  return {
    "scenario": stream_script.name,
    "system": run.system,
    "seed": run.seed,
    "score": 100 * found.score(stream_script.window, WARMUP),
    "strict": 100 * found.score(stream_script.window, WARMUP, "strict"),
    "dropped": 100 * found.drop_ratio,
    "mean": 100 * float(found.correct().mean()),
    "range": 100 * float(np.ptp(found.accuracies(stream_script.window // 2))),
    "retrainings": len(found.retrainings),
    "decisions": len(found.decisions),
    "drifts": sum(each.drifted for each in found.decisions),
    "right labels": 100 * found.label_accuracy,
    "working": 100 * found.working,
    **found.about.get("milliseconds", {}),
  }


def decisions(run: Run) -> list[dict[str, Any]]:
  """Returns what a run decided, by kind of phase: predicted beside spent.

  Phases that the end of the stream cut short are left out, as nothing was to
  come of them any more, and so are those of logs that earlier versions wrote.
  """
  found: dict[str, list[log.Entry]] = {}
  for each in run.log.phases:
    if each.complete and each.took is not None:
      found.setdefault(each.kind, []).append(each)
  rows = []
  for kind, entries in found.items():
    planned = math.fsum(each.seconds for each in entries)
    took = math.fsum(each.took or 0.0 for each in entries)
    compared = predictions.compared(planned, took, "s")
    rows.append(
      {
        "scenario": run.stream_script.name,
        "system": run.system,
        "decision": kind,
        "times": len(entries),
        **dict(zip(predictions.COMPARED, compared, strict=True)),
        "the last reason": entries[-1].reason,
      }
    )
  return rows


def table(frame: pd.DataFrame) -> pd.DataFrame:
  """Tabulates scores by system and scenario, means over seeds with intervals.

  Args:
    frame: a `row` for each run.
  """
  by_cell = frame.groupby(["system", "scenario"], sort=False)["score"]
  found = by_cell.apply(mean_and_ci).unstack("scenario")
  found["all"] = overall(frame).apply(mean_and_ci)
  return found.loc[frame["system"].unique(), [*by_scenario(frame), "all"]]


def by_scenario(frame: pd.DataFrame) -> list[str]:
  """Returns the scenarios in the order of the runs."""
  return list(frame["scenario"].unique())


def overall(frame: pd.DataFrame) -> pd.Series:
  """Returns each system's geometric means over scenarios, by seed."""
  grouped = frame.groupby(["system", "seed"])["score"]
  means = grouped.apply(accounting.geometric_mean)
  return means.groupby("system").apply(list)


def mean_and_ci(values: Any) -> str:
  """Formats the mean and the half-width of the 95 % interval.

  >>> mean_and_ci([50.0, 52.0, 54.0])
  '52.0 ± 5.0'
  """
  mean, half = metrics.confidence_interval(values)
  return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def write(
  on: setup.Assets, runs: list[Run], folder: Path, about: Mapping[str, Any]
) -> tuple[Path, pd.DataFrame]:
  """Writes tables, a picture of each scenario and a page with all of them.

  Pictures show the first seed.

  Returns:
    The path of the page, and the `row` of each run.
  """
  frame = pd.DataFrame(map(row, runs))
  frame.to_csv(folder / "runs.csv", index=False)
  scores = table(frame)
  scores.to_csv(folder / "table.csv")
  first, shown, measure = runs[0].seed, [], runs[0].log.measure
  for name in by_scenario(frame):
    logs = {
      each.system: each.log
      for each in runs
      if each.seed == first and each.stream_script.name == name
    }
    stream_script = next(
      each.stream_script for each in runs if each.stream_script.name == name
    )
    figure = pictures.picture(
      logs,
      stream_script.fps,
      span=stream_script.window // 4,
      changes=on.changes(seed=first, **stream_script._asdict()),
      title=f"{name}: dotted lines are changes, triangles detected drifts",
      measure=measure,
    )
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120)
    caption = (
      f"Above: {measure} while serving. Below: the phases of each system; "
      "triangles are detected drifts, thin lines new weights. Seed "
      f"{first}."
    )
    shown.append(page.picture((f"Scenario {name}", caption), path))
  means = frame.groupby(["system", "scenario"], sort=False).mean()
  means = means.drop(columns="seed").round(1).astype(object)
  target = folder / "report.html"
  target.write_text(
    page.rendered(
      "serving.html",
      sentences=paragraph.sentences(frame, measure),
      judged_by_teacher=measure == log.AGREEMENT,
      scores=scores.reset_index(),
      means=means.where(means.notna(), "").reset_index(),
      pictures=shown,
      decisions=pd.DataFrame(
        [row for each in runs if each.seed == first for row in decisions(each)]
      ),
      about=about,
    ),
    encoding="utf-8",
  )
  return target, frame
