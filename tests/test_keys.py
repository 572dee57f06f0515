"""Random draws, each for one purpose."""

import itertools

import jax
import numpy as np

from jcl import keys


def test_a_path_names_its_draws():
  one = keys.rng(3, keys.Purpose.ORDER, 1, 2).integers(2**62, size=4)
  again = keys.rng(3, 14, 1, 2).integers(2**62, size=4)
  assert one.tolist() == again.tolist()
  a, b = keys.key(3, keys.Purpose.PROBE, 5), keys.key(3, 3, 5)
  assert (jax.random.key_data(a) == jax.random.key_data(b)).all()


def test_no_two_paths_share_draws():
  paths = [
    path
    for length in (0, 1, 2, 3)
    for path in itertools.product(range(4), repeat=length)
  ]
  draws = {keys.rng(0, *path).integers(2**62) for path in paths}
  draws |= {keys.rng(1, *path).integers(2**62) for path in paths}
  assert len(draws) == 2 * len(paths)
  found = [jax.random.key_data(keys.key(0, *path)).tobytes() for path in paths]
  assert len(set(found)) == len(paths)


def test_every_purpose_has_a_number_of_its_own():
  numbers = [int(each) for each in keys.Purpose.__members__.values()]
  assert len(set(numbers)) == len(numbers)
  assert keys.key(0, keys.Purpose.INIT).dtype == jax.random.key(0).dtype


def test_draws_are_those_of_a_spawned_sequence():
  sequence = np.random.SeedSequence(7, spawn_key=(14, 0, 3))
  expected = np.random.default_rng(sequence).random(3)
  assert (keys.rng(7, keys.Purpose.ORDER, 0, 3).random(3) == expected).all()
