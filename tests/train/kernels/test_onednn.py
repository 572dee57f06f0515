"""Plans of oneDNN: threads, working memory and layouts."""

import ctypes
import os
import re

import pytest

from jcl.train.kernels import lowering, onednn, problem

installed = pytest.mark.skipif(
  bool(lowering.why_not()), reason=f"no kernels: {lowering.why_not()}"
)


def convolution(kind="forward", groups=1, channels=6):
  x, w, y = (
    problem.Operand(shape, (0, 3, 1, 2))
    for shape in ((2, 6, 6, channels), (3, 3), (2, 4, 4, 10))
  )
  w = problem.Operand((3, 3, channels // groups, 10), (3, 2, 0, 1))
  if kind == "inputs" and groups > 1:
    w = problem.Operand((3, 3, 10 // groups, channels), (2, 3, 0, 1))
  edges = ((0, 0), (0, 0))
  return problem.Problem(kind, x, w, y, groups, (1, 1), (1, 1), edges)


@pytest.fixture
def threads(monkeypatch):
  """The numbers of threads that plans are made for."""
  dnnl, seen = onednn.library(), []

  def make(problem, is_shared):
    seen.append(dnnl.omp_get_max_threads())
    return onednn.Plan(is_shared, (), 0)

  monkeypatch.setattr(onednn, "_plan", make)
  before = dnnl.omp_get_max_threads()
  dnnl.omp_set_num_threads(3)
  yield seen
  assert dnnl.omp_get_max_threads() == 3
  dnnl.omp_set_num_threads(before)


@installed
def test_plans_are_made_for_one_thread_or_all(threads):
  for is_shared in (False, True):
    plan = onednn.plan.__wrapped__(convolution(), is_shared)
    assert plan.is_shared is is_shared
  assert threads == [1, 3]


@installed
@pytest.mark.parametrize("kind", ["forward", "inputs", "weights"])
def test_working_memory_is_filled_without_gaps(kind):
  plan = onednn.plan(convolution(kind), True)
  assert plan is onednn.plan(convolution(kind), True)
  parts = {
    argument.offset: onednn._size(argument.layout)
    for step in plan.steps
    for argument in step.arguments
    if argument.buffer == onednn.SCRATCH
  }
  end = 0
  for offset, size in sorted(parts.items()):
    assert offset == end and size > 0
    end = offset + -(-size // 64) * 64
  assert end == plan.scratch > 0


def test_sizes_are_rounded_up_to_lines_of_memory():
  sizes = (0, 1, 63, 64, 65, 128)
  assert [*map(onednn._aligned, sizes)] == [0, 64, 64, 64, 128, 128]


def test_gradients_among_the_arrays():
  roles = onednn._SOURCE, onednn._WEIGHTS, onednn._RESULT
  found = {
    kind: [onednn._is_gradient(kind, role) for role in roles]
    for kind in ("forward", "inputs", "weights")
  }
  assert found == {
    "forward": [False, False, False],
    "inputs": [True, False, True],
    "weights": [False, True, True],
  }


def test_weights_of_groups_have_an_axis_of_groups():
  one = convolution()
  assert onednn._grouped(one) == ((10, 6, 3, 3), (1, 10, 180, 60))
  # Of two groups, the second has the outputs from 5 on.
  two = convolution(groups=2)
  assert onednn._grouped(two) == ((2, 5, 3, 3, 3), (5, 1, 10, 90, 30))
  # For the gradient of the input, it has the inputs from 3 on.
  back = convolution("inputs", groups=2)
  assert onednn._grouped(back) == ((2, 5, 3, 3, 3), (3, 6, 1, 90, 30))


@installed
def test_the_library_tells_its_version():
  found = onednn.describe()
  assert re.fullmatch(r"oneDNN 3\.\d+\.\d+ \(\d+ threads\)", found)
  assert lowering.describe() == found
  numbers = onednn.library().dnnl_version().contents
  assert f" {numbers[0]}.{numbers[1]}.{numbers[2]} (" in found
  assert onednn._options() is onednn._options()
  assert onednn._engine() is onednn._engine()
  assert onednn.library() is onednn.library()
  assert (onednn.engine(), onednn.stream()) == onednn._engine()


@pytest.mark.parametrize("policy", [None, "active"])
def test_a_library_that_does_not_load_is_missing(policy, monkeypatch):
  monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
  if policy:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
  seen = []

  def load(path):
    seen.append((path, os.environ["OMP_WAIT_POLICY"]))
    raise OSError("no libgomp")

  monkeypatch.setattr(onednn, "_path", lambda: "here")
  monkeypatch.setattr(ctypes, "CDLL", load)
  with pytest.raises(onednn.Missing, match="no libgomp"):
    onednn.library.__wrapped__()
  assert seen == [("here", policy or "passive")]
  assert os.environ.get("OMP_WAIT_POLICY") == policy


@installed
@pytest.mark.parametrize("name", ["ref:any", "gemm:jit"])
def test_slow_kernels_are_none(name, monkeypatch):
  monkeypatch.setattr(onednn, "_implementation", lambda made: name)
  with pytest.raises(onednn.Missing, match="no kernel of its own"):
    onednn._plan(convolution(), True)


def test_statuses():
  onednn._check(0)
  for status in (1, -1):
    with pytest.raises(onednn.Missing, match=f"refuses with status {status}"):
      onednn._check(status)
  assert onednn._size(0) == 0


class Package:
  version = "3.9"

  def __init__(self, *names):
    self.files = [onednn.Path(name) for name in names] or None

  def locate_file(self, file):
    return onednn.Path("/opt") / file


def test_where_the_library_lies(monkeypatch):
  def use(*names):
    monkeypatch.setattr(
      onednn.metadata, "distribution", lambda name: Package(*names)
    )

  use("lib/libdnnl.so", "lib/libdnnl.so.3")
  assert onednn._path() == onednn.Path("/opt/lib/libdnnl.so.3")
  for names in (["lib/libdnnl.so"], []):
    use(*names)
    with pytest.raises(onednn.Missing, match="3.9 has no libdnnl.so.3"):
      onednn._path()
