"""Every option of every choice, given values of every other kind."""

import inspect

import pytest

from jcl import recipes
from jcl.control.drift import systems, times
from jcl.networks import catalogue
from jcl.options import parameters, spec
from jcl.options.errors import UsageError
from jcl.streams import scenarios, sources
from jcl.train import schedules

VALUES = (
  "abc",
  "-1",
  "0",
  "1.5",
  "nan",
  "inf",
  "1e30",
  "[]",
  "[1]",
  "true",
  "",
  "x" * 3000,
  "(" * 200,
)
SHAPES = {"conv1d": (16, 3)}


def check_model(name, option, value):
  # As far as a model is built from them, most are tried with a recipe.
  catalogue.read(f"{name}:{option}={value}", SHAPES.get(name, (8, 8, 1)))


def check_data(name, option, value):
  # A download is asked for by "true" alone, which is not tried here.
  if option == "download" and value == "true":
    return
  needed = {
    key: "t"
    for key, default in parameters.keywords(sources.READERS[name]).items()
    if default is inspect.Parameter.empty
  }
  given = spec.read(f"{name}:{option}={value}")[1]
  sources.load(name, "nowhere", **{**needed, **given})


def check_system(name, option, value):
  systems.build(f"{name}:{option}={value}", times.published("resnet18"))


CHECKS = {
  "recipe": (
    recipes.choices(),
    lambda name, option, value: recipes.build(f"{name}:{option}={value}"),
    (*parameters.fields(recipes.base.Training), "preset"),
  ),
  "model": (catalogue.MODELS, check_model, ()),
  "data set": (sources.READERS, check_data, ()),
  "system": (systems.choices(), check_system, ()),
  "schedule": (
    schedules.SCHEDULES,
    lambda name, option, value: schedules.build(f"{name}:{option}={value}"),
    (),
  ),
}
CASES = [
  (kind, name) for kind, (choices, *_) in CHECKS.items() for name in choices
]


def told(check, name, option, value):
  """Returns what is said of a value, nothing where it is taken."""
  try:
    check(name, option, value)
  except UsageError as error:  # anything else is a mistake of jcl's own
    return error
  return None


@pytest.mark.parametrize("kind, name", CASES)
def test_values_are_taken_or_told_in_a_sentence(kind, name):
  choices, check, more = CHECKS[kind]
  for option in [*parameters.options(choices[name]), *more]:
    for value in VALUES:
      error = told(check, name, option, value)
      if error is None:
        continue
      message = str(error)
      assert message.count("\n") < 5 and len(message) < 700, (option, value)
      if type(error) is UsageError and "cannot be read" not in message:
        assert option in message, (option, value, message)


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_values_of_streams_are_taken_or_told(name, digits):
  grouped = sources.arrays(
    digits.train.x, digits.train.y, group=digits.train.y % 2
  )

  def check(name, option, value):
    _, options = spec.read(f"{name}:{option}={value}")
    scenarios.build(name, grouped, **options)

  for option in parameters.keywords(scenarios.SCENARIOS[name]):
    for value in VALUES:
      error = told(check, name, option, value)
      assert error is None or len(str(error)) < 700, (option, value)


def test_numbers_lists_and_text_are_read_as_the_option_has_them():
  assert recipes.build("er:buffer=1e3").replay.capacity == 1000
  assert recipes.build("er:buffer='2MB'").replay.capacity == "2MB"
  with pytest.raises(ValueError, match="recipe 'er': buffer='x': give a num"):
    recipes.er(buffer="x")
  with pytest.raises(ValueError, match="no option 'bufer'; did you mean"):
    recipes.er(bufer=3)
  with pytest.raises(ValueError, match="buffer=true: give a number of exam"):
    recipes.build("er:buffer=true")
  with pytest.raises(ValueError, match="order=True"):
    scenarios.class_incremental(None, order=True)


@pytest.mark.parametrize(
  "text, name, options",
  [
    ("auto", "mlp", {}),
    ("mlp:width=1e2", "mlp", {"width": 100}),
    ("auto:width=7", "mlp", {"width": 7}),
  ],
)
def test_models_by_text(text, name, options):
  assert catalogue.read(text, (8, 8, 1)) == (name, options)


def test_recipes_say_what_they_bring():
  lines = recipes.describe()
  assert "batches of 15" in lines["lightcl"]
  assert "a model that convolves" in lines["sparcl"]
  assert "unless told" not in lines["er"]
  read = catalogue.read("auto", (8, 8, 1), convolutional=True)
  assert read == ("slim_resnet18", {"filters": 8})
  with pytest.raises(ValueError, match="are vectors, and the recipe needs"):
    catalogue.read("auto", (64,), convolutional=True)


def test_batches_are_the_runs_before_the_recipes():
  from jcl import base
  from jcl.run import session

  method = recipes.lightcl()
  assert session.complete(method, base.Training()).batch_size == 15
  own = base.Training(batch_size=40)
  assert session.complete(method, own).batch_size == 40
  assert session.complete(recipes.er(), base.Training()).batch_size == 10
  few = recipes.lightcl(anchors=8)
  assert session.complete(few, base.Training()).batch_size == 10
