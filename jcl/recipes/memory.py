"""Replay over memory and storage: recipes, and memories of other recipes.

Each of these is a recipe by itself, which trains on the memory and the new
examples together, and can hold the memory of another recipe:
"derpp:minibatch=32+carm:em=500,sb=1000".
"""

from typing import Literal

from jcl import base
from jcl.objectives import supervised
from jcl.options import kinds
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.replay import nothing

Loss = Literal["softmax", "sigmoid"]

_TRIALS = base.Trials()
_FRUGAL = base.Trials(
  policy="enough",
  cutline=0.05,
  share=0.3,
  epochs=4,
  warmup=4,
  judge="likelihood",
  most=6,
  overhead=0.05,
  patience=3,
)


def carm(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  swap: kinds.Share = 1.0,
  gate: base.Gate = "random",
  balanced: bool = False,
  keep: base.Keep = "ring",
  remainder: base.Remainder = "spread",
  loss: Loss = "softmax",
) -> base.Method:
  """Replays from a small memory whose examples are exchanged with storage.

  Lee et al., "CarM: Hierarchical Episodic Memory for Continual Learning", DAC
  2022, https://arxiv.org/abs/2110.07276: every example is stored, a few are in
  memory, and replayed ones are replaced by others of their class, which are
  read during the training.

  Semantics: an epoch is one shuffled pass over the memory and the stream
  buffer; when an experience ends, the memory takes its share of the buffer.

  Args:
    em: episodic memory in examples, or in bytes such as "2MB".
    sb: stream buffer, the new examples that are trained on, likewise.
    swap: share of replayed examples that is exchanged, 0 to 1.
    gate: which examples leave: "random" ones; easy ones, so that "hard" ones
      stay; "late": easy ones in the second half of the epochs only.
    balanced: whether the same share of every class leaves.
    keep: which examples of a class the memory takes: the latest ("ring"), any
      ("greedy"), the herded ones ("herding"), or a uniform sample of everything
      ("reservoir").
    remainder: places left over by the division among classes: "spread" over
      classes or, as in the paper's program, "drop"ped.
    loss: "softmax" cross-entropy, or "sigmoid", one for each output.
  """
  return _method(
    base.Hierarchy(em, sb, swap, gate, balanced, keep, remainder), loss
  )


def ram_only(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  keep: base.Keep = "ring",
  loss: Loss = "softmax",
) -> base.Method:
  """Replays from memory alone: `carm` without exchanges.

  Examples that leave the memory are not trained on again. Arguments as in
  `carm`.
  """
  return carm(em=em, sb=sb, swap=0.0, keep=keep, loss=loss)


def storage_only(*, loss: Loss = "softmax") -> base.Method:
  """Trains on everything stored, read batch by batch while training waits.

  It is the other extreme of a memory hierarchy: no example is in memory, and
  every epoch has all of them.
  """
  return _method(base.Hierarchy(0, 0, 0.0, trains="store"), loss)


def miro(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  swap: kinds.Share = 1.0,
  gate: base.Gate = "random",
  trials: base.Trials = _TRIALS,
  loss: Loss = "softmax",
) -> base.Method:
  """Chooses the sizes of memory and stream buffer by short trials.

  Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
  with Miro", MobiCom 2023, https://arxiv.org/abs/2308.06053. Exchanges as in
  `carm`. At the beginning of an experience, candidate sizes are trained for a
  few epochs on a share of the data; among the most accurate ones, the candidate
  with most accuracy for its energy is chosen. Sizes shrink and grow with the
  memory that the host allows, at any time.

  The fields of `jcl.base.Trials` are options of the recipe as text, its
  `epochs` by the name of `trial_epochs`: `miro:share=0.1,trial_epochs=3`.

  Args:
    em: episodic memory until the first choice, as in `carm`.
    sb: stream buffer until then.
    swap: as in `carm`.
    gate: as in `carm`.
    trials: how sizes are chosen: `policy`, `cutline`, `share`, `epochs`,
      `warmup`, `start`, `held_out`, `judge`, `halving`, `grid`, `most`,
      `overhead` and `patience`.
    loss: as in `carm`.
  """
  return _method(base.Hierarchy(em, sb, swap, gate, trials=trials), loss)


def frugal(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  swap: kinds.Share = 1.0,
  trials: base.Trials = _FRUGAL,
  loss: Loss = "softmax",
) -> base.Method:
  """Chooses sizes as `miro` does, but no larger than they bring a gain.

  Departures from the paper: among the sizes that gain nearly as much in trials
  as the best ones, the cheapest are chosen, where accuracy over energy would
  choose ever smaller ones; if no trial gains more than chance explains, or
  trials would cost too much, sizes stay; and an experience ends when the score
  of examples set aside no longer rises.

  Args:
    em: episodic memory until the first choice, as in `carm`.
    sb: stream buffer until then.
    swap: as in `carm`.
    trials: as in `miro`, with other values: the policy is "enough", and
      `share` is the most that an `overhead` of 5 % leaves.
    loss: as in `carm`.
  """
  return miro(em=em, sb=sb, swap=swap, trials=trials, loss=loss)


def over(method: base.Method, tiers: base.Method) -> base.Method:
  """Gives a method the memory hierarchy of another method.

  A method that draws from its memory draws from the hierarchy's memory, on the
  host. If it keeps herded or balanced examples, the hierarchy keeps those. A
  method without a memory trains on memory and stream buffer together.

  Raises:
    ValueError: for a method that cannot use a memory of examples.
  """
  hierarchy = tiers.hierarchy
  assert hierarchy is not None
  if method.trains_on == "seen":
    raise UsageError(
      "this method trains on everything seen and needs no memory hierarchy: "
      "leave that part out, or write storage_only"
    )
  changes: dict[str, object] = {}
  if method.trains_on == "memory":
    changes = {"trains": "memory", "keep": "greedy"}
  elif method.objective.num_draws:
    changes = {"trains": "stream"}
  if method.replay.rebuild is not None:
    changes["keep"] = "herding"
  if hierarchy.trains == "store":
    raise UsageError(
      "storage_only has no memory that another method could draw from: write "
      "carm"
    )
  if hierarchy.gate != "random" and changes.get("trains") == "stream":
    raise UsageError(
      f"gate={hierarchy.gate!r} goes by the predictions for replayed examples, "
      "which this method does not report: write gate=random"
    )
  draws = bool(method.objective.num_draws)
  replay = nothing.none()._replace(
    num_samples=method.replay.num_samples if draws else 0, on_host=draws
  )
  return method._replace(
    replay=replay,
    trains_on="current",
    hierarchy=base.Hierarchy(**{**vars(hierarchy), **changes}),
  )


def _method(hierarchy: base.Hierarchy, loss: str) -> base.Method:
  losses = {
    "softmax": supervised.cross_entropy,
    "sigmoid": supervised.binary_cross_entropy,
  }
  return bounds.finetune()._replace(
    objective=losses[loss](), hierarchy=hierarchy
  )
