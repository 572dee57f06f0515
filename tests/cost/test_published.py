"""The published columns, from the network that they are of."""

import dataclasses

from flax import linen as nn
import jax
import pytest
import signatures
import tiny_network

from jcl.cost import program_cost, published
from jcl.networks import linen, resnet

TRAINED = ("block_6", "block_7", "head")  # the fourth stage and the head
CIFAR = resnet.resnet18((32, 32, 3), 10)
TINY = resnet.resnet18((64, 64, 3), 200)


def parameters(network, units=None):
  params, _ = jax.eval_shape(network.init, jax.random.key(0))
  return program_cost.num_parameters(
    {unit: params[unit] for unit in units or network.units}
  )


WEIGHTS = 4 * parameters(CIFAR)  # bytes; the table's, for both data sets


@pytest.mark.parametrize(
  "network, total, share", [(CIFAR, 11_173_962, 75.2), (TINY, 11_271_432, 75.4)]
)
def test_parameters_and_the_share_that_trains(network, total, share):
  assert parameters(network) == total
  trained = 100 * parameters(network, TRAINED) / total
  assert trained == pytest.approx(share, abs=0.05)


def test_layers_of_the_network():
  found = published.layers(CIFAR)
  assert len(found) == 1 + 16 + 3 + 1
  stem, head = found[0], found[-1]
  assert stem == ("stem", 9, 64 * 32 * 32, 9 * 3 * 64 * 32 * 32)
  assert head == ("head", 1, 10, 5120)
  assert published.activations(CIFAR) == 557_056
  assert published.activations(TINY) == 4 * 557_056
  assert published.macs(CIFAR) / 1e9 == pytest.approx(0.5554, abs=5e-5)
  share = published.macs(CIFAR, TRAINED) / published.macs(CIFAR)
  assert share == pytest.approx(0.242, abs=5e-4)


@pytest.mark.parametrize(
  "row, cifar, tiny",
  [
    ("sgd", 153.4, 357.9),
    ("joint", 153.4, 357.9),
    ("ewc", 196.0, 400.5),
    ("er", 185.4, 485.7),
    ("fdr", 185.4, 485.7),
    ("derpp", 217.3, 613.5),
    ("pnn", 323.9, 528.4),
  ],
)
def test_memory_is_that_of_the_table(row, cifar, tiny):
  for network, told in ((CIFAR, cifar), (TINY, tiny)):
    floats = published.activations(network)
    found = published.memory_mib(row, WEIGHTS, floats)
    assert found == pytest.approx(told, rel=0.005)


def test_memory_of_lightcl_is_that_of_the_table():
  # Anchors: the maps of the fourth stage's four 3x3 convolutions.
  units = ("block_5", *TRAINED)
  gradients = 4 * parameters(CIFAR, units)
  anchors = published.activations(CIFAR, TRAINED)
  for network, told in ((CIFAR, 92.8), (TINY, 128.0)):
    floats = published.activations(network, units)
    found = published.lightcl_mib(WEIGHTS, gradients, floats, anchors)
    assert found == pytest.approx(told, rel=0.005)


@pytest.mark.parametrize(
  "row, cifar, tiny",
  [
    ("sgd", 7.5, 12.0),
    ("ewc", 7.5, 12.0),
    ("er", 11.0, 17.7),
    ("fdr", 11.0, 17.7),
    ("derpp", 14.5, 23.3),
    ("joint", 37.5, 120.0),
  ],
)
def test_operations_are_those_of_the_table(row, cifar, tiny):
  first = published.flops(row, published.macs(CIFAR), 45_000, 50, tasks=5)
  second = published.flops(row, published.macs(TINY), 90_000, 100, tasks=10)
  assert first / 1e15 == pytest.approx(cifar, rel=0.01)
  assert second / 1e16 == pytest.approx(tiny, rel=0.01)


def test_operations_of_lightcl_are_near_those_of_the_table():
  def of(network, images, epochs):
    return published.lightcl_flops(
      published.macs(network),
      published.macs(network, TRAINED),
      images,
      epochs,
    )

  assert of(CIFAR, 45_000, 50) / 1e15 == pytest.approx(5.4, rel=0.015)
  assert of(TINY, 90_000, 100) / 1e16 == pytest.approx(8.6, rel=0.015)


def test_worked_by_hand():
  mib = 2**20
  assert published.memory_mib("ewc", mib, mib // 4, batch=2, buffer=7) == 5
  assert published.memory_mib("derpp", mib, mib // 4, batch=2, buffer=1) == 6
  found = published.lightcl_mib(mib, 0, mib // 4, mib // 2, batch=1, buffer=2)
  assert found == 1 + 3 + 4
  assert published.flops("er", 1, 10, 3, batch=2, buffer=1) == 6 * 10 * 3 * 1.5
  assert published.flops("joint", 1, 10, 3, tasks=2) == 6 * 10 * 3 * 2
  assert published.flops("sgd", 1, 10, 3, tasks=2) == 6 * 10 * 3
  found = published.lightcl_flops(3, 1, 10, 2, batch=2, buffer=1)
  assert found == 2 * (3 + 2 * 1) * 10 * 2 * 1.5


def test_rows_that_are_not_there_are_refused():
  with pytest.raises(ValueError, match="row='SGD': choose from sgd, joint"):
    published.memory_mib("SGD", 1, 1)
  with pytest.raises(ValueError, match="row='pnn': choose from .*derpp$"):
    published.flops("pnn", 1, 1, 1)


def test_a_network_whose_kernels_are_used_out_of_turn_is_refused():
  found = published.layers(tiny_network.build())
  assert [layer.unit for layer in found] == ["first", "second", "head"]
  assert [layer.macs for layer in found] == [32, 64, 32]
  twice = tiny_network.build()
  apply = twice.apply

  def repeated(params, stats, x, **options):
    out = apply(params, stats, x, **options)
    again = apply(params, stats, x, **options)
    return out._replace(logits=out.logits + again.logits)

  with pytest.raises(ValueError, match="uses each of its kernels once"):
    published.layers(dataclasses.replace(twice, apply=repeated))


def test_windows_of_two_pixels_count():
  """Convolutions wider than one, of any size; none of one."""

  class Narrow(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Conv(3, (1, 1))(nn.Conv(2, (1, 2))(x))
      return nn.Dense(2)(x.mean(axis=(1, 2)))

  network = linen.from_linen(Narrow(), (4, 4, 1), 2)
  windows = [layer.window for layer in published.layers(network)]
  assert windows == [2, 1, 1]
  assert published.activations(network) == 4 * 4 * 2
  assert published.macs(network) == 32 * 2 + 48 * 2 + 6


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(published.memory_mib) == {
    "batch": 32,
    "buffer": 15,
  }
  assert signatures.defaults(published.lightcl_mib) == {
    "batch": 32,
    "buffer": 15,
  }
  assert signatures.defaults(published.flops) == {
    "tasks": 1,
    "batch": 32,
    "buffer": 15,
  }
  assert signatures.defaults(published.lightcl_flops) == {
    "batch": 32,
    "buffer": 15,
  }
