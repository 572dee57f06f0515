"""The machine of pickles knows a few instructions, and its own limits."""

import pickle
import tracemalloc

import hypothesis
from hypothesis import strategies as st
import pytest
from torch_layouts import ARRAYS, STORAGES, writer

from jcl.networks import instructions
from jcl.networks.instructions import Refused


def run(content, at=0):
  return instructions.run(memoryview(content), at)


VALUES = st.recursive(
  st.none()
  | st.booleans()
  | st.integers(-(2**1000), 2**1000)
  | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
  ),
  max_leaves=8,
)


@hypothesis.given(VALUES, st.binary(max_size=3))
def test_plain_values_are_those_of_pickle(value, behind):
  content = pickle.dumps(value, 2)
  assert run(content + behind) == (value, len(content))
  assert run(behind + content, len(behind)) == (value, len(behind + content))


@hypothesis.given(VALUES, st.data())
def test_every_cut_is_refused(value, data):
  content = pickle.dumps(value, 2)
  end = data.draw(st.integers(0, len(content) - 1))
  with pytest.raises(Refused):
    run(content[:end])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"\x80\x04N.", "protocol 4: PyTorch writes 2"),
    (pickle.dumps(1.5, 2), "instruction b'G'"),
    (b"NN.", "leaves values over"),
    (b"(N.", "leaves values over"),
    (b".", "leaves values over"),
    (b"h\0.", "cut short or damaged"),
    (b"X\1\0\0\0\xff.", "text that is none"),
    (b"c" + b"a" * 300, "a name without end"),
    (b"K\1" * 2 + b"R.", "a call of something that is no name"),
    (b"ccollections\nOrderedDict\n(K\1tR.", "OrderedDict of 1 arguments"),
    (b"ctorch\nFloatStorage\n)R.", "torch.FloatStorage of 0 arguments"),
    (b"K\1Q.", "persistent id that is none"),
    (b"](NNu.", "no dictionary"),
    (b"}(K\1Nu.", "one that is no text"),
    (b"}(X\1\0\0\0aNX\1\0\0\0aNu.", "a key twice"),
    (b"}(Ne.", "no list"),
    (b"}}X\1\0\0\0aNsb.", "attributes of its own"),
    (b"]}b.", "attributes of something"),
  ],
)
def test_other_programs_are_refused(content, message):
  with pytest.raises(Refused, match=message):
    run(content)


def test_a_tensor_is_described(read=run):
  value, _ = read(writer.model(ARRAYS, STORAGES))
  weight = value["fc.weight"]
  assert weight.storage.key == "9" and weight.storage.elements == 8
  assert weight.storage.size == 32
  assert weight[1:] == (0, (3, 2), (1, 3))


@pytest.mark.parametrize("code", [b"}", b"("])
def test_steps_and_memory_are_bounded(code):
  content = b"\x80\x02" + code * 4_000_000
  tracemalloc.start()
  try:
    with pytest.raises(Refused, match="too many steps for so few bytes"):
      run(content)
    assert tracemalloc.get_traced_memory()[1] < 100e6
  finally:
    tracemalloc.stop()
