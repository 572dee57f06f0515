"""Cycles of an MX systolic array, against worked values and a loop."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.cost import systolic

FORMATS = ("mx4", "mx6", "mx9")
SIZES = st.integers(1, 500)


def by_tiles(m, k, n, rows, fmt):
  """The same by a loop over tiles, in plain integers."""
  cycles = systolic.CYCLES_PER_GROUP[fmt]
  groups = -(-k // 16)
  total = 196
  for left in range(0, m, 16):
    for top in range(0, n, rows):
      skew = min(16, m - left) + min(rows, n - top) - 2
      total += groups * cycles + skew
      if cycles > 1:
        held = 16 * cycles // (cycles - 1)
        total += (cycles - 1) * max(0, min(skew, groups) - held)
  return total


@pytest.mark.parametrize(
  "m, k, n, fmt, rows, cycles",
  [
    (32, 64, 8, "mx6", 4, 332),
    (16, 4096, 16, "mx9", 16, 4517),
    (20, 100, 5, "mx9", 3, 686),
  ],
)
def test_worked_values(m, k, n, fmt, rows, cycles):
  assert systolic.gemm_cycles(m, k, n, rows=rows, fmt=fmt) == cycles


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("rows", [1, 4])
def test_tiles_of_one_column_or_row(rows, fmt):
  """Also where some tiles wait for a full queue, and some just do not."""
  for m in (1, 15, 16, 17, 33):
    for n in (1, 3, 4, 5, 9):
      for k in (1, 16, 17, 16 * 17, 16 * 30):
        found = systolic.gemm_cycles(m, k, n, rows=rows, fmt=fmt)
        assert found == by_tiles(m, k, n, rows, fmt)


@given(SIZES, SIZES, SIZES, st.integers(1, 16), st.sampled_from(FORMATS))
@settings(max_examples=60)
def test_the_closed_form_is_the_sum_over_tiles(m, k, n, rows, fmt):
  assert systolic.gemm_cycles(m, k, n, rows=rows, fmt=fmt) == by_tiles(
    m, k, n, rows, fmt
  )


@given(SIZES, st.integers(1, 5000), SIZES, st.integers(1, 16))
@settings(max_examples=60)
def test_orders_of_formats_and_rows(m, k, n, rows):
  took = [systolic.gemm_cycles(m, k, n, rows=rows, fmt=f) for f in FORMATS]
  assert took == sorted(took)
  for fmt in FORMATS:
    one, all_rows = systolic.gemm_cycles(m, k, n, rows=[1, 16], fmt=fmt)
    assert all_rows <= one
    assert 0 < systolic.utilisation(m, k, n, rows=rows, fmt=fmt) <= 1


def test_arrays_broadcast():
  m, rows = np.array([[20], [32]]), np.arange(1, 5)
  table = systolic.gemm_cycles(m, 64, 8, rows=rows, fmt="mx6")
  assert table.shape == (2, 4) and table.dtype == np.int64
  assert table[1, 3] == 332


def test_a_group_filled_up_counts_as_work():
  # One tile of 16 x 16, one group: 16 cycles of work, 30 of skew.
  share = systolic.utilisation(16, 16, 16, rows=16, fmt="mx9")
  late = 15 * max(0, min(30, 1) - 17)
  assert share == 16 / (16 + 30 + late)
  assert systolic.utilisation(16, 9, 16, rows=16, fmt="mx9") == share


def test_a_tile_takes_as_long_as_its_operands_do():
  options = {"rows": 16, "fmt": "mx4"}
  free = systolic.gemm_cycles(16, 1600, 16, **options)
  fast = systolic.gemm_cycles(16, 1600, 16, **options, bytes_per_cycle=1e9)
  assert fast == free - 196 + 1
  # 32 operands of 100 groups of 8 bytes, at 100 bytes a cycle.
  slow = systolic.gemm_cycles(16, 1600, 16, **options, bytes_per_cycle=100.0)
  assert slow == 820 + 256
  assert systolic.utilisation(
    16, 1600, 16, **options, bytes_per_cycle=100.0
  ) == pytest.approx(100 / 256)


@pytest.mark.parametrize("fmt, size", [("mx4", 8), ("mx6", 12), ("mx9", 18)])
def test_bytes_of_each_format(fmt, size):
  """A row and a column of one group, at a byte a cycle."""
  options = {"rows": 1, "fmt": fmt, "bytes_per_cycle": 1}
  fill = systolic.gemm_cycles(1, 1, 1, **options) - 2 * size
  assert fill == 160 * 1024 // 2
  two = systolic.gemm_cycles(1, 17, 1, **options)
  assert two == fill + 2 * 2 * size


def test_the_published_array():
  (one,) = systolic.latencies([systolic.Gemm(1, 1, 1)], fmt="mx4", rows=[1])
  assert one == 197 / 500e6
  assert systolic.BYTES_PER_CYCLE == pytest.approx(419.4304, rel=1e-12)
  assert len(systolic.latencies([systolic.Gemm(1, 1, 1)], fmt="mx4")) == 15
  assert systolic.gemm_cycles(16, 1, 1, rows=1, fmt="mx4") == 196 + 16
  assert systolic.gemm_cycles(17, 1, 1, rows=1, fmt="mx4") == 196 + 16 + 1


def test_the_first_buffer_fills_in_the_published_time():
  one = systolic.gemm_cycles(1, 1, 1, rows=1, fmt="mx4")
  assert one == 196 + 1


def test_a_network_is_the_sum_of_its_products():
  gemms = [
    systolic.Gemm(32, 64, 8),
    systolic.Gemm(32, 64, 8, 2),
    systolic.Gemm(20, 100, 5),
  ]
  rows = np.array([1, 4])
  took = systolic.network_cycles(gemms, rows=rows, fmt="mx6")
  last = systolic.gemm_cycles(20, 100, 5, rows=rows, fmt="mx6")
  first = systolic.gemm_cycles(32, 64, 8, rows=rows, fmt="mx6")
  np.testing.assert_array_equal(took, 3 * first + last)
  assert systolic.network_cycles([], rows=4, fmt="mx6") == 0
  table = systolic.latencies(gemms, fmt="mx6", rows=[1, 4], clock=1e6)
  np.testing.assert_allclose(table, took / 1e6)
  assert systolic.joules(table)[0] == pytest.approx(0.236 * took[0] / 1e6)
  assert systolic.joules(2, [0, 4, 16]).tolist() == [0, 0.118, 0.472]


def test_the_fewest_rows_that_keep_up():
  table = [0.3, 0.1, 0.05]
  assert systolic.rows_for(table, 3) == 1
  assert systolic.rows_for(table, 10) == 2
  assert systolic.rows_for(table, 10.1) == 3
  assert systolic.rows_for([2.0, 1.0], 0.5) == 1
  with pytest.raises(ValueError, match=r"30 frames .* fps <= 20,"):
    systolic.rows_for(table, 30)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"fmt": "mx8"}, "fmt='mx8': choose from mx4, mx6, mx9"),
    ({"rows": 0}, "rows=0: give integers >= 1"),
    ({"k": 1.5}, "k=1.5: give integers"),
    ({"columns": 0}, "columns=0"),
    ({"bytes_per_cycle": 0.0}, "bytes_per_cycle=0.0: give a number > 0"),
  ],
)
def test_bad_sizes(change, message):
  options = {"m": 1, "k": 1, "n": 1, "rows": 1, "fmt": "mx6"} | change
  with pytest.raises(ValueError, match=message):
    systolic.gemm_cycles(**options)


@pytest.mark.parametrize(
  "table, fps, message",
  [([], 30, "latencies="), ([0.1, 0.0], 30, "latencies="), ([0.1], 0, "fps=0")],
)
def test_bad_tables(table, fps, message):
  with pytest.raises(ValueError, match=message):
    systolic.rows_for(table, fps)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(systolic.gemm_cycles) == {"columns": 16}
  assert signatures.defaults(systolic.utilisation) == {"columns": 16}
  assert signatures.defaults(systolic.seconds) == {"clock": 500000000.0}
  assert signatures.defaults(systolic.latencies) == {"clock": 500000000.0}
  assert signatures.defaults(systolic.Gemm) == {
    "times": 1,
    "name": "",
    "kind": "linear",
  }


def test_the_highest_rate_is_told_to_thousandths():
  with pytest.raises(ValueError, match="rows up to 2 serves 40 frames per"):
    systolic.rows_for([0.06, 0.03], 40)
  with pytest.raises(ValueError, match=r"give fps <= 33\.333,"):
    systolic.rows_for([0.06, 0.03], 40)
  with pytest.raises(ValueError, match="latencies="):
    systolic.rows_for([[0.1]], 1)
