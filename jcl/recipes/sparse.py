"""Networks and kernels made sparse before or while they learn."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Annotated, Literal

from jcl import base
from jcl.networks.sparsity import dynamic, masked, published, structured
from jcl.options import bounds, kinds
from jcl.recipes.der import derpp
from jcl.recipes.er import er
from jcl.recipes.lightcl import lightcl
from jcl.train import slots


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
  gradients: kinds.ShareBelowOne = 0.8,
  change: kinds.Count = 5,
  removed: kinds.Share = 0.3,
  until: kinds.Natural = 20,
) -> base.Method:
  """Replay with sparse weights, sparse gradients and ever fewer examples.

  Wang et al., "SparCL: Sparse Continual Learning on the Edge", NeurIPS 2022,
  https://arxiv.org/abs/2209.09476. Kernels of convolutions between stem and
  head stay sparse, while the set of live weights changes;
  `jcl.networks.sparsity.dynamic` says how, and where this departs from the
  authors' program. Arrays stay dense: the operations on zeros are not saved;
  reports show the operations that skipping them would leave.

  Args:
    sparsity: share of each kernel's weights that is zero.
    buffer: replay memory, in examples or bytes.
    minibatch: examples of a replayed batch.
    replay: "derpp" (alpha 0.1, beta 0.5) or "er".
    gradients: share of each kernel's gradient that is set to zero.
    change: epochs between changes of the live weights.
    removed: share of an experience's examples that are removed in all.
    until: last epoch before which examples are removed.
  """
  method = er(buffer=buffer, minibatch=minibatch)
  if replay == "derpp":
    method = derpp(buffer=buffer, minibatch=minibatch, alpha=0.1, beta=0.5)

  def build(
    network: base.Network, params: base.Params, updates: int, epochs: int
  ) -> base.Sparsity:
    del params
    schedule = dynamic.schedule(sparsity, change * updates, epochs * updates)
    schedule = dataclasses.replace(schedule, gradient_sparsity=gradients)
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
