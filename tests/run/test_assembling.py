"""Parts of a run put together: what goes first, and what is refused."""

import dataclasses
import types

import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, keys, recipes
from jcl.control import fixed
from jcl.cost import devices
from jcl.options.errors import UsageError
from jcl.run import assembling, pruning, trainee
from jcl.run.assembling import Options
from jcl.streams import scenarios

NETWORK = tiny_network.build()
TRAINING = base.Training(epochs=2, batch_size=6)


def assemble(method=None, *, stream=None, network=NETWORK, **more):
  return assembling.assemble(
    stream or tiny_network.stream(),
    network,
    method or recipes.finetune(),
    more.pop("training", TRAINING),
    **more,
  )


def decided(job):
  seen = base.Observation(0, 2, 24, base.Cost())
  return job.controller.decide(job.controller.init(), seen)[0]


def test_the_methods_controller_goes_first():
  own, given = fixed.fixed(5), fixed.fixed(7)
  method = recipes.finetune()
  assert decided(assemble(method)).epochs == 2
  assert decided(assemble(method, controller=given)).epochs == 7
  method = method._replace(controller=own)
  assert decided(assemble(method, controller=given)).epochs == 5


def test_options_that_are_none_are_told():
  for options, told in (
    (Options(accumulate=0), "accumulate=0: give a whole number from 1"),
    (Options(lead=-2), "lead=-2: give a whole number from -1"),
    (Options(evaluate_every=-1), "evaluate_every=-1"),
    (Options(memory_budget="much"), "'much' is no limit of bytes"),
  ):
    with pytest.raises(UsageError, match=told):
      assemble(options=options)
  job = assemble(options=Options(memory_budget="auto", evaluate_every=3))
  assert job.evaluate_every == 3
  with pytest.raises(UsageError, match="seed=-1"):
    assemble(seed=-1)


def test_what_is_taken_unless_told_otherwise():
  assert dataclasses.asdict(Options()) == {
    "augment": "none",
    "accumulate": 1,
    "steps_per_dispatch": 0,
    "executor": "auto",
    "lead": -1,
    "cache_dir": None,
    "evaluate_every": 0,
    "checkpoint_seconds": 60.0,
    "memory_budget": None,
    "trunk_cache": "",
    "trunk_bytes": None,
    "trunk_disk_bytes": "10GB",
    "diagnose": 0,
    "resume": True,
    "progress": None,
  }
  assert signatures.defaults(assembling.assemble) == {"seed": 0}


def test_joules_are_priced_by_the_device_that_is_given():
  device = devices.Device("cpu", "board", 1, 4, 2.0, 10.0, "modelled: a board")
  assert assemble(device=device).ledger.device is device
  assert assemble().ledger.device == devices.detect()


def test_shapes_that_differ_say_what_to_build():
  with pytest.raises(UsageError) as told:
    assemble(network=tiny_network.build(num_classes=5))
  assert str(told.value) == (
    "network 'tiny' has 5 outputs, but the stream has 4 classes: build it with "
    "num_classes=4"
  )
  with pytest.raises(UsageError) as told:
    assemble(network=tiny_network.build(3))
  assert str(told.value) == (
    "network 'tiny' takes inputs (3,), but examples of the stream have shape "
    "(4,): build it with input_shape=(4,)"
  )


def test_what_prunes_is_another_trainee():
  assert type(assemble().trainee) is trainee.Trainee
  method = recipes.finetune()._replace(pruning=base.Pruning(1, 1e-3))
  assert type(assemble(method).trainee) is pruning.Pruned


def test_channels_that_go_ahead_of_all_are_of_the_first_weights():
  asked = []

  def prune(network, params):
    asked.append(params)
    return {}

  assemble(recipes.finetune()._replace(prune=prune), seed=3)
  expected, _ = NETWORK.init(keys.key(3, keys.Purpose.INIT))
  assert tiny_network.same_bits(asked[0], expected)


def test_sparsity_is_told_how_long_the_first_experience_is():
  asked = []

  def sparsity(network, params, updates, epochs):
    asked.append((updates, epochs))
    return base.Sparsity(lambda p: p, lambda o: o, lambda s: s)

  method = recipes.finetune()._replace(sparsity=sparsity)
  source = tiny_network.source(per_class=5)
  stream = scenarios.class_incremental(source, tasks=[3, 1])  # 15 and 5
  found = assembling._sparsity(stream, NETWORK, method, TRAINING, 0)
  assert isinstance(found, base.Sparsity) and asked == [(3, 2)]
  none = recipes.finetune()
  assert assembling._sparsity(stream, NETWORK, none, TRAINING, 0) is None


def test_a_memory_that_is_rebuilt_holds_one_of_each_class_that_trains():
  def rebuilt(buffer):
    return assemble(recipes.icarl(buffer=buffer))

  assert rebuilt(4).learner.memory_slots == 4
  with pytest.raises(UsageError) as told:
    rebuilt(3)
  assert str(told.value) == (
    "a memory of 3 examples cannot hold one of each of 4 classes: give the "
    "recipe buffer=4 or more"
  )
  # Other memories may be smaller than that.
  assert assemble(recipes.er(buffer=3)).learner.memory_slots == 3


# Outputs of a frozen trunk that are kept.


@pytest.mark.parametrize(
  ("options", "codec", "size"),
  [
    (Options(trunk_cache="raw"), "raw", None),
    (Options(trunk_cache="pq:8"), "pq:8", None),
    (Options(trunk_cache="disk", cache_dir="kept"), "raw", 10**10),
    (
      Options(
        trunk_cache="disk:pq:8", cache_dir="kept", trunk_disk_bytes="2MB"
      ),
      "pq:8",
      2 * 10**6,
    ),
    (
      Options(trunk_cache="disk:raw", cache_dir="kept", trunk_disk_bytes=77),
      "raw",
      77,
    ),
  ],
)
def test_where_outputs_are_kept(options, codec, size):
  found, kept = assembling._kept(options)
  assert found == codec
  if size is None:
    assert kept is None
  else:
    assert kept.folder.parts == ("kept", "trunks") and kept.budget == size


def test_outputs_on_disk_need_a_folder():
  with pytest.raises(UsageError, match="'disk:raw' keeps .* cache_dir=DIR"):
    assembling._kept(Options(trunk_cache="disk:raw"))


@pytest.fixture
def prepared(monkeypatch):
  """Notes what outputs are asked for, and makes none."""
  asked = []
  monkeypatch.setattr(
    assembling.latent_streams,
    "prepare",
    lambda *given, **named: asked.append((given, named)) or "made",
  )
  return asked


def behind(method, network, training=TRAINING, **options):
  options = Options(trunk_cache="raw", **options)
  stream = types.SimpleNamespace()
  given = stream, network, method, training, 3, options
  return assembling._behind_trunk(*given)


def frozen(until, **more):
  return recipes.build(f"er+freeze:until={until}")._replace(**more)


def test_what_is_asked_of_a_trunk(prepared):
  learned = dataclasses.replace(NETWORK, pretrained=True)
  assert behind(frozen(2), learned, trunk_bytes=99) == "made"
  [((_, network, first, codec), named)] = prepared
  assert (network, first, codec) == (learned, 2, "raw")
  assert (named["budget"], named["rows"], named["kept"]) == (99, 6, None)
  assert named["augment"] == "none"
  np.testing.assert_array_equal(
    jax.random.key_data(named["key"]),
    jax.random.key_data(keys.key(3, keys.Purpose.INIT)),
  )


def test_a_trunk_that_could_change_is_refused(prepared):
  learned = dataclasses.replace(NETWORK, pretrained=True)
  with pytest.raises(UsageError, match="it has no frozen trunk"):
    behind(recipes.er(), learned)
  # Weights that are drawn serve where nothing ahead of the cut may train.
  assert behind(frozen(2), NETWORK) == "made"
  with pytest.raises(UsageError, match="it has no learned weights"):
    behind(frozen(2, restart=True), NETWORK)
  assert behind(frozen(2, restart=True), learned) == "made"
  loose = frozen(2)
  selector = loose.selector._replace(candidates=None)
  with pytest.raises(UsageError, match="it has no learned weights"):
    behind(loose._replace(selector=selector), NETWORK)
  assert behind(loose._replace(selector=selector), learned) == "made"


def test_statistics_of_a_trunk_may_not_move(prepared):
  moving = dataclasses.replace(TRAINING, norms="moving")
  learned = dataclasses.replace(NETWORK, pretrained=True)
  with pytest.raises(UsageError, match="norms=moving .* of unit 'first'"):
    behind(frozen(1), learned, moving)
  for norms in ("batch", "frozen"):
    behind(frozen(1), learned, dataclasses.replace(TRAINING, norms=norms))

  def later(key):
    params, stats = NETWORK.init(key)
    return params, {"first": {}, "second": stats["second"]}

  # Those behind the cut are none of it.
  behind(frozen(1), dataclasses.replace(learned, init=later), moving)
  with pytest.raises(UsageError, match="norms=moving .* of unit 'second'"):
    behind(frozen(2), dataclasses.replace(learned, init=later), moving)
