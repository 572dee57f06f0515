"""Runs in folders that become one model, and those that cannot."""

import numpy as np
import pytest
import tiny_network

import jcl
from jcl import recipes
from jcl.networks import catalogue
from jcl.run import session
from jcl.run.inference import merging
from jcl.streams import scenarios, sources

SOURCE = tiny_network.source(per_class=20)
X, Y = SOURCE.train.x, SOURCE.train.y


def learn(folder, rows, recipe="slda", **training):
  source = sources.arrays(X[rows], Y[rows], SOURCE.test.x, SOURCE.test.y)
  stream = scenarios.class_incremental(source, tasks=2, normalize="none")
  name, options = recipes.parse(recipe)
  return session.learn(
    stream,
    catalogue.build("mlp", (4,), 4, width=6, depth=1),
    recipes.build(recipe),
    workdir=folder,
    options=session.Options(progress=False),
    context={"recipe": {"name": name, "options": options}},
    **training,
  )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Three devices with a third of the examples each, and one with all."""
  made = tmp_path_factory.mktemp("runs")
  for number in range(3):
    learn(made / f"{number}", slice(number, None, 3))
  learn(made / "whole", slice(None))
  return made


def test_folders_merge_in_any_order_and_again(folder, tmp_path):
  parts = [merging.read(folder / str(i)) for i in range(3)]
  merging.write(merging.merge(parts[:2]), tmp_path / "two")
  assert {path.name for path in (tmp_path / "two").iterdir()} == {
    "merged.json",
    "model.npz",
    "statistics.npz",
  }
  both = merging.merge([parts[2], merging.read(tmp_path / "two")])
  merging.write(both, tmp_path / "three")
  assert len(both.folders) == 3
  found = jcl.load_model(tmp_path / "three")
  expected = jcl.load_model(folder / "whole")
  np.testing.assert_allclose(
    found.predict_scores(SOURCE.test.x),
    expected.predict_scores(SOURCE.test.x),
    rtol=1e-3,
    atol=1e-3,
  )
  whole = merging.read(folder / "whole").sums
  np.testing.assert_array_equal(both.sums.rows, whole.rows)


def test_a_run_does_not_count_twice(folder, tmp_path):
  part = merging.read(folder / "0")
  with pytest.raises(jcl.UsageError, match="would count twice"):
    merging.merge([part, part])
  merging.write(merging.merge([part]), tmp_path / "one")
  with pytest.raises(jcl.UsageError, match="would count twice"):
    merging.merge([merging.read(tmp_path / "one"), part])


@pytest.mark.parametrize(
  "recipe, told",
  [
    ("er:buffer=8", r"er \(buffer=8\), which keeps no sums"),
    ("slda:published=true", "keeps no sums over its examples"),
    ("ncm:decay=0.9", "sums depend on the order"),
  ],
)
def test_runs_that_do_not_add_up_say_why(recipe, told, tmp_path):
  training = {"epochs": 1} if recipe.startswith("er") else {}
  learn(tmp_path / "run", slice(None), recipe, **training)
  with pytest.raises(jcl.UsageError, match=told):
    merging.read(tmp_path / "run")


def test_other_recipes_and_folders_are_refused(folder, tmp_path):
  ridge = learn(tmp_path / "ridge", slice(None), "slda:shrink=0.1")
  assert ridge.summary["finished"]
  parts = [merging.read(folder / "0"), merging.read(tmp_path / "ridge")]
  with pytest.raises(jcl.UsageError, match=r"slda and slda \(shrink=0.1\)"):
    merging.merge(parts)
  with pytest.raises(jcl.UsageError, match="no records.jsonl"):
    merging.read(tmp_path)
  merging.write(merging.merge(parts[:1]), tmp_path / "cut")
  whole = (tmp_path / "cut" / merging.NAME).read_bytes()
  (tmp_path / "cut" / merging.NAME).write_bytes(whole[: len(whole) // 2])
  with pytest.raises(jcl.UsageError, match="merge the runs again"):
    merging.read(tmp_path / "cut")
