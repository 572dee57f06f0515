"""What a small memory gains from the storage below it, and at what price.

Questions, on class-incremental streams:

  swap        How does accuracy depend on the share of replayed examples that
              is exchanged for stored ones, with 2 % of the data in memory? The
              ends are `ram_only` (no exchange) and `storage_only` (no memory).
  frontier    What do fixed sizes of memory and stream buffer cost and reach?
  controller  Are sizes chosen by short trials better than fixed ones?

Lee et al., "CarM: Hierarchical Episodic Memory for Continual Learning", DAC
2022, answers the first, Ma et al., "Cost-effective On-device Continual Learning
over Memory Hierarchy with Miro", MobiCom 2023, the others. They find that a
fifth of the exchanges gives nearly all of the accuracy and that no fixed sizes
are good everywhere. Figures are held against this: full exchange is 10 points
or more above none, and a fifth within 2 points of it; the controller takes less
energy than the default at equal accuracy, and is more accurate than half and
half with equal memory.

Rows of the controller, each with the same memory allowed. `frugal` takes the
cheapest sizes that gain 95 % of what the best ones do in short trials, and ends
an experience when examples set aside are judged no better. The same trials
choose by accuracy over energy, as the paper has it (`miro`), by `accuracy`, or
by `energy`, and all epochs are made. Without trials there are the `largest`
sizes that fit, `half` and half, the same that ends as `frugal` does
(`patient`), and `random` ones; the `default` sizes of the first part,
scaled down where they do not fit; and, with the second part, the `oracle`: the
fixed sizes found most accurate afterwards, of those that fit.

  python experiments/memory_hierarchy.py --data_dir=~/data
  python experiments/memory_hierarchy.py --data=dsads --parts=swap --seeds=5
  python experiments/memory_hierarchy.py --quick

Protocol: five experiences; twenty classes of CIFAR-100 at half its resolution,
and all of DSADS. Adam at 0.001 and the epochs were settled by a few runs with
seed 100, which is not reported, not by a grid. Images are not augmented, which
matters: crops and flips help most where nothing is exchanged. RESULTS.md has
the figures.

Joules are those of all accounts but "evaluate" and "checkpoint": training,
replay, trials (their evaluations too), compilation, reading and waiting.
Modelled ones are seconds times watts, which other programs on the machine
disturb and compilation is a large part of; operations are counted.

Each run lies in a folder of its own; the same command again makes only those
that are missing. It writes `runs.csv`, `table.csv`, `table.txt` and pictures:
accuracy over the swap ratio, accuracy over energy, and what one run of the
controller decided when.
"""

from collections.abc import Sequence
import itertools
import math
import mmap
from pathlib import Path
import shutil
from typing import Any, NamedTuple

from absl import app, flags, logging
import numpy as np
import pandas as pd

from jcl import base, metrics, recipes
from jcl.networks import catalogue
from jcl.options import spec
from jcl.replay.tiers import tiers
from jcl.report import drawing, hierarchy, summary
from jcl.run import session
from jcl.streams import scenarios, sources, stream

# Beside the protocol's trials, where there are any.
CHOICES = {
  "frugal": "policy=enough,cutline=0.05,patience=3",
  "miro": "policy=utility,cutline=0.3",
  "accuracy": "policy=accuracy,cutline=0.3",
  "energy": "policy=energy,cutline=0.3",
}
RULES = {
  "largest": "policy=largest",
  "half": "policy=half",
  "patient": "policy=half,patience=3",
  "random": "policy=random",
}
PARTS = ("swap", "frontier", "controller")
# Of runs, of which the table has means.
MEANS = (
  "accuracy joules seconds gigaflop trials compile em sb exchanged".split()
)
UNPAID = ("evaluate", "checkpoint")  # accounts
NEAR = 2.0  # points of accuracy below full exchange that still are its knee
EQUAL = 0.5  # points within which accuracies are equal


class Protocol(NamedTuple):
  """Sizes of the study on a data set, in examples."""

  data: str
  classes: int
  per_class: int
  pool: int  # images: pixels, squared, that are averaged into one
  network: str
  epochs: int
  batch_size: int
  learning_rate: float
  memory: int  # by default: 2 % of all
  buffer: int  # by default
  memories: tuple[int, ...]  # of the frontier: each of these
  buffers: tuple[int, ...]  # with each of these
  budgets: tuple[int, ...]  # that the controller may hold
  trials: str  # how the controller tries candidates
  swaps: tuple[int, ...] = (0, 1, 5, 10, 20, 50, 100)  # percent
  choices: tuple[str, ...] = (*CHOICES, *RULES)


PROTOCOLS = {
  "cifar100": Protocol(
    *("cifar100", 20, 500, 2, "slim_resnet18:filters=8", 70, 32, 1e-3),
    memory=200,
    buffer=500,
    memories=(200, 500, 1200),
    buffers=(200, 500, 1000),
    budgets=(300, 600, 1200, 2400),
    trials="share=0.3,trial_epochs=4,warmup=4,held_out=10,most=6,overhead=0.05",
  ),
  "dsads": Protocol(
    *("dsads", 19, 48, 1, "conv1d:width=32", 120, 16, 1e-3),
    memory=19,
    buffer=192,
    memories=(19, 60, 240),
    buffers=(48, 96, 192),
    budgets=(100, 200, 400, 800),
    trials="share=0.3,trial_epochs=4,warmup=4,judge=likelihood,most=6,"
    "overhead=0.05",
  ),
  "digits": Protocol(
    *("digits", 10, 60, 1, "mlp:width=32,depth=1", 20, 10, 3e-3),
    memory=12,
    buffer=96,
    memories=(12,),
    buffers=(96,),
    budgets=(108,),
    trials="share=0.5,trial_epochs=2,warmup=1,grid=54x54/80x28/12x96",
    swaps=(0, 100),
    choices=("frugal", "half"),
  ),
}
# What a run depends on beside its recipe, which its options are part of.
SHARED = Protocol._fields[:8]

_DATA = flags.DEFINE_list("data", ["cifar100", "dsads"], f"of {[*PROTOCOLS]}")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_PARTS = flags.DEFINE_list("parts", list(PARTS), f"of {PARTS}")
_ONLY = flags.DEFINE_list(
  "only", None, "rows to make, such as frugal,half,20 %"
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "runs per row", lower_bound=1)
_WORKDIR = flags.DEFINE_string("workdir", "runs/memory_hierarchy", "folder")
_QUICK = flags.DEFINE_bool(
  "quick", False, "the embedded digits, few rows, one seed"
)
for flag, choices in ((_DATA, PROTOCOLS), (_PARTS, PARTS)):
  flags.register_validator(
    flag,
    lambda given, choices=choices: given and set(given) <= set(choices),
    f"choose from {', '.join(choices)}",
  )


class Row(NamedTuple):
  """A line of the table, to be made with several seeds."""

  part: str
  name: str
  recipe: str
  budget: float = math.nan  # examples that memory and buffer may be


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  folder, facts = Path(_WORKDIR.value), []
  for name in ["digits"] if _QUICK.value else _DATA.value:
    protocol = PROTOCOLS[name]
    learned = _stream(protocol)
    rows = [
      row
      for row in _rows(protocol)
      if row.part in _PARTS.value
      and (not _ONLY.value or row.name in _ONLY.value)
    ]
    for seed in range(1 if _QUICK.value else _SEEDS.value):
      for row in rows:
        run = _made(row, seed, protocol, learned, folder / name)
        facts.append(
          {"data": name, **row._asdict(), "seed": seed, **_facts(run)}
        )
        accuracy = facts[-1]["accuracy"]
        print(f"{name} {row.recipe} {row.budget} seed {seed}: {accuracy:.1f} %")
    runs = pd.DataFrame([each for each in facts if each["data"] == name])
    _pictures(runs, protocol, folder)
  runs = pd.DataFrame(facts)
  runs.to_csv(folder / "runs.csv", index=False)
  table = _table(runs)
  table.to_csv(folder / "table.csv", index=False)
  lines = [table.to_string(index=False, float_format="%.1f", na_rep="")]
  lines += [f"joules: {source}" for source in runs["joules_source"].unique()]
  text = "\n".join([*lines, *_held_against(table), ""])
  (folder / "table.txt").write_text(text, encoding="utf-8")
  print(text)


def _stream(protocol: Protocol) -> stream.Stream:
  """Returns some classes of a data set, dealt out in five experiences."""
  whole = sources.load(protocol.data, _DATA_DIR.value)
  parts = []
  for data, most in ((whole.train, protocol.per_class), (whole.test, None)):
    rows = np.concatenate(
      [np.flatnonzero(data.y == k)[:most] for k in range(protocol.classes)]
    )
    parts += [_pooled(data.x[rows], protocol.pool), data.y[rows]]
  part = sources.arrays(*parts, scale=whole.train.scale)
  return scenarios.class_incremental(part, tasks=5)


def _pooled(x: np.ndarray, size: int) -> np.ndarray:
  """Returns images [N, H, W, C] with squares of pixels averaged."""
  if size == 1:
    return x
  side = x.shape[1] // size
  squares = x.reshape(len(x), side, size, side, size, -1)
  return squares.mean((2, 4)).round().astype(x.dtype)


def _rows(protocol: Protocol) -> list[Row]:
  sizes = f"em={protocol.memory},sb={protocol.buffer}"
  rows = [Row("swap", "0 %", f"ram_only:{sizes}")]
  rows += [
    Row("swap", f"{swap} %", f"carm:{sizes},swap={swap / 100:g}")
    for swap in protocol.swaps[1:]
  ]
  rows.append(Row("swap", "storage_only", "storage_only"))
  rows += [
    Row("frontier", f"{em}+{sb}", f"carm:em={em},sb={sb},swap=1")
    for em, sb in itertools.product(protocol.memories, protocol.buffers)
  ]
  for budget in protocol.budgets:
    named = {}
    for name in protocol.choices:
      how = RULES.get(name) or f"{protocol.trials},{CHOICES[name]}"
      named[name] = f"miro:{sizes},{how}"
    named["default"] = f"carm:{sizes},swap=1"
    rows += [Row("controller", *pair, budget) for pair in named.items()]
  return rows


def _made(
  row: Row, seed: int, protocol: Protocol, learned: stream.Stream, folder: Path
) -> summary.Run:
  """Returns a run, from disk where it is finished."""
  limited = not math.isnan(row.budget)
  name = row.recipe.replace(":", "-").replace(",", "-").replace("/", "-")
  name += f"-of-{row.budget}" if limited else ""
  place = folder / name / f"seed_{seed}"
  shared = {field: getattr(protocol, field) for field in SHARED}
  if summary.is_run(place):
    run = summary.read_run(place)
    if run.finished and run.summary.get("protocol") == shared:
      return run
  model, options = spec.parse(protocol.network)
  network = catalogue.build(
    model, learned.example_shape, learned.num_classes, **options
  )
  carried = session.Options(
    executor="whole",  # one selection throughout: quickest to compile
    memory_budget=_bytes(row.budget, learned) if limited else None,
    progress=False,
  )
  recipe, chosen = recipes.parse(row.recipe)
  session.learn(
    learned,
    network,
    recipes.build(row.recipe),
    seed=seed,
    workdir=place,
    options=carried,
    context={"recipe": {"name": recipe, "options": chosen}, "protocol": shared},
    epochs=protocol.epochs,
    batch_size=protocol.batch_size,
    optimizer="adam",
    learning_rate=protocol.learning_rate,
    weight_decay=5e-4,
  )
  # Every run stores the data set anew, and a finished one needs it no more.
  shutil.rmtree(place / "store")
  return summary.read_run(place)


def _bytes(examples: float, learned: stream.Stream) -> str:
  """Returns the memory for some examples, and for those on their way."""
  each = learned.experiences[0].data.x[[0]].nbytes + 24  # label, ids
  part = tiers.STAGED_PART
  held = math.ceil(examples * each * part / (part - 1))
  return f"{held + 3 * mmap.PAGESIZE}B"


def _facts(run: summary.Run) -> dict[str, Any]:
  cost, last = _charged(run.records), run.records[-1].memory
  trials = sum(each["joules"] for r in run.records for each in _tried(r))
  compiled = sum(r.costs["compile"].joules for r in run.records)
  scores = run.summary["class_incremental"]
  return {
    "accuracy": 100 * scores["final_average_accuracy"],
    "joules": cost.joules,
    "joules_source": run.summary["joules_source"],
    "seconds": cost.seconds,
    "gigaflop": cost.flops / 1e9,
    # In percent of the joules.
    "trials": 100 * trials / cost.joules,
    "compile": 100 * compiled / cost.joules,
    "em": last["sizes"][0],
    "sb": last["sizes"][1],
    "exchanged": last["exchanges"]["applied"],
    "folder": str(run.folder),
  }


def _charged(records: Sequence[base.Record]) -> base.Cost:
  """Returns what learning took: all but scoring the test sets, and saving."""
  charged = base.Cost()
  for record in records:
    paid = [cost for name, cost in record.costs.items() if name not in UNPAID]
    charged = sum(paid, charged)
  return charged


def _tried(record: base.Record) -> list[dict[str, Any]]:
  """Returns the decisions of an experience that trials went ahead of."""
  return [d for d in record.memory["decisions"] if "candidates" in d]


def _table(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns means over seeds, and what would have been best afterwards."""
  groups = runs.groupby(
    ["data", "part", "name", "budget"], sort=False, dropna=False
  )
  means = groups[MEANS].mean()
  means.insert(0, "runs", groups.size())
  means.insert(2, "interval", groups["accuracy"].agg(_half_width))
  table = means.reset_index()
  return pd.concat([table, *_oracles(table)], ignore_index=True)


def _half_width(values: pd.Series) -> float:
  return metrics.confidence_interval(values)[1]


def _oracles(table: pd.DataFrame) -> list[pd.DataFrame]:
  """Returns, by budget, the fixed sizes that were found most accurate."""
  found = []
  for name, part in table.groupby("data", sort=False):
    fixed = part[part["part"] == "frontier"]
    for budget in PROTOCOLS[str(name)].budgets:
      fits = fixed[fixed["em"] + fixed["sb"] <= budget]
      if len(fits) and "controller" in set(part["part"]):
        best = fits.loc[[fits["accuracy"].idxmax()]]
        found.append(
          best.assign(part="controller", name="oracle", budget=float(budget))
        )
  return found


def _held_against(table: pd.DataFrame) -> list[str]:
  """Returns a line for each of the figures that the study is held against."""
  lines = []
  for name, data in table.groupby("data", sort=False):
    parts = {part: rows for part, rows in data.groupby("part")}
    if {"0 %", "100 %"} <= set(data["name"]):
      swap = parts["swap"].set_index("name")["accuracy"]
      full = swap["100 %"]
      lines.append(
        f"{name}: full exchange {full - swap['0 %']:+.1f} points to none (aim: "
        f"+10 or more), least exchange within {NEAR:g} points of it "
        f"{_knee(swap)} (aim: 20 % or less)"
      )
    if {"frugal", "half", "default"} <= set(data["name"]):
      lines += [f"{name}: {line}" for line in _compared(parts["controller"])]
  return lines


def _knee(swap: pd.Series) -> str:
  """Returns the least exchange that is near the full one in accuracy."""
  ratios = [row for row in swap.index if row.endswith("%")]
  ratios.sort(key=lambda row: int(row.split()[0]))
  return next(row for row in ratios if swap[row] >= swap["100 %"] - NEAR)


def _compared(data: pd.DataFrame) -> list[str]:
  """Compares the controller with two fixed rules."""
  rows = data.set_index(["name", "budget"])[MEANS].sort_index()
  frugal, half, default = (
    rows.loc[name] for name in ("frugal", "half", "default")
  )
  gain = frugal["accuracy"] - half["accuracy"]
  lines = [
    f"frugal of {budget:g} examples, to half and half: {gain[budget]:+.1f} "
    f"points (aim: above 0), {_shares(frugal.loc[budget], half.loc[budget])}"
    for budget in frugal.index
  ]
  best = default.loc[default.index.max()]
  equal = frugal[frugal["accuracy"] >= best["accuracy"] - EQUAL]
  what = f"frugal no less accurate than the default of {best.name:g} examples"
  if not len(equal):
    return [*lines, f"{what}: at no size"]
  least = equal.loc[equal["gigaflop"].idxmin()]
  shares = _shares(least, best)
  return [*lines, f"{what}, of {least.name:g}: {shares} (aim: below 1)"]


def _shares(row: pd.Series, other: pd.Series) -> str:
  joules, operations = (row / other)[["joules", "gigaflop"]]
  return f"{joules:.2f} of the joules, {operations:.2f} of the operations"


def _pictures(runs: pd.DataFrame, protocol: Protocol, folder: Path) -> None:
  parts = {str(name): part for name, part in runs.groupby("part")}
  if "swap" in parts:
    figure = _swap_picture(parts["swap"], protocol)
    figure.savefig(folder / f"swap-{protocol.data}.png", dpi=120)
  if parts.keys() & {"frontier", "controller"}:
    figure = _frontier_picture(parts, protocol)
    figure.savefig(folder / f"frontier-{protocol.data}.png", dpi=120)
  if "frugal" in set(runs["name"]):
    mine = parts["controller"].query("name == 'frugal' and seed == 0")
    most = mine.loc[mine["budget"].idxmax()]
    figure = hierarchy.timeline(summary.read_run(most["folder"]))
    figure.savefig(folder / f"decisions-{protocol.data}.png", dpi=120)


def _swap_picture(runs: pd.DataFrame, protocol: Protocol) -> Any:
  figure = drawing.new_figure(6.0, 3.6)
  axis = figure.subplots()
  grid = runs.pivot(index="seed", columns="name", values="accuracy")
  rows = [row for row in runs["name"].unique() if row.endswith("%")]
  places = np.arange(len(rows))
  drawing.line(axis, places, grid[rows].to_numpy(), 0, "exchanged")
  if "100 %" in grid:
    knee = rows.index(_knee(grid.mean()))
    label = f"within {NEAR:g} points of full exchange"
    axis.axvline(knee, color="0.6", linestyle=":", label=label)
  if "storage_only" in grid:
    top = grid["storage_only"].mean()
    axis.axhline(top, color="0.3", linestyle="--", label="storage_only")
  axis.set_xticks(places, rows)
  axis.set(
    xlabel="of what is replayed, exchanged",
    ylabel="final accuracy (%)",
    title=f"{protocol.data}: memory {protocol.memory}, "
    f"buffer {protocol.buffer}",
  )
  axis.legend(frameon=False, fontsize=8)
  return figure


def _frontier_picture(
  parts: dict[str, pd.DataFrame], protocol: Protocol
) -> Any:
  figure = drawing.new_figure(drawing.WIDTH, 4.4)
  axis = figure.subplots()
  if "frontier" in parts:
    fixed = _means(parts["frontier"]).sort_values("joules")
    best = fixed[fixed["accuracy"] >= fixed["accuracy"].cummax()]
    axis.plot(best["joules"], best["accuracy"], color="0.7", linewidth=1)
    label = "fixed: memory + stream buffer"
    axis.scatter(*fixed.to_numpy().T, s=18, color="0.5", label=label)
    for (name, _), point in fixed.iterrows():
      axis.annotate(name, tuple(point), fontsize=7)
  if "controller" in parts:
    points = _means(parts["controller"])
    for index, name in enumerate(parts["controller"]["name"].unique()):
      mine = points.loc[name].sort_index()
      axis.plot(
        *mine.to_numpy().T,
        linestyle=":",
        color=drawing.colour(index),
        marker=drawing.marker(index),
        markersize=12 if name == "frugal" else None,
        label=name,
      )
  source = parts[next(iter(parts))]["joules_source"].iloc[0]
  axis.set(
    xlabel=f"joules, {source}",
    ylabel="final accuracy (%)",
    title=f"{protocol.data}: dotted lines join budgets of memory",
  )
  drawing.tidy(axis, "both")
  drawing.legend(figure, axis)
  return figure


def _means(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns accuracy and joules by (name, budget)."""
  groups = runs.groupby(["name", "budget"], dropna=False)
  return groups[["joules", "accuracy"]].mean()


if __name__ == "__main__":
  app.run(main)
