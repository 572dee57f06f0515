"""Forgetting that is mended by rounds on a memory, which tune a few tensors."""

from jcl import base
from jcl.objectives import logit_replay
from jcl.options import kinds
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.recipes.er import er
from jcl.replay import reservoir
from jcl.selection import fixed


def k_fpf(
  *,
  k: kinds.Natural = 10,
  updates: kinds.Count = 30,
  every: kinds.Natural = 0,
  buffer: kinds.Size = 500,
  minibatch: kinds.Count = 32,
  first: bool = False,
  logits: kinds.NonNegative = 0.0,
) -> base.Method:
  """Learns the stream without replay, but for a few rounds on a memory.

  Zhao et al., "Does Continual Learning Equally Forget All Parameters?", ICML
  2023, https://arxiv.org/abs/2304.04158 (k-FPF; with `logits`, k-FPF-KD): a
  few modules forget most, and finetuning these alone on a buffer, k times in a
  stream, does as well as replay in every update.

  Semantics: updates see the stream's batch alone and offer it to a reservoir.
  Round j of k comes where the share j / k of the stream is learned, whatever
  the experiences; it trains normalisers, biases and head on draws of the
  memory, whose statistics these normalisers follow, by an optimiser that begins
  anew, with a rate that falls along half a wave. Nothing trains that the run
  would not. An update of a round forms few gradients of weights, but all of
  inputs: two thirds of the operations of an update of everything, and no less
  memory. Limits of operations leave room for the rounds.

  Departures from the paper: no program is published, and all numbers are this
  project's; which modules are tuned is fixed, where the paper ranks them by how
  much they change; and stored logits are those of the update that stored an
  example.

  Args:
    k: rounds in the whole stream.
    updates: of a round.
    every: updates of the stream from one round to the next, in place of `k`,
      where nobody knows how long the stream is.
    buffer: memory in examples, or in bytes such as "2MB".
    minibatch: examples of a round's update.
    first: tunes the first unit's kernels as well, for new domains.
    logits: weight of the squared difference to stored logits, such as 0.5.
  """
  stream = bounds.finetune()._replace(
    replay=reservoir.reservoir(buffer, minibatch)
  )
  phase = _phase(updates, minibatch, first, logits)
  interlude = base.Interlude(phase, 0 if every else k, every)
  return _with_rounds(stream, interlude, logits)


def fpf(
  behind: base.Method | None = None,
  /,
  *,
  updates: kinds.Count = 300,
  every: kinds.Natural = 0,
  rows: kinds.Count = 32,
  first: bool = False,
  logits: kinds.NonNegative = 0.0,
) -> base.Method:
  """Tunes a few tensors on the memory, once the stream is over.

  Zhao et al., "Does Continual Learning Equally Forget All Parameters?", ICML
  2023, https://arxiv.org/abs/2304.04158 (FPF). The round is one of `k_fpf`.

  Args:
    behind: recipe with a memory on the device, such as er; None: er.
    updates: of the round.
    every: updates of the stream from one round to the next; 0: one round,
      behind the stream's last update.
    rows: examples of a round's update.
    first: as in `k_fpf`.
    logits: as in `k_fpf`.
  """
  behind = er() if behind is None else behind
  replay = behind.replay
  if replay.on_host or replay.when == "never" or not replay.num_samples:
    raise UsageError(
      "+fpf tunes on draws of the device's memory, and the recipe draws from "
      "none: put it behind one that does, such as er or derpp, or take k_fpf"
    )
  if behind.interlude is not None:
    raise UsageError("+fpf: the recipe has rounds of its own: leave out one")
  phase = _phase(updates, rows, first, logits)
  interlude = base.Interlude(phase, 0 if every else 1, every)
  return _with_rounds(behind, interlude, logits)


def _phase(updates: int, rows: int, first: bool, logits: float) -> base.Phase:
  return base.Phase(
    updates=updates,
    rows=rows,
    objective=logit_replay.own(logits),
    select=fixed.with_biases(first),
    training=base.Training(norms="batch", schedule="cosine"),
  )


def _with_rounds(
  method: base.Method, interlude: base.Interlude, logits: float
) -> base.Method:
  objective = method.objective
  if not interlude.times and not interlude.every:
    return method
  if logits:
    objective = logit_replay.stored(objective)
  return method._replace(objective=objective, interlude=interlude)
