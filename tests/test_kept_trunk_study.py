"""The study of a trunk's outputs on disk, on few digits."""

import studies

from jcl.run import setup


def test_four_runs_are_compared(digits):
  study = studies.load("kept_trunk")
  asked = setup.Setup(
    stream="class_incremental:tasks=2", model="mlp:width=8,depth=1"
  )
  lines = list(study.compared(asked, study.few(digits, 4), "ncm"))
  rows = [line.replace("disk, ", "").split(",") for line in lines]
  names = [name for name, _ in study.CACHES]
  assert [line.split('"')[1] for line in lines] == names
  computed = [row[5:7] for row in rows]
  assert computed == [["-", "-"], ["80", "0"], ["80", "0"], ["0", "80"]]
  assert len({row[7] for row in rows}) == 1  # the accuracy
  assert len(rows[0]) == len(study.HEADER.split(",")) - 2
