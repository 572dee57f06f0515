"""The published sets themselves, where JCL_DATA says that they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from jcl.streams import batching, scenarios, sources

FOLDER = os.environ.get("JCL_DATA")
pytestmark = pytest.mark.skipif(
  not FOLDER, reason="JCL_DATA does not name a folder of published data sets"
)


@pytest.mark.parametrize(
  "name, folder, shape, dtype, num_classes",
  [
    ("fashion_mnist", "fashion-mnist", (28, 28, 1), np.uint8, 10),
    ("cifar100", "cifar-100-python", (32, 32, 3), np.uint8, 100),
    ("dsads", "dsads", (125, 45), np.float32, 19),
    ("gas_drift", "gas-sensor-drift", (128,), np.float32, 6),
    ("electricity", "electricity", (6,), np.float32, 2),
  ],
)
def test_reads_the_published_files(name, folder, shape, dtype, num_classes):
  if not (Path(FOLDER) / folder).exists():
    pytest.skip(f"JCL_DATA has no {folder}")
  source = sources.load(name, FOLDER)
  assert source.train.x.shape[1:] == shape and source.train.x.dtype == dtype
  assert set(source.train.y) == set(source.test.y) == set(range(num_classes))
  stream = scenarios.class_incremental(source, tasks=2, holdout=0.1)
  data = stream.experiences[1].data
  rows = batching.batch_rows(batching.epoch_order(len(data), 0, 1, 0), 64)
  batch = batching.gather(data, 1, rows[:2])
  assert np.isin(batch.y, stream.task_classes[1]).all()


def test_sizes_as_published():
  for name, folder, train, test in (
    ("fashion_mnist", "fashion-mnist", 60_000, 10_000),
    ("cifar100", "cifar-100-python", 50_000, 10_000),
    ("electricity", "electricity", 36_252, 9_060),
  ):
    if (Path(FOLDER) / folder).exists():
      source = sources.load(name, FOLDER)
      assert (len(source.train), len(source.test)) == (train, test)


def test_groups_of_the_sensor_sets():
  for name, folder in (("dsads", "dsads"), ("gas_drift", "gas-sensor-drift")):
    if (Path(FOLDER) / folder).exists():
      stream = scenarios.domain_by_group(sources.load(name, FOLDER))
      assert len(stream.experiences) >= 8
