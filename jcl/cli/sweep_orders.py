"""Messages between a sweep and the processes that carry out its runs."""

from collections.abc import Mapping
from typing import NamedTuple


class Shared(NamedTuple):
  """Settings that all runs of a sweep share.

  Attributes:
    values: of the flags, by name.
    folder: of the sweep.
    started: when, as of `time.time`.
  """

  values: Mapping[str, object]
  folder: str
  started: float


class Check(NamedTuple):
  """Asks whether flags fit each other and the data.

  Attributes:
    arms: values of the flags that differ, by name, for every combination.
  """

  arms: tuple[Mapping[str, object], ...]


class Checked(NamedTuple):
  """Answer to a `Check` of flags that fit.

  Attributes:
    content: digest of the data.
    platform: that computes, such as "cpu".
    told: lines for the user.
  """

  content: str
  platform: str
  told: str


class Order(NamedTuple):
  """Asks for a run.

  Attributes:
    varied: values of the flags in which it differs, by name.
    text: its recipe.
    seed: of it.
    place: its folder.
    resume: go on from what the folder holds.
  """

  varied: Mapping[str, object]
  text: str
  seed: int
  place: str
  resume: bool
