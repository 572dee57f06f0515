import numpy as np
import optax
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.run import session
from jcl.selection import mask
from jcl.train import optimizer as optimizers
from jcl.train import schedules, slots

CHAIN = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))


def factors(text, planned=10):
  return [
    float(schedules.build(text)(made, planned)) for made in range(planned)
  ]


def test_schedules_by_hand():
  assert factors("constant") == [1.0] * 10
  np.testing.assert_allclose(
    factors("linear"), 1 - np.arange(10) / 10, rtol=1e-6
  )
  np.testing.assert_allclose(
    factors("cosine:floor=0.5"),
    0.5 + 0.25 * (1 + np.cos(np.pi * np.arange(10) / 10)),
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    factors("linear:warmup=0.4,floor=0.1"),
    [0.25, 0.5, 0.75, 1, *(0.1 + 0.9 * (1 - np.arange(6) / 6))],
    rtol=1e-6,
  )
  # Longer than planned, as where examples are few: it stays at the floor.
  assert float(schedules.build("linear:floor=0.1")(25, 10)) == pytest.approx(
    0.1
  )


@pytest.mark.parametrize(
  "text, message",
  [
    ("cosin", "no schedule is called 'cosin'; did you mean 'cosine'"),
    ("cosine:warmup=1", "warmup=1: give a number from 0 and below 1"),
    ("linear:floor=nan", "floor=nan: give a number from 0 to 1"),
    ("constant:floor=0.1", "no option 'floor'"),
  ],
)
def test_mistakes_are_told(text, message):
  with pytest.raises(ValueError, match=message):
    optimizers.complete(base.Training(schedule=text))


def _scope(first=0, planned=10):
  return tiny_network.scope()._replace(
    first=np.int32(first), planned=np.int32(planned)
  )


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_rates_scale_updates_as_optax_does(name):
  curve = optax.linear_schedule(0.1, 0.02, 8)
  made = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}[name]
  more = {"momentum": 0.9} if name == "sgd" else {}
  decay = {"weight_decay": 0.1} if name == "adamw" else {}
  theirs = made(curve, **more, **decay)
  ours = optimizers.build(
    optimizers.complete(
      base.Training(learning_rate=curve, optimizer=name, **more, **decay)
    )
  )
  params = {"w": np.float32([1.0, -2.0])}
  states = theirs.init(params), ours.init(params)
  for step in range(3):
    grads = {"w": np.float32([0.5, step - 1.0])}
    one, first = theirs.update(grads, states[0], params)
    other, second = ours.update(
      grads, states[1], params, step=np.int32(step), scope=_scope()
    )
    np.testing.assert_allclose(one["w"], other["w"], rtol=1e-6)
    states = first, second


def test_counts_begin_anew_where_parameters_do():
  training = optimizers.complete(
    base.Training(learning_rate=lambda count: 1.0 / (1 + count))
  )
  scope = _scope(first=30)
  assert optimizers.rate(training, False, 34, scope) == 1 / 35
  assert optimizers.rate(training, True, 34, scope) == 1 / 5


def test_what_has_no_effect_is_refused():
  with pytest.raises(ValueError, match="momentum=0.9 has no effect beside an"):
    optimizers.complete(base.Training(optimizer=CHAIN, momentum=0.9))
  with pytest.raises(ValueError, match="the learning_rate is a schedule"):
    optimizers.complete(
      base.Training(learning_rate=lambda count: 0.1, schedule="cosine")
    )
  with pytest.raises(ValueError, match="of an update's number it returns no"):
    optimizers.complete(base.Training(learning_rate=lambda count: "fast"))
  with pytest.raises(ValueError, match="makes no update of gradients"):
    optimizers.build(
      optimizers.complete(base.Training(optimizer=optax.lbfgs()))
    )


def test_objects_are_told_by_what_they_do():
  def told(**training):
    return optimizers.told(optimizers.complete(base.Training(**training)))

  assert told(optimizer=CHAIN) == told(
    optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
  )
  others = (
    optax.adam(1e-2),
    optax.chain(optax.clip_by_global_norm(2.0), optax.adam(1e-2)),
    optax.sgd(optax.linear_schedule(0.1, 0.0, 500)),
    optax.sgd(0.1),
  )
  texts = {told(optimizer=rule)["optimizer"] for rule in (CHAIN, *others)}
  assert len(texts) == 5
  assert told(learning_rate=optax.cosine_decay_schedule(0.1, 50)) != told(
    learning_rate=optax.cosine_decay_schedule(0.1, 60)
  )
  assert "schedule" not in told(learning_rate=0.1)
  assert told(schedule="cosine")["schedule"] == "cosine"


def test_slots_of_all_tensors_together_are_found_by_tensor():
  network = tiny_network.build()
  params, _ = network.init(tiny_network.jax.random.key(0))
  grads = tiny_network.jax.tree.map(lambda leaf: leaf + 1, params)
  rule = slots.together(CHAIN)
  everything, head = tiny_network.EVERYTHING, tiny_network.HEAD
  state = rule.init(params)
  assert set(state) == {*slots.names(params), slots.SHARED}
  updates, state = rule.update(grads, state, params)
  plain, theirs = CHAIN.update(grads, CHAIN.init(params), params)
  assert tiny_network.same_bits(updates, plain)
  # A selection's slots are its own tensors', and the count goes on.
  parked = slots.park("keep", network, rule, params)
  blank = rule.init(params)
  keep = slots.Rule("keep", blank, {})
  moved, parked = slots.switch(
    network, keep, slots.Turn(everything, head, 1), state, parked
  )
  assert set(moved) == {"head/kernel", "head/bias", slots.SHARED}
  trained, _ = mask.split(params, network, head)
  some, _ = mask.split(grads, network, head)
  _, moved = rule.update(some, moved, trained)
  assert int(moved[slots.SHARED][0]) == 2
  back, _ = slots.switch(
    network, keep, slots.Turn(head, everything, 2), moved, parked
  )
  assert tiny_network.same_bits(back["first/kernel"], state["first/kernel"])
  assert set(back) == set(state)


def _learn(method, folder=None, **training):
  stream = tiny_network.stream()
  return session.learn(
    stream,
    tiny_network.build(),
    method,
    workdir=folder,
    batch_size=6,
    epochs=2,
    **training,
  )


@pytest.mark.parametrize(
  "text, training",
  [
    ("er:buffer=8,minibatch=4+freeze:until=1", {"optimizer": CHAIN}),
    ("joint:schedule='cosine:warmup=0.2,floor=0.1'", {"learning_rate": 0.1}),
  ],
)
def test_a_stopped_run_goes_on_with_the_same_bits(text, training, tmp_path):
  from jcl.run import console

  method = recipes.build(text)
  whole = _learn(method, tmp_path / "whole", **training)
  # A stop between the experiences.
  count = []

  class Stopping(console.Progress):
    def note(self, event):
      super().note(event)
      count.append(event.kind)
      if event.kind == "experience":
        raise KeyboardInterrupt

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(console, "Progress", Stopping)
    with pytest.raises(KeyboardInterrupt):
      _learn(method, tmp_path / "parts", **training)
  rest = _learn(method, tmp_path / "parts", **training)
  assert len(rest.records) == 2
  assert tiny_network.same_bits(whole.state, rest.state)


def test_another_schedule_is_another_run(tmp_path):
  from jcl.run import workdir

  method = recipes.finetune()
  _learn(method, tmp_path, learning_rate=optax.linear_schedule(0.1, 0, 20))
  with pytest.raises(workdir.WorkdirError, match="learning_rate was"):
    _learn(method, tmp_path, learning_rate=optax.linear_schedule(0.2, 0, 20))


def test_what_an_own_optimiser_cannot_join_is_told():
  fading = recipes.elastic(rho=0.9, slots="decay")
  with pytest.raises(ValueError, match="give slots=keep or slots=reset"):
    _learn(fading, optimizer=CHAIN)
  with pytest.raises(ValueError, match="give executor=whole"):
    session.learn(
      tiny_network.stream(),
      tiny_network.build(),
      recipes.finetune(),
      optimizer=CHAIN,
      batch_size=6,
      options=session.Options(executor="pieces"),
    )


def test_the_last_updates_of_an_experience_are_small():
  whole, falling = (
    _learn(recipes.finetune(), learning_rate=0.1, schedule=schedule)
    for schedule in ("constant", "linear")
  )
  assert not tiny_network.same_bits(whole.state, falling.state)
  assert falling.records[0].decision.epochs == 2


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(schedules.constant) == {"warmup": 0.0}
  assert signatures.defaults(schedules.linear) == {
    "warmup": 0.0,
    "floor": 0.0,
    "overrun": 0,
  }
  assert signatures.defaults(schedules.cosine) == {"warmup": 0.0, "floor": 0.0}
