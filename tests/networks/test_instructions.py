"""The machine of pickles knows a few instructions, and its own limits."""

import pickle
import tracemalloc

import hypothesis
from hypothesis import strategies as st
import numpy as np
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


def test_tuples_and_many_values_are_those_of_pickle():
  texts = [str(i) for i in range(300)]
  for value in (((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), texts + texts):
    assert run(pickle.dumps(value, 2))[0] == value


def test_versions_of_a_model_are_left_out():
  assert run(b"}}" + writer.text("_metadata") + b"Nsb.")[0] == {}
  assert run(b"}}b.")[0] == {}


def test_steps_of_a_program(monkeypatch):
  monkeypatch.setattr(instructions, "STEPS", 1)
  # Two steps, and one more for each twenty bytes.
  assert run(b"N." + b"\0" * 18) == (None, 2)
  with pytest.raises(Refused, match="too many steps"):
    run(b"N." + b"\0" * 17)


def test_names_of_two_hundred_letters_are_read():
  with pytest.raises(Refused) as caught:
    run(b"c" + b"a" * 199 + b"\nb\n")
  assert str(caught.value) == "it refers to " + 87 * "a"
  with pytest.raises(Refused, match="a name without end"):
    run(b"c" + b"a" * 200 + b"\nb\n")
  with pytest.raises(Refused, match="^it refers to $"):
    run(b"c\n\n")


CPU = [
  *(writer.text("storage"), writer.name("torch", "FloatStorage")),
  *(writer.text("9"), writer.text("cpu"), writer.number(8)),
]


def storage(changed=(), more=()):
  """A storage some of whose parts are others, by number."""
  parts = [dict(changed).get(i, part) for i, part in enumerate(CPU)]
  return writer.tupled(*parts, *more) + b"Q."


def tensor(changed=(), more=()):
  """A tensor some of whose parts are others, by number."""
  parts = [storage()[:-1], b"K\0", b"K\2\x85", b"K\1\x85", b"\x89", b"}"]
  parts = [dict(changed).get(i, part) for i, part in enumerate(parts)]
  call = writer.name("torch._utils", "_rebuild_tensor_v2")
  return call + writer.tupled(*parts, *more) + b"R."


def test_storages_and_tensors_of_either_layout():
  expected = instructions.Storage("9", np.dtype("<f4"), 8)
  assert run(storage())[0] == run(storage(more=(b"N",)))[0] == expected
  most = run(storage({4: writer.number(2**62 - 1)}))[0]
  assert most.elements == 2**62 - 1
  assert run(tensor())[0] == instructions.Tensor(expected, 0, (2,), (1,))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (writer.tupled(*CPU[:4]) + b"Q.", "none of a storage"),
    (storage(more=(b"N", b"N")), "none of a storage"),
    (storage({0: writer.text("other")}), "none of a storage"),
    (storage({1: writer.text("torch FloatStorage")}), "none of a storage"),
    (
      storage({1: writer.name("collections", "OrderedDict")}),
      "none of a storage",
    ),
    (storage({3: writer.text("cuda:0")}), "not on the CPU"),
    (storage({2: writer.number(9)}), "another key or count, or a view"),
    (storage({4: writer.number(-1)}), "another key or count, or a view"),
    (storage({4: writer.number(2**62)}), "another key or count, or a view"),
    (storage({4: b"\x88"}), "another key or count, or a view"),
    (storage(more=(b")",)), "another key or count, or a view"),
    (tensor({0: b"N"}), "a tensor without a storage"),
    (tensor({4: b"N"}), "a tensor without a storage"),
    (tensor({5: b"N"}), "with hooks"),
    (tensor({5: b"}" + writer.text("a") + b"Ns"}), "with hooks"),
    (tensor({1: writer.number(-1)}), "negative size, stride or offset"),
    (tensor({2: writer.tupled(writer.number(-1))}), "negative size, stride"),
    (tensor({3: writer.tupled(b"N")}), "negative size, stride"),
    (tensor({2: b"K\2"}), "sizes or strides are no tuple"),
    (tensor(more=(b"N",)), "_rebuild_tensor_v2 of 7 arguments"),
    (b"\x80\x01N.", "protocol 1: PyTorch writes 2"),
    (b"N", "cut short$"),
    (b"X\1\0\0\0a", "cut short$"),
    (b"X\2\0\0\0a", "cut short or damaged"),
    (b"J\0", "cut short or damaged"),
    (b"s.", "cut short or damaged"),
    (b"}(" + writer.text("a") + b"u.", "something that is no dictionary"),
    (b"}Nb.", "attributes of something"),
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
