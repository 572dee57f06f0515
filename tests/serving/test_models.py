"""Student and teacher on the device."""

import types

import jax
import numpy as np
import pytest
import signatures

from jcl import base, recipes
from jcl.control.drift import systems, times
from jcl.networks import catalogue
from jcl.run import finite
from jcl.serving import books, image_pool, log, models, setup, teacher, virtual
from jcl.streams import drifting, rendering, sources

SHAPE, CLASSES = (8, 8, 1), 4
SCALE = {"mean": np.float32(128), "std": np.float32(64)}


def samples(num, seed=0):
  """Images whose bright quarter tells their class."""
  generator = np.random.default_rng(seed)
  y = generator.integers(0, CLASSES, num)
  x = generator.integers(0, 120, (num, *SHAPE))
  for i, label in enumerate(y):
    top, left = 4 * (label // 2), 4 * (label % 2)
    x[i, top : top + 4, left : left + 4] += 60
  return x.astype(np.uint8), y.astype(np.int32)


X, Y = samples(120)
NETWORK = catalogue.build("mlp", SHAPE, CLASSES, width=12, depth=1)
PARAMS = jax.jit(NETWORK.init)(jax.random.key(0))


def student_of(text="finetune", **options):
  return models.Student(NETWORK, recipes.build(text), **SCALE, **options)


@pytest.fixture(scope="module")
def plain():
  return student_of()


def same(first, second):
  pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def test_updates_take_their_share_of_the_work(plain):
  assert plain.training_share == 1 and plain.batch_size == 16
  # 64 -> 12 -> 4: the first layer goes forward only.
  first, head = 64 * 12, 12 * 4
  part = (first + 2 * head) / (2 * first + 3 * head)
  assert student_of("finetune+freeze:until=1").training_share == part
  assert student_of("head_only").training_share == part
  replaying = student_of("er:buffer=32,minibatch=8+freeze:until=1")
  assert replaying.training_share == pytest.approx(part * (16 + 8) / 16)
  assert student_of("elastic:rho=0.9").training_share == 1
  half = times.Times(0.01, 1.0, 0.5, 0.2).training(part)
  assert half == times.Times(0.01, part, 0.5, 0.2)


def test_retraining_returns_other_weights_and_repeats_itself(plain):
  weights = plain.begin(*PARAMS)
  before = jax.tree.map(np.asarray, weights)
  first = plain.retrain(weights, X, Y, epochs=2, seed=5)
  again = plain.retrain(weights, X, Y, epochs=2, seed=5)
  assert same(weights, before) and same(first, again)
  assert not same(first, plain.retrain(weights, X, Y, epochs=2, seed=6))
  assert int(first.train.step) == 2 * 8
  passes = list(plain.passes(weights, X, Y, 2, 5))
  assert int(passes[0].train.step) == 8 and same(passes[1], first)
  # Two retrainings of one epoch are none of two: the momentum starts at zero.
  one = plain.retrain(weights, X, Y, epochs=1, seed=5)
  assert same(one.train.params, passes[0].train.params)
  assert plain.accuracy(first, X, Y) > plain.accuracy(weights, X, Y)


def test_an_update_is_that_of_the_published_optimiser():
  network = catalogue.build("mlp", SHAPE, CLASSES, depth=0)
  student = models.Student(network, **SCALE)
  params, stats = network.init(jax.random.key(1))
  weights = student.retrain(student.begin(params, stats), X[:16], Y[:16])
  kernel, bias = (
    np.asarray(params["head"]["dense"][name], np.float64)
    for name in ("kernel", "bias")
  )
  x = (X[:16].reshape(16, -1) - 128.0) / 64
  logits = x @ kernel + bias
  chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  slope = x.T @ (chance - np.eye(CLASSES)[Y[:16]]) / 16
  expected = kernel - 1e-3 * (slope + 1e-4 * kernel)
  found = weights.train.params["head"]["dense"]["kernel"]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_predictions_do_not_depend_on_how_many_are_asked_for(plain):
  weights = plain.begin(*PARAMS)
  assert plain.predict(weights, X[:0]).shape == (0, CLASSES)
  whole = plain.predict(weights, np.concatenate([X, X]))
  assert whole.shape == (240, CLASSES)
  for num in (1, 2, 17, 120):
    np.testing.assert_allclose(
      plain.predict(weights, X[:num]), whole[:num], atol=1e-5
    )


def test_what_the_recipe_freezes_stays():
  student = student_of("head_only")
  weights = student.begin(*PARAMS)
  after = student.retrain(weights, X, Y).train.params
  assert same(after["dense_0"], PARAMS[0]["dense_0"])
  assert not same(after["head"], PARAMS[0]["head"])


def test_a_choice_of_tensors_is_made_for_every_retraining():
  student = student_of("elastic:rho=0.8")
  weights = student.begin(*PARAMS)
  after = student.retrain(student.retrain(weights, X, Y), X, Y, seed=1)
  first, head = (after.train.params[unit]["dense"] for unit in NETWORK.units)
  before = PARAMS[0]
  # The first kernel takes too much of the time.
  assert same(first["kernel"], before["dense_0"]["dense"]["kernel"])
  assert not same(head["kernel"], before["head"]["dense"]["kernel"])


def test_a_memory_travels_with_the_weights():
  student = student_of("er:buffer=20,minibatch=4")
  weights = student.begin(*PARAMS)
  first = student.retrain(weights, X[:50], Y[:50])
  second = student.retrain(first, X[50:], Y[50:])
  seen = [int(each.replay.seen) for each in (weights, first, second)]
  assert seen == [0, 50, 120]


def test_momentum_is_carried_over_where_asked():
  student = student_of(carry=True)
  once = student.retrain(student.begin(*PARAMS), X, Y)
  kept = once.train.opt_state
  assert kept and any(np.any(leaf) for leaf in jax.tree.leaves(kept))
  blank = once._replace(train=once.train._replace(opt_state={}))
  carried, fresh = (student.retrain(each, X, Y) for each in (once, blank))
  assert not same(carried.train.params, fresh.train.params)


@pytest.mark.parametrize(
  "text, message",
  [
    ("gdumb", "new parameters"),
    ("icarl:buffer=20", "memory"),
    ("carm:em=8,sb=8", "memory hierarchy"),
    ("pruning", "pruning"),
    ("ewc", "second looks"),
    ("elastic:profile=timed", "profile=timed"),
  ],
)
def test_recipes_that_need_experiences_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    student_of(text)


def some(*_):
  return None


@pytest.mark.parametrize(
  "part, changes, message",
  [
    ("", {"hierarchy": some}, "a memory hierarchy"),
    ("", {"pruning": some}, "pruning"),
    ("", {"prune": some}, "pruning"),
    ("", {"sparsity": some}, "weights held at zero"),
    ("", {"removal": some}, "examples that leave"),
    ("", {"columns": True}, "columns"),
    ("", {"restart": True}, "new parameters per experience"),
    ("", {"trains_on": "all"}, "a training set of its own"),
    ("replay", {"rebuild": some}, "filled between experiences"),
    ("replay", {"when": "before"}, "filled between experiences"),
    ("replay", {"when": "after"}, "filled between experiences"),
    ("predictor", {"reads_memory": True}, "a predictor that reads the memory"),
    ("objective", {"accumulate": some}, "second looks"),
    ("objective", {"review": some}, "second looks"),
    ("objective", {"first_batch": some}, "second looks"),
    ("objective", {"last_batch": some}, "second looks"),
    ("selector", {"profile": "calibrated"}, "profile=calibrated by the clock"),
  ],
)
def test_each_part_that_needs_experiences_is_refused(part, changes, message):
  method = recipes.finetune()
  if part:
    changes = {part: getattr(method, part)._replace(**changes)}
  with pytest.raises(ValueError, match=f"the recipe needs .*{message}"):
    models._check(method._replace(**changes))


def test_what_needs_samples_alone_is_taken():
  method = recipes.finetune()
  for when in ("step", "never"):
    replay = method.replay._replace(when=when)
    models._check(method._replace(replay=replay))
  for profile in ("", "analytic"):
    selector = method.selector._replace(profile=profile)
    models._check(method._replace(selector=selector))


def test_a_loss_that_is_not_finite_is_told():
  student = student_of("finetune:learning_rate=1e30")
  with pytest.raises(
    finite.NonFiniteLossError, match="in epoch 0: .* a lower learning rate, or"
  ):
    student.retrain(student.begin(*PARAMS), X, Y, epochs=3)


def test_precision_changes_predictions_a_little():
  exact = student_of()
  weights = exact.begin(*PARAMS)
  rounded = models.Student(teacher.precise(NETWORK, "mx"), **SCALE)
  first, second = (s.predict(weights, X) for s in (exact, rounded))
  assert 0 < np.abs(first - second).max() < 0.5
  assert teacher.precise(NETWORK) is NETWORK
  with pytest.raises(ValueError, match="precision='int8'"):
    teacher.precise(NETWORK, "int8")


def test_what_is_pretrained_can_teach():
  learned = models.pretrain(NETWORK, X, Y, epochs=60, seed=0, **SCALE)
  wise = teacher.Teacher(NETWORK, *learned, **SCALE)
  more = samples(60, seed=1)
  assert (wise.label(more[0]) == more[1]).mean() > 0.9
  assert wise.label(more[0]).dtype == np.int32
  mean, std = teacher.standardisation(X)
  np.testing.assert_allclose([mean[0], std[0]], [X.mean(), X.std()], rtol=1e-5)


def test_networks_are_timed_by_their_own_products():
  large = catalogue.build("mlp", SHAPE, CLASSES, width=200, depth=2)
  found = times.of(NETWORK, large)
  assert found.label > found.infer > 0 and found.train > found.valid
  assert found.source == "modelled: full mode, mlp <- mlp, 1 + 15 rows"


def test_stills_show_every_condition():
  labels = np.arange(30) % 3
  made = image_pool.stills(
    labels,
    np.arange(0, 30, 2),
    each=40,
    seed=0,
    conditions=image_pool.EVERYWHERE,
  )
  assert len(made) == 16 * 40 and len(set(made.segments)) == 16
  assert set(made.source) == set(range(0, 30, 2))
  np.testing.assert_array_equal(made.label, labels[made.source])
  with pytest.raises(ValueError, match="each=0"):
    image_pool.stills(labels, np.arange(3), each=0, seed=0)


def test_images_of_all_scales_are_pooled():
  x = np.arange(96).reshape(6, 4, 4, 1).astype(np.uint8) % 17
  whole = sources.arrays(x, np.arange(6) % 3, x[:3], np.arange(3), scale=16.0)
  images, labels = image_pool.pool(whole, 2, 3)
  assert images.shape == (6, 12, 12, 1) and images.dtype == np.uint8
  assert images.max() == 255 and labels.tolist() == [0, 1, 0, 1, 0, 1]
  assert images[0, 3, 0, 0] == round(255 * int(x[0, 1, 0, 0]) / 16)
  with pytest.raises(ValueError, match="classes=4"):
    image_pool.pool(whole, 4)
  with pytest.raises(ValueError, match="serve images"):
    image_pool.pool(sources.arrays(X[:, 0], Y), 2)


def test_no_system_does_harm_where_nothing_drifts(tmp_path):
  # Classes are textures, which moving an image leaves as they are.
  generator = np.random.default_rng(4)
  y = generator.integers(0, CLASSES, 400)
  row, column = np.indices((8, 8)) % 2 - 0.5
  textures = np.stack([0 * row, row, column, 2 * row * column])
  noise = generator.integers(80, 140, (400, *SHAPE))
  x = (noise + 80 * textures[y][..., None]).astype(np.uint8)
  roles = setup.Roles(
    *("mlp:width=24,depth=1", "mlp:width=24,depth=1"),
    stills=(1500, 40),
    epochs=(8, 1),
    classes=CLASSES,
  )
  assets = setup.Assets(sources.arrays(x, y), roles, tmp_path)
  stream_script = assets.stream_script(
    "none", 0, fps=10, segment_seconds=10, segments=16
  )
  seconds = times.Times(infer=0.02, train=0.15, valid=0.02, label=0.03)
  logs = {}
  for text in (
    "frozen",
    "dacapo:labels=18",
    "dacapo:labels=18,drift=robust",
    "dacapo_spatial:window=20",
    "ekya:window=20,fractions=[0.5],trial_epochs=2",
    "eomu:window=2,warmup=60",
  ):
    logs[text] = virtual.run(
      systems.build(text, seconds),
      assets.student,
      assets.weights(0),
      assets.frames(stream_script),
      infer=seconds.infer,
    )
  scores = {text: found.score(200, warmup=3) for text, found in logs.items()}
  assert scores["frozen"] > 0.8
  assert all(score > scores["frozen"] - 0.04 for score in scores.values())
  assert logs["dacapo:labels=18"].retrainings
  robust = logs["dacapo:labels=18,drift=robust"].decisions
  assert sum(each.drifted for each in robust) <= 0.1 * len(robust)
  assert assets.labeller(0)(x[:5]).shape == (5,)
  again = setup.Assets(sources.arrays(x, y), roles, tmp_path)  # from disk
  assert same(again.learned("teacher", 0), assets.learned("teacher", 0))


def test_one_run_is_the_other_to_the_bit():
  images, labels = samples(60, seed=3)
  stream_script = drifting.build(
    *("S1", labels, np.arange(60)),
    seed=0,
    classes=CLASSES,
    fps=10,
    segment_seconds=5,
    segments=8,
  )
  frames = books.LabelledFrames(
    rendering.Frames(images, stream_script)[:],
    stream_script.label,
    stream_script.fps,
  )
  seconds = times.Times(infer=0.02, train=0.15, valid=0.02, label=0.03)

  def run(student) -> log.Log:
    return virtual.run(
      systems.build("dacapo:labels=9,drift=robust", seconds),
      student,
      student.begin(*PARAMS),
      frames,
      infer=seconds.infer,
    )

  first, second = run(student_of()), run(student_of())
  np.testing.assert_array_equal(first.predictions, second.predictions)
  assert first.phases == second.phases and len(first.retrainings) > 5


def test_retraining_is_as_published():
  assert models.TRAINING == base.Training(
    learning_rate=1e-3,
    batch_size=16,
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-4,
    head="all",
  )
  assert models.PRETRAINING == base.Training(
    learning_rate=2e-3, batch_size=64, optimizer="adam", head="all"
  )
  assert models._PROBING == 3  # what runs so far have drawn by


@pytest.mark.parametrize(
  ("epochs", "parts"), [(8, [6, 2]), (3, [3, 0]), (9, [7, 2])]
)
def test_the_last_quarter_learns_at_a_tenth(epochs, parts, monkeypatch):
  rates, passed = [], []

  class Learning:
    def __init__(self, network, *, mean, std, training):
      rates.append(training.learning_rate)

    def begin(self, params, stats):
      train = types.SimpleNamespace(params=params, stats=stats)
      return types.SimpleNamespace(train=train)

    def retrain(self, weights, images, labels, epochs, seed):
      passed.append((epochs, seed))
      return weights

  monkeypatch.setattr(models, "Student", Learning)
  network = types.SimpleNamespace(init=lambda key: ({"w": 1.0}, {}))
  found = models.pretrain(
    network, None, None, mean=0, std=1, epochs=epochs, seed=5
  )
  assert rates == pytest.approx([2e-3, 2e-4])
  assert passed == [(part, 5) for part in parts]
  assert found == ({"w": 1.0}, {})


@pytest.mark.parametrize(
  ("side", "student", "enlarge"),
  [
    (15, "mlp:width=64", 2),
    (16, "slim_resnet18:filters=8", 1),
    (8, "mlp:width=64", 3),
  ],
)
def test_who_plays_on_small_images_and_on_large_ones(
  side, student, enlarge, monkeypatch
):
  monkeypatch.setattr(image_pool, "check", lambda source, classes: None)
  x = np.zeros((4, side, side + 9, 1), np.uint8)
  train = types.SimpleNamespace(x=x, num_classes=12)
  roles = setup.roles(types.SimpleNamespace(train=train))
  assert (roles.student, roles.enlarge, roles.classes) == (student, enlarge, 9)
  small = side < 16
  assert roles.stills == ((4000, 4000) if small else (12000, 2000))
  assert roles.epochs == ((8, 8) if small else (6, 10))
  named = setup.roles(types.SimpleNamespace(train=train), "one", "two")
  assert (named.student, named.teacher) == ("one", "two")


def test_formats_that_a_precision_stands_for(monkeypatch):
  asked = []
  monkeypatch.setattr(
    teacher.layers, "policy", lambda network, **options: asked.append(options)
  )
  for precision in ("mx", "mx9"):
    teacher.precise(NETWORK, precision)
  assert [options["fmt_infer"] for options in asked] == ["mx6", "mx9"]
  assert teacher.precise(NETWORK, "float32") is NETWORK


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(models.Student) == {
    "augment": "none",
    "rows": 128,
    "carry": False,
  }
  assert signatures.defaults(models.Student.retrain) == {"epochs": 1, "seed": 0}
  assert signatures.defaults(models.Student.passes) == {"epochs": 1, "seed": 0}
