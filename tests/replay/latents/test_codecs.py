"""Codecs: what comes back, what a row takes, and what is refused."""

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
import signatures

from jcl.replay.latents import codecs


def sparse(count=40, shape=(3, 4, 5), density=0.5, seed=0):
  generator = np.random.default_rng(seed)
  z = generator.normal(size=(count, *shape)).astype(np.float32)
  return np.where(generator.random(z.shape) < density, np.abs(z), 0)


def there_and_back(codec, z):
  """Decodes in a compiled program, from float32, as a step does."""
  codes = codec.encode(z)
  assert codes.shape == (len(z), *codec.row_shape)
  assert codes.dtype == codec.dtype
  assert codes[0].nbytes == codec.bytes_per_example
  decoded = jax.jit(codec.decode)(codes.astype(np.float32))
  assert decoded.shape == z.shape and decoded.dtype == np.float32
  return np.asarray(decoded)


def test_raw_is_exact():
  z = sparse()
  codec = codecs.fit("raw", z[:0])
  np.testing.assert_array_equal(there_and_back(codec, z), z)
  assert codec.lossless and codec.bytes_per_example == 4 * 60
  assert codec.clipped(z) == codec.table_bytes == 0


def test_eight_bits_by_hand():
  z = np.array([[0.0, -1.0, 7.0], [2.55, 1.55, 7.0]], np.float32)
  codec = codecs.fit("uint8", z)
  np.testing.assert_allclose(codec.low, [0, -1, 7])
  np.testing.assert_allclose(codec.step, [0.01, 0.01, 1], rtol=1e-6)
  assert codec.encode(z).tolist() == [[0, 0, 0], [255, 255, 0]]
  beyond = np.array([[3.0, -1.0, 7.0], [1.0, -2.0, 7.0], [1, 0, 7]], np.float32)
  assert codec.clipped(z) == 0 and codec.clipped(beyond) == 2
  found = np.asarray(codec.decode(codec.encode(beyond)))
  expected = [[2.55, -1, 7], [1, -1, 7], [1, 0, 7]]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert not codec.lossless and codec.table_bytes == 24


@hypothesis.settings(max_examples=25)
@hypothesis.given(
  st.integers(0, 1000), st.floats(0.01, 100), st.floats(-10, 10)
)
def test_eight_bits_are_off_by_half_a_step_at_most(seed, width, shift):
  z = np.random.default_rng(seed).normal(shift, width, (9, 2, 3))
  z = z.astype(np.float32)
  codec = codecs.fit("uint8", z)
  found = codec.low + codec.encode(z) * codec.step
  # Beside half a step, what float32 rounds at this magnitude.
  slack = 0.5 * codec.step + 1e-6 * np.abs(z).max()
  assert (np.abs(found - z) <= slack).all()


def test_few_different_sub_vectors_come_back_as_they_are():
  z = np.zeros((3, 10), np.float32)
  z[0, [1, 4, 5]] = 1, 2, 3
  z[1, 9] = 4
  codec = codecs.fit("pq:2", z)
  assert codec.bitmap and codec.capacity == 4
  assert codec.row_shape == (2 + 2,)  # 10 bits and two sub-vectors
  assert sorted(codec.codebook.tolist()) == [[1, 2], [3, 0], [4, 0]]
  np.testing.assert_array_equal(there_and_back(codec, z), z)
  bits = np.unpackbits(codec.encode(z)[:, :2], axis=1)[:, :10]
  np.testing.assert_array_equal(bits, z != 0)


@pytest.mark.parametrize("size", [1, 8, 32, 128])
def test_zeros_are_exact_and_values_near(size):
  z = sparse()
  codec = codecs.fit(f"pq:{size}", z, seed=3)
  assert codec.name == f"pq:{size}" and not codec.lossless
  found = there_and_back(codec, z)
  np.testing.assert_array_equal(found == 0, z == 0)
  most = np.count_nonzero(z.reshape(len(z), -1), axis=1).max()
  assert codec.bytes_per_example == 8 + -(-most // size)
  assert codec.table_bytes == codec.codebook.nbytes
  assert len(codec.codebook) <= 256
  wrong = ((found - z) ** 2).mean() / z.var()
  assert wrong < {1: 1e-3, 8: 0.15, 32: 1e-9, 128: 1e-9}[size]


def test_the_seed_decides_the_codebook():
  z = sparse(count=80)
  first, again, other = (codecs.fit("pq:4", z, seed=s) for s in (0, 0, 1))
  np.testing.assert_array_equal(first.codebook, again.codebook)
  assert (first.codebook != other.codebook).any()


def test_rows_beyond_the_capacity_lose_their_last_values():
  z = np.zeros((2, 9), np.float32)
  z[:, :3] = [[1, 2, 3], [3, 2, 1]]
  codec = codecs.fit("pq:2", z)
  assert codec.capacity == 4
  crowded = np.ones((2, 9), np.float32)
  crowded[1, 4:] = 0
  assert codec.clipped(crowded) == 1
  bits = np.unpackbits(codec.encode(crowded)[:, :2], axis=1)
  assert bits[:, :9].tolist() == [[1] * 4 + [0] * 5] * 2
  assert (there_and_back(codec, crowded)[:, 4:] == 0).all()


def test_latents_without_zeros_need_no_bitmap():
  z = np.random.default_rng(0).normal(size=(60, 4, 5)).astype(np.float32)
  codec = codecs.fit("pq:8", z)
  assert not codec.bitmap and codec.row_shape == (3,)  # 20 values, padded
  assert codec.clipped(z + 1) == 0
  # Twice as good as the mean.
  assert ((there_and_back(codec, z) - z) ** 2).mean() < 0.5


def test_latents_of_zeros():
  z = np.zeros((4, 6), np.float32)
  for name in ("uint8", "pq:8"):
    codec = codecs.fit(name, z)
    np.testing.assert_array_equal(there_and_back(codec, z), z)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
  st.integers(0, 1000), st.integers(1, 9), st.floats(0, 0.8), st.integers(1, 30)
)
def test_codes_read_as_a_bitmap_and_codewords(seed, size, density, width):
  z = sparse(6, (width,), density, seed)
  codec = codecs.fit(f"pq:{size}", z)
  hypothesis.assume(codec.bitmap)
  codes, head = codec.encode(z), -(-width // 8)
  held = np.unpackbits(codes[:, :head], axis=1)[:, :width] == 1
  np.testing.assert_array_equal(held, z != 0)
  for row, own, vector in zip(z, held, codes[:, head:], strict=True):
    values = codec.codebook[vector].reshape(-1)[: own.sum()]
    # There are fewer sub-vectors than codewords.
    np.testing.assert_array_equal(values, row[own])


@pytest.mark.parametrize(
  "name", ["", "int8", "pq", "pq:", "pq:0", "pq:-8", "pq:x", "raw:8", "uint8:4"]
)
def test_names_that_no_codec_has(name):
  with pytest.raises(ValueError, match="write"):
    codecs.fit(name, sparse())


def test_half_a_code_beyond_the_range_is_within_it():
  z = np.arange(256, dtype=np.float32)[:, None]
  codec = codecs.fit("uint8", z)
  assert codec.step == 1 and codec.low == 0
  for value, clipped in ((-0.5, 0), (-0.6, 1), (255.5, 0), (255.6, 1)):
    assert codec.clipped(np.array([[value]], np.float32)) == clipped
  both = np.array([[-9.0], [300.0]], np.float32)
  assert codec.encode(both).tolist() == [[0], [255]]


@pytest.mark.parametrize(("zeros", "bitmap"), [(1, True), (0, False)])
def test_a_bitmap_from_one_zero_in_ten_on(zeros, bitmap):
  z = np.arange(1, 41, dtype=np.float32).reshape(4, 10)
  z[:, :zeros] = 0
  assert codecs.fit("pq:2", z).bitmap is bitmap


def test_many_different_sub_vectors_have_256_codewords():
  z = np.random.default_rng(0).normal(size=(257, 2)).astype(np.float32)
  assert len(codecs.fit("pq:2", z[:256]).codebook) == 256
  found = codecs.fit("pq:2", z).codebook
  assert found.shape == (256, 2) and found.dtype == np.float32


def test_a_codebook_is_fitted_on_some_sub_vectors(monkeypatch):
  fitted = []
  monkeypatch.setattr(
    codecs, "_codebook", lambda v, *_: fitted.append(v) or v[:1]
  )
  assert codecs._SUBVECTORS == 16_384
  monkeypatch.setattr(codecs, "_SUBVECTORS", 5)
  z = np.arange(1, 21, dtype=np.float32).reshape(10, 2)
  codecs.fit("pq:2", z[:5])
  np.testing.assert_array_equal(fitted[0], z[:5])
  codecs.fit("pq:2", z, seed=3)
  rows = np.sort(np.random.default_rng(3).permutation(10)[:5])
  np.testing.assert_array_equal(fitted[1], z[rows])


def test_room_for_one_value_at_least():
  codec = codecs.fit("pq:8", np.zeros((4, 6), np.float32))
  assert codec.capacity == 8 and codec.row_shape == (1 + 1,)
  assert codec.table_bytes == 8 * 4
  crowded = np.zeros((2, 20), np.float32)
  crowded[0, :4] = crowded[1, :5] = 1
  assert codecs.fit("pq:4", crowded[:1]).clipped(crowded) == 1


@pytest.mark.parametrize("name", ["uint8", "pq:8"])
def test_latents_that_cannot_be_fitted(name):
  with pytest.raises(ValueError, match="0 latents"):
    codecs.fit(name, sparse()[:0])
  with pytest.raises(ValueError, match="not all of them finite"):
    codecs.fit(name, np.full((3, 4), np.nan, np.float32))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(codecs.fit) == {"seed": 0}
  assert signatures.defaults(codecs.Raw) == {
    "name": "raw",
    "lossless": True,
    "table_bytes": 0,
  }
  assert signatures.defaults(codecs.Affine) == {
    "name": "uint8",
    "lossless": False,
  }
  assert signatures.defaults(codecs.Product) == {"lossless": False}


def test_clipped_rows_are_counted_and_not_their_values():
  codec = codecs.fit("uint8", np.array([[0.0, 1], [2, 3]], np.float32))
  assert codec.clipped(np.array([[9.0, -9.0]], np.float32)) == 1
  assert codec.clipped(np.array([[9.0, 2.0]] * 3, np.float32)) == 3


def test_a_codebook_with_a_word_for_each_is_exact():
  z = np.random.default_rng(0).normal(size=(256, 2)).astype(np.float32)
  codec = codecs.fit("pq:2", z)
  np.testing.assert_array_equal(codec.codebook, np.unique(z, axis=0))
  assert codecs.fit("pq:1", np.zeros((4, 6), np.float32)).capacity == 1


@pytest.mark.parametrize("name", ["pq", "pq:", "raw:8", "int8"])
def test_what_codecs_are_called(name):
  with pytest.raises(ValueError, match=f"no codec is called '{name}'"):
    codecs.fit(name, sparse())


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(codecs.Affine, codecs.Product)
