"""A method, and the options of what it may ask of a run."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal, NamedTuple

import optax

from jcl.base.arrays import Params
from jcl.base.control import Controller, Cost
from jcl.base.hierarchy import Hierarchy
from jcl.base.network import Network, Selection
from jcl.base.objective import Objective
from jcl.base.parts import Consolidation, Predictor, Replay, Rewrite, Selector
from jcl.options import kinds


@dataclasses.dataclass(frozen=True)
class Training:
  """Hyper-parameters of the updates; None leaves the choice to the run."""

  # Or a function of the run's update count, from 0; where parameters are drawn
  # anew for every experience, of those made since then.
  learning_rate: kinds.Positive | Callable[[Any], Any] | None = None
  batch_size: kinds.Count | None = None
  # 0 where nothing trains and predictions are solved from statistics.
  epochs: kinds.Natural | None = None
  optimizer: (
    Literal["sgd", "adam", "adamw"] | optax.GradientTransformation | None
  ) = None
  momentum: kinds.ShareBelowOne | None = None
  weight_decay: kinds.NonNegative | None = None
  clip: kinds.NonNegative | None = (
    None  # bound on each gradient entry's magnitude
  )
  # "constant", "linear" or "cosine" with options, such as "cosine:warmup=0.1":
  # what the rate does in each experience, see `train.schedules`.
  schedule: str | None = None
  # Outputs in play: "seen" masks classes that have not arrived, "all" none.
  head: Literal["seen", "all"] | None = None
  # Normalisers of trained units: "batch" uses and updates batch statistics,
  # "frozen" uses the running ones and leaves them as they are; "moving" does
  # for all units, frozen ones too, what "batch" does for those that train.
  norms: Literal["batch", "frozen", "moving"] | None = None
  # Running variances take a batch's variance as it is ("biased", also None), or
  # n/(n-1) times it for n values of a channel, as PyTorch does ("unbiased").
  variance: Literal["biased", "unbiased"] | None = None

  def over(self, fallback: "Training") -> "Training":
    """Returns these values, with `fallback`'s where they are None."""
    mine = {k: v for k, v in vars(self).items() if v is not None}
    return dataclasses.replace(fallback, **mine)


class Pruning(NamedTuple):
  """Schedule by which faded channels are taken out of the network."""

  every: int  # epochs
  threshold: float  # weights up to this magnitude are as good as none


class Sparsity(NamedTuple):
  """Weights held at zero while others learn.

  `start(params)` takes them there before anything is learned; `wrap(optimizer)`
  makes, of a rule for one array, one for a tree that keeps them there, with a
  state by path as `train.slots.per_tensor` has; `restart(opt_state)` opens an
  experience.
  """

  start: Callable[[Params], Params]
  wrap: Callable[[optax.GradientTransformation], optax.GradientTransformation]
  restart: Callable[[Any], Any]


EXPAND = "expand"  # name of the unit that an expansion is


@dataclasses.dataclass(frozen=True)
class Expansion:
  """A random unit that never trains, ahead of the head or beside all units."""

  width: int  # M, its outputs
  # ReLU of random directions, or Fourier features of a Gaussian kernel.
  kind: Literal["relu", "fourier"] = "relu"
  # Width of the kernel exp(-gamma |x - y|^2); None: from the variance of what
  # the unit reads of the first batch.
  gamma: float | None = None
  trunk: bool = True  # False: it reads inputs, and all other units are left out
  # Stands beside the network, all of whose units stay: a tap that reads inputs,
  # computed where it is asked for.
  beside: bool = False


@dataclasses.dataclass(frozen=True)
class Removal:
  """Schedule by which examples that are never forgotten stop being shown."""

  share: float = 0.3  # of an experience's examples, in all
  every: int = 5  # epochs
  until: int = 20  # last epoch ahead of which some leave


class Phase(NamedTuple):
  """Updates on draws of the memory alone, by another rule than the method's.

  `select(network)` says which tensors train: of these, the ones that the method
  may train. `training` goes ahead of the run's. The objective sees what is
  drawn as its batch, with its extras.
  """

  updates: int
  rows: int  # examples of an update
  objective: Objective
  select: Callable[[Network], Selection]
  training: Training = Training()


class Interlude(NamedTuple):
  """A phase that comes between updates of the stream, again and again.

  `times` of them, spread evenly over the stream whatever its experiences, the
  last time behind its end; or behind every so many updates of the run.
  """

  phase: Phase
  times: int = 0
  every: int = 0


@dataclasses.dataclass(frozen=True)
class Draw:
  """Rule by which an epoch's examples are drawn, see `streams.draws`."""

  by: Literal["uniform", "balanced", "recent", "recency"] = "uniform"
  alpha: float = 1.0  # of "recency": how much likelier new examples stay
  counts: bool = False  # of "balanced": examples of large classes are likelier


class Outlook(NamedTuple):
  """Sizes and limits of a run that are known before it starts."""

  examples: int  # of all experiences
  experiences: int
  classes: int
  width: int  # values of an example
  row_bytes: int  # of an example in memory
  total: Cost  # that the run may take; infinite where there is no limit
  ram: float  # bytes that memory and statistics may take, infinite likewise
  network: Network | None = None  # the model, where it is known
  first: int = 0  # classes of the first experience, 0 where nobody knows


# (epochs, total of the run, joules that the whole run may take now) ->
Govern = Callable[[int, Cost, Callable[[], float] | None], Controller]


class Method(NamedTuple):
  """A way to learn a stream, of parts that know nothing of each other.

  `trains_on` names the training set of an experience: its own examples
  ("current"), those of all experiences so far ("seen"), or what the memory
  holds ("memory"), in shuffled passes unless `draw` says otherwise. `restart`
  draws new parameters for every experience, `renew` begins the optimiser's
  slots anew.
  `prune(network, params)` marks channels that are taken out of the network
  before it learns (masks by group of `networks.channels`); `sparsity(network,
  params, updates, epochs)` is told the updates of an epoch and the epochs of
  the first experience. `params` are what the run begins with. `columns` is for
  networks with a column per experience, see `networks.progressive`. `trunk`
  says which units never train: their number, their share of all, or the name of
  the first one that does. `training` goes ahead of what the run says,
  `defaults` behind it. `convolutional` asks for a network that convolves, and
  `expand` puts a random unit ahead of the head. `consolidation` writes
  parameters between updates. `govern(epochs, total, joules)` makes the
  controller that keeps the run within its budgets, of the arguments of
  `control.limits.within`; None leaves that to the run. `suited(outlook)`
  returns the method with the sizes that it left open. `interlude` adds updates
  on the memory alone, `rewrite` writes weights anew between updates.
  """

  objective: Objective
  replay: Replay
  selector: Selector
  predictor: Predictor
  controller: Controller | None = None  # None: the run's own
  trains_on: Literal["current", "seen", "memory"] = "current"
  restart: bool = False
  training: Training = Training()
  pruning: Pruning | None = None
  hierarchy: Hierarchy | None = None
  prune: Callable[[Network, Params], Any] | None = None
  sparsity: Callable[[Network, Params, int, int], Sparsity] | None = None
  removal: Removal | None = None
  columns: bool = False
  trunk: str | int | float | None = None
  defaults: Training = Training()
  convolutional: bool = False
  expand: Expansion | None = None
  consolidation: Consolidation = Consolidation()
  govern: Govern | None = None
  suited: Callable[[Outlook], "Method"] | None = None
  draw: Draw | None = None
  renew: bool = False
  interlude: Interlude | None = None
  rewrite: Rewrite | None = None
