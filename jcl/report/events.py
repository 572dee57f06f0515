"""Progress as event files, for TensorBoard and what else reads them."""

from collections.abc import Mapping
import math
from pathlib import Path

from jcl import base


class EventWriter:
  """Writes scalars to an event file in `folder`; a context manager.

  A run that resumes gives the number of updates it had made, `resume_step`:
  readers then drop what an earlier writer logged after that step, so that no
  point shows twice.
  """

  def __init__(self, folder: str | Path, resume_step: int | None = None):
    import tensorboardX

    self._writer = tensorboardX.SummaryWriter(
      str(folder),
      purge_step=None if resume_step is None else resume_step + 1,
      # File names count whole seconds, in which a short run may come back.
      filename_suffix="" if resume_step is None else f".from_{resume_step}",
    )

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one point per name at `step`; what is not finite is left out."""
    for name, value in values.items():
      if math.isfinite(value):
        self._writer.add_scalar(name, float(value), step)

  def record(self, record: base.Record, step: int) -> None:
    """Writes what an experience did, achieved and cost, at its last `step`."""
    values = {
      "experience/loss": record.loss,
      "experience/online_accuracy": record.online_accuracy,
      "experience/epochs": record.decision.epochs,
      "experience/tensors_trained": record.trained[0],
      "experience/parameters_trained": record.parameters[0],
      "memory/peak_bytes": record.peak_bytes,
    }
    for name in ("accuracy", "accuracy_task"):
      for test, value in enumerate(getattr(record, name)):
        values[f"{name}/test_{test}"] = value
    for account, cost in record.costs.items():
      for unit in ("seconds", "joules", "flops", "bytes"):
        values[f"{unit}/{account}"] = getattr(cost, unit)
    self.scalars(step, values)

  def close(self) -> None:
    """Writes what is still held back; nothing may be written after it."""
    self._writer.close()

  def __enter__(self) -> "EventWriter":
    return self

  def __exit__(self, *_) -> None:
    self.close()
