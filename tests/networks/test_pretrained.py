import jax
import numpy as np
import pytest
import tiny_network

from jcl.networks import pretrained

NETWORK = tiny_network.build()


def test_given_weights_come_back_and_fresh_units_are_drawn():
  params, stats = NETWORK.init(jax.random.key(1))
  stats["first"] = {"calls": np.float32(5)}
  network = pretrained.with_weights(NETWORK, params, stats, fresh=("head",))
  found, counted = jax.jit(network.init)(jax.random.key(2))
  assert set(found) == set(params)
  for unit in ("first", "second"):
    assert tiny_network.same_bits(found[unit], params[unit])
  assert not tiny_network.same_bits(found["head"], params["head"])
  assert counted["first"]["calls"] == 5
  other, _ = NETWORK.init(jax.random.key(2))
  assert tiny_network.same_bits(found["head"], other["head"])


def test_a_head_for_other_classes_takes_no_old_weights():
  params, stats = NETWORK.init(jax.random.key(1))
  wider = tiny_network.build(num_classes=7)
  network = pretrained.with_weights(wider, params, stats, fresh=("head",))
  found, _ = network.init(jax.random.key(0))
  assert found["head"]["kernel"].shape == (8, 7)
  with pytest.raises(ValueError, match=r"head/kernel has shape \(8, 4\)"):
    pretrained.with_weights(wider, params, stats)


def test_mistakes_are_told():
  params, stats = NETWORK.init(jax.random.key(1))
  with pytest.raises(ValueError, match="no unit 'tail'"):
    pretrained.with_weights(NETWORK, params, stats, fresh=("zoo", "tail"))
  missing = {unit: params[unit] for unit in ("first", "head")}
  with pytest.raises(ValueError, match="second/kernel is missing"):
    pretrained.with_weights(NETWORK, missing, stats)
  with pytest.raises(ValueError, match="extra/w has no place"):
    more = {**params, "extra": {"w": np.zeros(2)}}
    pretrained.with_weights(NETWORK, more, stats)


def test_a_unit_may_be_fresh_that_has_no_weights():
  params, stats = NETWORK.init(jax.random.key(1))
  kept = {unit: params[unit] for unit in ("first", "second")}
  network = pretrained.with_weights(NETWORK, kept, stats, fresh=("head",))
  assert network.pretrained and not NETWORK.pretrained
  found, _ = network.init(jax.random.key(0))
  assert set(found) == set(params) and set(kept) == {"first", "second"}


@pytest.mark.parametrize("count, more", [(5, ""), (6, "; and 1 more")])
def test_at_most_five_faults_are_told(count, more):
  params, stats = NETWORK.init(jax.random.key(1))
  params |= {f"extra_{i}": {"w": np.zeros(2)} for i in range(count)}
  with pytest.raises(ValueError) as caught:
    pretrained.with_weights(NETWORK, params, stats)
  told = "; ".join(f"extra_{i}/w has no place" for i in range(5))
  assert str(caught.value) == (
    f"the weights are not those of network 'tiny': {told}{more}"
  )
