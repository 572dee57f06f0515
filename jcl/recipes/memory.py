"""Replay over memory and storage: as methods, and below any other method.

Each of these is a recipe by itself, which trains on the memory and the new
examples together, and a place for another recipe's memory:
"derpp:minibatch=32+carm:em=500,sb=1000".
"""

import typing
from typing import Any, Literal

from jcl import base, spec
from jcl.objectives import supervised
from jcl.recipes import bounds
from jcl.replay import nothing

Loss = Literal["softmax", "sigmoid"]


def carm(
  *,
  em: int | str = 500,
  sb: int | str = 1000,
  swap: float = 1.0,
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
  em: int | str = 500,
  sb: int | str = 1000,
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
  em: int | str = 500,
  sb: int | str = 1000,
  swap: float = 1.0,
  gate: base.Gate = "random",
  policy: base.Policy = "utility",
  cutline: float = 0.5,
  share: float = 0.05,
  trial_epochs: int = 5,
  warmup: int = 10,
  start: int = 1,
  held_out: int = 20,
  judge: base.Judge = "accuracy",
  halving: bool = False,
  grid: str = "",
  most: int = 14,
  overhead: float = 0.0,
  patience: int = 0,
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
  for name, value, least in (
    ("trial_epochs", trial_epochs, 1),
    ("warmup", warmup, 0),
    ("start", start, 1),
    ("held_out", held_out, 1),
    ("most", most, 1),
    ("patience", patience, 0),
  ):
    if value < least:
      raise ValueError(f"{name}={value}: give {least} or more")
  for name, part in (("cutline", cutline), ("share", share)):
    if not 0 < part <= 1:
      raise ValueError(f"{name}={part}: give a share, above 0 and at most 1")
  if not 0 <= overhead < 1:
    raise ValueError(f"overhead={overhead}: give a share such as 0.05, or 0")
  _check("policy", policy, base.Policy)
  _check("judge", judge, base.Judge)
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
  em: int | str = 500,
  sb: int | str = 1000,
  swap: float = 1.0,
  cutline: float = 0.05,
  share: float = 0.3,
  trial_epochs: int = 4,
  warmup: int = 4,
  held_out: int = 20,
  judge: base.Judge = "likelihood",
  most: int = 6,
  overhead: float = 0.05,
  patience: int = 3,
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
  if method.gather == "seen":
    raise ValueError(
      "this method trains on everything seen and needs no memory hierarchy: "
      "leave that part out, or write storage_only"
    )
  changes: dict[str, object] = {}
  if method.gather == "memory":
    changes = {"trains": "memory", "keep": "greedy"}
  elif method.objective.num_draws:
    changes = {"trains": "stream"}
  if method.replay.rebuild is not None:
    changes["keep"] = "herding"
  if hierarchy.trains == "store":
    raise ValueError(
      "storage_only has no memory that another method could draw from: write "
      "carm"
    )
  if hierarchy.gate != "random" and changes.get("trains") == "stream":
    raise ValueError(
      f"gate={hierarchy.gate!r} goes by the predictions for replayed examples, "
      "which this method does not report: write gate=random"
    )
  draws = bool(method.objective.num_draws)
  replay = nothing.none()._replace(
    num_samples=method.replay.num_samples if draws else 0, fed=draws
  )
  return method._replace(
    replay=replay,
    gather="current",
    hierarchy=base.Hierarchy(**{**vars(hierarchy), **changes}),
  )


def _method(hierarchy: base.Hierarchy, loss: str) -> base.Method:
  if not 0 <= hierarchy.swap <= 1:
    raise ValueError(f"swap={hierarchy.swap}: give a share from 0 to 1")
  for name, size in (("em", hierarchy.em), ("sb", hierarchy.sb)):
    least = int(name == "em" and hierarchy.trains != "store")
    found = size if isinstance(size, int) else spec.parse_size(size)
    if found < least:
      raise ValueError(
        f"{name}={size}: give {least} or more examples, or bytes such as 2MB"
      )
  _check("gate", hierarchy.gate, base.Gate)
  _check("keep", hierarchy.keep, base.Keep)
  _check("remainder", hierarchy.remainder, base.Remainder)
  losses = {
    "softmax": supervised.cross_entropy,
    "sigmoid": supervised.binary_cross_entropy,
  }
  if loss not in losses:
    raise ValueError(f"loss={loss!r}: choose from {', '.join(losses)}")
  return bounds.finetune()._replace(
    objective=losses[loss](), hierarchy=hierarchy
  )


def _check(name: str, value: str, kind: Any) -> None:
  choices = typing.get_args(kind)
  if value not in choices:
    raise ValueError(f"{name}={value!r}: choose from {', '.join(choices)}")


def _grid(text: str) -> tuple[tuple[int, int], ...]:
  try:
    pairs = [part.split("x") for part in text.split("/") if part]
    sizes = tuple((int(em), int(sb)) for em, sb in pairs)
    if any(min(pair) < 0 for pair in sizes):
      raise ValueError
    return sizes
  except ValueError:
    raise ValueError(
      f"grid={text!r}: write sizes as memory x stream buffer, such as "
      "500x1000/200x500"
    ) from None
