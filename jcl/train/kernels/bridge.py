"""A table of kernel plans that programs compiled by XLA read."""

import functools
from typing import Any

import jax
import numpy as np

from jcl.train.kernels import onednn

TARGET = "jcl_convolution"

_SLOTS = 1 << 16  # twice the largest number of plans in a process


class Plans:
  """Plans by number, for compiled code to look up.

  A number stands for the same problem in every process, so that programs that
  contain it can be cached on disk.
  """

  def __init__(self) -> None:
    self._words: dict[int, np.ndarray] = {}
    # Pairs of number and address; an open-addressed table.
    self.table = np.zeros((_SLOTS, 2), np.int64)
    self.kept: Any = None  # objects that must live as long as the process

  def add(self, number: int, plan: onednn.Plan) -> None:
    """Adds a plan, unless there is one with this number already."""
    if number in self._words:
      return
    if 2 * len(self._words) > _SLOTS:
      raise MemoryError(f"more than {_SLOTS // 2} shapes of convolutions")
    words = np.fromiter(onednn.words(plan), np.int64)
    self._words[number] = words
    slot = number % _SLOTS
    while self.table[slot, 0]:
      slot = (slot + 1) % _SLOTS
    self.table[slot, 1] = words.ctypes.data
    self.table[slot, 0] = number  # set last, since compiled code looks for it


@functools.cache
def plans() -> Plans:
  """Returns this process's plans; the first call registers XLA's target.

  Only one thread at a time may call this function or add plans.
  """
  from jcl.train.kernels import handler  # imports Numba

  made = Plans()
  function, made.kept = handler.build(made.table)
  jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(function))
  return made
