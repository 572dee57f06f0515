"""Figures of programs small enough to count by hand."""

import dataclasses
import io
import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from jcl.cost import program_cost


def compiled(fn, *args, **options):
  return jax.jit(fn, **options).lower(*args).compile()


def test_a_matrix_product_is_counted():
  left, right = jnp.ones((8, 16)), jnp.ones((16, 4))
  cost = program_cost.of_compiled(compiled(jnp.matmul, left, right))
  assert cost.flops == 2 * 8 * 16 * 4
  assert cost.argument_bytes == 4 * (8 * 16 + 16 * 4)
  assert cost.output_bytes == 4 * 8 * 4
  assert cost.alias_bytes == 0
  assert cost.bytes_accessed >= cost.argument_bytes + cost.output_bytes
  assert cost.peak_bytes >= cost.argument_bytes + cost.output_bytes


def test_peaks_by_hand():
  cost = program_cost.ProgramCost(1.0, 2.0, 30.0, 7.0, 5.0, 11.0)
  assert cost.peak_bytes == 30 + 7 - 5 + 11
  with pytest.raises(dataclasses.FrozenInstanceError):
    cost.flops = 0.0


def test_donated_memory_counts_once():
  x = jnp.ones((32, 32))
  plain = program_cost.of_compiled(compiled(lambda x: x + 1, x))
  donated = program_cost.of_compiled(
    compiled(lambda x: x + 1, x, donate_argnums=0)
  )
  assert donated.alias_bytes == x.nbytes
  assert plain.peak_bytes - donated.peak_bytes == x.nbytes


def test_the_body_of_a_loop_is_counted_once():
  def repeat(x, num_trips):
    return jax.lax.scan(lambda x, _: (x @ x, None), x, length=num_trips)[0]

  x = jnp.ones((32, 32))
  few, many = (
    program_cost.of_compiled(compiled(lambda x, n=n: repeat(x, n), x)).flops
    for n in (3, 300)
  )
  assert few == many
  assert few == pytest.approx(2 * 32**3, rel=1e-3)


def test_kept_activations_show_in_scratch_memory():
  def loss(x, depth):
    for _ in range(depth):
      x = jnp.sin(x @ x)
    return x.sum()

  x = jnp.ones((64, 64))
  shallow, deep = (
    program_cost.of_compiled(compiled(jax.grad(lambda x, d=d: loss(x, d)), x))
    for d in (1, 6)
  )
  assert deep.temp_bytes - shallow.temp_bytes >= 2 * x.nbytes


@pytest.mark.parametrize("analysis", [None, []])
def test_figures_that_a_backend_does_not_give_are_nan(analysis):
  program = types.SimpleNamespace(
    cost_analysis=lambda: analysis, memory_analysis=lambda: None
  )
  cost = program_cost.of_compiled(program)
  assert math.isnan(cost.flops)
  assert math.isnan(cost.bytes_accessed)
  assert math.isnan(cost.peak_bytes)


def test_the_first_of_several_partitions_is_read():
  program = types.SimpleNamespace(
    cost_analysis=lambda: [{"flops": 5.0, "bytes accessed": 7.0}, {}],
    memory_analysis=lambda: None,
  )
  cost = program_cost.of_compiled(program)
  assert (cost.flops, cost.bytes_accessed) == (5.0, 7.0)


def test_a_program_without_arithmetic_has_no_operations():
  x = jnp.ones((4, 4))
  assert program_cost.of_compiled(compiled(jnp.transpose, x)).flops == 0


def test_the_resident_peak_is_in_bytes_and_stays():
  now = psutil.Process().memory_info().rss
  peak = program_cost.peak_rss_bytes()
  assert 0.9 * now <= peak <= psutil.virtual_memory().total
  block = np.ones(2**24, np.uint8)
  del block
  assert program_cost.peak_rss_bytes() >= peak


def test_trees_are_weighed():
  tree = {
    "kernel": jnp.ones((3, 5), jnp.float32),
    "bias": np.zeros(5, np.float16),
    "frozen": None,
    "step": jax.ShapeDtypeStruct((), jnp.int32),
  }
  assert program_cost.num_parameters(tree) == 15 + 5 + 1
  assert program_cost.num_bytes(tree) == 60 + 10 + 4
  assert program_cost.num_parameters({}) == program_cost.num_bytes(()) == 0


def test_the_resident_peak_by_hand(monkeypatch):
  def status(path, encoding):
    assert path == "/proc/self/status"
    return io.StringIO("VmPeak:\t 9 kB\nVmHWM:\t 7 kB\nVmRSS:\t 5 kB\n")

  monkeypatch.setattr(program_cost, "open", status, raising=False)
  assert program_cost.peak_rss_bytes() == 7 * 1024

  def missing(path, encoding):
    raise FileNotFoundError(path)

  monkeypatch.setattr(program_cost, "open", missing, raising=False)
  usage = types.SimpleNamespace(ru_maxrss=7)
  monkeypatch.setattr("resource.getrusage", lambda who: usage)
  for platform, peak in (("linux", 7 * 1024), ("darwin", 7)):
    monkeypatch.setattr(program_cost.sys, "platform", platform)
    assert program_cost.peak_rss_bytes() == peak


def test_a_system_without_resource_tells_its_own_peak(monkeypatch):
  def missing(path, encoding):
    raise FileNotFoundError(path)

  info = types.SimpleNamespace(peak_wset=9)
  process = types.SimpleNamespace(memory_info=lambda: info)
  monkeypatch.setattr(program_cost, "open", missing, raising=False)
  monkeypatch.setitem(sys.modules, "resource", None)  # importing it fails
  monkeypatch.setattr(psutil, "Process", lambda: process)
  assert program_cost.peak_rss_bytes() == 9
