"""Recipes that are solved from sums: order, cost, resuming, what is refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.networks import catalogue, pretrained
from jcl.objectives import predictors, statistics
from jcl.run import estimate, evaluation, loop, session
from jcl.streams import scenarios, sources

QUIET = session.Options(progress=False)


@functools.cache
def built():
  return catalogue.build("mlp", (4,), 4, width=6, depth=1)


@functools.cache
def learned():
  network = built()
  return pretrained.with_weights(network, *network.init(jax.random.key(1)))


def run(
  method,
  stream=None,
  network=None,
  workdir=None,
  seed=0,
  compiled=None,
  **training,
):
  """Runs a recipe, with programs of others that differ in examples alone."""
  if isinstance(method, str):
    method = recipes.build(method)
  job = session.assemble(
    stream or tiny_network.stream(),
    network or built(),
    method,
    base.Training(**training),
    seed,
    QUIET,
  )
  compiled = {} if compiled is None else compiled
  job.learner.compiler.add(compiled)
  try:
    return session.run(job, workdir, QUIET)
  finally:
    compiled.update(job.learner.compiler.programs)


ALONE = ("ncm", "slda", "ridge", "ranpac:m=24", "randumb:m=24,gamma=0.1")


@pytest.mark.parametrize("recipe", ALONE)
def test_the_cut_into_experiences_does_not_matter(recipe):
  source, compiled = tiny_network.source(), {}
  found = [
    # Normalisation would be by the first experience.
    run(
      recipe,
      scenarios.class_incremental(source, tasks=tasks, normalize="none"),
      compiled=compiled,
    )
    for tasks in (1, 2, 4)
  ]
  x = source.test.x
  expected = found[0].predict_scores(x)
  for other in found[1:]:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
      other.predict_scores(x), expected, rtol=0, atol=2e-3 * scale
    )
    assert (other.predict(x) == found[0].predict(x)).mean() >= 0.95


def test_nothing_is_trained_and_no_step_is_compiled(monkeypatch):
  def refuse(*_args, **_more):
    raise AssertionError("a step was asked for")

  monkeypatch.setattr(jcl.train.learner.Learner, "step_program", refuse)
  result = run("slda")
  network = built()
  first, _ = network.init(jax.random.fold_in(jax.random.key(0), 0))
  assert tiny_network.same_bits(result.state.train.params, first)
  for record in result.records:
    assert record.steps == record.loss == record.trained[0] == 0
    assert record.decision.epochs == 0
  assert not jax.tree.leaves(result.state.train.opt_state)
  rows = result.state.objective.sums.rows
  assert rows.tolist() == [12] * 4


def test_classes_to_come_are_never_predicted():
  result = run("slda", tiny_network.stream(tasks=2))
  assert result.records[0].accuracy[1] == 0
  stream = tiny_network.stream(tasks=2)
  job = session.assemble(
    stream,
    built(),
    recipes.slda(),
    base.Training(),
  )
  state, at = loop.start(job)
  blank = np.asarray(
    session.trained(job, state).predict_scores(tiny_network.batch().x)
  )
  assert (blank == predictors.NEVER).all()
  for event in loop.run(job, state, at):
    if event.kind == "experience":
      scores = session.trained(job, event.state).predict_scores(
        tiny_network.batch().x
      )
      assert (scores[:, 2:] == predictors.NEVER).all()
      assert (scores[:, :2] > predictors.NEVER).all()
      break


@pytest.mark.parametrize(
  "recipe", ["slda", "ranpac:m=24", "er:buffer=8+head_only+ridge"]
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(
  recipe, tmp_path, monkeypatch
):
  same = {"stream": tiny_network.stream(tasks=4), "compiled": {}}
  whole = run(recipe, workdir=tmp_path / "whole", **same)
  record = evaluation.record
  for stop in (1, 3):

    def interrupted(job, state, at, scope, stop=stop):
      if at.experience == stop:
        raise KeyboardInterrupt
      return record(job, state, at, scope)

    monkeypatch.setattr(evaluation, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
      run(recipe, workdir=tmp_path / "parts", **same)
  monkeypatch.setattr(evaluation, "record", record)
  again = run(recipe, workdir=tmp_path / "parts", **same)
  assert tiny_network.same_bits(whole.state, again.state)
  x = tiny_network.batch().x
  np.testing.assert_array_equal(
    whole.predict_scores(x), again.predict_scores(x)
  )
  loaded = jcl.load_model(tmp_path / "parts")
  np.testing.assert_array_equal(
    loaded.predict_scores(x), whole.predict_scores(x)
  )


def test_checkpoints_hold_the_seed_of_a_random_unit():
  result = run("ranpac:m=24")
  stats = result.state.train.stats["expand"]
  assert sum(np.size(leaf) for leaf in stats.values()) == 2
  assert stats["seed"] == 0


def test_cost_is_that_of_learning():
  generator = np.random.default_rng(0)
  y = np.arange(1000) % 100
  x = generator.normal(size=(1000, 16)).astype(np.float32)
  source = sources.arrays(x, y, x[:100], y[:100])
  stream = scenarios.class_incremental(source, tasks=1)
  network = catalogue.build("mlp", (16,), 100, width=1280, depth=1)
  result = run("slda", stream, network)
  (record,) = result.records
  forward = 2 * (16 * 1280 + 1280 * 100)
  expected = 1000 * forward + 3.3e9 + 1.03e9
  assert record.costs["train"].flops == pytest.approx(expected, rel=0.05)
  # One batch of 100 rows is evaluated, by the network and 1280 x 100 weights.
  assert record.costs["evaluate"].flops < 3 * 100 * forward
  assert round(record.memory["bytes"] / 1e6, 2) == 7.07
  assert record.memory["statistics_bytes"] == record.memory["bytes"]
  assert not record.costs["probe"].flops


def test_a_solution_is_kept_until_its_statistics_change():
  result = run("slda", tiny_network.stream(tasks=2))
  solved = [record.costs["train"].flops for record in result.records]
  again = [record.costs["train"].flops for record in run("slda").records]
  assert solved == again
  spent = result.summary["costs"]["train"]["flops"]
  assert spent == pytest.approx(sum(solved))  # the model is not solved again


@pytest.mark.parametrize(
  "recipe, words",
  [
    ("er+slda", "'dense_0' of network 'mlp' may train.*er.head_only.slda"),
    ("er+bn_bias+ridge", "'dense_0' of network 'mlp' may train"),
    ("lightcl:anchors=8,freeze=1+slda", "'dense_0' of network 'mlp' may train"),
    ("joint+head_only+slda", "'dense_0'.*is drawn anew"),
    ("slda:epochs=3", "epochs=3.*makes no updates"),
    ("er:epochs=0", "epochs=0: the recipe learns by updates"),
    (
      "slda:shrink=0",
      "shrink=0 with 24 rows of 2 classes: 40 features need 42",
    ),
  ],
)
def test_what_cannot_be_is_told(recipe, words):
  network = catalogue.build("mlp", (4,), 4, width=40, depth=1)
  with pytest.raises(jcl.UsageError, match=words):
    run(recipe, network=network)


def test_moving_statistics_are_refused():
  network = catalogue.build("conv1d", (8, 2), 4, width=4, depth=1)
  method = recipes.build("er+head_only+slda:norms=moving")
  generator = np.random.default_rng(0)
  x = generator.normal(size=(40, 8, 2)).astype(np.float32)
  source = sources.arrays(x, np.arange(40) % 4, x[:8], np.arange(8) % 4)
  stream = scenarios.class_incremental(source, tasks=2)
  with pytest.raises(jcl.UsageError, match="'conv_0'.*moves its running"):
    run(method, stream, network)


def test_a_trained_trunk_may_be_frozen_by_any_recipe():
  anchored = run("lightcl:anchors=8,freeze=1+slda", network=learned())
  alone = run("slda", network=learned())
  x = tiny_network.batch().x
  np.testing.assert_allclose(
    anchored.predict_scores(x), alone.predict_scores(x), rtol=1e-4
  )
  assert anchored.records[0].steps > 0


@pytest.mark.parametrize("recipe", ["slda", "ranpac:m=24"])
def test_a_kept_trunk_computes_the_same_for_less(recipe):
  plain, kept = (
    session.learn(
      tiny_network.stream(),
      learned(),
      recipes.build(recipe),
      options=session.Options(progress=False, trunk_cache=cache),
    )
    for cache in ("", "raw")
  )
  x = tiny_network.batch().x
  np.testing.assert_allclose(
    kept.predict_scores(x), plain.predict_scores(x), rtol=1e-5
  )
  flops = [run.records[0].costs["train"].flops for run in (plain, kept)]
  assert flops[1] < flops[0]


def test_a_networks_features_are_needed():
  network = dataclasses.replace(tiny_network.build(), features=None)
  with pytest.raises(jcl.UsageError, match="reads features.*'tiny' names none"):
    run("slda", network=network)


def test_the_width_of_the_kernel_is_that_of_the_first_batch():
  stream = tiny_network.stream()
  result = run("randumb:m=16", stream, batch_size=7)
  first = stream.experiences[0].data.x
  from jcl.streams import batching

  order = batching.epoch_order(len(first), 0, 0, 0)
  x = (first[order[:7]] - stream.mean) / stream.std
  gamma = float(result.state.train.stats["expand"]["gamma"])
  assert gamma == pytest.approx(1 / (4 * np.var(x)), rel=1e-5)
  given = run("randumb:m=16,gamma=0.25", stream)
  assert given.state.train.stats["expand"]["gamma"] == 0.25


def test_old_examples_may_fade():
  result = run("slda:decay=0.5")
  rows = np.asarray(result.state.objective.sums.rows)
  assert rows.sum() == pytest.approx(2, abs=1e-3) and rows[2:].sum() > 1.9


def test_two_devices_learn_what_one_would():
  source = tiny_network.source(per_class=20)
  train = source.train
  parts = []
  for half in (slice(0, None, 2), slice(1, None, 2)):
    part = sources.arrays(
      train.x[half], train.y[half], source.test.x, source.test.y
    )
    # Inputs are normalised alike where the data is given as it is.
    parts.append(scenarios.class_incremental(part, tasks=2, normalize="none"))
  whole = scenarios.class_incremental(source, tasks=2, normalize="none")
  network = built()
  first, second, both = (
    run("slda", stream, network).state.objective.sums
    for stream in (*parts, whole)
  )
  merged = statistics.merge(first, second)
  np.testing.assert_array_equal(merged.rows, both.rows)
  np.testing.assert_allclose(
    statistics.within(merged), statistics.within(both), atol=1e-3
  )
  other = run("slda", parts[1], network, seed=1).state.objective.sums
  with pytest.raises(jcl.UsageError, match="the trunk differs"):
    statistics.merge(first, other)


@pytest.mark.parametrize("recipe", ["slda", "randumb:m=16"])
def test_an_estimate_is_that_of_passes(recipe):
  job = session.assemble(
    tiny_network.stream(),
    built(),
    recipes.build(recipe),
    base.Training(),
  )
  found = estimate.of(job)
  assert found.trained == 0 and found.steps == 2 and found.examples == 100
  told = estimate.text(found)
  for words in ("none of which train", "2, 100 examples each", "a batch"):
    assert words in told
  assert "statistics" in told and "update" not in told
