"""Training in part: which tensors learn, and what the choice is compared with.

Each of these is a recipe by itself, on the stream alone, and a choice of
tensors for another: "er:buffer=500+elastic:rho=0.4". All of them leave running
statistics of normalisers as they are, as in fine-tuning of a trained network;
`norms=batch` turns that off.
"""

from typing import Literal

from jcl import base
from jcl.objectives import group_lasso
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.selection import elastic as chosen
from jcl.selection import fixed

Profile = Literal["analytic", "timed", "calibrated"]


def elastic(
  *,
  rho: kinds.PositiveShare = 0.533,
  interval: kinds.Count = 3,
  profile: Profile = "analytic",
  metric: Literal["update", "gradient", "weight"] = "update",
  point: Literal["after", "before"] = "after",
  step: Literal["optimizer", "sgd"] = "optimizer",
  probes: kinds.Count = 1,
  fresh_pair: bool = False,
  cost_model: Literal["arrival", "inclusive", "exclusive"] = "arrival",
  mode: Literal["exact", "reference", "greedy", "brute"] = "exact",
  granularity: Literal["tensor", "block"] = "tensor",
  menu: kinds.Natural = 0,
  always_train_head: bool = True,
  slots: Literal["reset", "keep", "decay"] = "reset",
  trunk: kinds.Units = 0,
) -> base.Method:
  """Trains the tensors worth most within a share of a full step's time.

  Huang et al., "ElasticTrainer: Speeding Up On-Device Training with Runtime
  Elastic Tensor Selection", MobiSys 2023. Options are those of
  `jcl.selection.elastic.elastic`.

  Args:
    rho: time of a step over that of a full one, in (0, 1].
    interval: epochs between two choices.
    profile: how tensors are timed: "analytic", "timed" or "calibrated".
    metric: what a tensor is worth: "update" times gradient, "gradient" or
      "weight" magnitude.
    point: where the gradient is taken, "before" or "after" the update.
    step: whose update: the run's "optimizer" or plain "sgd".
    probes: batches that the worth is averaged over.
    fresh_pair: whether update and gradient come from different batches.
    cost_model: "arrival", or the paper's readings "inclusive" and "exclusive".
    mode: of the knapsack: "exact", "reference", "greedy" or "brute".
    granularity: "tensor", or "block" for whole units.
    menu: bound on the number of different selections; 0 for none.
    always_train_head: whether the head is in every selection.
    slots: of tensors that leave: "reset", "keep" or "decay".
    trunk: units that never train: their number, their share of all, or the
      name of the first that does; by default those of the recipe before "+".
  """
  return _training(
    chosen.elastic(
      rho,
      interval,
      metric=metric,
      point=point,
      step=step,
      probes=probes,
      fresh_pair=fresh_pair,
      profile=profile,
      cost_model=cost_model,
      mode=mode,
      granularity=granularity,
      menu=menu,
      always_train_head=always_train_head,
      slots=slots,
      trunk=trunk,
    )
  )


def magnitude(
  *,
  rho: kinds.PositiveShare = 0.533,
  interval: kinds.Count = 3,
  profile: Profile = "analytic",
) -> base.Method:
  """Trains the tensors of largest weights within a share of the time.

  The ablation "Weight" of Huang et al., 2023; arguments as in `elastic`.
  """
  return _training(chosen.magnitude(rho, interval, profile=profile))


def grad_norm(
  *,
  rho: kinds.PositiveShare = 0.533,
  interval: kinds.Count = 3,
  profile: Profile = "analytic",
) -> base.Method:
  """Trains the tensors of largest gradients within a share of the time.

  The ablation "Grad" of Huang et al., 2023; arguments as in `elastic`.
  """
  return _training(chosen.grad_norm(rho, interval, profile=profile))


def full() -> base.Method:
  """Trains every tensor of a network that is trained already.

  The bound that the other choices are read against.
  """
  return _training(fixed.everything())


def head_only() -> base.Method:
  """Trains the last unit, the classifier, on features that stay."""
  return _training(fixed.head_only())


def freeze(*, until: kinds.Units = 0.7) -> base.Method:
  """Trains the units behind a frozen trunk.

  Args:
    until: units that never train: their number, their share of all, or the
      name of the first one that does.
  """
  return _training(fixed.frozen_prefix(until))._replace(trunk=until)


def bn_bias() -> base.Method:
  """Trains biases, normalisers and the head.

  Huang et al., "ElasticTrainer", MobiSys 2023, section 8, call it BN+Bias; it
  saves memory but pays the whole chain of gradients down to the first one.
  """
  return _training(fixed.biases())


def pruning(
  *,
  ratio: kinds.ShareBelowOne = 0.2,
  interval: kinds.Count = 3,
  threshold: kinds.NonNegative = 1e-3,
) -> base.Method:
  """Trains every tensor of a network that loses its weakest channels.

  In the spirit of Lym et al., "PruneTrain: Fast Neural Network Training by
  Dynamic Sparse Model Reconfiguration", SC 2019: a group lasso drives channels
  to zero, and those whose weights all lie under the threshold are taken out of
  the network, so that its steps really cost less.

  Args:
    ratio: of penalty and loss together at the start.
    interval: epochs between looks at the channels.
    threshold: magnitude that a channel's weights must reach to stay.
  """
  return full()._replace(
    objective=group_lasso.group_lasso(ratio=ratio),
    pruning=base.Pruning(interval, threshold),
  )


def _training(selector: base.Selector) -> base.Method:
  training = base.Training(norms="frozen")
  return bounds.finetune()._replace(selector=selector, training=training)
