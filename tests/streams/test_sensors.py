import numpy as np
import pytest

from jcl.streams import sensors


def write_dsads(root, activities=(1, 19), subjects=(1, 7), segments=8):
  for a in activities:
    for p in subjects:
      folder = root / f"a{a:02d}" / f"p{p}"
      folder.mkdir(parents=True)
      for s in range(1, segments + 1):
        row = ",".join([f"{100 * a + 10 * p + s / 10}"] * 45)
        (folder / f"s{s:02d}.txt").write_text("\n".join([row] * 125) + "\n")


@pytest.fixture(scope="module")
def activities(tmp_path_factory):
  folder = tmp_path_factory.mktemp("dsads")
  write_dsads(folder / "dsads" / "data")
  return folder


def test_dsads_holds_out_the_last_segments(activities):
  train, test = sensors.dsads(activities)
  assert train.x.shape == (24, 125, 45) and train.x.dtype == np.float32
  assert sorted(set(train.y.tolist())) == [0, 18]
  assert train.class_names[18] == "playing basketball"
  assert sorted(set(train.group.tolist())) == [1, 7]
  # Activity 1 of subject 1 comes first: segments 7 and 8 are held out.
  np.testing.assert_allclose(test.x[:2, 0, 0], [110.7, 110.8], rtol=1e-6)
  np.testing.assert_allclose(
    train.x[:6, 124, 44], 110 + np.arange(1, 7) / 10, rtol=1e-6
  )


def test_dsads_holds_out_subjects(activities):
  train, test = sensors.dsads(activities, test="subjects")
  assert set(train.group.tolist()) == {1} and set(test.group.tolist()) == {7}
  assert len(train) == len(test) == 16


def test_dsads_complains(activities, tmp_path):
  with pytest.raises(ValueError, match="test='days': write test=segments"):
    sensors.dsads(activities, test="days")
  with pytest.raises(FileNotFoundError, match="Daily and Sports"):
    sensors.dsads(tmp_path)
  write_dsads(tmp_path, (1,), (1,), 2)
  path = tmp_path / "a01" / "p1" / "s02.txt"
  path.write_text("1,2,3\n")
  with pytest.raises(ValueError, match=r"s02.txt.*\(1, 3\) instead of"):
    sensors.dsads(tmp_path)
  path.write_text("1,two,3\n")
  with pytest.raises(ValueError, match="s02.txt is damaged"):
    sensors.dsads(tmp_path)


def published(label, values):
  pairs = " ".join(f"{i}:{v:.6f}" for i, v in enumerate(values, start=1))
  return f"{label};10.000000 {pairs} \n"


def plain(label, values):
  names = {1: "Ethanol", 2: "Ethylene", 6: "Toluene"}
  return f"{names[label]},10.000000,{','.join(f'{v:.6f}' for v in values)}\n"


@pytest.mark.parametrize("line_of", [published, plain])
def test_gas_drift_reads_both_forms(tmp_path, line_of):
  folder = tmp_path / "gas-sensor-drift" / "gas-sensor-drift"
  folder.mkdir(parents=True)
  for number in (1, 2, 10):
    lines = [
      line_of((1, 2, 6)[i % 3], np.arange(128) - 1000.0 * number + i)
      for i in range(7)
    ]
    (folder / f"batch{number}.dat").write_text("".join(lines))
  train, test = sensors.gas_drift(tmp_path)
  # Batches in numeric order, each without its fifth row.
  assert train.group.tolist() == [1] * 6 + [2] * 6 + [10] * 6
  assert test.group.tolist() == [1, 2, 10]
  assert train.x[:6, 0].tolist() == [-1000, -999, -998, -997, -995, -994]
  assert test.x[2, 127] == 127 - 10_000 + 4
  assert train.y[:6].tolist() == [0, 1, 5, 0, 5, 0]
  assert train.class_names[5] == "Toluene"


@pytest.mark.parametrize(
  "content, message",
  [
    (published(7, np.zeros(128)), "no gas is called '7'"),
    (published(1, np.zeros(127)), r"\(1, 127\), not \[N, 128\]"),
    (plain(1, np.zeros(128)) + plain(1, np.zeros(3)), "batch1.dat is damaged"),
    (plain(1, np.zeros(128)).replace("0.0", "zero"), "batch1.dat is damaged"),
    ("", "batch1.dat is damaged"),
  ],
)
def test_gas_drift_damage_is_named(tmp_path, content, message):
  (tmp_path / "batch1.dat").write_text(content)
  with pytest.raises(ValueError, match=message):
    sensors.gas_drift(tmp_path)


def test_gas_drift_missing(tmp_path):
  with pytest.raises(FileNotFoundError, match="batch1.dat"):
    sensors.gas_drift(tmp_path)


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_any_error_of_a_damaged_segment_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(*args, **options):
    raise error("no such thing")

  monkeypatch.setattr(sensors.np, "loadtxt", fail)
  with pytest.raises(ValueError, match="a.txt is damaged .*no such thing"):
    sensors._segment(tmp_path / "a.txt")


def test_dsads_holds_out_subjects_7_and_8(tmp_path):
  write_dsads(tmp_path, (1,), (6, 7, 8), 1)
  train, test = sensors.dsads(tmp_path, test="subjects")
  assert train.group.tolist() == [6] and test.group.tolist() == [7, 8]
  assert train.y.tolist() == [0]
  train, test = sensors.dsads(tmp_path)  # a quarter of one segment is none
  assert len(train) == 3 and len(test) == 0
