"""Puts the parts of a run together, and checks that they fit."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Annotated, Any, NoReturn

import jax
import numpy as np

from jcl import base, keys
from jcl.control import assembly
from jcl.control import fixed as fixed_control
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.cost.meters import meter as meters
from jcl.networks import shrink
from jcl.options import bounds, kinds, plain, spec
from jcl.options.errors import UsageError
from jcl.replay import feeds, removal
from jcl.replay.latents import stream as latent_streams
from jcl.replay.tiers import limits
from jcl.run import (
  arguments,
  breaks,
  identity,
  loop,
  pruning,
  rewrites,
  rounds,
  solving,
  together,
  trainee,
)
from jcl.run.inference import model as models
from jcl.selection import fixed
from jcl.streams import batching
from jcl.streams import stream as stream_lib
from jcl.train import augment as augmentation
from jcl.train import learner as learner_lib
from jcl.train import optimizer as optimizers
from jcl.train import step_spec


@dataclasses.dataclass(frozen=True)
class Options:
  """How a run is carried out; what it learns is in its other arguments."""

  augment: str = "none"
  accumulate: kinds.Count = 1
  steps_per_dispatch: kinds.Natural = 0  # 0: chosen
  executor: str = "auto"  # or "pieces" or "whole"; see `train.learner`
  # Updates between choosing tensors and training them, while their programs
  # compile; -1: by the profile, or LEAD. It decides what a run computes.
  lead: Annotated[int, bounds.Range(-1)] = -1
  # Where profiles and a trunk's outputs are kept between runs; None: profiles
  # with the run, outputs nowhere.
  cache_dir: str | None = None
  # Updates between evaluations; 0: at the end of experiences only.
  evaluate_every: kinds.Natural = 0
  checkpoint_seconds: kinds.OrInfinity = 60.0
  # Bytes that a memory hierarchy may take, such as "64MiB"; a file that says
  # so and may be rewritten at any time; or "auto".
  memory_budget: str | None = None
  # How outputs of a frozen trunk are kept, see `latents.codecs.fit`: "raw",
  # "uint8", "pq:32"; "" computes them anew. And in how many bytes at most.
  # "disk", or "disk:pq:32", keeps them in `cache_dir` too, for later runs.
  trunk_cache: str = ""
  trunk_bytes: kinds.Size | None = None
  trunk_disk_bytes: kinds.Size = "10GB"  # of outputs on disk, all trunks'
  # Held-out examples of an experience by which units are followed: what each
  # experience made them lose and change. 0 for none.
  diagnose: kinds.Natural = 0
  resume: bool = True
  progress: bool | None = None  # None: where standard error is a terminal


def complete(method: base.Method, training: base.Training) -> base.Training:
  """Returns full hyper-parameters: the method's, else these, else defaults."""
  given = method.training.over(training)
  return optimizers.complete(given.over(method.defaults))


def assemble(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int = 0,
  options: Options = Options(),
  controller: base.Controller | None = None,
  device: devices.Device | None = None,
  meter: meters.Meter | None = None,
) -> loop.Job:
  """Puts the parts of a run together and checks that they fit.

  Args:
    stream: what is learned.
    network: the model; its input shape and classes must be the stream's.
    method: the recipe.
    training: hyper-parameters for all that the method leaves open; what both
      leave open is taken from `optimizer.complete`.
    seed: decides initialisation, order, replay and augmentation.
    options: how to carry it out.
    controller: decides each experience's effort; the method's own goes first,
      and where there is neither every experience gets `training.epochs`.
    device: prices joules that no meter measures; detected where absent.
    meter: counts joules while the run goes on, see `meters.named.find`; None
      and one that only models leave all of them to the device.

  Raises:
    UsageError: where parts do not fit, saying which and what to change.
  """
  arguments.check_parts(stream=stream, network=network, method=method)
  seed = arguments.seed(seed)
  _check_shapes(network, stream)
  options = spec.checked_fields(options)
  method = suited(
    method, stream, memory_budget=options.memory_budget, network=network
  )
  training = complete(method, training)
  removal.check(method)
  if method.prune is not None:
    params, _ = network.init(_first_key(seed))
    network = shrink.narrow(network, method.prune(network, params))
  network = solving.expanded(stream, network, method, training, seed)
  solving.check(network, method, training)
  solving.check_aside(stream, method)
  inputs = models.Inputs(network, stream.mean, stream.std, stream.dtype)
  content = functools.partial(_content, stream)
  latents = None
  if options.trunk_cache:
    made = _behind_trunk(stream, network, method, training, seed, options)
    stream = dataclasses.replace(made.stream, name=stream.name)
    network, latents = made.network, made.cache
  if options.memory_budget != "auto":
    limits.parse(options.memory_budget)  # tells of nonsense at once
  ledger = ledger_lib.Ledger(device or devices.detect(), meter=meter)
  if latents is not None:
    latents.charge_to(ledger)
  learner = _learner(stream, network, method, training, seed, options, ledger)
  if latents is not None:
    latents.close()  # a run that only checks leaves what is on disk to others
  assert training.epochs is not None
  usual = fixed_control.fixed(training.epochs)
  if method.govern is not None:
    usual = method.govern(training.epochs, base.UNLIMITED, None)
  effort = method.controller or controller or usual
  kind = trainee.Trainee if method.pruning is None else pruning.Pruned
  return loop.Job(
    stream,
    kind(learner, seed),
    assembly.for_run(effort, method.hierarchy, seed),
    ledger,
    seed,
    feeds.plain(stream, learner, ledger, seed),
    options.evaluate_every,
    latents=latents,
    inputs=inputs,
    content=content,
    breaks=_breaks(learner),
  )


def _breaks(learner: learner_lib.Learner) -> breaks.Breaks:
  """Returns what a method asks for between updates, checked to be possible."""
  method = learner.method
  rewrites.check(method, learner.network)
  rounds.check(method, learner.training)
  kinds: list[breaks.Break] = []
  if method.rewrite is not None:
    kinds.append(rewrites.Rewrites(method.rewrite))
  if method.interlude is not None:
    kinds.append(rounds.Rounds(method.interlude))
  return breaks.Breaks(kinds)


def suited(
  method: base.Method,
  stream: stream_lib.Stream,
  total: base.Cost = base.UNLIMITED,
  memory_budget: str | None = None,
  network: base.Network | None = None,
) -> base.Method:
  """Returns a method whose sizes suit a run.

  Args:
    method: the recipe.
    stream: what is learned.
    total: that the run may take.
    memory_budget: see `Options`; only an amount counts, since what a file says
      or a machine has to spare may be another when the run is resumed.
    network: the model, which may have learned weights.
  """
  if method.suited is None:
    return method
  shape, ram = stream.example_shape, None
  if memory_budget != "auto" and not Path(memory_budget or ".").exists():
    ram = limits.parse(memory_budget)
  outlook = base.Outlook(
    sum(len(each.data) for each in stream.experiences),
    len(stream.experiences),
    int(stream.classes_trained.sum()),
    math.prod(shape),
    math.prod(shape) * np.dtype(stream.dtype).itemsize,
    total,
    math.inf if ram is None else ram(),
    network,
    int(stream.classes_seen(0).sum()),
  )
  return method.suited(outlook)._replace(suited=None)


def _check_shapes(network: base.Network, stream: stream_lib.Stream) -> None:
  """Raises UsageError where a network's shapes are not the stream's."""
  if network.num_classes != stream.num_classes:
    raise UsageError(
      f"network {network.name!r} has {network.num_classes} outputs, but the "
      f"stream has {stream.num_classes} classes: build it with "
      f"num_classes={stream.num_classes}"
    )
  if tuple(network.input_shape) != tuple(stream.example_shape):
    raise UsageError(
      f"network {network.name!r} takes inputs {network.input_shape}, but "
      f"examples of the stream have shape {stream.example_shape}: build it "
      f"with input_shape={stream.example_shape}"
    )


def _learner(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int,
  options: Options,
  ledger: ledger_lib.Ledger,
) -> learner_lib.Learner:
  """Builds the learner, whose memory has to hold an example of every class."""
  together.check(method, options.trunk_cache)
  augment = augmentation.build(options.augment, stream.example_shape)
  spec = step_spec.StepSpec(
    network,
    method,
    training,
    augmentation.Preprocess(stream.mean, stream.std, augment),
    options.accumulate,
    _sparsity(stream, network, method, training, seed),
  )
  learner = learner_lib.Learner(
    spec,
    np.zeros(stream.example_shape, stream.dtype),
    ledger,
    steps_per_dispatch=options.steps_per_dispatch,
    executor=options.executor,
  )
  held, classes = learner.memory_slots, int(stream.classes_trained.sum())
  if method.replay.rebuild is not None and held < classes:
    raise UsageError(
      f"a memory of {held} examples cannot hold one of each of {classes} "
      f"classes: give the recipe buffer={classes} or more"
    )
  return learner


def _content(stream: stream_lib.Stream) -> str:
  with stream.held_out.open() as test_sets:
    learned = [each.data for each in stream.experiences]
    return identity.content([*learned, *test_sets])


def _behind_trunk(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int,
  options: Options,
) -> latent_streams.Prepared:
  """Returns stream, tail and cache of a run on a frozen trunk's outputs."""
  text = options.trunk_cache
  together.check(method, text)
  if method.trunk is None:
    _refuse_trunk(text, "no frozen trunk")
  first = fixed.first_trained(network, method.trunk)
  ahead = network.units[:first]
  if not network.pretrained and (
    method.restart or set(ahead) & set(solving.may_train(network, method))
  ):
    _refuse_trunk(text, "no learned weights")
  if training.norms == "moving":
    _, stats = jax.eval_shape(network.init, _first_key(seed))
    for unit in ahead:
      if jax.tree.leaves(stats.get(unit)):
        raise UsageError(
          f"trunk_cache={text!r}: norms=moving moves the running statistics of "
          f"unit {unit!r}, but what the trunk makes of an example is computed "
          "once; leave out norms=moving, or do without the cache"
        )
  codec, kept = _kept(options)
  assert training.batch_size is not None
  return latent_streams.prepare(
    stream,
    network,
    first,
    codec,
    key=_first_key(seed),
    budget=options.trunk_bytes,
    augment=options.augment,
    rows=training.batch_size,
    kept=kept,
  )


def _refuse_trunk(text: str, lacking: str) -> NoReturn:
  raise UsageError(
    f"trunk_cache={text!r} keeps what a frozen, learned trunk makes of "
    f"examples, and it has {lacking}: give a recipe such as lightcl or "
    "er+freeze:until=0.7, and a network with learned weights"
  )


def _kept(options: Options) -> tuple[str, latent_streams.Kept | None]:
  """Returns the codec of a trunk's outputs, and where runs share them."""
  text = options.trunk_cache
  kind, _, codec = text.partition(":")
  if kind != "disk":
    return text, None
  if options.cache_dir is None:
    raise UsageError(
      f"trunk_cache={text!r} keeps outputs of the trunk in a folder that runs "
      "share: name it, cache_dir=DIR"
    )
  size = options.trunk_disk_bytes
  budget = plain.parse_size(size) if isinstance(size, str) else size
  folder = Path(options.cache_dir).expanduser() / "trunks"
  return codec or "raw", latent_streams.Kept(folder, budget)


def _first_key(seed: int) -> base.Key:
  """Returns the key of the weights that a run begins with: `loop.start`."""
  return keys.key(seed, keys.Purpose.INIT)


def _sparsity(
  stream: stream_lib.Stream,
  network: base.Network,
  method: base.Method,
  training: base.Training,
  seed: int,
) -> Any:
  if method.sparsity is None:
    return None
  assert training.batch_size is not None and training.epochs is not None
  examples = len(stream.experiences[0].data)
  updates = batching.num_batches(examples, training.batch_size)
  params, _ = network.init(_first_key(seed))
  return method.sparsity(network, params, updates, training.epochs)
