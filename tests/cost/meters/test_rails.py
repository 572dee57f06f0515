"""Boards with INA monitors, as files."""

import errno
import os
import shutil

from kernel import Clock, ina3221, ina3221x, put
import pytest

from jcl.cost.meters import meter, rails

NX = {
  "VDD_IN": (5000, 1200),
  "VDD_CPU_GPU_CV": (5000, 400),
  "VDD_SOC": (5000, 300),
}


def test_the_input_rail_alone_is_the_board(tmp_path):
  ina3221(tmp_path, NX)
  sensor = rails.find(tmp_path)
  assert sensor.kind == "watts"
  assert sensor.read() == pytest.approx((6.0,))
  assert "VDD_IN" in sensor.name and "VDD_SOC" not in sensor.name
  assert sensor.period <= 0.1  # ten samples a second at least


def test_a_board_without_an_input_rail_is_the_sum_of_its_disjoint_ones(
  tmp_path,
):
  ina3221(
    tmp_path,
    {
      "VDD_GPU_SOC": (19000, 300),
      "VDD_CPU_CV": (19000, 100),
      "VIN_SYS_5V0": (5000, 800),
    },
  )
  ina3221(tmp_path, {"VDDQ_VDD2_1V8AO": (5000, 200)}, "1-0041", 4)
  sensor = rails.find(tmp_path)
  assert sensor.read() == pytest.approx((5.7, 1.9, 4.0))


def test_rails_of_two_chips_make_one_board(tmp_path):
  ina3221x(tmp_path, {"GPU": 100, "CPU": 200, "SOC": 300}, "1-0040", 0)
  ina3221x(tmp_path, {"CV": 10, "VDDRQ": 20, "SYS5V": 30}, "1-0041", 1)
  sensor = rails.find(tmp_path)
  assert sum(sensor.read()) == pytest.approx(0.66)


@pytest.mark.parametrize("rail", ["VDD_IN", "POM_5V_IN"])
def test_older_kernels_show_milliwatts(tmp_path, rail):
  ina3221x(tmp_path, {rail: 4321, "VDD_SYS_CPU": 1000})
  assert rails.find(tmp_path).read() == pytest.approx((4.321,))


def test_a_driver_that_multiplies_itself_is_believed(tmp_path):
  chip = ina3221(tmp_path, NX)
  put(chip / "power1_input", 6_100_000)
  assert rails.find(tmp_path).read() == pytest.approx((6.1,))


def test_the_chip_says_how_long_a_value_stays(tmp_path):
  chip = ina3221(tmp_path, NX)
  put(chip / "update_interval", 140)
  assert rails.find(tmp_path).resolution == pytest.approx(0.14)


def test_rails_can_be_named(tmp_path):
  ina3221(tmp_path, {"main": (12000, 1000), "fan": (12000, 100)})
  with pytest.raises(meter.Unavailable, match="add up, of main, fan"):
    rails.find(tmp_path)
  assert sum(rails.find(tmp_path, ["main", "fan"]).read()) == pytest.approx(
    13.2
  )
  with pytest.raises(meter.Unavailable, match="no rail is called pump"):
    rails.find(tmp_path, ["main", "pump"])
  with pytest.raises(meter.Unavailable, match="give each rail once"):
    rails.find(tmp_path, ["main", "main"])


def test_other_chips_are_no_power_monitors(tmp_path):
  chip = ina3221(tmp_path, NX)
  put(chip / "name", "nct6775")
  with pytest.raises(meter.Unavailable, match="no power monitor"):
    rails.find(tmp_path)


def test_a_chip_without_a_name_is_no_power_monitor(tmp_path):
  chip = ina3221(tmp_path, NX)
  (chip / "name").unlink()
  with pytest.raises(meter.Unavailable, match="no power monitor"):
    rails.find(tmp_path)


def test_a_label_without_permission_is_named(tmp_path, denied):
  chip = ina3221(tmp_path, NX)
  denied(chip / "in1_label")
  with pytest.raises(meter.Unavailable, match="no permission.*in1_label"):
    rails.find(tmp_path)


def test_a_machine_without_the_bus_has_no_rails(tmp_path):
  with pytest.raises(meter.Unavailable, match="no power monitor"):
    rails.find(tmp_path / "sys")


def test_a_rail_without_permission_is_named(tmp_path, denied):
  chip = ina3221(tmp_path, NX)
  denied(chip / "curr1_input")
  with pytest.raises(meter.Unavailable, match="no permission.*curr1_input"):
    rails.find(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_rail_that_the_user_may_not_read_is_named(tmp_path):
  chip = ina3221(tmp_path, NX)
  (chip / "curr1_input").chmod(0)
  with pytest.raises(meter.Unavailable, match="no permission.*curr1_input"):
    rails.find(tmp_path)


def test_a_rail_that_is_switched_off_says_so(tmp_path, denied):
  chip = ina3221(tmp_path, NX)
  denied(chip / "in1_input", OSError(errno.ENODATA, "No data available"))
  with pytest.raises(meter.Unavailable, match="No data available"):
    rails.find(tmp_path)


def test_a_chip_that_is_pulled_out_is_missed(tmp_path):
  chip = ina3221(tmp_path, NX)
  clock = Clock()
  with meter.Sampled(rails.find(tmp_path), clock=clock, bridge=1.0) as found:
    clock.wait(2.0)
    assert found.read().joules == pytest.approx(12.0)
    shutil.rmtree(chip)
    clock.wait(5.0)
    reading = found.read()
  assert reading.joules == pytest.approx(18.0)
  assert reading.missing == pytest.approx(4.0)
  assert reading.source.startswith("partly measured: INA")
