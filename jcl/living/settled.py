"""What the first experience of a live learner decides for all that follow."""

from collections.abc import Callable, Hashable
import dataclasses
import json
from pathlib import Path

import numpy as np

from jcl import base
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.report import lines
from jcl.run import workdir
from jcl.streams import stream as stream_lib

_NAME = "settled.json"  # of a run's folder


@dataclasses.dataclass(frozen=True)
class Settled:
  """What the first experience decides for all that follow."""

  mean: np.ndarray  # float32, broadcasts to one example
  std: np.ndarray
  gamma: float | None = None  # of a random unit's kernel

  def kind(self, stream: stream_lib.Stream) -> Hashable:
    """Returns what programs for a stream's examples depend on."""
    fixed = self.mean.tobytes(), self.std.tobytes(), self.gamma
    return stream.example_shape, stream.dtype, stream.num_classes, fixed

  def method(self, method: base.Method) -> base.Method:
    """Returns a method whose random units have the width that was settled."""
    if self.gamma is None or method.expand is None:
      return method
    wide = dataclasses.replace(method.expand, gamma=self.gamma)
    return method._replace(expand=wide)

  def write(self, path: Path) -> None:
    """Writes a file, whole or not at all."""
    found = {
      "mean": self.mean.tolist(),
      "std": self.std.tolist(),
      "gamma": self.gamma,
    }
    lines.write_atomically(path, json.dumps(found))

  @classmethod
  def read(cls, path: Path) -> "Settled":
    """Reads what `write` wrote; UsageError for anything else."""
    try:
      found = json.loads(path.read_text(encoding="utf-8"))
      mean, std = (np.array(found[k], np.float32) for k in ("mean", "std"))
      return cls(mean, std, found["gamma"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
      raise UsageError(
        f"{path} is damaged ({errors.reason(error, 90)}): bring back the file, "
        "without which inputs cannot be read as they were learned"
      ) from error


def kept(folder: Path | None, make: Callable[[], Settled]) -> Settled:
  """Returns what a folder keeps; what `make` returns, and is kept, if nothing.

  Args:
    folder: of the run; None keeps nothing.
    make: looks at the first experience.
  """
  path = None if folder is None else folder / _NAME
  if path is not None and path.exists():
    return Settled.read(path)
  made = make()
  if path is not None:
    with workdir.explained(path.parent):
      path.parent.mkdir(parents=True, exist_ok=True)
      made.write(path)
  return made
