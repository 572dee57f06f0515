import lzma
import zipfile
import zlib

import numpy as np
from PIL import Image
import pytest
import signatures

from jcl.streams import files, folders, scenarios, sources


def save(path, value, size=(4, 4)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, value).save(path)
  return path


@pytest.fixture
def animals(tmp_path):
  for i in range(3):
    save(tmp_path / "train" / "cat" / f"{i}.png", (i, 0, 0))
  save(tmp_path / "train" / "dog" / "0.PNG", (0, 200, 0))
  (tmp_path / "train" / "dog" / "notes.txt").write_text("not an image")
  return tmp_path


def test_image_folder(animals):
  train, test = folders.image_folder(animals)
  assert test is None
  assert train.class_names == ("cat", "dog")
  assert train.y.tolist() == [0, 0, 0, 1]
  assert train.x.shape == (4, 4, 4, 3) and train.x.dtype == np.uint8
  assert train.x[np.array([3, 1])][:, 0, 0].tolist() == [[0, 200, 0], [1, 0, 0]]
  assert train.x[2].shape == (4, 4, 3)
  assert train.x[np.array([], int)].shape == (0, 4, 4, 3)


@pytest.mark.parametrize("part", ["test", "val"])
def test_held_out_folder_and_other_place(animals, part):
  save(animals / part / "dog" / "9.jpg", (9, 9, 9))
  _, test = folders.image_folder(animals.parent, path=animals.name)
  assert test.y.tolist() == [1] and test.class_names == ("cat", "dog")
  save(animals / part / "emu" / "9.jpg", (9, 9, 9))
  save(animals / part / "dog" / "9.jpg", (9, 9, 9))
  source = sources.load("image_folder", animals)
  assert source.test.y.tolist() == [1, 2]
  stream = scenarios.class_incremental(source, tasks=1)
  assert stream.task_classes == ((0, 1),)
  assert "'emu'; 1 test example left out" in stream.notes[-1]


@pytest.mark.parametrize("part", ["Test", "testing", "VALID", "validation"])
def test_parts_may_have_other_names(animals, part):
  (animals / "train").rename(animals / "Training")
  save(animals / part / "dog" / "9.jpg", (9, 9, 9))
  (animals / "extra").mkdir()
  train, test = folders.image_folder(animals)
  assert len(train) == 4 and test.y.tolist() == [1]
  note = "folders beside Training/ not read: extra"
  assert note in train.notes and note in test.notes


def test_a_folder_without_training_images_is_told(animals):
  with pytest.raises(FileNotFoundError, match=r"no folder train/ .cat, dog in"):
    folders.image_folder(animals, path="train")
  with pytest.raises(FileNotFoundError, match="is no folder; images are read"):
    folders.image_folder(animals, path="train/cat/0.png")


def test_a_folder_is_looked_for_in_two_places(animals, tmp_path, monkeypatch):
  monkeypatch.chdir(animals.parent)
  elsewhere = tmp_path / "elsewhere"
  (elsewhere / animals.name / "train").mkdir(parents=True)
  train, _ = folders.image_folder(tmp_path / "nowhere", path=animals.name)
  assert train.class_names == ("cat", "dog")
  with pytest.raises(ValueError, match="holds no images"):  # looked for first
    folders.image_folder(elsewhere, path=animals.name)
  monkeypatch.chdir(animals)
  with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
    folders.image_folder(tmp_path / "nowhere")


def test_resizing_and_grey(animals):
  save(animals / "train" / "dog" / "big.png", (0, 0, 0), size=(9, 5))
  train, _ = folders.image_folder(animals, size=3, color="grey")
  assert train.x[np.arange(5)].shape == (5, 3, 3, 1)
  mixed, _ = folders.image_folder(animals)
  with pytest.raises(ValueError, match="big.png is 5 by 9 .*write size="):
    mixed.x[np.arange(5)]


def test_bad_options_and_missing_folder(animals, tmp_path_factory):
  with pytest.raises(ValueError, match="size=0: write the edge"):
    folders.image_folder(animals, size=0)
  with pytest.raises(ValueError, match="color='blue': write color=rgb"):
    folders.image_folder(animals, color="blue")
  with pytest.raises(FileNotFoundError, match="train"):
    folders.image_folder(tmp_path_factory.mktemp("empty"))


def test_damaged_image_is_named_when_it_is_read(animals):
  path = animals / "train" / "cat" / "1.png"
  path.write_bytes(path.read_bytes()[:50])
  train, _ = folders.image_folder(animals)
  train.x[np.array([0, 2])]
  with pytest.raises(ValueError, match="1.png is damaged"):
    train.x[np.array([0, 1])]


def test_other_files_and_empty_classes_are_counted_once(animals):
  for name in (".DS_Store", "._0.png", "Thumbs.db"):
    (animals / "train" / "dog" / name).write_bytes(b"hidden")
  (animals / "train" / "dog" / "two.TXT").write_text("not an image")
  (animals / "train" / "loose.png").write_text("in no class")
  (animals / "train" / "emu").mkdir()
  (animals / "train" / ".ipynb_checkpoints").mkdir()
  (animals / "train" / "README").write_text("")
  train, _ = folders.image_folder(animals)
  assert train.class_names == ("cat", "dog") and len(train) == 4
  assert train.notes == (
    "train/: class folders without images are left out: emu",
    "train/: 4 files were left out, as they are no images or in no class "
    "folder: 2 .txt, 1 .png, 1 without a suffix",
  )


def test_folders_below_a_class_are_read_and_links_end(animals):
  save(animals / "train" / "dog" / "more" / "7.png", (7, 0, 0))
  (animals / "train" / "dog" / "more" / "round").symlink_to(
    animals / "train" / "dog", target_is_directory=True
  )
  train, _ = folders.image_folder(animals)
  assert train.y.tolist() == [0, 0, 0, 1, 1]
  assert train.x[4][0, 0].tolist() == [7, 0, 0]


def test_names_of_classes_may_be_written_in_any_way(tmp_path):
  composed, decomposed = "caf\u00e9 noir", "cafe\u0301 noir"
  save(tmp_path / "train" / composed / "0.png", (0, 0, 0))
  save(tmp_path / "train" / "tea" / "0.png", (0, 0, 0))
  save(tmp_path / "test" / decomposed / "0.png", (0, 0, 0))
  train, test = folders.image_folder(tmp_path)
  assert train.class_names == (composed, "tea") and test.y.tolist() == [0]


def test_groups_are_a_level_above_the_classes(tmp_path):
  for i, place in enumerate(
    ("train/night/dog", "train/day/cat", "train/day/dog", "test/rain/cat")
  ):
    save(tmp_path / place / "0.png", (i, 0, 0))
  train, test = folders.image_folder(tmp_path, group=True)
  assert train.class_names == ("cat", "dog")
  assert train.y.tolist() == [0, 1, 1] and train.group.tolist() == [0, 0, 1]
  assert train.x[np.arange(3)][:, 0, 0, 0].tolist() == [1, 2, 0]
  assert test.y.tolist() == [0] and test.group.tolist() == [2]
  assert train.group_names == test.group_names == ("day", "night", "rain")


def test_one_range_for_training_and_test_images(tmp_path):
  for place, value in (("train/a", 1000), ("train/b", 4300), ("test/a", 9000)):
    save(tmp_path / place / "0.png", (0, 0, 0))
    pixels = np.full((2, 2), value, np.uint16)
    Image.fromarray(pixels).save(tmp_path / place / "0.png")
  train, test = folders.image_folder(tmp_path, color="grey")
  assert train.x[np.arange(2)][:, 0, 0, 0].tolist() == [0, 255]
  assert test.x[0].max() == 255  # clipped, not scaled by itself
  assert train.notes == (
    "train/: 2 of 2 images have more than 8 bits a value: 1000 to 4300 became "
    "0 to 255 (range=LOW-HIGH sets it)",
  )
  train, test = folders.image_folder(tmp_path, color="grey", range="0-9000")
  assert train.x[0].max() == 28 and test.x[0].max() == 255


def test_no_images(tmp_path):
  (tmp_path / "train" / "cat").mkdir(parents=True)
  (tmp_path / "train" / "cat" / "a.txt").touch()
  with pytest.raises(ValueError, match="holds no images as CLASS.* 1 .txt"):
    folders.image_folder(tmp_path)


@pytest.fixture
def tiny(tmp_path):
  root = tmp_path / "tiny-imagenet-200"
  for i, identifier in enumerate(("n02", "n01")):
    images = root / "train" / identifier / "images"
    for j in range(2):
      save(images / f"{identifier}_{j}.JPEG", (100 * i, 0, 0), (64, 64))
  save(root / "val" / "images" / "val_0.JPEG", (0, 0, 50), (64, 64))
  (root / "wnids.txt").write_text("n02\nn01\n")
  (root / "words.txt").write_text("n01\tgoldfish, carp\nn99\tghost\n")
  (root / "val" / "val_annotations.txt").write_text(
    "val_0.JPEG\tn01\t0\t0\t62\t62\n"
  )
  return tmp_path


def test_tiny_imagenet(tiny):
  train, test = folders.tiny_imagenet(tiny)
  assert train.class_names == ("n02", "goldfish")
  assert train.y.tolist() == [0, 0, 1, 1] and test.y.tolist() == [1]
  assert train.x.shape == (4, 64, 64, 3)
  assert abs(int(train.x[np.array([3])][0, 5, 5, 0]) - 100) < 3
  assert folders.tiny_imagenet(tiny, size=32)[1].x.shape == (1, 32, 32, 3)


def test_tiny_imagenet_damage(tiny):
  annotations = tiny / "tiny-imagenet-200" / "val" / "val_annotations.txt"
  annotations.write_text("val_0.JPEG\tn77\n")
  with pytest.raises(ValueError, match="n77 is not in"):
    folders.tiny_imagenet(tiny)
  annotations.write_text("val_0.JPEG\n")
  with pytest.raises(ValueError, match="val_annotations.txt is damaged"):
    folders.tiny_imagenet(tiny)
  with pytest.raises(FileNotFoundError, match="wnids.txt"):
    folders.tiny_imagenet(tiny / "elsewhere")


def test_defaults():
  assert signatures.defaults(folders.tiny_imagenet) == {"size": 64}


@pytest.mark.parametrize(
  "error",
  [
    *(OSError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(lzma.LZMAError, zipfile.BadZipFile, zlib.error),
  ],
)
def test_any_error_of_a_damaged_file_is_a_usage_error(
  error, tmp_path, monkeypatch
):
  def fail(path, file):
    raise error("no such thing")

  path = tmp_path / "a.csv"
  path.write_bytes(b"1")
  assert files.content(path) == b"1"
  monkeypatch.setattr(files, "up_to", fail)
  with pytest.raises(ValueError, match="a.csv is damaged .*no such thing"):
    files.content(path)


def test_text_of_another_encoding_or_none_is_told(tmp_path):
  path = tmp_path / "a.txt"
  with pytest.raises(ValueError, match="is damaged"):
    files.text(path)
  path.write_bytes(b"\xff")
  with pytest.raises(ValueError, match="is damaged .*utf-8.*; delete it"):
    files.text(path)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(folders.image_folder) == {
    "path": ".",
    "color": "rgb",
    "range": "data",
    "group": False,
  }
