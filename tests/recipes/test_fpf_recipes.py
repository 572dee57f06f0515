"""Rounds on the memory: what they change, cost and refuse."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.control import limits
from jcl.living import settings
from jcl.networks import mlp
from jcl.run import finite, loop, session
from jcl.selection import mask

TRAINING = base.Training(batch_size=6, learning_rate=0.1, epochs=2)
OPTIONS = session.Options(progress=False, steps_per_dispatch=3)
K_FPF = "k_fpf:k=3,updates=5,buffer=10,minibatch=4"
N, K, S = 16, 3, 5  # 4 batches, 2 epochs, 2 experiences


def assemble(text, programs=None, training=TRAINING, **options):
  job = session.assemble(
    tiny_network.stream(),
    tiny_network.build(),
    recipes.build(text),
    training,
    options=OPTIONS,
    **options,
  )
  job.learner.compiler.add(programs or {})
  return job


def play(job):
  """Runs a job; returns its last state, its records and its updates' ends."""
  state, place = loop.start(job)
  ends = []
  for event in loop.run(job, state, place):
    state = event.state
    if event.kind == "steps":
      ends.append(place.step)
  return state, place.records, ends


@pytest.fixture(scope="module")
def run():
  job = assemble(K_FPF)
  (rounds,) = job.breaks.kinds
  act, seen = rounds.act, []

  def watched(job, state, at, scope, number):
    before = jax.tree.map(np.array, (state.train, state.replay.seen))
    state = act(job, state, at, scope, number)
    after = jax.tree.map(np.array, (state.train, state.replay.seen))
    seen.append((at.step, before, after))
    return state

  rounds.act = watched
  return (*play(job), seen, job)


def test_rounds_come_between_updates_of_the_stream(run):
  state, records, ends, seen, _ = run
  assert [step for step, *_ in seen] == [5, 10, 16]
  assert {5, 10, 16} <= set(ends)
  assert int(state.train.step) == sum(r.steps for r in records) == N


def test_a_round_changes_what_it_tunes_and_nothing_else(run):
  *_, seen, _ = run
  for _, (before, offered), (after, still) in seen:
    assert offered == still
    assert tiny_network.same_bits(before.opt_state, after.opt_state)
    assert before.step == after.step
    for unit in ("first", "second", "head"):
      kept = tiny_network.same_bits(
        before.params[unit]["kernel"], after.params[unit]["kernel"]
      )
      assert kept == (unit != "head")
      moved = before.params[unit]["bias"] != after.params[unit]["bias"]
      assert moved.any()
    for unit in ("first", "second"):  # statistics follow the memory
      assert after.stats[unit]["calls"] - before.stats[unit]["calls"] == S


def test_costs_are_those_of_updates_and_rounds(run):
  _, records, _, _, job = run
  (rounds,) = job.breaks.kinds
  everything = mask.everything(job.learner.network)
  step = job.learner.step_program(everything).cost.flops
  spent = {
    name: sum(r.costs[name].flops for r in records)
    for name in ("train", "replay")
  }
  (drawn,) = (
    each.cost.flops
    for key, each in job.learner.compiler.programs.items()
    if key[0] == ("network",)  # the first weights
  )
  assert spent["train"] == pytest.approx(N * step + drawn, rel=0.01)
  assert spent["replay"] == pytest.approx(K * rounds.price(job).flops, rel=0.01)


def test_without_rounds_it_is_finetune(run):
  *_, job = run
  plain = play(assemble("finetune"))[0].train.params
  none = play(
    assemble(K_FPF.replace("k=3", "k=0"), job.learner.compiler.programs)
  )
  assert tiny_network.same_bits(plain, none[0].train.params)
  assert not tiny_network.same_bits(plain, run[0].train.params)


def test_a_run_killed_inside_a_round_ends_as_if_it_were_not(
  run, tmp_path, monkeypatch
):
  state, *_, job = run
  programs, check, calls = job.learner.compiler.programs, finite.check, []

  def stopping(stream, index, step, losses, ids):
    calls.append(0)
    if (ids == -1).all() and len(calls) > 6:  # of a round
      raise KeyboardInterrupt
    check(stream, index, step, losses, ids)

  options = dataclasses.replace(OPTIONS, checkpoint_seconds=0.0)
  monkeypatch.setattr(finite, "check", stopping)
  with pytest.raises(KeyboardInterrupt):
    session.run(assemble(K_FPF, programs), tmp_path, options)
  monkeypatch.undo()
  again = session.run(assemble(K_FPF, programs), tmp_path, options)
  assert tiny_network.same_bits(state, again.state)


@pytest.mark.parametrize("text", [K_FPF, K_FPF.replace("k=3", "every=4")])
def test_a_limit_has_room_for_rounds(text):
  each = 80_000.0
  long = dataclasses.replace(TRAINING, epochs=999)
  job = assemble(text, training=long, controller=limits.equal(999, each))
  (rounds,) = job.breaks.kinds
  act, count = rounds.act, []

  def counted(*args):
    count.append(args[2].step)
    return act(*args)

  rounds.act = counted
  _, records, _ = play(job)
  everything = mask.everything(job.learner.network)
  step = job.learner.step_program(everything).cost.flops
  steps = sum(r.steps for r in records)
  assert len(count) == (3 if "k=3" in text else steps // 4)
  if "k=3" in text:
    assert count[-1] == steps
  spent = sum(r.costs[a].flops for r in records for a in limits.LEARNING)
  most = step + (0 if "k=3" in text else rounds.price(job).flops)
  assert 0 <= 2 * each - spent < most


def test_updates_of_the_stream_cost_those_of_finetune():
  network = mlp.mlp((64,), 10, width=64, depth=2)
  stream = tiny_network.stream(num_classes=10, inputs=64)
  found = [
    session.assemble(
      stream, network, recipes.build(text), base.Training(batch_size=32)
    )
    .learner.step_program(mask.everything(network))
    .cost.flops
    for text in ("finetune", "k_fpf:buffer=20")
  ]
  assert found[1] == pytest.approx(found[0], rel=0.01)


def test_a_frozen_trunk_stays_and_logits_are_held():
  """Behind another recipe the round comes last, and tunes what that trains."""
  text = "er:buffer=8,minibatch=4+head_only+fpf:updates=4,rows=6,logits=0.5"
  job = assemble(text)
  state, place = loop.start(job)
  before = tiny_network.leaves(state.train.params)[:2]
  steps = []
  for event in loop.run(job, state, place):
    state = event.state
    steps.append(np.array(state.train.params["head"]["bias"]))
  assert all(
    map(np.array_equal, before, tiny_network.leaves(state.train.params)[:2])
  )
  assert state.replay.items.extras["logits"].shape == (8, 4)
  assert all(
    state.train.stats[unit]["calls"] == 0 for unit in ("first", "second")
  )
  plain = play(assemble(text.replace(",logits=0.5", "")))[0]
  assert not tiny_network.same_bits(plain.train.params, state.train.params)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("finetune+fpf", "draws from none: put it behind .* er or derpp"),
    ("k_fpf+fpf", "rounds of its own"),
    ("er+head_only+fpf+slda", "nothing ahead of the head changes"),
    ("er+fpf+carm", "has it on the host"),
  ],
)
def test_what_cannot_have_rounds(text, message):
  with pytest.raises(ValueError, match=message):
    assemble(text)


def test_rounds_need_a_rate_that_is_a_number():
  moving = dataclasses.replace(TRAINING, learning_rate=lambda step: 0.1)
  with pytest.raises(ValueError, match="a number for learning_rate"):
    assemble(K_FPF, training=moving)


def test_a_live_stream_has_no_length_to_spread_rounds_over():
  with pytest.raises(ValueError, match="such as every=100"):
    settings.check(settings.Settings("k_fpf", "mlp", None))
