"""When what trains is chosen, and from which step on the choice is trained.

Programs for a new choice are compiled in a thread while training goes on as
before, or with parts that serve meanwhile. The step of the switch is fixed when
the choice is made, whether or not the programs are there by then, so that a run
repeats itself.
"""

import math

import jax
import numpy as np

from jcl import base
from jcl.run.cursor import Place, Setting
from jcl.streams import batching
from jcl.train import background, choosing


def choose_if_due(
  setting: Setting,
  state: base.LearnerState,
  place: Place,
  scope: base.Scope,
  source,
) -> base.LearnerState:
  """Chooses at the start of an experience and every so many epochs of it.

  Args:
    setting: the run.
    state: as it stands.
    place: where the run stands; it notes the choice.
    scope: what is known of the classes.
    source: the experience's training set, to draw probe batches from.
  """
  learner, selector = setting.learner, setting.learner.method.selector
  again = selector.every and place.epoch % selector.every == 0
  if (
    place.batch
    or place.epoch == place.chosen
    or not (place.chosen < 0 or again)
  ):
    return state
  assert place.decision is not None
  state = _adopt(setting, state, place)
  with setting.ledger.timed("data"):
    probes = _probes(setting, place, source, selector.num_probes)
  state, chosen = choosing.choose(
    learner,
    setting.key_for(3, place.experience, place.epoch),
    state,
    probes,
    scope,
    setting.times,
    place.decision.budget,
  )
  place.chosen = place.epoch
  serves = learner.takes_pieces  # parts for it are there, though not the best
  first = place.step == 0  # nothing is compiled that could serve
  if chosen != place.selection:
    epochs = selector.every or place.decision.epochs
    per_epoch = batching.num_batches(len(source), learner.stream_rows)
    # Half of the interval at most, so that a choice is trained as well.
    lead = min(setting.lead, epochs * per_epoch // 2)
    lead = 0 if selector.prompt else lead
    place.following, place.adopt = chosen, place.step + lead
    if serves or first:
      state = _adopt(setting, state, place)
    if first and not serves:
      place.adopt = place.step
    elif lead:
      learner.prepare(chosen)
  if first and selector.every:
    learner.prepare_all()
  share = math.nan
  if setting.times is not None:
    share = setting.times.step(chosen.trainable) / setting.times.full
  started = place.step if place.following is None else place.adopt
  place.choices.append(
    base.Choice(place.step, place.epoch, chosen.trainable, share, started)
  )
  return state


def program(
  setting: Setting, state: base.LearnerState, place: Place
) -> tuple[base.LearnerState, background.Program]:
  """Returns the compiled step of this place, having waited for it."""
  arrived = place.step >= place.adopt
  if arrived:
    state = _adopt(setting, state, place)
  assert place.selection is not None
  return state, setting.learner.step_program(place.selection, exact=arrived)


def _adopt(setting, state, place) -> base.LearnerState:
  """Trains what was chosen last from here on."""
  if place.following is None:
    return state
  old, place.selection = place.selection, place.following
  place.following = None
  return choosing.switch(setting.learner, state, old, place.selection)


def _probes(setting, place, source, count: int) -> tuple[base.Batch, ...]:
  """Returns random batches of the training set, on the device."""
  if not count:
    return ()
  learner = setting.learner
  generator = np.random.default_rng(
    (setting.seed, 3, place.experience, place.epoch)
  )
  rows = np.full((count, learner.batch_size), -1, np.int32)
  for row in rows:
    drawn = generator.permutation(len(source))[: learner.stream_rows]
    row[: len(drawn)] = drawn
  batches = learner.put_batches(source.batch(rows))
  return tuple(
    jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(count)
  )
