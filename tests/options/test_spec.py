import dataclasses
from typing import Annotated

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from jcl.options import bounds, kinds, parameters, plain, spec
from jcl.options.errors import UsageError


@pytest.mark.parametrize(
  "text, name, options",
  [
    ("er", "er", {}),
    (" er : buffer = 500 ", "er", {"buffer": 500}),
    ("er:buffer=2MB,x=-1e-3", "er", {"buffer": "2MB", "x": -0.001}),
    ("m:a=True,b=false,c=None", "m", {"a": True, "b": False, "c": None}),
    ("m:order=[2,0,1],tasks=3", "m", {"order": [2, 0, 1], "tasks": 3}),
    ("m:a=((1,2),[3,4]),b=5", "m", {"a": ((1, 2), [3, 4]), "b": 5}),
    ("m:a='x,y=z',b=\"1\"", "m", {"a": "x,y=z", "b": "1"}),
    ("m:a=['p,q','r'],b=it's", "m", {"a": ["p,q", "r"], "b": "it's"}),
    ("csv:path=/data/a:b.csv,y=", "csv", {"path": "/data/a:b.csv", "y": ""}),
    ("m:a=1,", "m", {"a": 1}),
  ],
)
def test_names_options_and_values(text, name, options):
  assert spec.parse(text) == (name, options)


VALUES = st.recursive(
  st.integers() | st.booleans() | st.floats(allow_nan=False) | st.text("ab,=("),
  lambda inner: st.lists(inner, max_size=3),
  max_leaves=4,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from("abc"), VALUES))
def test_python_literals_come_back(options):
  # 1e999 is how a literal writes infinity.
  text = ",".join(
    f"{k}={v!r}".replace("inf", "1e999") for k, v in options.items()
  )
  assert spec.parse(f"name:{text}") == ("name", options)


def test_options_that_cannot_be_read_are_told():
  with pytest.raises(ValueError, match="option 'buffer' should read key=value"):
    spec.parse("er:buffer")
  with pytest.raises(ValueError, match="'=3' should read"):
    spec.parse("er:=3")
  with pytest.raises(ValueError, match="option 'x' is given twice"):
    spec.parse("er:x=1,x=2")


@pytest.mark.parametrize(
  "text, size",
  [
    ("7B", 7),
    ("1kB", 1000),
    (" 2 KiB\n", 2048),
    ("1.5MB", 1_500_000),
    ("64MiB", 2**26),
    ("1gb", 10**9),
    ("2GiB", 2**31),
  ],
)
def test_sizes_in_bytes(text, size):
  assert plain.parse_size(text) == size
  # Whoever reads a size while it is being written takes no other for it.
  for end in range(len(text.strip())):
    with pytest.raises(ValueError, match="is no size in bytes.*such as"):
      plain.parse_size(text.strip()[:end])


@pytest.mark.parametrize("text", ["12", "MB", "2 TB", "2iB", "-1MB", "1e3B"])
def test_text_that_is_no_size_is_told(text):
  with pytest.raises(ValueError, match='write a number and one of.*"512KiB"'):
    plain.parse_size(text)


def add(one, /, *, two, three=3):
  """Adds three numbers.

  More about it.
  """
  return one + two + three


CHOICES = {"add": add, "subtract": lambda *, x=1: x}


def test_calls_look_at_the_names_first():
  assert spec.call("sum", CHOICES, "add", 1, two=2) == 6
  assert spec.call("sum", CHOICES, "add", 1, two=2, three=0) == 3
  with pytest.raises(ValueError, match="no sum is called 'ad'; did you mean"):
    spec.call("sum", CHOICES, "ad")
  with pytest.raises(ValueError, match="choose from add, subtract"):
    spec.call("sum", CHOICES, "zzz")
  with pytest.raises(ValueError, match="no option 'tree'.*'three'"):
    spec.call("sum", CHOICES, "add", 1, two=2, tree=4)
  with pytest.raises(ValueError, match="'add' needs the option two="):
    spec.call("sum", CHOICES, "add", 1)
  spec.check("sum", "add", add, {"two": 2, "extra": 1}, also={"extra": int})


def test_a_line_about_each_choice():
  lines = parameters.describe(CHOICES)
  assert lines["add"].startswith("Adds three numbers.")
  assert "More about it" not in lines["add"]


@pytest.mark.parametrize(
  "error", [ValueError, SyntaxError, TypeError, MemoryError, RecursionError]
)
def test_text_that_python_cannot_read_stays_text(error, monkeypatch):
  def fail(text):
    raise error(text)

  monkeypatch.setattr(plain.ast, "literal_eval", fail)
  assert plain.literal(plain.Text("[1")) == "[1"
  assert type(plain.literal(plain.Text("[1"))) is str


@dataclasses.dataclass(frozen=True)
class Trials:
  epochs: Annotated[kinds.Count, bounds.Called("trial_epochs")] = 5
  share: kinds.PositiveShare = 0.05
  grid: kinds.Grid = ()


@spec.checked("recipe")
def miro(*, em: kinds.Size = 500, trials: Trials = Trials(share=0.3)):  # noqa: B008
  """Tries sizes."""
  return em, trials


def text(written):
  name, given = spec.read(written)
  return spec.call("recipe", {"miro": miro}, name, **given)


def test_fields_of_a_record_are_options_beside_the_others():
  assert list(parameters.options(miro)) == [
    "em",
    "trial_epochs",
    "share",
    "grid",
  ]
  assert parameters.options(miro)["trial_epochs"][:2] == ("trials", "epochs")
  # Fields that are not given are the function's, not the record's.
  assert text("miro:em=7,trial_epochs=2") == (7, Trials(2, 0.3))
  assert text("miro:grid=5x6/1e1x0") == (500, Trials(5, 0.3, ((5, 6), (10, 0))))
  assert text("miro:grid=") == text("miro") == (500, Trials(5, 0.3))
  assert miro(trials=Trials(1)) == (500, Trials(1, 0.05))
  lines = parameters.describe({"miro": miro})
  assert lines["miro"].endswith("(em=500, trial_epochs=5, share=0.3, grid=)")


@pytest.mark.parametrize(
  "written, message",
  [
    ("trial_epochs=0", "'miro': trial_epochs=0: give a whole number from 1, s"),
    ("share=2", "'miro': share=2: give a number above 0 .* such as share=0.3"),
    ("epochs=3", "no option 'epochs'; .*grid, share, trial_epochs"),
    ("trials=3", "no option 'trials'"),
    ("grid=5", "grid=5: give sizes as memory x .* such as 500x1000/200x500"),
    ("grid=5x-6", "grid=5x-6: give sizes"),
    ("grid=5x6x7", "grid=5x6x7: give sizes"),
    ("grid=1.5x2", "grid=1.5x2: give sizes"),
  ],
)
def test_fields_in_text_are_told_like_other_options(written, message):
  with pytest.raises(UsageError, match=message):
    text(f"miro:{written}")


@pytest.mark.parametrize(
  "given, message",
  [
    (
      {"trials": Trials(0)},
      r"'miro': trials.epochs=0: give .* trials.epochs=5",
    ),
    ({"trials": Trials(grid=(5, 6))}, r"trials.grid=\(5, 6\): give sizes as"),
    (
      {"trials": 3},
      r"trials=3: give a Trials, such as trials=Trials\(epochs=5",
    ),
    (
      {"share": 1},
      r"share belongs to trials: write trials=Trials\(share=...\)",
    ),
    ({"trial_epochs": 1}, r"write trials=Trials\(epochs=...\)"),
    ({"shares": 1}, "no option 'shares'; did you mean 'share'"),
  ],
)
def test_records_in_python_are_checked_by_field(given, message):
  with pytest.raises(UsageError, match=message):
    miro(**given)


def test_two_options_of_one_name_are_a_mistake_of_the_program():
  def twice(*, share: float = 1.0, trials: Trials = Trials()):  # noqa: B008
    return share, trials

  with pytest.raises(TypeError, match="twice has two options of one name"):
    parameters.options(twice)
