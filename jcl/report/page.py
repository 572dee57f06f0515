"""The report: one self-contained HTML page over any number of runs."""

import base64
from collections.abc import Iterable, Sequence
import json
import math
import os
from pathlib import Path
from typing import Any

from jcl import base, errors
from jcl.errors import MissingFileError
from jcl.report import hierarchy, paragraph, pictures, summary, table

# Pictures that lie in a run's own folder.
_OWN = {
  "selections": (
    "What trained when",
    "Each column is a choice of tensors, in order; dark tensors trained until "
    "the next one. The input is at the bottom.",
  ),
  "profile": (
    "Where a step's time goes",
    "What each tensor adds to the time of a step by the run's profile: the "
    "gradient's way to it, its own gradient, its update.",
  ),
  "generality": (
    "What units lost and how far they moved",
    "Left, how alike a unit's outputs for earlier experiences still are to "
    "those just after learning them; right, how alike those for new examples "
    "stayed while these were learned. Units at 1 throughout need no training.",
  ),
  "hierarchy": (
    "What the memory hierarchy was given",
    "Examples that the episodic memory and the stream buffer may hold, and the "
    "share of replayed examples that is exchanged with the store. Dots are "
    "decisions, grey lines end experiences.",
  ),
  "trials": (
    "What trials of sizes showed",
    "Each mark is a size of memory and stream buffer, by how it was judged in "
    "a short trial and the energy that training with it was predicted to take. "
    "Those not tried to the end are left out. Titles give the sizes that came "
    "of it, memory + stream buffer.",
  ),
}
_CAPTIONS = {
  "accuracy_per_experience": (
    "Accuracy as experiences arrive",
    "Each point is the mean accuracy over the test sets of all experiences "
    "learned so far. A line that stays high has kept the old while learning "
    "the new.",
  ),
  "accuracy_over_time": (
    "Accuracy at any time",
    "Left: accuracy on the seen test sets at every evaluation, so that dips "
    "within an experience show. Right: accuracy on each batch before it was "
    "learned. Grey lines end experiences.",
  ),
  "accuracy_matrix": (
    "Accuracy matrices",
    "Percent right on each test set (column) after each experience (row), "
    "class-incremental, mean over seeds. Read a column downwards from the "
    "diagonal to see one test set being forgotten.",
  ),
  "forgetting": (
    "Forgetting per test set",
    "How far accuracy on each test set ended below its best, "
    "class-incremental. Below zero, it ended at its best.",
  ),
  "costs": (
    "Where the cost went",
    "Totals of a run by account, mean over seeds; whiskers are of the whole. "
    "Energy is named by how it was found: measured, in part, or modelled.",
  ),
  "loss": (
    "Training loss",
    "Loss of the batches as they were learned. A jump at a grey line is the "
    "arrival of a new experience.",
  ),
  "memory_per_class": (
    "What the memory holds",
    "Examples of each class in the memory at the end; equal bars are a "
    "balanced memory.",
  ),
  "step_memory": (
    "What the memory of a training step is made of",
    "Bytes on the device for one call of the compiled step, with the weights "
    "of a frozen trunk that runs ahead of it; the mark is the peak. A bar ends "
    "beyond the mark where not all parts live at once.",
  ),
}
_MEANINGS = {
  "final_average_accuracy": "final accuracy, mean over test sets",
  "micro_average_accuracy": "final accuracy, all test examples as one set",
  "average_incremental_accuracy": (
    "average incremental accuracy: mean over experiences of the mean over the "
    "test sets seen by then"
  ),
  "learning_accuracy": "accuracy on each test set just after learning it",
  "forgetting_from_maximum": "forgetting: fall from the best ever",
  "forgetting_from_first": "forgetting: fall from just after learning it",
  "backward_transfer": "backward transfer: the latter, negated",
  "forward_transfer": (
    "forward transfer: gain over the untrained network just before learning it"
  ),
  "worst_case": "final accuracy on the worst test set",
  "worst_case_accuracy": (
    "WC-ACC: accuracy on the newest test set joined with the minima of the "
    "earlier ones since they were learned"
  ),
  "anytime_average": "accuracy on seen test sets, averaged over steps",
}
# Shown in places of their own, so not again among a run's other context.
_PLACED = {
  "recipe",
  "seed",
  "num_experiences",
  "class_names",
  "notes",
  *summary.STEP_MEMORY,
}
_ROWS = 50  # of an accuracy matrix that is shown in numbers
_NAMES = 60  # characters that names of classes may take in a table's cell
_TABULATED = {"decisions", "exchanges"}  # of a memory, likewise


def find_runs(folders: Iterable[str | Path]) -> list[Path]:
  """Run folders among `folders` and at any depth below them, each once.

  Raises:
    FileNotFoundError: where a folder does not exist or holds no run.
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


def write(runs: Sequence[summary.Run], folder: str | Path) -> Path:
  """Writes the report on `runs` into `folder` and returns the page's path.

  `report.html` holds its pictures and needs no other file. Beside it lie the
  pictures, `pictures/*.png`, and `summary.json` with the summaries of all
  runs, which is left as it is where `folder` is itself that of a run.
  """
  folder = Path(folder)
  comparison = table.formatted(table.comparison(runs))
  paths = pictures.save_all(runs, folder / "pictures")
  page = rendered(
    "page.html",
    setting=paragraph.setting(runs),
    sentences=paragraph.sentences(runs),
    comparison=comparison,
    groups=table.group(runs),
    energy=table.energy(runs),
    step_memory=_step_memory(runs),
    pictures=[picture(_CAPTIONS[n], path) for n, path in paths.items()],
    runs=[_details(run) for run in runs],
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


def _notes(runs: Sequence[summary.Run]) -> list[str]:
  """Notes on what reading the data left out or converted, each once."""
  told = (note for run in runs for note in run.summary.get("notes") or ())
  return list(dict.fromkeys(told))


def _step_memory(runs: Sequence[summary.Run]) -> dict[str, Any] | None:
  """Header and rows of the table, None where no run tells."""
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
  """Returns a page of this folder, filled in."""
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
  """Returns title, caption and the picture itself, for a page to hold."""
  title, caption = texts
  data = base64.b64encode(path.read_bytes()).decode()
  return {"title": title, "caption": caption, "data": data}


def _own_pictures(folder: Path) -> list[dict[str, str]]:
  """Pictures that a run has drawn of itself."""
  paths = {name: folder / f"{name}.png" for name in _OWN}
  return [picture(_OWN[n], path) for n, path in paths.items() if path.exists()]


def _details(run: summary.Run) -> dict[str, Any]:
  facts = run.summary
  context = {
    key: value
    for key, value in facts.items()
    if key not in summary.COMPUTED and key not in _PLACED
  }
  progress = f"{facts['experiences']} of {facts['num_experiences']} experiences"
  return {
    "name": table.name(facts.get("recipe")),
    "seed": facts.get("seed"),
    "status": progress if run.finished else f"unfinished: {progress}",
    "finished": run.finished,
    "pictures": _own_pictures(run.folder),
    "facts": {
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
      "accuracy per joule": _number(facts["accuracy_per_joule"]),
      "online accuracy": _share(facts["online_accuracy"]),
      "accuracy per class, mean": _share(facts["macro_class_accuracy"]),
      **_unshown(facts),
    },
    "sections": {
      key.replace("_", " "): _mapping(value)
      for key, value in context.items()
      if isinstance(value, dict)
    },
    "joules": f"joules ({table.joules_source([run])})",
    "metrics": [
      (meaning, *(_share(facts[each][name]) for each in summary.SCENARIOS))
      for name, meaning in _MEANINGS.items()
    ],
    "decisions": [_decision(record) for record in run.records],
    "costs": [
      (account, *_cost(cost))
      for account, cost in [*facts["costs"].items(), ("total", facts["total"])]
    ],
    "hierarchy": hierarchy.tables(run),
    "memory": _mapping(
      {k: v for k, v in facts["memory"].items() if k not in _TABULATED}
    ),
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
      for scenario in summary.SCENARIOS
      if len(facts[scenario]["matrix"]) <= _ROWS
    },
  }


def _unshown(facts: dict[str, Any]) -> dict[str, str]:
  """Says where numbers are that would be too many for a page."""
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
    "budget": table.amount(decision.budget),
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
  """Names of an experience's classes, or their numbers where that is long."""
  names = ", ".join(record.class_names)
  numbers = tuple(map(str, record.classes))
  if record.class_names in ((), numbers) or len(names) > _NAMES:
    return _span(record.classes)
  return names


def _span(classes: Sequence[int]) -> str:
  """Classes in few words, "0–9" where they follow each other."""
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
