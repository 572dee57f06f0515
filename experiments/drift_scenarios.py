"""Does labelling and retraining in turns beat fixed windows under drift?

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, say so of streams cut from driving footage. Here
the streams are dealt out of any labelled images (`jcl.streams.drifting`), a
small student and teacher stand in for the published pair, and time passes as
the modelled array would take for that pair. Systems share rows, first weights,
learning rate, precision and labels:

  dacapo          labels and retrains in turns; the published drift test
  dacapo_robust   the same, with a test of proportions
  spatial         fixed windows, fixed rates
  active          the same; labels what the student was least certain of
  ekya            fixed windows; trials choose the configuration, and take time
  eomu            short windows, key frames, retrains where it got worse
  frozen          never retrains
  no_drift_rule   as dacapo, but never asks for a drift
  no_more_labels  as dacapo, but labels no more behind one
  auto            spends only what it finds worth its time; see `jcl list`
  ceiling, twin   train for nothing; the ceiling picks epochs in hindsight

The score is the geometric mean of accuracy over windows of two segments behind
the first four. Differences are paired by seed: same images, weights and stream.
Beside them stand the joules of the one in parts of the other's, where the power
of the array divides evenly among rows, and rows that wait draw nothing.

  python experiments/drift_scenarios.py --data_dir=~/data
  python experiments/drift_scenarios.py --data=cifar100 --systems=dacapo,ekya
  python experiments/drift_scenarios.py --quick

`--segment_seconds` below 60 makes a short ladder: windows and the numbers of
images shrink with it, in their published proportions. Fewer images make drift
harder to tell from noise, so false alarms are not comparable between lengths.

Each run is two files; the same command again makes only those that are missing.
It writes `runs.csv`, `table.csv`, `table.txt`, a picture per scenario, and a
page with all of it.
"""

from collections.abc import Mapping
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import app, flags, logging
import pandas as pd

from jcl.control.drift import accounting, detection, times
from jcl.cost import systolic
from jcl.options import spec
from jcl.run import workdir
from jcl.serving import runs as runs_lib
from jcl.serving import setup
from jcl.streams import drifting, sources

SEGMENTS = 28
DIFFERENCES = (
  ("dacapo", "ekya"),
  ("dacapo", "spatial"),
  ("dacapo", "frozen"),
  ("dacapo_robust", "dacapo"),
  ("dacapo", "no_drift_rule"),
  ("dacapo", "no_more_labels"),
  ("auto", "dacapo"),
  ("auto", "dacapo_robust"),
)


class Protocol(NamedTuple):
  """Sizes of the study on a data set."""

  data: str
  roles: setup.Roles
  fps: int = 30
  segment_seconds: int = 60


PROTOCOLS = {
  "fashion_mnist": Protocol(
    "fashion_mnist",
    setup.Roles(
      "slim_resnet18:filters=8",
      "slim_resnet18:filters=12",
      stills=(12000, 1500),
      epochs=(4, 8),
    ),
  ),
  "cifar100": Protocol(
    "cifar100:labels=coarse",
    setup.Roles(
      "slim_resnet18:filters=8",
      "slim_resnet18:filters=20",
      stills=(12000, 2000),
      epochs=(8, 12),
    ),
  ),
  "digits": Protocol(
    "digits",
    setup.Roles(
      "mlp:width=64",
      "mlp:width=400",
      stills=(4000, 4000),
      epochs=(8, 8),
      enlarge=3,
    ),
    fps=10,
    segment_seconds=15,
  ),
}

_DATA = flags.DEFINE_enum("data", "fashion_mnist", list(PROTOCOLS), "data set")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_SYSTEMS = flags.DEFINE_list("systems", None, "of those above; default all")
_SCENARIOS = flags.DEFINE_list(
  "scenarios", list(drifting.NAMES), f"of {', '.join(drifting.NAMES)}"
)
_SEEDS = flags.DEFINE_integer("seeds", 5, "runs per cell", lower_bound=1)
_FPS = flags.DEFINE_integer("fps", None, "frames per second", lower_bound=1)
_SECONDS = flags.DEFINE_integer(
  "segment_seconds", None, "of a segment", lower_bound=5
)
_STUDENT = flags.DEFINE_string("student", None, "network that serves")
_TEACHER = flags.DEFINE_string("teacher", None, "network that labels")
_RECIPE = flags.DEFINE_string("recipe", "finetune", "how it is retrained")
_LABELS = flags.DEFINE_enum(
  "labels", "teacher", ["teacher", "oracle"], "who labels; oracle: the truth"
)
_PRECISION = flags.DEFINE_enum(
  "precision", "float32", ["float32", "mx", "mx9"], "see serving.teacher"
)
_PAIR = flags.DEFINE_enum(
  "pair", "resnet18", ["resnet18", "resnet34", "vit_b32"], "timed as"
)
_MORE_ROWS = flags.DEFINE_integer(
  "more_rows", 0, "that serve beyond those needed", lower_bound=0
)
_MODE = flags.DEFINE_enum("mode", "full", ["full", "compat"], "cost model")
_WORKDIR = flags.DEFINE_string("workdir", None, "default runs/drift_DATA")
_QUICK = flags.DEFINE_bool(
  "quick", False, "the embedded digits, three scenarios, two seeds"
)


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  data = "digits" if _QUICK.value else _DATA.value
  protocol = _protocol(data)
  texts = _texts(protocol)
  names = ["none", "S1", "S6"] if _QUICK.value else _SCENARIOS.value
  folder = Path(_WORKDIR.value or f"runs/drift_{data}")
  folder.mkdir(parents=True, exist_ok=True)
  roles = protocol.roles._asdict()
  settings = {**protocol._asdict(), "roles": roles, **_conditions()}
  workdir.claim(folder, settings)
  study = _Study(protocol, folder)
  found = []
  for seed in range(min(2, _SEEDS.value) if _QUICK.value else _SEEDS.value):
    for name in names:
      for system, text in texts.items():
        found.append(study.run(name, system, text, seed))
  _, runs = runs_lib.write(study.assets, found, folder, settings)
  table = runs_lib.table(runs)
  text = "\n\n".join(
    [
      "score in %\n" + table.to_string(),
      _differences(runs).to_string(index=False, float_format="%.2f"),
      _alarms(runs, protocol).to_string(index=False, float_format="%.1f"),
      _caption(runs, settings),
    ]
  )
  (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
  print(text)


def _protocol(data: str) -> Protocol:
  protocol = PROTOCOLS[data]
  roles = protocol.roles._replace(
    student=_STUDENT.value or protocol.roles.student,
    teacher=_TEACHER.value or protocol.roles.teacher,
  )
  return protocol._replace(
    roles=roles,
    fps=_FPS.value or protocol.fps,
    segment_seconds=_SECONDS.value or protocol.segment_seconds,
  )


def _conditions() -> dict[str, Any]:
  """Conditions under which every number holds."""
  return {
    "recipe": _RECIPE.value,
    "labels": _LABELS.value,
    "precision": _PRECISION.value,
    "rounding": "rne",
    "times": _times().source,
    "updates take": setup.UPDATES,
    "energy": f"modelled: {systolic.POWER_WATTS} W, by rows that compute",
  }


def _times() -> times.Times:
  return times.published(
    _PAIR.value, mode=_MODE.value, more_rows=_MORE_ROWS.value
  )


def _num_labels(protocol: Protocol) -> int:
  return max(4, round(108 * protocol.segment_seconds / 60))


def _texts(protocol: Protocol) -> dict[str, str]:
  """The systems, in proportion to the segments' length."""
  window, num = 2 * protocol.segment_seconds, _num_labels(protocol)
  short = max(1, round(window / 12))
  ceiling = f"oracle:window={window},samples={round(6.7 * num)}"
  texts = {
    "dacapo": f"dacapo:labels={num}",
    "dacapo_robust": f"dacapo:labels={num},drift=robust",
    "spatial": f"dacapo_spatial:window={window}",
    "active": f"dacapo_spatial:window={window},active=true",
    "ekya": f"ekya:window={window}",
    "eomu": f"eomu:window={short},warmup={runs_lib.WARMUP * window}",
    "frozen": "frozen",
    "no_drift_rule": f"dacapo:labels={num},drift=never",
    "no_more_labels": f"dacapo:labels={num},first=1",
    "auto": f"auto:labels={num}",
    "ceiling": ceiling,
    "twin": f"{ceiling},causal=true",
  }
  chosen = _SYSTEMS.value or list(texts)
  if unknown := set(chosen) - set(texts):
    raise app.UsageError(f"--systems: no {unknown}; choose from {[*texts]}")
  return {name: texts[name] for name in chosen}


class _Study:
  """Makes the runs that are missing."""

  def __init__(self, protocol: Protocol, folder: Path):
    self._protocol, self._folder = protocol, folder
    name, options = spec.parse(protocol.data)
    source = sources.load(name, _DATA_DIR.value, **options)
    roles = protocol.roles._replace(
      recipe=_RECIPE.value, precision=_PRECISION.value
    )
    self.assets = setup.Assets(source, roles, folder / "weights")
    self._times = _times().training(self.assets.student.training_share)

  def run(self, name: str, system: str, text: str, seed: int) -> runs_lib.Run:
    """Returns a run, from disk where it is finished."""
    path = self._folder / name / system / f"seed_{seed}"
    was_there = path.with_suffix(".json").exists()
    start = time.perf_counter()
    stream_script = runs_lib.StreamScript(
      name, self._protocol.fps, self._protocol.segment_seconds, SEGMENTS
    )
    found = runs_lib.run(
      self.assets,
      stream_script,
      text,
      self._times,
      seed,
      path,
      oracle=_LABELS.value == "oracle",
      about=_conditions(),
    )
    if not was_there:
      row = runs_lib.row(found)
      print(
        f"{name} {system} seed {seed}: {row['score']:.1f} %, "
        f"{row['retrainings']} retrainings, "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
      )
    return found._replace(system=system)


def _differences(runs: pd.DataFrame) -> pd.DataFrame:
  """Paired differences, by scenario and over all."""
  lines = []
  overall = runs_lib.overall(runs)
  joules = _joules(runs)
  for ours, theirs in DIFFERENCES:
    if not {ours, theirs} <= set(overall.index):
      continue
    cells = runs.pivot_table(
      index="seed", columns=["system", "scenario"], values="score"
    )
    pairs: Mapping[str, Any] = {
      name: (cells[ours, name], cells[theirs, name])
      for name in runs["scenario"].unique()
    }
    for name, pair in {
      **pairs,
      "all": (overall[ours], overall[theirs]),
    }.items():
      mean, half = accounting.paired_interval(*pair)
      lines.append(
        {
          "difference": f"{ours} - {theirs}",
          "scenario": name,
          "points": mean,
          "95% interval": half,
          "joules": joules[ours, name] / joules[theirs, name],
        }
      )
  return pd.DataFrame(lines)


def _joules(runs: pd.DataFrame) -> pd.Series:
  """Mean joules of a second, by system and scenario, and over "all"."""
  of = _times().joules
  each = runs.assign(joules=[of(1, w / 100) for w in runs["working"]])
  every = pd.concat([each, each.assign(scenario="all")])
  return every.groupby(["system", "scenario"])["joules"].mean()


def _alarms(runs: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
  """How often drift was called where there is none, in percent of turns."""
  num, lines = _num_labels(protocol), []
  calm = runs[(runs["scenario"] == "none") & (runs["decisions"] > 0)]
  for system, found in calm.groupby("system", sort=False):
    noise = detection.false_alarms(found["mean"].mean() / 100, num, num)
    robust = "robust" in str(system)
    lines.append(
      {
        "system": system,
        "false alarms %": 100
        * found["drifts"].sum()
        / found["decisions"].sum(),
        "independent samples would make %": 100 * noise[robust],
        "turns": found["decisions"].sum(),
      }
    )
  return pd.DataFrame(lines)


def _caption(runs: pd.DataFrame, settings: Mapping[str, Any]) -> str:
  frozen = runs[runs["system"] == "frozen"]
  lines = [f"{key}: {value}" for key, value in settings.items()]
  lines += [
    f"seeds: {runs['seed'].nunique()}; intervals are 95 %, Student's t",
    "frames not served count as the last prediction does (stale); dropped: "
    f"{runs['dropped'].max():.1f} %",
    f"labels that were right: {runs['right labels'].mean():.1f} %",
  ]
  if len(frozen):
    least = frozen.groupby("scenario", sort=False)["range"].mean().round(1)
    lines.append(
      "points between the frozen student's best and worst segment: "
      + ", ".join(f"{name} {points}" for name, points in least.items())
    )
  return "\n".join(lines)


if __name__ == "__main__":
  app.run(main)
