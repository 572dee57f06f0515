"""Modelled seconds of kernels on an array whose rows are divided once.

Kim et al., "DaCapo: Accelerating Continuous Learning in Autonomous Systems for
Video Analytics", ISCA 2024, https://arxiv.org/abs/2403.14353: serving gets the
fewest rows that keep up with the camera; training, validation and labelling
take turns on all other rows. Serving, validation and labelling compute in MX6,
training in MX9. `cost.systolic` models the seconds, whatever hardware the
student really runs on.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Literal

from jcl import base
from jcl.control.drift import allocation
from jcl.cost import gemms, pairs, systolic
from jcl.options.errors import UsageError

Mode = Literal["full", "compat"]
Pass = Literal["forward", "train"]


@dataclasses.dataclass(frozen=True)
class Times:
  """Seconds of the kernels of a student and its teacher."""

  infer: float  # the student, one frame, on the rows for serving
  train: float  # an iteration of one batch, on the other rows
  valid: float  # the student's forward pass of one batch
  label: float  # the teacher's forward pass of one image
  batch: int = 16
  source: str = "given"  # where the numbers come from
  serving: int | None = None  # rows of the array that serve; None: not told

  def __post_init__(self) -> None:
    if not self.infer > 0:
      raise UsageError(f"infer={self.infer}: give the seconds, more than 0")
    if self.batch < 1:
      raise UsageError(f"batch={self.batch}: give 1 or more")
    self.kernels  # noqa: B018  checks the others

  def training(self, share: float) -> "Times":
    """Returns the times with updates that do a share of this one's work.

    Args:
      share: more than 0, and above 1 with replay; see
        `serving.models.Student.training_share`.
    """
    return dataclasses.replace(self, train=self.train * share)

  def joules(self, seconds: float, working: float) -> float:
    """Returns the modelled energy of the array while a stream lasts.

    Rows that serve compute at all times, the others while they label or
    retrain; see `cost.systolic.joules`.

    Args:
      seconds: of the stream.
      working: share of it in which the other rows work, see
        `serving.log.Log.working`.

    Raises:
      ValueError: where nobody told how many rows serve.

    >>> shared = Times(0.02, 1.0, 0.1, 0.03, serving=4)
    >>> [round(shared.joules(100, part), 2) for part in (1, 0.5, 0)]
    [23.6, 14.75, 5.9]
    """
    if self.serving is None:
      raise ValueError("joules take times that tell the rows that serve")
    others = systolic.joules(working * seconds, systolic.ROWS - self.serving)
    return float(systolic.joules(seconds, self.serving) + others)

  @property
  def kernels(self) -> allocation.Kernels:
    """The kernels that take turns on the rows not used for serving."""
    return allocation.Kernels(self.train, self.valid, self.label)


def published(
  student: str = "resnet18",
  *,
  mode: Mode = "full",
  fps: float = 30,
  batch: int = 16,
  more_rows: int = 0,
) -> Times:
  """Returns the times of a published pair, for images of 224x224.

  Small networks that stand in for the pair are charged its time.

  Args:
    student: the first of one of `cost.pairs.PAIRS`.
    mode: of the cost model, see `cost.gemms.of`.
    fps: frames per second that serving has to keep up with.
    batch: images of a training iteration.
    more_rows: rows that serve beyond those needed, for ablations.

  Raises:
    ValueError: for another student or mode, or where no rows suffice.
  """
  teachers = dict(pairs.PAIRS)
  if student not in teachers:
    raise UsageError(f"student={student!r}: choose from {', '.join(teachers)}")
  teacher = teachers[student]

  def of_student(batch: int, pass_: Pass) -> list[systolic.Gemm]:
    return pairs.published(student, mode=mode, batch=batch, pass_=pass_)

  return _times(
    of_student,
    pairs.published(teacher, mode=mode),
    fps,
    batch,
    more_rows,
    f"{mode} mode, timed as {student} <- {teacher}",
  )


def of(
  student: base.Network,
  teacher: base.Network,
  *,
  mode: Mode = "full",
  fps: float = 30,
  batch: int = 16,
  more_rows: int = 0,
) -> Times:
  """Returns the times of the networks' own products.

  Args:
    student: serves and learns.
    teacher: labels.
    mode: of the cost model, see `cost.gemms.of`.
    fps: frames per second that serving has to keep up with.
    batch: images of a training iteration.
    more_rows: rows that serve beyond those needed, for ablations.

  Raises:
    ValueError: as `published`.
  """

  def of_student(batch: int, pass_: Pass) -> list[systolic.Gemm]:
    return gemms.of(student, mode=mode, batch=batch, pass_=pass_)

  return _times(
    of_student,
    gemms.of(teacher, mode=mode),
    fps,
    batch,
    more_rows,
    f"{mode} mode, {student.name} <- {teacher.name}",
  )


def _times(
  of_student: Callable[[int, Pass], Sequence[systolic.Gemm]],
  teacher: Sequence[systolic.Gemm],
  fps: float,
  batch: int,
  more_rows: int,
  source: str,
) -> Times:
  """Returns the times of a student's and a teacher's products."""
  latencies = systolic.latencies(of_student(1, "forward"), fmt="mx6")
  serving = systolic.rows_for(latencies, fps) + more_rows
  rest = systolic.ROWS - serving
  if more_rows < 0 or rest < 1:
    raise UsageError(
      f"more_rows={more_rows} makes {serving} of {systolic.ROWS} rows for "
      "serving: leave one at least, and those that serving needs"
    )

  def seconds(products: Sequence[systolic.Gemm], fmt: systolic.Format) -> float:
    cycles = systolic.network_cycles(products, rows=rest, fmt=fmt)
    return float(systolic.seconds(cycles))

  return Times(
    infer=float(latencies[serving - 1]),
    train=seconds(of_student(batch, "train"), "mx9"),
    valid=seconds(of_student(batch, "forward"), "mx6"),
    label=seconds(teacher, "mx6"),
    batch=batch,
    source=f"modelled: {source}, {serving} + {rest} rows",
    serving=serving,
  )
