import codecs
import gc
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from jcl.streams import pickles


@pytest.mark.parametrize("protocol", range(6))
def test_containers_numbers_and_arrays(protocol):
  value = {
    "data": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    "labels": [1, 2],
    "name": "caf\u00e9",
    "one": np.float64(1.5),
  }
  found = pickles.load(pickle.dumps(value, protocol))
  for name in ("data", "turned"):
    np.testing.assert_array_equal(found[name], value[name])
  assert found["data"].dtype == np.uint8
  assert [found[n] for n in ("labels", "name", "one")] == [
    [1, 2],
    "caf\u00e9",
    1.5,
  ]


class Call:
  def __init__(self, function, *arguments):
    self.parts = function, arguments

  def __reduce__(self):
    return self.parts


@pytest.mark.parametrize(
  "value, message",
  [
    ([1], "a list instead of a dict"),
    ({"a": Call(os.getcwd)}, "refers to .*getcwd"),
    ({"a": Call(eval, "1")}, "refers to .*builtin.*eval"),
    ({"a": np.array([{}])}, "an array of type 'O8'"),
    ({"a": Call(np.ndarray, (10**12,))}, None),
  ],
)
def test_nothing_is_run(value, message):
  content = pickle.dumps(value, 2)
  if message is None:
    assert pickles.load(content) == {"a": None}
    return
  with pytest.raises(ValueError, match=message):
    pickles.load(content)


def test_large_numbers_take_no_memory():
  numbered = b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b"."
  assert pickles.load(numbered) == {}
  with pytest.raises(ValueError):
    pickles.load(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.")
  # A length that is written takes none either, before the bytes are there.
  framed = b"\x80\x05\x95" + struct.pack("<Q", 9) + b"\x96"
  for start in (b"\x80\x05\x96", framed):
    tracemalloc.start()
    with pytest.raises(ValueError):
      pickles.load(start + struct.pack("<Q", 2**32) + b"x.")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_arrays_of_bytes_that_can_be_changed():
  found = pickles.load(pickle.dumps({"a": bytearray(b"xyz" * 100)}, 5))
  assert found == {"a": bytearray(b"xyz" * 100)}
  whole = np.frombuffer(bytearray(range(6)), np.uint8)
  found = pickles.load(pickle.dumps({"a": whole}, 5))
  np.testing.assert_array_equal(found["a"], whole)


def test_text_becomes_bytes_once():
  text = b"b" * 100_000
  made = b"\x80\x04c_codecs\nencode\nq\x000"  # number 0
  made += b"X" + struct.pack("<I", len(text)) + text + b"q\x010}("  # number 1
  for i in range(500):
    made += b"\x8c\x03%03dh\x00h\x01\x85R" % i  # the one of the other
  tracemalloc.start()
  found = pickles.load(made + b"u.")
  assert tracemalloc.get_traced_memory()[1] < 2 << 20
  tracemalloc.stop()
  assert list(found.values()) == [text] * 500
  with pytest.raises(ValueError, match="text in the encoding"):
    pickles.load(pickle.dumps({"a": Call(codecs.encode, "b", "utf-16")}))


def test_many_steps_need_as_many_bytes(monkeypatch):
  assert pickles.STEPS == 500_000
  monkeypatch.setattr(pickles, "STEPS", 10)

  def sets(count, padding=None):
    """Three steps and two for each set; two more for bytes to skip."""
    skipped = b""
    if padding is not None:
      skipped = b"B" + struct.pack("<I", padding) + b"x" * padding + b"0"
    return b"\x80\x04" + skipped + b"\x8f0" * count + b"}."

  assert pickles.load(sets(3)) == {}
  with pytest.raises(ValueError, match="too many steps for so few bytes"):
    pickles.load(sets(4))
  # Thirteen steps, which 60 bytes allow for and 59 do not.
  assert len(sets(4, 42)) == 60
  assert pickles.load(sets(4, 42)) == {}
  with pytest.raises(ValueError, match="too many steps"):
    pickles.load(sets(4, 41))


def test_names_that_are_refused_are_cut_short():
  for made in (
    b"\x80\x02c" + b"m" * 300 + b"\nf\n.",
    pickle.dumps({"a": Call(codecs.encode, "b", "x" * 300)}, 2),
  ):
    with pytest.raises(ValueError) as caught:
      pickles.load(made)
    assert len(str(caught.value)) == 100
  found = pickles.load(pickle.dumps({"a": Call(codecs.encode, "b", "latin-1")}))
  assert found == {"a": b"b"}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_file_is_free_once_it_was_read(protocol):
  """Without waiting for the garbage collector, whose turn may be far off."""
  content = pickle.dumps({"a": np.zeros(100_000, np.uint8)}, protocol)
  gc.disable()
  try:
    for _ in range(2):  # first what is kept anyway
      tracemalloc.start()
      pickles.load(content)
      with pytest.raises(ValueError):
        pickles.load(content[:-1])
      left = tracemalloc.get_traced_memory()[0]
      tracemalloc.stop()
  finally:
    gc.enable()
  assert left < 50_000
