"""Small runs of every recipe and every serving system, by name."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import os
from pathlib import Path
import signal
from typing import Any

from digests import of_log, of_run
from flax import linen as nn
import jax
import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.control.drift import times
from jcl.networks import catalogue, chain, layers, mlp, progressive
from jcl.objectives import group_lasso
from jcl.replay.latents import stream as latents
from jcl.run import session
from jcl.serving import runs as serving_runs
from jcl.serving import setup
from jcl.streams import sources

SEEDS = (0, 1)  # each run is made with
OPTIONS = session.Options(progress=False)
TRAINING = {"epochs": 2, "batch_size": 6, "learning_rate": 0.1}


@functools.cache
def _vectors() -> Any:
  return tiny_network.stream(tasks=2, per_class=16)


def _perceptron(stream: Any) -> base.Network:
  shape = stream.example_shape
  return mlp.mlp(shape, stream.num_classes, width=8, depth=2)


def _deep(stream: Any) -> base.Network:
  """Deep enough for some of its tensors to be worth choosing."""
  shape = stream.example_shape
  return mlp.mlp(shape, stream.num_classes, width=16, depth=4)


def _columns(stream: Any) -> base.Network:
  build = functools.partial(catalogue.build, "mlp", width=8, depth=1)
  return progressive.progressive(
    build, stream.example_shape, stream.task_classes
  )


class _Filters(nn.Module):
  size: int

  @nn.compact
  def __call__(self, x, training):
    x = x.reshape(-1, 2, 2, 1) if x.ndim == 2 else x
    x = nn.relu(nn.Conv(4, (self.size, self.size))(x))
    return x.reshape(len(x), -1) if self.size == 2 else x


def _convolutions(stream: Any) -> base.Network:
  units = [("stem", _Filters(1)), ("conv", _Filters(2))]
  units.append(("head", layers.Head(stream.num_classes)))
  return chain.chain("conv", units, stream.example_shape, stream.num_classes)


@dataclasses.dataclass(frozen=True)
class Run:
  """One run: a recipe's text, and what differs from the plain case."""

  recipe: str
  objective: base.Objective | None = None  # in place of the recipe's
  network: Callable[[Any], base.Network] = _perceptron
  training: dict[str, Any] = dataclasses.field(default_factory=dict)
  options: session.Options = OPTIONS
  codec: str = ""  # of a frozen trunk's output, where that is learned from
  killed: bool = False  # stopped in the middle of the stream, and resumed
  drawn: bool = False  # numbers that the seed draws are part of its programs

  @functools.cached_property
  def on(self) -> base.Network:
    """The network, the same one for all seeds."""
    return self.network(_vectors())


# Trials that go by accuracy alone: energy has no place in an exact repetition.
_TRIALS = (
  "em=8,sb=12,swap=1,warmup=1,trial_epochs=1,share=0.5,held_out=1,"
  "policy={},grid=8x12/4x6"
)
_BUFFER = "buffer=12,minibatch=4"
RUNS = {
  **{
    name: Run(f"{name}:{_BUFFER}")
    for name in ("er", "er_ace", "der", "derpp", "agem")
  },
  **{name: Run(name) for name in ("finetune", "joint", "ewc", "si", "lwf")},
  "naive": Run("naive"),
  "k_fpf": Run("k_fpf:k=2,updates=2,buffer=12,minibatch=4"),
  **{name: Run(f"er:{_BUFFER}+{name}") for name in ("lars", "wsc", "wa")},
  "fdr": Run(f"fdr:{_BUFFER}"),
  "auto": Run(f"auto:{_BUFFER},m=16,share=0.2,aside=8"),
  "bic": Run("bic:buffer=12"),
  "icarl": Run("icarl:buffer=12"),
  "gdumb": Run("gdumb:buffer=12"),
  "pnn": Run("pnn", network=_columns),
  "full": Run("full"),
  "head_only": Run("head_only"),
  "bn_bias": Run("bn_bias"),
  "freeze": Run("er:buffer=12+freeze:until=0.5"),
  "lightcl": Run("lightcl:anchors=4", training={"norms": "batch"}),
  "lightcl_sparse": Run("lightcl_sparse:anchors=4", drawn=True),
  "sparcl": Run(
    "sparcl:minibatch=4,current=false,replay_current=true",
    network=_convolutions,
    drawn=True,
  ),
  "elastic": Run("elastic:rho=0.7,interval=1,profile=analytic", network=_deep),
  "elastic_pieces": Run(
    "er:buffer=12+elastic:rho=0.7,interval=1,profile=analytic",
    network=_deep,
    options=dataclasses.replace(OPTIONS, executor="pieces", lead=2),
  ),
  "grad_norm": Run("grad_norm:rho=0.7,profile=analytic", network=_deep),
  "magnitude": Run("magnitude:rho=0.7,profile=analytic", network=_deep),
  # A penalty far above use, so that channels fade within a few updates.
  "pruning": Run(
    "pruning:interval=2,threshold=0.2",
    objective=group_lasso.group_lasso(strength=0.1),
    training={"epochs": 3, "momentum": 0.5},
  ),
  "carm": Run("carm:em=8,sb=12,swap=1"),
  "carm_gate": Run("carm:em=8,sb=12,gate=hard,balanced=true,keep=reservoir"),
  "carm_derpp": Run("derpp:minibatch=4+carm:em=8,sb=12,swap=0.5"),
  "ram_only": Run("ram_only:em=8,sb=12"),
  "storage_only": Run("storage_only"),
  "miro": Run("miro:" + _TRIALS.format("accuracy")),
  "miro_enough": Run("miro:" + _TRIALS.format("enough") + ",patience=1"),
  "frugal": Run(
    "frugal:em=8,sb=12,swap=1,warmup=1,trial_epochs=1,share=0.5,held_out=1,"
    "judge=accuracy,overhead=0,most=3"
  ),
  "latents_raw": Run(f"er:{_BUFFER}", codec="raw", drawn=True),
  "latents_codes": Run(
    "derpp:minibatch=4+carm:em=8,sb=24", codec="uint8", drawn=True
  ),
  "killed_er": Run(f"er:{_BUFFER}", killed=True),
  "killed_carm": Run("carm:em=8,sb=12,swap=1", killed=True),
  "killed_elastic": Run(
    "elastic:rho=0.7,interval=1,profile=analytic", network=_deep, killed=True
  ),
}


def learned(
  run: Run, seed: int, folder: Path, compiled: dict[Any, Any]
) -> dict[str, Any]:
  """Carries out a run and returns its parts; see `digests.of_run`.

  Args:
    run: what is learned, and how.
    seed: of the run.
    folder: its work directory.
    compiled: programs of the same run with other seeds, which are the same
      programs; those of this one are added.
  """
  stream, network = _vectors(), run.on
  if run.codec:
    made = latents.prepare(
      *(stream, network, "dense_1", run.codec),
      key=jax.random.fold_in(jax.random.key(seed), 0),
      budget=None,
      rows=6,
    )
    stream, network = made.stream, made.network
  steps = 1 if run.killed else 2
  options = dataclasses.replace(run.options, steps_per_dispatch=steps)
  method = recipes.build(run.recipe)
  if run.objective is not None:
    method = method._replace(objective=run.objective)
  job = session.assemble(
    stream,
    network,
    method,
    base.Training(**{**TRAINING, **run.training}),
    seed,
    options,
  )
  compiler = job.learner.compiler
  compiler.add(compiled)
  with pytest.MonkeyPatch.context() as patch:
    tiny_hierarchy.read_at_once(patch)
    tiny_hierarchy.draw_nothing(patch)
    if run.killed:
      _stop(job, folder, options, call=3)
      _stop(job, folder, options, call=4)
    result = session.run(job, folder, options)
  if not run.drawn:
    compiled.update(compiler.programs)
  return of_run(result)


def _stop(job: Any, folder: Path, options: Any, call: int) -> None:
  """Ends a run by a signal as it fetches its `call`th batch."""
  put, calls = job.learner.put_batches, []

  def signalling(batches):
    calls.append(0)
    if len(calls) == call:
      os.kill(os.getpid(), signal.SIGTERM)
    return put(batches)

  job.learner.put_batches = signalling
  try:
    with contextlib.suppress(session.Interrupted):
      session.run(job, folder, options)
      raise AssertionError("the run was over before it could be stopped")
  finally:
    job.learner.put_batches = put


SYSTEMS = {
  "pausing": "auto:labels=8",
  "dacapo": "dacapo:labels=8",
  "dacapo_robust": "dacapo:labels=8,drift=robust",
  "dacapo_spatial": "dacapo_spatial:window=10",
  "ekya": "ekya:window=10,epochs=[1,2],trial_epochs=1",
  "eomu": "eomu:window=5,warmup=10,start=5",
  "frozen": "frozen",
  "oracle": "oracle:window=10,epochs=2",
}
_SCRIPT = serving_runs.StreamScript("S1", fps=4, segment_seconds=5, segments=12)
_TIMES = times.Times(infer=0.02, train=0.1, valid=0.05, label=0.05)


@functools.cache
def _stage(folder: Path) -> setup.Assets:
  network = "mlp:width=8,depth=1"
  roles = setup.Roles(network, network, (60, 60), (2, 2))
  return setup.Assets(sources.load("digits"), roles, folder)


def served(system: str, seed: int, folder: Path) -> dict[str, Any]:
  """Serves a small stream and returns the log's parts; see `digests.of_log`."""
  on = _stage(folder.parent)
  path = folder / f"seed_{seed}"
  made = serving_runs.run(on, _SCRIPT, SYSTEMS[system], _TIMES, seed, path)
  retrained = np.ptp(made.log.versions) > 0
  assert retrained or system == "frozen"
  return of_log(made.log)
