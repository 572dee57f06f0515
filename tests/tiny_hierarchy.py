"""Examples that show their number, tiers of them, and reading at once."""

from concurrent import futures
import contextlib
import types

from matplotlib import figure
import numpy as np

from jcl import base
from jcl.replay.store import store
from jcl.replay.tiers import archive as archive_lib
from jcl.replay.tiers import reader, tiers

NAMES = ("cat", "dog", "eel", "fly")


def data(labels, first=0, names=NAMES) -> base.Dataset:
  """Examples whose pixels are their number, counted from `first`."""
  numbers = first + np.arange(len(labels), dtype="<i4")
  x = np.repeat(numbers.view(np.uint8).reshape(-1, 4), 2, axis=0)
  labels = np.asarray(labels, np.int32)
  return base.Dataset("numbered", x.reshape(-1, 2, 4), labels, tuple(names))


def numbers(x) -> np.ndarray:
  """Returns the number that each example shows, twice."""
  x = np.ascontiguousarray(x)
  assert (x[:, 0] == x[:, 1]).all()
  return x[:, 0].copy().view("<i4")[:, 0]


def example(extras=None) -> base.Batch:
  one = np.zeros((), np.int32)
  return base.Batch(
    np.zeros((2, 4), np.uint8), one, one, one, np.float32(1), extras or {}
  )


@contextlib.contextmanager
def made(folder, hierarchy, **options):
  """Yields tiers over a store in the folder."""
  with store.Store.open(folder) as opened:
    archive = archive_lib.Archive(opened, "run", NAMES, example())
    found = tiers.Tiers(hierarchy, archive, **options)
    try:
      yield found
    finally:
      found.close()


def check(found, labels) -> None:
  """Checks that rows are the examples of their ids, and in memory once.

  Args:
    found: tiers of numbered examples; their numbers are their ids.
    labels: of all examples, by number.
  """
  for held in (found.em.rows, found.sb):
    rows = held.take(np.arange(held.count))
    assert (numbers(rows["x"]) == rows["id"]).all()
    assert (rows["y"] == np.asarray(labels)[rows["id"]]).all()
  ids = found.em.ids().tolist()
  assert found.em.slots == {i: slot for slot, i in enumerate(ids)}
  assert len(set(ids)) == len(ids)
  aside = {i for ids in found.archive.held_out.values() for i in ids.tolist()}
  assert not aside & {*ids, *found.sb.field("id").tolist()}


class Inline:
  """Does work when it is submitted."""

  def __init__(self, *_):
    pass

  def submit(self, function, *args):
    future = futures.Future()
    future.set_running_or_notify_cancel()
    try:
      future.set_result(function(*args))
    except BaseException as error:
      future.set_exception(error)
    return future

  def shutdown(self):
    pass


def read_at_once(monkeypatch) -> None:
  """Has a storage keep up, however busy the machine is."""
  named = types.SimpleNamespace(ThreadPoolExecutor=Inline, wait=futures.wait)
  monkeypatch.setattr(reader, "futures", named)


def draw_nothing(monkeypatch) -> None:
  """Leaves out the pictures of runs: no result, and a fifth of their time."""
  monkeypatch.setattr(figure.Figure, "savefig", lambda *_, **__: None)
