"""Learning of what has arrived: a study's loop, one experience at a time.

The stream of a study knows its end; that of a live learner is the experiences
that have ended so far, and the next one replaces it by a longer one. Loop,
learner, feed and controller are the same, so that the same experiences lead to
the same bits.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
from pathlib import Path
import tempfile
import threading
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jcl import base
from jcl.living import arrivals as arrivals_lib
from jcl.living import correcting, growing
from jcl.living import latest as latest_lib
from jcl.living import saved as saved_lib
from jcl.living import settings as settings_lib
from jcl.living import settled as settled_lib
from jcl.run import console, description, loop, session, shortening
from jcl.run import setup as setup_lib
from jcl.run import workdir as workdir_lib
from jcl.run.inference import model as models
from jcl.streams import stream as stream_lib

Outcome = Literal["learned", "paused", "stopped"]


class Learning:
  """Learns the experiences that have ended, and can be stopped anywhere.

  Args:
    arrivals: what has arrived.
    settings: of the learner.
    folder: of the run's files; None keeps everything in memory.
    published: is handed the model after every experience.
    saved: where another object stood, to go on from there in memory.
    give_way: called between small pieces of work, for other threads.
  """

  def __init__(
    self,
    arrivals: arrivals_lib.Arrivals,
    settings: settings_lib.Settings,
    folder: Path | None,
    published: Callable[[models.Model], None],
    saved: saved_lib.Saved | None = None,
    give_way: Callable[[], None] = lambda: None,
  ) -> None:
    self.arrivals, self._settings, self._saved = arrivals, settings, saved
    self._path, self._published = folder, published
    self._give_way = give_way
    self._stack = contextlib.ExitStack()  # of this learner
    self._around = contextlib.ExitStack()  # of the job, which growing replaces
    self._events: Iterator[loop.Event] | None = None
    self._settled: settled_lib.Settled | None = None
    self._files: workdir_lib.Folder | None = None
    self.latest = latest_lib.Latest(folder)
    self._filing = threading.Lock()
    self._experiences: list[base.Experience] = []
    self._labels = correcting.Labels(arrivals)
    self.learned = 0  # experiences, up to the model handed over last
    self._made: models.Model | None = None  # handed over last
    self._cost: Mapping[str, base.Cost] = {}
    self._unsaved = False  # whether all that was learned may not be saved
    self._begun = False  # whether there are the three below
    self._job: loop.Job
    self._state: base.LearnerState
    self._at: loop.Cursor

  @property
  def state(self) -> base.LearnerState:
    """The learner's state, valid until learning goes on."""
    return self._state

  @property
  def records(self) -> Sequence[base.Record]:
    """Records of the experiences that are learned."""
    return self._at.records if self._begun else ()

  @property
  def cost(self) -> Mapping[str, base.Cost]:
    """Costs up to the latest updates, by account of the ledger.

    Any thread may ask: the ledger itself is that of the one that learns.
    """
    return self._cost

  @property
  def standing(self) -> loop.Cursor | None:
    """Where learning stands, None before it begins; it moves while read."""
    return self._at if self._begun else None

  def advance(self, stop: Callable[[], bool]) -> Outcome:
    """Learns all that has ended, or as much as the budget allows now.

    Args:
      stop: asked between dispatches of updates, whether to stop there.

    Returns:
      "learned" where nothing is left, "paused" where the budget makes it wait,
      "stopped" where `stop` said so. It goes on from there when called again.
    """
    self.open()
    while self._begun and self._at.experience < self.arrivals.count:
      if self._events is None:
        self._next()
        self._events = loop.run(self._job, self._state, self._at)
      for event in self._events:
        self._state = event.state
        outcome: Outcome | None = None
        if event.kind == "paused":
          outcome = "paused"
        elif stop():
          outcome = "stopped"
        self._note(event, outcome is not None)
        self._give_way()
        if outcome is not None and event.kind != "experience":
          return outcome
      self._events = None
      self._publish()
      if outcome is not None:
        return outcome
    return "learned"

  def summarise(self) -> None:
    """Brings the summary in the folder up to date; any thread may ask."""
    if self._begun and self._files is not None:
      with self._filing:
        self._files.summarise()

  def release(self) -> None:
    """Lets the examples go that nothing will ask for again, where it helps."""
    every = self._settings.method.trains_on == "seen"
    if self._files is not None and not every and self.arrivals.is_filling:
      self._save()
      self._files.wait()  # checkpoints that are older ask for them
      # A memory on disk goes on behind the last one.
      self.arrivals.drop(max(self.learned - 1, 0))

  def open(self) -> None:
    """Goes on where an earlier object stopped, or begins; learns nothing."""
    if not self._begun and self.arrivals.count:
      self._open()

  @property
  def saved(self) -> saved_lib.Saved | None:
    """Where learning stands, None before it has begun."""
    if not self._begun:
      return self._saved
    assert self._settled is not None
    self._job.save(self._at)
    return saved_lib.of(self._job, self._state, self._at, self._settled)

  def close(self) -> None:
    """Leaves the folder, in which what `advance` returned on is saved."""
    self._events = None
    with self._stack:
      self._save()
      self.latest.flush()
      self._around.close()

  # The job of an experience.

  def _open(self) -> None:
    """Goes on where an earlier process stopped, or begins."""
    assert self.arrivals.example is not None
    self._settled = self._settle()
    self._enter(self._assembled(self._saved.experience if self._saved else 0))
    about = self._settings.about(
      description.of(self._job, self._settings.setup.options, {})
    )
    self._stack.enter_context(console.quiet_savers())
    self._files = workdir_lib.Folder(
      self._path,
      about,
      checkpoint_seconds=self._settings.checkpoint_seconds,
      endless=True,
      before_save=self.arrivals.flush,
    )
    self._stack.callback(self._files.close)
    snapshot = (self._saved or self._files).restore(self._template)
    if snapshot is None:
      self._state, self._at = loop.start(self._job)
    else:
      self._job.ledger.restore(snapshot.ledger)
      self._state = self._job.learner.put(snapshot.state)
      self._at = snapshot.place
    session.profiled(self._job, self._settings.setup.options, self._files)
    self._job.restore(self._at)
    self._files.begin(self._job, self._at)
    self._begun = True
    self._cost = self._job.ledger.totals()
    if snapshot is None or not self._at.experience:
      return
    if self._at.begun and self._path is not None:
      # The folder has the model of the experience before.
      self.learned = self._at.experience
    else:
      self._publish()

  def _template(self, at: loop.Cursor) -> base.LearnerState:
    """Takes the job to where a checkpoint was made."""
    index = max(at.experience - (not at.begun), 0)
    self._around.close()
    self._enter(self._assembled(index))
    return self._job.template(at)

  def _next(self) -> None:
    """Makes the job that of the next experience, with room for its classes."""
    index = self._at.experience
    stream = self._stream(index)
    if stream.num_classes != self._job.stream.num_classes:
      self._grow(index)
    self._job = self._job.going_on(stream)
    self._job.feed.stream = stream
    assert self._files is not None
    self._files.turn(
      self._job,
      class_names=list(stream.class_names[: self.arrivals.known(index)]),
      num_experiences=index + 1,
    )
    self._give_way()
    if not self._at.begun:
      self._state = self._labels.corrected(self._job, self._state)

  def _grow(self, index: int) -> None:
    """Replaces the job by one with a larger head."""
    old, at = self._job, self._at
    old.save(at)
    ledger = old.ledger.state()
    self._around.close()
    self._enter(self._assembled(index))
    job = self._job
    job.ledger.restore(ledger)
    job.trainee.restore(dict(at.trainee or {}))
    job.trainee.times = old.trainee.times
    job.trainee.compile_ahead = old.trainee.compile_ahead
    self._state = growing.grown(
      job.learner, job.seed, self._state, job.trainee.selection
    )
    job.restore(at)

  def _enter(self, job: loop.Job) -> None:
    """Opens a job's feed and its meter, until `_around` closes."""
    self._around = around = contextlib.ExitStack()
    around.callback(job.learner.compiler.close)
    self._job = job = dataclasses.replace(job, give_way=self._give_way)
    self._settings.programs.lend(self.kind, job.learner.compiler)
    around.enter_context(job.ledger.metered())
    numbered = _numbered(job.stream)
    limit, place = self._settings.setup.options.memory_budget, self._path
    if place is None and job.learner.method.hierarchy is not None:
      place = self._scratch
    fed = around.enter_context(
      session.fed(dataclasses.replace(job, stream=numbered), place, limit)
    )
    fed.feed.stream = job.stream
    self._job = dataclasses.replace(fed, stream=job.stream)

  @functools.cached_property
  def _scratch(self) -> Path:
    """A folder for memories on disk that lasts as long as this learner."""
    return Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

  def _assembled(self, index: int) -> loop.Job:
    settled, settings = self._settled, self._settings
    assert settled is not None
    stream = self._stream(index)
    made = setup_lib.assemble(
      settings.setup,
      settled.method(settings.method),
      settings.seed,
      stream=stream,
      model=settings.network(stream),
      control=settings.controller(),
    )
    settings.check_room(made.learner)
    return made

  def _stream(self, index: int) -> stream_lib.Stream:
    """Returns what has arrived, up to experience `index`."""
    settled, arrivals = self._settled, self.arrivals
    example, settings = arrivals.example, self._settings
    assert settled is not None and example is not None
    seats = growing.seats(settings.capacity, arrivals.known(index))
    names = settings.names(arrivals.classes[: arrivals.known(index)], seats)
    every, found = settings.method.trains_on == "seen", self._experiences
    arrivals_lib.follow(arrivals, found, index, example, every)
    return stream_lib.Stream(
      name="live",
      scenario="class",
      class_names=names,
      experiences=tuple(found[: index + 1]),
      held_out=stream_lib.Sealed(()),
      task_classes=(),
      mean=settled.mean,
      std=settled.std,
      ordered=self._settings.ordered,
    )

  @property
  def kind(self) -> Hashable:
    """All that programs depend on now, beside their arguments."""
    assert self._settled is not None
    return self._settings.kind, self._settled.kind(self._job.stream)

  def _settle(self) -> settled_lib.Settled:
    """Returns what the first experience settles for good."""
    if self._saved is not None:
      return self._saved.settled
    return settled_lib.kept(self._path, self._by_first)

  def _by_first(self) -> settled_lib.Settled:
    example = self.arrivals.example
    assert example is not None
    first = arrivals_lib.arrived(self.arrivals, 0, example).data
    self._settled = settled_lib.Settled(*self._settings.normalisation(first))
    gamma = self._settings.kernel_width(self._stream(0))
    return dataclasses.replace(self._settled, gamma=gamma)

  # What comes of it.

  def _note(self, event: loop.Event, stops: bool) -> None:
    """Files an event, and saves a checkpoint where learning stops here."""
    assert self._files is not None
    with self._filing:
      if event.kind == "experience":
        shortening.shorten(self._at.records)
      self._files.note(event, stop=stops)
      self._unsaved = not stops
    self._cost = self._job.ledger.totals()

  def _save(self) -> None:
    if self._unsaved:
      self._note(loop.Event("paused", self._state, self._at, {}), True)

  def _publish(self) -> None:
    """Hands a model over that later updates leave as it is."""
    self.arrivals.flush()  # it tells of experiences that have ended
    made = _trained(self._job, self._state)
    self._give_way()
    self._settings.programs.keep(self.kind, self._job.learner.compiler)
    if self._made is not None:
      made = made.following(self._made)
    self._made = made
    self._published(made)
    self.learned = self._at.experience
    with self._job.ledger.timed("write"):
      self.latest.keep(made)


def _numbered(stream: stream_lib.Stream) -> stream_lib.Stream:
  """Returns a stream whose classes are named by numbers, as they are on disk.

  Their labels may not be known yet.
  """
  numbers = tuple(map(str, range(stream.num_classes)))
  return dataclasses.replace(stream, class_names=numbers)


def _trained(job: loop.Job, state: base.LearnerState) -> models.Model:
  """Returns a model with arrays of its own."""
  made = session.trained(job, state)
  own = {name: getattr(made, name) for name in ("params", "stats", "fitted")}
  # One program, as copies one by one would keep predictions waiting.
  own = job.learner.run("evaluate", "copies", _copies, own)
  return dataclasses.replace(made, **own)


def _copies(tree: Any) -> Any:
  return jax.tree.map(jnp.copy, tree)
