"""`jcl serve --frames`: a list and a video from the command line."""

import csv
import sys

from absl.testing import flagsaver
import numpy as np
from PIL import Image
import pytest

from jcl.cli import definitions, start
from jcl.serving import footage, setup
from jcl.streams import sources, video

WORDS = (
  "frozen",
  "--fps=1",
  "--segment_seconds=5",
  "--model=mlp:width=8,depth=1",
  "--teacher=mlp:width=8,depth=1",
  "--cache_dir=none",
)


@pytest.fixture
def serve(capsys, monkeypatch):
  """Calls `jcl serve` with a short pre-training; returns status and output."""
  chosen = setup.roles

  def short(*parts, **more):
    return chosen(*parts, **more)._replace(stills=(60, 60), epochs=(2, 2))

  monkeypatch.setattr(setup, "roles", short)

  def call(*words):
    monkeypatch.setattr(sys, "argv", ["/somewhere/jcl", "serve", *words])
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
      start.jcl()
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err

  return call


@pytest.fixture
def drive(tmp_path):
  """A list of images of all ten digits, as PNG files beside it."""
  data = sources.load("digits").train
  rows = [["file", "category"]]
  for i in range(50):
    pixels = (255 / 16 * data.x[i, ..., 0]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    rows.append([f"{i}.png", data.class_names[data.y[i]]])
  assert len({name for _, name in rows[1:]}) == 10
  with (tmp_path / "drive.csv").open("w", newline="") as file:
    csv.writer(file).writerows(rows)
  return tmp_path / "drive.csv"


def test_a_list_is_served_and_known_again(serve, drive, tmp_path):
  words = (*WORDS, "dacapo:labels=4", f"--frames={drive}")
  words = (*words, f"--workdir={tmp_path / 'w'}")
  status, told, error = serve(*words)
  assert status == 0, error
  assert "frames  frozen  seed 0: " in told and "agreement" not in told
  page = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
  assert "drive.csv" in page and "agreement" not in page
  assert serve(*words)[1] == told
  Image.new("L", (8, 8), 7).save(tmp_path / "3.png")  # another frame
  status, _, error = serve(*words)
  assert status == 2 and "digest of the frames" in error


def test_a_video_is_served_in_agreement_with_the_teacher(
  serve, tmp_path, monkeypatch
):
  def frames(place, *, size=None, fps=None):
    generator = np.random.default_rng(0)
    for i in range(50):
      shown = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
      yield video.Frame(float(i), shown)

  monkeypatch.setattr(video, "frames", frames)
  (tmp_path / "drive.mp4").write_bytes(b"video")
  told = serve(
    *WORDS,
    f"--frames={tmp_path / 'drive.mp4'}",
    f"--workdir={tmp_path / 'w'}",
  )
  assert told[0] == 0, told[2]
  assert "%, agreement with the teacher" in told[1]
  assert "became grey, as digits is" in told[1] and "accuracy" not in told[1]
  page = (tmp_path / "w" / "report.html").read_text(encoding="utf-8")
  assert "scores are" in page and "agreement with the teacher" in page


@pytest.mark.parametrize(
  "words, told",
  [
    (("--frames=none.csv",), "--frames=none.csv: there is no such file"),
    (("--frames=camera:x",), "camera's number"),
    (("--frames=camera:0", "--oracle"), "--oracle has the truth"),
    (("--frames=LIST", "--scenario=S1"), "give one of them"),
    (("--frames=LIST", "--fps=30"), "give 1500 frames or more"),
  ],
)
def test_mistakes_are_told(serve, drive, tmp_path, words, told):
  words = [word.replace("LIST", str(drive)) for word in words]
  status, _, error = serve(*WORDS, *words, f"--workdir={tmp_path / 'w'}")
  assert status == 2 and told in error and "Traceback" not in error
  assert not (tmp_path / "w").exists()


def test_frames_name_the_folder(serve, drive, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert definitions.ALL["frames"].identifies == (definitions.SERVE,)
  for words in ((f"--frames={drive}",), ()):
    assert serve(*WORDS, *words)[0] == 0
  assert len(list((tmp_path / "runs").iterdir())) == 2
  assert footage.NAME in {p.name for p in (tmp_path / "runs").glob("*/*")}
