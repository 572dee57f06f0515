"""One recipe for any budget: in runs, stopped runs, and its sizes."""

import dataclasses
import math

import jax
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import base, recipes
from jcl.control import joint, limits
from jcl.networks import catalogue, pretrained
from jcl.run import deciding, loop, session
from jcl.streams import scenarios

SIZES = "m=16,share=0.2,aside=8"
PLAIN = "er:buffer=12,minibatch=4"


def assemble(recipe, flops=math.inf, **training):
  method = recipes.build(recipe)
  total = dataclasses.replace(base.UNLIMITED, flops=flops)
  method = session.suited(method, tiny_network.stream(per_class=20), total)
  controller = None
  if method.govern is not None:
    controller = method.govern(2, total, None)
  given = {"batch_size": 6, "epochs": 2, "learning_rate": 0.1, **training}
  return session.assemble(
    tiny_network.stream(per_class=20),
    tiny_network.build(),
    method,
    base.Training(**given),
    0,
    session.Options(progress=False, steps_per_dispatch=2),
    controller,
  )


def run(job, workdir=None):
  return session.run(job, workdir, session.Options(progress=False))


def flops(result):
  return sum(
    each.costs[name].flops
    for each in result.records
    for name in limits.COUNTED
    if name in each.costs
  )


def test_a_budget_of_operations_is_kept_and_told():
  free = run(assemble(f"{PLAIN}+auto:{SIZES}"))
  allowed = 0.9 * flops(free)
  result = run(assemble(f"{PLAIN}+auto:{SIZES}", flops=allowed))
  assert 0.5 * allowed < flops(result) <= allowed
  assert all("the classifier" in each.decision.reason for each in free.records)


def test_a_budget_of_the_classifier_alone_makes_no_updates():
  job = assemble(f"{PLAIN}+auto:{SIZES}")
  state, at = loop.start(job)
  seen = deciding.observation(job, state, at, loop.scope_of(job, 0), "end")
  least = sum(seen.beside(index).flops for index in range(2))
  few = joint.LEAST_UPDATES * seen.update().flops
  result = run(assemble(f"{PLAIN}+auto:{SIZES}", flops=least + 0.4 * few))
  assert [each.steps for each in result.records] == [0, 0]
  assert result.records[-1].decision.reason.startswith("no updates: ")
  # The memory has taken in what no update was made with.
  held = np.asarray(result.state.replay.items.weight)
  assert held.sum() == 20
  assert not bool(result.model.fitted.trained)
  with pytest.raises(jcl.UsageError, match="give [0-9]+ or more"):
    run(assemble(f"{PLAIN}+auto:{SIZES}", flops=0.4 * least))


def test_test_data_is_not_read_before_an_experience_has_ended():
  job = assemble(f"{PLAIN}+auto:{SIZES}", flops=1e7)
  state, at = loop.start(job)
  decide, opened = job.controller.decide, job.stream.held_out.open

  def sealed():
    raise AssertionError("test data was opened by a decision")

  def deciding(kept, seen):
    job.stream.held_out.open = sealed
    try:
      return decide(kept, seen)
    finally:
      job.stream.held_out.open = opened

  job = dataclasses.replace(
    job, controller=job.controller._replace(decide=deciding)
  )
  for event in loop.run(job, state, at):
    state = event.state
  assert at.totals.steps


@pytest.mark.parametrize("recipe", [f"{PLAIN}+auto:{SIZES}"])
def test_a_run_that_is_stopped_within_an_experience_repeats_itself(
  recipe, tmp_path
):
  def states(result):
    return result.state, [
      (each.steps, each.decision, each.judged) for each in result.records
    ]

  def learn(folder, stop=None):
    job = assemble(recipe, flops=1e6)
    made = []

    def deciding(kept, seen):
      made.append(seen)
      if stop is not None and len(made) == stop:
        raise KeyboardInterrupt
      return decide(kept, seen)

    decide = job.controller.decide
    job = dataclasses.replace(
      job, controller=job.controller._replace(decide=deciding)
    )
    options = session.Options(progress=False, checkpoint_seconds=0.0)
    return session.run(job, folder, options)

  whole, steps = states(learn(tmp_path / "whole"))
  with pytest.raises(KeyboardInterrupt):
    learn(tmp_path / "parts", stop=9)
  again, resumed = states(learn(tmp_path / "parts"))
  assert steps == resumed and steps[0][0] > 0
  assert tiny_network.same_bits(whole, again)


def test_with_nothing_free_the_recipe_is_itself_to_the_bit():
  plain, pinned = run(assemble(PLAIN)), run(assemble(f"{PLAIN}+auto:free=none"))
  assert tiny_network.same_bits(plain.state, pinned.state)


@pytest.mark.parametrize(
  "knobs, classifier, governed",
  [("way", True, False), ("epochs", False, True), ("way/epochs", True, True)],
)
def test_knobs_are_free_one_by_one(knobs, classifier, governed):
  method = recipes.build(f"{PLAIN}+auto:free={knobs},m=16")
  assert (method.expand is not None) == classifier
  assert (method.govern is not None) == governed
  result = run(assemble(f"{PLAIN}+auto:free={knobs},{SIZES}"))
  assert (result.records[-1].judged != {}) == classifier
  items = result.state.replay.items
  held = np.asarray(method.consolidation.held(items.ids))
  assert held.sum()  # what judges never trains, and is stored


OUTLOOK = base.Outlook(1000, 5, 10, 64, 64, base.UNLIMITED, math.inf)


EXAMPLE = base.Batch(
  np.zeros(64, np.uint8),
  np.int32(0),
  np.int32(0),
  np.int32(0),
  np.float32(1),
  {},
)


def sizes(outlook=OUTLOOK, text="auto"):
  method = recipes.build(text).suited(outlook)
  memory = method.replay.init(EXAMPLE)
  return method.expand.width, len(memory.items.y)


def test_without_limits_sizes_are_the_usual_ones():
  assert sizes() == (2000, 900)


@pytest.mark.parametrize(
  "limits, features",
  [
    ({"flops": 1e11}, 2000),
    ({"flops": 1e10}, 1000),
    ({"seconds": 1.0}, 1000),
    ({"joules": 10.0}, 1000),
    ({"flops": 1.5e8}, 100),
  ],
)
def test_a_budget_decides_on_the_number_of_features(limits, features):
  total = dataclasses.replace(base.UNLIMITED, **limits)
  assert sizes(OUTLOOK._replace(total=total)) == (features, 600)


def test_memory_holds_sums_and_examples():
  features, rows = sizes(OUTLOOK._replace(ram=1e6))
  assert features == 250
  assert 4 * (features**2 + 30 * features) + 64 * rows <= 1e6
  assert rows > 9000


def test_given_sizes_stay():
  assert sizes(text="auto:m=100,buffer=50") == (100, 450)
  assert sizes(text="auto:m=100") == (100, 900)
  assert sizes(text="auto:buffer=70") == (2000, 470)


def test_a_budget_below_every_classifier_leaves_the_network_alone():
  total = dataclasses.replace(base.UNLIMITED, flops=1e7)
  outlook = OUTLOOK._replace(total=total)
  method = recipes.build("auto").suited(outlook)
  assert method.expand is None and method.govern is not None
  assert method.predictor.name == "logits"
  # With nothing to compare with, all examples train, none is set aside.
  assert method.consolidation == base.Consolidation()
  with pytest.raises(
    jcl.UsageError, match="about 10 MFLOP, of which a classifier"
  ):
    recipes.build("auto:free=way").suited(outlook)


@pytest.mark.parametrize(
  "flops, examples, features",
  [(1e12, 1999, 0), (1e12, 2000, 2000), (1e10, 2000, 100), (1e8, 2000, 0)],
)
def test_where_classes_stay_the_same_a_classifier_takes_a_twentieth(
  flops, examples, features
):
  """And is there where a hundred examples judge it, a twentieth of all."""
  outlook = OUTLOOK._replace(
    total=dataclasses.replace(base.UNLIMITED, flops=flops),
    examples=examples,
    first=8,
  )
  method = recipes.build("auto").suited(outlook)
  assert (method.expand.width if method.expand else 0) == features
  kept = method.replay.init(EXAMPLE)
  assert len(kept.items.y) == (600 if features else 500)
  few = recipes.build("auto").suited(outlook._replace(first=7, examples=1999))
  assert few.expand is not None or flops == 1e8


@pytest.mark.parametrize(
  "flops, first, features", [(1e8, 5, 100), (1e8, 10, 100), (1e9, 5, 250)]
)
def test_a_budget_of_a_few_updates_buys_a_classifier_alone(
  flops, first, features
):
  network = catalogue.build("mlp", (64,), 10, width=800, depth=2)
  outlook = OUTLOOK._replace(
    total=dataclasses.replace(base.UNLIMITED, flops=flops),
    network=network,
    first=first,
  )
  method = recipes.build("auto").suited(outlook)
  assert method.predictor.solve is not None and method.training.epochs == 0
  assert method.expand.width == features and method.suited is None
  # More updates, or a recipe to train, or a size: what is said goes.
  small = catalogue.build("mlp", (64,), 10, width=8, depth=1)
  for text, model in (("auto", small), ("er+auto", network)):
    other = outlook._replace(network=model)
    assert recipes.build(text).suited(other).predictor.solve is None


def test_all_that_a_classifier_alone_takes_is_within_its_budget():
  stream = tiny_network.stream(per_class=20)
  network = catalogue.build("mlp", (4,), 4, width=800, depth=2)
  total = dataclasses.replace(base.UNLIMITED, flops=2e7)
  method = session.suited(recipes.build("auto"), stream, total, network=network)
  assert method.predictor.solve is not None
  result = run(session.assemble(stream, network, method, base.Training()))
  assert flops(result) <= 2e7
  assert [each.steps for each in result.records] == [0, 0]


def test_memory_without_a_classifier_holds_nothing_set_aside():
  outlook = OUTLOOK._replace(ram=640.0, first=10)
  method = recipes.build("auto").suited(outlook)
  assert method.expand is None and method.replay.capacity == 10
  with pytest.raises(jcl.UsageError, match="10 classes: give 640 or more"):
    recipes.build("auto").suited(outlook._replace(ram=639.0))


def test_all_of_a_budget_goes_to_updates_where_nothing_is_compared():
  source = tiny_network.source(per_class=20)
  stream = scenarios.permuted(source, tasks=2)
  total = dataclasses.replace(base.UNLIMITED, flops=1e6)
  method = session.suited(recipes.build("auto:minibatch=4"), stream, total)
  job = session.assemble(
    stream,
    tiny_network.build(),
    method,
    base.Training(batch_size=6, epochs=2),
    0,
    session.Options(progress=False, steps_per_dispatch=2),
    method.govern(2, total, None),
  )
  result = run(job)
  assert 0.9e6 < flops(result) <= 1e6
  reasons = [each.decision.reason for each in result.records]
  assert all(each.startswith("at most ") for each in reasons)
  assert not any("set aside" in each for each in reasons)
  assert all(each.steps > 8 for each in result.records)


def learned(**changes):
  """A chain of units whose weights are taken to be learned."""
  network = catalogue.build("mlp", (4,), 4, width=8, depth=2)
  params, stats = network.init(jax.random.key(7))
  network = pretrained.with_weights(network, params, stats, fresh=("head",))
  return dataclasses.replace(network, **changes)


@pytest.mark.parametrize(
  "limits, features",
  [({}, 5000), ({"ram": 1e8}, 0), ({"flops": 1e12}, 5000), ({"flops": 1e9}, 0)],
)
def test_the_classifier_reads_a_learned_trunk(limits, features):
  flops = limits.get("flops", math.inf)
  outlook = OUTLOOK._replace(
    network=learned(),
    ram=limits.get("ram", math.inf),
    total=dataclasses.replace(base.UNLIMITED, flops=flops),
  )
  method = recipes.build("auto").suited(outlook)
  if features:
    assert method.expand == base.Expansion(features)
    assert method.trunk == base.EXPAND
  else:
    assert method.expand is None and method.trunk == "dense_1"
  assert method.predictor.name == "trained_or_solved:until=head"


@pytest.mark.parametrize("m", [None, 16])
def test_behind_a_learned_trunk_the_head_alone_is_solved_and_trained(m):
  network = learned()
  sizes = SIZES.replace("m=16", f"m={m}") if m else "share=0.2,aside=8"
  stream = tiny_network.stream(per_class=20)
  method = session.suited(
    recipes.build(f"auto:{sizes},minibatch=4,buffer=12"),
    stream,
    memory_budget=None if m else "100KiB",
    network=network,
  )
  job = session.assemble(
    stream,
    network,
    method,
    base.Training(batch_size=6, epochs=2),
    0,
    session.Options(progress=False),
  )
  result = run(job)
  before, _ = network.init(jax.random.key(0))
  for unit in ("dense_0", "dense_1"):
    assert tiny_network.same_bits(result.state.train.params[unit], before[unit])
  assert [each.steps > 0 for each in result.records] == [True, True]
  judged = result.records[-1].judged
  assert judged["examples"] and judged["solved"] / judged["examples"] > 0.5
  assert result.model.fitted.weight.shape == (m or 8, 4)


def test_a_network_that_trains_as_a_whole_has_no_trunk_to_read():
  outlook = OUTLOOK._replace(network=learned())
  read = recipes.build("er+auto").suited(outlook)
  assert read.expand.kind == "fourier" and read.expand.beside
  cut = recipes.build("er+freeze:until=dense_1+auto").suited(outlook)
  assert cut.expand is None
  assert cut.predictor.name == "trained_or_solved:until=dense_1"
  fresh = OUTLOOK._replace(network=learned(pretrained=False))
  assert recipes.build("auto").suited(fresh).expand.kind == "fourier"


@pytest.mark.parametrize(
  "text, told",
  [
    ("er+auto:free=rho", "give some of epochs, way"),
    ("er+auto:buffer=50", "give it buffer there"),
    ("finetune+auto", "the recipe has none"),
    ("icarl+auto", "predicts by nearest_mean"),
    ("er+head_only+solved+auto", "predicts by trained_or_solved"),
    ("er+frugal+auto", "the recipe has none"),
  ],
)
def test_what_does_not_fit_is_told(text, told):
  with pytest.raises(jcl.UsageError, match=told):
    recipes.build(text)
