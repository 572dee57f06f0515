"""`jcl merge`: a new folder of runs that add up."""

import numpy as np

import jcl
from jcl.run.inference import files


def test_the_command_writes_a_new_folder_alone(jcl_command, tmp_path):
  x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
  y = np.where(np.abs(x[:, 0]) < 0.5, "inner", "outer")
  network = jcl.build_network("mlp", (1,), 2, width=8, depth=1)
  for number in range(2):
    part = slice(number, None, 2)
    source = jcl.arrays(x[part], y[part], x_test=x, y_test=y)
    stream = jcl.class_incremental(source, tasks=1, normalize="none")
    jcl.learn(stream, network, jcl.recipes.ncm(), workdir=f"run_{number}")
  status, told = jcl_command("merge", "run_0", "run_1", "--workdir=both")
  assert status == 0
  assert "both/model.npz: 2 runs, 40 examples of 2 classes" in told
  assert files.load("both").predict(x[[0, 20]]).tolist() == ["outer", "inner"]
  status, told = jcl_command("merge", "run_0", "--workdir=both")
  assert status == 2 and "both is not empty" in told
  for words in (["run_0"], ["--workdir=new"]):
    status, told = jcl_command("merge", *words)
    assert status == 2 and "jcl merge RUN... --workdir=DIR" in told
