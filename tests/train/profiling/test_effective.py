"""Operations of a step with and without those on zeros."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from jcl.networks import resnet
from jcl.networks.sparsity import dynamic
from jcl.selection import times
from jcl.train.profiling import analytic, effective

NETWORK = resnet._resnet("small", (8, 8, 1), 3, (1, 1), 8)
NAMES = ["/".join(tensor.path) for tensor in NETWORK.tensors]
KERNELS = ["/".join(path) for path in dynamic.kernels(NETWORK)]


def profile(x=None):
  shapes = jax.eval_shape(NETWORK.init, jax.random.key(0))
  x = jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32)
  return analytic.flops(NETWORK, *shapes, x)


def test_by_hand():
  count = len(NAMES)
  dense = times.TensorTimes(
    forward=(100.0,) * count,
    arrival=(10.0,) * count,
    weight_grad=(1.0,) * count,
    update=(0.5,) * count,
    fixed=7.0,
    method="analytic",
    about={"unit": "flops"},
  )
  found = effective.effective_flops(NETWORK, dense, {KERNELS[0]: (0.5, 0.25)})
  assert found.dense == 111.5 * count + 7
  # Half of its forward, of what leads behind it and of its update.
  assert found.dense - found.effective == 50 + 5 + 0.75 + 0.25


def test_what_is_left_without_the_large_kernels():
  dense = profile()
  none = effective.effective_flops(NETWORK, dense, {})
  assert none.dense == none.effective == pytest.approx(dense.full)
  zero = effective.effective_flops(
    NETWORK, dense, dict.fromkeys(KERNELS, (0.0, 0.0))
  )
  # Forward, input's gradient and kernel's, two operations per term; a part of
  # the terms meets padding.
  products = sum(
    3 * 2 * 4 * math.prod(tensor.shape) * (64 if tensor.shape[-1] == 8 else 16)
    for tensor in NETWORK.tensors
    if "/".join(tensor.path) in KERNELS
  )
  assert 0.7 * products < zero.dense - zero.effective < 1.05 * products
  half = effective.effective_flops(
    NETWORK, dense, dict.fromkeys(KERNELS, (0.5, 0.5))
  )
  assert half.effective == pytest.approx((zero.effective + zero.dense) / 2)


def test_figures_that_do_not_fit():
  dense = profile()
  seconds = dataclasses.replace(dense, about={"unit": "seconds"})
  with pytest.raises(ValueError, match="not seconds"):
    effective.effective_flops(NETWORK, seconds, {})
  with pytest.raises(ValueError, match="no tensor 'conv'"):
    effective.effective_flops(NETWORK, dense, {"conv": (1, 1)})
  with pytest.raises(ValueError, match=r"\(1.5, 1\) of .*shares in"):
    effective.effective_flops(NETWORK, dense, {KERNELS[0]: (1.5, 1)})
  other = resnet._resnet("other", (8, 8, 1), 3, (1,), 8)
  with pytest.raises(ValueError, match="profile this network"):
    effective.effective_flops(other, dense, {})


def test_the_first_tensor_and_the_last():
  count = len(NAMES)
  dense = times.TensorTimes(
    forward=(100.0,) * count,
    arrival=(10.0,) * count,
    weight_grad=(1.0,) * count,
    update=(0.5,) * count,
    fixed=7.0,
    method="analytic",
    about={"unit": "flops"},
  )

  def saved(name):
    found = effective.effective_flops(NETWORK, dense, {name: (0.5, 0.25)})
    return found.dense - found.effective

  # No gradient goes on from the first; ahead of the last, half of it.
  assert saved(NAMES[0]) == 50 + 0.75 + 0.25
  assert saved(NAMES[-1]) == 50 + 5 + 0.75 + 0.25
  whole = effective.effective_flops(NETWORK, dense, {NAMES[0]: (1.0, 1.0)})
  assert whole.dense == whole.effective
  with pytest.raises(ValueError, match=r"\(1.0, -0.1\) of .*shares in"):
    effective.effective_flops(NETWORK, dense, {NAMES[0]: (1.0, -0.1)})
  with pytest.raises(ValueError, match=f"no tensor 'a'.*such as '{NAMES[0]}'"):
    effective.effective_flops(NETWORK, dense, {"b": (1, 1), "a": (1, 1)})
