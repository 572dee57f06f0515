"""What an estimate says of a step's memory."""

import dataclasses

import pytest
import tiny_network

from jcl import base, recipes
from jcl.cost import program_cost
from jcl.run import estimate, session


def test_the_memory_of_an_update_is_taken_apart():
  job = session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    recipes.er(buffer=8, minibatch=4),
    base.Training(epochs=1, batch_size=6),
    options=session.Options(steps_per_dispatch=1),
  )
  found = estimate.of(job)
  assert found.memory is not None
  assert found.memory.peak == found.program.peak_bytes
  assert found.memory.gradients == 4 * found.parameters
  (line,) = [
    line for line in estimate.text(found).splitlines() if "of it" in line
  ]
  assert "gradients 592.00 B" in line and "replay memory" in line
  assert "anchors" not in line  # nothing of that kind is held
  unknown = dataclasses.replace(found, memory=None)
  assert "of it" not in estimate.text(unknown)


def test_solving_counts_as_in_a_run():
  def job():
    return session.assemble(
      tiny_network.stream(tasks=2),
      tiny_network.build(),
      recipes.slda(),
      base.Training(batch_size=6),
      options=session.Options(steps_per_dispatch=1),
    )

  found = estimate.of(job())
  assert (found.trained, found.solves) == (0, 2) and found.solving.flops > 0
  last = session.run(job()).records[-1]
  spent = last.costs["train"].flops
  assert found.in_all().flops / 2 == pytest.approx(spent, rel=0.01)
  assert found.replay_bytes == last.memory["bytes"]
  told = estimate.text(found)
  assert "none of which train\n" in told and "solving        2 times" in told


def test_classifiers_beside_updates_count_as_in_a_run():
  def job(epochs):
    return session.assemble(
      tiny_network.stream(tasks=2, per_class=20),
      tiny_network.build(),
      recipes.build("auto:m=16,buffer=8,share=0.2,aside=8"),
      base.Training(batch_size=6, epochs=epochs),
      options=session.Options(steps_per_dispatch=1),
    )

  found = estimate.of(job(1))
  records = session.run(job(0)).records
  assert [record.steps for record in records] == [0, 0]
  costs = records[-1].costs  # the first one has the drawing of weights too
  spent = sum(costs[name].flops for name in ("train", "replay", "probe"))
  assert found.beside.flops == pytest.approx(2 * spent, rel=1e-6)
  assert "FLOP in all, with what judges them" in estimate.text(found)


def test_a_method_that_selects_trains_its_first_choice():
  recipe = recipes.build("elastic:rho=0.8,profile=analytic")
  job = session.assemble(
    tiny_network.stream(tasks=2),
    tiny_network.build(),
    recipe,
    base.Training(epochs=1, batch_size=6),
    options=session.Options(steps_per_dispatch=1),
  )
  full = estimate.of(job)  # there is no profile
  session.profiled(job)
  found = estimate.of(job)
  assert full.trained == full.parameters == found.parameters
  assert 0 < found.trained < full.trained
  assert found.program.flops < full.program.flops
  assert "train at first" in estimate.text(found)
  assert "all of which train" in estimate.text(full)


def test_all_steps_and_all_solutions_are_added_up():
  program = program_cost.ProgramCost(3.0, 0.0, 8.0, 4.0, 2.0, 1.0)
  found = estimate.Estimate(
    parameters=20,
    trained=5,
    program=program,
    memory=None,
    compile_seconds=1.26,
    step_seconds=0.5,
    steps=10,
    examples=6,
    replay_bytes=96,
    joules=2.5,
    joules_source="modelled",
    solving=base.Cost(seconds=1.0, flops=7.0),
    solves=2,
  )
  assert found.in_all() == base.Cost(seconds=7.0, flops=44.0)
  assert estimate.text(found).splitlines() == [
    "  parameters     20, 5 train at first",
    "  updates        10, 6 examples each",
    "  operations     3.00 FLOP an update, 44.00 FLOP in all",
    "  solving        2 times, 7.00 FLOP and 1.00 s each",
    "  memory         11.00 B for an update (compiled program), of which 1.00 "
    "B scratch",
    "  replay memory  96.00 B",
    "  time           1.3 s to compile, then 500.00 ms an update, 7.00 s in "
    "all, evaluation not counted",
    "  energy         2.50 J (modelled)",
  ]
  unsolved = dataclasses.replace(found, solves=0, trained=20)
  told = estimate.text(unsolved)
  assert "solving" not in told and "20, all of which train at first" in told
  assert unsolved.in_all() == base.Cost(seconds=5.0, flops=30.0)
