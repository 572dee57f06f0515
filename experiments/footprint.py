"""What memory a run and a process that predicts take, stage by stage.

  python experiments/footprint.py --csv=footprint.csv
  python experiments/footprint.py --quick

Resident memory in MiB that each stage adds, of three processes: one that does
what `python run.py --recipe=er --compare=finetune` does, one that writes its
report, as a process beside every run does, and one that loads the model that it
has saved and predicts. "libraries" are JAX with a first array, Flax, Optax and
Orbax for a run, JAX alone for predicting, matplotlib and pandas for a report.
"compiled programs" is what compiling them, or reading them from the cache, left
behind; "training" is the rest of learning, evaluation and saving included.
"peak" is the most at any time. The target is a peak of a run of 120 MiB above
JAX with one array.

--quick learns less, by a smaller network: its libraries are as large.
"""

from collections.abc import Callable
import csv
import functools
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

from absl import app, flags

_CSV = flags.DEFINE_string("csv", None, "file for the table, too")
_QUICK = flags.DEFINE_bool("quick", False, "one epoch of a small network")
_STAGES_OF = flags.DEFINE_enum(
  "stages_of",
  None,
  ["run", "report", "predict"],
  "what this process does and measures",
)
_FOLDER = flags.DEFINE_string("folder", None, "of the run, with --stages_of")

ROOT = Path(__file__).parents[1]
RUN = ("--recipe=er", "--compare=finetune", "--resume=false")
SMALL = ("--epochs=1", "--model=mlp:width=8,depth=1", "--compare=none")
TARGET = 120.0  # MiB of a run above JAX with one array
ONE_ARRAY = "JAX with one array"
MIB = 2**20

Stages = dict[str, float]  # MiB that each has added


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if _STAGES_OF.value:
    print(json.dumps(PROCESSES[_STAGES_OF.value](_FOLDER.value)))
    return
  with tempfile.TemporaryDirectory() as folder:
    found = {name: apart(name, folder) for name in PROCESSES}
  rows = [row for name, stages in found.items() for row in table(name, stages)]
  print(f"{'process':9}{'stage':20}{'added':>9}{'resident':>10}")
  for process, stage, added, resident in rows:
    print(f"{process:9}{stage:20}{added:>9}{resident:>10}")
  above = found["run"]["peak"] - found["run"][ONE_ARRAY]
  print(f"peak of a run above JAX: {above:.0f} MiB (target: {TARGET:.0f})")
  if _CSV.value:
    with open(_CSV.value, "w", newline="", encoding="utf-8") as file:
      writer = csv.writer(file)
      writer.writerow(["process", "stage", "added_mib", "resident_mib"])
      writer.writerows(rows)


def apart(stages_of: str, folder: str) -> Stages:
  """Measures the stages of one process, in a process of its own."""
  command = [sys.executable, __file__, f"--stages_of={stages_of}"]
  command += [f"--folder={folder}", f"--quick={_QUICK.value}"]
  path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  done = subprocess.run(
    command,
    env={**os.environ, "PYTHONPATH": path},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def table(process: str, stages: Stages) -> list[tuple[str, str, str, str]]:
  """Returns rows of process, stage, and MiB added and resident behind it."""
  rows, resident = [], 0.0
  for stage, amount in stages.items():
    if stage == "peak":
      rows.append((process, stage, "", f"{amount:.1f}"))
    elif stage != ONE_ARRAY:
      resident += amount
      rows.append((process, stage, f"{amount:.1f}", f"{resident:.1f}"))
  return rows


class Measure:
  """Files the growth of this process's memory under stages.

  Attributes:
    stages: what each added so far.
  """

  def __init__(self) -> None:
    self.stages: Stages = {"interpreter": resident()}
    self._before = resident()

  def end(self, stage: str) -> None:
    """Files what was added since the last stage ended."""
    now = resident()
    self.stages[stage] = self.stages.get(stage, 0.0) + now - self._before
    self._before = now

  def within(
    self, home: Any, name: str, stage: str, before: str | None = None
  ) -> None:
    """Files what a function adds under a stage, from now on.

    Args:
      home: module of the function.
      name: of the function.
      stage: that its calls are.
      before: the stage that a call interrupts; by default the same.
    """
    inner: Callable[..., Any] = getattr(home, name)

    @functools.wraps(inner)
    def measured(*args: Any, **kwargs: Any) -> Any:
      self.end(before or stage)
      result = inner(*args, **kwargs)
      self.end(stage)
      return result

    setattr(home, name, measured)


def run(folder: str) -> Stages:
  """Learns as run.py does, and returns what each stage added."""
  measure = Measure()
  import jax.numpy as jnp

  jnp.zeros(1).block_until_ready()
  measure.end("libraries")
  one_array = sum(measure.stages.values())
  import flax.linen  # noqa: F401
  import optax  # noqa: F401
  import orbax.checkpoint  # noqa: F401

  measure.end("libraries")
  from jcl.cli import learning, report
  from jcl.cli import main as cli
  from jcl.run import session, setup
  from jcl.train import background

  measure.end("jcl")
  measure.within(setup, "read", "data", before="jcl")
  measure.within(
    background, "compile_program", "compiled programs", before="training"
  )
  measure.within(session, "run", "training")
  measure.within(report, "write", "report", before="training")
  words = [*RUN, *(SMALL if _QUICK.value else ()), f"--workdir={folder}"]
  cli.FLAGS(["run.py", *words])
  assert learning.__name__ in sys.modules
  if status := cli.main(["run.py"]):
    raise app.Error(f"run.py ended with {status}")
  return ended(measure, one_array)


def predict(folder: str) -> Stages:
  """Predicts by a saved model, and returns what each stage added."""
  measure = Measure()
  import jax.numpy as jnp

  jnp.zeros(1).block_until_ready()
  measure.end("libraries")
  one_array = sum(measure.stages.values())
  import jcl

  model = jcl.load_model(next(Path(folder).glob("er*/seed_0")))
  measure.end("jcl")
  test = jcl.load("digits").test
  assert test is not None
  measure.end("data")
  model.predict(test.x)
  measure.end("compiled programs")
  return ended(measure, one_array)


def report(folder: str) -> Stages:
  """Writes the report of a run, and returns what each stage added."""
  measure = Measure()
  from matplotlib import figure  # noqa: F401
  import pandas  # noqa: F401

  measure.end("libraries")
  from jcl.report import page, writing

  measure.end("jcl")
  writing.write(page.find_runs([folder]), folder)
  measure.end("report")
  return ended(measure, 0.0)


def ended(measure: Measure, one_array: float) -> Stages:
  """Returns the stages of this process, with its peak."""
  with open("/proc/self/status", encoding="ascii") as file:
    line = next(line for line in file if line.startswith("VmHWM:"))
  peak = int(line.split()[1]) * 1024 / MIB
  return {**measure.stages, "peak": peak, ONE_ARRAY: one_array}


def resident() -> float:
  """Returns the memory that this process occupies, in MiB."""
  with open("/proc/self/statm", encoding="ascii") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


PROCESSES = {"run": run, "report": report, "predict": predict}

if __name__ == "__main__":
  app.run(main)
