"""The step that a profile is of, checked when it is named."""

import jax
import jax.numpy as jnp
import optax
import pytest
import signatures
import tiny_network

from jcl.train.profiling import subject

NETWORK = tiny_network.build()


def make(x, norms="frozen"):
  shapes = jax.eval_shape(NETWORK.init, jax.random.key(0))
  return subject.Subject(NETWORK, *shapes, x, norms, optax.sgd(0.1))


def test_units_in_training_mode_are_those_of_a_step_of_every_tensor():
  x = jax.ShapeDtypeStruct((3, 4), jnp.float32)
  assert make(x).shape == (3, 4)
  assert make(x, "batch").training == ("first", "second", "head")
  # The head alone has no running statistics.
  assert make(x).training == ("head",)


@pytest.mark.parametrize(
  "shape, norms, message",
  [
    ((3, 4), "moving", "norms='moving': give 'frozen' or 'batch'"),
    ((3, 5), "batch", r"shape \(3, 5\): give a batch of 'tiny', \[B, 4\]"),
    ((0, 4), "batch", r"shape \(0, 4\)"),
  ],
)
def test_other_norms_and_shapes_are_refused(shape, norms, message):
  with pytest.raises(ValueError, match=message):
    make(jnp.zeros(shape), norms)


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(subject.Subject)
