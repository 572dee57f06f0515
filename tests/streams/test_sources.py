import numpy as np
import pytest

from jcl.streams import sources


def test_arrays():
  source = sources.arrays(
    np.zeros((3, 2)), [0, 1, 0], np.ones((1, 2)), [2], name="mine"
  )
  assert source.train.name == "mine"
  assert source.train.class_names == source.test.class_names == ("0", "1", "2")
  assert source.train.x.dtype == np.float32
  assert sources.arrays(np.zeros((3, 2)), [0, 1, 0]).test is None


def test_arrays_scale_and_names():
  x = np.zeros((2, 4), np.uint8)
  source = sources.arrays(x, [0, 1], scale=16, class_names=("no", "yes"))
  assert source.train.scale == 16 and source.train.class_names == ("no", "yes")
  assert sources.arrays(x, [0, 1]).train.scale == 255.0


@pytest.mark.parametrize(
  "test, message",
  [
    ((np.zeros((1, 3)), [0]), r"agree in example shape; .*\(2,\) and \(3,\)"),
    ((np.zeros((1, 2), np.uint8), [0]), "agree in dtype"),
    ((np.zeros((1, 2)), None), "both x_test and y_test"),
  ],
)
def test_training_and_test_data_must_agree(test, message):
  with pytest.raises(ValueError, match=message):
    sources.arrays(np.zeros((3, 2)), [0, 1, 0], *test)


def test_empty_arrays():
  with pytest.raises(ValueError, match="arrays is empty"):
    sources.arrays(np.zeros((0, 2)), [])


def test_load_by_name(tmp_path):
  assert len(sources.load("digits").train) == 1438
  np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=[0, 1])
  assert sources.load("npz", str(tmp_path), path="a.npz").test is None


@pytest.mark.parametrize(
  "name, options, message",
  [
    ("imagenet", {}, "no data set is called 'imagenet'.*choose from cifar10, "),
    ("cifar100", {"label": "fine"}, "no option 'label'.*download, labels"),
    ("digits", {"size": 3}, "no option 'size'; choose from none"),
    ("csv", {}, "needs the option path=..."),
  ],
)
def test_unknown_names_list_the_choices(name, options, message):
  with pytest.raises(ValueError, match=message):
    sources.load(name, ".", **options)


def test_every_reader_is_described():
  described = sources.describe()
  assert set(described) == set(sources.READERS)
  assert all(len(line) > 20 for line in described.values())
