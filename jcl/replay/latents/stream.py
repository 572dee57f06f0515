"""Latent replay: streams of a frozen trunk's outputs, learned by the tail.

If the lower units of a network are frozen and inputs are not augmented at
random, the units' output for an example never changes. It is computed once and
cached, and a replay memory holds it in place of the inputs. Pellegrini et al.,
"Latent Replay for Real-Time Continual Learning", IROS 2020,
https://arxiv.org/abs/1912.01100; coded as in Kwon et al., "LifeLearner", SenSys
2023, https://arxiv.org/abs/2311.11420.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jcl import base
from jcl.networks import cut
from jcl.options.errors import UsageError
from jcl.replay.latents import cache as cache_lib
from jcl.replay.latents import codecs
from jcl.replay.latents import disk as disk_lib
from jcl.replay.latents import source as source_lib
from jcl.replay.latents import trunk as trunk_lib
from jcl.streams import stream as stream_lib
from jcl.train import augment as augmentation

DECODE = "decode"  # the unit before the tail
_FITTED = 1024  # the most examples that a codec is fitted on


class Kept(NamedTuple):
  """Where latents are kept beyond a run, for all that come later."""

  folder: Path
  budget: int = 10**10  # bytes of the folder, at most


class Prepared(NamedTuple):
  """Parts of a run over latents."""

  stream: stream_lib.Stream  # of codes
  network: base.Network  # a unit that decodes, then the tail
  cache: cache_lib.Cache
  params: base.Params  # first parameters of the whole network
  stats: base.Stats


def prepare(
  stream: stream_lib.Stream,
  network: base.Network,
  at: str | int,
  codec: str = "raw",
  *,
  key: base.Key,
  budget: int | str | None = None,
  augment: str = "none",
  rows: int = 32,
  kept: Kept | None = None,
) -> Prepared:
  """Turns a run's stream and network into those of a run on latents.

  ```
  made = prepare(stream, network, "block_6", "uint8", key=key, budget="64MB")
  setting = session.assemble(made.stream, made.network, method, training, seed)
  made.cache.charge_to(setting.ledger)
  result = session.run(setting)
  params = cut.joined(made.params, result.state.train.params)
  ```

  Args:
    stream: of raw inputs.
    network: a chain; its `init` gives the weights, learned ones for
      `pretrained.with_weights`.
    at: first unit that learns, by name or number.
    codec: name of the latents' codec; see `codecs.fit`.
    key: the run's key for its parameters, so that trunk and tail have the
      parameters of the whole network.
    budget: of the cache in bytes, or as text such as "64MB"; None: no limit.
    augment: of the run.
    rows: inputs that the trunk takes together; see `view`.
    kept: where latents are kept beyond the run; None: nowhere.

  Raises:
    ValueError: for random augmentation, a network or unit that cannot be cut,
      an unknown codec, or a budget that is no size.
  """
  if augment != "none":
    raise UsageError(
      f"augment={augment!r} shows an example otherwise each time, but its "
      "latent is computed once: write augment=none, or do without the cache"
    )
  params, stats = jax.jit(network.init)(key)
  seed = int(jax.random.bits(jax.random.fold_in(key, 1))) >> 1
  parts = cut.cut(network, at)
  codes, cache = view(
    *(stream, parts, params, stats, codec),
    budget=budget,
    rows=rows,
    seed=seed,
    kept=kept,
  )
  tail = decoding(parts.tail, cache.codec)
  return Prepared(codes, tail, cache, params, stats)


def view(
  stream: stream_lib.Stream,
  parts: cut.Cut,
  params: base.Params,
  stats: base.Stats,
  codec: str,
  *,
  budget: int | str | None = None,
  rows: int = 32,
  seed: int = 0,
  kept: Kept | None = None,
) -> tuple[stream_lib.Stream, cache_lib.Cache]:
  """Returns the stream with codes of latents in place of its inputs.

  Experiences and test sets stay the same. Latents are computed when they are
  read, except for those that the codec is fitted on, a part of the first
  experience. Mean and standard deviation become 0 and 1, since inputs are
  normalised before the trunk.

  Args:
    stream: of raw inputs.
    parts: of the network.
    params: of the whole network.
    stats: likewise.
    codec: see `codecs.fit`.
    budget: of the cache, which training and test data share.
    rows: batch size of the trunk, best that of the run; smaller batches are
      padded and cost as much.
    seed: of the codec's fit.
    kept: see `prepare`.
  """
  codecs.check(codec)
  first = stream.experiences[0].data
  preprocess = augmentation.Preprocess(stream.mean, stream.std)
  trunk = trunk_lib.Trunk(
    parts, params, stats, preprocess, np.asarray(first.x[[0]][0]), rows
  )
  disk = None
  if kept is not None:
    about = {"network": parts.tail.name, "units": list(parts.units)}
    with trunk.ledger.timed("compile"):
      digest = trunk.digest()
    disk = disk_lib.Disk(
      *(kept.folder, digest, trunk.shape, kept.budget), about
    )
  generator = np.random.default_rng(seed)
  count = 0 if codec == "raw" else min(len(first), _FITTED)
  chosen = np.sort(generator.permutation(len(first))[:count])
  z, on_disk = np.empty((0, *trunk.shape), np.float32), 0
  if count:
    source = source_lib.Source(trunk, disk)
    z, on_disk, _ = source.latents("data", np.asarray(first.x[chosen]))
    source.close()
  fitted = codecs.fit(codec, z, seed)
  cache = cache_lib.Cache(trunk, fitted, budget, disk)
  experiences = tuple(
    dataclasses.replace(each, data=cache_lib.coded(cache, each.data))
    for each in stream.experiences
  )
  if count:
    cache.take(experiences[0].data.x, chosen, z, on_disk)
  with stream.held_out.open() as test_sets:
    held_out = stream_lib.Sealed(
      cache_lib.coded(cache, data, held_out=True) for data in test_sets
    )
  codes = dataclasses.replace(
    stream,
    name=f"{stream.name}-{parts.tail.name}-{fitted.name}",
    experiences=experiences,
    held_out=held_out,
    mean=np.zeros((), np.float32),
    std=np.ones((), np.float32),
  )
  return codes, cache


def decoding(tail: base.Network, codec: codecs.Codec) -> base.Network:
  """Returns the network of codes: a unit that decodes them, then the tail."""

  def apply(
    params: base.Params,
    stats: base.Stats,
    x: jax.Array,
    training: bool,
    key: base.Key | None,
  ) -> tuple[jax.Array, base.Stats]:
    del params, training, key
    return codec.decode(x), stats

  return cut.behind(tail, base.Block(DECODE, apply), codec.row_shape)
