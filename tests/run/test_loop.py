import dataclasses
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.control import fixed, limits
from jcl.replay import removal, sampling
from jcl.replay.tiers import feed as tier_feed
from jcl.report import decoding, encoding
from jcl.run import cursor, evaluation, finite, loop, session
from jcl.streams import batching, scenarios, sources
from jcl.train import chunks

NETWORK = tiny_network.build()


def assemble(method=None, stream=None, controller=None, **more):
  training = {"epochs": 1, "batch_size": 6, "learning_rate": 0.1}
  fields = {field.name for field in dataclasses.fields(base.Training)}
  training |= {k: more.pop(k) for k in list(more) if k in fields}
  stream = stream or tiny_network.stream()
  return session.assemble(
    stream,
    more.pop("network", None)
    or tiny_network.build(num_classes=stream.num_classes),
    method or recipes.finetune(),
    base.Training(**training),
    options=session.Options(**more),
    controller=controller,
  )


def play(job):
  """Runs to the end; returns the state, the place, and all events' kinds."""
  state, place = loop.start(job)
  kinds = []
  for event in loop.run(job, state, place):
    state = event.state
    kinds.append((event.kind, place.step, event.scalars))
  return state, place, kinds


def shown_to(job):
  """Records the ids of all examples that are put on the device to learn."""
  ids, put = [], job.learner.put_batches

  def spy(batches):
    ids.extend(batches.ids[batches.weight > 0].tolist())
    return put(batches)

  job.learner.put_batches = spy
  return ids


def test_events_records_and_counts():
  job = assemble(epochs=2, batch_size=10)  # 24 examples: 3 batches
  _, place, kinds = play(job)
  one = ["begin", "steps", "steps", "experience"]  # a dispatch per epoch
  assert [kind for kind, *_ in kinds] == one * 2
  assert [r.experience for r in place.records] == [0, 1]
  assert [r.steps for r in place.records] == [6, 6]
  assert [r.examples for r in place.records] == [48, 48]  # pads left out
  assert place.step == 12 and place.experience == 2
  assert place.planned == 6
  record = place.records[0]
  first, second = (scalars for kind, _, scalars in kinds[:3] if kind == "steps")
  assert record.online_accuracy == pytest.approx(first["online_accuracy"])
  assert 0 < second["online_accuracy"] <= 1 and second["seconds"] > 0
  assert record.loss == pytest.approx((first["loss"] + second["loss"]) / 2)
  assert record.classes == (0, 1) and record.trained == (6, 6)
  assert record.parameters[0] == sum(
    math.prod(tensor.shape) for tensor in NETWORK.tensors
  )
  assert math.isfinite(record.loss) and 0 < record.online_accuracy <= 1
  assert np.isnan(record.accuracy_class).sum() == 0
  assert len(place.initial[0]) == 2


def test_outputs_of_classes_seen_or_of_all_take_part():
  stream = tiny_network.stream(tasks=2)
  for head, expected in (("seen", [1, 1, 0, 0]), ("all", [1, 1, 1, 1])):
    scope = loop.scope_of(assemble(stream=stream, head=head), 0)
    assert np.asarray(scope.head).tolist() == expected
    assert np.asarray(scope.current).tolist() == [1, 1, 0, 0]
  assert loop.scope_of(assemble(stream=stream), 1).head.all()


@pytest.mark.parametrize("name", ["er:buffer=4", "gdumb", "ewc"])
def test_a_stream_of_one_example(name):
  stream = scenarios.class_incremental(
    sources.arrays(
      np.ones((1, 4), np.float32),
      [0],
      np.ones((1, 4), np.float32),
      [0],
      class_names=("only",),
    ),
    tasks=1,
    normalize="none",
  )
  _, place, kinds = play(assemble(recipes.build(name), stream, batch_size=8))
  [scalars] = [scalars for kind, _, scalars in kinds if kind == "steps"]
  assert scalars["online_accuracy"] == place.records[0].online_accuracy == 1
  assert len(place.records) == 1 and place.records[0].examples == 1
  assert place.records[0].class_names == ("only",)
  assert place.records[0].accuracy == (1.0,)


def test_records_have_the_names_of_groups():
  group = ["süd", "nord"] * 10
  x, y = np.ones((20, 4), np.float32), [0, 1, 2, 3] * 5
  source = sources.arrays(x, y, group=group)
  stream = scenarios.domain_by_group(source, normalize="none")
  _, place, _ = play(assemble(stream=stream))
  assert [record.name for record in place.records] == ["nord", "süd"]
  told = encoding.to_json(place.records[1])
  assert decoding.record(told).name == told["name"] == "süd"
  del told["name"]  # as earlier versions wrote them
  assert decoding.record(told).name == ""


def test_a_class_seen_once_and_batches_and_draws_larger_than_what_there_is():
  source = tiny_network.source(per_class=5)
  once = np.flatnonzero(source.train.y == 3)[1:]
  keep = np.setdiff1d(np.arange(len(source.train)), once)
  source = sources.arrays(
    source.train.x[keep], source.train.y[keep], source.test.x, source.test.y
  )
  stream = scenarios.class_incremental(source, tasks=4)
  assert len(stream.experiences[3].data) == 1
  method = recipes.er(buffer=3, minibatch=10)
  _, place, _ = play(assemble(method, stream, batch_size=50, epochs=2))
  assert [r.steps for r in place.records] == [2] * 4
  assert [r.examples for r in place.records] == [10, 10, 10, 2]
  assert place.records[-1].memory["examples"] == 3


def test_a_limit_of_operations_stops_at_the_same_step():
  _, place, _ = play(assemble(epochs=9))
  assert place.records[0].steps == 36
  step_flops = place.spent.flops / 36
  limit = base.Cost(*(math.inf,) * 2, 20.5 * step_flops, math.inf)
  controller = base.Controller(
    init=lambda: (),
    decide=lambda state, seen: (base.Decision(9, limit), state),
  )
  for chunk in (0, 3):
    job = assemble(controller=controller, steps_per_dispatch=chunk)
    _, place, _ = play(job)
    assert [r.steps for r in place.records] == [21, 21], chunk
    assert place.planned == 21


def test_a_budget_for_the_run_leaves_later_experiences_their_share():
  _, place, _ = play(assemble(epochs=30))
  flops = sum(r.costs["train"].flops for r in place.records)
  total = base.Cost(math.inf, math.inf, flops / 2, math.inf)
  job = assemble(controller=limits.within(30, total))
  _, place, _ = play(job)
  first, second = (r.steps for r in place.records)
  assert 0 < first < 120 and 0 < second < 120
  assert "left for 2 experiences" in place.records[0].decision.reason


def test_a_budget_that_shrinks_stops_at_the_next_epoch():
  allowed = iter([math.inf, math.inf, 0.0])
  controller = limits.within(30, base.UNLIMITED, joules=lambda: next(allowed))
  job = assemble(controller=controller)
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    if event.kind == "experience":
      break
  # Asked at the beginning and behind both epochs.
  assert place.epoch == 0 and place.records[0].steps == 2 * 4


def test_evaluations_come_every_so_many_updates():
  job = assemble(epochs=2, evaluate_every=3, steps_per_dispatch=2)
  _, _, kinds = play(job)  # 8 updates per experience, by twos
  steps = [step for kind, step, _ in kinds if kind == "evaluated"]
  assert steps == [4, 6, 10, 12, 16]  # once 3, 6, 9, 12 and 15 are reached
  accuracies = [s["accuracy"] for kind, _, s in kinds if kind == "evaluated"]
  assert all(len(row) == 2 for row in accuracies)


def test_an_evaluation_that_a_stop_prevented_is_made_up_for():
  job = assemble(epochs=2, evaluate_every=4, steps_per_dispatch=4)
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    if event.kind == "steps":
      break  # stopped here, ahead of the evaluation at update 4
  kinds = [e.kind for e in loop.run(job, event.state, place)]
  assert kinds[0] == "evaluated"
  assert kinds.count("evaluated") == 4


def test_a_loss_that_is_not_finite_names_its_step_and_examples():
  plain = recipes.finetune()

  def loss(forward, inputs):
    value, aux = plain.objective.loss(forward, inputs)
    return jnp.where(jnp.any(inputs.batch.ids == 30), jnp.inf, value), aux

  method = plain._replace(objective=plain.objective._replace(loss=loss))
  job = assemble(method)
  state, place = loop.start(job)
  with pytest.raises(loop.NonFiniteLossError) as caught:
    for _ in loop.run(job, state, place):
      pass
  order = 24 + batching.epoch_order(24, 0, 1, 0)
  batch = order.tolist().index(30) // 6
  shown = order[6 * batch : 6 * batch + 6].tolist()
  assert f"became inf at step {4 + batch}, experience 1" in str(caught.value)
  own = job.stream.experiences[1].source_index
  rows = ", ".join(str(row) for row in sorted(own[np.array(shown) - 24]))
  told = f"shown, rows {rows} of the training data, counted from 0"
  assert str(caught.value).endswith(told)
  assert "lower the learning rate" in str(caught.value)


def test_rows_that_a_step_was_shown_are_told_as_the_user_counts_them():
  y = np.repeat([0, 1], 40).astype(np.int32)
  x = np.arange(80, dtype=np.float32)[:, None]
  order = np.random.default_rng(0).permutation(80)
  source = sources.arrays(x[order], y[order], group=y[order] + 7)
  stream = scenarios.domain_by_group(source, holdout=0.1)
  starts = stream.starts
  for experience in stream.experiences:
    ids = starts[experience.index] + np.arange(len(experience.data))
    found = stream.sources_of([-1, *ids, starts[-1]])
    assert {index for index, _ in found} == {experience.index}
    rows = [row for _, row in found]
    np.testing.assert_array_equal(source.train.x[rows], experience.data.x)
  told = finite._shown(stream, 1, np.arange(starts[-1]))
  assert told.count("in all") == 2 and len(told) < 200
  assert " of the training data, rows " in told and "earlier ones" in told
  assert finite._shown(stream, 1, np.full(3, -1)) == ""
  assert finite._named(stream, 1) == "experience 1 ('8')"


def test_a_learning_rate_beyond_reason_does_not_end_in_silence(network):
  stream = scenarios.class_incremental(sources.load("digits"), tasks=5)
  job = assemble(stream=stream, network=network, learning_rate=1e20)
  state, place = loop.start(job)
  with pytest.raises(loop.NonFiniteLossError, match=r"step \d, experience 0"):
    for _ in loop.run(job, state, place):
      pass


@pytest.mark.parametrize("where", ["loss", "add", "track", "finish"])
def test_held_out_data_cannot_be_read_while_learning(where):
  stream = tiny_network.stream()

  def peek(function):
    def look(*args, **kwargs):
      stream.held_out.datasets  # noqa: B018
      return function(*args, **kwargs) if function else args[0]

    return look

  method = recipes.er(buffer=4, minibatch=2)
  if where == "add":
    part = method.replay._replace(add=peek(method.replay.add))
    method = method._replace(replay=part)
  else:
    old = getattr(method.objective, where)
    part = method.objective._replace(**{where: peek(old)})
    method = method._replace(objective=part)
  with pytest.raises(RuntimeError, match="held-out data was read"):
    play(assemble(method, stream))
  with stream.held_out.open() as test_sets:
    assert len(test_sets) == 2


def test_ordered_streams_keep_their_order_and_others_do_not():
  stream = tiny_network.stream()
  orders = []
  for ordered in (True, False):
    job = assemble(
      stream=dataclasses.replace(stream, ordered=ordered), epochs=2
    )
    ids = shown_to(job)
    play(job)
    orders.append(ids)
  expected = list(range(24)) * 2
  assert orders[0] == expected + [24 + i for i in expected]
  assert orders[1] != orders[0]
  assert sorted(orders[1][:48]) == sorted(list(range(24)) * 2)


def test_joint_sees_all_experiences_and_restarts():
  job = assemble(recipes.joint(), epochs=1)
  ids = shown_to(job)
  state, place = loop.start(job)
  by_experience: list[set[int]] = [set(), set()]
  for event in loop.run(job, state, place):
    if event.kind == "begin":
      ids.clear()
    if event.kind == "experience":
      index = event.place.experience - 1
      by_experience[index] = set(ids)
  assert by_experience[0] == set(range(24))
  assert by_experience[1] == set(range(48))
  assert [r.examples for r in place.records] == [24, 48]


@pytest.mark.parametrize(
  "name", ["finetune", "joint", "gdumb:buffer=7", "gdumb:buffer=40"]
)
def test_expected_steps_are_those_made(name):
  job = assemble(recipes.build(name), epochs=3, batch_size=5)
  state, place = loop.start(job)
  expected = {job.expected_steps(place)}
  for event in loop.run(job, state, place):
    expected.add(job.expected_steps(event.place))
  assert expected == {place.step}


def test_accounts_add_up_and_replay_pays_its_share():
  job = assemble(recipes.er(buffer=12, minibatch=6), epochs=2)
  _, place, _ = play(job)
  later = place.records[1].costs
  assert later["replay"].flops == pytest.approx(later["train"].flops, rel=0.3)
  for record in place.records:
    assert record.costs["evaluate"].flops > 0
    assert all(cost.seconds >= 0 for cost in record.costs.values())
  assert place.records[0].costs["compile"].seconds > 0
  assert place.records[1].costs["compile"].seconds == 0


def test_the_same_seed_is_the_same_run_whatever_the_dispatch():
  method = recipes.er(buffer=12, minibatch=6)
  results = [
    play(assemble(method, steps_per_dispatch=chunk))[0] for chunk in (1, 3)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6),
    results[0].train,
    results[1].train,
  )
  assert tiny_network.same_bits(results[0].replay, results[1].replay)


def test_how_many_steps_reach_a_limit():
  cost = types.SimpleNamespace(flops=20.0, bytes_accessed=5.0)
  spent = base.Cost(1.0, 1.0, 30.0, 40.0)

  def found(**limit):
    limit = dataclasses.replace(base.UNLIMITED, **limit)
    return cursor.Cursor(decision=base.Decision(1, limit), spent=spent)

  for limit, steps in (
    ({}, math.inf),
    ({"flops": 100.0}, 4),
    ({"flops": 110.0}, 4),
    ({"flops": 111.0}, 5),
    ({"flops": 100.0, "bytes": 50.0}, 2),
    ({"flops": 30.0}, 1),
    ({"seconds": 1.5}, math.inf),
  ):
    at = found(**limit)
    assert at.steps_to_limit(cost, at.left(dict)) == steps
  idle = types.SimpleNamespace(flops=0.0, bytes_accessed=0.0)
  at = found(flops=100.0)
  assert at.steps_to_limit(idle, at.left(dict)) == math.inf
  for limit, reached in (
    ({}, False),
    ({"flops": 30.0}, True),
    ({"flops": 30.5}, False),
    ({"seconds": 0.5}, True),
    ({"bytes": 40.0, "flops": 99.0}, True),
  ):
    left = found(**limit).left(dict)
    assert (min(dataclasses.astuple(left)) <= 0) is reached


def test_what_lies_behind_a_chunk():
  at = cursor.Cursor(epoch=2, batch=4)
  chunk = chunks.Chunk(None, np.zeros((3, 2)), 3)
  assert at.after(chunk) == (2, 7)
  assert at.after(chunk._replace(last=True)) == (3, 0)
  # Cut short, the last chunk of an epoch is its last no more.
  assert at.after(chunk._replace(last=True).first(2)) == (2, 6)
  assert at.after(chunk._replace(last=True).first(3.0)) == (3, 0)
  assert at.after(chunk._replace(last=True).first(math.inf)) == (3, 0)


@pytest.mark.parametrize(
  ("every", "step", "evaluated", "due"),
  [(0, 9, 0, False), (5, 4, 0, False), (5, 5, 0, True), (5, 9, 5, False)]
  + [(5, 10, 9, True), (1, 1, 0, True), (1, 1, 1, False)],
)
def test_when_an_evaluation_is_due(every, step, evaluated, due, monkeypatch):
  scores = types.SimpleNamespace(accuracy=(0.5,), accuracy_task=(1.0,))
  monkeypatch.setattr(evaluation, "evaluate", lambda *_: scores)
  job = types.SimpleNamespace(evaluate_every=every)
  at = cursor.Cursor(step=step, evaluated=evaluated)
  scope = types.SimpleNamespace(head=None)
  found = list(evaluation.midway(job, None, at, scope))
  assert bool(found) is due
  assert at.evaluated == (step if due else evaluated)
  if due:
    [event] = found
    assert event.scalars == {"accuracy": (0.5,), "accuracy_task": (1.0,)}


def test_what_steps_add_up_to():
  totals = cursor.Totals()
  totals.add(np.float32([1.0, 4.0]), 3.0, 6.0, first=True)
  assert totals == cursor.Totals(2, 6.0, 5.0, 3.0, 6.0)
  totals.add(np.float32([1.0]), 3.0, 6.0, first=False)
  assert totals == cursor.Totals(3, 12.0, 6.0, 3.0, 6.0)


def test_a_loss_that_is_no_number_is_told_with_its_rows():
  stream = types.SimpleNamespace(
    experiences=[types.SimpleNamespace(name="")] * 2,
    sources_of=lambda ids: [(1, 40 + i) for i in ids.tolist() if i >= 0],
  )
  ids = np.array([[7, 8, -1], [9, 10, 11], [-1] * 3])
  losses = np.float32([1.0, 4.0, np.nan])
  finite.check(stream, 1, 10, losses[:2], ids)
  with pytest.raises(
    loop.NonFiniteLossError, match=r"nan at step 12, .* 1: .* shown$"
  ):
    finite.check(stream, 1, 10, losses, ids)
  losses[0] = np.inf
  with pytest.raises(loop.NonFiniteLossError, match=r"step 10, .* rows 47, 48"):
    finite.check(stream, 1, 10, losses[:2], ids)


def test_decisions_are_filed_with_the_sizes_in_force():
  at = cursor.Cursor(experience=1, epoch=2, step=9)
  changes = (
    base.Change("shrunk", "why", {"predicted": 2.0}),
    base.Change("a", ""),
  )
  allocation = base.Allocation(3, em=5, sb=6, swap=0.5)
  at.decide(base.Decision(allocation, reason="fixed", changes=changes))
  assert at.decided == base.Decision(allocation, reason="fixed")
  assert at.decisions[0] == {
    "experience": 1,
    "epoch": 2,
    "step": 9,
    "kind": "shrunk",
    "em": 5,
    "sb": 6,
    "swap": 0.5,
    "reason": "why",
    "predicted": 2.0,
  }
  assert [each["kind"] for each in at.decisions] == ["shrunk", "a"]
  at.open()
  assert at.decision is None and at.decisions == []


@pytest.mark.parametrize("name", ["er:buffer=20,minibatch=4", "der:buffer=20"])
def test_a_controller_may_say_what_share_of_a_step_is_replayed(name):
  shares = {}
  for replay in (None, 0.25, 0.75):
    controller = fixed.fixed(2, replay=replay)
    job = assemble(recipes.build(name), controller=controller, batch_size=6)
    state, place, _ = play(job)
    learners = list(job.trainee._by_share.values()) or [job.learner]
    rows = [each.rows_per_step for each in learners]
    shares[replay] = rows[0]
    assert len(rows) == 1 and np.isfinite(place.records[-1].loss)
    assert place.records[-1].decision.allocation.replay == replay
    assert place.records[-1].memory["examples"] == 20
  assert (shares[0.25], shares[0.75]) == (6 + 2, 6 + 18)
  assert shares[None] > 6


def test_what_draws_from_no_memory_replays_no_share():
  job = assemble(controller=fixed.fixed(1, replay=0.5))
  with pytest.raises(ValueError, match="draws from no memory on the device"):
    play(job)


def test_a_memory_that_replays_more_than_it_draws_draws_again():
  job = assemble(recipes.er(buffer=40, minibatch=4))
  method = sampling.replaying(job.learner.method, 10)
  assert method.replay.num_samples == 10
  state, _, _ = play(job)
  drawn = method.replay.sample(
    jax.random.key(0), state.replay, loop.scope_of(job, 1)
  )
  assert drawn.y.shape == (10,) and (drawn.weight == 1).all()
  assert set(drawn.ids.tolist()) <= set(state.replay.items.ids.tolist())


@pytest.mark.parametrize("gate", ["random", "hard"])
def test_every_dispatch_asks_for_exchanges_once(gate, tmp_path, monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)
  asked, exchange = [], tier_feed.TierFeed._exchange

  def asking(feed, sent, difficulty):
    asked.append((sent.step, sent.ids.shape, bool(np.any(difficulty))))
    return exchange(feed, sent, difficulty)

  monkeypatch.setattr(tier_feed.TierFeed, "_exchange", asking)
  method = recipes.build(f"carm:em=8,sb=12,gate={gate}")
  job = assemble(method, epochs=1, steps_per_dispatch=2)
  with session.fed(job, tmp_path) as running:
    _, place, kinds = play(running)
  ends = [step for kind, step, _ in kinds if kind == "steps"]
  starts = [0, *ends[:-1]]
  assert [step for step, *_ in asked] == starts
  assert [shape[0] for _, shape, _ in asked] == np.diff([0, *ends]).tolist()
  assert {known for *_, known in asked} == {gate == "hard"}
  assert place.records[-1].steps == 12 // 6 + 8 // 6 + 1


def test_an_epoch_shows_what_answers_to_the_one_before_left(monkeypatch):
  """The order of the second epoch is known once the first one is over."""
  learned, order = removal.Removal.learned, removal.Removal.order
  answered, known = [], []

  def observing(feed, sent, difficulty):
    answered.extend(sent.ids[sent.ids >= 0].tolist())
    return learned(feed, sent, difficulty)

  def telling(feed, epoch):
    known.append((feed.index, epoch, len(answered)))
    return order(feed, epoch)

  monkeypatch.setattr(removal.Removal, "learned", observing)
  monkeypatch.setattr(removal.Removal, "order", telling)
  removed = base.Removal(share=0.5, every=1, until=1)
  job = assemble(
    recipes.finetune()._replace(removal=removed),
    epochs=2,
    steps_per_dispatch=1,
  )
  state, place = loop.start(job)
  for event in loop.run(job, state, place):
    if event.kind == "experience":
      # 24 of the first epoch and 12 of the second, of each experience.
      first = 36 * (place.experience - 1)
      begun, later = answered[first : first + 24], answered[first + 24 :]
      assert len(set(begun)) == 24 and len(set(later)) == len(later) == 12
      rows = {i - 24 * (place.experience - 1) for i in later}
      assert rows == set(range(24)) - set(job.feed.removed)
  assert set(known) == {(0, 0, 0), (0, 1, 24), (1, 0, 36), (1, 1, 60)}


def test_an_experience_that_may_cost_nothing_is_recorded():
  limit = dataclasses.replace(base.UNLIMITED, flops=0.0)
  controller = base.Controller(
    init=lambda: (),
    decide=lambda state, seen: (base.Decision(1, limit), state),
  )
  _, place, _ = play(assemble(controller=controller))
  for record in place.records:
    assert (record.steps, record.examples) == (0, 0)
    assert record.loss == record.online_accuracy == 0
    assert record.memory == {"examples": 0, "bytes": 0, "per_class": [0] * 4}


def test_batches_for_hooks_are_of_orders_of_their_own():
  plain = recipes.finetune()

  def ahead(forward, inputs):
    return (inputs.batch.ids, inputs.state[1]), inputs.stats

  def behind(forward, inputs):
    return (inputs.state[0], inputs.batch.ids), inputs.stats

  nothing = jnp.zeros(6, jnp.int32)
  objective = plain.objective._replace(
    init=lambda params, stats: (nothing, nothing),
    first_batch=ahead,
    last_batch=behind,
  )
  job = assemble(plain._replace(objective=objective), epochs=2)
  state, _, _ = play(job)
  # Behind the two epochs of the second experience, whose first example is 24.
  for seen, epoch in zip(state.objective, (2, 3), strict=True):
    order = 24 + batching.epoch_order(24, 0, 1, epoch)
    assert seen.tolist() == order[:6].tolist()


def test_a_longer_stream_goes_on_with_the_same_job():
  job = assemble()
  longer = job.going_on(dataclasses.replace(job.stream, name="longer"))
  assert longer.stream.name == "longer" and longer.feed is job.feed
  assert longer.step_key is job.step_key  # which is made once
