from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from jcl.streams import dealing

NAMES = ("cat", "dog", "3", "1", "0")
EVERY = range(5)


def deal(tasks, order="natural", present=EVERY, names=NAMES, seed=0):
  return dealing.classes(names, list(present), tasks, order, seed)


@pytest.mark.parametrize(
  "tasks, sizes",
  [
    (1, [5]),
    (3, [2, 2, 1]),
    (np.int64(5), [1] * 5),
    ("2", [3, 2]),
    (2.0, [3, 2]),
    ("auto", [1] * 5),
    ([4, 1], [4, 1]),
    ("4+1", [4, 1]),
    ("3+1x2", [3, 1, 1]),
    (" 1x2 + 3 ", [1, 1, 3]),
    ("5x1", [5]),
  ],
)
def test_sizes(tasks, sizes):
  dealt = deal(tasks)
  assert [len(part) for part in dealt] == sizes
  assert [label for part in dealt for label in part] == list(EVERY)


def test_auto_is_five_or_as_many_as_there_are():
  hundred = tuple(map(str, range(100)))
  assert len(deal("auto", present=range(100), names=hundred)) == 5
  assert deal("auto", present=[1, 3]) == [(1,), (3,)]
  assert len(deal("50+10x5", present=range(100), names=hundred)) == 6


@given(
  st.lists(st.integers(1, 4), min_size=1, max_size=6),
  st.integers(0, 3),
  st.sampled_from(["natural", "random"]),
)
def test_every_class_is_dealt_once(sizes, extra, order):
  names = tuple(map(str, range(sum(sizes) + extra)))
  present = list(range(extra, len(names)))
  dealt = deal(sizes, order, present, names)
  assert [len(part) for part in dealt] == sizes
  assert sorted(label for part in dealt for label in part) == present
  assert deal("+".join(map(str, sizes)) + "x1", order, present, names) == dealt


def test_classes_by_name_or_number():
  assert deal([["dog", "cat"], ["3", 0]]) == [(0, 1), (2, 4)]
  assert deal([[0, 1], [3]]) == [(3, 4), (2,)]  # what the labels are called
  assert deal([[0, 4], [2]]) == [(0, 4), (2,)]  # as no label is 2 or 4
  assert deal(2, [0, "dog", "cat", 1, 3]) == [(0, 1, 4), (2, 3)]
  assert deal(2, list(NAMES)[::-1], present=[0, 4]) == [(4,), (0,)]


@pytest.mark.parametrize(
  "tasks, message",
  [
    (0, "tasks=0: write 1 to 5, the number of classes"),
    (-2, "tasks=-2: write 1 to 5"),
    (6, "tasks=6: write 1 to 5"),
    (
      2.5,
      r"tasks=2.5: write a number of experiences; .*\[4, 1, 1\] or 50\+10x",
    ),
    (True, "tasks=True: write a number"),
    (None, "tasks=None: write a number"),
    ("many", "tasks='many': write a number"),
    ("9" * 9999, "tasks='999.*999': write a number"),
    ({0: [0]}, "tasks={0: .*: write a number"),
    ("3+", r"tasks='3\+': write a number"),
    ("3-1", "tasks='3-1': write a number"),
    ("2x-1", "tasks='2x-1': write a number"),
    ([2.5, 2.5], r"tasks=\[2.5, 2.5\]: write a number"),
    ([], r"tasks=\[\]: each experience brings 1 class or more"),
    ([5, 0], r"tasks=\[5, 0\]: each experience brings 1"),
    ([6, -1], "each experience brings 1"),
    ("5x0", "each experience brings 1"),
    ([4, 2], r"tasks=\[4, 2\] adds up to 6: write sizes that add up to 5"),
    ("1+1x2", "adds up to 3: write .* up to 5, the number of classes, as 3.2"),
    ("1x999999999999", "adds up to 999999999999: write"),
    ([[0], 1], "tasks: 1 is no list of classes; write"),
    ([[0], []], r"tasks: \[\] is no list of classes; write"),
    ([["cat"], ["fox"]], "tasks: no class is called 'fox'; choose from 'cat'"),
    ([[0, 1, 9]], "no class is called 9"),
    ([["cat", "cat"]], "tasks: 'cat' stands twice in one experience"),
  ],
)
def test_refusals_say_what_to_write(tasks, message):
  with pytest.raises(ValueError, match=message) as raised:
    deal(tasks)
  assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
  "order, message",
  [
    ("alphabetic", "order='alphabetic': write natural, random or a list"),
    (3, "order=3: write natural"),
    (["cat", "dog"], "must hold each class once: 'cat', 'dog', '3'"),
    (["cat"] * 5, "must hold each class once"),
    (["cat", "fox"], "order: no class is called 'fox'"),
  ],
)
def test_orders_that_do_not_fit(order, message):
  with pytest.raises(ValueError, match=message):
    deal(2, order)


def test_classes_given_leave_no_order_and_need_examples():
  with pytest.raises(ValueError, match="order='random' beside the classes"):
    deal([["cat"]], "random")
  with pytest.raises(ValueError, match="class 'dog' has no training examples"):
    deal([["cat"], ["dog"]], present=[0, 2])
  with pytest.raises(
    ValueError, match="write 1, the number of classes with tr"
  ):
    deal(2, present=[3])


def test_rows_of_classes_that_come_back():
  labels = np.array([0, 1, 0, 1, 0, 2, 0, 1])
  found = dealing.rows(labels, [(0, 2), (0, 1), (0, 1)])
  assert [rows.tolist() for rows in found] == [[0, 2, 5], [1, 3, 4], [6, 7]]


@pytest.mark.parametrize("blanks, told", [(3999, False), (4000, True)])
def test_four_thousand_characters_are_read(blanks, told):
  text = " " * blanks + "2"
  if told:
    with pytest.raises(ValueError, match="write a number of experiences"):
      deal(text)
  else:
    assert [len(part) for part in deal(text)] == [3, 2]


def test_what_fits_one_or_two_classes():
  with pytest.raises(ValueError, match="tasks=3: write 1 to 2, the number"):
    deal(3, present=[0, 1], names=("a", "b"))
  with pytest.raises(
    ValueError, match=r"up to 2, the number of classes, as 1\+1"
  ):
    deal([3], present=[0, 1], names=("a", "b"))
  with pytest.raises(ValueError, match="up to 1, the number of classes$"):
    deal([3], present=[0], names=("a",))


def test_a_random_order_is_that_of_seed_and_classes():
  order = np.random.default_rng((7, 5)).permutation(5)
  dealt = deal([1] * 5, "random", seed=7)
  assert [label for (label,) in dealt] == order.tolist()


def test_forms_in_words():
  found = dealing._Forms()
  assert found.check(object()) is None
  assert found.words("plain").startswith("a number of experiences; their sizes")
