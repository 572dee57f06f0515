"""The results of runs in a few sentences, for the top of the report."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math
from typing import Any

from jcl import base, metrics
from jcl.report import predictions, summary, table

_NAMES = {"flops": "operations", "bytes": "bytes moved"}
_KINDS = ("training", "held_out")  # data whose outputs of a trunk are counted
_MOST = 8  # recipes described in sentences; the table has all recipes


def sentences(runs: Sequence[summary.Run]) -> list[tuple[str, str]]:
  """Returns pairs (recipe, sentences about its results), at most eight.

  Figures are means over seeds: accuracy and forgetting after the last
  experience, class-incremental; cost; and the limits of the training. A last
  pair without a recipe holds sentences about all recipes.
  """
  groups = table.group(runs)
  limits = [_limits(one.runs) for one in groups]
  alike = len(set(limits)) == 1 and len(groups) > 1
  told = [
    (one.label, _told(one) + ("" if alike else f" {limit}"))
    for one, limit in zip(groups[:_MOST], limits[:_MOST], strict=True)
  ]
  if len(groups) > _MOST:
    told.append(("", f"{len(groups) - _MOST} more are in the table below."))
  if alike:
    told.append(("", limits[0]))
  return told


def setting(runs: Sequence[summary.Run]) -> str:
  """Returns a sentence on the streams that were learned, each once."""
  streams: dict[str, Mapping[str, Any]] = {}
  for run in runs:
    streams.setdefault(_stream(run), run.summary)
  parts = []
  for name, facts in streams.items():
    experiences = _count(facts["num_experiences"], "experience")
    classes = len(facts.get("class_names") or facts["accuracy_class"])
    known = _count(classes, "class")
    parts.append(f"{name}, {experiences} with {known} in all")
  measured = (
    "Accuracies are means over the test sets of all experiences, with all "
    "classes competing."
  )
  if not any(run.tested for run in runs):
    measured = (
      "Without test sets, accuracy is that of each batch before it was learned."
    )
  return f"What was learned: {'; '.join(parts)}. {measured}"


def limits_reached(record: base.Record) -> list[str]:
  """Returns the limits that ended an experience: "seconds", "joules", ...

  A limit bounds the cost of training, the accounts "train" and "replay". One
  that counts other accounts too is not passed: it has ended an experience where
  one more update would have passed it.
  """
  spent = predictions.counted(record)
  if record.decision.counts:
    spent += (1 / max(record.steps, 1)) * predictions.training(record)
  return [
    field.name
    for field in dataclasses.fields(base.Cost)
    if math.isfinite(getattr(record.decision.limit, field.name))
    and getattr(spent, field.name)
    >= (1 - 1e-9) * getattr(record.decision.limit, field.name)
  ]


def limited(run: summary.Run) -> str:
  """Returns a sentence on a run's limits: budgets, early ends, memory."""
  records = run.records
  if not records:
    return "No experience is over yet."
  parts = [*_by_budget(records), *_by_hierarchy(records)]
  trained, tensors = records[-1].trained
  if not trained and not any(record.steps for record in records):
    parts.append(
      "no update was made, as predictions are solved from statistics"
    )
  elif trained < tensors:
    parts.append(
      f"{trained} of {tensors} tensors trained in the last experience"
    )
  if not run.finished:
    planned = run.summary["num_experiences"]
    done = run.summary["experiences"]
    parts.append(f"the run is not over, {done} of {planned}")
  if parts:
    return f"What limited it: {'; '.join(parts)}."
  epochs = sorted({record.decision.epochs for record in records})
  span = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
  return (
    f"Nothing limited it: every experience got its {span} "
    f"{'epoch' if span == '1' else 'epochs'}."
  )


def _by_budget(records: Sequence[base.Record]) -> list[str]:
  reached = [limits_reached(record) for record in records]
  of = _count(len(records), "experience")
  parts = []
  for name in dict.fromkeys(each for names in reached for each in names):
    ended = sum(name in each for each in reached)
    parts.append(
      f"the budget of {_NAMES.get(name, name)} ended {ended} of {of}"
    )
  return parts


def _by_hierarchy(records: Sequence[base.Record]) -> list[str]:
  kinds = [
    decision["kind"]
    for record in records
    for decision in record.memory.get("decisions", ())
  ]
  parts = []
  if ended := kinds.count("ended"):
    parts.append(
      f"{_count(ended, 'experience')} ended early, since examples set aside "
      "were judged no better"
    )
  if shrunk := kinds.count("shrunk"):
    parts.append(f"the memory allowed was lowered {_count(shrunk, 'time')}")
  return parts


def _told(group: table.Group) -> str:
  facts = [run.summary for run in group.runs]
  scores = [each["class_incremental"] for each in facts]
  accuracy = _mean(each["final_average_accuracy"] for each in scores)
  fall = _mean(each["forgetting_from_maximum"] for each in scores)
  parts = []
  online = _mean(table.online(each) for each in facts)
  if not any(run.tested for run in group.runs) and not math.isnan(online):
    parts.append(f"{100 * online:.1f} % were right before they were learned")
  if not math.isnan(accuracy):
    parts.append(f"{100 * accuracy:.1f} % are right in the end")
  if fall > 0:
    parts.append(f"test sets fell {100 * fall:.1f} points from their best")
  elif not math.isnan(fall):
    parts.append("test sets ended at their best")
  parts.append(_cost(group, facts))
  text = ", ".join(parts[:-1])
  text = f"{text}; {parts[-1]}." if text else f"{parts[-1].capitalize()}."
  seeds = f" Means over {len(facts)} seeds." if len(facts) > 1 else ""
  return f"{text}{_trunk(facts)}{seeds}{_judged(group.runs)}"


def _trunk(facts: Sequence[Mapping[str, Any]]) -> str:
  """Returns a sentence on a trunk's outputs where they are kept on disk."""
  caches = [
    each["trunk_cache"]
    for each in facts
    if (each.get("trunk_cache") or {}).get("disk")
  ]
  if not caches:
    return ""
  read, computed, saved = (
    sum(cache[kind][name] for cache in caches for kind in _KINDS)
    for name in ("on_disk", "misses", "saved")
  )
  text = (
    f" Of its frozen trunk's outputs, {read:,} were read from disk and "
    f"{computed:,} computed; keeping them saved {table.scaled(saved, 'FLOP')}"
  )
  if damaged := sum(cache["disk"]["damaged_rows"] for cache in caches):
    text += f"; {damaged:,} on disk were damaged and computed again"
  if faults := {c["disk"]["fault"] for c in caches} - {""}:
    text += f"; not all are kept: {', '.join(sorted(faults))}"
  return f"{text}."


def _judged(runs: Sequence[summary.Run]) -> str:
  """Returns a sentence on which of two classifiers predicts, "" for others."""
  ends = [run.records[-1].judged for run in runs if run.records]
  ends = [end for end in ends if end.get("examples")]
  if not ends:
    return ""
  records = [each.judged for run in runs for each in run.records if each.judged]
  won = sum(each["trained"] > each["solved"] for each in records)
  solved, trained = (
    100 * _mean(end[name] / end["examples"] for end in ends)
    for name in ("solved", "trained")
  )
  examples = _mean(end["examples"] for end in ends)
  return (
    f" Of {examples:,.0f} examples set aside, the solved classifier answers "
    f"{solved:.1f} % right in the end and the network that was trained from it "
    f"{trained:.1f} % ({trained - solved:+.1f}); the network predicted after "
    f"{won} of {_count(len(records), 'experience')}."
  )


def _cost(group: table.Group, facts: Sequence[Mapping[str, Any]]) -> str:
  means = {
    name: _mean(each["total"][name] for each in facts)
    for name in ("seconds", "joules", "flops")
  }
  source = table.joules_source(group.runs)
  amounts = [f"{table.amount(means['seconds'])} s"]
  if means["joules"]:
    amounts.append(f"{table.amount(means['joules'])} J ({source})")
  amounts.append(f"{table.scaled(means['flops'], 'FLOP')}")
  return f"it took {' and '.join((', '.join(amounts[:-1]), amounts[-1]))}"


def _limits(runs: Sequence[summary.Run]) -> str:
  told = list(dict.fromkeys(limited(run) for run in runs))
  if len(told) == 1:
    return told[0]
  return f"{told[0]} Other seeds differ, see their decisions."


def _stream(run: summary.Run) -> str:
  return table.name(run.summary.get("stream"))


def _mean(values: Iterable[float | None]) -> float:
  found = [math.nan if each is None else float(each) for each in values]
  return metrics.macro_average(found)


def _count(number: int, noun: str) -> str:
  many = noun + ("es" if noun.endswith("s") else "s")
  return f"{number:,} {noun if number == 1 else many}"
