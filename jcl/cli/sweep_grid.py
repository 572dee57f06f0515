"""The runs of a sweep: every recipe by every value and every seed."""

from collections.abc import Iterator, Mapping
import itertools
from pathlib import Path
from typing import NamedTuple

from jcl.cli import definitions, flags, folders
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.run import pool

_SENSORS = ("rails", "nvml", "rapl")


class Arm(NamedTuple):
  """A recipe with values of the flags that a sweep varies.

  Attributes:
    text: the recipe.
    varied: values, by the flags' names.
    differing: names of the flags by which arms differ.
  """

  text: str
  varied: Mapping[str, object]
  differing: tuple[str, ...] = ()

  @property
  def folder(self) -> str:
    """Name of the folder of its runs, below the sweep's."""
    values = ",".join(f"{k}={v}" for k, v in self.varied.items())
    parts = (self.text, values) if values else (self.text,)
    return "/".join(map(folders.slug, parts))

  @property
  def label(self) -> str:
    """The arm in one line."""
    values = (f"{name}={self.varied[name]}" for name in self.differing)
    return " ".join([self.text, *values])


class Sweep(NamedTuple):
  """A sweep: recipes with values of flags, seeds, and where the runs lie.

  Attributes:
    arms: every recipe with every combination of values.
    seeds: of each.
    folder: of everything.
    shared: values of flags that identify it.
    workers: processes.
  """

  arms: tuple[Arm, ...]
  seeds: tuple[int, ...]
  folder: Path
  shared: Mapping[str, object]
  workers: int

  @property
  def size(self) -> int:
    """Number of runs."""
    return len(self.arms) * len(self.seeds)

  def place(self, arm: Arm, seed: int) -> Path:
    """Returns the folder of a run."""
    return self.folder / arm.folder / f"seed_{seed}"

  def runs(self) -> Iterator[tuple[Arm, int]]:
    """Yields every run: all arms by the first seed first."""
    for seed in self.seeds:
      for arm in self.arms:
        yield arm, seed


def asked() -> Sweep:
  """Returns the sweep that the flags describe.

  Raises:
    UsageError: for flags that do not fit.
  """
  texts, seeds, varied = flags.recipes(), flags.seeds(), flags.varied()
  combined = [
    dict(zip(varied, values, strict=True))
    for values in itertools.product(*varied.values())
  ]
  differing = tuple(name for name, values in varied.items() if len(values) > 1)
  arms = tuple(
    Arm(text, each, differing) for each in combined for text in texts
  )
  names = [arm.folder for arm in arms]
  if len(set(names)) < len(names):
    raise UsageError(
      f"recipes {errors.some(texts)}: two would have one folder; write them "
      "less alike"
    )
  workers = definitions.WORKERS.value
  if workers is None:
    every = len(pool.shares(1)[0])
    workers = min(every, len(arms) * len(seeds))
  meter = flags.values()["meter"]
  if workers > 1 and meter in _SENSORS:
    raise UsageError(
      f"--meter={meter}: a sensor sees all workers at once; give --workers=1, "
      "or leave the meter out and have joules modelled"
    )
  shared = {
    name: value
    for name, value in flags.identity().items()
    if not definitions.is_varied(name)
  }
  name = f"sweep-{folders.slug(definitions.DATA_SET.value)}"
  name += f"-{folders.slug(texts[0])}"
  folder = folders.work(name, [folders.chosen(shared), texts])
  return Sweep(arms, tuple(seeds), folder, shared, workers)
