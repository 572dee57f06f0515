"""What XLA is told of steps that are compiled as one program."""

import tiny_network

from jcl import recipes
from jcl.selection import mask
from jcl.train import whole


def test_large_parts_are_ordered_for_memory(monkeypatch):
  network = tiny_network.build()
  everything, head = mask.everything(network), tiny_network.HEAD
  assert whole.MANY == 4_000_000
  assert whole.compiler_options(network, everything) == {}
  monkeypatch.setattr(whole, "MANY", 148)
  assert whole.compiler_options(network, everything)
  monkeypatch.setattr(whole, "MANY", 37)  # 4 -> 8 -> 8 -> 4: 148, head 36
  assert whole.compiler_options(network, head) == {}
  assert whole.compiler_options(network, everything)
  monkeypatch.setattr(whole, "_has_orders", lambda: False)
  assert whole.compiler_options(network, everything) == {}


def test_the_order_changes_no_bits(learn, monkeypatch):
  first = learn(recipes.er(buffer=50))
  monkeypatch.setattr(whole, "MANY", 1)
  second = learn(recipes.er(buffer=50))
  assert tiny_network.same_bits(first.state.train, second.state.train)
