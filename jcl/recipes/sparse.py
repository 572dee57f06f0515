"""Networks and kernels made sparse before or while they learn."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Annotated, Literal

from jcl import base
from jcl.networks.sparsity import dynamic, masked, published, structured
from jcl.objectives import logit_replay
from jcl.options import bounds, kinds
from jcl.options.errors import UsageError
from jcl.recipes.er import er
from jcl.recipes.lightcl import lightcl
from jcl.train import slots

_LEARNING = 0.8  # share of the live weights whose gradients are let through


def lightcl_sparse(
  *,
  last: kinds.ShareBelowOne = 0.8,
  before: kinds.ShareBelowOne = 0.7,
  others: kinds.ShareBelowOne = 0.2,
  masks: bool = False,
  freeze: kinds.Units = 0.7,
  beta: kinds.NonNegative = 2e-4,
  ratio: kinds.Share = 0.15,
  anchors: kinds.Count = 15,
) -> base.Method:
  """LightCL on a network that has lost most of its filters.

  Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint
  For Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545. Filters are
  pruned once, by the first weights of the run, and removed from the network,
  which saves operations and bytes. Other options as in `lightcl`.

  Args:
    last: share of the filters that are pruned in the last stage.
    before: the same in the stage before the last.
    others: the same in all other stages.
    masks: prunes as the authors' program does, for ResNets of plain blocks:
      filters stay in the network as zeros, whatever other branches read.
    freeze: see `lightcl`.
    beta: see `lightcl`.
    ratio: see `lightcl`.
    anchors: see `lightcl`.
  """
  method = lightcl(
    freeze=freeze, beta=beta, ratio=ratio, anchors=anchors, published=masks
  )
  shares = functools.partial(
    structured.by_stage, last=last, before=before, others=others
  )
  if not masks:
    return method._replace(
      prune=lambda network, params: structured.masks(
        network, params, shares(network)
      )
    )
  return method._replace(sparsity=functools.partial(_as_published, shares))


def _as_published(
  shares: Callable[[base.Network], dict[str, float]],
  network: base.Network,
  params: base.Params,
  updates: int,
  epochs: int,
) -> base.Sparsity:
  """Holds the filters that the authors' program prunes at zero."""
  del updates, epochs
  held = published.masks(network, params, shares(network))
  return base.Sparsity(
    lambda params: masked.apply(params, held),
    lambda rule: masked.hold(slots.per_tensor(rule), held),
    lambda opt_state: opt_state,
  )


def sparcl(
  *,
  sparsity: Annotated[float, bounds.Range(0.01, 0.99, below=True)] = 0.75,
  buffer: kinds.Size = 500,
  minibatch: kinds.Count = 32,
  replay: Literal["derpp", "er"] = "derpp",
  gradients: kinds.ShareBelowOne | None = None,
  change: kinds.Count = 5,
  removed: kinds.Share = 0.3,
  until: kinds.Natural = 20,
  current: bool = True,
  replay_current: bool = False,
  published: bool = False,
) -> base.Method:
  """Replay with sparse weights, sparse gradients and ever fewer examples.

  Wang et al., "SparCL: Sparse Continual Learning on the Edge", NeurIPS 2022,
  https://arxiv.org/abs/2209.09476. Kernels of convolutions between stem and
  head stay sparse, while the set of live weights changes. Arrays stay dense:
  the operations on zeros are not saved; reports show the operations that
  skipping them would leave. Savings that a CPU feels come from whole filters,
  as in `lightcl_sparse`.

  Departures from the published program, beside those that
  `jcl.networks.sparsity.dynamic` lists: examples of the current experience are
  not replayed, where the program replays none in the first one alone; stored
  logits are matched at the outputs in play, there at all of them; of examples
  that were forgotten as often, random ones leave, there the first seen; an
  answer is right by the outputs in play; and rate, batch and epochs are the
  run's, there 0.03, 32 and 50.

  Args:
    sparsity: share of each kernel's weights that is zero.
    buffer: replay memory, in examples or bytes.
    minibatch: examples of a replayed batch.
    replay: "derpp" (alpha 0.1, beta 0.5) or "er".
    gradients: share of each kernel's gradient that is set to zero, that of dead
      weights included: more than `sparsity`, or 0. None lets four fifths of the
      live weights' gradients through, 0.8 at a sparsity of 0.75 as published.
    change: epochs between changes of the live weights.
    removed: share of an experience's examples that are removed in all.
    until: last epoch before which examples are removed.
    current: whether only classes of the current experience compete for examples
      of the stream, as in the program.
    replay_current: whether examples of the current experience are replayed.
    published: importance of weights by the gradient that the batch before was
      learned with, as in the program.

  Raises:
    UsageError: for a share of gradients that removes none of a live weight.
  """
  if gradients is None:
    gradients = 1 - _LEARNING * (1 - sparsity)
  if 0 < gradients <= sparsity:
    raise UsageError(
      f"gradients={gradients:g} sets no gradient of a live weight to zero, "
      f"since sparsity={sparsity:g} has that many weights dead: give more than "
      f"{sparsity:g}, such as {1 - _LEARNING * (1 - sparsity):.3g}, or 0"
    )
  method = er(
    buffer=buffer,
    minibatch=minibatch,
    replay_current=replay_current,
    current=current,
  )
  if replay == "derpp":
    method = method._replace(objective=logit_replay.derpp(0.1, 0.5, current))

  def build(
    network: base.Network, params: base.Params, updates: int, epochs: int
  ) -> base.Sparsity:
    del params
    schedule = dynamic.schedule(sparsity, change * updates, epochs * updates)
    schedule = dataclasses.replace(
      schedule, gradient_sparsity=gradients, published=published
    )
    kernels = dynamic.kernels(network)
    return base.Sparsity(
      lambda params: dynamic.start(params, kernels, sparsity),
      lambda rule: dynamic.sparse(rule, kernels, schedule),
      dynamic.restart,
    )

  removal = base.Removal(removed, change, max(until, change))
  return method._replace(
    sparsity=build,
    removal=removal if removed else None,
    convolutional=True,
  )
