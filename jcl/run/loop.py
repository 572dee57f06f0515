"""The host loop: where stream, learner, controller and ledger meet.

`run` is a generator. It never prints, writes or saves; progress bars, files
and checkpoints are consumers of the events it yields. All it needs to go on
after a stop is in the last event: a `LearnerState` and a `Place`.
"""

from collections.abc import Generator, Iterator
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jcl import base, errors
from jcl.cost import program_cost
from jcl.errors import UsageError
from jcl.run import evaluation, removal, reselection, tiering
from jcl.run.cursor import Event, Place, Setting, Tally
from jcl.streams import batching
from jcl.train import chunks, gather

_EXTRACT = 500  # examples per batch when features are read for a memory


class NonFiniteLossError(ArithmeticError):
  """The loss left the finite numbers; the state that did it is discarded."""


def start(setting: Setting) -> tuple[base.LearnerState, Place]:
  """Returns the state and place of a run that has done nothing yet."""
  learner, stream = setting.learner, setting.stream
  state, selection = learner.init(setting.key_for(0))
  place = Place(selection=selection, control=setting.controller.init())
  scores = evaluation.evaluate(setting, state, stream.classes_trained)
  place.initial = (scores.accuracy, scores.accuracy_task)
  return state, place


def run(
  setting: Setting, state: base.LearnerState, place: Place
) -> Iterator[Event]:
  """Learns the rest of the stream from `place` on.

  Yields an event at the start and end of every experience, after every
  dispatch of steps, after every evaluation mid-way, and twice a second while
  the host allows too little memory to go on. The same setting and
  seed give the same states, wherever the run was stopped and taken up again.

  Raises:
    NonFiniteLossError: names the step and the examples of its batch.
  """
  for index in range(place.experience, len(setting.stream.experiences)):
    scope = scope_of(setting, index)
    if not place.begun:
      state = _begin(setting, state, place, scope)
      yield Event("begin", state, place, {})
    yield from (steps := _Steps(setting, state, place, scope)).events()
    state = _end(setting, steps.state, place, scope)
    place.records.append(evaluation.record(setting, state, place, scope))
    place.experience, place.begun = index + 1, False
    place.epoch = place.batch = 0
    yield Event("experience", state, place, {})


def scope_of(setting: Setting, index: int) -> base.Scope:
  """Returns what is known of the classes in experience `index`."""
  stream = setting.stream
  current = np.zeros(stream.num_classes, bool)
  current[list(stream.experiences[index].classes)] = True
  seen = stream.classes_seen(index)
  everything = setting.learner.training.head == "all"
  head = stream.classes_trained if everything else seen
  return setting.learner.put(
    base.Scope(np.asarray(index, np.int32), current, seen, head)
  )


def decide(setting: Setting, place: Place) -> None:
  """Notes what the place's experience may cost."""
  place.decision, place.control = setting.controller.decide(
    place.control, _observed(setting, place)
  )


def _observed(setting: Setting, place: Place) -> base.Observation:
  experiences = setting.stream.experiences
  return base.Observation(
    experience=place.experience,
    num_experiences=len(experiences),
    num_examples=len(experiences[place.experience].data),
    spent=setting.ledger.total(),
  )


def _begin(setting, state, place, scope):
  """Decides what the experience may cost and prepares the learner for it."""
  learner = setting.learner
  method, index = learner.method, place.experience
  decide(setting, place)
  limit = place.decision.limit
  if jax.process_count() > 1 and min(limit.seconds, limit.joules) < math.inf:
    raise UsageError(
      "processes that share a run would reach a limit of seconds or joules at "
      "different steps: limit operations instead"
    )
  place.tally, place.spent = Tally(), base.Cost()
  if method.restart and index:
    state = learner.restart(setting.key_for(2, index), state, place.selection)
  if method.replay.when == "before":
    state = _offer(setting, state, index)
  state = learner.begin(state, scope)
  if setting.tiers is not None:
    tiering.begin(setting, state, place, scope)
  removal.begin(setting, place)
  place.begun, place.chosen, place.choices = True, -1, []
  return state


def _glimpse(setting, state, place, scope, when) -> base.LearnerState:
  """Shows an objective that wants one a batch, of an order of its own."""
  learner, index = setting.learner, place.experience
  if getattr(learner.method.objective, when) is None:
    return state
  behind = when == "behind"
  with setting.ledger.timed("data"):
    source = source_of(setting, index, state.replay and state.replay.items)
    rows = _rows(setting, source, index, place.decision.epochs + behind)[:1]
    shown = chunks.read(learner, source, rows)
  key = setting.key_for(6, index, int(behind))
  return learner.glimpse(
    when, key, state, shown.batches, scope, place.selection
  )


def _whole(setting: Setting, index: int) -> Iterator[chunks.Chunk]:
  """Yields every example of experience `index` once, as in its first epoch."""
  source = gather.Experiences(setting.stream, [index])
  order = _order(setting, source, index, epoch=0)
  return chunks.of_order(setting.learner, source, order)


def source_of(setting: Setting, index: int, memory: Any = None):
  """Returns what experience `index` trains on.

  Args:
    setting: of the run.
    index: of the experience, which has begun.
    memory: examples on the device, where a method trains on them.
  """
  method = setting.learner.method
  if setting.tiers is None:
    return gather.training_set(method.gather, setting.stream, index, memory)
  draws = method.objective.num_draws if method.replay.fed else 0
  return setting.tiers.source(draws, method.replay.num_samples)


def _order(setting, source, index, epoch, place=None) -> np.ndarray:
  """Returns the order [N] of an epoch's examples.

  With a place, examples that have left the experience by then are left out.
  """
  order = batching.epoch_order(
    len(source),
    setting.seed,
    index,
    epoch,
    ordered=setting.stream.ordered and source.own,
  )
  if place is not None:
    order = removal.remaining(setting, place, order, epoch)
  return order


def _rows(setting, source, index, epoch, place=None) -> np.ndarray:
  """Returns the epoch's order as [batches, B] rows, -1 where padded."""
  order = _order(setting, source, index, epoch, place)
  return chunks.rows_of(order, setting.learner)


class _Steps:
  """The updates of one experience; `state` is the one reached so far."""

  def __init__(self, setting, state, place, scope):
    self.setting, self.state = setting, state
    self.place, self.scope = place, scope
    memory = state.replay.items if state.replay else None
    self.source = source_of(setting, place.experience, memory)
    if not place.tally.steps:
      learner = setting.learner
      place.planned = place.decision.epochs * batching.num_batches(
        len(self.source), learner.stream_rows
      )
    self._time()
    self._order: tuple[int, np.ndarray] = (-1, np.zeros((0, 0), np.int32))

  def events(self) -> Iterator[Event]:
    """Trains to the end of the last epoch, or until a limit is reached."""
    setting, place = self.setting, self.place
    ledger, key = setting.ledger, setting.key_for(1)
    if self._evaluation_due():  # a kill came between a step and this
      yield self._evaluated()
    yield from self._wait()
    with ledger.timed("data"):
      pending = self._fetch_again()
    while pending is not None and not self._limit_reached():
      waited = yield from self._wait()
      if waited:
        pending = self._fetch_again()
        continue
      self.state = reselection.choose_if_due(
        setting, self.state, place, self.scope, self.source
      )
      self.state, program = reselection.program(setting, self.state, place)
      if not place.tally.steps:
        place.planned = min(place.planned, self._steps_to_limit(program.cost))
        self._time()
        self.state = _glimpse(setting, self.state, place, self.scope, "ahead")
      if place.step < place.adopt < place.step + pending[0].num_steps:
        pending = self._fetch(place.epoch, place.batch, place.step)
      chunk, after = pending
      num_steps = min(chunk.num_steps, self._steps_to_limit(program.cost))
      ids = chunk.ids
      work = chunks.work(program, num_steps)
      with ledger.shared(self._shares(), *work) as took:
        self.state, info = chunks.run(
          program, key, self.state, chunk.first(num_steps), self.scope
        )
        # While the device works. What is exchanged goes first, so that a run
        # that is resumed fetches the same.
        if setting.tiers is not None:
          setting.tiers.apply(place.step + num_steps)
        fetched = not removal.waits(setting, place, after[0])
        if fetched:
          pending = self._fetch(after[0], after[1], place.step + num_steps)
        self._exchange(ids[:num_steps])
        info = jax.tree.map(np.asarray, info)
      if self._gated:
        self._exchange(ids[:num_steps], info.hardness)
      removal.observe(setting, place, ids[:num_steps], info.hardness)
      if not fetched:
        pending = self._fetch(after[0], after[1], place.step + num_steps)
      place.spent += took.cost
      scalars = self._tally(info, ids, num_steps, took.cost.seconds)
      place.step += num_steps
      place.epoch, place.batch = after
      if not place.batch and setting.controller.revise is not None:
        place.decision = setting.controller.revise(
          place.decision, _observed(setting, place), place.spent
        )
      if setting.tiers is not None and tiering.between(
        setting, self.state, place, self.scope
      ):
        pending = self._fetch_again()
      yield Event("steps", self.state, place, scalars)
      if self._evaluation_due():
        yield self._evaluated()

  def _time(self) -> None:
    """Tells steps when the experience began, and how long it is to be."""
    place, learner = self.place, self.setting.learner
    first = place.step - place.tally.steps
    self.scope = learner.timed(self.scope, first, place.planned)

  def _wait(self) -> Generator[Event, None, bool]:
    """Waits while the host allows too little memory; tells whether it did."""
    setting, waited = self.setting, False
    while setting.tiers is not None and tiering.starved(setting, self.place):
      waited = True
      yield Event("paused", self.state, self.place, {})
    return waited

  def _fetch_again(self):
    """Fetches as `_fetch`, where the epoch may go through others by now."""
    place = self.place
    rows = _rows(
      self.setting, self.source, place.experience, place.epoch, place
    )
    if 0 < len(rows) <= place.batch:  # it ends earlier, then
      place.epoch, place.batch = place.epoch + 1, 0
    self._order = -1, rows
    return self._fetch(place.epoch, place.batch, place.step)

  @property
  def _gated(self) -> bool:
    """Whether the examples that leave the memory depend on results of steps."""
    tiers = self.setting.tiers
    return tiers is not None and tiers.hierarchy.gate != "random"

  def _exchange(self, ids: np.ndarray, hardness: Any = None) -> None:
    """Has replayed examples exchanged, as soon as it is known which."""
    if self.setting.tiers is None or self._gated != (hardness is not None):
      return
    if hardness is None:
      hardness = np.zeros_like(ids, np.float32)
    tiering.after_steps(
      self.setting, self.place, self.place.step, ids, hardness
    )

  def _shares(self) -> dict[str, float]:
    """Shares of a dispatch: of the stream, and of replayed examples."""
    tiers = self.setting.tiers
    if tiers is not None and tiers.span:
      replayed = tiers.span / max(len(self.source), 1)
      return {"train": 1 - replayed, "replay": replayed}
    memory = self.state.replay
    empty = (not memory or int(memory.seen) == 0) and not (
      tiers is not None and len(tiers.em)
    )
    replayed = 0.0 if empty else self.setting.learner.replay_share
    return {"train": 1 - replayed, "replay": replayed}

  def _fetch(self, epoch, batch, step):
    """Returns (the next chunk, the place after it), or None.

    The chunk is shorter than a dispatch may be where the latest choice is to
    be adopted before its end.
    """
    learner, place = self.setting.learner, self.place
    if epoch >= place.decision.epochs or not len(self.source):
      return None
    if self._order[0] != epoch:
      rows = _rows(self.setting, self.source, place.experience, epoch, place)
      self._order = (epoch, rows)
    most = learner.steps_per_dispatch
    if step < place.adopt:
      most = min(most, place.adopt - step)
    rows = self._order[1][batch : batch + most]
    ended = batch + len(rows) >= len(self._order[1])
    after = (epoch + 1, 0) if ended else (epoch, batch + len(rows))
    return chunks.read(learner, self.source, rows), after

  def _limit_reached(self) -> bool:
    limit, spent = self.place.decision.limit, self.place.spent
    pairs = zip(
      dataclasses.astuple(spent), dataclasses.astuple(limit), strict=True
    )
    return any(done >= most for done, most in pairs)

  def _steps_to_limit(self, cost: program_cost.ProgramCost) -> float:
    """Steps, one at least, that reach a limit of operations or bytes."""
    limit, spent = self.place.decision.limit, self.place.spent
    steps = math.inf
    for left, each in (
      (limit.flops - spent.flops, cost.flops),
      (limit.bytes - spent.bytes, cost.bytes_accessed),
    ):
      if left < math.inf and each > 0:
        steps = min(steps, math.ceil(left / each))
    return max(steps, 1)

  def _tally(self, info, ids, num_steps, seconds) -> dict[str, float]:
    losses = info.loss[:num_steps]
    for i in np.flatnonzero(~np.isfinite(losses)):
      raise NonFiniteLossError(
        f"the loss became {losses[i]} at step {self.place.step + int(i)}, "
        f"{_named(self.setting.stream, self.place.experience)}: lower the "
        "learning rate, or look for extreme values in what the step was shown"
        f"{_shown(self.setting.stream, self.place.experience, ids[i])}"
      )
    tally = self.place.tally
    correct, examples = float(info.correct.sum()), float(info.examples.sum())
    tally.steps += num_steps
    tally.examples += examples
    tally.loss += float(losses.sum(dtype=np.float64))
    if self.place.epoch == 0:
      tally.online_correct += correct
      tally.online_examples += examples
    return {
      "loss": float(losses.mean()),
      "online_accuracy": correct / max(examples, 1),
      "seconds": seconds,
    }

  def _evaluation_due(self) -> bool:
    every, place = self.setting.evaluate_every, self.place
    return bool(every) and place.step // every > place.evaluated // every

  def _evaluated(self) -> Event:
    self.place.evaluated = self.place.step
    scores = evaluation.evaluate(self.setting, self.state, self.scope.head)
    scalars = {
      "accuracy": scores.accuracy,
      "accuracy_task": scores.accuracy_task,
    }
    return Event("evaluated", self.state, self.place, scalars)


def _named(stream, index: int) -> str:
  name = stream.experiences[index].name
  return f"experience {index}" + (f" ({errors.short(name)})" if name else "")


def _shown(stream, index: int, ids: np.ndarray) -> str:
  """Says in which rows of the data the user finds examples of a batch."""
  found = stream.sources_of(ids)
  own = sorted({row for experience, row in found if experience == index})
  others = sorted({row for experience, row in found if experience != index})
  texts = [
    f", rows {errors.some(rows)} of {whose}"
    for rows, whose in ((own, "the training data"), (others, "earlier ones"))
    if rows
  ]
  return "".join(texts) + ", counted from 0" * bool(texts)


def _offer(setting, state, index) -> base.LearnerState:
  """Offers every example of an experience to the memory, in one pass."""
  key = setting.key_for(4, index)
  for chunk in _whole(setting, index):
    state = setting.learner.add(key, state, chunk.batches, chunk.num_steps)
  return state


def _end(setting, state, place, scope) -> base.LearnerState:
  """Closes an experience: what the objective and the memory keep of it."""
  learner, index = setting.learner, place.experience
  objective, replay = learner.method.objective, learner.method.replay
  state = _glimpse(setting, state, place, scope, "behind")
  if objective.accumulate is not None:
    key = setting.key_for(5, index)
    for chunk in _whole(setting, index):
      state = learner.accumulate(
        key, state, chunk.batches, chunk.num_steps, scope
      )
  state = learner.finish(state, scope)
  if replay.when == "after":
    state = _offer(setting, state, index)
  if setting.tiers is not None:
    tiering.end(setting, state, place)
  if replay.rebuild is not None:
    examples = _with_features(setting, state, index)
    with setting.ledger.timed("replay"):
      rebuilt = replay.rebuild(state.replay, examples)
      state = state._replace(replay=learner.put(rebuilt))
  if objective.review is not None:
    memory = None if setting.tiers is None else setting.tiers.memory()
    state = learner.review(state, scope, memory)
  return state


def _with_features(setting, state, index) -> base.Batch:
  """Returns all examples of an experience [N, ...] with their features."""
  source = gather.Experiences(setting.stream, [index])
  rows = np.arange(len(source), dtype=np.int32)
  rows = np.pad(rows, (0, -len(rows) % _EXTRACT), constant_values=-1)
  parts = []
  for chunk in rows.reshape(-1, 1, _EXTRACT):
    part = jax.tree.map(lambda leaf: leaf[0], source.batch(chunk))
    features = setting.learner.outputs(state, part.x, "features")
    parts.append(part._replace(extras={"features": features}))
  return jax.tree.map(
    lambda *leaves: np.concatenate(leaves)[: len(source)], *parts
  )


def expected_steps(setting: Setting, place: Place) -> int:
  """Updates of the whole run, if later experiences get as many epochs."""
  learner = setting.learner
  gathered = learner.method.gather
  starts = setting.stream.starts.tolist()
  decided = place.decision or learner.training
  epochs = decided.epochs or 1
  total = place.step - (place.tally.steps if place.begun else 0)
  for earlier, end in zip(
    starts[place.experience : -1], starts[place.experience + 1 :], strict=True
  ):
    examples = end - earlier if gathered == "current" else end
    if gathered == "memory":
      examples = min(examples, learner.memory_slots)
    if setting.tiers is not None:
      examples = setting.tiers.expected_rows(earlier, end - earlier)
    total += epochs * batching.num_batches(examples, learner.stream_rows)
  return total
