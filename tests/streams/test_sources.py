import dataclasses

import numpy as np
import pytest
import signatures

from jcl import base
from jcl.options.errors import MissingFileError, UsageError
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


def test_arrays_number_labels_and_groups():
  x = np.zeros((3, 2))
  source = sources.arrays(
    x, [[9], [4], [9]], x, [4, 9, 7], group=list("bab"), group_test=list("cab")
  )
  train, test = source.train, source.test
  assert train.class_names == test.class_names == ("4", "7", "9")
  assert train.y.tolist() == [2, 0, 2] and test.y.tolist() == [0, 2, 1]
  assert train.group_names == test.group_names == ("a", "b", "c")
  assert train.group.tolist() == [1, 0, 1] and test.group.tolist() == [2, 0, 1]
  assert (
    sources.arrays(x, [0, 1, 0], x, [0, 1, 0], group=[4, 4, 9]).test.group
    is None
  )


def test_names_given_say_what_labels_mean():
  x = np.zeros((2, 1))
  for labels in ([0, 2], ["a", "c"]):
    source = sources.arrays(x, labels, x, [1, 1], class_names=["a", "b", "c"])
    assert source.train.y.tolist() == [0, 2] and source.test.y.tolist() == [
      1,
      1,
    ]
    assert source.train.class_names == ("a", "b", "c")
  with pytest.raises(
    ValueError, match="arrays .test set. has label 3 in row 1"
  ):
    sources.arrays(x, [0, 1], x, [0, 3], class_names=["a", "b", "c"])


@pytest.mark.parametrize(
  "options, message",
  [
    ({"group": [1, 2]}, r"groups of shape \(2,\)"),
    ({"group": [1, 2.5, 3]}, "group 2.5 in row 1, which is no whole number"),
    ({"group": ["a", None, "b"]}, r"no group in row 1 \(None\)"),
    ({"group": np.zeros((3, 2))}, r"groups of shape \(3, 2\); give one group"),
    ({"class_names": 2}, "class_names=2: give a list of one name for each"),
    ({"group_test": [1, 2, 3]}, "goes with group; give x_test and y_test"),
  ],
)
def test_groups_that_do_not_fit(options, message):
  with pytest.raises(ValueError, match=message):
    sources.arrays(np.zeros((3, 2)), [0, 1, 0], **options)


def test_many_class_names_that_differ_make_a_short_message():
  train, test = (
    base.Dataset("toy", np.zeros((1, 2)), np.zeros(1, int), names)
    for names in (
      tuple(map(str, range(10**4))),
      tuple(map(str, range(5, 10**5))),
    )
  )
  with pytest.raises(
    ValueError, match="only the first have '0', '1'"
  ) as raised:
    sources.Source(train, test)
  assert len(str(raised.value)) < 400
  test = dataclasses.replace(train, class_names=train.class_names[::-1])
  with pytest.raises(ValueError, match="name the classes in the same"):
    sources.Source(train, test)


@pytest.mark.parametrize(
  "test, message",
  [
    ((np.zeros((1, 3)), [0]), r"agree in example shape; .*\(2,\) and \(3,\)"),
    ((np.zeros((1, 2), np.uint8), [0]), "agree in dtype"),
    ((np.zeros((1, 2)), None), "both x_test and y_test"),
    ((None, [0]), "both x_test and y_test"),
  ],
)
def test_training_and_test_data_must_agree(test, message):
  with pytest.raises(ValueError, match=message):
    sources.arrays(np.zeros((3, 2)), [0, 1, 0], *test)


def test_what_cannot_be_read_tells_the_file(tmp_path, monkeypatch):
  def raising(error):
    def read(data_dir):
      assert data_dir == tmp_path
      raise error

    monkeypatch.setitem(sources.READERS, "mine", read)
    with pytest.raises(UsageError) as caught:
      sources.load("mine", tmp_path)
    return caught.value

  lost = raising(FileNotFoundError(2, "gone", "a.npz"))
  assert isinstance(lost, MissingFileError)
  assert str(lost) == "data set 'mine' cannot be read: gone: 'a.npz'"
  odd = raising(OSError("odd"))
  assert not isinstance(odd, MissingFileError)
  assert str(odd) == "data set 'mine' cannot be read: odd"
  for told in (UsageError("as told"), MissingFileError("as told")):
    assert raising(told) is told


def test_scales_of_numbers_that_are_no_bytes_need_not_agree():
  x = np.zeros((2, 2), np.float32)
  first, second = (
    sources.arrays(x, [0, 1], scale=scale).train for scale in (1.0, 2.0)
  )
  sources.agree("both", first, second)


def test_classes_that_one_part_alone_names():
  x = np.zeros((2, 2), np.float32)
  fewer, more = (
    base.Dataset("toy", x, np.zeros(2, int), names)
    for names in (("0",), ("0", "1"))
  )
  for given, only in (
    ((fewer, more), "only the first have none, only the second '1'"),
    ((more, fewer), "only the first have '1', only the second none"),
  ):
    with pytest.raises(UsageError, match=only):
      sources.Source(*given)


def test_a_source_is_the_same_as_itself_alone():
  source = sources.arrays(np.zeros((2, 2)), [0, 1])
  assert source == source and sources.Source(source.train, None) != source


def test_groups_of_the_test_set_go_with_groups():
  x = np.zeros((2, 2))
  with pytest.raises(ValueError, match="give group, of training data"):
    sources.arrays(x, [0, 1], x, [0, 1], group_test=[0, 1])


def test_empty_arrays():
  with pytest.raises(ValueError, match="give both x_train and y_train"):
    sources.arrays(None, [0, 1])
  with pytest.raises(ValueError, match="give both x_train and y_train"):
    sources.arrays(np.zeros((3, 2)), None)
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


def test_records_that_hold_arrays_equal_themselves_alone():
  assert signatures.equal_themselves_alone(sources.Source)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(sources.agree) == {"same_classes": True}
