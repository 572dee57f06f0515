"""Settings of a live learner, which its folder keeps."""

from collections.abc import Callable, Hashable, Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jcl import base, recipes
from jcl.control import allowance
from jcl.cost import program_cost
from jcl.living import programs as programs_lib
from jcl.options.errors import UsageError
from jcl.run import session, solving
from jcl.run import setup as setup_lib
from jcl.selection import mask
from jcl.streams import stream as stream_lib
from jcl.train import learner as learner_lib

_UNSHARED = programs_lib.Programs(most=0)

Build = Callable[[tuple[int, ...], int], base.Network]


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a live learner learns.

  Attributes:
    recipe: such as "er:buffer=500", or a method.
    model: such as "mlp:width=100", or what builds a network from the shape of
      an example and a number of classes.
    setup: weights, precision, hyper-parameters, budgets and options of runs.
    seed: decides initialisation, order, replay and augmentation.
    capacity: outputs that the head begins with.
    normalize: see `stream.statistics`.
    scale: raw value that stands for one, of bytes.
    ordered: whether an experience's examples are shown in time order.
    checkpoint_seconds: between checkpoints within an experience.
    budget: what learning may spend, and hold at once.
    standard: whether inputs arrive with mean 0 and deviation 1, so that nothing
      is measured on the first of them.
    programs: that learners of equal settings share; by default none are.
  """

  recipe: str | base.Method
  model: str | Build
  setup: setup_lib.Setup
  seed: int = 0
  capacity: int = 16
  normalize: stream_lib.Normalization | None = None
  scale: float = 255.0
  ordered: bool = False
  checkpoint_seconds: float = 60.0
  budget: allowance.Budget | None = None
  standard: bool = False
  programs: programs_lib.Programs = _UNSHARED

  @functools.cached_property
  def method(self) -> base.Method:
    """The recipe's method."""
    if isinstance(self.recipe, str):
      return recipes.build(self.recipe)
    return self.recipe

  @functools.cached_property
  def training(self) -> base.Training:
    """Complete hyper-parameters."""
    return session.complete(self.method, self.setup.training)

  @property
  def kind(self) -> Hashable:
    """What programs depend on."""
    return dataclasses.replace(
      self, checkpoint_seconds=0.0, budget=None, programs=_UNSHARED
    )

  def network(self, stream: stream_lib.Stream) -> base.Network:
    """Returns the model of a stream, with as many outputs as it has classes."""
    if not isinstance(self.model, str):
      return self.model(stream.example_shape, stream.num_classes)
    setup = dataclasses.replace(self.setup, model=self.model)
    build = setup_lib.builder(
      setup, stream.example_shape, self.method.convolutional
    )
    return setup_lib.network(setup, stream, build)

  def kernel_width(self, stream: stream_lib.Stream) -> float | None:
    """Returns the width of a random unit's kernel by the first experience."""
    wanted = self.method.expand
    if wanted is None:
      return None
    measured = wanted.kind == "fourier" and wanted.gamma is None
    if self.standard and measured and not wanted.trunk:
      return 1 / math.prod(stream.example_shape)
    return solving.kernel_width(
      stream, self.network(stream), wanted, self.training, self.seed
    )

  def normalisation(self, first: base.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of inputs by the first experience."""
    first = dataclasses.replace(first, scale=self.scale)
    usual: stream_lib.Normalization | None = "none" if self.standard else None
    return stream_lib.statistics(first, self.normalize or usual)

  def controller(self) -> base.Controller | None:
    """Returns what decides each experience's effort, None without a budget."""
    if self.budget is None or not self.budget.amounts:
      return None
    assert self.training.epochs is not None
    return allowance.controller(self.training.epochs, self.budget)

  def check_room(self, learner: learner_lib.Learner) -> None:
    """Raises UsageError where a learner's state exceeds the budget's RAM."""
    if self.budget is None:
      return
    everything = mask.everything(learner.network)
    needed = program_cost.num_bytes(learner.template(everything))
    classes = learner.network.num_classes
    what = f"a learner with room for {classes} classes"
    allowance.check(self.budget, needed, what)

  def names(self, labels: Sequence[Any], seats: int) -> tuple[str, ...]:
    """Returns a name for every output, those without a class included."""
    free = [f"(free {seat})" for seat in range(len(labels), seats)]
    return (*map(str, labels), *free)

  def about(self, described: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what identifies the learner's run, of a run's description."""
    told = {
      k: v
      for k, v in described.items()
      if k not in ("stream", "num_experiences", "class_names", "notes")
    }
    return {**told, "stream": {"name": "live"}, "recipe": self._recipe()}

  def _recipe(self) -> dict[str, Any]:
    if not isinstance(self.recipe, str):
      return {"name": "custom", "options": {}}
    name, options = recipes.parse(self.recipe)
    return {"name": name, "options": options}


def check(settings: Settings) -> None:
  """Raises UsageError for a recipe that a live stream cannot feed."""
  method = settings.method
  if method.columns:
    raise UsageError(
      "the recipe grows a column for each task of a stream, whose tasks are to "
      "be known ahead: use er_ace or derpp, which take classes as they come"
    )
  if method.interlude is not None and method.interlude.times:
    raise UsageError(
      "the recipe spreads its rounds over a stream whose length is to be known "
      "ahead: say after how many updates one comes, such as every=100"
    )
  if method.controller is not None and settings.controller() is not None:
    raise UsageError(
      "the recipe decides by itself how much to learn: leave out budget, or "
      "give another recipe"
    )
