"""Units followed through a run, however often it is stopped."""

import copy
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.metrics import generality
from jcl.run import loop, session
from jcl.run.generality import features, follow
from jcl.selection import fixed

TASKS = 3


@pytest.fixture(scope="module")
def stream():
  return tiny_network.stream(tasks=TASKS, num_classes=6)


@pytest.fixture(scope="module")
def job(stream):
  """Of a run with the first unit frozen."""
  method = recipes.finetune()._replace(selector=fixed.frozen_prefix(1))
  return session.assemble(
    stream,
    tiny_network.build(num_classes=6),
    method,
    base.Training(epochs=2, batch_size=12, learning_rate=0.3),
    options=session.Options(steps_per_dispatch=2),
  )


@pytest.fixture(scope="module")
def probes(stream):
  return follow.held_out(stream)


@pytest.fixture(scope="module")
def played(job, probes):
  """Copies of a followed run's events, and the follower behind it."""
  follower = follow.Follower(job, probes)
  return play(job, follower, *loop.start(job)), follower


def play(job, follower, state, place, stop=None):
  events = []
  steps = follow.from_events(loop.run(job, state, place), follower)
  for number, event in enumerate(steps):
    held = jax.tree.map(np.array, event.state)
    job.save(event.place)
    events.append((event.kind, held, copy.deepcopy(event.place)))
    if number == stop:
      break
  return events


def test_records_are_the_definitions_on_the_states_of_the_run(
  job, probes, played
):
  events, follower = played
  units = follower.units
  assert units == tiny_network.UNITS[:-1]

  def read(state, index):
    train = state.train
    weights = train.params, train.stats
    x = probes.read(index)
    return features.read(job.learner, weights, x, units, len(x))

  ahead = [state for kind, state, _ in events if kind == "begin"]
  behind = [state for kind, state, _ in events if kind == "experience"]
  assert len(follower.records) == len(behind) == TASKS
  for t, record in enumerate(follower.records):
    moved = generality.agreement(read(ahead[t], t), read(behind[t], t))
    np.testing.assert_allclose(record["lp"], moved, rtol=1e-12)
    if t == 0:
      assert record["ms"] is None
      continue
    kept = generality.stability(
      [read(behind[i], i) for i in range(t)],
      [read(behind[t], i) for i in range(t)],
    )
    np.testing.assert_allclose(record["ms"], kept, rtol=1e-12)


def test_a_frozen_unit_keeps_all_and_others_do_not(played):
  ms, lp = generality.table(played[1].records)
  np.testing.assert_allclose(ms[1:, 0], 1, atol=1e-12)
  np.testing.assert_allclose(lp[:, 0], 1, atol=1e-12)
  assert (ms[1:, 1] < 1 - 1e-6).all() and (lp[:, 1] < 1 - 1e-6).all()


def test_following_changes_nothing_and_is_paid_for(job, probes, played):
  events, _ = played
  state, place = loop.start(job)
  before = job.ledger.totals()["probe"]
  for event in loop.run(job, state, place):
    state = event.state
  assert job.ledger.totals()["probe"].flops == before.flops
  assert tiny_network.same_bits(state, events[-1][1])
  follower = follow.Follower(job, probes)
  follower.begin(state, loop.Cursor())
  spent = job.ledger.totals()["probe"] - before
  assert spent.seconds > 0 and spent.flops > 0


@pytest.mark.parametrize("ahead", [0, 1, 3, 4])
def test_a_run_taken_up_again_is_followed_on(
  job, probes, played, tmp_path, ahead
):
  """`ahead`: events that the file knows of beyond what was saved of the run."""
  events, whole = played
  path, saved = tmp_path / "generality.npz", 5
  assert events[saved][0] == "steps"  # in the midst of an experience
  state, place = loop.start(job)
  follower = follow.Follower(job, probes, path)
  play(job, follower, state, place, stop=saved + ahead)
  assert [each.name for each in tmp_path.iterdir()] == [path.name]
  _, state, place = events[saved]
  again = follow.Follower(job, probes, path)
  job.template(place)
  job.restore(place)
  play(job, again, job.learner.put(state), copy.deepcopy(place))
  assert again.records == whole.records
  assert follow.Follower(job, probes, path).records == whole.records


def test_what_was_missed_is_said_at_once(job, probes, played, tmp_path):
  events, _ = played
  follower = follow.Follower(job, probes, tmp_path / "away.npz")
  _, state, place = events[5]
  shown = follow.from_events(
    iter([loop.Event("steps", state, place, {})]), follower
  )
  with pytest.raises(ValueError, match="bring back .*away.npz"):
    next(shown)
  later = loop.Cursor(experience=2)
  with pytest.raises(
    ValueError, match="experience 2, but its .*missed: 0 were"
  ):
    follower.begin(state, later)
  with pytest.raises(ValueError, match="Start the run over"):
    follower.end(state, later)


def test_a_file_of_other_probe_sets_is_refused(
  job, stream, probes, played, tmp_path
):
  path = tmp_path / "generality.npz"
  follow.Follower(job, probes, path).begin(played[0][0][1], loop.Cursor())
  with pytest.raises(ValueError, match="other units or probe sets"):
    follow.Follower(job, follow.arrived(stream), path)


@pytest.mark.parametrize(
  "recipe, message", [("joint", "new weights"), ("pruning", "prunes channels")]
)
def test_networks_that_do_not_last_are_refused(stream, recipe, message):
  job = session.assemble(
    stream,
    tiny_network.build(num_classes=6),
    recipes.build(recipe),
    base.Training(),
  )
  with pytest.raises(ValueError, match=message):
    follow.Follower(job, follow.held_out(stream))


def test_probe_sets_belong_to_the_stream(job, probes):
  with pytest.raises(ValueError, match="2 probe sets for 3 experiences"):
    follow.Follower(job, probes._replace(rows=probes.rows[:2]))


def test_probe_sets_are_drawn_by_seed_from_what_they_name(stream):
  first = follow.held_out(stream, size=6)
  assert not stream.held_out._num_open
  again, other = (follow.held_out(stream, size=6, seed=s) for s in (0, 1))
  assert all(map(np.array_equal, first.rows, again.rows))
  assert not all(map(np.array_equal, first.rows, other.rows))
  with stream.held_out.open() as test_sets:
    for index, rows in enumerate(first.rows):
      assert len(set(rows)) == 6 and (np.diff(rows) > 0).all()
      np.testing.assert_array_equal(first.read(index), test_sets[index].x[rows])
  training = follow.arrived(stream, size=10**6)
  for index, experience in enumerate(stream.experiences):
    np.testing.assert_array_equal(training.read(index), experience.data.x)
  assert training.largest == 24


def test_probe_sets_that_are_too_small(stream):
  with pytest.raises(ValueError, match="size=3"):
    follow.held_out(stream, size=3)
  few = dataclasses.replace(
    stream.experiences[1].data,
    x=stream.experiences[1].data.x[:2],
    y=stream.experiences[1].data.y[:2],
  )
  experiences = list(stream.experiences)
  experiences[1] = dataclasses.replace(experiences[1], data=few)
  thin = dataclasses.replace(stream, experiences=tuple(experiences))
  with pytest.raises(ValueError, match="experience 1 has 2 training examples"):
    follow.arrived(thin)


def test_space_and_tokens_are_averaged_and_padding_left_out():
  """A network of an image's map, tokens and a vector, half in precision."""

  def apply(params, stats, x, *, taps):
    outputs = {
      "map": x * params,
      "tokens": x.reshape(len(x), -1, 2).astype(jnp.bfloat16),
      "vector": x[:, 0, 0],
    }
    return base.Output(x, stats, {tap: outputs[tap] for tap in taps})

  learner = types.SimpleNamespace(
    network=types.SimpleNamespace(apply=apply),
    preprocess=types.SimpleNamespace(normalise=lambda x: x / 2.0),
    put=jnp.asarray,
    run=lambda account, name, fn, *args: fn(*args),
  )
  x = np.random.default_rng(0).integers(0, 8, (5, 3, 4, 2)).astype(np.uint8)
  units = ("map", "tokens", "vector")
  found = features.read(learner, (2.0, {}), x, units, 2)
  np.testing.assert_allclose(found[0], x.mean(axis=(1, 2)), rtol=1e-6)
  np.testing.assert_allclose(found[1], x.mean(axis=(1, 2)) / 2, rtol=1e-6)
  np.testing.assert_allclose(found[2], x[:, 0, 0] / 2)
  assert all(a.dtype == np.float32 and len(a) == 5 for a in found)


def test_as_few_examples_as_a_probe_set_may_have():
  first, second = follow._draw("training", [4, 9], 4, 3)
  assert first.tolist() == [0, 1, 2, 3] and len(set(second)) == 4
  drawn = np.random.default_rng((3, 1)).choice(9, 4, replace=False)
  assert second.tolist() == sorted(drawn)
  assert [len(rows) for rows in follow._draw("training", [4, 9], 6, 3)] == [
    4,
    6,
  ]
  with pytest.raises(ValueError, match="size=3: a probe set needs 4"):
    follow._draw("training", [9], 3, 0)
  with pytest.raises(ValueError, match="experience 1 has 3 held-out examples"):
    follow._draw("held-out", [9, 3], 4, 0)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(follow.held_out) == {"size": 256, "seed": 0}
  assert signatures.defaults(follow.arrived) == {"size": 256, "seed": 0}


def known(records, before=-1):
  """As much of a follower as asks where a run stands."""
  found = object.__new__(follow.Follower)
  found._records, found._path = [{"index": i} for i in range(records)], None
  found._before = before, ()
  return found


@pytest.mark.parametrize(
  ("records", "before", "index", "begun", "missed"),
  [
    (0, -1, 0, False, False),
    (0, -1, 0, True, True),
    (0, 0, 0, True, False),
    (1, 0, 1, False, False),
    (1, 0, 1, True, True),
    (1, 1, 1, True, False),
    (2, 1, 1, True, False),  # taken up again ahead of what is known
    (1, 1, 2, False, True),
  ],
)
def test_a_run_is_followed_from_its_beginning(
  records, before, index, begun, missed
):
  follower = known(records, before)
  place = loop.Cursor(experience=index, begun=begun)
  if not missed:
    follower.require(place)
    return
  told = f"{records} were followed to their end. Start the run over$"
  with pytest.raises(ValueError, match=told):
    follower.require(place)


@pytest.mark.parametrize(
  ("records", "before", "place"), [(1, 1, 3), (1, 0, 2), (0, -1, 1)]
)
def test_an_end_without_its_beginning_is_missed(records, before, place):
  follower = known(records, before)
  with pytest.raises(ValueError, match=f"stands in experience {place - 1}, "):
    follower.end(None, loop.Cursor(experience=place))


def test_what_is_known_is_not_measured_again():
  follower = known(2, 1)
  assert follower.end(None, loop.Cursor(experience=1)) == {"index": 0}
  assert follower.end(None, loop.Cursor(experience=2)) == {"index": 1}
  follower.begin(None, loop.Cursor(experience=1))
  assert follower.records == ({"index": 0}, {"index": 1})


def test_the_first_event_alone_asks_for_the_past():
  asked = []
  follower = types.SimpleNamespace(
    require=asked.append, begin=lambda *_: None, end=lambda *_: None
  )

  def shown(*kinds):
    asked.clear()
    events = [loop.Event(kind, None, i, {}) for i, kind in enumerate(kinds)]
    assert list(follow.from_events(iter(events), follower)) == events
    return list(asked)

  assert shown("steps", "evaluated", "steps") == [0]
  assert shown("evaluated", "experience", "begin", "steps") == [0]
  assert shown("begin", "steps") == shown("experience", "steps") == []


def test_one_process_of_several_writes(tmp_path, monkeypatch):
  follower = known(0)
  follower._path = tmp_path / "generality.npz"
  monkeypatch.setattr(follow.jax, "process_index", lambda: 1)
  follower._save()
  assert not list(tmp_path.iterdir())
