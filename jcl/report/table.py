"""Runs side by side: one row per recipe, over its seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import math
import re
import textwrap
from typing import TYPE_CHECKING, Any

from jcl import metrics
from jcl.errors import UsageError
from jcl.report import summary

if TYPE_CHECKING:
  import pandas as pd


# Parts of a summary in which runs agree that are seeds of one another.
_IDENTITY = ("recipe", "stream", "network", "training", "options")

# Accounts of writing files.
WRITING = ("checkpoint", "write")

# Parts of a step's memory, as summaries and readers name them.
STEP_PARTS = {
  "trunk": "frozen trunk",
  "weights": "weights",
  "gradients": "gradients",
  "slots": "optimiser slots",
  "objective": "anchors and references",
  "replay": "replay memory",
  "batch": "batch",
  "kept": "activations and scratch",
}


@dataclasses.dataclass(frozen=True)
class Group:
  """Runs that differ by their seeds."""

  label: str  # ends in "[3 of 5]" where none of them is finished
  runs: tuple[summary.Run, ...]  # those that its means are taken over
  num_runs: int  # all that were given
  progress: str  # "5 of 5", experiences
  notes: tuple[str, ...]  # what a reader should know before trusting means


def group(runs: Sequence[summary.Run]) -> list[Group]:
  """Runs by all that identifies them but the seed, in order of occurrence.

  Only runs that agree in recipe, stream, network, training and options are
  averaged. An unfinished run has seen fewer test sets, so it only counts where
  its group has no finished one.
  """
  found: dict[str, list[summary.Run]] = {}
  for run in runs:
    key = json.dumps(_identity(run), sort_keys=True)
    found.setdefault(key, []).append(run)
  members = list(found.values())
  labels = _labels([_identity(each[0]) for each in members])
  return [_group(*pair) for pair in zip(labels, members, strict=True)]


def _group(label: str, runs: Sequence[summary.Run]) -> Group:
  finished = [run for run in runs if run.finished]
  counted = tuple(finished or runs)
  progress = _progress(counted)
  left_out = len(runs) - len(counted)
  notes = [f"{left_out} unfinished left out of the means"] if left_out else []
  return Group(
    label=label if finished else f"{label} [{progress}]",
    runs=counted,
    num_runs=len(runs),
    progress=progress,
    notes=tuple(notes + _remarks(counted)),
  )


def _identity(run: summary.Run) -> dict[str, Any]:
  return {key: run.summary.get(key) for key in _IDENTITY}


def _labels(identities: Sequence[dict[str, Any]]) -> list[str]:
  """Recipes, with what else it takes to tell the groups apart."""
  labels = [name(each["recipe"]) for each in identities]
  streams = [name(each["stream"]) for each in identities]
  if len(set(streams)) > 1:
    labels = [f"{a} on {b}" for a, b in zip(labels, streams, strict=True)]
  flat = [dict(_leaves(each)) for each in identities]
  full = []
  for label, mine in zip(labels, flat, strict=True):
    alike = [f for other, f in zip(labels, flat, strict=True) if other == label]
    differing = [
      f"{path.rpartition('.')[2]}={value}"
      for path, value in mine.items()
      if any(other.get(path) != value for other in alike)
    ]
    full.append(f"{label} [{', '.join(differing)}]" if differing else label)
  return full


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
  if isinstance(value, Mapping):
    for key, item in value.items():
      yield from _leaves(item, f"{path}.{key}")
  else:
    yield path, value


def name(value: Any) -> str:
  """A recipe or stream, `{"name", "options"}` or text, as one line."""
  if not isinstance(value, Mapping):
    return "unnamed" if value is None else str(value)
  options = value.get("options") or {}
  inside = ", ".join(f"{key}={options[key]}" for key in sorted(options))
  return f"{value['name']} ({inside})" if inside else str(value["name"])


def comparison(runs: Sequence[summary.Run]) -> "pd.DataFrame":
  """Means over seeds and half-widths of their 95 % intervals, in base units.

  One row per `group`; columns are pairs, (quantity, "mean") and (quantity,
  "half width"), accuracies in [0, 1], after ("runs", "") and ("experiences",
  ""). Half-widths are NaN where a recipe has one run.
  """
  import pandas as pd

  groups = group(runs)
  if not groups:
    raise UsageError("there is no run to compare: give at least one")
  columns = quantities(runs)
  rows = []
  for one in groups:
    row: dict[tuple[str, str], Any] = {
      ("runs", ""): one.num_runs,
      ("experiences", ""): one.progress,
    }
    for header, value_fn in columns.items():
      mean, half_width = metrics.confidence_interval(
        [_float(value_fn(run.summary)) for run in one.runs]
      )
      row[header, "mean"] = mean
      row[header, "half width"] = half_width
    rows.append(row)
  index = pd.Index([one.label for one in groups], name="recipe")
  frame = pd.DataFrame(rows, index=index)
  frame.columns = pd.MultiIndex.from_tuples(frame.columns)
  return frame


def quantities(
  runs: Sequence[summary.Run],
) -> dict[str, Callable[[dict[str, Any]], Any]]:
  """Headers of the comparison and how each is read off a summary."""
  return {
    "class-incremental accuracy": lambda s: s["class_incremental"][
      "final_average_accuracy"
    ],
    "task-incremental accuracy": lambda s: s["task_incremental"][
      "final_average_accuracy"
    ],
    "average incremental accuracy": lambda s: s["class_incremental"][
      "average_incremental_accuracy"
    ],
    "forgetting": lambda s: s["class_incremental"]["forgetting_from_maximum"],
    "seconds": lambda s: s["total"]["seconds"],
    "seconds of writing": writing,
    f"joules ({joules_source(runs)})": lambda s: s["total"]["joules"],
    "memory bytes": lambda s: s["memory"].get("bytes"),
  }


def class_names(told: Mapping[str, Any]) -> list[str]:
  """Names of a run's classes, shortened; their numbers where it tells none."""
  names = told.get("class_names") or ()
  return [
    short(str(names[i]), 40) if i < len(names) else str(i)
    for i in range(len(told["accuracy_class"]))
  ]


def short(text: str, width: int) -> str:
  """A text in one line of `width` characters at most."""
  text = " ".join(text.split())
  return text if len(text) <= width else text[: width - 1] + "…"


def writing(told: Mapping[str, Any]) -> float:
  """Seconds in which a run wrote files: checkpoints, records and all else."""
  return sum(
    _float(told.get(part, {}).get(account, {"seconds": 0.0})["seconds"])
    for part in ("costs", "closing")
    for account in WRITING
  )


def step_memory(runs: Sequence[summary.Run]) -> "pd.DataFrame":
  """Bytes that a train step takes: a row per recipe, a column per part.

  Means over the runs that tell them; a recipe none of whose runs does has no
  row. "peak" is the last column. A second row of a recipe, "..., all tensors",
  is the step that trains everything, where that was compiled as well.
  """
  import pandas as pd

  columns = {**STEP_PARTS, "peak": "peak"}
  rows = {}
  for one in group(runs):
    for key, ending in zip(
      summary.STEP_MEMORY, ("", ", all tensors"), strict=True
    ):
      told = [run.summary[key] for run in one.runs if run.summary.get(key)]
      if told:
        rows[one.label + ending] = [
          metrics.macro_average([each.get(part, 0) for each in told])
          for part in columns
        ]
  return pd.DataFrame.from_dict(
    rows, orient="index", columns=list(columns.values())
  )


def joules_source(runs: Sequence[summary.Run]) -> str:
  """How energies came about in a word or two each, such as "modelled"."""
  kinds = {re.split(r":| \(", source_of(run))[0] for run in runs}
  return ", ".join(sorted(kinds))


def source_of(run: summary.Run) -> str:
  """How a run's energy came about, such as "measured (a counter)"."""
  return str(run.summary.get("joules_source") or "source unknown")


def energy(runs: Sequence[summary.Run]) -> str:
  """A line that names the source of all energies, by recipe if they differ."""
  sources = {
    one.label: ", ".join(sorted({source_of(run) for run in one.runs}))
    for one in group(runs)
  }
  if len(set(sources.values())) == 1:
    return f"joules: {next(iter(sources.values()))}"
  parts = (f"of {label}, {source}" for label, source in sources.items())
  return f"joules: {'; '.join(parts)}"


def formatted(frame: "pd.DataFrame") -> "pd.DataFrame":
  """A comparison as text, "0.912 ± 0.004", one column per quantity."""
  import pandas as pd

  columns: dict[str, list[str]] = {}
  for header in dict.fromkeys(frame.columns.get_level_values(0)):
    part = frame[header]
    if "mean" not in part:
      columns[header] = [str(value) for value in frame[header, ""]]
      continue
    show = _share if _is_share(header) else amount
    columns[header] = [
      show(mean) + ("" if math.isnan(half) else f" ± {show(half)}")
      for mean, half in zip(part["mean"], part["half width"], strict=True)
    ]
  return pd.DataFrame(columns, index=frame.index)


def text(frame: "pd.DataFrame") -> str:
  """A comparison for a terminal: columns aligned, headers wrapped."""
  shown = formatted(frame).reset_index()
  headers = [textwrap.wrap(str(header), 12) for header in shown.columns]
  height = max(map(len, headers))
  padded = [[""] * (height - len(header)) + header for header in headers]
  rows = [*map(list, zip(*padded, strict=True)), *shown.to_numpy().tolist()]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [
      cell.rjust(width) if i else cell.ljust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    lines.append("  ".join(cells).rstrip())
  return "\n".join(lines)


def markdown(frame: "pd.DataFrame") -> str:
  """A comparison as a Markdown table."""
  shown = formatted(frame).reset_index()
  rows = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy()]
  lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
  return "\n".join(f"| {line} |" for line in lines)


def amount(value: float) -> str:
  """A quantity in at least three digits, "12,345" or "0.00321"; NaN a dash."""
  if math.isnan(value):
    return "–"
  return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def scaled(value: float | None, unit: str) -> str:
  """A quantity with a prefix of its unit, "2.88 GFLOP"; None a dash."""
  from matplotlib import ticker

  if value is None:
    return "–"
  return ticker.EngFormatter(unit)(float(f"{float(value):.3g}")).strip()


def _is_share(header: str) -> bool:
  return "accuracy" in header or header == "forgetting"


def _share(value: float) -> str:
  return "–" if math.isnan(value) else f"{value:.3f}"


def _float(value: float | str | None) -> float:
  return math.nan if value is None else float(value)


def _progress(runs: Sequence[summary.Run]) -> str:
  done = {run.summary["experiences"] for run in runs}
  total = {run.summary["num_experiences"] for run in runs}
  return f"{_span(done)} of {_span(total)}"


def _span(values: set[int]) -> str:
  low, high = min(values), max(values)
  return str(low) if low == high else f"{low}–{high}"


def _remarks(runs: Sequence[summary.Run]) -> list[str]:
  remarks = []
  seeds = [str(run.summary.get("seed")) for run in runs]
  repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
  if repeated:
    remarks.append(
      f"seed {', '.join(repeated)} occurs more than once, so the runs are not "
      "independent and the interval is too narrow"
    )
  for fact in ("device", "git_revision", "versions"):
    known = [run.summary.get("environment") or {} for run in runs]
    if any(each.get(fact) != known[0].get(fact) for each in known):
      remarks.append(f"the runs differ in {fact.replace('_', ' ')}")
  return remarks
