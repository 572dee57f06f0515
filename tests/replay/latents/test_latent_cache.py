"""The cache of latents: exact counts, budgets, and who pays."""

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from jcl import base
from jcl.cost import devices
from jcl.cost import ledger as ledger_lib
from jcl.networks import cut, mlp
from jcl.replay.latents import cache as cache_lib
from jcl.replay.latents import codecs
from jcl.replay.latents import trunk as trunk_lib
from jcl.train import augment

NETWORK = mlp.mlp((3,), 2, width=4, depth=1)
PARTS = cut.cut(NETWORK, "head")
PARAMS, STATS = jax.jit(NETWORK.init)(jax.random.key(0))
PREPROCESS = augment.Preprocess(np.float32(1), np.float32(2))
X = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
ROWS = 4


@pytest.fixture(scope="module")
def trunk():
  return make_trunk()


def make_trunk(rows=ROWS):
  return trunk_lib.Trunk(PARTS, PARAMS, STATS, PREPROCESS, X[0], rows)


def make_cache(trunk, budget=None, codec=None):
  return cache_lib.Cache(trunk, codec or codecs.Raw((4,)), budget)


def expected(rows):
  dense = jax.tree.map(np.asarray, PARAMS["dense_0"]["dense"])
  x = (X[rows] - 1) / 2
  return np.maximum(x @ dense["kernel"] + dense["bias"], 0)


def test_latents_are_those_of_normalised_inputs(trunk):
  view = make_cache(trunk).view(X)
  assert view.shape == (11, 4) and view.dtype == np.float32 and len(view) == 11
  for index in ([3, 0, 3], np.array([10]), slice(2, 9), -1, 5):
    rows = np.arange(11)[index]
    np.testing.assert_allclose(view[index], expected(rows), rtol=1e-5)
  np.testing.assert_allclose(np.asarray(view), expected(np.arange(11)), 1e-5)


def test_what_is_kept_comes_back_bit_for_bit(trunk):
  view = make_cache(trunk).view(X)
  first = view[[1, 5, 9]]
  again = view[[9, 2, 1, 5]]
  np.testing.assert_array_equal(again[[2, 3, 0]], first)


def test_hits_misses_and_operations(trunk):
  cache = make_cache(trunk)
  view, judge = cache.view(X), cache.view(X, held_out=True)
  flops = trunk.flops
  assert flops > 0
  view[[0, 1, 1, 2, 3, 4]]  # five rows: two batches
  assert cache.report().training == cache_lib.Counts(0, 5, 2 * flops, 0)
  view[[0, 1, 2, 3, 4, 5]]  # one of them is new
  assert cache.report().training == cache_lib.Counts(5, 6, 3 * flops, flops)
  judge[[0]]  # another data set
  report = cache.report()
  assert report.held_out == cache_lib.Counts(0, 1, flops, 0)
  assert (report.held, report.bytes_held) == (7, 7 * 16)
  assert report.budget_bytes is None and report.clipped == 0
  assert cache.row_flops == flops / 4


def test_latents_from_elsewhere_are_misses_once(trunk):
  cache = make_cache(trunk, 32)
  view, rows = cache.view(X), np.array([6, 3, 8])
  cache.take(view, rows, expected(rows))
  assert cache.report().training == cache_lib.Counts(0, 3, trunk.flops, 0)
  np.testing.assert_array_equal(view[[3, 6]], expected([3, 6]))
  counts = cache.report().training
  assert (counts.hits, counts.misses, counts.saved) == (2, 3, trunk.flops)
  assert cache.report().held == 2


def test_a_full_cache_keeps_what_came_first(trunk):
  cache = make_cache(trunk, "50B")  # three latents of 16 bytes
  view = cache.view(X)
  view[[7, 2]]
  view[[2, 9, 4, 8]]
  assert np.flatnonzero(view.slots >= 0).tolist() == [2, 4, 7]
  report = cache.report()
  assert (report.held, report.bytes_held, report.budget_bytes) == (3, 48, 50)
  np.testing.assert_allclose(view[[9, 7, 4]], expected([9, 7, 4]), rtol=1e-5)
  counts = cache.report().training
  assert (counts.hits, counts.misses) == (1 + 2, 2 + 3 + 1)


@pytest.mark.parametrize("budget", [0, "0B", 15])
def test_without_room_every_read_computes(trunk, budget):
  cache = make_cache(trunk, budget)
  view = cache.view(X)
  np.testing.assert_allclose(view[[1, 2]], expected([1, 2]), rtol=1e-5)
  view[[1, 2]]
  report = cache.report()
  assert report.held == report.bytes_held == report.training.hits == 0
  assert report.training.misses == 4 and report.training.saved == 0


@hypothesis.settings(max_examples=20)
@hypothesis.given(
  st.lists(st.lists(st.integers(0, 10), max_size=9), max_size=6),
  st.integers(0, 12),
)
def test_any_reads_within_any_budget(trunk, reads, room):
  cache = make_cache(trunk, 16 * room)
  view, seen, hits, misses = cache.view(X), [], 0, 0
  for rows in reads:
    index = np.array(rows, int)
    np.testing.assert_allclose(view[index], expected(index), 1e-5, 1e-6)
    hits += len(set(rows) & set(seen))
    absent = sorted(set(rows) - set(seen))
    misses += len(absent)
    seen += absent[: room - len(seen)]
  counts, report = cache.report().training, cache.report()
  assert (counts.hits, counts.misses) == (hits, misses)
  assert report.held == len(seen) <= room
  assert set(np.flatnonzero(view.slots >= 0)) == set(seen)


def test_rows_that_the_codec_did_not_foresee_are_counted(trunk):
  codec = codecs.fit("uint8", expected(np.arange(2)))
  cache = make_cache(trunk, codec=codec)
  view = cache.view(X)
  assert view[[0, 1]].dtype == np.uint8
  assert cache.report().clipped == 0
  view[np.arange(11)]
  assert cache.report().clipped == codec.clipped(expected(np.arange(2, 11))) > 0
  assert cache.report().table_bytes == 32


def test_the_run_pays_from_the_beginning_on():
  trunk = make_trunk()
  cache = make_cache(trunk)
  view, judge = cache.view(X), cache.view(X, held_out=True)
  view[[0]]
  device = devices.Device("cpu", "box", 1, 1, 1.0, 5.0, "modelled: by hand")
  ledger = ledger_lib.Ledger(device)
  cache.charge_to(ledger)
  view[np.arange(5)]
  judge[[3]]
  totals = ledger.totals()
  assert totals["data"].flops == 2 * trunk.flops
  assert totals["evaluate"].flops == trunk.flops
  assert totals["data"].bytes > 0
  assert totals["compile"].seconds > 0
  compiling = totals["compile"]
  assert compiling.joules == pytest.approx(5 * compiling.seconds)


def test_a_dataset_of_codes(trunk):
  data = base.Dataset("few", X, np.arange(11, dtype=np.int32), ("a",) * 11)
  coded = cache_lib.coded(make_cache(trunk), data)
  assert coded.scale == 1 and len(coded) == 11 and coded.y is data.y
  np.testing.assert_allclose(coded.x[[2]], expected([2]), rtol=1e-5)


@pytest.mark.parametrize("budget", [-1, "12", "lots"])
def test_budgets_that_are_none(trunk, budget):
  with pytest.raises(ValueError, match="64MB|number and one of B"):
    make_cache(trunk, budget)


def test_batches_of_nothing():
  with pytest.raises(ValueError, match="rows=0: a batch holds 1"):
    make_trunk(rows=0)
