"""Runs of a sweep, as a process of its pool carries them out."""

from collections.abc import Callable, Hashable, Mapping
import contextlib
import io
from pathlib import Path
import time

import numpy as np

from jcl.cli.sweep_orders import Check, Checked, Order, Shared
from jcl.run import claims, surroundings

with surroundings.importing():
  from jcl.cli import asked, flags, learning, show
  from jcl.living import programs
  from jcl.run import loop

_KINDS = 32  # of runs, whose programs are kept for later ones
_EVERY = 0.5  # seconds between what is told of a run


def ready(shared: Shared) -> "_Runs":
  """Returns what carries out the orders of a sweep, once its data are read."""
  return _Runs(shared)


class _Runs:
  """Carries out orders, with data and models that are read and built once."""

  def __init__(self, shared: Shared) -> None:
    self._folder, self._started = Path(shared.folder), shared.started
    flags.VALUES.mark_as_parsed()
    for name, value in shared.values.items():
      flags.VALUES[name].value = value
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
      self._runs = learning.read()
    self._said = said.getvalue()
    self._begun = False  # whether the model has learned the first classes
    self._programs = programs.Programs(_KINDS)

  def __call__(
    self, order: Check | Order, tell: Callable[[float], None]
  ) -> Checked | None:
    """Carries an order out, and tells the share of it that is done."""
    if isinstance(order, Check):
      return self._check(order)
    if not self._begun:
      self._runs = learning.pretrained(self._runs, self._folder)
      self._begun = True
    runs = self._with(order.varied, order.resume or self._has_begun(order))
    job = runs.assemble(order.text, order.seed)
    kind = self._kind(order, job)
    if kind is not None:
      self._programs.lend(kind, job.learner.compiler)
    watch = _Teller(tell, len(job.stream.experiences))
    learning.learn(job, runs.setup, order.text, Path(order.place), watch)
    if kind is not None:
      self._programs.keep(kind, job.learner.compiler)
    return None

  def _kind(self, order: Order, job: loop.Job) -> Hashable | None:
    """Returns all that a run's programs depend on, beside their arguments.

    Runs that differ by their seeds then trace and compile them once. None where
    the seed or the data may be within them, as random units and masks are.
    """
    learner, stream = job.learner, job.stream
    method = learner.method
    given = self._runs.parts.networks.get(method.columns)
    within = (
      *(method.expand, method.prune, method.pruning, method.suited),
      *(learner.spec.sparsity, job.latents),
    )
    if learner.network is not given or any(each is not None for each in within):
      return None
    return (
      *(order.text, tuple(order.varied.items()), stream.num_classes),
      *(stream.example_shape, stream.dtype, len(stream.experiences)),
      *(np.asarray(each).tobytes() for each in (stream.mean, stream.std)),
    )

  def _has_begun(self, order: Order) -> bool:
    """Tells whether a run was begun since the sweep was, as before a death."""
    config = Path(order.place) / claims.FILES[0]
    return config.exists() and config.stat().st_mtime >= self._started

  def _with(
    self, varied: Mapping[str, object], resume: bool = True
  ) -> learning.Runs:
    """Returns the parts of runs with some values of flags."""
    for name, value in {**varied, "resume": resume}.items():
      flags.VALUES[name].value = value
    return self._runs._replace(setup=asked.setup())

  def _check(self, check: Check) -> Checked:
    said = io.StringIO(self._said)
    said.seek(0, io.SEEK_END)
    seed = flags.seeds()[0]
    with contextlib.redirect_stdout(said):
      for number, varied in enumerate(check.arms):
        runs = self._with(varied)
        for text in runs.texts:
          job = runs.assemble(text, seed)
          if not number and text == runs.texts[0]:
            show.joules(job.ledger, runs.meter)
      self._runs = learning.pretrained(self._runs, self._folder)
      self._begun = True
    runs = self._runs
    return Checked(runs.content, runs.device.platform, said.getvalue())


class _Teller:
  """Tells the share of a run that is done, now and then."""

  def __init__(self, tell: Callable[[float], None], experiences: int) -> None:
    self._tell, self._count = tell, experiences
    self._last = time.monotonic()

  def __call__(self, event: loop.Event) -> None:
    now = time.monotonic()
    if now - self._last < _EVERY:
      return
    self._last = now
    place = event.place
    within = min(place.totals.steps / max(place.planned, 1), 1.0)
    done = place.experience + (within if place.begun else 0.0)
    self._tell(done / self._count)
