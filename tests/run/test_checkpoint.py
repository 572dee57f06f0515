import errno
import json
import math
import os
import types

import jax
import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base
from jcl.report import encoding, lines
from jcl.run import checkpoint, cursor, cursor_json, loop

NETWORK = tiny_network.build()


def state(selection=tiny_network.HEAD):
  """A state of every kind of leaf, with slots for a part of the network."""
  train = base.TrainState(
    np.int32(7),
    {"head": {"kernel": np.float32([[1.5, -0.0], [math.inf, math.nan]])}},
    {"first": {"calls": np.float32(3)}},
    ({"trace": np.arange(sum(selection.trainable), dtype=np.float32)}, ()),
  )
  items = tiny_network.batch(3)._replace(
    x=np.arange(12, dtype=np.uint8).reshape(3, 4)
  )
  replay = base.ReplayState(items, np.int32(3), {"ok": np.array([True, False])})
  return base.LearnerState(train, replay, {"none": np.zeros((0, 4))}, ())


def place():
  record = base.Record(
    0,
    (0, 1),
    base.Decision(2, reason="twice"),
    (2, 6),
    (36, 148),
    5,
    30,
    0.25,
    0.5,
    (1.0, math.nan),
    (1.0, 0.5),
    (1.0, math.nan, 0.0, 1.0),
    {"examples": 3, "bytes": 99, "per_class": [1, 2, 0, 0]},
    {"train": base.Cost(1.0, 2.0, math.nan, 4.0)},
    1000,
  )
  return loop.Cursor(
    experience=1,
    begun=True,
    epoch=1,
    batch=4,
    step=9,
    evaluated=8,
    trainee={"selection": list(tiny_network.HEAD.trainable)},
    feed={"index": 1},
    decision=base.Decision(
      base.Allocation(3, 0.5, em=7),
      base.Cost(1.5, math.inf, 1e12, math.inf),
      "half",
    ),
    decisions=[{"kind": "fixed", "em": 7}],
    control={"phase": "probe"},
    totals=cursor.Totals(4, 24.0, 1.25, 3.0, 6.0),
    spent=base.Cost(0.5, 1.0, 1e9, 1e8),
    initial=((0.25, 0.0), (0.5, 0.5)),
    records=[record],
  )


def template(where):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
    state(base.Selection(tuple(where.trainee["selection"]))),
  )


def save(folder, *steps, **options):
  checkpoints = checkpoint.Checkpoints(folder, **options)
  for step in steps:
    where = place()
    where.step = step
    checkpoints.save(
      checkpoint.Snapshot(state(), where, {"n": step}, {"every": 3})
    )
    checkpoints.wait()
  checkpoints.close()


@pytest.fixture
def restore(tmp_path):
  def read(template_fn=template):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    try:
      return checkpoints.restore(template_fn)
    finally:
      checkpoints.close()

  return read


def test_a_place_survives_json_with_infinities_and_nan():
  for original in (place(), loop.Cursor(control=None)):
    text = json.dumps(cursor_json.to_json(original))
    again = cursor_json.from_json(json.loads(text))
    assert repr(again) == repr(original)  # equal, NaN included


def test_all_bits_come_back(tmp_path, restore):
  save(tmp_path, 9)
  snapshot = restore()
  assert tiny_network.same_bits(snapshot.state, state())
  assert jax.tree.structure(snapshot.state) == jax.tree.structure(state())
  dtypes = [leaf.dtype for leaf in jax.tree.leaves(snapshot.state)]
  assert dtypes == [leaf.dtype for leaf in jax.tree.leaves(state())]
  assert repr(snapshot.place) == repr(place())
  assert snapshot.ledger == {"n": 9} and snapshot.curve == {"every": 3}


def test_an_empty_folder_holds_none(restore):
  assert restore() is None


def test_the_last_ones_are_kept_and_none_is_half_written(tmp_path, restore):
  save(tmp_path, 1, 2, 3)
  (tmp_path / "9.orbax-checkpoint-tmp").mkdir()
  assert restore().place.step == 3
  assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_two_are_kept_even_where_one_is_asked_for(tmp_path):
  """The last may be damaged: then the one before is what a run goes on from."""
  save(tmp_path, 1, 2, 3, keep=1)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def newest(folder):
  return folder / max(path.name for path in folder.iterdir())


def files(folder, part):
  found = [p for p in sorted((folder / part).rglob("*")) if p.is_file()]
  return sorted(found, key=lambda path: path.stat().st_size)


def truncate(folder):
  path = files(folder, "arrays")[-1]
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(folder):
  for path in files(folder, "arrays/d"):
    data = bytearray(path.read_bytes())
    for i in range(0, len(data), 16):
      data[i] ^= 0x40
    path.write_bytes(bytes(data))


def delete_arrays(folder):
  for path in files(folder, "arrays"):
    path.unlink()


def delete_host(folder):
  for path in files(folder, "host"):
    path.unlink()


def cut_host(folder):
  path = files(folder, "host")[-1]
  path.write_text(path.read_text()[:100])


@pytest.mark.parametrize(
  "damage", [truncate, flip, delete_arrays, delete_host, cut_host]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
  damage, tmp_path, restore, caplog
):
  save(tmp_path, 1, 2)
  damage(newest(tmp_path))
  snapshot = restore()
  assert snapshot.place.step == 1
  assert tiny_network.same_bits(snapshot.state, state())
  assert "damaged" in caplog.text and "the one before" in caplog.text
  assert restore().place.step == 1  # it was put out of the way
  save(tmp_path, 5)
  assert restore().place.step == 5


def test_where_all_are_damaged_there_is_none(tmp_path, restore, caplog):
  save(tmp_path, 1, 2)
  for folder in list(tmp_path.iterdir()):
    truncate(folder)
  assert restore() is None
  assert caplog.text.count("is damaged") == 2


def test_a_changed_number_is_noticed(tmp_path, restore, caplog):
  """Values that read well but are not those that were saved."""
  save(tmp_path, 1, 2)
  path = newest(tmp_path) / "host" / "metadata"
  host = json.loads(path.read_text())
  host["arrays"][1]["crc32"] ^= 1
  path.write_text(json.dumps(host))
  assert restore().place.step == 1
  assert "checksum of .train.params" in caplog.text


def test_another_models_arrays_are_listed(tmp_path, restore):
  save(tmp_path, 1)

  def other(where):
    found = template(where)
    wide = {"head": {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32)}}
    return found._replace(train=found.train._replace(params=wide))

  with pytest.raises(checkpoint.CheckpointError) as caught:
    restore(other)
  message = str(caught.value)
  assert "(2, 2)" in message and "(2, 3)" in message
  assert "['head']['kernel']" in message and "new work directory" in message
  assert restore().place.step == 1  # it is still there


def test_a_trainee_that_is_none_costs_one_checkpoint(tmp_path, restore):
  save(tmp_path, 1, 2)

  def first_only(where):
    if where.step == 2:
      raise ValueError("not the trainee of a run")
    return template(where)

  assert restore(first_only).place.step == 1
  assert newest(tmp_path).name == "1"


@pytest.mark.parametrize("other", [2, 99])
def test_another_format_is_refused_and_left_alone(
  tmp_path, restore, monkeypatch, other
):
  monkeypatch.setattr(checkpoint, "_FORMAT", other)
  save(tmp_path, 1)
  monkeypatch.undo()
  with pytest.raises(
    checkpoint.CheckpointError, match=f"1 has format {other}, .* reads 3: go on"
  ):
    restore()
  assert newest(tmp_path).name == "1"


@pytest.mark.parametrize(
  ("error", "number"),
  [
    (PermissionError(errno.EACCES, "denied"), errno.EACCES),
    (ValueError("RESOURCE_EXHAUSTED: Out of memory: 9 GiB"), errno.ENOMEM),
    (ValueError("open: Too many open files"), errno.EMFILE),
  ],
)
def test_what_cannot_be_read_now_is_left_alone(
  tmp_path, monkeypatch, error, number
):
  save(tmp_path, 1, 2)
  saved = checkpoint.Checkpoints(tmp_path)

  def refuse(*args, **kwargs):
    raise error

  monkeypatch.setattr(saved, "_read", refuse)
  with pytest.raises(
    checkpoint.CheckpointError, match="2 cannot be read"
  ) as at:
    saved.restore(template)
  assert f"({os.strerror(number)}): nothing was changed" in str(at.value)
  assert sorted(saved._manager.all_steps()) == [1, 2]
  saved.close()


def test_records_that_cannot_be_read_cost_no_checkpoint(tmp_path):
  records = lines.Lines(tmp_path / "records.jsonl")
  saved = checkpoint.Checkpoints(tmp_path / "c", records=records)
  records.append({"a": 1})
  saved.save(checkpoint.Snapshot(state(), place(), {}, {}))
  saved.wait()
  records.path.unlink()
  records.path.mkdir()
  with pytest.raises(checkpoint.CheckpointError, match="records.jsonl cannot"):
    saved.restore(template)
  assert list(saved._manager.all_steps()) == [1]
  saved.close()


def test_checkpoints_fall_due(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path, every_seconds=0.0)
  assert checkpoints.due()
  checkpoints.close()
  checkpoints = checkpoint.Checkpoints(tmp_path, every_seconds=1000.0)
  assert not checkpoints.due()
  checkpoints.close()


@pytest.mark.parametrize("call", ["save", "wait_until_finished"])
@pytest.mark.parametrize(
  ("told", "number"),
  [
    ("No space [os_error_code='28']", errno.ENOSPC),
    (os.strerror(errno.EDQUOT), errno.EDQUOT),
    ("Out of memory while trying to allocate 9 bytes", errno.ENOMEM),
  ],
)
def test_a_writer_without_room_is_an_os_error(
  call, told, number, tmp_path, monkeypatch
):
  """As TensorStore words it, from a thread of its own."""
  checkpoints = checkpoint.Checkpoints(tmp_path)

  def fail(*args, **kwargs):
    raise ValueError(f"RESOURCE_EXHAUSTED: {told}")

  with monkeypatch.context() as patch:
    patch.setattr(checkpoints._manager, call, fail)
    with pytest.raises(OSError) as caught:
      checkpoints.save(checkpoint.Snapshot(state(), place(), {}, {}))
      checkpoints.wait()
  assert caught.value.errno == number
  checkpoints.close()


@pytest.mark.parametrize(("seconds", "due"), [(59.5, False), (60.0, True)])
def test_a_checkpoint_is_due_a_minute_after_the_last(
  tmp_path, monkeypatch, seconds, due
):
  clock = [100.0]
  monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
  kept = checkpoint.Checkpoints(tmp_path)
  clock[0] += seconds
  assert kept.due() is due
  kept.close()


@pytest.mark.parametrize(("count", "more"), [(5, ""), (7, "; and 2 more")])
def test_a_few_of_the_arrays_that_differ_are_named(count, more):
  template = {f"w{i}": np.zeros(2, np.float32) for i in range(count + 1)}
  found = [
    {"path": f"['w{i}']", "shape": [3], "dtype": "float32"}
    for i in range(count)
  ]
  same = {"path": f"['w{count}']", "shape": [2], "dtype": "float32"}
  with pytest.raises(checkpoint.CheckpointError) as told:
    checkpoint._assemble(template, [], [*found, same])
  text = str(told.value)
  assert text.count("saved ((3,), 'float32')") == 5
  assert f"w{count}" not in text and text.endswith(
    f"this run has ((2,), 'float32'){more}"
  )


@pytest.mark.parametrize(
  "changes",
  [{"totals": None}, {"spent": {"secs": 1}}, {"records": 3}, {"feed": [1]}],
)
def test_a_place_that_is_none_is_refused(changes):
  fields = cursor_json.to_json(place())
  with pytest.raises(
    ValueError, match="not the cursor of a run|not the record"
  ):
    cursor_json.from_json({**fields, **changes})
  del fields["records"]
  with pytest.raises(ValueError, match="not the cursor of a run"):
    cursor_json.from_json(fields)


def test_a_save_pays_two_seconds_or_twenty_times_its_length_later(
  tmp_path, monkeypatch
):
  clock = [100.0]
  monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
  kept = checkpoint.Checkpoints(tmp_path, every_seconds=30.0)
  for took, waits in ((0.0, 2.0), (0.0625, 2.0), (0.5, 10.0), (5.0, 30.0)):

    def takes(snapshot, took=took):
      clock[0] += took

    monkeypatch.setattr(kept, "_save", takes)
    kept.save(None)
    clock[0] += waits - 0.125
    assert not kept.pays(), took
    clock[0] += 0.125
    assert kept.pays(), took
  kept.close()


def test_a_new_run_pays_for_its_first_save(tmp_path, monkeypatch):
  clock = [100.0]
  monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
  kept = checkpoint.Checkpoints(tmp_path)
  clock[0] += 2.0
  assert kept.pays()
  kept.close()


def raised(error, cause=None, context=None):
  error.__cause__, error.__context__ = cause, context
  return error


def test_the_systems_number_is_found_behind_other_errors():
  number = checkpoint._error_number
  denied = PermissionError(errno.EACCES, "denied")
  assert number(None) is None and number(KeyError("a")) is None
  assert number(OSError("told nothing")) is None
  assert number(denied) == errno.EACCES
  assert number(raised(KeyError("a"), cause=denied)) == errno.EACCES
  assert number(raised(KeyError("a"), context=denied)) == errno.EACCES
  full = OSError(errno.ENOSPC, "full")
  both = raised(KeyError("a"), cause=full, context=denied)
  assert number(both) == errno.ENOSPC
  assert number(KeyError("os_error_code='122'")) == 122
  assert number(KeyError("not RESOURCE_EXHAUSTED")) is None


def test_errors_that_name_no_system_stay_as_they_are():
  with pytest.raises(KeyError), checkpoint._as_os_error():
    raise KeyError("a")
  with pytest.raises(PermissionError), checkpoint._as_os_error():
    raise PermissionError(errno.EACCES, "denied")
  told = checkpoint._unread("it", OSError("told nothing"))
  assert str(told).startswith(f"it cannot be read ({os.strerror(errno.EIO)})")


@pytest.mark.parametrize(
  ("error", "told"),
  [
    (ValueError("one\ntwo\nthree"), "(one)"),
    (ValueError(), "(ValueError)"),
  ],
)
def test_a_line_says_what_is_damaged(error, told, caplog):
  deleted = []
  kept = types.SimpleNamespace(
    _manager=types.SimpleNamespace(delete=deleted.append)
  )
  checkpoint.Checkpoints._set_aside(kept, 7, error)
  assert f"checkpoint 7 is damaged {told}: using the" in caplog.text
  assert "two" not in caplog.text and deleted == [7]


def test_checkpoints_need_the_records_they_refer_to(tmp_path, caplog):
  records = lines.Lines(tmp_path / "records.jsonl")
  saved = checkpoint.Checkpoints(tmp_path / "c", records=records)
  for step in (1, 2):
    where = place()
    where.step, where.records = step, []
    saved.save(checkpoint.Snapshot(state(), where, {}, {}))
    saved.wait()
    records.append(encoding.to_json(place().records[0]))
  assert saved.restore(template).place.step == 2
  records.path.write_text("")
  assert saved.restore(template).place.step == 1  # it needs no record
  assert "checkpoint 2 cannot be used: " in caplog.text
  saved.close()


def test_records_that_all_checkpoints_need(tmp_path):
  records = lines.Lines(tmp_path / "records.jsonl")
  saved = checkpoint.Checkpoints(tmp_path / "c", records=records)
  for step in (1, 2):
    records.append({"a": step})
    saved.save(checkpoint.Snapshot(state(), place(), {}, {}))
    saved.wait()
  records.path.write_text("")
  told = "holds 0 lines where 2 were written, and the .* need them: bring"
  with pytest.raises(checkpoint.CheckpointError, match=told):
    saved.restore(template)
  assert sorted(saved._manager.all_steps()) == [1, 2]
  saved.close()


def test_a_checkpoint_that_refers_to_records_is_read_without_them(tmp_path):
  kept = types.SimpleNamespace(_records=None)
  known = checkpoint.Checkpoints._known
  assert known(kept, {"records": {"count": 3}}) == []
  assert known(kept, {"records": [1]}) == [1]


def test_decisions_of_the_first_version_count_no_accounts():
  fields = cursor_json.to_json(place())
  for name in ("counts", "reserved"):
    del fields["decision"][name]
  again = cursor_json.from_json(json.loads(json.dumps(fields)))
  assert again.decision == place().decision
  assert again.decision.counts == ()
  assert again.decision.reserved == base.Cost()


def test_what_is_no_cursor_is_told_in_short():
  fields = cursor_json.to_json(place())
  with pytest.raises(ValueError) as told:
    cursor_json.from_json({**fields, "spent": {"a" * 300: 1}})
  assert len(str(told.value)) == len("not the cursor of a run ()") + 120


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(checkpoint.Checkpoints) == {
    "every_seconds": 60.0,
    "keep": 2,
  }
