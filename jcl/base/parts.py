"""A method's parts beside its objective: memory, selector, predictor."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax

from jcl.base.arrays import Array, Batch, Key, Params, ReplayState, Scope
from jcl.base.network import Network, Selection
from jcl.base.objective import Forward, LossInputs, Traced, nothing


class Replay(NamedTuple):
  """An episodic memory's rules, as pure functions: insert, draw.

  `when` says who calls `add`: "step" after each update with the batch just
  learned, "before" with the whole experience ahead of training, "after" with
  the whole experience behind it, "never" for none. A `rebuild(state, batch)`
  instead of `add` runs on the host at the end of an experience with all its
  examples and their features under `extras["features"]` [N, D].

  `update(state, drawn, logits, scope)` is told, ahead of `add`, what an update
  found of each batch that it replayed, by objectives that report it.

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
  update: (
    Callable[[ReplayState, Batch, jax.Array, Scope], ReplayState] | None
  ) = None


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


class Consolidation(NamedTuple):
  """Parameters that come from elsewhere than updates; all None: none do.

  Ahead of the updates of an experience, `settle(forward, inputs)` sees each of
  its batches once, without replayed ones and in evaluation mode, and returns
  the objective's state. Then `write(network, state, params)` returns state and
  parameters anew, and the operations that it took; it runs on the host, outside
  `jax.jit`.

  `begins(network)` is the position of the first unit whose tensors may ever
  train: all ahead of it has to stay as it is. `held(ids)` says which examples
  [B] are set aside, one at least in every experience; the memory is offered
  them while `settle` sees their batch. `kept(state)` picks the
  arrays that count as memory, and `told(state)` returns figures for the record
  of an experience. `price(state)` tells from shapes alone how many operations
  `write` takes at most.
  """

  settle: Callable[[Forward, LossInputs], Any] | None = None
  write: Callable[[Network, Any, Params], tuple[Any, Params, float]] | None = (
    None
  )
  begins: Callable[[Network], int] | None = None
  held: Callable[[Array], jax.Array] | None = None
  kept: Callable[[Any], Any] | None = None
  told: Callable[[Any], dict[str, float]] | None = None
  price: Callable[[Any], float] | None = None
  # Examples that `settle` sees at once, 0 for a batch of the stream's: for what
  # takes as long for a few as for many, such as drawing a random matrix.
  rows: int = 0


class Rewrite(NamedTuple):
  """Weights that are written anew between updates, at places of an experience.

  Its updates are cut into `visits` equal parts. Behind each, where
  `stage(experience, number)` is not "", `visit(stage, network, state, tensors,
  scope)` returns the state and the tensors anew: a dict by path, such as
  "head/kernel", of those that the method may train. `track(state, traced)`
  follows every update, and `begin(state, tensors)` opens an experience. All of
  them are pure; `number` counts the parts from 0.
  """

  visits: int
  stage: Callable[[int, int], str]
  visit: Callable[
    [str, Network, Any, dict[str, Any], Scope], tuple[Any, dict[str, Any]]
  ]
  init: Callable[[dict[str, Any]], Any] = nothing  # of the same tensors
  begin: Callable[[Any, dict[str, Any]], Any] | None = None
  track: Callable[[Any, Traced], Any] | None = None
  # Whether a pass over the training set behind the last of an experience's
  # places sets the running statistics of what trains.
  settles: bool = False


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
  arrays, and is learning, filed as such. `price(*recalled)` tells from shapes
  alone how many operations that takes at most.
  """

  fit: Callable[..., Any]
  scores: Callable[..., jax.Array]
  reads_memory: bool = False
  recalls: Callable[[Any], tuple[Any, ...]] = nothing
  name: str = ""
  solve: Callable[..., tuple[Any, float]] | None = None
  price: Callable[..., float] | None = None
