"""Limits that change while a run goes on."""

import math
import os
import signal
import types

from absl import logging
from hypothesis import given
from hypothesis import strategies as st
import pytest
import signatures

from jcl.replay.tiers import limits

MIB = 2**20


@pytest.fixture
def warnings(monkeypatch):
  """What is told to the host, line by line."""
  lines = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *args: lines.append(text % args)
  )
  return lines


def write(path, text, age=60):
  """Writes a file as it was some seconds ago."""
  path.write_text(text)
  then = os.stat(path).st_mtime - age
  os.utime(path, (then, then))


def test_a_fixed_limit():
  limit = limits.fixed(64 * MIB)
  assert limit() == 64 * MIB
  assert limit.describe() == "64 MiB as given"
  assert limits.fixed(1500, "joules").describe() == "1500 J as given"


@pytest.mark.parametrize(
  "value, text",
  [
    (0, "0 B"),
    (1023, "1023 B"),
    (1536, "1.5 KiB"),
    (10**8, "95.37 MiB"),
    (3 * 2**30, "3 GiB"),
    (math.inf, "no limit"),
  ],
)
def test_amounts_in_words(value, text):
  assert limits.fixed(value).describe() == f"{text} as given"


@pytest.mark.parametrize("value", [-1, math.nan, -math.inf])
def test_bounds_that_are_none(value):
  with pytest.raises(ValueError, match="a limit of .*: write a number from 0"):
    limits.fixed(value)
  with pytest.raises(ValueError, match="from 0 to infinity"):
    limits.file("budget.txt", value)
  limit = limits.Settable(7)
  with pytest.raises(ValueError, match="from 0 to infinity"):
    limit.set(value)
  assert limit() == 7


def test_units_that_are_none():
  with pytest.raises(ValueError, match="unit='watts': write \"bytes\" or"):
    limits.fixed(1, "watts")


def test_a_signal_sets_a_limit():
  limit = limits.Settable(4 * MIB)
  before = signal.signal(signal.SIGUSR1, lambda *_: limit.set(MIB))
  try:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert limit() == MIB
  finally:
    signal.signal(signal.SIGUSR1, before)
  assert limit.describe() == "1 MiB as last set"


@pytest.mark.parametrize(
  "text, value",
  [
    ("64MiB", 64 * MIB),
    ("  2 kB\n", 2000),
    ("4096\n", 4096),
    ("1e6\n", 10**6),
    ("inf\n", math.inf),
    ("0B", 0),
  ],
)
def test_a_file_states_bytes(tmp_path, warnings, text, value):
  path = tmp_path / "budget.txt"
  write(path, text)
  assert limits.file(path, 1)() == value
  assert not warnings


@pytest.mark.parametrize(
  "text, value", [("1500J", 1500), ("1.5e3 J\n", 1500), ("80\n", 80)]
)
def test_a_file_states_joules(tmp_path, warnings, text, value):
  path = tmp_path / "energy.txt"
  write(path, text)
  limit = limits.file(path, 1, "joules")
  assert limit() == value
  assert limit.describe() == f"{value} J by file {path}"
  assert not warnings


@pytest.mark.parametrize(
  "unit, text",
  [
    ("bytes", "64MiB"),
    ("bytes", "4096\n"),
    ("joules", "1500J"),
    ("joules", "20\n"),
  ],
)
def test_half_of_a_file_is_not_taken_for_all(tmp_path, warnings, unit, text):
  path = tmp_path / "budget.txt"
  limit = limits.file(path, 1, unit)
  write(path, "9\n")
  for end in range(len(text)):
    write(path, text[:end], age=60 + end)
    assert limit() == 1
  assert len(warnings) == 1
  write(path, text)
  assert limit() > 9


def test_senseless_files_keep_the_last_limit_and_are_told_once(
  tmp_path, warnings
):
  path = tmp_path / "budget.txt"
  limit = limits.file(path, 3 * MIB)
  assert limit() == 3 * MIB
  assert not warnings  # it need not exist
  write(path, "2MiB")
  assert limit() == 2 * MIB
  for number, text in enumerate(("", "lots", "-5\n", "nan\n", "9" * 99)):
    write(path, text, age=100 + number)
    assert limit() == limit() == 2 * MIB
  assert len(warnings) == 1
  assert "'' is no size in bytes" in warnings[0]
  assert warnings[0].endswith("; the limit stays at 2 MiB")
  write(path, "1MiB")
  assert limit() == MIB
  path.unlink()
  assert limit() == limit() == MIB
  assert warnings[1:] == [f"{path} is gone; the limit stays at 1 MiB"]
  assert limits.file(tmp_path, 5)() == 5  # a folder
  assert len(warnings) == 3


def test_a_file_is_read_again_when_it_changed(tmp_path, monkeypatch):
  path, replaced = tmp_path / "budget.txt", tmp_path / "new"
  limit = limits.file(path, 1)
  write(path, "1MiB")
  about = os.stat(path)
  assert limit() == MIB
  # Another text of the same size, at the same time, in the same place.
  path.write_text("2MiB")
  os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
  assert limit() == MIB
  os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns - 1))
  assert limit() == 2 * MIB
  # Another file of the same size and time takes its place.
  replaced.write_text("3MiB")
  os.utime(replaced, ns=(about.st_atime_ns, about.st_mtime_ns - 1))
  os.replace(replaced, path)
  assert limit() == 3 * MIB


def test_changes_at_one_tick_of_the_clock_are_seen(tmp_path):
  path = tmp_path / "budget.txt"
  path.write_text("1MiB")
  about = os.stat(path)
  limit = limits.file(path, 1)
  assert limit() == MIB
  path.write_text("2MiB")
  os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
  assert limit() == 2 * MIB


def test_a_share_of_what_the_machine_has(monkeypatch):
  free, own, now = [60], [40], [0.0]
  monkeypatch.setattr(
    limits.psutil,
    "virtual_memory",
    lambda: types.SimpleNamespace(available=free[0]),
  )
  limit = limits.available(lambda: own[0], 0.5, clock=lambda: now[0])
  assert limit() == 50
  # What we take is not taken from the limit, what others take is.
  free[0], own[0], now[0] = 50, 50, 1.0
  assert limit() == 50
  free[0] = 30
  assert limit() == 50  # as of a moment ago
  now[0] = 1.5
  assert limit() == 40
  assert limit.describe() == "40 B by memory available (share 0.5)"
  assert limits.available(lambda: 0)() == 15


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
@pytest.mark.parametrize("make", [limits.available, limits.cgroup])
def test_shares_out_of_range(make, share):
  with pytest.raises(ValueError, match="write a share above 0, up to 1"):
    make(lambda: 0, share)


def group(folder, version, most, used, idle=None):
  """Makes the files of a control group."""
  folder.mkdir(parents=True, exist_ok=True)
  first, second = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
  }[version]
  (folder / first).write_text(f"{most}\n")
  (folder / second).write_text(f"{used}\n")
  if idle is not None:
    name = {1: "total_inactive_file", 2: "inactive_file"}[version]
    (folder / "memory.stat").write_text(f"anon 5\n{name} {idle}\nshmem 9\n")


@pytest.fixture
def groups(tmp_path):
  """Returns a folder for groups, and what makes a limit of this process."""
  root, membership = tmp_path / "cgroup", tmp_path / "self"

  def limit(own, lines, **options):
    membership.write_text("\n".join(lines) + "\n")
    return limits.cgroup(
      lambda: own, root=root, membership=membership, **options
    )

  return root, limit


def test_second_version_of_groups(groups):
  root, limit = groups
  group(root / "a" / "b", 2, 1000, 700)
  assert limit(200, ["0::/a/b"])() == 1000 - (700 - 200)
  assert limit(200, ["0::/a/b"], share=0.5)() == 250
  group(root / "a" / "b", 2, 1000, 700, idle=100)
  assert limit(200, ["0::/a/b"])() == 600
  # A wider group above that is nearly full, and the one above all.
  group(root / "a", 2, 5000, 4900)
  assert limit(200, ["0::/a/b"])() == 300
  group(root / "a", 2, "max", 4900)
  assert limit(200, ["0::/a/b"])() == 600
  group(root, 2, 750, 800)
  assert limit(200, ["0::/a/b"])() == 150
  group(root, 2, 100, 800)
  assert limit(200, ["0::/a/b"])() == 0


def test_a_container_sees_its_group_as_the_root(groups):
  root, limit = groups
  group(root, 2, 1000, 700)
  assert limit(0, ["0::/made/by/the/host"])() == 300
  assert limit(0, ["0::/"])() == 300


def test_first_version_of_groups(groups):
  root, limit = groups
  lines = ["5:cpu,cpuacct:/x", "4:memory:/a", "1:name=systemd:/", "0::/"]
  group(root / "memory", 1, 9223372036854771712, 10**9)
  group(root / "memory" / "a", 1, 1000, 900, idle=300)
  assert limit(100, lines)() == 500


def test_no_groups_no_limit(groups, tmp_path):
  root, limit = groups
  unlimited = limit(5, ["0::/a", "4:memory:/b"])
  assert unlimited() == math.inf
  assert unlimited.describe() == "no limit by control group"
  group(root / "a", 2, "soon", "more")
  assert limit(5, ["0::/a"])() == math.inf
  nowhere = limits.cgroup(lambda: 5, membership=tmp_path / "none")
  assert nowhere() == math.inf


def test_groups_are_read_again_after_a_while(groups):
  root, limit = groups
  now = [0.0]
  group(root, 2, 1000, 400)
  found = limit(0, ["0::/"], clock=lambda: now[0], period=2.0)
  assert found() == 600
  group(root, 2, 900, 400)
  now[0] = 1.9
  assert found() == 600
  now[0] = 2.0
  assert found() == 500


def test_the_lowest_limit_is_the_one_described():
  host = limits.Settable(8 * MIB)
  limit = limits.lowest(limits.fixed(4 * MIB), host, limits.fixed(math.inf))
  assert limit() == 4 * MIB
  assert limit.describe() == "4 MiB as given"
  host.set(MIB)
  assert limit() == MIB
  assert limit.describe() == "1 MiB as last set"
  assert limits.lowest(limit, limits.fixed(5))() == 5


@given(st.lists(st.floats(0, allow_nan=False), min_size=1, max_size=5))
def test_lowest_is_the_minimum(values):
  assert limits.lowest(*map(limits.fixed, values))() == min(values)


def test_limits_that_do_not_compare():
  with pytest.raises(ValueError, match="lowest of no limits: give at least"):
    limits.lowest()
  with pytest.raises(ValueError, match="limits in bytes and joules: give"):
    limits.lowest(limits.fixed(1), limits.fixed(1, "joules"))


def test_limits_as_flags_state_them(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert limits.parse(None) is limits.parse("") is None
  given = limits.fixed(5)
  assert limits.parse(given) is given
  assert limits.parse("64MiB")() == 64 * MIB
  assert limits.parse("1500")() == 1500
  assert limits.parse("1500", "joules").describe() == "1500 J as given"
  assert limits.parse("2J", "joules")() == 2
  write(tmp_path / "budget", "3MiB")
  assert limits.parse("budget").describe() == "3 MiB by file budget"
  write(tmp_path / "empty", "")
  assert limits.parse("empty")() == math.inf


@pytest.mark.parametrize("text", ["lots", "-5", "64Mi", "nan"])
def test_flags_that_state_no_limit(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=f"'{text}' is no limit of bytes, and"):
    limits.parse(text)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(limits.available) == {"share": 0.5, "period": 0.5}
  assert signatures.defaults(limits.cgroup) == {
    "share": 1.0,
    "root": "/sys/fs/cgroup",
    "membership": "/proc/self/cgroup",
    "period": 0.5,
  }


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_limit_that_cannot_be_read_stays_as_it_was(
  error, tmp_path, monkeypatch
):
  path, told = tmp_path / "limit", []
  path.write_text("1000\n")
  limit = limits._File(path, 5, "bytes")
  assert limit() == 1000

  def fail():
    raise error("no such thing")

  monkeypatch.setattr(limit, "_look", fail)
  monkeypatch.setattr(limit, "_tell", told.append)
  assert limit() == 1000 and told == ["states no limit: no such thing"]


def test_groups_that_tell_nothing_of_their_memory(tmp_path):
  def left():
    return limits._left(tmp_path, "memory.max", "memory.current", "inactive")

  assert left() == math.inf  # no such files
  (tmp_path / "memory.max").write_text("max\n")
  assert left() == math.inf
  (tmp_path / "memory.max").write_text("much\n")
  assert left() == math.inf
  (tmp_path / "memory.max").write_text("1000\n")
  (tmp_path / "memory.current").write_text("300\n")
  assert left() == 700  # no word of what could be given back
  for text, idle in (
    ("inactive 40\n", 40),
    ("other 40\n", 0),
    ("inactive 40 50\n", 0),
    ("inactive few\n", 0),
  ):
    (tmp_path / "memory.stat").write_text(text)
    assert left() == 700 + idle


def test_a_number_is_stated_in_64_characters(tmp_path, warnings):
  path = tmp_path / "budget.txt"
  write(path, "0" * 62 + "5\n")
  assert limits.file(path, 1)() == 5 and not warnings
  write(path, "0" * 63 + "5\n")
  assert limits.file(path, 1)() == 1 and "may go on" in warnings[0]


@pytest.mark.parametrize("later, seen", [(0, 2 * MIB), (1, MIB)])
def test_a_file_is_settled_after_two_seconds(
  later, seen, tmp_path, monkeypatch
):
  path = tmp_path / "budget.txt"
  write(path, "1MiB")
  about = os.stat(path)
  now = about.st_mtime_ns + 2_000_000_000 + later
  monkeypatch.setattr(limits.time, "time_ns", lambda: now)
  limit = limits.file(path, 1)
  assert limit() == MIB
  path.write_text("2MiB")
  os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
  assert limit() == seen


def test_numbers_of_the_first_version_that_are_no_limit(groups):
  root, limit = groups
  lines = ["4:memory:/"]
  group(root / "memory", 1, 2**62, 0)
  assert limit(0, lines)() == math.inf
  group(root / "memory", 1, 2**62 - 2**10, 0)
  assert limit(0, lines)() == 2**62 - 2**10


def test_a_group_s_name_may_hold_a_colon(groups):
  root, limit = groups
  group(root / "a:b", 2, 1000, 400)
  assert limit(0, ["0::/a:b"])() == 600


def test_a_flag_s_number_may_have_a_fraction():
  assert limits.parse("1500.5")() == 1500.5
  assert limits.parse("0.5J", "joules")() == 0.5


def test_a_flag_may_state_no_limit_in_words():
  assert limits.parse("inf")() == limits.parse("inf", "joules")() == math.inf
  with pytest.raises(ValueError, match="a limit of nan: write a number"):
    limits.parse("nan", "joules")


def test_a_prefix_of_joules_is_no_energy():
  with pytest.raises(ValueError, match="'5kJ' is no energy: write a number"):
    limits.parse("5kJ", "joules")
