"""The types through which the parts of jcl meet. No behaviour lives here.

A `NamedTuple` holds arrays that cross `jax.jit`, or a bundle of functions; a
frozen dataclass stays on the host. Passing a host record into a jitted function
is then an error instead of a silent trace.

Letters in shape comments: `B` batch, `N` examples, `C` classes, `D` features,
`W` trainable arrays, `M` memory slots, `R` replayed examples, `T` experiences.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import jax
import numpy as np
import optax

from jcl import alike
from jcl.options import kinds

Array = jax.Array | np.ndarray
Key = jax.Array
# A nested dict of arrays whose top-level keys are the network's units.
Params = Any
# Running statistics and other arrays that a network updates by itself, never
# differentiated; nested by unit like the parameters, {} where there are none.
Stats = Any


class Batch(NamedTuple):
  """Labelled examples, as a step reads them and as a memory stores them."""

  x: Array  # [B, ...] as stored: uint8 or float32, not normalised
  y: Array  # [B] int32 class
  task: Array  # [B] int32, the experience that brought the example
  ids: Array  # [B] int32, position in the stream's training set; -1 pads
  weight: Array  # [B] float32; 0 marks padding and empty memory slots
  extras: dict[str, Array]  # more per example, such as "logits" [B, C]


class Scope(NamedTuple):
  """Knowledge of the classes that a learner may have by now."""

  task: Array  # [] int32, index of the current experience
  current: Array  # [C] bool, classes of the current experience
  seen: Array  # [C] bool, classes of this and all earlier experiences
  head: Array  # [C] bool, outputs that take part in losses and predictions
  first: Array = np.zeros((), np.int32)  # step at which the experience began
  planned: Array = np.ones((), np.int32)  # updates that it is to make


class Output(NamedTuple):
  """A network's outputs for a batch."""

  logits: jax.Array  # [B, C]
  stats: Stats  # updated where a unit's normalisers are in training mode
  taps: dict[str, jax.Array]  # outputs of the units asked for, by name


@dataclasses.dataclass(frozen=True)
class Tensor:
  """One trainable array of a network: the finest thing one can select."""

  path: tuple[str, ...]  # keys from the root of the parameters
  unit: str  # the first of them
  kind: Literal["kernel", "bias", "scale", "shift", "other"]
  shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Block:
  """One unit of a network that is a plain chain of units."""

  name: str
  # (params of the unit, stats of the unit, x, training, key) -> (x, stats)
  apply: Callable[[Params, Stats, jax.Array, bool, Key | None], Any]
  # The same and, by name, what stood at the places within the unit.
  watched: (
    Callable[[Params, Stats, jax.Array, bool, Key | None], Any] | None
  ) = None
  places: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Network:
  """A model cut into ordered units, as pure functions.

  `apply(params, stats, x, *, training=(), key=None, taps=())` returns an
  `Output`. `training` names the units whose normalisers use and update batch
  statistics and whose dropout is active; all others run in evaluation mode and
  return their statistics unchanged. `taps` names units whose output is wanted,
  or places within them. `key` is needed only by networks with dropout or other
  noise. Chains take `start` as well: the unit that reads `x`, all before it
  being left out.
  """

  name: str
  units: tuple[str, ...]  # execution order, input side first; the last: head
  tensors: tuple[Tensor, ...]  # [W] execution order, input side first
  init: Callable[[Key], tuple[Params, Stats]]
  apply: Callable[..., Output]
  input_shape: tuple[int, ...]  # of one example, without the batch axis
  num_classes: int
  features: str | None  # tap [B, D] that the head reads
  blocks: tuple[Block, ...] | None = None  # where the network is a chain
  places: tuple[str, ...] = ()  # taps within units, "unit/name", in order
  pretrained: bool = False  # whether `init` gives learned weights
  offset: int = 0  # units that were cut off ahead of the first one here
  # How to build it again, as `networks.origin.build` reads it; JSON-ready. None
  # where only the program that made it can.
  origin: dict[str, Any] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Selection:
  """The tensors of a network that train. Hashable: it keys compiles."""

  trainable: tuple[bool, ...]  # [W], in the order of `Network.tensors`


class TrainState(NamedTuple):
  """The part of a learner that a step updates: arrays only, saved as is."""

  step: jax.Array  # [] int32, updates made since the start of the run
  params: Params  # every unit, trained or frozen
  stats: Stats
  opt_state: optax.OptState  # slots of the selected tensors only


class ReplayState(NamedTuple):
  """An episodic memory in fast memory."""

  items: Batch  # [M, ...]; weight 1 where a slot is filled, 0 where empty
  seen: jax.Array  # [] int32, examples offered so far
  policy: Any  # what the insertion rule remembers, () where nothing


class LearnerState(NamedTuple):
  """All that learning changes on the device: one pytree, saved as is."""

  train: TrainState
  replay: ReplayState | tuple[()]
  objective: Any  # what the objective remembers, () where nothing
  selector: Any  # what the selector remembers, () where nothing
  parked: Any = ()  # optimiser slots of tensors that do not train


class Aux(NamedTuple):
  """Results of a loss beside its value."""

  stats: Stats
  logits: jax.Array  # [B, C] of the current batch, before the update
  extras: dict[str, jax.Array]  # stored with the examples that are kept
  info: dict[str, jax.Array]  # scalars worth logging


class Traced(NamedTuple):
  """One update, as an objective may follow it; selected tensors only."""

  grads: Params  # of the loss, None where a tensor is not selected
  before: Params  # trained parameters ahead of the update
  after: Params  # and behind it


class Forward(Protocol):
  """The network as losses call it."""

  @property
  def network(self) -> Network:
    """The model."""

  @property
  def trained(self) -> tuple[str, ...]:
    """Units with a tensor that trains, input side first."""

  @property
  def normalisation(self) -> tuple[Array, Array]:
    """Mean and deviation that normalise raw inputs."""

  def __call__(
    self,
    params: Params,
    stats: Stats,
    x: Array,
    key: Key | None = None,
    taps: Sequence[str] = (),
    evaluate: bool = False,
    start: str | None = None,
  ) -> Output:
    """Normalises raw inputs and runs the network.

    Args:
      params: of every unit.
      stats: of every unit.
      x: [B, ...] raw inputs, uint8 or float32; with `start`, what that unit
        reads, as it is.
      key: [] random key, for networks with dropout or other noise.
      taps: outputs that are wanted, as of `Network.apply`.
      evaluate: whether all units run in evaluation mode; else those that train
        run in training mode.
      start: the unit that reads `x`, in networks that are chains.
    """


class LossInputs(NamedTuple):
  """The arrays that an objective reads, beside the network.

  A loss that builds on another one passes them on, with `_replace` where the
  other one is to see something else.
  """

  params: Params  # of every unit; the gradient is that of the selected tensors
  stats: Stats
  batch: Batch  # [B, ...] of the stream, augmented
  memory: tuple[Batch, ...]  # draws of the memory [R, ...], augmented
  scope: Scope
  state: Any  # what the objective remembers, () where nothing
  key: Key  # [] for the loss alone


# Returns the loss [] float32 and what else came of computing it.
Loss = Callable[[Forward, LossInputs], tuple[jax.Array, Aux]]


def _nothing(*_args: Any, **_kwargs: Any) -> tuple[()]:
  return ()


def _no_extras(_network: Any) -> dict[str, Array]:
  return {}


class Objective(NamedTuple):
  """The loss that a step minimises, with what it remembers between steps.

  `loss(forward, inputs)` returns `(scalar, Aux)`; `inputs`, a `LossInputs`,
  holds `num_draws` replayed batches. `reference`, of the same arguments, is a
  second loss whose gradient corrects the first one's through `project(grads,
  reference_grads, memory)`. `track(state, traced)` follows every update.

  `begin(state, params, stats, scope)` opens an experience; when it ends,
  `accumulate(forward, inputs)` sees each of its batches once more, without
  replayed ones, after which `finish(state, params, stats, scope)` closes it.
  Once the memory has taken the experience in, `review(forward, inputs)` sees
  the whole memory as its batch [M, ...]. `accumulate` and `review` run the
  network in evaluation mode. All four return the objective's state.

  `first_batch(forward, inputs)` sees a batch of an experience before its first
  update, and `last_batch(forward, inputs)` one after its last, both as updates
  would see them; they return the objective's state and the network's
  statistics.
  """

  loss: Loss
  num_draws: int = 0
  # network -> extras of one example that a memory has to store for this loss
  stores: Callable[["Network"], dict[str, Array]] = _no_extras
  init: Callable[..., Any] = _nothing  # (params, stats, *sizes(network))
  sizes: Callable[["Network"], tuple[Any, ...]] = _nothing
  reference: Loss | None = None
  project: Callable[[Params, Params, tuple[Batch, ...]], Params] | None = None
  track: Callable[[Any, Traced], Any] | None = None
  begin: Callable[[Any, Params, Stats, Scope], Any] | None = None
  accumulate: Callable[[Forward, LossInputs], Any] | None = None
  finish: Callable[[Any, Params, Stats, Scope], Any] | None = None
  review: Callable[[Forward, LossInputs], Any] | None = None
  first_batch: Callable[[Forward, LossInputs], tuple[Any, Stats]] | None = None
  last_batch: Callable[[Forward, LossInputs], tuple[Any, Stats]] | None = None
  least_rows: int = 0  # examples that a batch of the stream has to hold
  least_replayed: int = 0  # likewise a draw of the memory


class Replay(NamedTuple):
  """An episodic memory's rules, as pure functions: insert, draw.

  `when` says who calls `add`: "step" after each update with the batch just
  learned, "before" with the whole experience ahead of training, "after" with
  the whole experience behind it, "never" for none. A `rebuild(state, batch)`
  instead of `add` runs on the host at the end of an experience with all its
  examples and their features under `extras["features"]` [N, D].

  Of a memory on the host (`on_host`) the draws come with the batch: behind its
  B rows stand those of the first draw, of the second one and so on.
  """

  capacity: int | str  # M slots, or bytes such as "2MB"
  num_samples: int  # R examples per draw
  init: Callable[[Batch], ReplayState]  # from one example without batch axis
  add: Callable[[Key, ReplayState, Batch], ReplayState]
  sample: Callable[[Key, ReplayState, Scope], Batch]  # [R, ...]
  when: Literal["step", "before", "after", "never"] = "step"
  rebuild: Callable[[ReplayState, Batch], ReplayState] | None = None
  on_host: bool = False


class Probe(NamedTuple):
  """Copies for a selector to look at, so that nothing it does is felt."""

  params: Params
  batches: tuple[Batch, ...]  # drawn anew for every choice
  # (params, batch, key) -> gradient of the method's loss, every tensor's
  gradient: Callable[[Params, Batch, Key], Params]
  # (grads, params) -> params after the run's optimiser has made one update
  advance: Callable[[Params, Params], Params]
  learning_rate: float


class Selector(NamedTuple):
  """Scores tensors with the device's help, chooses among them on the host.

  `init(params)` makes its state, arrays only; `update(key, state, probe)`
  scores anew; `choose(state, network, times, budget)` returns a `Selection`,
  with `times` the profile that `profile` asks for (or None) and `budget` a
  share of a full step's time. All run outside `jax.jit`.

  `slots` says what becomes of the optimiser slots of a tensor that leaves:
  "drop" forgets them; "keep" parks them as they are, "decay" lets them fade
  while the tensor is away, and "reset" starts anew where it was away for more
  than one choice.
  """

  init: Callable[[Params], Any]
  update: Callable[[Key, Any, Probe | None], Any]
  choose: Callable[[Any, Network, Any, float], Selection]
  every: int = 0  # epochs between choices; 0: one per experience
  num_probes: int = 0  # batches of the probe; 0: `update` gets None for it
  profile: Literal["", "analytic", "timed", "calibrated"] = ""
  slots: Literal["drop", "keep", "decay", "reset"] = "drop"
  # Whether a choice trains at once, its compile being waited for.
  prompt: bool = False
  # Tensors that may ever be chosen, of a network; None: all. Probes give no
  # gradient of others but 0, so that they cost no more than a step would.
  candidates: Callable[[Network], Selection] | None = None


class Predictor(NamedTuple):
  """Reads class scores off a network.

  `fit(network_apply, params, stats, memory)` prepares what the scores need
  from the memory (a `Batch` [M, ...] or None); `scores(network_apply, params,
  stats, x, fitted)` returns [B, C]. `network_apply(params, stats, x, taps)`
  normalises its input and runs in evaluation mode. What `recalls(state)` picks
  from the objective's state, `fit` gets as further arguments. By its `name` a
  saved model finds it again, see `named.NAMED`.

  With `solve(*recalled) -> (fitted, operations)`, predictions are solved from
  what the objective keeps, on the host: it stands in place of `fit`, gets NumPy
  arrays, and is learning, filed as such.
  """

  fit: Callable[..., Any]
  scores: Callable[..., jax.Array]
  reads_memory: bool = False
  recalls: Callable[[Any], tuple[Any, ...]] = _nothing
  name: str = ""
  solve: Callable[..., tuple[Any, float]] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Cost(alike.Alike):
  """Work in seconds, joules, floating-point operations and bytes moved."""

  seconds: float = 0.0
  joules: float = 0.0
  flops: float = 0.0
  bytes: float = 0.0

  def __add__(self, other: "Cost") -> "Cost":
    return Cost(
      self.seconds + other.seconds,
      self.joules + other.joules,
      self.flops + other.flops,
      self.bytes + other.bytes,
    )

  def __sub__(self, other: "Cost") -> "Cost":
    return self + -1.0 * other

  def __rmul__(self, factor: float) -> "Cost":
    return Cost(
      factor * self.seconds,
      factor * self.joules,
      factor * self.flops,
      factor * self.bytes,
    )


UNLIMITED = Cost(*(float("inf"),) * 4)


@dataclasses.dataclass(frozen=True)
class Allocation:
  """Every "how much" of a run, one value each.

  A knob that a recipe does not have keeps its null value.
  """

  epochs: int  # training passes over an experience; 0 where nothing trains
  rho: float = 1.0  # time of a step that a selector may fill, over a full one's
  trunk: int = 0  # leading units that are frozen for good
  em: int = 0  # examples in memory, of the past
  sb: int = 0  # and of this experience: the stream buffer
  swap: float = 1.0  # share of replayed examples that is exchanged
  replay: float | None = None  # of a step's rows; None: the recipe's own share
  label: float = 0.0  # shares of device time; training has the rest
  serve: float = 0.0


@dataclasses.dataclass(frozen=True)
class Change:
  """One thing that a controller has just decided, for the report."""

  kind: str  # one word, such as "chosen" or "shrunk"
  reason: str  # one line
  # More of it, JSON-ready: candidates, and what was predicted.
  details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Decision:
  """A controller's decision, in force until its next one.

  A number in place of the allocation stands for so many epochs.
  """

  allocation: Allocation
  limit: Cost = UNLIMITED  # training stops where the first of them is reached
  reason: str = ""  # one line, shown in the report
  wait: bool = False  # training pauses until the next decision
  changes: tuple[Change, ...] = ()  # made by this decision

  def __post_init__(self) -> None:
    if not isinstance(self.allocation, Allocation):
      object.__setattr__(self, "allocation", Allocation(self.allocation))

  @property
  def epochs(self) -> int:
    """Passes over the training set of the experience."""
    return self.allocation.epochs

  def changed(self, *changes: Change, **knobs: Any) -> "Decision":
    """Returns the decision with other values of knobs, and why."""
    allocation = dataclasses.replace(self.allocation, **knobs)
    told = (*self.changes, *changes)
    return dataclasses.replace(self, allocation=allocation, changes=told)


class Held(NamedTuple):
  """A memory on the host, as a controller sees it; sizes are in examples."""

  room: float  # that memory and stream buffer may hold together now
  over: bool  # whether they hold more than is allowed now
  allowed: str  # what the host allows, to be read
  row_bytes: int  # of an example
  rows: int  # of the stream, in a step
  given: tuple[int, int]  # sizes of memory and stream buffer by the recipe
  classes: int  # seen, those of the experience included
  aside: int  # set aside as judges
  trained: int | None  # that the experience before was trained on, if any
  earlier: Callable[[], dict[int, int]]  # stored, by class: of the past
  fresh: Callable[[], dict[int, int]]  # and of this experience
  exchanges: Callable[[], tuple[int, int]]  # made, and too late, so far


Moment = Literal["experience", "dispatch", "epoch", "end", "phase"]


@dataclasses.dataclass(frozen=True)
class Observation:
  """The figures and functions that a controller decides by."""

  experience: int
  num_experiences: int
  num_examples: int
  spent: Cost  # since the start of the run, all accounts
  # A decision is due when an experience begins, ahead of a dispatch of updates
  # and behind it, when an epoch has ended, and when the experience has; where a
  # stream is served, when a phase begins.
  moment: Moment = "experience"
  epoch: int = 0  # epochs of the experience that are over
  decision: Decision | None = None  # in force
  used: Cost = Cost()  # by the experience's training
  held: Held | None = None  # where a memory is on the host
  # (sizes to try, share of their examples, epochs of training with them)
  # -> `control.sizes.Outcome`
  trial: Callable[..., Any] | None = None
  judge: Callable[[], Any] | None = None  # -> `control.verdict.Verdict`

  def after(self, decision: Decision) -> "Observation":
    """Returns what there is to look at with another decision in force."""
    return dataclasses.replace(self, decision=decision)


class Controller(NamedTuple):
  """Decides how much of everything. Host only, plain Python.

  `decide(state, seen)` is called at the moments named, and returns a decision
  and its next state, which is JSON-ready where runs are resumed.
  """

  init: Callable[[], Any]
  decide: Callable[[Any, Observation], tuple[Decision, Any]]
  moments: tuple[Moment, ...] = ("experience",)


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
  # Of a batch, as it enters running variances: "unbiased", n/(n-1) times as
  # much for n values of a channel, as PyTorch does; None as "biased".
  variance: Literal["biased", "unbiased"] | None = None

  def over(self, fallback: "Training") -> "Training":
    """Returns these values, with `fallback`'s where they are None."""
    mine = {k: v for k, v in vars(self).items() if v is not None}
    return dataclasses.replace(fallback, **mine)


# What a memory hierarchy may be asked for; see `Trials` and `Hierarchy`.
Policy = Literal[
  "utility",
  "accuracy",
  "energy",
  "log",
  "enough",
  "largest",
  "half",
  "random",
]
Judge = Literal["accuracy", "likelihood"]
Gate = Literal["random", "hard", "late"]
Keep = Literal["ring", "greedy", "herding", "reservoir"]
Remainder = Literal["spread", "drop"]


@dataclasses.dataclass(frozen=True)
class Trials:
  """Choice of a memory hierarchy's sizes by short trials during a run.

  Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
  with Miro", MobiCom 2023: several sizes are trained on a share of the data;
  of the `cutline` best by accuracy, the one most worth its energy is chosen.
  Each field is an option of the recipes that take such a record.
  """

  # By trials "utility" (accuracy over energy), "accuracy", "energy", "log" or
  # "enough", see `control.choice.choose`; without trials "largest", "half"
  # (equal sizes) or "random".
  policy: Policy = "utility"
  # Share of the sizes, best accuracy first, to choose among: it trades accuracy
  # for energy. For "enough", the share of the best one's gain that the cheapest
  # may miss.
  cutline: kinds.PositiveShare = 0.5
  share: kinds.PositiveShare = 0.05  # of the examples, in a trial
  # Passes of a trial over its share; the option is called `trial_epochs`.
  epochs: Annotated[kinds.Count, kinds.Called("trial_epochs")] = 5
  warmup: kinds.Natural = 10  # epochs on the new classes ahead of all trials
  # First experience with a choice, counted from 0; sizes are fixed before it.
  start: kinds.Count = 1
  # Stored examples of a class that are set aside to judge, at most a tenth.
  held_out: kinds.Count = 20
  # By the "accuracy" on these, or by the "likelihood": the geometric mean of
  # the probabilities of right answers, more exact where examples are few.
  judge: Judge = "accuracy"
  # Whether sizes that fall behind are dropped during trials; after an epoch or
  # two on a small share, they may fall behind by chance.
  halving: bool = False
  # Sizes to try in examples, such as ((500, 1000), (200, 500)), as text
  # "500x1000/200x500"; (): from the memory that the host allows.
  grid: kinds.Grid = ()
  most: kinds.Count = 14  # sizes to try, where the memory allowed makes them
  # Cost of trials, as a share of the cost of training the experience before, in
  # examples; trials that would cost more get a smaller `share`. 0: no bound.
  overhead: kinds.ShareBelowOne = 0.0
  # An experience has ten checks of the examples set aside; it ends after so
  # many checks without a better score. 0: all its epochs are made.
  patience: kinds.Natural = 0

  @property
  def tries(self) -> bool:
    """Whether sizes are tried, and not set by a rule alone."""
    return self.policy not in ("largest", "half", "random")


@dataclasses.dataclass(frozen=True)
class Hierarchy:
  """An episodic memory in RAM above a store of every example.

  Lee et al., "CarM: Hierarchical Episodic Memory for Continual Learning", DAC
  2022: examples that are replayed are exchanged for others of the store.
  """

  em: int | str  # size of the episodic memory, in examples or bytes
  sb: int | str  # of the stream buffer: examples of the present experience
  swap: float = 1.0  # share of replayed examples that is exchanged
  # Which leave: any, or the easy ones; "late": those after half the epochs.
  gate: Gate = "random"
  balanced: bool = False  # the same share of every class leaves
  keep: Keep = "ring"
  remainder: Remainder = "spread"
  # What an epoch goes through: both sizes, one of them (the other is drawn
  # from by the objective, or not at all), or all that is stored.
  trains: Literal["both", "memory", "stream", "store"] = "both"
  trials: Trials | None = None  # None: sizes stay as given


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
  """A random unit ahead of the head that never trains."""

  width: int  # M, its outputs
  # ReLU of random directions, or Fourier features of a Gaussian kernel.
  kind: Literal["relu", "fourier"] = "relu"
  # Width of the kernel exp(-gamma |x - y|^2); None: from the variance of what
  # the unit reads of the first batch.
  gamma: float | None = None
  trunk: bool = True  # False: it reads inputs, and all other units are left out


@dataclasses.dataclass(frozen=True)
class Removal:
  """Schedule by which examples that are never forgotten stop being shown."""

  share: float = 0.3  # of an experience's examples, in all
  every: int = 5  # epochs
  until: int = 20  # last epoch ahead of which some leave


class Method(NamedTuple):
  """A way to learn a stream, of parts that know nothing of each other.

  `trains_on` names the training set of an experience: its own examples
  ("current"), those of all experiences so far ("seen"), or what the memory
  holds ("memory"). `restart` draws new parameters for every experience.
  `prune(network, params)` marks channels that are taken out of the network
  before it learns (masks by group of `networks.channels`); `sparsity(network,
  params, updates, epochs)` is told the updates of an epoch and the epochs of
  the first experience. `params` are what the run begins with. `columns` is for
  networks with a column per experience, see `networks.progressive`. `trunk`
  says which units never train: their number, their share of all, or the name of
  the first one that does. `training` goes ahead of what the run says,
  `defaults` behind it. `convolutional` asks for a network that convolves, and
  `expand` puts a random unit ahead of the head.
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


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Labelled examples on the host, one source as its publisher split it.

  `x` is anything with `shape`, `dtype` and NumPy's indexing by an integer
  array (an array, a memory map, a reader that decodes on demand).
  """

  name: str
  x: Any  # [N, ...] uint8 or float32
  y: np.ndarray  # [N] int32 in [0, num_classes)
  class_names: tuple[str, ...]  # [C]
  scale: float = 255.0  # raw value that stands for one (uint8 only)
  group: np.ndarray | None = None  # [N] int32 domain: subject, device, month
  # Of groups numbered from 0; () where their numbers say all.
  group_names: tuple[str, ...] = ()
  # What reading left out or converted, a line each, for the user to see.
  notes: tuple[str, ...] = ()

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  def __len__(self) -> int:
    return len(self.y)


@dataclasses.dataclass(frozen=True)
class Experience:
  """A part of a stream: examples that arrive together."""

  index: int
  classes: tuple[int, ...]  # those that occur in it, sorted
  data: Dataset
  source_index: np.ndarray  # [N] int32 positions in the source's training set
  name: str = ""  # of its group or data set, where it is one


@dataclasses.dataclass(frozen=True, eq=False)
class Choice(alike.Alike):
  """One choice of what trains."""

  step: int  # updates made before it
  epoch: int  # of its experience
  trainable: tuple[bool, ...]  # [W] in the order of `Network.tensors`
  share: float  # of a full step's time by the profile, NaN without one
  adopted: int  # step from which it trains
  seconds: float = float("nan")  # of a step by the profile, NaN without one


@dataclasses.dataclass(frozen=True, eq=False)
class Record(alike.Alike):
  """Work, cost and results of one experience: plain Python throughout."""

  experience: int
  classes: tuple[int, ...]
  decision: Decision
  trained: tuple[int, int]  # tensors selected, tensors in all
  parameters: tuple[int, int]  # parameters selected, parameters in all
  steps: int  # updates made in it
  examples: int  # stream examples shown, repeats counted
  loss: float  # mean over the experience's updates
  online_accuracy: float  # of each batch before learning it, first epoch
  accuracy: tuple[float, ...]  # [T] class-incremental, per test set
  accuracy_task: tuple[float, ...]  # [T] task-incremental: true task is told
  accuracy_class: tuple[float, ...]  # [C], NaN where no test example
  memory: dict[str, Any]  # examples, bytes, and examples per class
  costs: dict[str, Cost]  # by account, this experience only
  peak_bytes: int  # of this process so far
  choices: tuple[Choice, ...] = ()  # of what trained in it, in order
  class_names: tuple[str, ...] = ()  # of `classes`, in their order
  name: str = ""  # of the experience, where its group or data set has one
  # Operations of its last step, dense and without products with zeros; () where
  # no weights are held at zero while others move.
  effective_flops: tuple[float, ...] = ()
