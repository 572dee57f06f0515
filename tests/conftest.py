"""Small, real pieces that many tests build on."""

import os
from pathlib import Path

import hypothesis
import jax
import pytest

from jcl import session
from jcl.networks import catalogue
from jcl.streams import scenarios, sources

# Compiles in half the time, to slower machine code. XLA's own passes, and with
# them all figures of programs, stay as they are.
os.environ["XLA_FLAGS"] = " ".join(
  [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
)

# What one test has compiled, no other compiles again; processes that tests
# start inherit the variables.
for option, value in {
  "jax_compilation_cache_dir": str(
    Path(__file__).parent.parent / ".pytest_cache" / "compiled"
  ),
  "jax_persistent_cache_min_compile_time_secs": 0.0,
  "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
  jax.config.update(option, value)
  os.environ[option.upper()] = str(value)

# A checkout passes or fails the same way each time it is tested, however busy
# the machine is.
hypothesis.settings.register_profile(
  "repeatable",
  derandomize=True,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

# The tests marked `quick`, by file or name: what reads programs of JAX, every
# kind of network, every recipe, one run from end to end and one resumed. They
# tell within three minutes whether a version of Python and JAX will do.
QUICK = (
  "cost/test_gemms.py",
  "kernels/test_rules.py",
  "networks/test_chain.py",
  "networks/test_linen.py",
  "networks/test_nnx.py",
  "networks/test_order.py",
  "networks/test_precision.py",
  "networks/test_progressive.py",
  "profiling/test_learners.py",
  "profiling/test_operations.py",
  "test_alike.py",
  "test_checkpoint.py",
  "test_jaxprs.py",
  "test_layers.py",
  "test_recipes.py::test_recipe_keeps_the_contract",
  "test_run.py::test_main_job_writes_everything",
  "test_run.py::test_the_same_command_again_trains_nothing",
  "test_surroundings.py",
)


def pytest_collection_modifyitems(items):
  for item in items:
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    name = f"{path}::{item.name.partition('[')[0]}"
    if any(each in (path, name) for each in QUICK):
      item.add_marker("quick")


@pytest.fixture(scope="session")
def digits():
  """Scikit-learn's digits, thinned so that a whole run takes a second."""
  source = sources.load("digits")
  train, test = source.train, source.test
  return sources.arrays(
    train.x[::3], train.y[::3], test.x[::3], test.y[::3], scale=16.0
  )


@pytest.fixture(scope="session")
def stream(digits):
  return scenarios.class_incremental(digits, tasks=5)


@pytest.fixture(scope="session")
def network(stream):
  return catalogue.build(
    "mlp", stream.example_shape, stream.num_classes, width=20, depth=1
  )


@pytest.fixture
def learn(stream, network):
  """Runs a method on the thinned digits for one epoch."""

  def run(method, **options):
    options = {"epochs": 1, "batch_size": 10, "learning_rate": 0.1, **options}
    return session.learn(
      options.pop("stream", stream),
      options.pop("network", network),
      method,
      **options,
    )

  return run
