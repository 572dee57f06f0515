"""Training a part of the tensors: elastic selection and its baselines.

Each of these is a recipe by itself, on the stream alone, and a selection of
tensors for another recipe: "er:buffer=500+elastic:rho=0.4". All of them leave
running statistics of normalisers unchanged, as in fine-tuning of a trained
network; `norms=batch` turns that off.
"""

from typing import Literal

from jcl import base
from jcl.objectives import group_lasso
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.selection import elastic as chosen
from jcl.selection import fixed
from jcl.selection.settings import Importance, Knapsack

Profile = Literal["analytic", "timed", "calibrated"]
_IMPORTANCE, _KNAPSACK = Importance(), Knapsack()


def elastic(
  *,
  rho: kinds.PositiveShare = 0.533,
  interval: kinds.Count = 3,
  profile: Profile = "analytic",
  importance: Importance = _IMPORTANCE,
  knapsack: Knapsack = _KNAPSACK,
  slots: Literal["reset", "keep", "decay"] = "reset",
  trunk: kinds.Units = 0,
) -> base.Method:
  """Trains the tensors worth most within a share of a full step's time.

  Huang et al., "ElasticTrainer: Speeding Up On-Device Training with Runtime
  Elastic Tensor Selection", MobiSys 2023, https://arxiv.org/abs/2312.14227.
  The fields of `jcl.selection.settings.Importance` and `Knapsack` are options
  of the recipe as text: `elastic:rho=0.4,metric=gradient,mode=greedy`.

  Args:
    rho: time of a step over that of a full step, in (0, 1].
    interval: epochs between two selections.
    profile: how tensors are timed: "analytic", "timed" or "calibrated".
    importance: how the worth of a tensor is scored: `metric`, `point`, `step`,
      `probes` and `fresh_pair`.
    knapsack: how the tensors of most worth are found: `cost_model`, `mode`,
      `granularity`, `menu` and `always_train_head`.
    slots: optimiser slots of tensors that stop training: "reset", "keep" or
      "decay".
    trunk: units that never train: their number, their share of all, or the
      name of the first unit that trains; by default those of the recipe before
      "+".
  """
  return _training(
    chosen.elastic(
      rho,
      interval,
      profile=profile,
      importance=importance,
      knapsack=knapsack,
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

  It is the upper bound of the other selections.
  """
  return _training(fixed.everything())


def head_only() -> base.Method:
  """Trains the last unit, the classifier, on fixed features."""
  return _training(fixed.head_only())


def freeze(*, until: kinds.Units = 0.7) -> base.Method:
  """Trains the units after a frozen trunk.

  Args:
    until: units that never train: their number, their share of all, or the
      name of the first unit that trains.
  """
  return _training(fixed.frozen_prefix(until))._replace(trunk=until)


def bn_bias() -> base.Method:
  """Trains biases, normalisers and the head.

  Huang et al., "ElasticTrainer", MobiSys 2023, section 8, call it BN+Bias. It
  saves memory, but computes the whole chain of gradients to the first tensor.
  """
  return _training(fixed.biases())


def pruning(
  *,
  ratio: kinds.ShareBelowOne = 0.2,
  interval: kinds.Count = 3,
  threshold: kinds.NonNegative = 1e-3,
) -> base.Method:
  """Trains every tensor of a network that loses its weakest channels.

  After Lym et al., "PruneTrain: Fast Neural Network Training by Dynamic Sparse
  Model Reconfiguration", SC 2019, https://arxiv.org/abs/1901.09290: a group
  lasso drives channels to zero, and channels whose weights are all below the
  threshold are removed from the network, so that its steps really cost less.

  Args:
    ratio: share of the penalty in loss plus penalty, at the start.
    interval: epochs between two checks of the channels.
    threshold: magnitude that one of a channel's weights must reach.
  """
  return full()._replace(
    objective=group_lasso.group_lasso(ratio=ratio),
    pruning=base.Pruning(interval, threshold),
  )


def _training(selector: base.Selector) -> base.Method:
  training = base.Training(norms="frozen")
  return bounds.finetune()._replace(selector=selector, training=training)
