"""Cost of matrix products on a systolic array that computes in MX formats.

The array is that of Kim et al., "DaCapo: Accelerating Continuous Learning in
Autonomous Systems for Video Analytics", ISCA 2024,
https://arxiv.org/abs/2403.14353: an output-stationary array of 16 by 16
dot-product engines at 500 MHz, split by rows into two parts that run side by
side. An engine multiplies a group of 16 values in 1, 4 or 16 cycles, depending
on the format.

The closed form below gives the cycles of the published cycle simulator. All
figures are modelled: none was measured on silicon.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jcl.options.errors import UsageError

Format = Literal["mx4", "mx6", "mx9"]

GROUP = 16  # values that an engine multiplies at once
QUEUE = 16  # groups that wait ahead of an engine
COLUMNS = 16
ROWS = 16
CLOCK = 500e6  # cycles per second
CYCLES_PER_GROUP = {"mx4": 1, "mx6": 4, "mx9": 16}
BYTES_PER_GROUP = {"mx4": 8, "mx6": 12, "mx9": 18}
# 204.8 GB/s into the read buffers, counted in units of 1024 bytes per us.
BYTES_PER_CYCLE = 204.8 * 1024 / 500
HALF_BUFFER = 80 * 1024  # bytes that are read before the first product starts
# Assumption: the array draws its published synthesis figure (28 nm) at all
# times, since the paper does not say how it divides among rows or formats.
POWER_WATTS = 0.236


class Gemm(NamedTuple):
  """Matrix products [m, k] x [k, n] of one shape."""

  m: int  # over the columns of the array
  k: int
  n: int  # over its rows
  times: int = 1  # products of this shape
  name: str = ""
  kind: Literal["conv", "linear", "product"] = "linear"


def gemm_cycles(
  m: Any,
  k: Any,
  n: Any,
  *,
  rows: Any,
  columns: int = COLUMNS,
  fmt: Format,
  bytes_per_cycle: float | None = None,
) -> np.ndarray:
  """Returns the cycles of [m, k] x [k, n] on some rows of the array.

  Tiles of `columns` by `rows` outputs run one after another; tiles at the edges
  use as many engines as they have outputs. Operands enter on a skew, and where
  the queue of the first engine fills up, the last engines start late. Half a
  buffer is read before the first tile starts.

  Args:
    m: integers from 1, as are `k`, `n` and `rows`; all broadcast together.
    k: terms of each sum, which are multiplied in groups of 16.
    n: columns of the result; see `m`.
    rows: number of the array's rows that compute.
    columns: number of the array's columns.
    fmt: format of both operands.
    bytes_per_cycle: how much this part of the array can read, such as half of
      `BYTES_PER_CYCLE`. A tile then takes the longer of reading its operands
      and computing (the two overlap), and the first buffer fills at this speed.
      None, as published: tiles never wait for operands.

  Returns:
    int64 cycles, exact, of the shape that the arguments broadcast to.

  Raises:
    ValueError: for another format, or sizes that are no integers from 1.

  >>> int(gemm_cycles(32, 64, 32, rows=16, fmt="mx4"))
  332
  >>> gemm_cycles(32, 64, 32, rows=[8, 16], fmt="mx9").tolist()
  [884, 572]
  """
  m, k, n, rows = _checked(fmt, columns, m=m, k=k, n=n, rows=rows)
  if bytes_per_cycle is not None and not bytes_per_cycle > 0:
    raise ValueError(
      f"bytes_per_cycle={bytes_per_cycle}: give a number > 0, or None"
    )
  cycles = CYCLES_PER_GROUP[fmt]
  groups = -(-k // GROUP)

  def tile(
    used_columns: int | np.ndarray, used_rows: int | np.ndarray
  ) -> np.ndarray:
    skew = used_columns + used_rows - 2
    took = groups * cycles + skew
    if cycles > 1:  # with one cycle a group the queue never fills
      held = QUEUE * cycles // (cycles - 1)
      late = np.minimum(skew, groups) - held
      took = took + (cycles - 1) * np.maximum(0, late)
    if bytes_per_cycle is not None:
      moved = (used_columns + used_rows) * groups * BYTES_PER_GROUP[fmt]
      reading = np.ceil(moved / bytes_per_cycle).astype(np.int64)
      took = np.maximum(took, reading)
    return took

  whole_m, edge_m = np.divmod(m, columns)
  whole_n, edge_n = np.divmod(n, rows)
  fill = int(np.ceil(HALF_BUFFER / (bytes_per_cycle or BYTES_PER_CYCLE)))
  return (
    fill
    + whole_m * whole_n * tile(columns, rows)
    + whole_m * (edge_n > 0) * tile(columns, edge_n)
    + whole_n * (edge_m > 0) * tile(edge_m, rows)
    + (edge_m > 0) * (edge_n > 0) * tile(edge_m, edge_n)
  )


def utilisation(
  m: Any,
  k: Any,
  n: Any,
  *,
  rows: Any,
  columns: int = COLUMNS,
  fmt: Format,
  bytes_per_cycle: float | None = None,
) -> np.ndarray:
  """Returns the share of the engines' cycles that go into products, in (0, 1].

  The first filling of the buffer is left out; padding of the last group counts
  as work. Arguments and errors are those of `gemm_cycles`.

  >>> float(utilisation(16, 160, 16, rows=16, fmt="mx4"))
  0.25
  """
  took = gemm_cycles(
    m,
    k,
    n,
    rows=rows,
    columns=columns,
    fmt=fmt,
    bytes_per_cycle=bytes_per_cycle,
  )
  fill = int(np.ceil(HALF_BUFFER / (bytes_per_cycle or BYTES_PER_CYCLE)))
  m, k, n, rows = (np.asarray(size, np.int64) for size in (m, k, n, rows))
  useful = m * n * -(-k // GROUP) * CYCLES_PER_GROUP[fmt]
  return useful / (rows * columns * (took - fill))


def network_cycles(
  gemms: Sequence[Gemm],
  *,
  rows: Any,
  fmt: Format,
  bytes_per_cycle: float | None = None,
) -> np.ndarray:
  """Returns the cycles of products that run one after another.

  All else is free: pooling, normalisation, activations, softmax, conversion
  into the format, weight updates.

  Args:
    gemms: the products of a forward pass or a train step; see `gemms.of`.
    rows: number of the array's rows, an integer or an array of integers.
    fmt: format of all operands.
    bytes_per_cycle: see `gemm_cycles`.

  Returns:
    int64 cycles, of the shape of `rows`.
  """
  rows = np.asarray(rows)
  sizes = np.array([gemm[:4] for gemm in gemms], np.int64).reshape(-1, 4)
  # Many layers share a shape.
  sizes, repeats = np.unique(sizes, axis=0, return_counts=True)
  m, k, n, times = sizes.reshape(-1, 4, *(1,) * rows.ndim).swapaxes(0, 1)
  took = gemm_cycles(
    m, k, n, rows=rows, fmt=fmt, bytes_per_cycle=bytes_per_cycle
  )
  repeats = repeats.reshape(-1, *(1,) * rows.ndim)
  return (repeats * times * took).sum(axis=0)


def seconds(cycles: Any, clock: float = CLOCK) -> np.ndarray:
  """Returns the seconds of `cycles` at a clock in cycles per second.

  >>> float(seconds(1_000_000))
  0.002
  """
  return np.asarray(cycles) / clock


def joules(seconds: Any, rows: Any = ROWS) -> np.ndarray:
  """Returns the modelled energy of some rows over a time.

  Assumption: the power of the array divides evenly among its rows, and a row
  that computes nothing draws nothing.

  Args:
    seconds: in which the rows compute.
    rows: 0 to `ROWS`; by default the whole array, `POWER_WATTS` at all times.

  >>> round(float(joules(100, rows=4)), 2)
  5.9
  """
  return POWER_WATTS * np.asarray(seconds) * np.asarray(rows) / ROWS


def latencies(
  gemms: Sequence[Gemm],
  *,
  fmt: Format,
  rows: Sequence[int] = range(1, ROWS),
  clock: float = CLOCK,
  bytes_per_cycle: float | None = None,
) -> np.ndarray:
  """Returns the seconds of a network by number of rows, [len(rows)] float64."""
  cycles = network_cycles(
    gemms, rows=np.array(rows), fmt=fmt, bytes_per_cycle=bytes_per_cycle
  )
  return seconds(cycles, clock)


def rows_for(latencies: Sequence[float] | np.ndarray, fps: float) -> int:
  """Returns the fewest rows that keep up with a camera.

  Kim et al., ISCA 2024: inference gets these rows, training and labelling all
  others.

  Args:
    latencies: seconds of one frame with 1, 2, ... rows; see `latencies`.
    fps: frames per second.

  Raises:
    ValueError: where no number of rows is fast enough, with the best rate.

  >>> rows_for([0.1, 0.05, 0.034, 0.026], fps=30.0)
  4
  """
  table = np.asarray(latencies, np.float64)
  if table.ndim != 1 or not len(table) or not (table > 0).all():
    raise ValueError(
      f"latencies={latencies}: give seconds > 0 with 1, 2, ... rows"
    )
  if not fps > 0:
    raise UsageError(f"fps={fps}: give a number > 0")
  enough = table * fps <= 1
  if not enough.any():
    raise UsageError(
      f"no number of rows up to {len(table)} serves {fps:g} frames per second; "
      f"give fps <= {np.floor(1000 / table.min()) / 1000:g}, or a smaller "
      "network"
    )
  return int(np.argmax(enough)) + 1


def _checked(fmt: str, columns: int, **sizes: Any) -> list[np.ndarray]:
  """Returns the sizes as int64 arrays, in their order."""
  if fmt not in CYCLES_PER_GROUP:
    raise ValueError(f"fmt={fmt!r}: choose from {', '.join(CYCLES_PER_GROUP)}")
  arrays = {
    name: np.asarray(size)
    for name, size in (*sizes.items(), ("columns", columns))
  }
  for name, array in arrays.items():
    if array.dtype.kind not in "iu" or (array < 1).any():
      raise ValueError(f"{name}={sizes.get(name, columns)}: give integers >= 1")
  return [arrays[name].astype(np.int64) for name in sizes]
