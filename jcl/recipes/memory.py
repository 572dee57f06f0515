"""Replay over memory and storage: as methods, and below any other method.

Each of these is a recipe by itself, which trains on the memory and the new
examples together, and a place for another recipe's memory:
"derpp:minibatch=32+carm:em=500,sb=1000".
"""

from typing import Literal

from jcl import base
from jcl.errors import UsageError
from jcl.objectives import supervised
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import nothing

Loss = Literal["softmax", "sigmoid"]


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
  """Replays from a small memory whose examples are exchanged on the way.

  Lee et al., "CarM: Hierarchical Episodic Memory for Continual Learning", DAC
  2022: every example is stored, a few are in memory, and those just replayed
  make room for others of their class, read beside the training.

  Semantics: an epoch is one shuffled pass over the memory and the stream
  buffer; when an experience ends, the memory takes its share of the buffer.

  Args:
    em: episodic memory in examples, or in bytes such as "2MB".
    sb: stream buffer, the new examples that are trained on, likewise.
    swap: share of replayed examples that is exchanged, 0 to 1.
    gate: which leave: "random" ones; the easy ones, so that "hard" ones stay;
      "late" for the latter in the second half of the epochs only.
    balanced: whether the same share of every class leaves.
    keep: which examples of a class the memory takes: the latest ("ring"), any
      ("greedy"), the herded ones ("herding"), or a uniform sample of everything
      ("reservoir").
    remainder: seats that a division among classes leaves over are "spread" or
      "drop"ped, as in the paper's program.
    loss: "softmax" cross-entropy, or "sigmoid", one of each output.
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

  What leaves the memory is not trained on again. Arguments as in `carm`.
  """
  return carm(em=em, sb=sb, swap=0.0, keep=keep, loss=loss)


def storage_only(*, loss: Loss = "softmax") -> base.Method:
  """Trains on everything stored, read batch by batch while training waits.

  The other extreme of a memory hierarchy: no example in memory, and all of
  them in every epoch.
  """
  return _method(base.Hierarchy(0, 0, 0.0, trains="store"), loss)


def miro(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  swap: kinds.Share = 1.0,
  gate: base.Gate = "random",
  policy: base.Policy = "utility",
  cutline: kinds.PositiveShare = 0.5,
  share: kinds.PositiveShare = 0.05,
  trial_epochs: kinds.Count = 5,
  warmup: kinds.Natural = 10,
  start: kinds.Count = 1,
  held_out: kinds.Count = 20,
  judge: base.Judge = "accuracy",
  halving: bool = False,
  grid: str = "",
  most: kinds.Count = 14,
  overhead: kinds.ShareBelowOne = 0.0,
  patience: kinds.Natural = 0,
  loss: Loss = "softmax",
) -> base.Method:
  """Chooses the sizes of memory and stream buffer by short trials.

  Ma et al., "Cost-effective On-device Continual Learning over Memory Hierarchy
  with Miro", MobiCom 2023. Exchanges as in `carm`; at the beginning of an
  experience candidates are trained for a few epochs on a share of the data, and
  of the most accurate ones that worth most accuracy for its energy is taken.
  Sizes follow the memory that is allowed, at any time.

  Args:
    em: episodic memory until the first choice, as in `carm`.
    sb: stream buffer until then.
    swap: as in `carm`.
    gate: as in `carm`.
    policy: "utility" (accuracy over energy), "accuracy", "energy", "log" or
      "enough" by trials, see `control.choice.choose`; "largest", "half" (both
      the same) or "random" without.
    cutline: share of the candidates, best accuracy first, to choose among: what
      trades accuracy for energy. For "enough", the share of the best one's gain
      that the cheapest may miss.
    share: of the examples that a trial trains on.
    trial_epochs: epochs of a trial.
    warmup: epochs that all trials begin with.
    start: first experience with a choice, counted from 0.
    held_out: examples of a class that are set aside to judge, at most a tenth.
    judge: by the "accuracy" on these, or by the "likelihood": the geometric
      mean of the probabilities of right answers, which a few examples tell
      better.
    halving: whether candidates that fall behind are dropped on the way; after
      an epoch or two of a small share, that is by chance.
    grid: candidates such as "500x1000/200x500"; "": from the memory allowed.
    most: how many candidates that gives, at most.
    overhead: what trials may take of what the experience before was trained
      with; they get a smaller `share` where they would take more. 0: any.
    patience: ends an experience after so many looks, of ten in its epochs, that
      found the examples set aside no better judged; 0: all epochs are made.
    loss: as in `carm`.
  """
  plan = base.Plan(
    policy,
    cutline,
    share,
    trial_epochs,
    warmup,
    start,
    held_out,
    judge,
    halving,
    _grid(grid),
    most,
    overhead,
    patience,
  )
  return _method(base.Hierarchy(em, sb, swap, gate, plan=plan), loss)


def frugal(
  *,
  em: kinds.Size = 500,
  sb: kinds.SizeOrNone = 1000,
  swap: kinds.Share = 1.0,
  cutline: kinds.PositiveShare = 0.05,
  share: kinds.PositiveShare = 0.3,
  trial_epochs: kinds.Count = 4,
  warmup: kinds.Natural = 4,
  held_out: kinds.Count = 20,
  judge: base.Judge = "likelihood",
  most: kinds.Count = 6,
  overhead: kinds.ShareBelowOne = 0.05,
  patience: kinds.Natural = 3,
  loss: Loss = "softmax",
) -> base.Method:
  """Chooses sizes as `miro` does, but pays for no more than brings something.

  Departures from the paper: of the sizes that gain nearly as much in trials as
  the best ones the cheapest are taken, where accuracy over energy would take
  ever smaller ones; where no trial gains more than may be chance, or trials
  would take too much, sizes stay; and an experience ends when examples that are
  set aside are judged no better any more.

  Args:
    em: episodic memory until the first choice, as in `carm`.
    sb: stream buffer until then.
    swap: as in `carm`.
    cutline: share of the best sizes' gain that cheaper ones may miss.
    share: of the examples that a trial trains on, at most.
    trial_epochs: epochs of a trial.
    warmup: epochs that all trials begin with.
    held_out: examples of a class that are set aside to judge, at most a tenth.
    judge: as in `miro`; "accuracy" where hundreds judge.
    most: how many sizes to try.
    overhead: what trials may take of what the experience before took.
    patience: looks, of ten in the epochs of an experience, that may bring
      nothing better before it ends; 0: all epochs are made.
    loss: as in `carm`.
  """
  return miro(
    em=em,
    sb=sb,
    swap=swap,
    policy="enough",
    cutline=cutline,
    share=share,
    trial_epochs=trial_epochs,
    warmup=warmup,
    held_out=held_out,
    judge=judge,
    most=most,
    overhead=overhead,
    patience=patience,
    loss=loss,
  )


def over(method: base.Method, tiers: base.Method) -> base.Method:
  """Puts a method's memory on the hierarchy of another one.

  A method that draws from its memory draws from the hierarchy's, on the host;
  one that keeps the best examples of a class, or a balanced set of them, has
  that kept; and one that has no memory trains on both parts together.

  Raises:
    ValueError: where the method has no use for a memory of examples.
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


def _grid(text: str) -> tuple[tuple[int, int], ...]:
  try:
    pairs = [part.split("x") for part in text.split("/") if part]
    sizes = tuple((int(em), int(sb)) for em, sb in pairs)
    if any(min(pair) < 0 for pair in sizes):
      raise ValueError
    return sizes
  except ValueError:
    raise UsageError(
      f"grid={kinds.shown(text)}: write sizes as memory x stream buffer, such "
      "as 500x1000/200x500"
    ) from None
