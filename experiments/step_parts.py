"""Where the time of a training step goes: products, kernels, copies and so on.

  python experiments/step_parts.py
  python experiments/step_parts.py --workloads=vit_b32 --contenders=jcl,jax
  python experiments/step_parts.py --quick

JAX's profiler tells when each operation of a compiled program ran, and on which
thread; the program's text tells what the operation is. For each part of a step,
the table has

  ms          that its operations ran in a step, over all threads: medians of
              rounds, in each of which every workload is profiled once
  share       of what all operations ran
  operations  of this part that ran in a step
  longest     the one that took most of it

and below, for the whole step, its wall time, the time in which some operation
ran, and how many ran at once in the mean. What is left of the wall time is
dispatch, the profiler's own work and waiting. An operation that splits its work
among threads counts on the thread that called it. Profiling slows short
operations down: times of whole steps are those of `benchmark.py`.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
import re
import tempfile
import time
from typing import Any, NamedTuple

import contenders
import numpy as np
import pandas as pd
import tqdm

WORKLOADS = "mlp_10,slim_resnet18_b32,mobilenet_b32,vit_b32"

# Parts by what an operation, or one that is fused into it, does; the first one
# that applies.
_PARTS = {
  "kernels of oneDNN": {"custom-call"},
  "convolutions by XLA": {"convolution"},
  "matrix products": {"dot"},
  "draws and memory": {
    *("scatter", "gather", "dynamic-slice", "dynamic-update-slice", "sort"),
    *("rng-bit-generator", "shift-right-logical", "shift-left"),
  },
  "sums and means": {"reduce", "reduce-window"},
}
# What only moves numbers.
_MOVES = {
  *("bitcast", "broadcast", "concatenate", "constant", "copy", "iota", "pad"),
  *("parameter", "reshape", "reverse", "slice", "transpose", "tuple"),
  "get-tuple-element",
}
_MOVED = "copies and layouts"
_REST = "element by element, the optimiser's too"
_CONTAINERS = {"call", "conditional", "while"}  # their operations count alone

_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^ +(?:ROOT )?%([\w.-]+) = ")
_OPCODE = re.compile(r"[\])}] ([a-z][\w-]*)\(")
_CALLED = re.compile(r"calls=%([\w.-]+)")


class Ran(NamedTuple):
  """One operation as it ran."""

  name: str
  start: float  # nanoseconds
  end: float


def parts_of(text: str) -> dict[str, str]:
  """Returns the part of a step that each operation of a program belongs to.

  Args:
    text: of the compiled program, as XLA writes it.
  """
  codes: dict[str, set[str]] = {}  # of a computation
  operations: dict[str, tuple[str, str]] = {}  # its opcode, and what it fuses
  inside = ""
  for line in text.splitlines():
    if begins := _COMPUTATION.match(line):
      inside = begins[1]
      codes[inside] = set()
    elif (named := _INSTRUCTION.match(line)) and (does := _OPCODE.search(line)):
      codes[inside].add(does[1])
      called = _CALLED.search(line)
      operations[named[1]] = does[1], called[1] if called else ""
  return {
    name: _part(codes.get(called, set()) | ({code} - {"fusion"}))
    for name, (code, called) in operations.items()
    if code not in _CONTAINERS
  }


def _part(codes: set[str]) -> str:
  for part, signs in _PARTS.items():
    if codes & signs:
      return part
  return _REST if codes - _MOVES else _MOVED


def busy(ran: Iterable[Ran]) -> float:
  """Returns the nanoseconds in which at least one operation ran."""
  total, until = 0.0, -np.inf
  for each in sorted(ran, key=lambda each: each.start):
    total += max(each.end - max(each.start, until), 0.0)
    until = max(until, each.end)
  return total


def profile(run: Any, steps: int) -> tuple[list[Ran], float]:
  """Returns the operations of some steps, and the steps' wall time in ns."""
  import jax

  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      started = time.perf_counter_ns()
      run(steps)
      took = time.perf_counter_ns() - started
    (path,) = Path(folder).rglob("*.xplane.pb")
    found = jax.profiler.ProfileData.from_file(str(path))
    ran = []
    for plane in found.planes:
      for line in plane.lines:
        for event in line.events:
          name = dict(event.stats).get("hlo_op")
          if name is not None:
            end = event.start_ns + event.duration_ns
            ran.append(Ran(str(name), event.start_ns, end))
  return ran, float(took)


def table(
  ran: list[Ran], parts: dict[str, str], steps: int
) -> dict[str, dict[str, Any]]:
  """Returns by part its `ms` and `operations` of a step and its `longest`."""
  spent: dict[str, Counter[str]] = {}
  count: Counter[str] = Counter()
  for each in ran:
    if part := parts.get(each.name):
      spent.setdefault(part, Counter())[each.name] += each.end - each.start
      count[part] += 1
  return {
    part: {
      "ms": sum(names.values()) / steps / 1e6,
      "operations": count[part] / steps,
      "longest": names.most_common(1)[0][0],
    }
    for part, names in spent.items()
  }


class _Measured:
  """A workload of a contender, and what its profiles have told so far."""

  def __init__(self, workload: str, who: str, least: int) -> None:
    self.workload, self.who = workload, who
    self._run = contenders.CONTENDERS[who](contenders.WORKLOADS[workload])
    whole = getattr(self._run, "whole", 1)
    self._steps = -(-least // whole) * whole
    self._run(self._steps)
    self._parts = parts_of(self._run.text())
    self._rounds: list[dict[str, dict[str, Any]]] = []
    self._whole: list[tuple[float, float, float]] = []

  def again(self) -> None:
    """Profiles it once more."""
    ran, took = profile(self._run, self._steps)
    ran = [each for each in ran if each.name in self._parts]
    self._rounds.append(table(ran, self._parts, self._steps))
    lengths = sum(each.end - each.start for each in ran)
    per = self._steps * 1e6
    self._whole.append((took / per, busy(ran) / per, lengths / per))

  def rows(self) -> list[dict[str, Any]]:
    """Returns the rows of its table, those that take longest first."""
    known = {part for each in self._rounds for part in each}
    of = {
      part: [each[part] for each in self._rounds if part in each]
      for part in known
    }
    ms = {part: float(np.median([e["ms"] for e in of[part]])) for part in known}
    return [
      {
        "workload": self.workload,
        "who": self.who,
        "part": part,
        "ms": f"{ms[part]:.3g}",
        "share": f"{ms[part] / sum(ms.values()):.2f}",
        "operations": f"{of[part][0]['operations']:.3g}",
        "longest": of[part][0]["longest"],
      }
      for part in sorted(known, key=lambda part: -ms[part])
    ]

  def summary(self) -> str:
    """Tells of whole steps in a line."""
    wall, covered, lengths = np.median(self._whole, axis=0)
    return (
      f"{self.workload}, {self.who}: {wall:.3g} ms a step under the profiler; "
      f"some operation runs in {covered:.3g} of them, "
      f"{lengths / covered:.2f} at once"
    )


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  add = parser.add_argument
  add("--workloads", default=WORKLOADS, help="what is trained")
  add("--contenders", default="jcl", help="who trains it: jcl, jax or both")
  add("--rounds", type=int, default=5, help="profiles of each")
  add("--steps", type=int, default=8, help="at least, of each")
  add("--out", help="file for the table, as CSV")
  add("--quick", action="store_true", help="the MLP at 10, 1 round")
  asked = parser.parse_args()
  workloads, rounds = asked.workloads.split(","), asked.rounds
  if asked.quick:
    workloads, rounds = ["mlp_10"], 1
  if min(rounds, asked.steps) < 1:
    parser.error("--rounds and --steps: give 1 or more")
  who = asked.contenders.split(",")
  for given, known in (
    (workloads, list(contenders.WORKLOADS)),
    (who, ["jcl", "jax"]),
  ):
    for each in given:
      if each not in known:
        parser.error(f"{each!r}: choose from {', '.join(known)}")
  measured = [
    _Measured(workload, one, asked.steps)
    for workload in tqdm.tqdm(workloads, desc="compiling", leave=False)
    for one in who
  ]
  for _ in tqdm.trange(rounds, desc="rounds", leave=False):
    for each in measured:
      each.again()
  tables = [pd.DataFrame(each.rows()) for each in measured]
  for each, rows in zip(measured, tables, strict=True):
    print(rows.to_string(index=False))
    print(each.summary(), "\n", flush=True)
  if asked.out:
    pd.concat(tables).to_csv(asked.out, index=False)


if __name__ == "__main__":
  main()
