"""Plans of kernels, where the programs that XLA compiles find them."""

import functools
from typing import Any

import jax
import numpy as np

from jcl.train.kernels import onednn

TARGET = "jcl_convolution"

_SLOTS = 1 << 16  # twice as many as there may be plans in a process


class Plans:
  """Plans by number, where compiled code finds them.

  A number stands for the same problem in every process, so that programs with
  it can be kept on disk.
  """

  def __init__(self) -> None:
    self._words: dict[int, np.ndarray] = {}
    # Pairs of number and address; an open-addressed table.
    self.table = np.zeros((_SLOTS, 2), np.int64)
    self.kept: Any = None  # what has to live as long as the process

  def add(self, number: int, plan: onednn.Plan) -> None:
    """Makes a plan known; one with the number already there stays."""
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
    self.table[slot, 0] = number  # last, as compiled code looks for it


@functools.cache
def plans() -> Plans:
  """Returns this process's plans, and has XLA know what carries them out.

  One thread at a time may ask for them, and add to them.
  """
  from jcl.train.kernels import handler  # imports Numba

  made = Plans()
  function, made.kept = handler.build(made.table)
  jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(function))
  return made
