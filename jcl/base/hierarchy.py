"""Settings of a memory in RAM above a store that holds every example."""

import dataclasses
from typing import Annotated, Literal

from jcl.options import bounds, kinds

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
  epochs: Annotated[kinds.Count, bounds.Called("trial_epochs")] = 5
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
