"""Recipes that are solved from sums over the stream, without any update.

One pass of forwards sums up the features of an experience; predictions are
solved from the sums when somebody asks. Nothing is replayed, and nothing ahead
of the head ever trains, so that the order of the stream does not matter. Behind
another recipe and "+", `ncm`, `slda` and `ridge` read the features that it
leaves frozen: "er+head_only+slda".
"""

from typing import Literal

from jcl import base
from jcl.objectives import keeping, readers, streaming, supervised
from jcl.options import kinds
from jcl.options.errors import UsageError
from jcl.recipes import bounds
from jcl.selection import fixed

# Passes have no updates between batches: only their speed depends on the size.
_ROWS = 100
# Times the trace of the covariance, as strength of ridge on random features:
# the best of a grid on images set aside, with 5 to 160 of a class.
OF_RANDOM = 0.5


def ncm(
  behind: base.Method | None = None,
  /,
  *,
  cosine: bool = False,
  decay: kinds.PositiveShare = 1.0,
) -> base.Method:
  """Predicts the class whose mean is nearest, in frozen features.

  Mensink et al., "Distance-Based Image Classification: Generalizing to New
  Classes at Near-Zero Cost", TPAMI 2013,
  https://doi.org/10.1109/TPAMI.2013.83.

  Semantics: the mean of all examples of a class, in the features that the head
  would read; no update is made.

  Args:
    behind: recipe whose frozen features are read; None: statistics alone.
    cosine: compares directions instead of distances.
    decay: factor by which an example's weight falls with every later one.
  """
  return _solved(readers.mean(cosine=cosine), keeping.sums(decay), behind)


def slda(
  behind: base.Method | None = None,
  /,
  *,
  shrink: kinds.Share | Literal["oas"] = "oas",
  decay: kinds.PositiveShare = 1.0,
  published: bool = False,
) -> base.Method:
  """Streaming linear discriminant analysis of frozen features.

  Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear
  Discriminant Analysis", CVPR Workshops 2020, https://arxiv.org/abs/1909.01520.

  Semantics: the mean of each class and one covariance within classes, exact in
  any order of the stream; the paper's program weighs the first example of a
  class by the number of all examples.

  Args:
    behind: recipe whose frozen features are read; None: statistics alone.
    shrink: share of the mean variance in the covariance; "oas" estimates it.
      0.01 suits a hundred examples of a class and more, 0.5 twenty and less.
    decay: factor by which an example's weight falls with every later one.
    published: computes as the authors' program does, example by example, with
      `shrink` a share of the identity, by default 1e-4.
  """
  if published and decay != 1:
    raise UsageError(
      f"decay={decay}: the published recursion forgets nothing; leave out one "
      "of decay and published"
    )
  kept = streaming.rule() if published else keeping.sums(decay)
  reader = readers.shared_covariance(shrink=shrink, published=published)
  return _solved(reader, kept, behind)


def ridge(
  behind: base.Method | None = None,
  /,
  *,
  lam: kinds.NonNegative | Literal["prior", "gcv"] = "prior",
  balanced: bool = True,
  decay: kinds.PositiveShare = 1.0,
) -> base.Method:
  """Ridge regression from frozen features onto the classes.

  Zhuang et al., "ACIL: Analytic Class-Incremental Learning with Absolute
  Memorization and Privacy Protection", NeurIPS 2022,
  https://arxiv.org/abs/2205.14922, whose recursion comes to the same.

  Semantics: the Gram matrix and the sums of each class; every class weighs the
  same, however many examples it has.

  Args:
    behind: recipe whose frozen features are read; None: statistics alone.
    lam: strength of the pull to zero; "prior": twice the trace of the
      covariance within classes; "gcv": by generalised cross-validation.
    balanced: whether every class weighs the same, instead of every example.
    decay: factor by which an example's weight falls with every later one.
  """
  reader = readers.ridge(lam=lam, balanced=balanced)
  return _solved(reader, keeping.sums(decay), behind)


def ranpac(
  *,
  m: kinds.Count = 5000,
  lam: kinds.NonNegative | Literal["prior", "gcv"] = "prior",
  balanced: bool = False,
) -> base.Method:
  """Ridge regression from random features behind a frozen trunk.

  McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for
  Continual Learning", NeurIPS 2023, https://arxiv.org/abs/2307.02251, without
  its first phase, which fine-tunes adapters.

  Semantics: ReLU of `m` random directions of the trunk's features, then
  `ridge`. Directions have the length 1 on average, and the strength is set by
  all examples so far instead of those of the latest experience.

  Args:
    m: number of directions; fewer than four times the features gain little.
    lam: strength of the pull to zero; "prior": half the trace of the covariance
      within classes, a quarter of what `ridge` takes; "gcv": as of `ridge`.
    balanced: as of `ridge`.
  """
  reader = readers.ridge(lam=lam, balanced=balanced, prior=OF_RANDOM)
  return _solved(reader, keeping.sums())._replace(
    expand=base.Expansion(m), trunk="expand"
  )


def randumb(
  *,
  m: kinds.Count = 2000,
  gamma: kinds.Positive | None = None,
  shrink: kinds.Share | Literal["oas"] = "oas",
) -> base.Method:
  """Discriminant analysis of random Fourier features of the inputs.

  Prabhu et al., "RanDumb: Random Representations Outperform Online Continually
  Learned Representations", NeurIPS 2024, https://arxiv.org/abs/2402.08823.

  Semantics: inputs are flattened, no trunk is there; `m` Fourier features of a
  Gaussian kernel, then `slda`. The width of the kernel comes from the first
  batch and stays; images are not mirrored.

  Args:
    m: number of Fourier features.
    gamma: of the kernel exp(-gamma |x - y|^2); None: 1 / (D var), by the first
      batch of inputs with D values each. Devices whose statistics are to be
      merged need the same.
    shrink: as of `slda`.
  """
  reader = readers.shared_covariance(shrink=shrink)
  return _solved(reader, keeping.sums())._replace(
    expand=base.Expansion(m, "fourier", gamma, trunk=False), trunk=None
  )


def _solved(
  reader: base.Predictor,
  rule: keeping.Rule,
  behind: base.Method | None = None,
) -> base.Method:
  """Returns a method of statistics alone, or another one with them."""
  if behind is not None:
    if behind.predictor.solve is not None:
      raise UsageError("one of ncm, slda and ridge is enough")
    objective = keeping.statistics(behind.objective, rule)
    return behind._replace(objective=objective, predictor=reader)
  alone = keeping.statistics(supervised.cross_entropy(), rule)
  return bounds.finetune()._replace(
    objective=alone,
    selector=fixed.nothing(),
    predictor=reader,
    trunk="head",
    training=base.Training(epochs=0),
    defaults=base.Training(batch_size=_ROWS),
  )
