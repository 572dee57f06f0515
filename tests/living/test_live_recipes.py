"""Which recipes a live stream can feed, as the documents say."""

from pathlib import Path
import re

import living_data
import numpy as np
import pytest

from jcl import recipes
from jcl.living import opening
from jcl.options.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs/concepts/live.md"
REFUSED = {"pnn"}


def table():
  rows = re.findall(
    r"^\| ([a-z_, ]+) \| (works|refused)", PAGE.read_text("utf-8"), re.M
  )
  return {name: says for names, says in rows for name in names.split(", ")}


def test_the_table_names_every_recipe_once():
  assert table().keys() == set(recipes.__all__)
  assert {n for n, says in table().items() if says == "refused"} == REFUSED


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_ones_say_what_to_use_instead(name):
  with pytest.raises(UsageError, match="use er_ace or derpp"):
    opening.live(None, recipe=name)


def test_joint_keeps_what_it_has_learned_from(tmp_path):
  with opening.live(
    tmp_path / "device",
    recipe="joint",
    network="mlp:width=12",
    store=2**16,
    batch_size=8,
  ) as learner:
    x, y = living_data.examples()
    ids = learner.observe(x, y)
    learner.learn()
    learner.observe(x, y)
    learner.learn()
    assert np.array_equal(learner.arrivals.read(ids), x)


def test_training_is_checked_by_name():
  with pytest.raises(UsageError, match="jcl.live has no option 'epoch'"):
    opening.live(None, epoch=3)
  with pytest.raises(UsageError, match="options=jcl.Options"):
    opening.live(None, augment="flip")
