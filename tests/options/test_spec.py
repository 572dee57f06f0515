from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from jcl.options import kinds, spec


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
  assert spec.parse_size(text) == size
  # Whoever reads a size while it is being written takes no other for it.
  for end in range(len(text.strip())):
    with pytest.raises(ValueError, match="is no size in bytes.*such as"):
      spec.parse_size(text.strip()[:end])


@pytest.mark.parametrize("text", ["12", "MB", "2 TB", "2iB", "-1MB", "1e3B"])
def test_text_that_is_no_size_is_told(text):
  with pytest.raises(ValueError, match='write a number and one of.*"512KiB"'):
    spec.parse_size(text)


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
  lines = spec.describe(CHOICES)
  assert lines["add"].startswith("Adds three numbers.")
  assert "More about it" not in lines["add"]


@pytest.mark.parametrize(
  "error", [ValueError, SyntaxError, TypeError, MemoryError, RecursionError]
)
def test_text_that_python_cannot_read_stays_text(error, monkeypatch):
  def fail(text):
    raise error(text)

  monkeypatch.setattr(kinds.ast, "literal_eval", fail)
  assert kinds.literal(kinds.Text("[1")) == "[1"
  assert type(kinds.literal(kinds.Text("[1"))) is str
