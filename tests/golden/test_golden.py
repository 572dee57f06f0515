"""Results of runs do not change: they equal those that are kept.

On a machine whose kind and version of JAX are among the kept ones, results
are equal to the bit. Elsewhere their figures agree to five digits. To keep the
results of this machine too, or, with `--anew`, in place of all others after a
change that is meant to change results:

  python tests/golden/keep.py [--anew] [NAME ...]
"""

import digests
import kept
import pytest
import runs


def same(name, seed, parts):
  """Compares the parts of a result with those that are kept."""
  known = kept.load(name, seed)
  ours = known["digests"].get(digests.machine())
  if ours is not None:
    found = {part: digests.digest(tree) for part, tree in parts.items()}
    changed = [part for part in ours if ours[part] != found.get(part)]
    assert not changed, f"other bits than were kept: {', '.join(changed)}"
  found = {part: digests.figures(tree) for part, tree in parts.items()}
  assert not digests.differences(known["figures"], found)


@pytest.mark.parametrize("name", runs.RUNS)
def test_a_recipe_computes_what_it_did(name, tmp_path):
  compiled = {}
  for seed in runs.SEEDS:
    folder = tmp_path / f"seed_{seed}"
    same(name, seed, runs.learned(runs.RUNS[name], seed, folder, compiled))


@pytest.mark.parametrize("seed", runs.SEEDS)
@pytest.mark.parametrize("name", runs.SYSTEMS)
def test_a_system_serves_what_it_did(name, seed, tmp_path_factory):
  folder = tmp_path_factory.getbasetemp() / "serving" / name
  same(f"serve_{name}", seed, runs.served(name, seed, folder))
