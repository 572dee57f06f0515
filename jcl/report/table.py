"""Runs side by side: one row per recipe, over its seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import math
import re
import textwrap
from typing import TYPE_CHECKING, Any

from jcl import metrics
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.report import summarising, summary

if TYPE_CHECKING:
  import pandas as pd


# Runs that agree in these parts of their summaries, and in these flags, differ
# by their seeds only.
_IDENTITY = ("recipe", "stream", "network", "training", "options")
_BUDGETS = (
  *("energy_budget", "flops_budget", "equal_flops"),
  *("seconds_budget", "memory_budget"),
)

# Accounts for writing files.
WRITING = ("checkpoint", "write")

# Parts of a step's memory: names in summaries, and names for readers.
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

  label: str  # ends in "[3 of 5]" if no run is finished
  runs: tuple[summary.Run, ...]  # the runs that means are taken over
  num_runs: int  # all runs, unfinished ones included
  progress: str  # "5 of 5", experiences
  notes: tuple[str, ...]  # warnings about the means


def group(runs: Sequence[summary.Run]) -> list[Group]:
  """Groups runs that differ by their seeds only, in order of occurrence.

  Such runs agree in recipe, stream, network, training, options and budgets. An
  unfinished run has seen fewer test sets, so it only counts in a group without
  a finished run.
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
  budgets = {
    name: f"{value:g}" if isinstance(value, float) else value
    for name in _BUDGETS
    if (value := flags(run).get(name)) not in (None, "")
  }
  return {
    **{key: run.summary.get(key) for key in _IDENTITY},
    "budgets": budgets,
  }


def flags(run: summary.Run) -> Mapping[str, Any]:
  """Returns the flags that a run was made with, if its summary keeps them."""
  found = (run.summary.get("environment") or {}).get("flags")
  return found if isinstance(found, Mapping) else {}


def _labels(identities: Sequence[dict[str, Any]]) -> list[str]:
  """Returns names of recipes, with the options in which groups differ."""
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
  """Returns a recipe or stream, `{"name", "options"}` or text, as one line.

  >>> name({"name": "er", "options": {"minibatch": 8, "buffer": 50}})
  'er (buffer=50, minibatch=8)'
  """
  if not isinstance(value, Mapping):
    return "unnamed" if value is None else str(value)
  options = value.get("options") or {}
  inside = ", ".join(f"{key}={options[key]}" for key in sorted(options))
  return f"{value['name']} ({inside})" if inside else str(value["name"])


def comparison(runs: Sequence[summary.Run]) -> "pd.DataFrame":
  """Tabulates means over seeds and half-widths of their 95 % intervals.

  Returns:
    One row per `group`. The columns ("runs", "") and ("experiences", "") are
    followed by pairs (quantity, "mean") and (quantity, "half width"), in base
    units; accuracies are in [0, 1]. Half-widths of a single run are NaN.

  Raises:
    ValueError: without runs.
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
  """Returns the headers of a comparison, each with its reader of a summary.

  Where no run has test sets, one accuracy is known: that of the batches before
  they were learned.
  """
  accuracies: dict[str, Callable[[dict[str, Any]], Any]] = {
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
  }
  if not any(run.tested for run in runs):
    accuracies = {"accuracy before learning": online}
  return {
    **accuracies,
    "seconds": lambda s: s["total"]["seconds"],
    "seconds of writing": writing,
    f"joules ({joules_source(runs)})": lambda s: s["total"]["joules"],
    "memory bytes": lambda s: s["memory"].get("bytes"),
  }


def online(told: Mapping[str, Any]) -> float:
  """Returns a run's accuracy on batches before it learned them; NaN for none.

  A method that makes no updates answers no batch.
  """
  return _float(told["online_accuracy"]) if told["steps"] else math.nan


def class_names(told: Mapping[str, Any]) -> list[str]:
  """Returns shortened names of a run's classes, or numbers without names."""
  names = told.get("class_names") or ()
  return [
    short(str(names[i]), 40) if i < len(names) else str(i)
    for i in range(len(told["accuracy_class"]))
  ]


def short(text: str, width: int) -> str:
  """Shortens a text to one line of at most `width` characters.

  >>> short("class incremental", 9)
  'class in…'
  """
  text = " ".join(text.split())
  return text if len(text) <= width else text[: width - 1] + "…"


def writing(told: Mapping[str, Any]) -> float:
  """Returns the seconds in which a run wrote checkpoints and other files."""
  return sum(
    _float(told.get(part, {}).get(account, {"seconds": 0.0})["seconds"])
    for part in ("costs", "closing")
    for account in WRITING
  )


def step_memory(runs: Sequence[summary.Run]) -> "pd.DataFrame":
  """Tabulates the bytes of a train step: a row per recipe, a column per part.

  Rows are means over the runs that tell their memory; a recipe without such a
  run has no row. "peak" is the last column. A second row of a recipe, "..., all
  tensors", is for the step that trains all tensors, if it was compiled.
  """
  import pandas as pd

  columns = {**STEP_PARTS, "peak": "peak"}
  rows = {}
  for one in group(runs):
    for key, ending in zip(
      summarising.STEP_MEMORY, ("", ", all tensors"), strict=True
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
  """Returns the sources of the runs' joules in a few words: "modelled"."""
  kinds = {re.split(r":| \(", source_of(run))[0] for run in runs}
  return ", ".join(sorted(kinds))


def source_of(run: summary.Run) -> str:
  """Returns the source of a run's joules, such as "measured (a counter)"."""
  return str(run.summary.get("joules_source") or "source unknown")


def energy(runs: Sequence[summary.Run]) -> str:
  """Returns a line with the source of joules, by recipe if they differ."""
  sources = {
    one.label: ", ".join(sorted({source_of(run) for run in one.runs}))
    for one in group(runs)
  }
  if len(set(sources.values())) == 1:
    return f"joules: {next(iter(sources.values()))}"
  parts = (f"of {label}, {source}" for label, source in sources.items())
  return f"joules: {'; '.join(parts)}"


def formatted(frame: "pd.DataFrame") -> "pd.DataFrame":
  """Formats a comparison as text, "0.912 ± 0.004", one column per quantity."""
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
  """Formats a comparison for a terminal: columns aligned, headers wrapped."""
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
  """Formats a comparison as a Markdown table."""
  shown = formatted(frame).reset_index()
  rows = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy()]
  lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
  return "\n".join(f"| {line} |" for line in lines)


def amount(value: float) -> str:
  """Formats a quantity with at least three digits; NaN is a dash.

  >>> amount(12345.0), amount(0.0032149), amount(math.nan)
  ('12,345', '0.00321', '–')
  """
  if math.isnan(value):
    return "–"
  return errors.amount(value)


def scaled(value: float | None, unit: str) -> str:
  """Formats a quantity with a prefix of its unit; None is a dash.

  >>> scaled(2.881e9, "FLOP")
  '2.88 GFLOP'
  """
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
