"""The report: one self-contained HTML page over any number of runs."""

import base64
from collections.abc import Iterable, Sequence
import json
import math
import os
from pathlib import Path
from typing import Any

from jcl import base
from jcl.options import errors
from jcl.options.errors import MissingFileError
from jcl.report import (
  bought,
  captions,
  hierarchy,
  paragraph,
  pictures,
  predictions,
  summarising,
  summary,
  table,
)

# Context of a run that the page shows in places of its own.
_PLACED = {
  "recipe",
  "seed",
  "num_experiences",
  "class_names",
  "notes",
  *summarising.STEP_MEMORY,
}
_ROWS = 50  # the most that an accuracy matrix in numbers may have
_NAMES = 60  # characters that names of classes may take in a table's cell
_TABULATED = {"decisions", "exchanges"}  # parts of a memory with own tables


def find_runs(folders: Iterable[str | Path]) -> list[Path]:
  """Lists the run folders among `folders` and at any depth below, each once.

  Raises:
    FileNotFoundError: for a folder that does not exist or holds no run.
  """
  found: dict[Path, None] = {}
  for folder in map(Path, folders):
    below = sorted(path.parent for path in folder.rglob("records.jsonl"))
    if not below:
      raise MissingFileError(
        f"no run in {folder}: give a folder with a records.jsonl in it or "
        "somewhere below it"
      )
    found.update(dict.fromkeys(below))
  return list(found)


def write(
  runs: Sequence[summary.Run], folder: str | Path, processes: int = 1
) -> Path:
  """Writes the report on `runs` into `folder` and returns the page's path.

  `report.html` contains its pictures and needs no other file. Beside it lie the
  pictures, `pictures/*.png`, and `summary.json` with the summaries of all runs.
  If `folder` is itself a run folder, its own `summary.json` is left as it is.
  `processes` draw the pictures, as of `pictures.save_all`.
  """
  folder = Path(folder)
  comparison = table.formatted(table.comparison(runs))
  paths = pictures.save_all(runs, folder / "pictures", processes)
  drawn = {n: picture(captions.CAPTIONS[n], p) for n, p in paths.items()}
  told = _told_first(runs)
  page = rendered(
    "page.html",
    lead=[drawn.pop(pictures.LEAD)],
    bought=[drawn.pop("bought")] if "bought" in drawn else [],
    purchases=[bought.tabulated(run) for run in told],
    setting=paragraph.setting(runs),
    sentences=paragraph.sentences(runs),
    comparison=comparison,
    groups=table.group(runs),
    energy=table.energy(runs),
    tested=any(run.tested for run in runs),
    step_memory=_step_memory(runs),
    pictures=list(drawn.values()),
    runs=[_details(run, any(run is one for one in told)) for run in runs],
    notes=_notes(runs),
  )
  target = folder / "report.html"
  # Classes may be named after files, whose names need not be valid text.
  target.write_text(page, encoding="utf-8", errors="backslashreplace")
  if not summary.is_run(folder):
    everything = [
      {"folder": os.path.relpath(run.folder, folder), **run.summary}
      for run in runs
    ]
    (folder / "summary.json").write_text(
      json.dumps({"runs": everything}, indent=1), encoding="utf-8"
    )
  return target


def _told_first(runs: Sequence[summary.Run]) -> list[summary.Run]:
  """Returns the runs whose purchases come first: the first of each recipe."""
  firsts = (group.runs[0] for group in table.group(runs))
  return [run for run in firsts if bought.shown(run)]


def _notes(runs: Sequence[summary.Run]) -> list[str]:
  """Returns the notes on data that was left out or converted, each once."""
  told = (note for run in runs for note in run.summary.get("notes") or ())
  return list(dict.fromkeys(told))


def _step_memory(runs: Sequence[summary.Run]) -> dict[str, Any] | None:
  """Returns header and rows of the table; None if no run tells its memory."""
  frame = table.step_memory(runs)
  if frame.empty:
    return None
  return {
    "header": ["recipe", *frame.columns],
    "rows": [
      (label, *(table.scaled(value, "B") for value in values))
      for label, *values in frame.itertuples(name=None)
    ],
  }


def rendered(name: str, **values: Any) -> str:
  """Fills in a template of this folder with `values`; returns the page."""
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template(name).render(**values)


def picture(texts: tuple[str, str], path: Path) -> dict[str, str]:
  """Returns title, caption and encoded picture, for a page to contain."""
  title, caption = texts
  data = base64.b64encode(path.read_bytes()).decode()
  return {"title": title, "caption": caption, "data": data}


def _own_pictures(folder: Path) -> list[dict[str, str]]:
  """Returns the pictures that a run drew in its own folder."""
  paths = {name: folder / f"{name}.png" for name in captions.OWN}
  return [
    picture(captions.OWN[n], path) for n, path in paths.items() if path.exists()
  ]


def _details(run: summary.Run, told: bool) -> dict[str, Any]:
  """Returns all that the page shows of a run alone.

  Args:
    run: of the report.
    told: whether the page tells above what it bought.
  """
  facts = run.summary
  purchases = [bought.tabulated(run)] if bought.shown(run) and not told else []
  context = {
    key: value
    for key, value in facts.items()
    if key not in summarising.COMPUTED and key not in _PLACED
  }
  progress = f"{facts['experiences']} of {facts['num_experiences']} experiences"
  return {
    "name": table.name(facts.get("recipe")),
    "seed": facts.get("seed"),
    "status": progress if run.finished else f"unfinished: {progress}",
    "finished": run.finished,
    "pictures": _own_pictures(run.folder),
    "facts": _facts(run, context),
    "sections": {
      key.replace("_", " "): _mapping(value)
      for key, value in context.items()
      if isinstance(value, dict)
    },
    "joules": f"joules ({table.joules_source([run])})",
    **_tested(run),
    "decisions": [_decision(record) for record in run.records],
    "costs": [
      (account, *_cost(cost))
      for account, cost in [*facts["costs"].items(), ("total", facts["total"])]
    ],
    "tables": [
      *(each._replace(title="What was bought") for each in purchases),
      *predictions.tables(run),
      *hierarchy.tables(run),
    ],
    "memory": _mapping(
      {k: v for k, v in facts["memory"].items() if k not in _TABULATED}
    ),
  }


def _tested(run: summary.Run) -> dict[str, Any]:
  """Returns what test sets say of a run; nothing for a run without any."""
  facts = run.summary
  if not run.tested:
    return {"metrics": [], "classes": [], "matrices": {}}
  return {
    "metrics": [
      (meaning, *(_share(facts[each][name]) for each in summarising.SCENARIOS))
      for name, meaning in captions.MEANINGS.items()
    ],
    "classes": [
      (name, _share(value))
      for name, value in zip(
        table.class_names(facts), facts["accuracy_class"], strict=True
      )
    ],
    "matrices": {
      scenario.replace("_", "-"): [
        [_share(value) for value in row] for row in facts[scenario]["matrix"]
      ]
      for scenario in summarising.SCENARIOS
      if len(facts[scenario]["matrix"]) <= _ROWS
    },
  }


def _facts(run: summary.Run, context: dict[str, Any]) -> dict[str, str]:
  """Returns single values of a run and of its context, by name."""
  facts = run.summary
  return {
    "folder": str(run.folder),
    **{
      key.replace("_", " "): _text(value)
      for key, value in context.items()
      if not isinstance(value, dict)
    },
    "steps": f"{facts['steps']:,}",
    "examples shown": f"{facts['examples']:,}",
    "peak memory of the process": table.scaled(facts["peak_bytes"], "B"),
    "time spent writing files": table.scaled(table.writing(facts), "s"),
    **_accuracies(run),
    **_operations(run.records),
    **_unshown(facts),
  }


def _accuracies(run: summary.Run) -> dict[str, str]:
  facts = run.summary
  share = table.online(facts)
  online = {"online accuracy": _share(None if math.isnan(share) else share)}
  if not run.tested:
    return online
  return {
    "accuracy per joule": _number(facts["accuracy_per_joule"]),
    **online,
    "accuracy per class, mean": _share(facts["macro_class_accuracy"]),
  }


def _operations(records: Sequence[base.Record]) -> dict[str, str]:
  """Returns the operations of a step with weights held at zero."""
  if not records or not records[-1].effective_flops:
    return {}
  dense, effective = records[-1].effective_flops
  return {
    "operations of a step": (
      f"{table.scaled(dense, 'FLOP')} dense, "
      f"{table.scaled(effective, 'FLOP')} without products with zeros"
    )
  }


def _unshown(facts: dict[str, Any]) -> dict[str, str]:
  """Returns where the numbers are that are too many for a page."""
  if facts["experiences"] <= _ROWS:
    return {}
  return {"accuracy matrices in numbers": "in summary.json of that folder"}


def _decision(record: base.Record) -> dict[str, str]:
  decision = record.decision
  return {
    "experience": _experience(record),
    "classes": _classes(record),
    "epochs": str(decision.epochs),
    "limit": _limit(decision.limit),
    "budget": table.amount(decision.allocation.rho),
    "tensors": f"{record.trained[0]:,} of {record.trained[1]:,}",
    "parameters": f"{record.parameters[0]:,} of {record.parameters[1]:,}",
    "steps": f"{record.steps:,}",
    "loss": table.amount(record.loss),
    "reason": decision.reason or "–",
  }


def _experience(record: base.Record) -> str:
  number = str(record.experience + 1)
  return f"{number} ({errors.names([record.name])})" if record.name else number


def _classes(record: base.Record) -> str:
  """Returns the names of an experience's classes; numbers if these are long."""
  names = ", ".join(record.class_names)
  numbers = tuple(map(str, record.classes))
  if record.class_names in ((), numbers) or len(names) > _NAMES:
    return _span(record.classes)
  return names


def _span(classes: Sequence[int]) -> str:
  """Returns numbers of classes, shortened to "0–9" if they are consecutive."""
  if not classes:
    return "–"
  if len(classes) > 2 and classes[-1] - classes[0] == len(classes) - 1:
    return f"{classes[0]}–{classes[-1]}"
  return errors.names(map(str, classes))


def _limit(cost: base.Cost) -> str:
  units = {"seconds": "s", "joules": "J", "flops": "FLOP", "bytes": "B"}
  finite = [
    table.scaled(getattr(cost, name), unit)
    for name, unit in units.items()
    if math.isfinite(getattr(cost, name))
  ]
  return ", ".join(finite) or "none"


def _cost(cost: dict[str, Any]) -> tuple[str, ...]:
  return (
    _number(cost["seconds"]),
    _number(cost["joules"]),
    table.scaled(cost["flops"], ""),
    table.scaled(cost["bytes"], "B"),
  )


def _number(value: float | None) -> str:
  return "–" if value is None else table.amount(float(value))


def _share(value: float | None) -> str:
  return "–" if value is None else f"{value:.3f}"


def _mapping(value: dict[str, Any]) -> dict[str, str]:
  return {
    str(key).replace("_", " "): _text(item) for key, item in value.items()
  }


def _text(value: Any) -> str:
  if isinstance(value, dict):
    return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
  if isinstance(value, list):
    return ", ".join(map(_text, value)) or "–"
  return "–" if value is None else str(value)
