"""The experiments' writer of PyTorch's files, for tests, and small arrays."""

import importlib.util
from pathlib import Path

import numpy as np

_PATH = Path(__file__).parents[1] / "experiments" / "torch_layouts.py"
_SPEC = importlib.util.spec_from_file_location("experiments_layouts", _PATH)
writer = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(writer)

# A view whose columns lie together, one that begins within the same storage,
# and a number.
STORAGES = {
  "9": np.arange(8, dtype="<f4") / 4,
  "10": np.array([7], "<i8"),
}
ARRAYS = {
  "fc.weight": writer.Array("9", 0, (3, 2), (1, 3)),
  "fc.bias": writer.Array("9", 6, (2,), (1,)),
  "bn.num_batches_tracked": writer.Array("10", 0, (), ()),
}
EXPECTED = {
  "fc.weight": np.array([[0, 0.75], [0.25, 1], [0.5, 1.25]], np.float32),
  "fc.bias": np.array([1.5, 1.75], np.float32),
  "bn.num_batches_tracked": np.array(7),
}
