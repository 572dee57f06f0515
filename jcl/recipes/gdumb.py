"""Greedy sampler and dumb learner."""

from jcl import base
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.replay import balanced


def gdumb(*, buffer: kinds.Size = 200) -> base.Method:
  """Keeps a balanced memory and learns from it alone, from scratch.

  Prabhu et al., "GDumb: A Simple Approach that Questions Our Progress in
  Continual Learning", ECCV 2020, https://doi.org/10.1007/978-3-030-58536-5_31.

  Semantics: the stream only fills the memory; at the end of each experience
  new parameters are trained for the run's epochs on the memory alone.
  """
  replay = balanced.greedy(buffer, num_samples=0)._replace(when="before")
  return bounds.finetune()._replace(
    replay=replay, trains_on="memory", restart=True
  )
