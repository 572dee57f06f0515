"""Closed form, then gradients: in runs, stopped runs, and at equal cost."""

import collections
import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.control import limits
from jcl.networks import catalogue, pretrained
from jcl.objectives import closed_form, statistics
from jcl.replay import held_out
from jcl.report import decoding, encoding, paragraph, summary
from jcl.run import evaluation, session

SHARE = "share=0.2,aside=8"


@functools.cache
def network(width=6, depth=1):
  built = catalogue.build("mlp", (4,), 4, width=width, depth=depth)
  learned = built.init(jax.random.key(1))
  return pretrained.with_weights(built, *learned)


@functools.cache
def compiled():
  """Programs by what they depend on."""
  return collections.defaultdict(dict)


def run(recipe, workdir=None, controller=None, depth=1, **options):
  options = session.Options(progress=False, **options)
  job = session.assemble(
    tiny_network.stream(per_class=20),
    network(depth=depth),
    recipes.build(recipe),
    base.Training(batch_size=6, epochs=2, learning_rate=0.1),
    0,
    options,
    controller,
  )
  known, compiler = compiled()[recipe, depth, options], job.learner.compiler
  compiler.add(known)
  try:
    return session.run(job, workdir, options)
  finally:
    known.update(compiler.programs)


@functools.cache
def learned():
  return run(f"er:buffer=12+head_only+solved:{SHARE}")


def test_the_classifier_is_that_of_all_that_may_train():
  result = learned()
  stream = tiny_network.stream(per_class=20)
  rule = held_out.by_number(0.2)
  x, y = (
    np.concatenate([getattr(each.data, name) for each in stream.experiences])
    for name in ("x", "y")
  )
  kept = ~np.asarray(rule(np.arange(len(x), dtype=np.int32)))
  state, net = result.state, network()
  inputs = (x - stream.mean) / stream.std
  params, stats = state.train.params, state.train.stats
  rows = net.apply(params, stats, inputs, taps=(net.features,)).taps
  sums = statistics.add(
    statistics.zeros(4, 6), rows[net.features][kept], y[kept], kept[kept]
  )
  expected = closed_form.shared_covariance(jax.tree.map(np.asarray, sums))
  np.testing.assert_allclose(
    state.objective.linear.weight, expected.linear.weight, rtol=1e-3, atol=1e-3
  )
  # The frozen unit is as it was, and the head moved on from what was written.
  begun, _ = net.init(jax.random.key(0))
  assert tiny_network.same_bits(params["dense_0"], begun["dense_0"])
  record = result.records[-1]
  assert record.steps > 0 and record.judged["examples"] > 0
  assert record.memory["statistics_bytes"] < record.memory["bytes"]
  assert decoding.record(encoding.to_json(record)) == record


def test_the_memory_holds_examples_set_aside_beside_its_own():
  result = learned()
  items = jax.tree.map(np.asarray, result.state.replay.items)
  rule = held_out.by_number(0.2)
  held = np.asarray(rule(items.ids)) & (items.weight > 0)
  assert len(items.y) == 20 and held[-8:].all() and not held[:12].any()
  assert len(set(items.ids[-8:].tolist())) == 8  # none stands there twice
  assert np.bincount(items.task[-8:]).tolist() == [4, 4]
  assert result.records[-1].judged["examples"] == 8


def test_all_that_is_set_aside_judges_however_few_updates_there_are():
  one = base.Controller(
    init=lambda: (),
    decide=lambda state, seen: (
      base.Decision(1, dataclasses.replace(base.UNLIMITED, flops=1.0)),
      state,
    ),
  )
  result = run(f"derpp:buffer=12+head_only+solved:{SHARE}", controller=one)
  assert [record.steps for record in result.records] == [1, 1]
  assert [record.judged["examples"] for record in result.records] == [8, 8]


def test_what_predicts_is_what_was_better():
  result = learned()
  judged = result.records[-1].judged
  fitted = result.model.fitted
  assert bool(fitted.trained) == (judged["trained"] > judged["solved"])
  assert {"examples", "solved", "trained"} == judged.keys()


@pytest.mark.parametrize(
  "recipe",
  [
    f"er:buffer=12+head_only+solved:{SHARE}",
    f"derpp:buffer=12+freeze:until=1+solved:{SHARE},by=ridge",
  ],
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(
  recipe, tmp_path, monkeypatch
):
  whole = run(recipe, tmp_path / "whole", depth=2)
  record = evaluation.record

  def interrupted(job, state, at, scope):
    if at.experience == 1:
      raise KeyboardInterrupt
    return record(job, state, at, scope)

  monkeypatch.setattr(evaluation, "record", interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(recipe, tmp_path / "parts", depth=2)
  monkeypatch.setattr(evaluation, "record", record)
  again = run(recipe, tmp_path / "parts", depth=2)
  assert tiny_network.same_bits(whole.state, again.state)
  assert [r.judged for r in whole.records] == [r.judged for r in again.records]
  x = tiny_network.batch().x
  np.testing.assert_array_equal(
    whole.predict_scores(x), again.predict_scores(x)
  )
  loaded = jcl.load_model(tmp_path / "parts", network=network(depth=2))
  np.testing.assert_array_equal(
    loaded.predict_scores(x), whole.predict_scores(x)
  )


@pytest.mark.parametrize("until", ["1", "0.7"])
def test_a_kept_trunk_computes_the_same(until):
  recipe = f"er:buffer=12+freeze:until={until}+solved:{SHARE}"
  plain, kept = (
    run(recipe, depth=2, trunk_cache=cache) for cache in ("", "raw")
  )
  x = tiny_network.batch().x
  np.testing.assert_allclose(
    plain.predict_scores(x), kept.predict_scores(x), rtol=1e-3, atol=1e-3
  )
  assert [r.judged for r in plain.records] == [r.judged for r in kept.records]


def test_every_pass_of_it_counts_at_equal_cost():
  each = 400_000.0
  recipe = f"er:buffer=12+head_only+solved:{SHARE}"
  records = run(recipe, controller=limits.equal(999, each)).records
  total = 0.0
  for index, record in enumerate(records):
    step = (
      sum(record.costs[a].flops for a in ("train", "replay")) / record.steps
    )
    total += sum(record.costs[a].flops for a in limits.LEARNING)
    assert -1 <= each * (index + 1) - total < step
    assert record.costs["probe"].flops > 0  # judging


def test_the_report_says_who_predicts_and_by_how_much(tmp_path):
  run(f"er:buffer=12+head_only+solved:{SHARE}", tmp_path)
  found = summary.read_run(tmp_path)
  ((_, told),) = paragraph.sentences([found])
  judged = found.records[-1].judged
  gain = 100 * (judged["trained"] - judged["solved"]) / judged["examples"]
  assert "Of 8 examples set aside, the solved classifier answers" in told
  assert f"({gain:+.1f}); the network predicted after" in told


@pytest.mark.parametrize(
  "recipe, words",
  [
    ("er+solved", "'dense_0' of network 'mlp' may train.*ahead of what trains"),
    ("er+freeze:until=0+solved", "'dense_0'.*nothing ahead of it is frozen"),
    ("gdumb+head_only+solved", "'dense_0'.*is drawn anew"),
    ("finetune+head_only+solved", "judges by examples in the device's memory"),
    (f"er+head_only+solved:{SHARE}+carm", "a memory hierarchy keeps them on"),
    ("icarl:buffer=8+head_only+solved", "predicts by nearest_mean"),
    ("er+head_only+slda+solved", "predicts by shared_covariance"),
    ("er+head_only+solved:share=0.001", "experience 1 none is set aside"),
    ("er+head_only+solved:share=1", "share=1: give"),
    ("er+head_only+solved:epochs=0", "epochs=0: the recipe learns by updates"),
  ],
)
def test_what_cannot_be_is_told(recipe, words):
  with pytest.raises(jcl.UsageError, match=words):
    session.learn(
      tiny_network.stream(), network(), recipes.build(recipe), batch_size=6
    )


def test_alone_it_is_replay_of_the_head():
  method = recipes.solved()
  assert method.replay.num_samples == 10 and method.trunk is None
  assert method.consolidation != base.Consolidation()
  assert recipes.er().consolidation == base.Consolidation()
