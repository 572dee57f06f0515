"""Runs that keep a frozen trunk's outputs on disk, for runs to come."""

import os

import jax
import numpy as np
import pytest
import tiny_network

from jcl import base, recipes
from jcl.networks import catalogue, mlp, pretrained
from jcl.options.errors import UsageError
from jcl.replay.latents import cache as cache_lib
from jcl.run import evaluation, session
from jcl.streams import scenarios, sources

FRESH = mlp.mlp((4,), 4, width=6, depth=1)
NETWORK = pretrained.with_weights(FRESH, *FRESH.init(jax.random.key(1)))
STREAM = tiny_network.stream(tasks=2)
EXAMPLES, TESTS = 48, 20
REPLAY = "er:buffer=8,minibatch=4+freeze:until=1"


def learn(recipe, folder, cache="disk", network=NETWORK, workdir=None, **more):
  options = session.Options(
    progress=False, trunk_cache=cache, cache_dir=str(folder)
  )
  return session.learn(
    STREAM,
    network,
    recipes.build(recipe),
    options=options,
    workdir=workdir,
    **more,
  )


def counts(result):
  told = result.summary["trunk_cache"]
  return {
    name: told["training"][name] + told["held_out"][name]
    for name in ("misses", "on_disk", "operations", "saved")
  }


@pytest.fixture(scope="module")
def first(tmp_path_factory):
  """A folder, and the run that filled it."""
  folder = tmp_path_factory.mktemp("cache")
  return folder, learn("slda", folder)


def test_the_first_run_computes_and_keeps(first):
  _, result = first
  found = counts(result)
  assert (found["misses"], found["on_disk"]) == (EXAMPLES + TESTS, 0)
  assert result.summary["trunk_cache"]["disk"]["written_rows"] == 68
  costs = result.summary["costs"]
  assert costs["data"]["flops"] + costs["evaluate"]["flops"] > 0
  assert costs["write"]["bytes"] >= 68 * 6 * 4


def test_the_second_run_reads_and_ends_with_the_same_bits(first):
  folder, result = first
  again, plain = learn("slda", folder), learn("slda", folder, "raw")
  for other in (again, plain):
    assert tiny_network.same_bits(result.state, other.state)
    for one, two in zip(result.records, other.records, strict=True):
      assert one.accuracy == two.accuracy
  found = counts(again)
  assert (found["misses"], found["on_disk"]) == (0, EXAMPLES + TESTS)
  assert found["operations"] == 0 and found["saved"] > 0
  costs = again.summary["costs"]
  assert costs["data"]["flops"] == 0 == costs["write"]["bytes"]
  assert costs["data"]["bytes"] >= EXAMPLES * 6 * 4
  told = plain.summary["trunk_cache"]
  assert told["disk"] is None and told["training"]["on_disk"] == 0


@pytest.mark.parametrize("recipe, more", [("ncm", {"seed": 5}), (REPLAY, {})])
def test_other_seeds_and_recipes_find_it(first, recipe, more):
  folder, _ = first
  found = counts(learn(recipe, folder, **more))
  assert (found["misses"], found["on_disk"]) == (0, EXAMPLES + TESTS)


def test_codes_are_made_of_what_lies_on_disk(tmp_path):
  learn(REPLAY, tmp_path)  # in batches of its own size, which rounding goes by
  result = learn(REPLAY, tmp_path, "disk:uint8")
  assert (counts(result)["misses"], counts(result)["on_disk"]) == (0, 68)
  plain = learn(REPLAY, tmp_path, "uint8")
  assert tiny_network.same_bits(result.state, plain.state)
  assert counts(plain)["misses"] == 68


@pytest.mark.parametrize("recipe", ["slda", REPLAY])
def test_a_killed_run_goes_on_to_the_same_bits(
  recipe, first, tmp_path, monkeypatch
):
  _, whole = first
  if recipe != "slda":
    whole = learn(recipe, tmp_path / "other")
  record = evaluation.record

  def killed(job, state, at, scope):
    if at.experience == 1:
      raise KeyboardInterrupt
    return record(job, state, at, scope)

  with monkeypatch.context() as patched:
    patched.setattr(evaluation, "record", killed)
    patched.setattr(cache_lib.Cache, "close", lambda cache: None)
    with pytest.raises(KeyboardInterrupt):
      learn(recipe, tmp_path, workdir=tmp_path / "run")
  (segment,) = tmp_path.glob("trunks/*/*/*.segment")
  os.truncate(segment, segment.stat().st_size - 11)
  again = learn(recipe, tmp_path, workdir=tmp_path / "run")
  assert tiny_network.same_bits(whole.state, again.state)
  assert [r.accuracy for r in whole.records] == [
    r.accuracy for r in again.records
  ]
  assert counts(again)["on_disk"] > 0


def test_a_trunk_that_was_never_trained_serves_if_it_stays(tmp_path):
  one = learn("slda", tmp_path, network=FRESH)
  again = learn("slda", tmp_path, network=FRESH)
  assert tiny_network.same_bits(one.state, again.state)
  assert counts(again)["misses"] == 0


def refused(recipe, network=NETWORK, **options):
  given = {"trunk_cache": "disk", "cache_dir": "unused", **options}
  with pytest.raises(UsageError) as caught:
    session.assemble(
      STREAM,
      network,
      recipes.build(recipe),
      base.Training(),
      options=session.Options(**given),
    )
  return str(caught.value)


def test_what_cannot_be_kept_is_told():
  assert "augment='crop' shows" in refused("slda", augment="crop")
  assert "it has no frozen trunk" in refused("er")
  assert "it has no learned weights" in refused(
    "lightcl:anchors=8", network=catalogue.build("mlp", (4,), 4, width=6)
  )
  assert "it has no learned weights" in refused(
    "joint+freeze:until=1", network=FRESH
  )
  assert "name it, cache_dir=DIR" in refused("slda", cache_dir=None)
  assert "hold no output of the trunk" in refused("slda", trunk_disk_bytes=50)
  assert "no codec is called 'zip'" in refused("slda", trunk_cache="disk:zip")


def test_statistics_that_move_are_refused():
  network = catalogue.build("conv1d", (8, 2), 4, width=4, depth=1)
  x = np.zeros((40, 8, 2), np.float32)
  source = sources.arrays(x, np.arange(40) % 4, x[:8], np.arange(8) % 4)
  with pytest.raises(UsageError, match="norms=moving moves .*'conv_0'"):
    session.assemble(
      scenarios.class_incremental(source, tasks=2, normalize="none"),
      network,
      recipes.build("er+freeze:until=1,norms=moving"),
      base.Training(),
      options=session.Options(trunk_cache="raw"),
    )
