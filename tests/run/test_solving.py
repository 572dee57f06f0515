"""Methods that are solved from statistics: refusals, and random units."""

import dataclasses
import types

import numpy as np
import pytest
import tiny_network

from jcl import base, keys, recipes
from jcl.networks import expand
from jcl.options.errors import UsageError
from jcl.run import solving
from jcl.streams import batching

NETWORK = tiny_network.build()  # units first, second and head
TRAINED = base.Training(epochs=1, norms="batch")


def method(trains=("head",), solve=True, begins=None, **more):
  """A method whose selection may hold some units, solved or settled."""
  plain = recipes.finetune()

  def candidates(network):
    return base.Selection(tuple(t.unit in trains for t in network.tensors))

  solver = (lambda *recalled: (None, 0.0)) if solve else None
  return plain._replace(
    selector=plain.selector._replace(candidates=candidates),
    predictor=plain.predictor._replace(solve=solver),
    consolidation=base.Consolidation(begins=begins),
    **more,
  )


def refused(network, made, training=TRAINED):
  with pytest.raises(UsageError) as told:
    solving.check(network, made, training)
  return str(told.value)


def test_units_that_may_train():
  everything = recipes.finetune()
  everything = everything._replace(
    selector=everything.selector._replace(candidates=None)
  )
  assert solving.may_train(NETWORK, everything) == NETWORK.units
  some = method(("head", "first"))
  assert solving.may_train(NETWORK, some) == ("first", "head")
  assert solving.may_train(NETWORK, method(())) == ()


def test_recipes_that_learn_by_updates_need_some():
  blind = dataclasses.replace(NETWORK, features=None)
  for begins in (None, lambda network: 2):
    made = method(solve=False, begins=begins)
    assert refused(NETWORK, made, base.Training(epochs=0)).startswith(
      "epochs=0: the recipe learns by updates, so give epochs=1 or more; ncm"
    )
  # Nothing else is asked of a method without statistics.
  solving.check(blind, method(NETWORK.units, solve=False), TRAINED)


def test_recipes_without_updates_are_given_no_epochs():
  told = refused(NETWORK, method(()), base.Training(epochs=3))
  assert told.startswith("epochs=3: the recipe is solved from one pass")
  solving.check(NETWORK, method(()), base.Training(epochs=0))
  # No update is made, so that nothing moves whatever may train.
  solving.check(NETWORK, method(NETWORK.units), base.Training(epochs=0))


def test_features_must_have_a_name():
  blind = dataclasses.replace(NETWORK, features=None)
  told = "the recipe reads features, but network 'tiny' names none"
  assert refused(blind, method(()), base.Training(epochs=0)).startswith(told)
  assert refused(blind, method()).startswith(told)


@pytest.mark.parametrize(
  ("features", "trains", "moving"),
  [
    ("second", ("head",), None),
    ("second", ("second", "head"), "second"),
    ("second", ("first", "second"), "first"),
    ("first", ("second", "head"), None),
    ("first/inside", ("second", "head"), None),
    ("first/inside", ("first",), "first"),
  ],
)
def test_units_up_to_the_features_may_not_train(features, trains, moving):
  network = dataclasses.replace(NETWORK, features=features)
  if moving is None:
    solving.check(network, method(trains), TRAINED)
    return
  assert refused(network, method(trains)) == (
    f"unit '{moving}' of network 'tiny' may train, and statistics of features "
    "hold only while nothing ahead of the head changes: freeze it, as "
    "er+head_only+slda does, or leave the statistics out"
  )


def test_units_ahead_may_not_be_drawn_anew_or_move_their_statistics():
  told = refused(NETWORK, method(restart=True))
  assert told.startswith(
    "unit 'first' of network 'tiny' is drawn anew for every experience, and"
  )
  moves = dataclasses.replace(TRAINED, norms="moving")
  told = refused(NETWORK, method(), moves)
  assert told.startswith(
    "unit 'first' of network 'tiny' moves its running statistics, and"
  )
  told = refused(NETWORK, method(("second", "head")), moves)
  assert told.startswith("unit 'second' of network 'tiny' may train, and")

  def later(key):
    params, stats = NETWORK.init(key)
    return params, {"second": stats["second"]}

  network = dataclasses.replace(NETWORK, init=later)
  assert refused(network, method(), moves).startswith("unit 'second' of")
  # Statistics behind the features may move.
  network = dataclasses.replace(network, features="first")
  solving.check(network, method(), moves)


def test_sums_are_taken_of_what_is_frozen():
  told = refused(NETWORK, method(("second",), False, lambda network: 2))
  assert told.startswith("unit 'second' of network 'tiny' may train, and")
  assert "nothing ahead of what trains changes: freeze it, as er+freeze" in told
  solving.check(
    NETWORK, method(("second", "head"), False, lambda network: 1), TRAINED
  )
  assert refused(NETWORK, method(solve=False, begins=lambda n: 0)) == (
    "unit 'first' of network 'tiny' may train, and nothing ahead of it is "
    "frozen that sums could be taken of: freeze a trunk, as "
    "er+freeze:until=0.7+solved does"
  )
  stored = recipes.carm().hierarchy
  made = method(solve=False, begins=lambda n: 2, hierarchy=stored)
  assert refused(NETWORK, made).startswith("+solved judges by examples in the")
  # Without +solved a hierarchy is no obstacle.
  solving.check(NETWORK, method(hierarchy=stored), TRAINED)


def dealt(*sizes):
  """A stream of experiences of so many examples."""
  experiences = [
    types.SimpleNamespace(index=i, data=range(size))
    for i, size in enumerate(sizes)
  ]
  starts = np.cumsum([0, *sizes])
  return types.SimpleNamespace(experiences=experiences, starts=starts)


def test_every_experience_has_an_example_to_judge_by():
  asked = []

  def held(ids):
    assert ids.dtype == np.int32
    asked.append(ids.tolist())
    return ids == ids.max()

  made = method(solve=False)
  solving.check_aside(dealt(3, 2), made)  # judges by nothing
  made = made._replace(consolidation=base.Consolidation(held=held))
  solving.check_aside(dealt(3, 2), made)
  assert asked == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize(
  ("size", "share"), [(2, "0.5"), (4, "0.5"), (12, "0.25"), (36, "0.1")]
)
def test_a_share_is_told_that_sets_four_aside(size, share):
  made = method(solve=False)._replace(
    consolidation=base.Consolidation(held=lambda ids: ids < 3)
  )
  with pytest.raises(UsageError) as told:
    solving.check_aside(dealt(3, size), made)
  assert str(told.value) == (
    f"of the {size} examples of experience 1 none is set aside to judge by: "
    f"give the recipe a larger share of them, such as share={share}, or "
    "larger experiences"
  )


def test_bytes_of_statistics():
  kept = {"sums": np.zeros((2, 3), np.float32), "count": np.zeros(4, np.int8)}
  state = types.SimpleNamespace(objective=kept)
  made = method()
  recalls = made.predictor._replace(recalls=lambda found: (found["sums"],))
  settles = base.Consolidation(kept=lambda found: found["count"])
  assert solving.statistics_bytes(made._replace(predictor=recalls), state) == 24
  both = made._replace(predictor=recalls, consolidation=settles)
  assert solving.statistics_bytes(both, state) == 24
  unsolved = method(solve=False)
  assert solving.statistics_bytes(unsolved, state) is None
  settled = unsolved._replace(consolidation=settles)
  assert solving.statistics_bytes(settled, state) == 4


class Expanded:
  """Stands in for the network that a random unit makes; notes how."""

  def __init__(self, monkeypatch):
    self.given = []
    monkeypatch.setattr(expand, "expanded", self)

  def __call__(self, network, wanted, seed, gamma):
    self.given.append((network, wanted, seed, gamma))
    return "wider"


@pytest.fixture
def expanded(monkeypatch):
  return Expanded(monkeypatch)


def widened(wanted, network=NETWORK, stream=None, batch_size=5, seed=3):
  made = method()._replace(expand=wanted)
  training = base.Training(batch_size=batch_size)
  stream = stream or tiny_network.stream()
  return solving.expanded(stream, network, made, training, seed)


@pytest.mark.parametrize(
  ("wanted", "gamma"),
  [
    (base.Expansion(7), 0.0),
    (base.Expansion(7, "relu", 0.5), 0.5),
    (base.Expansion(7, "fourier", 0.25), 0.25),
    (base.Expansion(7, "fourier", 0.25, trunk=False), 0.25),
  ],
)
def test_a_width_that_is_given_takes_no_data(wanted, gamma, expanded):
  nothing = types.SimpleNamespace()  # a stream that cannot be read
  assert widened(wanted, stream=nothing) == "wider"
  assert expanded.given == [(NETWORK, wanted, 3, gamma)]


def test_without_a_random_unit_the_network_stays(expanded):
  assert widened(None) is NETWORK and not expanded.given


def first_batch(stream, size, seed):
  """The first batch of a run, standardised."""
  data = stream.experiences[0].data
  order = batching.epoch_order(len(data), seed, 0, 0, ordered=stream.ordered)
  x = np.asarray(data.x[order[:size]], np.float32)
  return (x - stream.mean) / stream.std


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
  ("trunk", "features"),
  [(True, "second"), (True, None), (False, "second"), (True, "first")],
)
def test_a_kernel_is_as_wide_as_the_first_batch(
  trunk, features, ordered, expanded
):
  stream = dataclasses.replace(
    tiny_network.stream(),
    ordered=ordered,
    mean=np.float32([1, 2, 3, 4]),
    std=np.float32([2, 1, 4, 1]),
  )
  network = dataclasses.replace(NETWORK, features=features)
  wanted = base.Expansion(7, "fourier", trunk=trunk)
  assert widened(wanted, network, stream) == "wider"
  x = first_batch(stream, 5, 3)
  if trunk and features:
    params, stats = network.init(keys.key(3, keys.Purpose.INIT))
    x = network.apply(params, stats, x, taps=(features,)).taps[features]
  [(_, _, seed, gamma)] = expanded.given
  assert seed == 3
  assert gamma == pytest.approx(expand.bandwidth(np.asarray(x)), rel=1e-5)


def test_inputs_of_any_shape_are_rows(expanded):
  stream = tiny_network.stream()
  data = stream.experiences[0].data
  x = np.asarray(data.x[np.arange(len(data))])
  square = dataclasses.replace(data, x=x.reshape(-1, 2, 2))
  first = dataclasses.replace(stream.experiences[0], data=square)
  stream = dataclasses.replace(
    stream,
    experiences=(first,),
    mean=np.zeros((2, 2), np.float32),
    std=np.ones((2, 2), np.float32),
  )
  widened(base.Expansion(7, "fourier", trunk=False), stream=stream)
  rows = x[batching.epoch_order(len(data), 3, 0, 0)[:5]]
  [(*_, gamma)] = expanded.given
  assert gamma == pytest.approx(1 / (4 * np.var(np.float64(rows))), rel=1e-6)
