"""Rules of one's own for convolutions, with JAX's private names and without."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jcl.train.kernels import lowering, rules


def convolve(lhs, rhs):
  return jax.lax.conv_general_dilated(lhs, rhs, (1,), "VALID")


ARGS = jnp.full((1, 1, 3), 2.0), jnp.full((1, 1, 1), 3.0)


@pytest.mark.skipif(bool(rules.why_not()), reason=rules.why_not())
def test_a_rule_stands_in_for_convolutions_of_one_program():
  def rule(ctx, lhs, rhs, **params):
    assert params["feature_group_count"] == 1
    return rules.by_function(lambda a, b: a - b, ctx, lhs, rhs)

  traced = jax.jit(convolve).trace(*ARGS)
  replaced = rules.lower(traced, rule).compile()(*ARGS)
  np.testing.assert_array_equal(replaced, np.full((1, 1, 3), -1.0))
  as_ever = rules.lower(traced, rules.by_jax).compile()(*ARGS)
  np.testing.assert_array_equal(as_ever, np.full((1, 1, 3), 6.0))
  np.testing.assert_array_equal(jax.jit(convolve)(*ARGS), as_ever)


@pytest.mark.parametrize(
  "mlir",
  [
    None,
    SimpleNamespace(),
    SimpleNamespace(LoweringParameters=lambda **_: None),
  ],
)
def test_a_jax_that_moves_its_rules_leaves_programs_to_xla(mlir, monkeypatch):
  monkeypatch.setattr(rules, "mlir", mlir)
  reason = rules.why_not.__wrapped__()
  assert reason == f"jax {jax.__version__} keeps lowering rules elsewhere"
  monkeypatch.setattr(rules, "why_not", lambda: reason)
  monkeypatch.delenv("JCL_CONVOLUTIONS", raising=False)
  told = lowering.why_not.__wrapped__()
  assert told and (jax.device_count() > 1 or told == reason)


def test_a_jax_that_asks_no_rule_leaves_programs_to_xla(monkeypatch):
  monkeypatch.setattr(rules, "mlir", SimpleNamespace())
  monkeypatch.setattr(rules, "lower", lambda traced, rule: None)
  reason = rules.why_not.__wrapped__()
  assert reason == f"jax {jax.__version__} keeps lowering rules elsewhere"


def test_rules_are_tried_once():
  assert hasattr(rules.why_not, "cache_info")
