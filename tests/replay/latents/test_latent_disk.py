"""Latents on disk: found again, bounded, damaged, shared, killed half way."""

import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.options.errors import UsageError
from jcl.replay.latents import disk as disk_lib
from jcl.replay.latents import volumes
from jcl.replay.store import store as store_lib

TRUNK = "ab" * 16
ROW = 32 + 16 + 16 + 8  # header, four values, digest, checksum and padding
ROOT = Path(__file__).parents[3]


def keys(*numbers):
  return disk_lib.digests(np.array(numbers, np.int64)[:, None])


def latents(*numbers):
  return np.array(numbers, np.float32)[:, None] + np.arange(4, dtype=np.float32)


def opened(folder, budget=10**6, digest=TRUNK, **more):
  return disk_lib.Disk(folder, digest, (4,), budget, **more)


def held(folder, count, **more):
  """Numbers below `count` whose latents a new process would find."""
  disk = opened(folder, **more)
  found = disk.read(keys(*range(count)))
  numbers = np.flatnonzero(found.rows)
  np.testing.assert_array_equal(found.z, latents(*numbers))
  disk.close()
  return numbers.tolist()


def fill(folder, numbers, step=5, **more):
  disk = opened(folder, **more)
  for start in range(0, len(numbers), step):
    part = numbers[start : start + step]
    disk.add(keys(*part), latents(*part))
  disk.close()
  return disk.report()


def age(folder, seconds):
  """Makes all volumes that lie there older."""
  for path in folder.glob("*/[0-9]*"):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def segment(folder):
  (path,) = folder.glob(f"{TRUNK}/*/*.segment")
  return path


def test_inputs_are_known_by_their_bytes():
  x = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
  found = disk_lib.digests(x)
  assert found.shape == (3, 16) and found.dtype == np.uint8
  np.testing.assert_array_equal(found[[2, 0]], disk_lib.digests(x[[2, 0]]))
  assert len({row.tobytes() for row in found}) == 3
  np.testing.assert_array_equal(found, disk_lib.digests(x[:, ::-1][:, ::-1]))


def test_folders_are_made_where_they_are_absent(tmp_path):
  folder = tmp_path / "a" / "b"
  assert fill(folder, range(3)).fault == "" and held(folder, 4) == [0, 1, 2]


def test_what_is_kept_is_found_by_later_processes(tmp_path):
  disk = opened(tmp_path)
  assert not disk.read(keys(1, 2)).rows.any()
  assert disk.add(keys(1, 2), latents(1, 2)) == 2 * ROW
  found = disk.read(keys(2, 3, 1, 2))
  assert found.rows.tolist() == [True, False, True, True]
  np.testing.assert_array_equal(found.z, latents(2, 1, 2))
  assert found.bytes == 3 * ROW
  disk.close()
  assert held(tmp_path, 4) == [1, 2]
  assert held(tmp_path, 4, digest="cd" * 16) == []  # another trunk
  report = disk.report()
  assert (report.read_rows, report.read_bytes) == (3, 3 * ROW)
  assert (report.written_rows, report.written_bytes) == (2, 2 * ROW)
  assert report.damaged_rows == report.left_out_rows == 0
  files = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert report.held_bytes < sum(path.stat().st_size for path in files) + 1


def test_a_closed_disk_goes_on_in_the_same_volume(tmp_path):
  disk = opened(tmp_path)
  for number in range(4):
    disk.add(keys(number), latents(number))
    disk.close()
  disk.close()
  assert held(tmp_path, 5) == [0, 1, 2, 3]
  assert len(list(tmp_path.glob(f"{TRUNK}/0*"))) == 1


def test_digests_that_begin_alike_are_told_apart(tmp_path):
  alike = np.zeros((3, 16), np.uint8)
  alike[:, -1] = range(3)
  disk = opened(tmp_path)
  disk.add(alike[:2], latents(0, 1))
  disk.close()
  found = opened(tmp_path).read(alike)
  assert found.rows.tolist() == [True, True, False]
  np.testing.assert_array_equal(found.z, latents(0, 1))
  assert found.bytes == 5 * ROW  # each is read until the right one comes


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(
  st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=6)
)
def test_any_reads_give_what_a_trunk_would(tmp_path_factory, reads):
  folder, kept = tmp_path_factory.mktemp("disk"), set()
  for numbers in reads:
    disk = opened(folder)
    found = disk.read(keys(*numbers)) if numbers else None
    if found is None:
      continue
    assert found.rows.tolist() == [number in kept for number in numbers]
    absent = np.array(numbers)[~found.rows].tolist()
    disk.add(keys(*absent), latents(*absent)) if absent else None
    kept.update(numbers)
    disk.close()
  assert held(folder, 31) == sorted(kept)


@pytest.mark.parametrize("reindex", [False, True])
def test_a_flipped_bit_costs_one_entry(tmp_path, reindex):
  fill(tmp_path, range(6))
  path = segment(tmp_path)
  content = bytearray(path.read_bytes())
  content[-ROW - 20] ^= 4  # of the last but one
  path.write_bytes(content)
  if reindex:
    path.with_suffix(".index").unlink()
  disk = opened(tmp_path)
  found = disk.read(keys(*range(6)))
  assert np.flatnonzero(~found.rows).tolist() == [4]
  np.testing.assert_array_equal(found.z, latents(0, 1, 2, 3, 5))
  assert disk.report().damaged_rows == (0 if reindex else 1)
  disk.add(keys(4), latents(4))
  disk.close()
  assert held(tmp_path, 7) == list(range(6))


def test_a_file_cut_short_costs_what_was_cut(tmp_path):
  fill(tmp_path, range(6))
  path = segment(tmp_path)
  os.truncate(path, path.stat().st_size - ROW - 8)
  assert held(tmp_path, 6) == [0, 1, 2, 3]
  assert fill(tmp_path, [4, 5]).fault == ""
  assert held(tmp_path, 6) == list(range(6))


def test_files_of_anything_are_no_error(tmp_path):
  fill(tmp_path, range(3))
  path = segment(tmp_path)
  path.write_bytes(b"nothing of ours" * 9)
  path.with_suffix(".index").write_bytes(b"")
  (path.parents[1] / "about.json").write_text("[", encoding="utf-8")
  (path.parents[1] / "000000").mkdir()
  (path.parents[1] / "000007").write_text("a file", encoding="utf-8")
  assert held(tmp_path, 3) == []
  assert fill(tmp_path, range(3)).fault == ""
  assert held(tmp_path, 3) == [0, 1, 2]


@pytest.mark.parametrize("widths", [(5,), (4, 5)])
def test_latents_of_other_shapes_are_computed_again(tmp_path, widths):
  fill(tmp_path, [7])
  volume = segment(tmp_path).parent
  with store_lib.Store.open(volume, run="another") as store:
    for number, width in enumerate(widths):
      store.append(
        np.zeros((1, width), np.float32),
        [0],
        task=disk_lib._prefixes(keys(number)),
        extras={"digest": keys(number)},
      )
  disk = opened(tmp_path)
  assert not disk.read(keys(*range(len(widths)))).rows.any()
  assert disk.report().damaged_rows == len(widths)
  assert disk.read(keys(7)).rows.all()


def test_a_folder_that_cannot_be_is_no_error(tmp_path):
  (tmp_path / "file").write_text("", encoding="utf-8")
  disk = opened(tmp_path / "file")
  assert not disk.read(keys(1)).rows.any()
  assert disk.add(keys(1), latents(1)) == 0
  disk.note(row_flops=1.0)
  disk.close()
  report = disk.report()
  assert report.fault and report.left_out_rows == 1


def test_what_is_noted_stays(tmp_path):
  disk = opened(tmp_path, about={"network": "net"})
  disk.note(row_flops=5.0)
  later = opened(tmp_path)
  assert later.about == {"network": "net", "row_flops": 5.0}
  later.note(row_flops=6.0)
  assert opened(tmp_path).about["row_flops"] == 5.0


def test_the_oldest_makes_room(tmp_path):
  budget = 80_000
  for number in range(3):  # some 35 kB each
    numbers = range(300 * number, 300 * number + 300)
    report = fill(tmp_path, numbers, step=20, budget=budget)
    assert report.fault == "" and report.left_out_rows == 0
    assert report.held_bytes <= budget
    age(tmp_path, 100)
    if number == 1:  # what was used last stays
      assert held(tmp_path, 10, budget=budget) == list(range(10))
      age(tmp_path, 100)
  found = held(tmp_path, 900, budget=budget)
  assert set(range(600, 900)) <= set(found)
  assert set(range(10)) <= set(found)  # by its use
  assert not set(range(60, 300)) <= set(found)
  assert set(range(450, 600)) <= set(found)


def test_another_trunks_latents_make_room_too(tmp_path):
  budget = 40_000
  fill(tmp_path, range(300), step=20, budget=budget, digest="cd" * 16)
  age(tmp_path, 100)
  report = fill(tmp_path, range(300), step=20, budget=budget)
  assert report.held_bytes <= budget and report.left_out_rows == 0
  assert held(tmp_path, 300) == list(range(300))


def test_a_run_beyond_the_bound_keeps_its_first_rows(tmp_path):
  report = fill(tmp_path, range(600), step=20, budget=40_000)
  assert report.held_bytes <= 40_000
  assert "used up" in report.fault and report.left_out_rows > 100
  found = held(tmp_path, 600, budget=40_000)
  assert found == list(range(600 - report.left_out_rows))


def test_a_bound_below_one_latent_is_refused(tmp_path):
  with pytest.raises(UsageError, match="70 bytes on disk hold no output.*72"):
    opened(tmp_path, budget=70)


def test_two_at_once_keep_what_both_have(tmp_path):
  one, other = opened(tmp_path), opened(tmp_path)
  for number in range(4):
    one.add(keys(number), latents(number))
    other.add(keys(10 + number), latents(10 + number))
  assert not other.read(keys(1)).rows.any()  # as it was when it was opened
  assert held(tmp_path, 20) == [0, 1, 2, 3, 10, 11, 12, 13]
  one.close()
  other.close()
  assert held(tmp_path, 20) == [0, 1, 2, 3, 10, 11, 12, 13]


def test_the_bound_holds_for_several_at_once(tmp_path):
  disks = [opened(tmp_path, 60_000) for _ in range(4)]
  for number in range(0, 1000, 20):
    for index, disk in enumerate(disks):
      numbers = range(1000 * index + number, 1000 * index + number + 20)
      disk.add(keys(*numbers), latents(*numbers))
    assert disks[0].report().held_bytes <= 60_000
  for disk in disks:
    disk.close()
  report = disks[0].report()
  assert 50_000 < report.held_bytes <= 60_000 and report.left_out_rows


def test_files_are_not_summed_up_for_each_row(tmp_path, monkeypatch):
  summed = []

  def count(folder, inner=volumes.size):
    summed.append(folder)
    return inner(folder)

  monkeypatch.setattr(volumes, "size", count)
  fill(tmp_path, range(300), step=1)
  assert summed.count(tmp_path) < 20


def test_a_volume_is_not_removed_under_who_adds_to_it(tmp_path):
  one = opened(tmp_path, budget=40_000)
  one.add(keys(1), latents(1))
  age(tmp_path, 100)
  fill(tmp_path, range(100, 700), step=20, budget=40_000, digest="cd" * 16)
  one.add(keys(2), latents(2))
  one.close()
  assert held(tmp_path, 3) == [1]  # no room for more, and no error


def test_a_reader_goes_on_where_its_volume_was_removed(tmp_path):
  fill(tmp_path, range(5), budget=40_000)
  age(tmp_path, 100)
  reader = opened(tmp_path, budget=40_000)
  assert reader.read(keys(0)).rows.all()
  age(tmp_path, 100)
  fill(tmp_path, range(100, 700), step=20, budget=40_000, digest="cd" * 16)
  assert not list(tmp_path.glob(f"{TRUNK}/*"))
  found = reader.read(keys(*range(5)))
  np.testing.assert_array_equal(found.z, latents(*range(5)))
  reader.add(keys(9), latents(9))
  reader.close()
  assert reader.report().held_bytes <= 40_000


# Adds rows one by one, telling of each, from the number that it is given on.
ADDS = f"""
from pathlib import Path
import sys

import numpy as np

from jcl.replay.latents import disk as disk_lib

folder, first, count = Path(sys.argv[1]), *map(int, sys.argv[2:])
disk = disk_lib.Disk(folder, {TRUNK!r}, (4,), 10**6)
for number in range(first, first + count):
  z = np.float32(number) + np.arange(4, dtype=np.float32)
  disk.add(disk_lib.digests(np.array([[number]])), z[None])
  print(number, flush=True)
disk.close()
"""


def adding(folder, first, count):
  return subprocess.Popen(
    [sys.executable, "-c", ADDS, str(folder), str(first), str(count)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )


def test_two_processes_at_once_lose_nothing(tmp_path):
  both = [adding(tmp_path, first, 40) for first in (0, 20)]
  for process in both:
    process.communicate(timeout=60)
    assert process.returncode == 0
  assert held(tmp_path, 80) == list(range(60))


def test_a_kill_loses_nothing_but_the_entry_at_work(tmp_path):
  process = adding(tmp_path, 0, 100_000)
  assert process.stdout is not None
  told = [int(process.stdout.readline()) for _ in range(30)]
  process.send_signal(signal.SIGKILL)
  rest, _ = process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL
  told += [int(line) for line in rest.split("\n")[:-1]]
  with open(segment(tmp_path), "ab") as file:
    file.write(b"\x6a\x63\x6c\x52half a record")
  found = held(tmp_path, len(told) + 1)
  assert found[: len(told)] == told
  assert fill(tmp_path, [200_000]).fault == ""  # in the same volume
  assert held(tmp_path, len(told)) == told
  assert len(list(tmp_path.glob(f"{TRUNK}/0*"))) == 1


def test_a_folder_that_goes_meanwhile_is_no_error(tmp_path, monkeypatch):
  fill(tmp_path, range(3))
  (volume,) = tmp_path.glob("*/0*")

  def gone(folder):
    shutil.rmtree(folder)
    return []

  monkeypatch.setattr(volumes, "listed", gone)
  assert volumes.removed(volume) and not volume.parent.exists()
