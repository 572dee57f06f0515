"""A run put together from plain options, for commands and experiments alike.

setup = Setup(model="mlp:width=100", training=base.Training(epochs=2))
stream = deal(setup, read(setup), seed=0)
job = assemble(setup, "er:buffer=200", seed=0, stream=stream)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Literal, NamedTuple

import jax

from jcl import base, recipes
from jcl.control import limits
from jcl.cost import devices
from jcl.cost.meters import detection, find, modelled
from jcl.cost.meters import meter as meters
from jcl.networks import (
  catalogue,
  external,
  precision,
  progressive,
  published,
)
from jcl.options import spec
from jcl.options.errors import UsageError
from jcl.replay.tiers import limits as live
from jcl.run import loop, pretraining, session, together
from jcl.streams import scenarios, sources
from jcl.streams import stream as stream_lib

# Passes over an experience where neither options nor recipe name them.
_EPOCHS_BY_DATA = {"digits": 10}


@dataclasses.dataclass(frozen=True)
class Setup:
  """What runs beside each other have in common, as a user writes it.

  Attributes:
    data: data set and its options, such as "cifar100:labels=coarse".
    data_dir: folder of the data sets.
    download: fetch the data set if it is missing, and verify it.
    stream: how the data is dealt out, such as "class_incremental:tasks=10".
    model: network, such as "mlp:width=400"; "auto" suits the examples.
    weights: what the model begins with: a file, of safetensors or of PyTorch,
      or "imagenet" for the published weights of an EfficientNet-Lite.
    precision: of computation; "float32" or "bfloat16".
    base_classes: classes that are learned at once, ahead of the stream.
    base_epochs: passes over them.
    training: hyper-parameters that recipes leave open.
    options: how a run is carried out.
    seconds_budget: training seconds of a whole run.
    energy_budget: joules of a whole run, such as "1500J", or a file that says.
    flops_budget: floating-point operations of a whole run.
    equal_flops: the same of every experience, all passes of learning counted.
    train_share: of a full step's time, for recipes that select.
    meter: what counts joules; see `cost.meters.find`.
    idle_watts: power of an idle device, where no meter measures it.
    busy_watts: power of a busy device, where no meter measures it.
  """

  data: str = "digits"
  data_dir: str = "data"
  download: bool = False
  stream: str = "class_incremental"
  model: str = "auto"
  weights: str | None = None
  precision: Literal["float32", "bfloat16"] = "float32"
  base_classes: int = 0
  base_epochs: int = 30
  training: base.Training = base.Training()
  options: session.Options = session.Options()
  seconds_budget: float | None = None
  energy_budget: str | None = None
  flops_budget: float | None = None
  equal_flops: float | None = None
  train_share: float = 1.0
  meter: str = "auto"
  idle_watts: float | None = None
  busy_watts: float | None = None


class Parts(NamedTuple):
  """Data and models that the runs of a work directory share.

  Attributes:
    source: that is streamed.
    before: that is learned at once ahead of it, or None.
    networks: the model, by whether a recipe trains columns of it.
    build: makes the model for an example's shape and a number of classes.
  """

  source: sources.Source
  before: sources.Source | None
  networks: dict[bool, base.Network]
  build: Callable[..., base.Network]


def read(setup: Setup) -> sources.Source:
  """Reads the data set.

  Raises:
    UsageError: for a name, an option or a file that does not serve.
  """
  name, options = spec.read(setup.data)
  download = {"download": True} if setup.download else {}
  return sources.load(name, setup.data_dir, **{**options, **download})


def split(
  setup: Setup, source: sources.Source
) -> tuple[sources.Source | None, sources.Source]:
  """Returns what is learned at once, or None, and what is streamed."""
  if not setup.base_classes:
    return None, source
  if setup.weights is not None:
    raise UsageError(
      "--base_classes learns the weights that a run begins with: leave out "
      "--weights"
    )
  return pretraining.split(source, setup.base_classes)


def usual(source: sources.Source) -> base.Training:
  """Returns hyper-parameters that suit the data set, for `assemble`."""
  return base.Training(epochs=_EPOCHS_BY_DATA.get(source.train.name))


def deal(setup: Setup, source: sources.Source, seed: int) -> stream_lib.Stream:
  """Deals the data out; the seed draws what a scenario leaves to chance.

  Inputs are normalised as the model's published weights expect them, if it
  begins with weights; a note of the stream says so.

  Raises:
    UsageError: for options that do not serve, another normalisation than the
      published weights' among them.
  """
  name, options = spec.read(setup.stream)
  weights = _published(setup)
  if weights is None:
    return scenarios.build(name, source, **{"seed": seed, **options})
  usual = {"seed": seed, "normalize": weights.normalize}
  asked = options.get("normalize", weights.normalize)
  if setup.weights == published.NAME and asked != weights.normalize:
    raise UsageError(
      f"--stream={setup.stream}: the weights of --weights={published.NAME} "
      f"expect normalize={weights.normalize}; leave normalize out"
    )
  made = scenarios.build(name, source, **{**usual, **options})
  if asked != weights.normalize:
    return made
  return dataclasses.replace(made, notes=(*made.notes, _inputs(setup, made)))


def _model(setup: Setup) -> str:
  """Returns the model's text; "auto" has to have the published weights."""
  name, _, options = setup.model.partition(":")
  if name != "auto" or setup.weights != published.NAME:
    return setup.model
  return f"{published.USUAL}:{options}" if options else published.USUAL


def _published(setup: Setup) -> published.Weights | None:
  """Returns the published weights of a model that begins with weights."""
  if setup.weights is None:
    return None
  model, _ = spec.read(_model(setup))
  if setup.weights == published.NAME:
    return published.of(model)
  return published.WEIGHTS.get(model)


def _inputs(setup: Setup, stream: stream_lib.Stream) -> str:
  """Returns a note on what the network makes of inputs."""
  model, options = catalogue.read(_model(setup), stream.example_shape)
  side, shape = published.sized(model, options)["side"], stream.example_shape
  black, white = stream_lib.ends(stream.mean, stream.std)
  told = f"{model} reads {side}x{side} pixels as (x - 127) / 128 of 0 to 255"
  if shape[:2] != (side, side):
    told += f"; images of {shape[0]}x{shape[1]} are resized by bicubic "
    told += "interpolation"
  if shape[2:] == (1,):
    told += "; grey becomes three equal channels"
  if (black, white) != (0, 255):
    told += f"; values of {black:g} to {white:g} are brought to 0 to 255"
  return told


def parts(
  setup: Setup,
  before: sources.Source | None,
  source: sources.Source,
  stream: stream_lib.Stream,
  methods: Iterable[base.Method],
) -> Parts:
  """Builds the models for recipes that are to be compared.

  Recipes can be compared only where all train one and the same model: it
  convolves if any of them needs that.
  """
  methods = list(methods)
  convolutional = any(method.convolutional for method in methods)
  build = builder(setup, stream.example_shape, convolutional)
  networks = {
    columns: network(setup, stream, build, columns)
    for columns in {method.columns for method in methods}
  }
  if before is not None and False in networks:
    # For the checks ahead of all work.
    networks[False] = dataclasses.replace(networks[False], pretrained=True)
  return Parts(source, before, networks, build)


def builder(
  setup: Setup, shape: Sequence[int], convolutional: bool = False
) -> Callable[..., base.Network]:
  """Returns what makes the model, from a shape and a number of classes."""
  model, options = catalogue.read(_model(setup), tuple(shape), convolutional)
  if setup.weights is not None:
    options = published.sized(model, options)
  return functools.partial(catalogue.build, model, **options)


def network(
  setup: Setup,
  stream: stream_lib.Stream,
  build: Callable[..., base.Network] | None = None,
  columns: bool = False,
) -> base.Network:
  """Returns the model of a stream, the same for every seed.

  Args:
    setup: names the model, its weights and its precision.
    stream: whose examples and classes it is for.
    build: see `builder`, which is asked where this is None.
    columns: whether it grows by a column for each task.
  """
  build = build or builder(setup, stream.example_shape)
  if columns:
    made = progressive.progressive(
      build, stream.example_shape, stream.task_classes, stream.num_classes
    )
  else:
    made = build(stream.example_shape, stream.num_classes)
  if setup.weights == published.NAME:
    made = published.with_weights(made)
  elif setup.weights is not None:
    made = external.with_file(made, setup.weights)
  return precision.with_precision(made, setup.precision)


def device(setup: Setup) -> devices.Device:
  """Returns what computes, with the power that the options give it."""
  return devices.detect(setup.idle_watts, setup.busy_watts)


def count_joules(setup: Setup, on: devices.Device) -> detection.Detected:
  """Returns what counts joules, and why nothing else does."""
  power = modelled.Power(on.idle_watts, on.busy_watts, on.source)
  return find.find(setup.meter, power, platform=on.platform)


def options(setup: Setup, method: base.Method | None = None) -> session.Options:
  """Returns how a run is carried out.

  The output of a frozen trunk is kept only where the recipe has such a trunk.
  """
  if method is not None and method.trunk is not None:
    return setup.options
  return dataclasses.replace(setup.options, trunk_cache="", trunk_bytes=None)


def check_trunk(setup: Setup, methods: Mapping[str, base.Method]) -> None:
  """Raises UsageError if a trunk's output is to be kept and there is no trunk.

  Args:
    setup: says whether it is to be kept.
    methods: recipes, by what they are called in the message.
  """
  cache = setup.options.trunk_cache
  if cache and not any(method.trunk is not None for method in methods.values()):
    raise UsageError(
      f"--trunk_cache={cache}: none of {', '.join(methods)} freezes a trunk; "
      "give a recipe such as lightcl or er+freeze:until=0.7"
    )


def controller(
  setup: Setup, epochs: int, govern: base.Govern | None = None
) -> base.Controller:
  """Returns what keeps a run within the budgets.

  Args:
    setup: names the budgets.
    epochs: passes over an experience.
    govern: of the recipe, makes it; None: `limits.within`, which stops each
      experience at its share.

  Raises:
    UsageError: for a budget that is none, or more than one where every
      experience gets the same.
  """
  budgets = {"seconds": setup.seconds_budget, "flops": setup.flops_budget}
  if setup.equal_flops is not None:
    others = {"energy": setup.energy_budget, **budgets}
    for name, value in others.items():
      if value is not None:
        raise UsageError(
          f"equal_flops={setup.equal_flops:g} and {name}_budget={value}: give "
          "one of them"
        )
    each = setup.equal_flops
    return limits.equal(epochs, each, budget=setup.train_share)
  total, joules = _total(setup), live.parse(setup.energy_budget, "joules")
  limits.amounts(total)  # tells of one that is none
  measured = min(total.seconds, total.joules) < math.inf or joules is not None
  if govern is not None and measured and together.shared():
    raise UsageError(
      "the recipe tries what a budget of seconds or joules pays for, and "
      "processes that share a run measure different ones: give flops_budget"
    )
  if govern is not None:
    return govern(epochs, total, joules)
  total = dataclasses.replace(total, joules=math.inf)  # asked while it runs
  return limits.within(epochs, total, setup.train_share, joules)


def _total(setup: Setup) -> base.Cost:
  """Returns what a run may take; joules that a file states are left out."""
  given = {"seconds": setup.seconds_budget, "flops": setup.flops_budget}
  energy = setup.energy_budget
  if energy is not None and not Path(energy).exists():
    joules = live.parse(energy, "joules")
    given["joules"] = None if joules is None else joules()
  known = {name: value for name, value in given.items() if value is not None}
  return dataclasses.replace(base.UNLIMITED, **known)


def assemble(
  setup: Setup,
  recipe: str | base.Method,
  seed: int = 0,
  *,
  stream: stream_lib.Stream,
  model: base.Network | None = None,
  on: devices.Device | None = None,
  meter: meters.Meter | None = None,
  control: base.Controller | None = None,
  usual: base.Training | None = None,
) -> loop.Job:
  """Puts one run together; see `session.assemble`.

  Args:
    setup: all that the other arguments leave open.
    recipe: such as "er:buffer=500", or a method.
    seed: decides initialisation, order, replay and augmentation.
    stream: what is learned; see `deal`.
    model: the network; None builds the one that `setup` names.
    on: prices joules that no meter measures; detected where absent.
    meter: counts joules while the run goes on.
    control: decides each experience's effort; None: within the budgets.
    usual: hyper-parameters where neither `setup` nor the recipe has them.

  Raises:
    UsageError: where parts do not fit, saying which and what to change.
  """
  method = recipes.build(recipe) if isinstance(recipe, str) else recipe
  if model is None:
    build = builder(setup, stream.example_shape, method.convolutional)
    model = network(setup, stream, build, method.columns)
  method = session.suited(
    method, stream, _total(setup), setup.options.memory_budget, model
  )
  asked = setup.training.over(usual or base.Training())
  training = session.complete(method, asked)
  assert training.epochs is not None
  return session.assemble(
    stream,
    model,
    method,
    training,
    seed,
    options(setup, method),
    control or controller(setup, training.epochs, method.govern),
    on or device(setup),
    meter,
  )


def keep_programs(folder: str | os.PathLike[str]) -> None:
  """Has JAX keep compiled programs in a folder, unless its setting says how.

  XLA cuts loops for the processors that a process may use, which JAX's own keys
  leave out: processes with as many share programs, and others have their own.
  """
  name = "jax_compilation_cache_dir"
  if getattr(jax.config, name) is None:
    kept = Path(folder) / "compiled" / f"{devices.cores()}_cores"
    jax.config.update(name, str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
