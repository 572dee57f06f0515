"""What budgets buy: costs as runs have them, points, and what is printed."""

import dataclasses
import functools
import math

import jax
import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.control import joint, limits, prior
from jcl.cost import program_cost
from jcl.networks import catalogue, pretrained
from jcl.run import arms, estimate, frontier, session, setup

TEXT = "auto:buffer=8,minibatch=4,share=0.2,aside=8"
TRAINING = base.Training(batch_size=6, epochs=2, learning_rate=0.1)


@functools.cache
def stream():
  return tiny_network.stream(tasks=2, per_class=40)


def assemble(asked, text=TEXT):
  return setup.assemble(
    dataclasses.replace(asked, training=TRAINING),
    text,
    stream=stream(),
    model=tiny_network.build(),
  )


def budgeted(flops=None, **budgets):
  options = session.Options(progress=False, steps_per_dispatch=2)
  return setup.Setup(flops_budget=flops, options=options, **budgets)


def around(asked, text=TEXT):
  job = assemble(asked, text)
  found = estimate.of(job)
  assert frontier.applies(asked, recipes.build(text))
  return frontier.of(asked, job, found, functools.partial(assemble, text=text))


def spent(result):
  return sum(
    each.costs[name].flops
    for each in result.records
    for name in limits.COUNTED
    if name in each.costs
  )


ARM = arms.Arm(
  beside=base.Cost(seconds=4.0, joules=40.0, flops=1000.0),
  update=base.Cost(seconds=0.1, joules=1.0, flops=10.0),
  compiling=base.Cost(seconds=2.0, joules=20.0),
  features=50,
  memory=30,
  held=400,
  batches=20,
  epochs=3,
  classes=4,
  fewest=joint.LEAST_UPDATES,
  studied=True,
)


def test_a_budget_pays_for_classifiers_first_and_then_for_updates():
  point = ARM.point({"flops": 1255.0})
  assert (point.updates, point.passes) == (25, 1.25)
  assert point.cost == base.Cost(seconds=8.5, joules=85.0, flops=1250.0)
  assert point.pays and point.way == "auto"
  law = prior.laws()["auto"]
  assert point.accuracy == prior.expected(law, 1250 / 200, 4)
  # What is scarcest decides, and programs are compiled before any update.
  assert ARM.point({"flops": 1e9, "joules": 70.0}).updates == 10
  assert ARM.point({"seconds": 8.0}).updates == 20


def test_too_few_updates_are_none_and_the_classifier_is_all():
  point = ARM.point({"flops": 1000.0 + 10.0 * (joint.LEAST_UPDATES - 1)})
  assert point.updates == 0 and point.cost == ARM.beside and point.pays
  law = prior.laws()["randumb"]
  assert (point.way, point.accuracy) == ("randumb", prior.expected(law, 50, 4))
  assert not ARM.point({"flops": 999.0}).pays
  bare = dataclasses.replace(ARM, features=None)
  assert bare.point({"flops": 1e4}).way == "er"
  assert not bare.point({"flops": 1000.0}).pays  # it learns nothing
  assert bare.least.flops == 1000.0 + 10.0 * joint.LEAST_UPDATES
  assert ARM.least == ARM.beside


def test_passes_have_an_end():
  assert ARM.point({}).updates == 3 * 20
  assert ARM.point({"flops": 1e9}).updates == joint.PASSES * 3 * 20


@pytest.mark.parametrize("features", [0, None])
def test_a_trunks_features_and_none_are_told_apart(features):
  made = frontier.Frontier(
    (), dataclasses.replace(ARM, features=features).point({}), ARM.least
  )
  told = frontier.text(made)
  assert ("the trunk's features" in told) == (features == 0)


def test_a_classifier_of_a_learned_trunk_changes_what_updates_cost():
  network = catalogue.build("mlp", (4,), 4, width=8, depth=2)
  drawn = network.init(jax.random.key(7))
  network = pretrained.with_weights(network, *drawn, fresh=("head",))

  def job(m):
    text = f"{TEXT},m={m}" if m else TEXT
    asked = dataclasses.replace(budgeted(None if m else 1e6), training=TRAINING)
    return setup.assemble(asked, text, stream=stream(), model=network)

  found, pace = estimate.of(job(16)), arms.Pace(0.0, 0.0, 0.0)
  wide, plain = (arms.priced(job(m), found, pace) for m in (16, 0))
  assert (wide.features, plain.features) == (16, 0) and not wide.studied
  assert wide.update.flops == found.program.flops > plain.update.flops > 0
  assert wide.update.seconds > plain.update.seconds


def test_no_study_is_of_learned_weights():
  point = dataclasses.replace(ARM, studied=False).point({"flops": 1e4})
  assert point.way is point.accuracy is None and point.updates
  told = frontier.text(frontier.Frontier((point,), point, ARM.least))
  assert "unknown, since no study is of learned weights" in told
  assert "; accuracy" not in told


def test_costs_are_those_that_a_run_on_the_digits_has():
  asked = dataclasses.replace(
    budgeted(), model="mlp:width=4", training=base.Training(epochs=2)
  )
  dealt = setup.deal(asked, setup.read(asked), 0)

  def job(flops=None):
    given = dataclasses.replace(asked, flops_budget=flops)
    return setup.assemble(given, "auto:m=50,buffer=60,aside=20", stream=dealt)

  def learned(flops):
    result = session.run(job(flops), None, asked.options)
    return spent(result) - began, sum(each.steps for each in result.records)

  first = job()
  found = estimate.of(first)
  arm = arms.priced(first, found, arms.Pace(0.0, 0.0, 0.0))
  drawing = job()
  drawing.learner.init(drawing.step_key)
  began = drawing.ledger.totals()["train"].flops  # of the first weights
  # Classifiers alone, to the operation.
  took, updates = learned(arm.beside.flops + began + arm.update.flops)
  assert updates == 0 and took == pytest.approx(arm.beside.flops, rel=1e-6)
  # Updates as well, too few to be looked at often.
  more = arm.beside.flops + began + 75.5 * arm.update.flops
  point = arm.point({"flops": more})
  took, updates = learned(more)
  assert point.updates == pytest.approx(75, abs=2)
  assert 0.6 * point.updates < updates <= point.updates  # looks take the rest
  assert took == pytest.approx(point.cost.flops, rel=0.05)
  # Less than classifiers take is refused ahead of a run as in it.
  little = 0.9 * arm.beside.flops
  with pytest.raises(jcl.UsageError, match="give [0-9]+ or more") as run:
    learned(little)
  with pytest.raises(jcl.UsageError) as ahead:
    estimate.of(job(little))
  assert str(ahead.value) == str(run.value)


def test_updates_cost_the_same_whatever_stands_beside_the_network():
  costs = [
    arms.one_pass(assemble(budgeted(), text)).flops
    for text in (f"{TEXT},m=20", f"{TEXT},m=50", f"{TEXT},free=epochs")
  ]
  assert costs == pytest.approx([costs[0]] * 3, rel=0.01)


def test_points_lie_around_the_budget_and_cost_no_more_than_theirs():
  made = around(budgeted(6e6))
  given = [each.limits["flops"] for each in made.points]
  assert given == sorted(given) and 6e6 in given and made.asked in made.points
  for point in made.points:
    assert point.cost.flops <= point.limits["flops"]
    assert point.cost.joules > 0 and point.held > 0
  assert 0 < made.least.flops < min(given)
  told = frontier.text(made)
  assert "> 6 MFLOP" in told and "accuracy: from auto on" in told
  assert "updates of the network" in told


def test_without_a_budget_points_lead_up_to_the_usual_run():
  made = around(budgeted(), f"{TEXT},m=20")
  *others, last = made.points
  assert last is made.asked and last.limits == {}
  assert last.passes == 2 and last.features == 20
  costs = [each.cost.flops for each in others]
  assert costs == sorted(costs) and len(others) == 6
  assert made.least.flops < others[0].limits["flops"]
  assert others[-1].limits["flops"] == pytest.approx(last.cost.flops, rel=0.05)
  assert "no limit: a classifier of 20 random features" in frontier.text(made)


def test_a_budget_of_joules_is_spent_by_time():
  made = around(budgeted(energy_budget="900J"), f"{TEXT},m=20")
  assert made.asked.limits == {"joules": 900.0}
  assert made.asked.cost.joules <= 900.0
  assert {tuple(each.limits) for each in made.points} == {("joules",)}


def test_a_budget_is_read_and_replaced():
  asked = budgeted(5.0, energy_budget="3J")
  assert frontier.budget(asked) == {"flops": 5.0, "joules": 3.0}
  other = frontier.limited(asked, {"seconds": 0.5, "joules": 1e-7})
  assert frontier.budget(other) == {"seconds": 0.5, "joules": 1e-7}
  assert frontier.budget(setup.Setup()) == {}
  assert frontier.budget(budgeted(math.inf, energy_budget="inf")) == {}


def test_other_recipes_and_equal_budgets_have_no_frontier():
  assert not frontier.applies(budgeted(), recipes.er())
  auto = recipes.build(TEXT)
  assert not frontier.applies(setup.Setup(equal_flops=1e9), auto)


def test_points_are_printed_in_columns():
  point = ARM.point({"flops": 1255.0})
  small = ARM.point({"flops": 1000.0})
  made = frontier.Frontier((small, point), point, ARM.least)
  header, first, second, laws, buys, least = frontier.text(made).splitlines()
  assert header.split()[:4] == ["budget", "operations", "joules", "held"]
  assert first.split()[:2] == ["1,000", "FLOP"] and " 0 " in first
  assert second.startswith("  > 1,255 FLOP") and "1.2" in second
  assert laws.startswith("  accuracy: from auto on 5 data sets and randumb")
  assert "a classifier of 50 random features and about 25 updates" in buys
  assert least == "  the cheapest way of learning takes 1,000 FLOP"


def test_a_budget_that_pays_for_nothing_is_told():
  made = frontier.Frontier((), ARM.point({"joules": 1.0}), ARM.least)
  assert frontier.text(made).endswith(
    "1 J: less than learning takes; the cheapest way takes 40 J"
  )


def test_an_estimate_keeps_to_the_budget():
  program = program_cost.ProgramCost(10.0, 0.0, 8.0, 4.0, 2.0, 1.0)
  found = estimate.Estimate(
    20, 20, program, None, 2.0, 0.1, 600, 6, 96, 60.0, "modelled"
  )
  point = ARM.point({"flops": 1255.0})
  kept = frontier.kept(found, frontier.Frontier((point,), point, ARM.least))
  assert (kept.steps, kept.joules) == (25, 85.0)
  assert kept.in_all().flops == 250.0
