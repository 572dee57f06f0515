"""Latents from disk or from the trunk: the same, and who pays for what."""

import jax
import numpy as np
import pytest

from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.networks import cut, mlp
from jcl.replay.latents import cache as cache_lib
from jcl.replay.latents import codecs
from jcl.replay.latents import disk as disk_lib
from jcl.replay.latents import source as source_lib
from jcl.replay.latents import trunk as trunk_lib
from jcl.train import augment

NETWORK = mlp.mlp((3,), 2, width=4, depth=1)
PARTS = cut.cut(NETWORK, "head")
PARAMS, STATS = jax.jit(NETWORK.init)(jax.random.key(0))
PREPROCESS = augment.Preprocess(np.float32(1), np.float32(2))
X = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
ROWS, STRIDE = 4, 32 + 16 + 16 + 8


def make_trunk():
  trunk = trunk_lib.Trunk(PARTS, PARAMS, STATS, PREPROCESS, X[0], ROWS)
  device = devices.Device("cpu", "box", 1, 1, 1.0, 5.0, "modelled: by hand")
  trunk.charge_to(ledger_lib.Ledger(device))
  return trunk


@pytest.fixture(scope="module")
def digest():
  return make_trunk().digest()


@pytest.fixture
def make(tmp_path, digest):
  """Makes source, trunk and disk as a process of its own would."""

  def made(budget=10**6):
    trunk = make_trunk()
    disk = disk_lib.Disk(tmp_path, digest, trunk.shape, budget)
    return source_lib.Source(trunk, disk), trunk, disk

  return made


def test_forwards_are_paid_once_and_reading_by_bytes(make):
  first, trunk, _ = make()
  alone = source_lib.Source(make_trunk()).latents("data", X)
  fresh = first.latents("data", X[:6])
  assert (fresh.on_disk, fresh.batches) == (0, 2)
  totals = trunk.ledger.totals()
  assert totals["data"].flops == 2 * trunk.flops > 0
  assert totals["write"].bytes == 6 * STRIDE and totals["write"].seconds > 0
  assert totals["compile"].seconds > 0
  mixed = first.latents("evaluate", X)
  assert (mixed.on_disk, mixed.batches) == (6, 2)
  assert trunk.ledger.totals()["evaluate"].flops == 2 * trunk.flops
  first.close()
  second, later, _ = make()
  read = second.latents("data", X[::-1])
  assert (read.on_disk, read.batches) == (11, 0)
  totals = later.ledger.totals()
  assert totals["data"].flops == totals["write"].bytes == 0
  assert totals["data"].bytes == 11 * STRIDE and totals["data"].seconds > 0
  assert totals["compile"].seconds == 0 and not later.compiled
  assert later.flops == trunk.flops  # as noted
  for z in (mixed.z, read.z[::-1]):
    np.testing.assert_array_equal(z, alone.z)
  assert source_lib.Source(trunk).report() is None


def test_a_cache_counts_rows_from_disk(make):
  source, trunk, disk = make()
  source.latents("data", X[:5])
  cache = cache_lib.Cache(trunk, codecs.Raw((4,)), 3 * 16, disk)
  view = cache.view(X)
  view[[0, 1, 2, 8, 9]]
  flops = trunk.flops
  assert cache.report().training == cache_lib.Counts(0, 2, flops, flops, 3)
  view[[0, 1, 2, 8, 9]]  # what memory has no room for comes from disk
  assert cache.report().training == cache_lib.Counts(3, 2, flops, 3 * flops, 5)
  report = cache.report()
  assert report.disk is not None and report.held == 3
  assert (report.disk.read_rows, report.disk.written_rows) == (5, 7)
  cache.close()
  view[[10]]
  assert cache.report().disk.written_rows == 8


def test_latents_to_fit_a_codec_may_come_from_disk(make):
  _, trunk, disk = make()
  cache = cache_lib.Cache(trunk, codecs.Raw((4,)), None, disk)
  view = cache.view(X)
  cache.take(view, np.arange(6), np.zeros((6, 4), np.float32), on_disk=3)
  flops = trunk.flops
  assert cache.report().training == cache_lib.Counts(0, 3, flops, flops, 3)


@pytest.mark.parametrize(("most", "sizes"), [(9, [8, 3]), (3, [4, 4, 3])])
def test_large_reads_go_piece_by_piece(make, monkeypatch, most, sizes):
  monkeypatch.setattr(cache_lib, "_ROWS", most)
  _, trunk, disk = make()
  cache = cache_lib.Cache(trunk, codecs.Raw((4,)), None, disk)
  seen = []

  class Inputs:
    def __len__(self):
      return len(X)

    def __getitem__(self, rows):
      seen.append(len(rows))
      return X[rows]

  found = np.asarray(cache.view(Inputs()))
  assert seen == sizes
  np.testing.assert_array_equal(
    found, source_lib.Source(trunk).latents("data", X).z
  )
  assert cache.report().training.operations == 3 * trunk.flops


def test_a_full_disk_changes_nothing_but_what_is_kept(make):
  source, trunk, disk = make(5000)
  whole = source.latents("data", X)
  assert whole.batches == 3 and disk.report().fault
  again = source.latents("data", X)
  np.testing.assert_array_equal(again.z, whole.z)
  assert again.on_disk + disk.report().left_out_rows / 2 == 11
