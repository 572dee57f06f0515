"""Digests and figures of results of runs: equal bits, or equal numbers.

A digest says whether two results are the same to the bit, and holds for one
version of JAX and one kind of processor. Figures, a few numbers per array, are
compared within a tolerance everywhere else.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import platform
from typing import Any

import jax
import numpy as np

from jcl import base
from jcl.train.kernels import lowering

# Fields of records that hold time, or that later versions may widen.
_LEFT_OUT = ("costs", "decision", "peak_bytes", "choices", "memory")
# Of the record of a memory, and of each decision of a memory hierarchy, the
# entries that repeat exactly.
_OF_MEMORY = ("examples", "bytes", "per_class")
_OF_DECISIONS = ("kind", "em", "sb", "swap", "step", "epoch")


def machine() -> str:
  """Names all that the bits of a result depend on beside the code."""
  flags = _processor()
  features = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:12]
  convolutions = "onednn" if "oneDNN" in lowering.describe() else "xla"
  return (
    f"jax {jax.__version__}, numpy {np.__version__}, {platform.machine()} "
    f"{features}, {os.cpu_count()} cores, {convolutions}"
  )


def _processor() -> list[str]:
  """Model and vector extensions of the processor, where the system lists them.

  Models of the same extensions were seen to differ in last bits.
  """
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return [platform.processor()]
  fields = dict(reversed([_field(each) for each in lines if ":" in each]))
  model = [
    fields.get(name, "")
    for name in ("vendor_id", "cpu family", "model", "stepping")
  ]
  wanted = ("avx", "fma", "amx", "sse", "bmi")
  flags = fields.get("flags", "").split()
  return [*model, *sorted(f for f in flags if f.startswith(wanted))]


def _field(line: str) -> tuple[str, str]:
  name, _, value = line.partition(":")
  return name.strip(), value.strip()


def of_run(result: Any) -> dict[str, Any]:
  """The parts of a finished run, each a tree of arrays and plain values."""
  state: base.LearnerState = result.state
  return {
    "params": (state.train.params, state.train.stats),
    "optimizer": (state.train.opt_state, state.parked),
    "memory": state.replay,
    "objective": (state.objective, state.selector),
    "records": [_record(record) for record in result.records],
    "decisions": [_decisions(record) for record in result.records],
  }


def of_log(log: Any) -> dict[str, Any]:
  """The parts of a serving log."""
  return {
    "served": (log.predictions, log.versions, log.served),
    "phases": [
      [each.kind, each.first, each.stop, each.complete, dict(each.result)]
      for each in log.phases
    ],
    "decisions": [dict(each.note) for each in log.phases],
  }


def _record(record: base.Record) -> dict[str, Any]:
  names = [field.name for field in dataclasses.fields(base.Record)]
  known = names[: names.index("choices") + 1]  # later ones are new
  found = {k: getattr(record, k) for k in known if k not in _LEFT_OUT}
  held = {k: v for k, v in record.memory.items() if k in _OF_MEMORY}
  return {**found, "memory": held}


def _decisions(record: base.Record) -> dict[str, Any]:
  """Choices made in an experience: passes, tensors, sizes."""
  return {
    "epochs": record.decision.epochs,
    "budget": record.decision.allocation.rho,
    "choices": [
      [each.step, each.epoch, each.adopted, list(each.trainable)]
      for each in record.choices
    ],
    "sizes": [
      {k: each[k] for k in _OF_DECISIONS}
      for each in record.memory.get("decisions", ())
    ],
  }


def digest(part: Any) -> str:
  """Names a tree by its structure, dtypes, shapes and bits."""
  found = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(part):
    found.update(jax.tree_util.keystr(path).encode())
    values = _array(leaf)
    if values is None:
      found.update(json.dumps(leaf).encode())
    else:
      found.update(f"{values.dtype}{values.shape}".encode())
      found.update(np.ascontiguousarray(values).tobytes())
  return found.hexdigest()[:16]


def figures(part: Any) -> list[Any]:
  """Numbers that tell trees apart: of large arrays size, sum and norm."""
  found: list[Any] = []
  for leaf in jax.tree.leaves(part):
    values = _array(leaf)
    if values is None:
      found.append(leaf)
    elif values.size <= 4:
      found.extend(_plain(v) for v in values.ravel().tolist())
    else:
      wide = np.nan_to_num(values.astype(np.float64))
      sums = values.size, wide.sum(), np.linalg.norm(wide)
      found.extend(_plain(float(v)) for v in sums)
  return found


def _array(leaf: Any) -> np.ndarray | None:
  """The leaf as an array; None for text, and for what has no bits."""
  if isinstance(leaf, str) or leaf is None:
    return None
  if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  ):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf)


def _plain(value: Any) -> Any:
  if isinstance(value, float):
    return float(f"{value:.9g}") if np.isfinite(value) else str(value)
  return value


def differences(kept: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
  """Tells where the figures of two results differ by more than rounding.

  Args:
    kept: lists of figures by part.
    found: the same, of another run.
  """
  told = []
  for part in kept:
    ours, theirs = kept[part], found.get(part)
    if theirs is None or len(ours) != len(theirs):
      told.append(f"{part}: another number of figures")
      continue
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
      if not _close(a, b):
        told.append(f"{part}[{i}]: {a} is now {b}")
        break
  return told


def _close(a: Any, b: Any) -> bool:
  if isinstance(a, float) or isinstance(b, float):
    if isinstance(a, str) or isinstance(b, str):
      return a == b
    return bool(np.isclose(a, b, rtol=1e-5, atol=1e-5))
  return a == b
