"""Processors with RAPL counters, as files."""

import os

from kernel import Clock, put, rapl
import pytest

from jcl.cost.meters import meter
from jcl.cost.meters import rapl as rapl_lib

RANGE = 262_143_328_850
SERVER = {
  "0": ("package-0", 5_000_000, RANGE),
  "0:0": ("core", 3_000_000, RANGE),
  "0:1": ("dram", 1_000_000, 65_712_999_613),
  "1": ("package-1", 7_000_000, RANGE),
  "1:0": ("dram", 2_000_000, 65_712_999_613),
}


def test_packages_and_their_memory_are_added_and_cores_are_not(tmp_path):
  rapl(tmp_path, SERVER)
  sensor = rapl_lib.find(tmp_path)
  assert sensor.kind == "joules"
  assert sorted(sensor.read()) == pytest.approx([1.0, 2.0, 5.0, 7.0])
  assert "package-0 + dram + package-1 + dram" in sensor.name
  assert max(sensor.wraps) == pytest.approx(262_143.32885)
  assert len(sensor.wraps) == 4


def test_neither_the_platform_nor_a_second_view_counts_twice(tmp_path):
  rapl(
    tmp_path,
    {
      "0": ("package-0", 5_000_000, RANGE),
      "0:1": ("uncore", 100, RANGE),
      "1": ("psys", 9_000_000, RANGE),
    },
  )
  rapl(tmp_path, {"0": ("package-0", 5_000_000, RANGE)}, "intel-rapl-mmio")
  assert rapl_lib.find(tmp_path).read() == pytest.approx((5.0,))


def test_nested_zones_are_found_where_the_class_lists_packages_only(tmp_path):
  rapl(tmp_path, SERVER)
  for link in (tmp_path / "class/powercap").glob("intel-rapl:*:*"):
    link.unlink()
  assert len(rapl_lib.find(tmp_path).read()) == 4


def test_a_counter_that_wraps_goes_on(tmp_path):
  files = rapl(tmp_path, {"0": ("package-0", RANGE - 1_000_000, RANGE)})
  clock = Clock()
  with meter.Sampled(rapl_lib.find(tmp_path), clock=clock) as found:
    clock.wait(2.0)
    put(files["0"], 3_000_000)
    reading = found.read()
  assert reading.joules == pytest.approx(4.0)
  assert reading.watts == pytest.approx(2.0)


def test_counters_are_read_before_they_can_wrap_twice(tmp_path):
  rapl(tmp_path, SERVER)
  sensor = rapl_lib.find(tmp_path)
  watts = 1000.0
  assert sensor.period <= min(30.0, 0.5 * min(sensor.wraps) / watts)


def test_counters_of_root_alone_say_so(tmp_path, denied):
  files = rapl(tmp_path, SERVER)
  denied(files["0"])
  with pytest.raises(meter.Unavailable, match="no permission.*chmod a.r .*_uj"):
    rapl_lib.find(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_counters_that_the_user_may_not_read_say_so(tmp_path):
  rapl(tmp_path, SERVER)["0"].chmod(0)
  with pytest.raises(meter.Unavailable, match="no permission.*chmod a.r .*_uj"):
    rapl_lib.find(tmp_path)


def test_a_machine_without_counters_says_where_it_looked(tmp_path):
  with pytest.raises(meter.Unavailable, match="no processor package under"):
    rapl_lib.find(tmp_path)


def test_zones_without_a_package_are_listed(tmp_path):
  rapl(tmp_path, {"0": ("psys", 1, RANGE)})
  with pytest.raises(meter.Unavailable, match="only psys"):
    rapl_lib.find(tmp_path)


def test_garbage_in_a_counter_is_reported(tmp_path):
  files = rapl(tmp_path, SERVER)
  put(files["0"], "n/a")
  with pytest.raises(meter.Unavailable, match='energy_uj holds "n/a"'):
    rapl_lib.find(tmp_path)


@pytest.mark.parametrize("energy, most", [(0, 0), (2_000_000, 1_000_000)])
def test_a_counter_out_of_its_range_is_not_used(tmp_path, energy, most):
  rapl(tmp_path, {"0": ("package-0", energy, most)})
  with pytest.raises(meter.Unavailable, match="package-0 shows"):
    rapl_lib.find(tmp_path)


def test_permission_that_is_withdrawn_is_missed(tmp_path, denied):
  files = rapl(tmp_path, {"0": ("package-0", 1_000_000, RANGE)})
  clock = Clock()
  with meter.Sampled(rapl_lib.find(tmp_path), clock=clock) as found:
    clock.wait(1.0)
    put(files["0"], 11_000_000)
    assert found.read().joules == pytest.approx(10.0)
    denied(files["0"])
    clock.wait(40.0)
    reading = found.read()
  # Three periods of ten seconds are bridged with 10 W.
  assert reading.joules == pytest.approx(310.0)
  assert reading.missing == pytest.approx(10.0)
