"""Runs whose weights are averaged, reset or scaled on the way."""

import dataclasses

from flax import linen as nn
import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.control import limits
from jcl.networks import chain, layers
from jcl.run import loop, session
from jcl.streams import scenarios, sources
from jcl.train import rewriting

TRAINING = base.Training(batch_size=6, learning_rate=0.1, epochs=3)
OPTIONS = session.Options(progress=False, steps_per_dispatch=4)
WSC = "er:buffer=8,minibatch=4+freeze:until=1+wsc:visits=4,warm=0.5"


def assemble(text, programs=None, network=None, stream=None, **options):
  training = options.pop("training", TRAINING)
  job = session.assemble(
    stream or tiny_network.stream(),
    network or tiny_network.build(),
    recipes.build(text),
    training,
    options=OPTIONS,
    **options,
  )
  job.learner.compiler.add(programs or {})
  return job


def play(job):
  """Runs a job; returns its events as (kind, step, weights), and records."""
  state, place = loop.start(job)
  found = []
  for event in loop.run(job, state, place):
    train = jax.tree.map(np.array, event.state.train.params)
    found.append((event.kind, place.step, train, event.state.weights))
  return found, place.records


@pytest.fixture(scope="module")
def run():
  job = assemble(WSC)
  return (*play(job), job)


def test_a_frozen_trunk_stays_to_the_bit(run):
  found, _, job = run
  first = [params["first"] for *_, params, _ in found]
  assert all(tiny_network.same_bits(each, first[0]) for each in first)
  held = found[-1][3]
  assert set(held["mean"]) == {
    f"{unit}/{kind}"
    for unit in ("second", "head")
    for kind in ("kernel", "bias")
  }
  assert job.learner.method.trunk == 1


def test_the_first_experience_is_plain(run):
  found, *_, job = run
  plain, _ = play(assemble(WSC.split("+wsc")[0]))
  ours, theirs = (
    next(p for kind, _, p, _ in each if kind == "experience")
    for each in (found, plain)
  )
  assert tiny_network.same_bits(ours, theirs)
  assert not tiny_network.same_bits(found[-1][2], plain[-1][2])
  # Three epochs of four batches, cut in four: places divide dispatches.
  assert {15, 18, 21, 24} <= {step for _, step, *_ in found}


@pytest.mark.parametrize("call", [4, 8])
def test_a_stopped_run_ends_as_if_it_were_not(call, run, tmp_path, monkeypatch):
  """Stopped in the warm-up, and while weights are averaged."""
  found, _, job = run
  programs = job.learner.compiler.programs
  stopped = assemble(WSC, programs)
  put, calls = stopped.learner.put_batches, []

  def stopping(batches):
    calls.append(0)
    if len(calls) == call + 3:
      raise KeyboardInterrupt
    return put(batches)

  options = dataclasses.replace(OPTIONS, checkpoint_seconds=0.0)
  monkeypatch.setattr(stopped.learner, "put_batches", stopping)
  with pytest.raises(KeyboardInterrupt):
    session.run(stopped, tmp_path, options)
  again = session.run(assemble(WSC, programs), tmp_path, options)
  assert tiny_network.same_bits(again.state.train.params, found[-1][2])


class _Normal(nn.Module):
  @nn.compact
  def __call__(self, x, training):
    return nn.BatchNorm(not training, momentum=0.9)(x)


def _normalised(stream):
  units = [("normal", _Normal()), ("head", layers.Head(stream.num_classes))]
  return chain.chain("normal", units, stream.example_shape, stream.num_classes)


def _spread(count=24):
  """Examples of mean 2 and variance 9 of every feature, not normalised."""
  generator = np.random.default_rng(0)
  x = generator.normal(size=(count, 3))
  x = 2 + 3 * (x - x.mean(axis=0)) / x.std(axis=0)
  x, y = x.astype(np.float32), np.arange(count) % 2
  source = sources.arrays(x, y, x, y)
  return scenarios.class_incremental(source, tasks=1, normalize="none")


@pytest.mark.parametrize("rows", [4, 24])
def test_statistics_are_those_of_all_examples(rows):
  stream = _spread()
  training = base.Training(batch_size=rows, learning_rate=0.01, epochs=2)
  job = assemble(
    "finetune+average:visits=2,start=0",
    network=_normalised(stream),
    stream=stream,
    training=training,
  )
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    state = event.state
  found = {
    rewriting.slots.names(state.train.stats)[i].split("/")[-1]: leaf
    for i, leaf in enumerate(jax.tree.leaves(state.train.stats))
  }
  np.testing.assert_allclose(found["mean"], 2, atol=1e-5)
  np.testing.assert_allclose(found["var"], 9, rtol=1e-5)


def test_a_limit_has_room_for_the_pass(monkeypatch):
  settling, asked = rewriting.settling, []

  def counted(*args):
    asked.append(0)
    return settling(*args)

  monkeypatch.setattr(rewriting, "settling", counted)
  stream = _spread()
  each = 30_000.0
  job = assemble(
    "finetune+average:visits=3,start=0",
    network=_normalised(stream),
    stream=stream,
    training=dataclasses.replace(TRAINING, epochs=999),
    controller=limits.equal(999, each),
  )
  _, records = play(job)
  spent = sum(records[0].costs[a].flops for a in limits.LEARNING)
  step = job.learner.step_program(job.trainee.selection).cost.flops
  assert records[0].steps > 3 and 0 <= each - spent < 2 * step
  assert len(asked) == 1  # not ahead of every dispatch


def test_aligned_rows_have_one_norm():
  found, _ = play(assemble("er:buffer=8,minibatch=4+wa"))
  kernel = found[-1][2]["head"]["kernel"]
  norms = np.linalg.norm(kernel, axis=0)
  np.testing.assert_allclose(norms[:2].mean(), norms[2:].mean(), rtol=1e-5)
  plain, _ = play(assemble("er:buffer=8,minibatch=4"))
  apart = np.linalg.norm(plain[-1][2]["head"]["kernel"], axis=0)
  assert abs(apart[:2].mean() / apart[2:].mean() - 1) > 0.01


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("er+average+wa", "one of average, wsc and wa is enough"),
    ("pruning+average", "leave out either average"),
    ("er+average:visits=1", "visits=1, of which 1 would be averaged"),
    ("er+wsc:keep=0", "keep=0: give a number above 0"),
  ],
)
def test_what_cannot_be_is_told(text, message):
  with pytest.raises(ValueError, match=message):
    assemble(text)
