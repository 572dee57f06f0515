"""A frozen trunk and a few anchored feature maps."""

from jcl import base
from jcl.objectives import anchors as anchored
from jcl.objectives import supervised
from jcl.options import kinds
from jcl.recipes import bounds
from jcl.recipes.er import er
from jcl.selection import fixed

_PUBLISHED = base.Training(norms="moving", variance="unbiased")


def lightcl(
  *,
  freeze: kinds.Units = 0.7,
  beta: kinds.NonNegative = 2e-4,
  ratio: kinds.Share = 0.15,
  anchors: kinds.Count = 15,
  cap: kinds.PositiveShare = 0.5,
  taps: str = "",
  buffer: kinds.SizeOrNone = 0,
  minibatch: kinds.Count = 10,
  published: bool = False,
) -> base.Method:
  """Trains the last units, and holds a few of their feature maps in place.

  Wang et al., "LightCL: Compact Continual Learning with Low Memory Footprint
  For Edge Device", ASP-DAC 2025, https://arxiv.org/abs/2407.10545. The network
  should be pre-trained; otherwise all of it trains in the first experience.

  Semantics: only classes of the current experience compete in the loss; the
  frozen part uses its running statistics, which do not change; the first images
  of an experience are its anchors, with the feature maps from before their
  first update. With a buffer, replayed examples are learned beside the stream,
  all classes seen so far compete, and replayed images are the anchors.

  Args:
    freeze: units that never train: their number, their share of all, or the
      name of the first unit that trains. 0.7 of a ResNet-18 is all but its last
      stage and the head.
    beta: weight of the anchors' drift.
    ratio: share of a map's channels that an experience adds to the held ones.
    anchors: images that are held.
    cap: bound on the held channels, as a share of all.
    taps: places to hold, joined by "&", such as "block_6/map&block_7/map"; by
      default all places of the units that train.
    buffer: examples or bytes of replay memory; 0: no memory.
    minibatch: replayed examples of an update, if there is a memory.
    published: as in the authors' program: the anchors' drift is a plain sum
      over all logits, each map has one more channel, and running statistics
      change throughout the network, with unbiased variances.
  """

  def begins(network: base.Network) -> int:
    return fixed.first_trained(network, freeze)

  inner = supervised.cross_entropy(current=True)
  method = bounds.finetune()
  if buffer:
    method = er(buffer=buffer, minibatch=minibatch)
    inner = supervised.experience_replay()
  objective = anchored.anchored(
    beta,
    ratio,
    anchors,
    begins=begins,
    taps=tuple(taps.split("&")) if taps else (),
    cap=cap,
    inner=inner,
    source="old" if buffer else "new",
    published=published,
  )
  return method._replace(
    objective=objective,
    selector=fixed.frozen_once_trained(freeze),
    trunk=freeze,
    training=(_PUBLISHED if published else base.Training()).over(
      method.training
    ),
    # Anchors come from one batch of the stream, by default of ten examples.
    defaults=base.Training(
      batch_size=anchors if anchors > 10 and not buffer else None
    ),
  )
