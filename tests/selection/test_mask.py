"""Trees cut in two, and optimisers that see one part of them."""

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_network

from jcl import base
from jcl.cost import program_cost
from jcl.selection import mask

NETWORK = tiny_network.build()
PARAMS, STATS = NETWORK.init(jax.random.key(0))
BATCH = tiny_network.batch()
# Units stand in execution order, a dict's keys in that of the alphabet.
FIRST = base.Selection((True, True) + (False,) * 4)
SCATTERED = base.Selection((False, True, True, False, False, True))

selections = (
  st.lists(st.booleans(), min_size=6, max_size=6)
  .filter(any)
  .map(lambda chosen: base.Selection(tuple(chosen)))
)


def loss(params):
  logits = NETWORK.apply(params, STATS, BATCH.x).logits
  return optax.softmax_cross_entropy_with_integer_labels(logits, BATCH.y).mean()


def partial_gradients(trained, frozen):
  return jax.grad(lambda part: loss(mask.merge(part, frozen)))(trained)


def at(tree, tensor):
  for key in tensor.path:
    tree = tree[key]
  return tree


def test_a_predicate_chooses_in_the_networks_order():
  chosen = mask.select(NETWORK, lambda tensor: tensor.kind == "bias")
  assert chosen.trainable == (False, True) * 3
  assert mask.everything(NETWORK) == tiny_network.EVERYTHING


def test_equal_selections_are_one_key():
  head = mask.select(NETWORK, lambda tensor: tensor.unit == "head")
  assert {tiny_network.HEAD: "step"}[head] == "step"


def test_trained_units_are_those_with_a_selected_tensor():
  assert mask.trained_units(NETWORK, SCATTERED) == ("first", "second", "head")
  assert mask.trained_units(NETWORK, FIRST) == ("first",)
  assert mask.trained_units(NETWORK, tiny_network.HEAD) == ("head",)


@pytest.mark.parametrize("use", [mask.split, mask.as_mask])
def test_a_selection_over_other_tensors_is_refused(use):
  with pytest.raises(ValueError, match="over 2 tensors, network 'tiny' has 6"):
    use(PARAMS, NETWORK, base.Selection((True, False)))


def test_an_empty_selection_trains_nothing_and_is_no_step():
  nothing = mask.nothing(NETWORK)
  assert nothing == base.Selection((False,) * 6)
  trained, frozen = mask.split(PARAMS, NETWORK, nothing)
  assert not jax.tree.leaves(trained)
  assert mask.merge(trained, frozen) == PARAMS
  assert not any(jax.tree.leaves(mask.as_mask(PARAMS, NETWORK, nothing)))
  with pytest.raises(ValueError, match="select one at least"):
    mask.check(NETWORK, nothing)


def test_a_predicate_that_nothing_satisfies_is_refused():
  with pytest.raises(ValueError, match="nothing of the 6 tensors"):
    mask.select(NETWORK, lambda tensor: tensor.kind == "scale")


def test_parameters_of_another_network_are_refused_by_path():
  other = {
    **PARAMS,
    "head": {"kernel": PARAMS["head"]["kernel"]},
    "second": {**PARAMS["second"], "scale": jnp.ones(8)},
  }
  with pytest.raises(
    ValueError, match="missing head/bias, unknown second/scale"
  ):
    mask.split(other, NETWORK, FIRST)


@settings(max_examples=30)
@given(selections)
def test_split_puts_every_leaf_into_one_part(selection):
  trained, frozen = mask.split(PARAMS, NETWORK, selection)
  for tensor, chosen in zip(NETWORK.tensors, selection.trainable, strict=True):
    mine, other = (trained, frozen) if chosen else (frozen, trained)
    assert at(mine, tensor) is at(PARAMS, tensor)
    assert at(other, tensor) is None


@settings(max_examples=30)
@given(selections)
def test_merge_undoes_split(selection):
  trained, frozen = mask.split(PARAMS, NETWORK, selection)
  for merged in (mask.merge(trained, frozen), mask.merge(frozen, trained)):
    assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
    same = jax.tree.map(lambda one, other: one is other, merged, PARAMS)
    assert all(jax.tree.leaves(same))


def test_units_without_parameters_stay_in_place():
  params = {**PARAMS, "pool": {}}
  trained, frozen = mask.split(params, NETWORK, FIRST)
  assert trained["pool"] == frozen["pool"] == {}
  assert mask.merge(trained, frozen)["pool"] == {}


def test_a_mask_is_true_where_a_leaf_trains():
  assert mask.as_mask(PARAMS, NETWORK, SCATTERED) == {
    "first": {"kernel": False, "bias": True},
    "second": {"kernel": True, "bias": False},
    "head": {"kernel": False, "bias": True},
  }


@settings(max_examples=5)
@given(selections)
def test_partial_gradients_are_the_full_ones(selection):
  full = jax.grad(loss)(PARAMS)
  some = partial_gradients(*mask.split(PARAMS, NETWORK, selection))
  expected, _ = mask.split(full, NETWORK, selection)
  assert jax.tree.structure(some) == jax.tree.structure(expected)
  for one, other in zip(
    jax.tree.leaves(some), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


OPTIMIZERS = {
  "momentum": optax.sgd(0.1, momentum=0.9),
  "adam": optax.adam(0.01),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_a_part_equals_a_masked_optimizer(name, jit):
  optimizer = OPTIMIZERS[name]
  chosen = mask.as_mask(PARAMS, NETWORK, SCATTERED)
  masked = optax.chain(
    optax.masked(optimizer, chosen),
    optax.masked(
      optax.set_to_zero(), jax.tree.map(lambda yes: not yes, chosen)
    ),
  )

  def masked_step(params, state):
    updates, state = masked.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  def step(params, state):
    trained, frozen = mask.split(params, NETWORK, SCATTERED)
    grads = partial_gradients(trained, frozen)
    updates, state = optimizer.update(grads, state, trained)
    return mask.merge(optax.apply_updates(trained, updates), frozen), state

  if jit:
    masked_step, step = jax.jit(masked_step), jax.jit(step)
  ours = theirs = PARAMS
  state = optimizer.init(mask.split(PARAMS, NETWORK, SCATTERED)[0])
  masked_state = masked.init(PARAMS)
  for _ in range(3):
    ours, state = step(ours, state)
    theirs, masked_state = masked_step(theirs, masked_state)
  for tensor, yes in zip(NETWORK.tensors, SCATTERED.trainable, strict=True):
    before, after = at(PARAMS, tensor), at(ours, tensor)
    np.testing.assert_allclose(after, at(theirs, tensor), rtol=0, atol=1e-7)
    assert np.array_equal(before, after) != yes
  assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(masked_state))


@pytest.mark.parametrize("selection", [tiny_network.HEAD, SCATTERED, FIRST])
def test_slots_exist_for_selected_tensors_only(selection):
  trained, _ = mask.split(PARAMS, NETWORK, selection)
  state = optax.adam(0.1).init(trained)
  assert len(jax.tree.leaves(state)) == 2 * sum(selection.trainable) + 1
  selected = sum(
    np.prod(tensor.shape)
    for tensor, yes in zip(NETWORK.tensors, selection.trainable, strict=True)
    if yes
  )
  assert program_cost.num_bytes(state) == 2 * 4 * selected + 4


def test_training_the_head_alone_takes_fewer_operations():
  def flops(selection):
    parts = mask.split(PARAMS, NETWORK, selection)
    return program_cost.of_compiled(
      jax.jit(partial_gradients).lower(*parts).compile()
    ).flops

  full, first, head = map(
    flops, (tiny_network.EVERYTHING, FIRST, tiny_network.HEAD)
  )
  assert head < 0.6 * full
  assert head < first < full


def test_parameters_that_train_are_counted():
  found = [
    mask.trained_parameters(NETWORK, selection)
    for selection in (tiny_network.EVERYTHING, FIRST, SCATTERED)
  ]
  # 4 -> 8 -> 8 -> 4, with biases
  assert found == [40 + 72 + 36, 40, 8 + 64 + 4]


def test_a_selection_over_more_tensors_is_refused():
  longer = base.Selection((True,) * 7)
  with pytest.raises(ValueError, match="over 7 tensors, network 'tiny' has 6"):
    mask.check(NETWORK, longer)
  assert mask.check(NETWORK, FIRST) is FIRST


@pytest.mark.parametrize("count, end", [(5, "p4$"), (6, "p4 and 1 more$")])
def test_paths_are_listed_up_to_five(count, end):
  other = {**PARAMS, **{f"p{i}": jnp.ones(1) for i in range(count)}}
  with pytest.raises(ValueError, match=f"unknown p0, p1, p2, p3, {end}"):
    mask.as_mask(other, NETWORK, FIRST)
