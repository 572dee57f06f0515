"""What errors say, and which of them are the user's."""

import pickle

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

import jcl
from jcl import base, recipes
from jcl.control import swap
from jcl.control.drift import systems, times
from jcl.networks import catalogue
from jcl.options import errors
from jcl.replay import sampling
from jcl.selection import elastic, mask
from jcl.serving import books
from jcl.streams import manifest


@pytest.mark.parametrize(
  "value, text",
  [
    (3, "3"),
    ("a b", "'a b'"),
    (np.int64(7), "7"),
    (np.str_("x"), "'x'"),
    (np.float64("nan"), "nan"),
    ("two\nlines", "'two\\nlines'"),
    (np.array([1, 2]), "array([1, 2])"),
  ],
)
def test_short_values_are_written_out(value, text):
  assert errors.short(value) == text


def test_the_middle_of_a_long_value_is_left_out():
  assert errors.short("abcdefghijkl", 9) == "'ab...kl'"
  assert errors.short(10**50, 9) == "100...000"


def test_the_first_and_the_last_of_many():
  assert errors.some([]) == "none"
  assert errors.some(["a", 2]) == "'a', 2"
  assert errors.some(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
  assert errors.some(range(100), 3) == "0, 1, ..., 99 (100 in all)"


def test_names_are_written_as_they_are():
  assert errors.names([]) == "none"
  assert errors.names(["a b", "c"]) == "a b, c"
  assert errors.names("abcd", 3) == "a, b, ..., d (4 in all)"
  assert errors.names(["x" * 99]) == "x" * 40 + "..."


def test_numbers_too_long_for_python_are_named():
  assert errors.short(10**5000) == "a very large number"


def test_numbers_with_nouns():
  assert errors.count(1, "class", "classes") == "1 class"
  assert errors.count(2, "class", "classes") == "2 classes"
  assert errors.count(0, "row") == "0 rows"


@given(
  st.lists(
    st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text())
  ),
  st.integers(2, 12),
  st.integers(8, 60),
)
def test_what_is_written_is_bounded_and_on_one_line(values, most, width):
  text = errors.some(values, most, width)
  assert len(text) <= most * (width + 2) + 30
  assert len(text.splitlines()) <= 1


@pytest.mark.parametrize(
  "kind, also",
  [
    (errors.UsageError, ValueError),
    (errors.MissingFileError, FileNotFoundError),
    (errors.MissingPackageError, ImportError),
  ],
)
def test_every_kind_is_a_usage_error_and_what_python_calls_it(kind, also):
  error = kind("there is no x.csv: give another path")
  assert isinstance(error, jcl.UsageError) and isinstance(error, also)
  assert str(error) == "there is no x.csv: give another path"
  again = pickle.loads(pickle.dumps(error))
  assert type(again) is kind and str(again) == str(error)


def test_what_users_give_is_told_apart_from_what_functions_are_given():
  with pytest.raises(jcl.UsageError, match="no recipe is called 'err'"):
    jcl.recipes.build("err")
  with pytest.raises(jcl.UsageError, match="t.csv"):
    jcl.load("csv", "nowhere", path="t.csv")
  with pytest.raises(ValueError) as told:
    jcl.metrics.micro_average([0.5, 0.25], [3])
  assert not isinstance(told.value, jcl.UsageError)


SECONDS = times.published("resnet18")


@pytest.mark.parametrize(
  "mistake, told",
  [
    (
      lambda: systems.build("eomu:start=31", SECONDS),
      "start=31: give .* to 30",
    ),
    (
      lambda: systems.dacapo(SECONDS, drift="robust", level=2),
      "level=2: give a",
    ),
    (lambda: sampling.replaying(recipes.finetune(), 5), "leave replay out, or"),
    (lambda: swap.back_off(2.0, 1.0, 0), "target=2.0 is .* give 0 to 1"),
    (
      lambda: books.LabelledFrames(np.zeros((2, 4)), [0]),
      "one label per frame",
    ),
    (
      lambda: manifest.Attributes(light="dusk"),
      "light='dusk': give one of day",
    ),
    (lambda: chosen(elastic.elastic(0.9)), "give the profile that its"),
    (
      lambda: mask.check(network(), base.Selection(())),
      "make it from network.t",
    ),
  ],
)
def test_mistakes_in_what_users_give_are_told_as_such(mistake, told):
  with pytest.raises(jcl.UsageError, match=told):
    mistake()


def network():
  return catalogue.build("mlp", (2, 2, 1), 2, width=2, depth=1)


def chosen(selector):
  """Has a selector choose that was given no profile."""
  made = network()
  state = selector.init(made.init(jax.random.key(0))[0])
  return selector.choose(state, made, None, 1.0)


@pytest.mark.parametrize(
  ("value", "unit", "told"),
  [
    (0.0, "J", "0 J"),
    (999.7, "J", "1,000 J"),
    (99_999.0, "J", "99,999 J"),
    (1e5, "FLOP", "100 kFLOP"),
    (999_999.0, "FLOP", "1 MFLOP"),
    (-2.5e9, "B", "-2.5 GB"),
    (3e22, "FLOP", "30,000 EFLOP"),
    (86_400.0, "s", "86,400 s"),
    (float("inf"), "J", "inf J"),
    (123_456.0, "", "123,456"),
  ],
)
def test_amounts_read_without_exponents(value, unit, told):
  assert errors.amount(value, unit) == told
