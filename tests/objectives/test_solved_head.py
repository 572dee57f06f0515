"""A head written from sums, who of two predicts, and what never trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_network

import jcl
from jcl import base
from jcl.objectives import (
  closed_form,
  predictors,
  projection,
  solved_head,
  statistics,
  supervised,
  temperature,
)
from jcl.train import augment, evaluate, step_spec

NETWORK = tiny_network.build()
FORWARD = step_spec.Forward(NETWORK, augment.Preprocess(0.0, 1.0))


def parts(begins=2, inner=None, slots=2):
  return solved_head.SolvedHead(
    inner or supervised.cross_entropy(),
    closed_form.shared_covariance,
    lambda network: begins,
    lambda ids: jnp.asarray(ids) % 4 == 3,
    slots,
  )


def begun(rules, seed=0):
  params, stats = NETWORK.init(jax.random.key(seed))
  objective = rules.objective
  state = objective.init(params, stats, *objective.sizes(NETWORK))
  return params, stats, state


def inputs(params, stats, state, batch):
  return base.LossInputs(
    params, stats, batch, (), tiny_network.scope(), state, jax.random.key(0)
  )


def settled(rules, batch):
  params, stats, state = begun(rules)
  found = rules.consolidation
  state = found.settle(FORWARD, inputs(params, stats, state, batch))
  return params, stats, state, found.write(NETWORK, state, params)


def test_the_written_head_ranks_as_the_solved_one():
  batch = tiny_network.batch(40)
  rules = parts()
  params, stats, state, (kept, after, flops) = settled(rules, batch)
  assert state.moving == () and state.filled == 30  # a quarter is set aside
  out = FORWARD(after, stats, batch.x, taps=("second",), evaluate=True)
  solved = solved_head.scores_of(kept.linear, out.taps["second"])
  ratio = np.asarray(out.logits - out.logits[:, :1]) / np.asarray(
    solved - solved[:, :1] + np.eye(1, 4)
  )
  # The same but for one factor, the sharpness: the order is the same too.
  assert np.ptp(ratio[:, 1:]) < 1e-3 * ratio.max() and ratio.max() > 0
  assert (out.logits.argmax(1) == solved.argmax(1)).all()
  # Other units keep their bits, and the state forgets the first rows.
  for unit in ("first", "second"):
    assert tiny_network.same_bits(params[unit], after[unit])
  assert kept.filled == 0 and flops > closed_form.solve_flops(8, 4)


def test_sums_are_those_of_rows_that_may_train():
  batch = tiny_network.batch(40)
  params, stats, state, _ = settled(parts(), batch)
  out = FORWARD(params, stats, batch.x, taps=("second",), evaluate=True)
  rows = np.arange(40) % 4 != 3
  expected = statistics.add(
    statistics.zeros(4, 8), out.taps["second"][rows], batch.y[rows], rows[rows]
  )
  for name in ("rows", "total", "moment"):
    np.testing.assert_allclose(
      getattr(state.sums, name), getattr(expected, name), atol=1e-5
    )
  np.testing.assert_allclose(state.rows[:30], out.taps["second"][rows], 1e-6)
  assert state.labels[:30].tolist() == batch.y[rows].tolist()


def test_a_cut_further_ahead_has_sums_of_its_own():
  batch = tiny_network.batch(40)
  rules = parts(begins=1)  # "second" and the head train
  params, stats, state, (kept, after, _) = settled(rules, batch)
  out = FORWARD(after, stats, batch.x, taps=("first", "second"))
  assert state.moving.total.shape == (4, 8)
  at_cut = closed_form.shared_covariance(
    jax.tree.map(np.asarray, state.sums)
  ).linear
  np.testing.assert_array_equal(kept.linear.weight, at_cut.weight)
  ahead = closed_form.shared_covariance(
    jax.tree.map(np.asarray, state.moving)
  ).linear
  solved = solved_head.scores_of(ahead, out.taps["second"])
  assert (out.logits.argmax(1) == solved.argmax(1)).all()
  del params


def test_classes_not_known_keep_their_weights():
  linear = closed_form.Linear(
    np.ones((8, 4), np.float32),
    np.full(4, 2.0, np.float32),
    np.array([True, False, True, False]),
  )
  params, _ = NETWORK.init(jax.random.key(0))
  after = solved_head.written(NETWORK, params, linear, 3.0)
  assert (after["head"]["kernel"][:, [0, 2]] == 3).all()
  assert after["head"]["bias"].tolist() == [6, 0, 6, 0]
  np.testing.assert_array_equal(
    after["head"]["kernel"][:, [1, 3]], params["head"]["kernel"][:, [1, 3]]
  )


def test_only_the_first_rows_of_an_experience_are_kept(monkeypatch):
  monkeypatch.setattr(solved_head, "ROWS", 5)
  rules = parts()
  params, stats, state = begun(rules)
  for seed in (0, 1):
    batch = tiny_network.batch(4, seed=seed)
    state = rules.consolidation.settle(
      FORWARD, inputs(params, stats, state, batch)
    )
  assert state.filled == 5
  first, second = (tiny_network.batch(4, seed=seed).y for seed in (0, 1))
  assert state.labels.tolist() == [*first[:3], *second[:2]]


def judged(linear_bias, logits_bias):
  """Judges with a classifier and a network that both answer one class."""
  rules = parts(slots=4)
  params, stats, state = begun(rules)
  zeros = jax.tree.map(jnp.zeros_like, params["head"])
  params["head"] = {**zeros, "bias": jnp.float32(logits_bias)}
  linear = state.linear._replace(
    bias=np.float32(linear_bias), known=np.ones(4, bool)
  )
  memory = tiny_network.batch(9)._replace(
    # The last four slots: two of class 1, one of class 2, one empty.
    y=np.array([0, 0, 0, 0, 0, 1, 1, 2, 0], np.int32),
    ids=np.array([3, 3, 3, 3, 3, 3, 7, 11, -1], np.int32),
    weight=np.array([1, 1, 1, 1, 1, 1, 1, 1, 0], np.float32),
  )
  state = state._replace(linear=linear)
  after = rules.objective.review(FORWARD, inputs(params, stats, state, memory))
  return params, stats, after


ONE, TWO = [0, 1, 0, 0], [0, 0, 1, 0]


@pytest.mark.parametrize(
  "solved, trained, right, served",
  [
    (ONE, TWO, (3, 2, 1), 1),  # the classifier is better
    (TWO, ONE, (3, 1, 2), 1),  # the network is
    (ONE, ONE, (3, 2, 2), 1),  # alike: the classifier, which is exact
    (TWO, TWO, (3, 1, 1), 2),
  ],
)
def test_the_better_of_the_two_predicts(solved, trained, right, served):
  params, stats, state = judged(solved, trained)
  assert tuple(int(each) for each in state.verdict) == right
  rules = parts(slots=4)
  told = rules.consolidation.told(state)
  assert told == {"examples": 3.0, "solved": right[1], "trained": right[2]}
  predictor = solved_head.trained_or_solved()
  apply = evaluate.apply_fn(NETWORK, augment.Preprocess(0.0, 1.0))
  fitted = predictor.fit(apply, params, stats, None, *predictor.recalls(state))
  assert bool(fitted.trained) is (right[2] > right[1])
  x = tiny_network.batch(5).x
  scores = predictor.scores(apply, params, stats, x, fitted)
  assert (scores.argmax(1) == served).all()


def test_nothing_judged_leaves_the_prediction_to_the_classifier():
  params, stats, state = begun(parts())
  predictor = solved_head.trained_or_solved()
  apply = evaluate.apply_fn(NETWORK, augment.Preprocess(0.0, 1.0))
  fitted = predictor.fit(apply, params, stats, None, *predictor.recalls(state))
  assert not fitted.trained
  x = tiny_network.batch(2).x
  scores = predictor.scores(apply, params, stats, x, fitted)
  assert (scores == predictors.NEVER).all()


def test_examples_set_aside_have_no_part_in_the_loss():
  rules = parts(inner=supervised.experience_replay())
  params, stats, state = begun(rules)
  batch, past = tiny_network.batch(8), tiny_network.batch(8, seed=1)
  other = batch._replace(y=np.where(batch.ids % 4 == 3, 0, batch.y))
  older = past._replace(y=np.where(past.ids % 4 == 3, 0, past.y))
  values = [
    rules.objective.loss(
      FORWARD,
      inputs(params, stats, state, now)._replace(memory=(then,)),
    )[0]
    for now, then in ((batch, past), (other, past), (batch, older))
  ]
  assert values[0] == values[1] == values[2]
  plain = supervised.experience_replay()
  changed = [
    plain.loss(
      FORWARD, inputs(params, stats, (), now)._replace(memory=(past,))
    )[0]
    for now in (batch, other)
  ]
  assert changed[0] != changed[1]


def test_heads_that_cannot_be_written_are_refused():
  tensors = tuple(t for t in NETWORK.tensors if t.path != ("head", "bias"))

  bare = dataclasses.replace(NETWORK, tensors=tensors)
  with pytest.raises(jcl.UsageError, match="a kernel \\[features, 4\\] and a"):
    parts().objective.sizes(bare)


def test_maps_are_averaged_over_places():
  x = np.arange(24.0).reshape(2, 2, 2, 3)
  assert solved_head.pooled(x).tolist() == [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]]
  assert solved_head.pooled(x[:, 0, 0]).tolist() == x[:, 0, 0].tolist()


def test_sizes_of_the_state():
  assert parts().objective.sizes(NETWORK) == ((), 4, 8, 0)
  assert parts(begins=1).objective.sizes(NETWORK) == ((), 4, 8, 8)
  refused = (), 4, 1, 0
  assert parts(begins=0).objective.sizes(NETWORK) == refused
  bare = dataclasses.replace(NETWORK, features=None)
  assert parts().objective.sizes(bare) == refused
  _, _, state = begun(parts())
  assert state.rows.shape == (256, 8) and state.labels.shape == (256,)
  assert state.moving == () and state.filled == 0
  assert not state.linear.known.any() and not np.any(state.verdict)


@pytest.mark.parametrize("begins", [1, 2])
def test_operations_of_solving_and_of_writing(begins):
  batch = tiny_network.batch(40)
  _, _, state, (_, _, flops) = settled(parts(begins), batch)
  host = jax.tree.map(np.asarray, state)
  linear, expected = closed_form.shared_covariance(host.sums)
  if begins == 1:
    linear, more = closed_form.shared_covariance(host.moving)
    expected += more
  outputs = host.rows[:30] @ linear.weight + linear.bias
  factor = temperature.sharpness(outputs, host.labels[:30], linear.known)
  assert flops == expected + factor.flops + 2 * 30 * 8 * 4


def test_examples_set_aside_are_judged_in_parts(monkeypatch):
  whole = judged(ONE, TWO)[2].verdict
  monkeypatch.setattr(solved_head, "_AT_ONCE", 3)
  assert judged(ONE, TWO)[2].verdict == whole


def test_the_inner_objective_reviews_too():
  inner = supervised.cross_entropy()._replace(
    init=lambda params, stats: 1,
    review=lambda forward, inputs: inputs.state + 1,
  )
  rules = parts(inner=inner)
  params, stats, state = begun(rules)
  given = inputs(params, stats, state, tiny_network.batch(4))
  assert rules.objective.review(FORWARD, given).inner == 2
  assert rules.consolidation.kept(state) == state._replace(inner=())


def test_a_reference_leaves_out_what_is_set_aside():
  rules = parts(inner=projection.agem())
  params, stats, state = begun(rules)
  batch, past = tiny_network.batch(8), tiny_network.batch(8, seed=1)
  older = past._replace(y=np.where(past.ids % 4 == 3, 0, past.y))
  given = inputs(params, stats, state, batch)
  one, other = (
    rules.objective.reference(FORWARD, given._replace(memory=(each,)))[0]
    for each in (past, older)
  )
  assert one == other and np.any(past.y != older.y)


@pytest.mark.parametrize(
  ("kernel", "bias"), [((8, 1, 4), (4,)), ((8, 3), (3,)), ((8, 4), (4, 1))]
)
def test_heads_of_other_shapes_are_refused(kernel, bias):
  shapes = {("head", "kernel"): kernel, ("head", "bias"): bias}
  tensors = tuple(
    dataclasses.replace(each, shape=shapes.get(each.path, each.shape))
    for each in NETWORK.tensors
  )
  with pytest.raises(jcl.UsageError, match="unit 'head'.* leave out .solved"):
    solved_head.head_of(dataclasses.replace(NETWORK, tensors=tensors))


def test_predictors_are_named_by_their_cut():
  names = [
    solved_head.trained_or_solved(until=until).name
    for until in (None, "mid", 0.7)
  ]
  assert names == [
    "trained_or_solved",
    "trained_or_solved:until=mid",
    "trained_or_solved:until=0.7",
  ]


def test_a_head_reads_places_within_units():
  inside = dataclasses.replace(NETWORK, features="second/map")
  assert parts()._places(inside) == ("second/map", "second/map")
  assert parts(begins=1)._places(inside) == ("first", "second/map")


def test_writing_a_head_takes_no_more_than_its_price():
  rules = parts()
  _, _, state, (_, _, flops) = settled(rules, tiny_network.batch(40))
  bare = closed_form.solve_flops(*np.shape(state.sums.total)[::-1])
  assert bare < flops <= rules.consolidation.price(state)
