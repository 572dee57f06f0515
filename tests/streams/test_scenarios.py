import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import signatures

from jcl.options import parameters
from jcl.streams import assembly, scenarios, sources, splits


def make(per_class=(20,) * 5, test_per_class=4, groups=0, shape=(3, 3, 1)):
  """A source in which every example's first value is its row."""

  def arrays(counts, first):
    y = np.concatenate([np.full(n, c) for c, n in enumerate(counts)])
    y = np.random.default_rng(0).permutation(y)
    x = np.zeros((len(y), *shape), np.float32)
    x.reshape(len(y), -1)[:, 0] = np.arange(len(y)) + first
    return x, y

  train = arrays(per_class, 0)
  test = (None, None)
  if test_per_class:
    test = arrays((test_per_class,) * len(per_class), 10_000)
  source = sources.arrays(*train, *test)
  if groups:
    source = sources.Source(
      *(
        part
        and dataclasses.replace(part, group=np.arange(len(part)) % groups + 1)
        for part in (source.train, source.test)
      )
    )
  return source


def numbers(data):
  return np.asarray(data.x).reshape(len(data), -1)[:, 0].astype(int)


def held_out(stream):
  with stream.held_out.open() as datasets:
    return datasets


def test_class_incremental_by_hand():
  source = make()
  stream = scenarios.class_incremental(source, tasks=2)
  assert [e.classes for e in stream.experiences] == [(0, 1, 2), (3, 4)]
  assert stream.task_classes == ((0, 1, 2), (3, 4))
  assert stream.scenario == "class" and not stream.ordered
  for experience, test in zip(
    stream.experiences, held_out(stream), strict=True
  ):
    expected = np.flatnonzero(np.isin(source.train.y, experience.classes))
    np.testing.assert_array_equal(experience.source_index, expected)
    np.testing.assert_array_equal(numbers(experience.data), expected)
    assert set(test.y) == set(experience.classes)


def test_task_incremental_differs_in_the_headline_only():
  source = make()
  first = scenarios.class_incremental(source, tasks=2)
  second = scenarios.task_incremental(source, tasks=2)
  assert second.scenario == "task"
  assert first.task_classes == second.task_classes
  for a, b in zip(first.experiences, second.experiences, strict=True):
    np.testing.assert_array_equal(a.source_index, b.source_index)


def test_class_orders():
  source = make()
  given_order = scenarios.class_incremental(
    source, tasks=2, order=[4, 0, 2, 1, 3]
  )
  assert given_order.task_classes == ((0, 2, 4), (1, 3))
  drawn = [
    scenarios.class_incremental(source, tasks=5, seed=s, order="random")
    for s in (0, 0, 1, 2)
  ]
  assert drawn[0].task_classes == drawn[1].task_classes
  assert len({stream.task_classes for stream in drawn}) > 1


@settings(max_examples=15)
@given(
  st.sampled_from(["class_incremental", "blurry", "domain_by_group"]),
  st.integers(2, 5),
  st.integers(0, 9),
  st.sampled_from([0.0, 0.25]),
  st.sampled_from([0, 4]),
)
def test_no_example_is_lost_or_shown_twice(name, tasks, seed, holdout, tests):
  source = make(test_per_class=tests, groups=tasks)
  options = {} if name == "domain_by_group" else {"tasks": tasks}
  stream = scenarios.build(name, source, seed=seed, holdout=holdout, **options)
  trained = np.concatenate([numbers(e.data) for e in stream.experiences])
  tested = np.concatenate([numbers(d) for d in held_out(stream)])
  assert len(np.unique(trained)) == len(trained)
  assert len(np.unique(tested)) == len(tested)
  assert not np.isin(trained, tested).any()
  if tests and not holdout:
    assert len(trained) == 100 and (tested >= 10_000).all()
  if holdout:
    assert (tested < 10_000).all()  # the test set stays untouched
  if tests or not holdout:
    assert len(trained) + len(tested) == (120 if tests and not holdout else 100)


def test_a_holdout_shares_nothing_with_the_missing_test_set():
  source = make(test_per_class=0)
  plain = scenarios.class_incremental(source, tasks=2)
  apart = scenarios.class_incremental(source, tasks=2, holdout=0.5)
  test_rows = np.concatenate([numbers(d) for d in held_out(plain)])
  used = [numbers(e.data) for e in apart.experiences]
  used += [numbers(d) for d in held_out(apart)]
  assert not np.isin(np.concatenate(used), test_rows).any()
  assert [len(e.data) for e in apart.experiences] == [24, 16]


def test_holdout_follows_the_seed():
  rows = [
    numbers(held_out(scenarios.permuted(make(), seed=s, holdout=0.2))[0])
    for s in (0, 0, 1)
  ]
  assert rows[0].tolist() == rows[1].tolist() != rows[2].tolist()


def test_a_class_with_a_single_example():
  source = make(per_class=(1, 20, 20))
  stream = scenarios.class_incremental(source, tasks=3)
  assert len(stream.experiences[0].data) == 1
  with pytest.raises(ValueError, match="experience 0 .* no held-out examples"):
    scenarios.class_incremental(source, tasks=3, holdout=0.2)
  alone = sources.arrays(np.zeros((4, 1)), np.arange(4))
  with pytest.raises(ValueError, match="another split, or give a test set"):
    scenarios.class_incremental(alone, tasks=4)


def test_blurry_moves_the_share_of_each_class():
  source = make(per_class=(40,) * 4)
  stream = scenarios.blurry(source, tasks=2, blur=0.25, seed=3)
  for experience, main, test in zip(
    stream.experiences, ((0, 1), (2, 3)), held_out(stream), strict=True
  ):
    counts = np.bincount(experience.data.y, minlength=4)
    assert counts.tolist() == [30 if c in main else 10 for c in range(4)]
    assert experience.classes == (0, 1, 2, 3)
    assert tuple(np.unique(test.y)) == main
  assert stream.task_classes == ((0, 1), (2, 3))


def test_blurry_spreads_over_all_other_experiences():
  stream = scenarios.blurry(make(per_class=(3000,) * 3), tasks=3, blur=0.5)
  for experience in stream.experiences:
    counts = np.bincount(experience.data.y)
    for label, count in enumerate(counts):
      expected = 1500 if label == experience.index else 750
      assert abs(count - expected) < 120


def test_a_blurry_stream_of_listed_classes():
  with pytest.raises(
    ValueError, match="two main experiences, 1 and one before"
  ):
    scenarios.blurry(make(), tasks=[[0, 1], [1, 2]])
  stream = scenarios.blurry(make(), tasks=[[0, 1], [2]], blur=0.5)
  assert sum(len(e.data) for e in stream.experiences) == 60
  assert stream.classes_trained.tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_functions_check_what_they_are_given(name):
  with pytest.raises(ValueError, match="holdout=1.0: give a number from 0 and"):
    scenarios.SCENARIOS[name](make(), holdout=1.0)


def test_shares_that_can_be_held_out():
  for share in (0, 0.999):
    assembly.check_holdout(share)
  for share in (-1e-9, 1, 1.5):
    with pytest.raises(ValueError, match=f"holdout={share}: write a share"):
      assembly.check_holdout(share)


@pytest.mark.parametrize(
  ("tests", "rows", "end"),
  [
    (
      4,
      (0, 1),
      "no training examples (group 'g', its classes: '0'); use fewer ",
    ),
    (
      4,
      (1, 0),
      "no held-out examples (group 'g', its classes: '0'); use fewer ",
    ),
    (0, (0, 1), "or another split"),
    (0, (1, 0), "or another split, or give a test set"),
  ],
)
def test_an_empty_experience_is_told(tests, rows, end):
  source = make(test_per_class=tests)
  train, test = (np.arange(count) for count in rows)
  with pytest.raises(ValueError) as told:
    assembly._check_filled("some", source, [train], [test], [(0,)], ["g"])
  message = str(told.value)
  assert end in message and message.endswith("test set") == (
    (tests, rows) == (0, (1, 0))
  )


def test_no_blur_is_class_incremental():
  sharp = scenarios.blurry(make(), tasks=2, blur=0)
  plain = scenarios.class_incremental(make(), tasks=2)
  for a, b in zip(sharp.experiences, plain.experiences, strict=True):
    np.testing.assert_array_equal(a.source_index, b.source_index)


def test_permuted():
  source = make(shape=(4, 4, 2))
  stream = scenarios.permuted(source, tasks=3, seed=1)
  assert stream.scenario == "domain"
  assert stream.task_classes == ((0, 1, 2, 3, 4),) * 3
  first, second, third = (np.asarray(e.data.x) for e in stream.experiences)
  np.testing.assert_array_equal(first, source.train.x)
  assert (second != first).any() and (third != second).any()
  np.testing.assert_array_equal(
    np.sort(second.reshape(100, 16, 2), 1),
    np.sort(first.reshape(100, 16, 2), 1),
  )
  # The test data is permuted like the training data of its experience.
  place = np.flatnonzero(second[1].reshape(-1))
  test = np.asarray(held_out(stream)[1].x)
  assert (test.reshape(len(test), -1)[:, place] >= 10_000).all()
  other = scenarios.permuted(source, tasks=3, seed=2)
  assert (np.asarray(other.experiences[1].data.x) != second).any()


def test_rotated():
  x = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 1)).astype(np.uint8)
  source = sources.arrays(x, [0, 1] * 3, x, [0, 1] * 3)
  stream = scenarios.rotated(source, tasks=3, max_degrees=180)
  for turns, experience in enumerate(stream.experiences):
    np.testing.assert_array_equal(
      np.asarray(experience.data.x), np.rot90(x, turns, axes=(1, 2))
    )
  np.testing.assert_array_equal(
    np.asarray(held_out(stream)[2].x), x[:, ::-1, ::-1]
  )
  for shape in ((9,), (2, 2, 2, 1)):
    words = rf"shape \({', '.join(map(str, shape))},?\); only images"
    with pytest.raises(ValueError, match=words):
      scenarios.rotated(make(shape=shape))


def test_domain_by_group():
  source = make(groups=4)
  stream = scenarios.domain_by_group(source)
  for value, (experience, test) in enumerate(
    zip(stream.experiences, held_out(stream), strict=True), start=1
  ):
    assert set(experience.data.group) == set(test.group) == {value}
    assert experience.name == str(value)  # the groups have no names
  with pytest.raises(ValueError, match="has no groups; give one for each"):
    scenarios.domain_by_group(make())


def test_a_group_without_test_rows_is_named():
  source = make(groups=4)
  test = dataclasses.replace(
    source.test, group=np.full(len(source.test), 2, np.int32)
  )
  with pytest.raises(ValueError, match="experience 0 of domain_by_group"):
    scenarios.domain_by_group(sources.Source(source.train, test))
  test = dataclasses.replace(source.test, group=None)
  ungrouped = sources.Source(source.train, test)
  with pytest.raises(ValueError, match="test set of arrays has no groups"):
    scenarios.domain_by_group(ungrouped)
  assert len(scenarios.domain_by_group(ungrouped, holdout=0.3).experiences) == 4


def test_time_ordered_keeps_the_order():
  stream = scenarios.time_ordered(make(), parts=4)
  assert stream.ordered
  rows = [numbers(e.data).tolist() for e in stream.experiences]
  assert rows == [list(range(25 * t, 25 * t + 25)) for t in range(4)]
  tests = [(numbers(d) - 10_000).tolist() for d in held_out(stream)]
  assert tests == [list(range(5 * t, 5 * t + 5)) for t in range(4)]


def test_time_ordered_holds_out_the_end_of_each_stretch():
  source = make(test_per_class=0)
  stream = scenarios.time_ordered(source, parts=4)
  assert numbers(stream.experiences[1].data).tolist() == list(range(25, 45))
  assert numbers(held_out(stream)[1]).tolist() == list(range(45, 50))
  apart = scenarios.time_ordered(source, parts=4, holdout=0.5)
  assert numbers(apart.experiences[1].data).tolist() == list(range(25, 35))
  assert numbers(held_out(apart)[1]).tolist() == list(range(35, 45))


def test_statistics_come_from_the_first_experience_alone():
  x = np.concatenate([np.full((10, 2), 3.0), np.full((10, 2), 90.0)])
  y = np.repeat([0, 1], 10)
  stream = scenarios.class_incremental(sources.arrays(x, y), tasks=2)
  assert stream.mean.tolist() == [3, 3] and stream.std.tolist() == [1, 1]
  plain = scenarios.class_incremental(
    sources.arrays(x, y), tasks=2, normalize="none"
  )
  assert plain.mean == 0 and plain.std == 1


@pytest.mark.parametrize(
  "name, options, message",
  [
    ("class_incremental", {"tasks": 6}, "tasks=6: write 1 to 5, the number"),
    ("class_incremental", {"tasks": 0}, "tasks=0: write 1 to 5"),
    ("class_incremental", {"order": "alphabetic"}, "natural, random or"),
    ("class_incremental", {"order": [0, 1, 1, 2, 3]}, "each class once"),
    (
      "class_incremental",
      {"holdout": 1.0},
      "holdout=1.0: give a number from 0 and below 1",
    ),
    ("class_incremental", {"holdout": 0.01}, "no held-out examples"),
    ("blurry", {"blur": 1.0}, "blur=1.0: give a number from 0"),
    ("blurry", {"tasks": 1}, "needs 2 or more"),
    ("permuted", {"tasks": 0}, "tasks=0: give a whole number from 1"),
    ("rotated", {"tasks": -1}, "tasks=-1: give a whole number from 1"),
    ("time_ordered", {"parts": 0}, "parts=0: give a whole number from 1"),
    ("time_ordered", {"parts": 101}, "no (training|held-out) examples"),
    ("time_ordered", {"tasks": 3}, "no option 'tasks'; choose from holdout"),
    ("split", {}, "no stream is called 'split'; choose from blurry, "),
  ],
)
def test_refusals_say_what_to_write(name, options, message):
  with pytest.raises(ValueError, match=message):
    scenarios.build(name, make(), **options)


def gappy():
  """Four names; "b" and "d" never train, "b" has two of four test examples."""
  x = np.arange(8, dtype=np.float32)[:, None]
  return sources.arrays(
    x[:4], [0, 0, 2, 2], x[4:], [0, 1, 1, 2], class_names=("a", "b", "c", "d")
  )


def test_a_class_without_training_examples_takes_no_part():
  note = (
    "2 classes without training examples in the stream take no part: 'b', 'd'; "
    "2 test examples left out"
  )
  for name, options, among in (
    ("class_incremental", {"tasks": 2}, ((0,), (2,))),
    ("class_incremental", {}, ((0,), (2,))),
    ("task_incremental", {"tasks": 1}, ((0, 2),)),
    ("class_incremental", {"tasks": [1, 1], "order": "random"}, None),
    ("blurry", {"tasks": 2, "blur": 0.5}, ((0,), (2,))),
    ("permuted", {"tasks": 2}, ((0, 2), (0, 2))),
    ("time_ordered", {"parts": 1}, ((0, 2),)),
  ):
    stream = scenarios.build(name, gappy(), **options)
    assert stream.notes == (note,), name
    assert stream.num_classes == 4
    assert stream.classes_trained.tolist() == [True, False, True, False]
    assert among is None or stream.task_classes == among
    assert not any({1, 3} & set(t.y.tolist()) for t in held_out(stream))
  with pytest.raises(
    ValueError, match="write 1 to 2, the number of classes wi"
  ):
    scenarios.class_incremental(gappy(), tasks=3)


def test_gaps_in_the_labels_change_nothing():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(60, 2)), np.arange(60) % 6
  plain, gaps = (
    scenarios.class_incremental(
      sources.arrays(x, np.array(labels)[y]), tasks=4, order="random", seed=3
    )
    for labels in (range(6), (1, 2, 4, 400123, 731001, 10**12))
  )
  assert plain.task_classes == gaps.task_classes and gaps.notes == ()
  for one, other in zip(plain.experiences, gaps.experiences, strict=True):
    np.testing.assert_array_equal(one.source_index, other.source_index)
    np.testing.assert_array_equal(one.data.y, other.data.y)


def test_all_classes_train_and_there_is_nothing_to_note():
  assert scenarios.class_incremental(make(), tasks=2).notes == ()


def test_many_classes_make_a_short_message():
  y = np.arange(5000)
  source = sources.arrays(np.zeros((5000, 1)), y)
  with pytest.raises(ValueError, match=r"no held-out .*\(2500 in all\)") as one:
    scenarios.class_incremental(source, tasks=2)
  with pytest.raises(
    ValueError, match=r"each class once: .*5000 in all"
  ) as two:
    scenarios.class_incremental(source, tasks=2, order=list(range(4999)))
  x = np.zeros((5000, 1))
  names = tuple(map(str, range(5000)))
  source = sources.arrays(x, np.zeros(5000, int), x, y, class_names=names)
  (note,) = scenarios.class_incremental(source, tasks=1).notes
  assert "(4999 in all); 4999 test examples left out" in note
  assert max(map(len, (str(one.value), str(two.value), note))) < 400


def test_sizes_of_experiences():
  source = make(per_class=(20,) * 8)
  for tasks in ([4, 1, 1, 2], "4+1x2+2", (4, 1, 1, 2), np.array([4, 1, 1, 2])):
    stream = scenarios.class_incremental(source, tasks=tasks)
    assert stream.task_classes == ((0, 1, 2, 3), (4,), (5,), (6, 7))
    assert [e.classes for e in stream.experiences] == list(stream.task_classes)
  assert [
    len(e.classes)
    for e in scenarios.blurry(source, tasks="6+2", blur=0).experiences
  ] == [6, 2]


def test_classes_that_come_back():
  source = make(per_class=(20, 20, 20, 21, 20))
  stream = scenarios.class_incremental(source, tasks=[[0, 3], [1, 3], [3, 2]])
  assert stream.task_classes == ((0, 3), (1, 3), (2, 3))
  counts = [np.bincount(e.data.y, minlength=5) for e in stream.experiences]
  assert np.array(counts)[:, 3].tolist() == [7, 7, 7]
  rows = np.concatenate([numbers(e.data) for e in stream.experiences])
  assert len(set(rows)) == len(rows) == 81
  assert [sorted(set(t.y)) for t in held_out(stream)] == [
    [0, 3],
    [1, 3],
    [2, 3],
  ]
  (note,) = stream.notes
  assert note == (
    "1 class without training examples in the stream takes no part: '4'; "
    "4 test examples left out"
  )


def test_own_tasks():
  x = np.arange(12, dtype=np.float32)[:, None]
  task = ["late"] * 4 + ["early"] * 4 + ["late"] * 4
  y = np.array(list("ababcdcdacac"))
  source = sources.arrays(x, y, x, y, group=task, group_test=task)
  for name in ("class_incremental", "task_incremental"):
    stream = scenarios.build(name, source, tasks="group")
    assert [e.name for e in stream.experiences] == ["early", "late"]
    assert [e.classes for e in stream.experiences] == [(2, 3), (0, 1, 2)]
    assert stream.task_classes == ((2, 3), (0, 1, 2))
    assert f"{stream.scenario}_incremental" == name
  domain = scenarios.domain_by_group(source)
  assert domain.task_classes == ((0, 1, 2, 3),) * 2
  assert [e.name for e in domain.experiences] == ["early", "late"]
  alone = scenarios.class_incremental(
    sources.arrays(np.tile(x, (3, 1)), np.tile(y, 3), group=task * 3),
    tasks="group",
    holdout=0.25,
  )
  assert [e.name for e in alone.experiences] == ["early", "late"]
  with pytest.raises(
    ValueError, match="arrays has no groups; give one for eac"
  ):
    scenarios.class_incremental(sources.arrays(x, y), tasks="group")
  with pytest.raises(ValueError, match="order='random' beside tasks=group"):
    scenarios.class_incremental(source, tasks="group", order="random")


def test_test_examples_of_groups_that_never_train_are_counted():
  x = np.zeros((4, 1))
  source = sources.arrays(
    x, [0, 1] * 2, x, [0, 1] * 2, group=list("aabb"), group_test=list("abcd")
  )
  (note,) = scenarios.domain_by_group(source).notes
  assert note == (
    "2 test examples left out, of 2 groups without training examples: 'c', 'd'"
  )
  source = sources.arrays(
    x, [0, 1] * 2, x, [0, 1] * 2, group=list("aabb"), group_test=list("bbbb")
  )
  with pytest.raises(
    ValueError, match=r"no held-out examples \(group 'a', its"
  ):
    scenarios.domain_by_group(source)


def test_a_data_set_for_each_experience():
  x = np.arange(20, dtype=np.float32)[:, None]
  first = sources.arrays(x, list("ab") * 10, name="first")
  second = sources.arrays(x + 100, list("bc") * 10, name="second")
  for build in (scenarios.class_incremental, scenarios.domain_by_group):
    stream = build([first, second])
    assert stream.class_names == ("a", "b", "c")
    assert [e.name for e in stream.experiences] == ["first", "second"]
    assert [e.classes for e in stream.experiences] == [(0, 1), (1, 2)]
    assert (numbers(stream.experiences[0].data) < 100).all()
    assert (numbers(stream.experiences[1].data) >= 100).all()
    assert [len(t) for t in held_out(stream)] == [4, 4]
  assert stream.name == "domain_by_group-first-and-1-more"
  for tasks in (3, "2x3"):
    with pytest.raises(ValueError, match=f"tasks={tasks!r} beside a list of"):
      scenarios.class_incremental([first, second], tasks=tasks)
  same = scenarios.class_incremental([first, second], tasks="group")
  assert [e.name for e in same.experiences] == ["first", "second"]


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_other_values_than_sources_are_refused(name):
  with pytest.raises(ValueError, match="^3 is no source of data; give what jc"):
    scenarios.SCENARIOS[name](3)
  lists = ("class_incremental", "task_incremental", "domain_by_group")
  if name not in lists:
    with pytest.raises(
      ValueError, match="Lists of them are for class_incremen"
    ):
      scenarios.SCENARIOS[name]([make(), make()])


def test_every_scenario_is_described():
  described = scenarios.describe()
  assert set(described) == set(scenarios.SCENARIOS)
  assert all(len(line) > 20 for line in described.values())


def test_defaults_of_every_scenario():
  assumed = {
    name: parameters.keywords(function)
    for name, function in scenarios.SCENARIOS.items()
  }
  for options in assumed.values():
    assert options.pop("holdout") == 0 and options.pop("normalize") is None
    assert options.pop("seed", 0) == 0 and options.pop("order", "natural")
  assert assumed == {
    "blurry": {"tasks": "auto", "blur": 0.1},
    "class_incremental": {"tasks": "auto"},
    "domain_by_group": {},
    "permuted": {"tasks": 5},
    "rotated": {"tasks": 5, "max_degrees": 180},
    "task_incremental": {"tasks": "auto"},
    "time_ordered": {"parts": 10},
  }


def test_the_fifth_that_stands_for_a_test_set_is_one_fixed_draw():
  source = make(test_per_class=0)
  expected = np.flatnonzero(splits.stratified(source.train.y, 0.2, 0))
  for seed in (0, 3):
    tested = held_out(scenarios.permuted(source, seed=seed, tasks=1))[0]
    assert numbers(tested).tolist() == expected.tolist()


def test_the_least_and_the_most_that_may_be_asked_for():
  assert len(scenarios.class_incremental(make(), tasks=1).experiences) == 1
  assert len(scenarios.class_incremental(make(), tasks=5).experiences) == 5
  assert len(scenarios.permuted(make(), tasks=1).experiences) == 1
  assert len(scenarios.rotated(make(), tasks=1).experiences) == 1
  assert len(scenarios.time_ordered(make(), parts=1).experiences) == 1


def test_names_and_sources_of_streams():
  for name in scenarios.SCENARIOS:
    stream = scenarios.build(name, make(groups=2))
    assert stream.name == f"{name}-arrays"
    assert stream.ordered == (name == "time_ordered")
    kind = name.partition("_")[0]
    wanted = {"class": "class", "task": "task", "blurry": "class"}
    assert stream.scenario == wanted.get(kind, "domain")


def test_each_group_of_another_size_is_tested_on_its_own_rows():
  source = make()
  source = sources.Source(
    dataclasses.replace(source.train, group=np.arange(100) % 7 % 3),
    dataclasses.replace(source.test, group=np.arange(20) % 5 % 3),
  )
  stream = scenarios.domain_by_group(source)
  for value, (experience, test) in enumerate(
    zip(stream.experiences, held_out(stream), strict=True)
  ):
    mine = np.flatnonzero(source.train.group == value)
    assert experience.index == value
    np.testing.assert_array_equal(experience.source_index, mine)
    np.testing.assert_array_equal(
      numbers(test) - 10_000, np.flatnonzero(source.test.group == value)
    )


def test_defaults():
  assert signatures.defaults(scenarios.class_incremental) == {
    "tasks": "auto",
    "seed": 0,
    "order": "natural",
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.task_incremental) == {
    "tasks": "auto",
    "seed": 0,
    "order": "natural",
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.blurry) == {
    "tasks": "auto",
    "blur": 0.1,
    "seed": 0,
    "order": "natural",
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.permuted) == {
    "tasks": 5,
    "seed": 0,
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.rotated) == {
    "tasks": 5,
    "max_degrees": 180.0,
    "seed": 0,
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.domain_by_group) == {
    "seed": 0,
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.time_ordered) == {
    "parts": 10,
    "holdout": 0.0,
  }
  assert signatures.defaults(scenarios.build) == {"seed": 0}


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(assembly.assemble) == {"ordered": False}
