"""A log against a model of plain lists: random operations, failures, reopening.

Volumes of 4 KiB and a small limit let examples leave all the time.
"""

import errno
import random

import log_crash
import log_model
import pytest

from jcl.living.log import journal, log
from jcl.living.log.log import Log, StoreFull
from jcl.replay.store import records, writer


class Disk:
  """Writes and syncs that fail now and then, in place of slow ones."""

  def __init__(self, monkeypatch, seed):
    self.rng, self.share = random.Random(seed), 0.0
    real = {writer: writer._write_all, journal: journal._write}

    def sync(_):
      self.fail()

    for module, name in ((writer, "_write_all"), (journal, "_write")):

      def write(fd, data, at, module=module):
        self.fail()
        real[module](fd, data, at)

      monkeypatch.setattr(module, name, write)
      monkeypatch.setattr(module, "_sync", sync)

  def fail(self):
    if self.rng.random() < self.share:
      raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("limit", [2**16, None])
def test_a_log_does_what_lists_do(tmp_path, monkeypatch, seed, limit):
  monkeypatch.setattr(log, "_JOURNAL_BYTES", 3000)
  disk, rng = Disk(monkeypatch, seed), random.Random(seed)
  model, refused, opened = log_model.Model(), 0, None
  for _ in range(100):
    if opened is None or rng.random() < 0.1:
      disk.share = 0.0
      if opened is not None:
        opened.close()
      opened = Log.open(tmp_path, limit_bytes=limit, volume_bytes=4096)
      assert not model.differs(opened)
      disk.share = 0.05
    op = log_crash.operation(rng, model, opened)
    if not log_crash.possible(model, op):
      continue
    try:
      log_crash.perform(opened, model, op)
    except StoreFull:
      op = ["drop", len(model.ended)]
      if log_crash.possible(model, ["end"]):
        op = ["end"]
      try:
        log_crash.perform(opened, model, op)
        model = model.then(op)
      except records.StoreError:
        refused += 1
    except records.StoreError:
      refused += 1
    else:
      model = model.then(op)
    if rng.random() < 0.2:
      assert not model.differs(opened)
  disk.share = 0.0
  opened.close()
  with Log.open(tmp_path, readonly=True) as reader:
    assert not model.differs(reader)
  assert refused > 2 and len(model.labels) > 500
