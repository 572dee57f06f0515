import numpy as np
import pytest
import signatures
from sklearn import preprocessing

from jcl import base
from jcl.streams import scenarios, sources, stream


def toy(x, **changes):
  return base.Dataset("toy", x, np.zeros(len(x), np.int32), ("a",), **changes)


def test_sealed_data_is_read_only_while_open():
  data = toy(np.zeros((2, 1)))
  sealed = stream.Sealed([data, data])
  assert len(sealed) == 2
  with pytest.raises(RuntimeError, match="held-out data was read while train"):
    _ = sealed.datasets
  with sealed.open() as outer:
    with sealed.open() as inner:
      assert inner is outer is sealed.datasets
    assert sealed.datasets[0] is data
  with pytest.raises(RuntimeError):
    _ = sealed.datasets


def test_an_error_seals_the_data_again():
  sealed = stream.Sealed([])
  with pytest.raises(KeyError), sealed.open():
    raise KeyError
  with pytest.raises(RuntimeError):
    _ = sealed.datasets


def test_two_sealed_sets_are_independent():
  first, second = stream.Sealed([]), stream.Sealed([])
  with first.open(), pytest.raises(RuntimeError):
    _ = second.datasets


def test_unit_scale_of_bytes():
  mean, std = stream.statistics(toy(np.uint8([[0, 16]]), scale=16.0))
  assert mean == 0 and std == 16 and std.dtype == np.float32


def test_standard_scale_per_last_axis():
  rng = np.random.default_rng(0)
  x = rng.normal([5, 1e4, 7], [2, 300, 0], (3000, 4, 3)).astype(np.float32)
  mean, std = stream.statistics(toy(x))
  assert mean.shape == std.shape == (3,) and mean.dtype == np.float32
  scaled = (x - mean) / std
  np.testing.assert_allclose(scaled.mean((0, 1)), 0, atol=1e-3)
  np.testing.assert_allclose(scaled.std((0, 1)), [1, 1, 0], atol=1e-3)
  assert std[2] == 1  # constant


@pytest.mark.parametrize("rows", [1, 2, 1024, 1025, 5000])
@pytest.mark.parametrize("shape", [(3,), (5, 5, 3)])
def test_standard_scale_has_the_bits_of_scikit_learn(rows, shape):
  rng = np.random.default_rng(rows)
  x = rng.normal([5, 1e4, 7], [2, 0.3, 0], (rows, *shape)).astype(np.float32)
  scaler = preprocessing.StandardScaler()
  for start in range(0, rows, stream._ROWS):
    part = x[start : start + stream._ROWS]
    scaler.partial_fit(part.reshape(-1, 3).astype(np.float64))
  mean, std = stream.statistics(toy(x), "standard")
  np.testing.assert_array_equal(mean, scaler.mean_.astype(np.float32))
  np.testing.assert_array_equal(std, scaler.scale_.astype(np.float32))


def test_standard_scale_of_bytes_and_none():
  x = np.uint8([[0, 10], [20, 10]])
  mean, std = stream.statistics(toy(x), "standard")
  assert mean.tolist() == [10, 10] and std.tolist() == [10, 1]
  assert [v.tolist() for v in stream.statistics(toy(x), "none")] == [0, 1]


@pytest.mark.parametrize(
  ("x", "scale", "black", "white"),
  [
    (np.uint8([[0, 255]]), 255.0, 0, 255),
    (np.uint8([[3, 9]]), 16.0, 0, 16),
    (np.float32([[0.2, 0.9]]), 255.0, 0, 1),
    (np.float32([[0.0, 200.0]]), 255.0, 0, 255),
    (np.float32([[-0.5, 1.0]]), 255.0, -1, 1),
    (np.float32([[-2.0, 3.0], [0.0, 6.0]]), 255.0, -2, 6),
  ],
)
def test_signed_scale_of_pixels(x, scale, black, white):
  mean, std = stream.statistics(toy(x, scale=scale), "signed")
  assert mean.dtype == std.dtype == np.float32 and mean.shape == ()
  ends = (np.array([black, white]) - mean) / std
  np.testing.assert_allclose(ends, [-127 / 128, 1], rtol=1e-6)
  assert stream.ends(mean, std) == pytest.approx((black, white), abs=1e-5)


def test_signed_scale_of_one_value_leaves_it_finite():
  mean, std = stream.statistics(toy(np.full((2, 1), 7e3, np.float32)), "signed")
  assert std > 0 and np.isfinite((7e3 - mean) / std)


def test_bad_normalisation():
  with pytest.raises(ValueError, match="write normalize=standard or"):
    stream.statistics(toy(np.zeros((1, 1), np.float32)), "unit")
  with pytest.raises(ValueError, match="normalize='zscore': write"):
    stream.statistics(toy(np.zeros((1, 1), np.float32)), "zscore")


def test_properties_of_a_stream():
  x = np.arange(12, dtype=np.float32).reshape(6, 2)
  source = sources.arrays(x, [0, 1, 2, 0, 1, 2], x, [0, 1, 2, 0, 1, 2])
  made = scenarios.class_incremental(source, tasks=2, order=[2, 0, 1])
  assert made.num_classes == 3 and made.example_shape == (2,)
  assert made.dtype == np.float32
  assert made.classes_seen(0).tolist() == [True, False, True]
  assert made.classes_seen(1).all()
  assert [made.first_id(t) for t in range(2)] == [0, 4]


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(stream.Stream)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(stream.Stream) == {"ordered": False, "notes": ()}
