"""The command that tells what a step's time goes to."""

import pytest
import ready
import studies

SCRIPT = ready.ROOT / "experiments" / "step_parts.py"

PROGRAM = """HloModule jit_step

%fused (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %b = f32[4]{0} negate(%a)
  ROOT %c = f32[4]{0} dot(%a, %b), lhs_contracting_dims={0}
}

%moved (a.1: f32[4]) -> f32[2,2] {
  %a.1 = f32[4]{0} parameter(0)
  ROOT %d = f32[2,2]{1,0} bitcast(%a.1)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %loop = (s32[], f32[4]{0}) while(%x), condition=%moved, body=%fused
  %one.2 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %two = f32[2,2]{1,0} fusion(%x), kind=kLoop, calls=%moved
  %three = f32[4]{0} tanh(%x)
  %sum = f32[] reduce(%x, %x), dimensions={0}, to_apply=%moved
  ROOT %call = f32[4]{0} custom-call(%x), custom_call_target="jcl"
}
"""


@pytest.fixture(scope="module")
def study():
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(studies.FOLDER))
    return studies.load("step_parts")


def test_operations_are_told_apart_by_what_they_fuse(study):
  found = study.parts_of(PROGRAM)
  assert found["one.2"] == "matrix products"
  assert found["two"] == "copies and layouts"
  assert found["three"].startswith("element by element")
  assert found["sum"] == "sums and means"
  assert found["call"] == "kernels of oneDNN"
  assert "loop" not in found  # its operations count alone


def test_times_that_overlap_count_once(study):
  ran = [study.Ran("a", 5, 9), study.Ran("b", 0, 4), study.Ran("c", 2, 6)]
  assert study.busy(ran) == 9
  assert study.busy([]) == 0
  rows = study.table(ran, {"a": "sums", "b": "sums"}, steps=2)
  assert rows == {"sums": {"ms": 4e-6, "operations": 1.0, "longest": "a"}}


def test_a_step_is_taken_apart(tmp_path):
  out = tmp_path / "parts.csv"
  done = ready.call(SCRIPT, "--quick", "--steps=1", f"--out={out}")
  assert done.returncode == 0, done.stderr
  header, *rows = out.read_text().splitlines()
  assert header == "workload,who,part,ms,share,operations,longest"
  parts = {row.split(",")[2] for row in rows}
  assert {"matrix products", "draws and memory"} <= parts
  shares = [float(row.rsplit(",", 3)[1]) for row in rows]
  assert sum(shares) == pytest.approx(1, abs=0.05)
  assert shares == sorted(shares, reverse=True)
  assert "some operation runs in" in done.stdout


def test_workloads_that_do_not_exist():
  done = ready.call(SCRIPT, "--workloads=mlp_11")
  assert done.returncode != 0 and "'mlp_11': choose from" in done.stderr
