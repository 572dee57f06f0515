import os
import pickle
import struct

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
