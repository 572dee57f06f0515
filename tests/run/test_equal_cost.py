"""One limit for all recipes: what each of them spends, to the operation."""

import dataclasses
import functools
import math

import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.control import limits
from jcl.run import evaluation, loop, session
from jcl.train import prices

EACH = 200_000.0  # operations for an experience
RECIPES = (
  "finetune",
  "joint:restart=false",
  "naive",
  "naive+head_only",
  "er:buffer=6,minibatch=6",
  "derpp:buffer=6,minibatch=6",
  "lwf",
  "ewc",
  "icarl:buffer=8,minibatch=6",
  "finetune+head_only",
)


def assemble(recipe, controller=None, **options):
  return session.assemble(
    tiny_network.stream(),
    tiny_network.build(),
    recipes.build(recipe),
    base.Training(batch_size=6, learning_rate=0.1),
    options=session.Options(progress=False, **options),
    controller=controller or limits.equal(999, EACH),
  )


def play(job):
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    state = event.state
  return place.records


def spent(record) -> float:
  return sum(record.costs[name].flops for name in limits.LEARNING)


@functools.cache
def learned(recipe):
  return play(assemble(recipe))


def step_flops(recipe) -> float:
  job = assemble(recipe)
  state, selection = job.learner.init(job.key)
  del state
  if "head_only" in recipe:
    selection = tiny_network.HEAD
  return job.learner.step_program(selection).cost.flops


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_pass_of_learning_counts(recipe):
  records, step, total = learned(recipe), step_flops(recipe), 0.0
  for index, record in enumerate(records):
    total += spent(record)
    left = EACH * (index + 1) - total
    # Nothing beyond the limit, and no room for one more update below it.
    assert -1e-6 * step <= left < step * (1 + 1e-6), recipe
    assert record.steps > 0
  assert records[1].decision.limit.flops == 2 * EACH - spent(records[0])
  assert records[1].decision.limit.flops > EACH  # what was left carries over


def difference(runs) -> float:
  """Returns how far the costs of runs are apart, after any experience."""
  totals = [
    [sum(map(spent, records[: i + 1])) for records in runs] for i in range(2)
  ]
  return max(max(each) - min(each) for each in totals)


def test_costs_differ_by_less_than_an_update_of_the_dearest_recipe():
  dearest = max(map(step_flops, RECIPES))
  assert difference([learned(recipe) for recipe in RECIPES]) < dearest


@pytest.mark.parametrize("recipe", ["ewc", "icarl:buffer=8,minibatch=6"])
def test_a_share_of_a_budget_is_no_equal_cost(recipe):
  """Passes behind the updates come on top, for the next experience to pay."""
  whole = dataclasses.replace(base.UNLIMITED, flops=2 * EACH)
  shared = limits.within(999, whole)
  runs = [play(assemble(each, shared)) for each in ("finetune", recipe)]
  assert difference(runs) > max(map(step_flops, RECIPES))


def test_evaluations_cost_no_update():
  often = play(assemble("er:buffer=6,minibatch=6", evaluate_every=1))
  once = learned("er:buffer=6,minibatch=6")
  assert [r.steps for r in often] == [r.steps for r in once]
  assert often[0].costs["evaluate"].flops > once[0].costs["evaluate"].flops


def test_the_limit_is_kept_whatever_the_updates_of_a_dispatch():
  steps = {
    tuple(
      record.steps
      for record in play(assemble("ewc", steps_per_dispatch=dispatch))
    )
    for dispatch in (2, 5)
  }
  assert len(steps) == 1


@pytest.mark.parametrize("recipe", ["slda", "ridge:lam=gcv", "ncm"])
def test_a_solved_recipe_spends_the_same_with_any_limit(recipe):
  limit = limits.equal(0, EACH)
  (first, *_) = play(assemble(recipe, limit))
  assert 0 < spent(first) < EACH and not first.steps
  state, at = loop.start(job := assemble(recipe, limit))
  scope = loop.scope_of(job, 0)
  priced = prices.closing(
    job.stream, job.learner, state, 0, scope, job.trainee.selection
  )
  begun = job.ledger.pending()["train"].flops
  assert spent(first) == pytest.approx(begun + priced.flops)
  with pytest.raises(jcl.UsageError, match="100 flops for every experience"):
    play(assemble(recipe, limits.equal(0, 100.0)))
  assert at.records == []


def test_stopped_runs_go_on_with_what_is_left(tmp_path, monkeypatch):
  def run(folder):
    return session.run(assemble("ewc"), folder)

  whole = run(tmp_path / "whole")
  record = evaluation.record

  def interrupted(job, state, at, scope):
    if at.experience == 1:
      raise KeyboardInterrupt
    return record(job, state, at, scope)

  monkeypatch.setattr(evaluation, "record", interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path / "parts")
  monkeypatch.setattr(evaluation, "record", record)
  again = run(tmp_path / "parts")
  assert tiny_network.same_bits(whole.state, again.state)
  limited = [r.decision for r in again.records]
  assert limited == [r.decision for r in whole.records]
  assert limited[0].counts == limits.LEARNING
  assert math.isclose(sum(map(spent, again.records)), 2 * EACH, rel_tol=0.2)
