"""Laws of what to expect: fitted, left out, and read."""

import math
from pathlib import Path
import tomllib

from hypothesis import given
from hypothesis import strategies as st
import pytest

import jcl
from jcl.control import prior

PACKAGE = Path(jcl.__file__).parent

# Level and slope of each data set; sizes e^0, e^1 and e^2.
LEVELS = {"a": 1.0, "b": 2.0, "c": 6.0}


def results(slope=0.5, levels=LEVELS):
  return [
    prior.Result(name, math.exp(size), level + slope * size)
    for name, level in levels.items()
    for size in (0, 1, 2)
  ]


def test_a_law_has_the_slope_within_data_and_the_mean_level():
  law = prior.fit(results(), quantile=2.0)
  assert law.slope == pytest.approx(0.5) and law.level == pytest.approx(3.0)
  # Means of the two others are off by 3, 1.5 and 4.5.
  assert law.width == pytest.approx(2 * math.sqrt((9 + 2.25 + 20.25) / 3))
  assert (law.least, law.most) == (1.0, pytest.approx(math.exp(2)))
  assert law.data == ("a", "b", "c") and law.cells == 9


def test_a_data_set_that_is_left_out_has_no_part_in_what_is_expected():
  found = prior.left_out(results())
  other = prior.left_out(results(levels={**LEVELS, "a": -7.0}))
  assert [each.data for each in found] == ["a", "b", "c"]
  assert [each.expected - 0.5 for each in found] == pytest.approx([4, 3.5, 1.5])
  assert found[0].expected == other[0].expected
  assert found[0].value == pytest.approx(1.5) and found[0].cells == 3
  assert other[0].value == pytest.approx(-6.5)


def test_data_sets_of_one_size_move_the_level_alone():
  more = [*results(), prior.Result("d", math.e, 11.5)]
  law = prior.fit(more, quantile=1.0)
  assert law.slope == pytest.approx(0.5)
  assert law.level == pytest.approx((1 + 2 + 6 + 11) / 4)


def test_more_is_never_expected_to_harm():
  assert prior.fit(results(slope=-0.5), quantile=1.0).slope == 0


def test_two_data_sets_give_no_range():
  few = [each for each in results() if each.data != "c"]
  with pytest.raises(ValueError, match="fewer than three data sets"):
    prior.fit(few, quantile=1.0)


@given(st.floats(0.01, 0.99), st.integers(2, 200))
def test_accuracy_is_the_inverse_of_logit(above, classes):
  share = 1 / classes + (1 - 1 / classes) * above
  value = prior.logit(share, classes)
  assert prior.accuracy(value, classes) == pytest.approx(share)


def test_accuracies_at_chance_and_of_one_are_finite():
  least, most = prior.logit(0.0, 4), prior.logit(1.0, 4)
  assert least == prior.logit(0.25, 4) == pytest.approx(-most)
  assert 5 < most < 6


def test_what_is_expected_is_a_range_that_ends_where_studies_end():
  law = prior.fit(results(), quantile=1.0)
  inside = prior.expected(law, math.e, classes=2)
  assert inside.least < inside.mean < inside.most
  assert inside.mean == pytest.approx(prior.accuracy(3.5, 2))
  assert inside.most == pytest.approx(prior.accuracy(3.5 + law.width, 2))
  assert prior.expected(law, 1e-9, 2) == prior.expected(law, 1.0, 2)
  assert prior.expected(law, 1e9, 2) == prior.expected(law, law.most, 2)


def test_the_package_has_a_law_of_every_way():
  laws = prior.laws()
  assert laws.keys() == prior.WAYS.keys()
  for law in laws.values():
    assert law.width > 0 and law.slope >= 0 and 0 < law.least < law.most
    assert len(law.data) >= 3 and law.cells >= len(law.data)


def test_files_beside_the_code_are_in_the_wheel():
  text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
  patterns = tomllib.loads(text)["tool"]["setuptools"]["package-data"]["jcl"]
  listed = {path for each in patterns for path in PACKAGE.glob(each)}
  files = {path for path in PACKAGE.rglob("*") if path.is_file()}
  made = {path for path in files if "__pycache__" in path.parts}
  beside = {path for path in files - made if path.suffix != ".py"}
  assert beside and beside == listed
