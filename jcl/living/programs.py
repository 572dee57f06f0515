"""Programs that the learners of a process share.

Compiling takes far longer than learning a few hundred examples. Learners that
are made one after the other with the same settings, as by a cross-validation,
compile once: what a program computes depends on its kind and its arguments.
"""

from collections.abc import Callable, Hashable
import dataclasses
import threading
from typing import Any

from jcl.run.inference import model as models
from jcl.train import background


class Programs:
  """Programs of the kinds of learners that were used last.

  Any thread may call any method.

  Args:
    most: kinds to keep.
  """

  def __init__(self, most: int = 16) -> None:
    self._most = most
    self._kinds: dict[Hashable, _Kind] = {}
    self._lock = threading.Lock()

  def lend(self, kind: Hashable, compiler: background.Compiler) -> None:
    """Gives a learner what others of its kind have compiled.

    Args:
      kind: all that a program depends on, beside its arguments.
      compiler: of the learner.
    """
    with self._lock:
      found = dict(self._kind(kind).learner)
    compiler.add(found)

  def keep(self, kind: Hashable, compiler: background.Compiler) -> None:
    """Keeps what a learner of this kind has compiled, for others."""
    made = compiler.programs
    with self._lock:
      self._kind(kind).learner.update(made)

  def predicting(self, kind: Hashable, made: models.Model) -> models.Model:
    """Returns a model that shares the predictions of its kind."""
    shapes = tuple(sorted(made.shapes.items()))
    with self._lock:
      models_of = self._kind(kind).models
      return dataclasses.replace(
        made, programs=models_of.setdefault((shapes, made.rows), {})
      )

  def _kind(self, kind: Hashable) -> "_Kind":
    found = self._kinds.pop(kind, None) or _Kind({}, {})
    self._kinds[kind] = found  # as the most recently used
    while len(self._kinds) > self._most:
      del self._kinds[next(iter(self._kinds))]
    return found


@dataclasses.dataclass(frozen=True)
class _Kind:
  learner: dict[Hashable, background.Program]
  models: dict[Hashable, dict[int, Callable[..., Any]]]
