"""Samples of everything seen, as many as a budget buys."""

import dataclasses

import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.control import limits
from jcl.networks import mlp
from jcl.run import loop, session
from jcl.selection import mask
from jcl.train import schedules

TRAINING = base.Training(batch_size=6, learning_rate=0.1, epochs=999)
OPTIONS = session.Options(progress=False, steps_per_dispatch=2)
EACH = 60_000.0


def assemble(text, controller=None, options=OPTIONS):
  return session.assemble(
    tiny_network.stream(),
    tiny_network.build(),
    recipes.build(text),
    TRAINING,
    options=options,
    controller=controller or limits.equal(999, EACH),
  )


def test_rates_fall_to_zero_within_an_experience():
  def rates(text, planned):
    factor = schedules.build(recipes.build(text).training.schedule)
    return [float(factor(made, planned)) for made in range(planned)]

  assert rates("naive", 4) == [1, 0.75, 0.5, 0.25]
  assert rates("naive:published=true", 6) == [1, 0.75, 0.5, 0.25, 0, -0.25]
  with pytest.raises(ValueError, match="overrun=2 goes with neither"):
    schedules.build("linear:overrun=2,floor=0.1")


def test_updates_that_one_limit_buys():
  """As the paper counts: for 400 of these, half with replay, a third with two.

  A teacher's forward on the batch leaves three quarters, but for the gradient
  of the inputs, which nobody needs: of seven layers it is a part of 1/20.
  """
  network = mlp.mlp((64,), 10, width=64, depth=6)
  stream = tiny_network.stream(num_classes=10, inputs=64)

  def flops(text):
    job = session.assemble(
      stream, network, recipes.build(text), base.Training(batch_size=32)
    )
    everything = mask.everything(network)
    return job.learner.step_program(everything).cost.flops

  limit = 400.5 * flops("naive")
  bought = {
    name: limit / flops(text)
    for name, text in {
      "er": "er:minibatch=32",
      "derpp": "derpp:minibatch=32",
      "lwf": "lwf",
    }.items()
  }
  assert bought == pytest.approx(
    {"er": 200, "derpp": 133, "lwf": 300}, rel=0.02
  )


def shown(job):
  """Plays a run; returns records, and the ids of each experience's batches."""
  batches, put = [], job.learner.put_batches

  def noted(read):
    batches.append(np.asarray(read.ids))
    return put(read)

  job.learner.put_batches = noted
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    state = event.state
  job.learner.put_batches = put
  return state, place.records, batches


def test_recent_examples_fill_the_budget_once():
  state, records, batches = shown(
    assemble("naive:draw=recent", limits.equal(999, EACH / 2))
  )
  del state
  planned = records[1].steps
  assert 1 < planned < 8  # 48 examples make 8 batches
  ids = np.concatenate([each.ravel() for each in batches[-planned // 2 :]])
  window = set(range(48 - 6 * planned, 48))
  assert set(ids.tolist()) - {-1} <= window


def test_uniform_ones_come_from_all_experiences():
  job = assemble("naive", limits.equal(999, 10 * EACH))
  _, records, batches = shown(job)
  first = {*np.concatenate([b.ravel() for b in batches[:3]]).tolist()} - {-1}
  last = {*np.concatenate([b.ravel() for b in batches[-4:]]).tolist()} - {-1}
  assert first <= set(range(24))
  assert min(last) < 24 <= max(last)
  assert records[0].steps > 8  # beyond an epoch


@pytest.mark.parametrize("draw", ["uniform", "recency"])
def test_a_stopped_run_repeats_itself(draw, tmp_path, monkeypatch):
  job = assemble(f"naive:draw={draw}")
  whole = session.run(job)
  options = dataclasses.replace(OPTIONS, checkpoint_seconds=0.0)

  def another():
    found = assemble(f"naive:draw={draw}")
    found.learner.compiler.add(job.learner.compiler.programs)
    return found

  stopped = another()
  put, calls = stopped.learner.put_batches, []

  def stopping(read):
    calls.append(0)
    if len(calls) == 6:
      raise KeyboardInterrupt
    return put(read)

  monkeypatch.setattr(stopped.learner, "put_batches", stopping)
  with pytest.raises(KeyboardInterrupt):
    session.run(stopped, tmp_path, options)
  again = session.run(another(), tmp_path, options)
  assert tiny_network.same_bits(whole.state, again.state)
  assert [r.steps for r in whole.records] == [r.steps for r in again.records]


def test_slots_begin_anew_and_weights_stay():
  job = assemble("naive")
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    if event.kind == "experience" and place.experience == 1:
      before = tiny_network.leaves(event.state.train.params)
      assert any(map(np.any, tiny_network.leaves(event.state.train.opt_state)))
    if event.kind == "begin" and place.experience == 1:
      slots = tiny_network.leaves(event.state.train.opt_state)
      assert not any(map(np.any, slots)) and slots
      after = tiny_network.leaves(event.state.train.params)
      assert all(map(np.array_equal, before, after))


def test_mistakes_are_told():
  with pytest.raises(ValueError, match="alpha=2 is for draw=recency"):
    recipes.build("naive:alpha=2")
  with pytest.raises(ValueError, match="draw=newest: give one of uniform"):
    recipes.build("naive:draw=newest")
