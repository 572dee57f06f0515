"""Learning rates that change as an experience or a run goes on.

A schedule by name multiplies the rate by a function of the share of an
experience's updates that are made. The number of updates follows from epochs
and limits of operations and is known when the experience begins, so the rate is
a pure function of the step, and a resumed run repeats itself. Limits of seconds
or joules end an experience before its schedule.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jcl.options import kinds, spec
from jcl.options.errors import UsageError

# (updates of the experience so far [] int32, updates planned for it) -> [] >= 0
Factor = Callable[[Any, Any], jax.Array]


def constant(*, warmup: kinds.ShareBelowOne = 0.0) -> Factor:
  """The rate itself.

  Args:
    warmup: share of an experience's updates in which the rate rises to it.
  """
  return _warmed(jnp.ones_like, warmup, 0.0)


def linear(
  *,
  warmup: kinds.ShareBelowOne = 0.0,
  floor: kinds.Share = 0.0,
  overrun: kinds.Natural = 0,
) -> Factor:
  """Falls along a line in every experience.

  Args:
    warmup: as for `constant`.
    floor: share of the rate that is reached in the end.
    overrun: last updates, beyond the end of the line: the rates of all but the
      first of them are below 0. For a published program that makes such ones.

  Raises:
    ValueError: for an overrun beside one of the others.
  """
  if not overrun:
    return _warmed(lambda done: 1 - done, warmup, floor)
  if warmup or floor:
    raise UsageError(
      f"overrun={overrun} goes with neither warmup nor floor: leave these out"
    )
  return lambda made, planned: (
    1 - jnp.asarray(made, jnp.float32) / jnp.maximum(planned - overrun, 1.0)
  )


def cosine(
  *, warmup: kinds.ShareBelowOne = 0.0, floor: kinds.Share = 0.0
) -> Factor:
  """Falls along half a wave in every experience.

  Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
  ICLR 2017, eq. 5. Arguments as for `linear`.
  """
  return _warmed(lambda done: 0.5 * (1 + jnp.cos(jnp.pi * done)), warmup, floor)


SCHEDULES: dict[str, Callable[..., Factor]] = {
  "constant": constant,
  "cosine": cosine,
  "linear": linear,
}


def build(text: str) -> Factor:
  """Returns the factor that a text such as "cosine:floor=0.1" describes.

  Raises:
    ValueError: for unknown names, options or values.
  """
  name, options = spec.read(text)
  return spec.call("schedule", SCHEDULES, name, **options)


def told(rate: Callable[[Any], Any]) -> str:
  """Describes a schedule of one's own by its rates at some counts."""
  counts = (0, 1, 2, 5, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
  rates = [f"{float(rate(np.int32(count))):.4g}" for count in counts]
  return f"at updates {', '.join(map(str, counts))}: {', '.join(rates)}"


def _warmed(
  curve: Callable[[jax.Array], jax.Array], warmup: float, floor: float
) -> Factor:
  def factor(made, planned):
    made = jnp.asarray(made, jnp.float32)
    planned = jnp.maximum(jnp.asarray(planned, jnp.float32), 1.0)
    rising = warmup * planned
    done = (made - rising) / jnp.maximum(planned - rising, 1.0)
    left = floor + (1 - floor) * curve(jnp.clip(done, 0.0, 1.0))
    if not warmup:
      return left
    return left * jnp.minimum(1.0, (made + 1) / jnp.maximum(rising, 1.0))

  return factor
