"""Who plays on a set of images, and what is refused before any work."""

import types

import numpy as np
from PIL import Image
import pytest
import signatures
import tiny_network

from jcl.serving import setup
from jcl.streams import sources

PARTS = {"student": "mlp:width=4,depth=1", "teacher": "mlp:width=4,depth=1"}


@pytest.fixture
def images():
  generator = np.random.default_rng(0)
  return generator.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
  for i, pixels in enumerate(images):
    path = tmp_path / "train" / "ab"[i % 2] / f"{i:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
  return tmp_path


def test_images_that_are_decoded_when_read_are_served_like_arrays(
  folder, images, tmp_path
):
  read = sources.load("image_folder", folder)
  assert read.test is None and not isinstance(read.train.x, np.ndarray)
  order = np.r_[0:12:2, 1:12:2]  # as files lie in their folders
  held = sources.arrays(images[order], np.repeat([0, 1], 6))
  chosen = setup.roles(read, **PARTS)
  assert chosen == setup.roles(held, **PARTS) and chosen.classes == 2
  small = chosen._replace(stills=(8, 8), epochs=(1, 1))
  made = [
    setup.Assets(source, small, tmp_path / name).learned("student", 0)
    for name, source in (("read", read), ("held", held))
  ]
  assert tiny_network.same_bits(*made)


LARGE = ("slim_resnet18:filters=8", "slim_resnet18:filters=16")
SMALL = ("mlp:width=64", "mlp:width=400")


@pytest.mark.parametrize(
  "sides, expected",
  [
    ((16, 17), (*LARGE, (12000, 2000), (6, 10), 9, 1)),
    ((15, 40), (*SMALL, (4000, 4000), (8, 8), 9, 2)),
    ((16, 8), (*SMALL, (4000, 4000), (8, 8), 9, 3)),
  ],
)
def test_roles_depend_on_the_smaller_side(sides, expected):
  x, y = np.zeros((30, *sides, 1), np.uint8), np.arange(30) % 10
  source = sources.arrays(x, y)
  found = setup.roles(source)
  assert found == (*expected, "finetune", "float32")
  assert setup.roles(source, "a", "b", 4)[:2] == ("a", "b")
  assert setup.roles(source, classes=4).classes == 4


def assets(images, folder, footage=None):
  """Assets of two perceptrons, which learn of few images."""
  source = sources.arrays(images, np.arange(12) % 2)
  roles = setup.roles(source, **PARTS)._replace(stills=(4, 6), epochs=(1, 2))
  return setup.Assets(source, roles, folder, footage)


def test_frames_of_the_user_are_kept_for_a_seed(images, tmp_path, monkeypatch):
  monkeypatch.setattr(
    setup.Assets,
    "labeller",
    lambda self, seed: lambda images: np.full(len(images), seed),
  )
  for labels, truth in ((np.arange(12) % 2, [0, 1] * 6), (None, [3] * 12)):
    frames = setup.footage.Footage(images, labels, changes=(3, 5))
    made = assets(images, tmp_path, frames)
    found = made.stream("frames", 3, fps=2)
    assert made.stream("frames", 3, fps=2) is found
    assert made.stream("frames", 4, fps=2) is not found
    assert found.labels.tolist() == truth and found.fps == 2
    assert found.images is images and found.by_teacher == (labels is None)
    assert made.changes("frames", 3) == (3, 5)


def test_frames_of_a_script_are_rendered_once(images, tmp_path, monkeypatch):
  rendered = []

  def render(images, script):
    rendered.append(script.seed)
    return images[: len(script)]

  class Script:
    name, label, fps = "S1", np.array([0, 1]), 3

    def __init__(self, seed):
      self.seed = seed

    def __len__(self):
      return 2

  monkeypatch.setattr(setup.rendering, "Frames", render)
  made = assets(images, tmp_path)
  first = made.frames(Script(0))
  assert made.frames(Script(0)) is first and rendered == [0]
  assert (len(first), first.fps, first.by_teacher) == (2, 3, False)
  assert made.frames(Script(1)) is not first and rendered == [0, 1]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_what_each_learns_from(role, images, tmp_path, monkeypatch):
  asked = []

  def stills(labels, rows, **options):
    asked.append((rows.tolist(), options))
    return types.SimpleNamespace(label="labels")

  monkeypatch.setattr(setup.image_pool, "stills", stills)
  monkeypatch.setattr(setup.rendering, "Frames", lambda images, plan: images)
  monkeypatch.setattr(
    setup.models, "pretrain", lambda *given, **options: (given, options)
  )
  made = assets(images, tmp_path)
  (network, frames, labels), options = made._train(role, 5)
  parts = setup.drifting.split(np.arange(12) % 2, seed=5)
  own = parts.pretrain if role == "student" else parts.teacher
  first = role == "student"
  conditions = setup.image_pool.BASE if first else setup.image_pool.EVERYWHERE
  told = {"each": 4 if first else 6, "seed": 5, "conditions": conditions}
  assert asked == [(own.tolist(), told)]
  assert network is made._networks[role] and labels == "labels"
  assert frames.shape == (12, 24, 24, 3)
  assert (options["epochs"], options["seed"]) == (1 if first else 2, 5)


@pytest.mark.parametrize(
  "shape, dtype, told",
  [
    ((12, 8), np.float32, r"shape \(8,\) and dtype float32"),
    ((12, 8, 3), np.float32, r"shape \(8, 3\)"),
    ((12, 8, 8), np.uint8, r"x\[..., None\]"),
    ((12, 8, 8, 3), np.float32, "dtype uint8"),
    ((12, 8, 8, 2), np.uint8, "1 or 3 channels"),
  ],
)
def test_what_no_camera_shows_is_refused(shape, dtype, told):
  source = sources.arrays(np.ones(shape, dtype), np.arange(12) % 2)
  with pytest.raises(ValueError, match=told):
    setup.roles(source)


def test_a_class_of_too_few_images_is_named(images):
  y = np.arange(12) % 2
  y[-1] = 2
  source = sources.arrays(images, y, class_names=("cat", "dog", "owl"))
  with pytest.raises(ValueError, match="'owl' of arrays has 1 images"):
    setup.roles(source)
  with pytest.raises(ValueError, match="classes=1"):
    setup.roles(sources.arrays(images, np.zeros(12, int)))


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(setup.roles) == {
    "student": "",
    "teacher": "",
    "classes": 9,
  }
  assert signatures.defaults(setup.Roles) == {
    "classes": 9,
    "enlarge": 1,
    "recipe": "finetune",
    "precision": "float32",
  }
  assert signatures.defaults(setup.Assets.stream_script) == {
    "fps": 30,
    "segment_seconds": 60,
    "segments": 28,
  }
