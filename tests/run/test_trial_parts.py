"""The parts of short trials, each by itself."""

import contextlib
import types

import numpy as np
import pytest

from jcl import base, keys
from jcl.control import choice
from jcl.control.verdict import Verdict
from jcl.run import trials

TRIED = [(20, 40), (10, 20), (30, 10), (5, 5)]
RIGHT = {0: 3, 1: 7, 2: 7, 3: 5}  # of ten answers, by candidate


class Trainer:
  """Notes what is trained, and adds up epochs."""

  def __init__(self, *_):
    self.steps, self.joules, self.made = 0, 0.0, []

  def fresh(self, state):
    return {"of": state["of"], "epochs": np.zeros(())}

  def train(self, state, source, epochs, first):
    self.made.append((source, epochs, first, int(state["epochs"])))
    self.steps, self.joules = self.steps + 1, self.joules + 8.0
    index = TRIED.index(source)
    return {"of": np.array(index), "epochs": state["epochs"] + epochs}


class Read:
  """Gives sizes in place of examples."""

  def __init__(self, *_):
    self.joules, self.count = 3.0, 1

  @contextlib.contextmanager
  def examples(self, pair):
    yield pair


def judged(state):
  right = np.arange(10) < RIGHT.get(int(state["of"]), 2)
  return Verdict(right, np.log(np.full(10, 0.5, np.float32)))


def asked(**options):
  return types.SimpleNamespace(
    **{
      "cutline": 0.5,
      "epochs": 3,
      "halving": False,
      "judge": "accuracy",
      "warmup": 0,
      **options,
    }
  )


START = {"of": np.array(-1), "epochs": np.zeros(())}


def compared(monkeypatch, tried=TRIED, rounds=(), **options):
  kept, trainer = [], Trainer()

  def halving(count, epochs, least):
    kept.append((count, epochs, least))
    return list(rounds)

  monkeypatch.setattr(trials.choice, "halving", halving)
  found = trials._compared(
    asked(**options), trainer, Read(), START, tried, judged
  )
  return found, trainer.made, kept


def test_all_candidates_are_trained_to_the_end(monkeypatch):
  (verdicts, scores), made, kept = compared(monkeypatch)
  assert made == [(pair, 3, 0, 0) for pair in TRIED] and not kept
  assert scores == {0: 30.0, 1: 70.0, 2: 70.0, 3: 50.0}
  assert {i: int(v.right.sum()) for i, v in verdicts.items()} == RIGHT


def test_those_that_fall_behind_are_dropped(monkeypatch):
  rounds = [(1, 4), (3, 3), (7, 1)]
  (verdicts, scores), made, kept = compared(
    monkeypatch, rounds=rounds, halving=True, epochs=7
  )
  assert kept == [(4, 7, 2)]
  assert made == [
    *[(pair, 1, 0, 0) for pair in TRIED],
    *[(pair, 2, 1, 1) for pair in TRIED[1:]],
    (TRIED[1], 4, 3, 3),  # of two that are alike, the first
  ]
  assert scores == {1: 70.0} and len(verdicts) == 4


@pytest.mark.parametrize(
  ("cutline", "count", "least"),
  [(0.01, 4, 1), (0.5, 4, 2), (0.49, 4, 1), (1.0, 3, 3), (0.29, 100, 29)],
)
def test_at_least_one_is_kept(cutline, count, least, monkeypatch):
  tried = (TRIED * 25)[:count]
  *_, kept = compared(
    monkeypatch, tried, [(1, 1)], halving=True, cutline=cutline
  )
  assert kept == [(count, 3, least)]


@pytest.fixture
def played(monkeypatch):
  """Runs trials of two candidates on stand-ins."""

  def play(latest, **options):
    made = types.SimpleNamespace()
    wanted = asked(**options)
    tiers = types.SimpleNamespace(hierarchy=types.SimpleNamespace())
    tiers.hierarchy.trials = wanted
    totals = iter([base.Cost(1.0, 2.0), base.Cost(4.0, 8.0)])

    def trainer(*_):
      made.trainer = Trainer()
      return made.trainer

    def judge(job, state, aside, scope):
      assert (aside, scope) == ("aside", "scope")
      return judged(state)

    for part, name, value in (
      (trials.tier_feed, "tiers_of", lambda feed: tiers),
      (trials, "_make_room", lambda *given: None),
      (trials, "_Trainer", trainer),
      (trials, "_Read", Read),
      (trials, "_latest", lambda *given: latest),
      (trials.judge, "set_aside", lambda job: "aside"),
      (trials.judge, "judged", judge),
    ):
      monkeypatch.setattr(part, name, value)
    job = types.SimpleNamespace(
      feed=None,
      learner=types.SimpleNamespace(stream_rows=20),
      ledger=types.SimpleNamespace(
        total=lambda: next(totals),
        timed=lambda name: contextlib.nullcontext(),
      ),
    )
    return (
      trials.run(job, START, "at", "scope", TRIED[:2], 0.5, 6),
      made.trainer.made,
    )

  return play


def test_a_warm_up_only_times_an_update_where_none_is_asked_for(played):
  outcome, made = played(None)
  # The largest candidate, for an epoch; the others begin at the start.
  assert made[0] == ((20, 40), 1, 0, 0)
  assert made[1:] == [((20, 40), 3, 0, 0), ((10, 20), 3, 0, 0)]
  assert outcome.step_joules == 8.0 and outcome.read_joules == 3.0
  assert outcome.spent == base.Cost(3.0, 6.0)


def test_a_warm_up_is_what_candidates_begin_at(played):
  outcome, made = played(trials._Updates(2.0, 0), warmup=4)
  assert made == [
    ((20, 40), 4, 0, 0),
    ((20, 40), 3, 0, 4),
    ((10, 20), 3, 0, 4),
  ]
  # As measured in the experience before, which exchanged nothing.
  assert outcome.step_joules == 2.0 and outcome.read_joules == 3.0


def test_what_is_measured_takes_the_place_of_a_warm_up(played):
  outcome, made = played(trials._Updates(2.0, 1))
  assert [pair for pair, *_ in made] == TRIED[:2]
  assert outcome.step_joules == 2.0 and outcome.read_joules == 0.0
  first, second = outcome.table
  assert (first.em, first.sb, second.em, second.sb) == (20, 40, 10, 20)
  assert (first.accuracy, second.accuracy) == (30.0, 70.0)
  assert first.start == second.start == 20.0
  steps = choice.joules(20, 40, 6, 20, 2.0, 0.0, 0.0, 0.0)
  assert first.energy == steps == 6 * 3 * 2.0
  begun, ended = np.arange(10) < 2, np.arange(10) < 7
  change = ended.astype(float) - begun
  assert second.noise == pytest.approx(100 * change.std(ddof=1) / np.sqrt(10))


@pytest.mark.parametrize(
  ("trains", "spans"),
  [("both", (7, 5)), ("memory", (7, 5)), ("stream", (0, 5))],
)
def test_examples_are_those_that_training_goes_through(trains, spans):
  closed = []

  def held(count):
    return types.SimpleNamespace(
      count=count, close=lambda: closed.append(count)
    )

  examples = object.__new__(trials._Examples)
  examples._memory, examples._stream = held(7), held(5)
  examples._draws, examples._size = 2, 3
  examples._tiers = types.SimpleNamespace(
    hierarchy=types.SimpleNamespace(trains=trains),
    source_of=lambda *given: given,
  )
  assert examples.count == 12
  with examples as (memory, stream, spanning, draws, size):
    assert (memory.count, stream.count, draws, size) == (7, 5, 2, 3)
    assert spanning() == spans
  assert closed == [7, 5]


@pytest.mark.parametrize(
  ("ordered", "own", "sorted_"),
  [(True, True, True), (True, False, False), (False, True, False)],
)
def test_epochs_of_a_trial_have_orders_of_their_own(
  ordered, own, sorted_, monkeypatch
):
  orders, told, costs = [], [], iter(range(1, 99))

  class Source(list):
    pass

  source = Source(range(9))
  source.own = own

  @contextlib.contextmanager
  def timed(name, *work):
    told.append((name, *work))
    yield types.SimpleNamespace(cost=base.Cost(joules=float(next(costs))))

  def of_order(learner, given, order):
    assert given is source
    orders.append(order)
    return iter([types.SimpleNamespace(num_steps=4)])

  learner = types.SimpleNamespace(
    stream_rows=2,
    step_program=lambda selection: "program",
    timed=lambda scope, first, planned: (scope, first, planned),
  )
  job = types.SimpleNamespace(
    seed=7,
    learner=learner,
    stream=types.SimpleNamespace(ordered=ordered),
    ledger=types.SimpleNamespace(timed=timed),
    trainee=types.SimpleNamespace(selection="selection"),
  )
  for name, value in (
    ("of_order", of_order),
    ("work", lambda program, steps: (10.0 * steps, 1.0)),
    ("run", lambda program, key, state, chunk, scope: (state, scope)),
  ):
    monkeypatch.setattr(trials.chunks, name, value)
  monkeypatch.setattr(
    trials.jax, "block_until_ready", lambda info: told.append(info)
  )
  at = types.SimpleNamespace(experience=1)
  trainer = trials._Trainer(job, at, "scope")
  state = types.SimpleNamespace(train=types.SimpleNamespace(step=40))
  assert trainer.train(state, source, 2, 3) is state
  for epoch, order in zip((3, 4), orders, strict=True):
    generator = keys.rng(7, keys.Purpose.TRIAL, 1, epoch)
    drawn = generator.permutation(9)
    expected = sorted(drawn) if sorted_ else drawn
    assert order.tolist() == list(expected) and order.dtype == np.int32
  # Nine examples by two are five updates an epoch.
  once = [("data",), ("probe", 40.0, 1.0), ("scope", 40, 10), ("data",)]
  assert told == once * 2
  assert trainer.steps == 8
  # Two reads and a run an epoch; the last read finds nothing.
  assert trainer.joules == 1 + 2 + 4 + 5


def test_reading_is_added_up(monkeypatch):
  made = []

  def examples(job, em, sb, share):
    made.append((em, sb, share))
    return types.SimpleNamespace(count=5)

  @contextlib.contextmanager
  def timed(name):
    assert name == "data"
    yield types.SimpleNamespace(cost=base.Cost(joules=2.0))

  monkeypatch.setattr(trials, "_Examples", examples)
  job = types.SimpleNamespace(ledger=types.SimpleNamespace(timed=timed))
  read = trials._Read(job, 0.25)
  assert (read.joules, read.count) == (0.0, 0)
  for pair in TRIED[:2]:
    assert read.examples(pair).count == 5
  assert (read.joules, read.count) == (4.0, 10)
  assert made == [(20, 40, 0.25), (10, 20, 0.25)]


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_examples_of_a_candidate_are_drawn_from_the_store(
  on_host, ordered, monkeypatch
):
  class Held(list):
    def __init__(self, dtype, room, name):
      self.about = room, name

    def append(self, rows):
      self.extend(rows.tolist())

    count = property(len)

  earlier = {0: np.arange(6), 1: np.arange(10, 14)}
  fresh = {2: np.arange(20, 28)}
  tiers = types.SimpleNamespace(
    earlier=lambda: earlier,
    fresh=lambda: fresh,
    seed=7,
    experience=3,
    archive=types.SimpleNamespace(intact=lambda rows: rows),
  )
  monkeypatch.setattr(trials.tier_feed, "tiers_of", lambda feed: tiers)
  monkeypatch.setattr(trials.ram, "Ram", Held)
  monkeypatch.setattr(
    trials.quotas,
    "trial_subset",
    lambda *given: types.SimpleNamespace(em=(3, 2), sb=(4,), given=given),
  )
  method = types.SimpleNamespace(
    objective=types.SimpleNamespace(num_draws=2),
    replay=types.SimpleNamespace(on_host=on_host, num_samples=9),
  )
  job = types.SimpleNamespace(
    feed=None,
    learner=types.SimpleNamespace(method=method),
    stream=types.SimpleNamespace(ordered=ordered),
  )
  found = trials._Examples(job, 10, 8, 0.5)
  assert (found._draws, found._size) == (2 if on_host else 0, 9)
  generator = keys.rng(7, keys.Purpose.TRIAL, 3)
  memory = [
    *generator.permutation(earlier[0])[:3],
    *generator.permutation(earlier[1])[:2],
  ]
  stream = generator.permutation(fresh[2])[:4].tolist()
  assert list(found._memory) == memory
  assert list(found._stream) == (sorted(stream) if ordered else stream)
  assert found._memory.about == (5, "trial-memory")
  assert found._stream.about == (4, "trial-stream") and found.count == 9
