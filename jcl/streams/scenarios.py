"""Makes streams of sources: deals data out over time.

Every function takes a source and returns a `Stream`. Their common arguments:

- `seed`: of every random choice in the split.
- `holdout`: a share of the training data that is set apart and takes the place
  of the test set, so that hyper-parameters can be chosen without a look at the
  test data. 0 uses the test set itself.
- `normalize`: see `stream.statistics`.

Where a source has no test set, a fifth of its training data becomes one, drawn
from each class (of each group), the same in every run. A single pass over a
stream, the online setting, needs no scenario of its own: it is one epoch per
experience.
"""

from collections.abc import Callable
from typing import Any

from jcl.options import parameters, spec
from jcl.streams import sources, stream
from jcl.streams.by_class import blurry, class_incremental, task_incremental
from jcl.streams.by_domain import (
  domain_by_group,
  permuted,
  rotated,
  time_ordered,
)

SCENARIOS: dict[str, Callable[..., stream.Stream]] = {
  "blurry": blurry,
  "class_incremental": class_incremental,
  "domain_by_group": domain_by_group,
  "permuted": permuted,
  "rotated": rotated,
  "task_incremental": task_incremental,
  "time_ordered": time_ordered,
}


def build(
  name: str, source: sources.Source, /, *, seed: Any = 0, **options: Any
) -> stream.Stream:
  """Builds the stream of the scenario `name` from a source.

  Args:
    name: one of `describe()`.
    source: of the data.
    seed: passed on to scenarios that draw at random.
    **options: the keyword arguments of the function of that name.
  """
  if name in SCENARIOS and "seed" in parameters.keywords(SCENARIOS[name]):
    options["seed"] = seed
  return spec.call("stream", SCENARIOS, name, source, **options)


def describe() -> dict[str, str]:
  """Returns one line about each scenario that `build` knows."""
  return parameters.describe(SCENARIOS)
