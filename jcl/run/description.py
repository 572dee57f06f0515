"""What a run says of itself: its parts, and where it is made."""

from collections.abc import Mapping
import contextlib
import dataclasses
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import Any

from jcl.cost import devices
from jcl.run import loop
from jcl.run.assembling import Options
from jcl.train import optimizer as optimizers
from jcl.train.kernels import lowering


def of(
  job: loop.Job, options: Options, context: Mapping[str, Any]
) -> dict[str, Any]:
  """Describes a run; `workdir` says which parts must match to resume.

  Args:
    job: of the run.
    options: that it is carried out with.
    context: of the caller, which goes ahead of parts of the same name.

  Returns:
    The context of `summarising.summarise`.
  """
  learner, stream = job.learner, job.stream
  training = optimizers.told(learner.training)
  carried = dataclasses.asdict(options)
  for name in (
    "checkpoint_seconds",
    "resume",
    "progress",
    "cache_dir",
    "memory_budget",
    "trunk_disk_bytes",
  ):
    del carried[name]
  return {
    "recipe": {"name": "custom", "options": {}},
    **context,
    "stream": {
      "name": stream.name,
      "experiences": len(stream.experiences),
      "classes": stream.num_classes,
      "examples": sum(len(e.data) for e in stream.experiences),
      "scenario": stream.scenario,
    },
    "network": {
      "name": learner.network.name,
      "tensors": len(learner.network.tensors),
    },
    "class_names": list(stream.class_names),
    "notes": list(stream.notes),
    "num_experiences": len(stream.experiences),
    "training": training,
    "options": carried,
    "seed": job.seed,
    # It may turn from measured to partly measured as the run goes on.
    "joules_source": lambda: job.ledger.source,
    **_cached(job.latents),
    "environment": {
      "device": devices.describe(job.ledger.device),
      "versions": _versions(),
      "git_revision": _git_revision(),
      "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
      "command": sys.argv,
      **context.get("environment", {}),
    },
  }


def _cached(latents: Any) -> dict[str, Any]:
  """Report on the kept outputs of a trunk, read when a summary is made."""
  if latents is None:
    return {}
  return {"trunk_cache": lambda: dataclasses.asdict(latents.report())}


def _versions() -> dict[str, str]:
  import importlib.metadata as metadata

  found = {
    "python": platform.python_version(),
    "convolutions": lowering.describe(),
  }
  for name in ("jcl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"):
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[name] = metadata.version(name)
  return found


def _git_revision() -> str | None:
  command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
  try:
    done = subprocess.run(
      command,
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  return done.stdout.strip() or None
