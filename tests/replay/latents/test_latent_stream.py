"""Streams of latents: the same learning as with a frozen trunk."""

from flax import linen as nn
import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.networks import chain, cut
from jcl.replay.latents import stream as latents
from jcl.run import session
from jcl.selection import fixed

OPTIONS = session.Options(progress=False)
TRAINING = base.Training(
  epochs=2, batch_size=5, learning_rate=0.05, momentum=0.9, optimizer="sgd"
)


class Layer(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x, training):
    x = nn.Dense(self.features)(x)
    return nn.relu(nn.BatchNorm(use_running_average=not training)(x))


class Head(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    return nn.Dense(4)(x)


NETWORK = chain.chain(
  "net", [("low", Layer(12)), ("middle", Layer(8)), ("head", Head())], (4,), 4
)
STREAM = tiny_network.stream()
KEY = jax.random.fold_in(jax.random.key(0), 0)  # as a run of seed 0 draws


def prepare(codec="raw", at="middle", **options):
  options = {"key": KEY, "rows": 5, **options}
  return latents.prepare(STREAM, NETWORK, at, codec, **options)


def assemble(stream, network, method):
  return session.assemble(stream, network, method, TRAINING, 0, OPTIONS)


def learn(made, recipe):
  job = assemble(made.stream, made.network, recipes.build(recipe))
  made.cache.charge_to(job.ledger)
  return session.run(job, None, OPTIONS)


def test_the_tail_learns_what_the_whole_network_learns():
  method = recipes.build("er:buffer=6,minibatch=3")
  frozen = method._replace(selector=fixed.frozen_prefix("middle"))
  whole = session.run(assemble(STREAM, NETWORK, frozen), None, OPTIONS)
  made = prepare()
  tail = learn(made, "er:buffer=6,minibatch=3")
  steps = [record.steps for record in tail.records]
  assert steps == [record.steps for record in whole.records] == [10, 10]
  joined = (
    cut.joined(made.params, tail.state.train.params),
    cut.joined(made.stats, tail.state.train.stats),
  )
  expected = whole.state.train.params, whole.state.train.stats
  close = {"rtol": 1e-5, "atol": 1e-6}
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **close), joined, expected
  )
  moved = jax.tree.map(
    lambda a, b: bool((np.asarray(a) != b).any()), joined[0], made.params
  )
  assert not any(jax.tree.leaves(moved["low"]))
  assert all(jax.tree.leaves(moved["head"]))
  for mine, theirs in zip(tail.records, whole.records, strict=True):
    assert mine.accuracy == theirs.accuracy
  report = made.cache.report()
  assert report.training.misses == report.held - report.held_out.misses == 48
  assert report.training.hits == 48  # second epochs
  spent = sum((r.costs["data"] for r in tail.records), base.Cost())
  assert spent.flops == report.training.operations > 0


def test_latent_streams_keep_all_but_the_inputs():
  made = prepare("uint8")
  assert made.stream.name.endswith("net@middle-uint8")
  assert made.stream.dtype == np.uint8 and made.stream.example_shape == (12,)
  assert made.stream.mean == 0 and made.stream.std == 1
  assert made.network.units == ("decode", "middle", "head")
  for mine, theirs in zip(
    made.stream.experiences, STREAM.experiences, strict=True
  ):
    assert mine.classes == theirs.classes and mine.data.y is theirs.data.y
  with pytest.raises(RuntimeError, match="held-out data was read"):
    _ = made.stream.held_out.datasets
  with made.stream.held_out.open() as mine, STREAM.held_out.open() as theirs:
    assert [len(data) for data in mine] == [len(data) for data in theirs]
    mine[0].x[[0, 1]]
  counts = made.cache.report()
  assert (counts.held_out.misses, counts.training.misses) == (2, 24)
  # What the codec was fitted on is there already.
  made.stream.experiences[0].data.x[np.arange(24)]
  assert made.cache.report().training.hits == 24


def test_a_cut_ahead_of_the_head_has_features():
  made = prepare("pq:4", at="head")
  assert made.network.units == ("decode", "head")
  assert made.network.features == "decode"
  params, _ = jax.jit(made.network.init)(KEY)
  whole = {**made.params}
  jax.tree.map(np.testing.assert_array_equal, params["head"], whole["head"])


def test_random_augmentation_is_refused():
  with pytest.raises(
    ValueError, match="augment='crop' shows .* write augment="
  ):
    prepare(augment="crop")


def test_a_codec_is_fitted_on_some_of_the_first_experience(monkeypatch):
  assert latents._FITTED == 1024
  monkeypatch.setattr(latents, "_FITTED", 5)
  counts = prepare("uint8").cache.report().training
  assert (counts.hits, counts.misses) == (0, 5)
  assert prepare("raw").cache.report().training.misses == 0


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(latents.prepare) == {
    "codec": "raw",
    "augment": "none",
    "rows": 32,
  }
  assert signatures.defaults(latents.view) == {"rows": 32, "seed": 0}
