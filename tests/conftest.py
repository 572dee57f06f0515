"""Small, real pieces that many tests build on."""

import ctypes
import gc
import os
from pathlib import Path

import contexts
import hypothesis
import jax
from matplotlib import figure
from PIL import Image
import psutil
import pytest
import quick_tests

from jcl.networks import catalogue
from jcl.report import drawing
from jcl.run import session
from jcl.streams import scenarios, sources

# Compiles in half the time, to slower machine code. XLA's own passes, and with
# them all figures of programs, stay as they are.
_FLAGS = ["--xla_backend_optimization_level=0"]
if jax.__version_info__[:2] == (0, 10):
  # Its emitter through MLIR compiles three times as long as the one before;
  # later versions have no other, and refuse a flag that they do not know.
  _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
  # To cut a program into parts to compile takes as long as to compile them.
  _FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
# Two places that the GNU library takes memory from, for all threads: what is
# free in others stays unused, and one is waited for. It is read at the start.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS])

contexts.share()

# Folders and files of tests that look at pictures. Others need some picture at
# its place, whatever it shows: drawing takes a fifth of the time of many runs.
_DRAWN = (
  *("report", "serving/test_virtual.py", "run/generality", "test_run.py"),
  *("test_experiments.py", "test_pretrained_study.py"),
)

# Bytes that a process may hold before it gives some back, and how many have
# come since the last time when it pays to do so again.
_ROOM, _MANY = 1000 << 20, 150 << 20

# Programs are traced into objects that stay: looking for cycles among them
# after every 700, as Python does by itself, takes a twentieth of the time.
gc.set_threshold(20_000, 10, 10)

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

# Where every operation of a program was written is looked up for messages of
# compilers, which no test reads.
jax.config.update("jax_traceback_in_locations_limit", 0)
jax.config.update("jax_include_full_tracebacks_in_locations", False)

# A checkout passes or fails the same way each time it is tested, however busy
# the machine is.
hypothesis.settings.register_profile(
  "repeatable",
  derandomize=True,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_ignore_collect(collection_path, config):
  """Leaves files without quick tests unread where these alone are asked for."""
  if config.option.markexpr == "quick" and collection_path.suffix == ".py":
    path = os.path.relpath(collection_path, Path(__file__).parent)
    if not any(each.partition("::")[0] == path for each in quick_tests.QUICK):
      return True
  return None


def pytest_collection_modifyitems(items):
  for item in items:
    path = os.path.relpath(item.path, Path(__file__).parent)
    whole = f"{path}::{item.name}"
    names = {path, whole, whole.partition("[")[0]}
    if not names.isdisjoint(quick_tests.QUICK):
      item.add_marker("quick")


def pytest_collection_finish():
  _free()
  gc.freeze()  # tests and modules stay to the end: nothing to look through


@pytest.fixture(scope="session")
def left():
  """Bytes that the process held after it had given some back."""
  return [0]


def pytest_runtest_teardown(item, nextitem):
  """Lets go of what the functions of a module have kept for its own tests."""
  module = getattr(item, "module", None)
  if module is None or getattr(nextitem, "module", None) is module:
    return
  for each in vars(module).values():
    forget = getattr(each, "cache_clear", None)
    if forget is not None and each.__module__ == module.__name__:
      forget()


@pytest.fixture(scope="module", autouse=True)
def _sketch(request):
  """Leaves drawing out where tests do not look at pictures."""
  path = request.path.relative_to(Path(__file__).parent)
  with pytest.MonkeyPatch.context() as patch:
    if not {path, *path.parents} & set(map(Path, _DRAWN)):
      patch.setattr(figure.Figure, "savefig", _save_dot)
      patch.setattr(drawing, "save", _save_dot)
    yield


def _save_dot(figure, path, **_):
  Image.new("L", (1, 1)).save(path, "PNG")


@pytest.fixture(autouse=True)
def _give_back(left):
  """Gives memory back where tests have added much.

  A part is free already, between pieces in use, where the GNU library keeps it;
  programs are let go, and compiled again, only where the rest is too much.
  """
  yield
  if _held() > max(_ROOM, left[0] + _MANY):
    _trim()
    if _held() > _ROOM:
      _free()
    left[0] = _held()


def _free() -> None:
  jax.clear_caches()
  gc.collect()
  _trim()


def _trim() -> None:
  if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
    trim(0)


def _held() -> int:
  return psutil.Process().memory_info().rss


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
