import numpy as np
import pytest

from jcl.replay.store import __main__ as command
from jcl.replay.store import check, segments
from jcl.replay.store.store import Store


@pytest.fixture
def folder(tmp_path):
  with Store.open(tmp_path / "store", run="monday") as store:
    x = np.arange(60, dtype=np.uint8).reshape(6, 10)
    store.append(x, ["cat", "dog", "cat", "cat", "dog", "eel"])
    store.append(x[:1], ["cat"], run="tuesday")
  return tmp_path / "store"


def place_of(folder, record):
  with Store.open(folder, mode="r") as store:
    return int(store.contents.index.columns["offset"][record]) + 35


def flip(folder, at):
  with open(segments.path_of(folder, 0), "r+b") as file:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1]))


def test_it_lists_what_a_store_holds(folder, capsys):
  assert command.main([str(folder)]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("7 examples of 3 classes in 1 segments")
  monday, tuesday = lines.index("run monday:"), lines.index("run tuesday:")
  assert lines[monday + 1 : tuesday] == ["  cat: 3", "  dog: 2", "  eel: 1"]
  assert lines[tuesday + 1 :] == ["  cat: 1"]


def test_it_verifies_repairs_and_rebuilds(folder, capsys):
  assert command.main([str(folder), "--verify"]) == 0
  assert "7 examples are intact" in capsys.readouterr().out
  at = place_of(folder, 3)
  flip(folder, at)
  assert command.main([str(folder)]) == 0  # reads no examples
  capsys.readouterr()
  assert command.main([str(folder), "--verify"]) == 1
  out = capsys.readouterr().out
  assert "6 examples are intact" in out and "1 are damaged: 3" in out
  assert command.main([str(folder), "--repair", "--verify"]) == 1
  out = capsys.readouterr().out
  assert "the index was made anew" in out
  assert "note: 1 examples are lost" in out
  assert "  cat: 2" in out and "6 examples are intact" in out
  flip(folder, at)  # as it was
  assert command.main([str(folder), "--rebuild_index", "--verify"]) == 0
  assert "7 examples are intact" in capsys.readouterr().out


def test_repair_leaves_a_sound_store_as_it_is(folder, capsys):
  files = {path: path.read_bytes() for path in folder.glob("0*")}
  assert command.main([str(folder), "--repair"]) == 0
  assert "made anew" not in capsys.readouterr().out
  assert {path: path.read_bytes() for path in folder.glob("0*")} == files


def test_it_makes_no_store_of_another_folder(tmp_path, capsys):
  for options in ([], ["--verify"], ["--repair"], ["--rebuild_index"]):
    assert command.main([str(tmp_path), *options]) == 2
    assert "holds no store" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_what_is_whole_again_is_found_by_a_repair(folder, capsys):
  at = place_of(folder, 3)
  flip(folder, at)
  assert command.main([str(folder), "--repair"]) == 1
  assert command.main([str(folder)]) == 1  # one is lost
  capsys.readouterr()
  flip(folder, at)  # as it was
  assert command.main([str(folder), "--repair", "--verify"]) == 0
  out = capsys.readouterr().out
  assert "1 are not in the index though intact: 3" in out
  assert "the index was made anew" in out and "note:" not in out


@pytest.mark.parametrize("count, more", [(20, ""), (21, ", ...")])
def test_twenty_ids_are_shown(count, more, capsys):
  none = np.zeros(0, np.int64)
  command.tell(check.Report(5, 80, np.arange(count), none))
  shown = ", ".join(map(str, range(20)))
  assert capsys.readouterr().out.splitlines() == [
    "5 examples are intact, in 80 bytes read",
    f"{count} are damaged: {shown}{more}",
  ]
