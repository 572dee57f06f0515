"""What XLA is told of steps that are compiled as one program."""

import jax
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


def test_what_other_devices_and_versions_are_told(monkeypatch):
  network, head = tiny_network.build(), tiny_network.HEAD
  monkeypatch.setattr(whole, "MANY", 36)
  monkeypatch.setattr(whole, "_has_orders", lambda: True)
  assert whole.compiler_options(network, head) == whole._LEAST_MEMORY
  monkeypatch.setattr(whole.jax, "default_backend", lambda: "gpu")
  assert whole.compiler_options(network, head) == {}


def test_an_option_that_is_not_known_is_left_out(monkeypatch):
  asked = []

  def refuse(fn, compiler_options):
    asked.append(compiler_options)
    raise jax.errors.JaxRuntimeError("no such option")

  monkeypatch.setattr(whole.jax, "jit", refuse)
  assert whole._has_orders.__wrapped__() is False
  assert asked == [whole._LEAST_MEMORY]


def test_the_order_changes_no_bits(learn, monkeypatch):
  first = learn(recipes.er(buffer=50))
  monkeypatch.setattr(whole, "MANY", 1)
  second = learn(recipes.er(buffer=50))
  assert tiny_network.same_bits(first.state.train, second.state.train)


def test_what_xla_knows_is_asked_once():
  assert hasattr(whole._has_orders, "cache_info")
