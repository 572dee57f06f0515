"""What exchanging examples with storage adds to the time of a step.

Question: does training wait for the disk when every replayed example is
exchanged, on a disk that is free and on one that is slow?

  python experiments/swap_overhead.py
  python experiments/swap_overhead.py --model=mlp:width=100 --side=8 --quick

The same run is made without exchanges, once more without (what two equal runs
differ by), with all replayed examples exchanged, and with that on storage that
gives `--slow` bytes a second. Their updates take turns, in an order that varies
from round to round; a line has the median, the median of the differences to the
first run within each round, and what became of the exchanges.

Inputs are noise: nothing here says anything about accuracy.
"""

import contextlib
import time
from typing import Any

from absl import app, flags, logging
import numpy as np
import pandas as pd

from jcl import base, recipes
from jcl.replay.tiers import feed as tier_feed
from jcl.run import loop, session
from jcl.run import setup as setups
from jcl.streams import scenarios, sources

_MODEL = flags.DEFINE_string("model", "slim_resnet18:filters=20", "network")
_SIDE = flags.DEFINE_integer("side", 32, "pixels of an image's side")
_BATCH = flags.DEFINE_integer("batch_size", 32, "examples per update")
_EM = flags.DEFINE_integer("em", 1000, "examples in the episodic memory")
_SB = flags.DEFINE_integer("sb", 1000, "examples in the stream buffer")
_STORED = flags.DEFINE_integer("stored", 4000, "examples of an experience")
_ROUNDS = flags.DEFINE_integer("rounds", 150, "timed dispatches of each run")
_SLOW = flags.DEFINE_float("slow", 1e6, "bytes a second of slow storage")
_QUICK = flags.DEFINE_bool("quick", False, "a few steps of each")


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  rounds = 5 if _QUICK.value else _ROUNDS.value
  with contextlib.ExitStack() as stack:
    runs = {
      "off": _Run(stack, 0.0),
      "off again": _Run(stack, 0.0),
      "all": _Run(stack, 1.0),
      "all, slow": _Run(stack, 1.0, slow=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    generator = np.random.default_rng(0)
    for i in range(rounds + 3):
      for name in generator.permutation(list(runs)):
        seconds = runs[name].dispatch()
        if i >= 3:
          taken[name].append(seconds)
    lines = [_line(name, taken, run) for name, run in runs.items()]
  print(pd.DataFrame(lines).to_string(index=False, float_format="%.2f"))


def _line(name: str, taken, run: "_Run") -> dict[str, Any]:
  mine, first = np.array(taken[name]), np.array(taken["off"])
  counts = tier_feed.tiers_of(run.job.feed).reader.counts
  added = np.median(mine - first) / np.median(first)
  return {
    "exchanges": name,
    "median ms": 1e3 * np.median(mine),
    "added %": 100 * added,
    "10th ms": 1e3 * np.quantile(mine, 0.1),
    "90th ms": 1e3 * np.quantile(mine, 0.9),
    "requested": counts.requested,
    "applied": counts.applied,
    "dropped": counts.dropped,
  }


class _Run:
  """A run in its second experience, taken on by one dispatch at a time."""

  def __init__(
    self, stack: contextlib.ExitStack, swap: float, slow: bool = False
  ):
    job = _setting(swap)
    self.job = stack.enter_context(session.fed(job))
    reader = tier_feed.tiers_of(self.job.feed).reader
    if slow:
      read = reader.read

      def slowly(ids: np.ndarray) -> np.ndarray:
        rows = read(ids)
        time.sleep(rows.nbytes / _SLOW.value)
        return rows

      reader.read = slowly
    state, place = loop.start(self.job)
    self._events = loop.run(self.job, state, place)
    for event in self._events:
      if event.kind == "begin" and place.experience == 1:
        break

  def dispatch(self) -> float:
    """Returns the seconds of a dispatch."""
    start = time.perf_counter()
    event = next(self._events)
    assert event.kind == "steps", event.kind
    return time.perf_counter() - start


def _setting(swap: float) -> loop.Job:
  shape = (_SIDE.value, _SIDE.value, 3)
  generator = np.random.default_rng(0)
  x = generator.integers(0, 256, (2 * _STORED.value, *shape), np.uint8)
  y = np.arange(len(x)) % 10
  stream = scenarios.class_incremental(
    sources.arrays(x, y, x[:10], y[:10]), tasks=2
  )
  training = base.Training(
    batch_size=_BATCH.value, epochs=1, learning_rate=1e-3
  )
  # One epoch of little before what is timed, and no end of it afterwards.
  return setups.assemble(
    setups.Setup(model=_MODEL.value, training=training),
    recipes.carm(em=_EM.value, sb=_SB.value, swap=swap),
    stream=stream,
    control=base.Controller(
      init=tuple,
      decide=lambda state, seen: (
        base.Decision(base.Allocation(10_000 if seen.experience else 1)),
        state,
      ),
    ),
  )


if __name__ == "__main__":
  app.run(main)
