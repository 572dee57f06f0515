"""What a linear classifier reads from a trunk."""

import inspect

import numpy as np
import pytest
import signatures
import tiny_network

from jcl import base, recipes
from jcl.run import session
from jcl.run.generality import probe

NETWORK = tiny_network.build(inputs=2, num_classes=2)


def ring(count, seed=0):
  """Points within a ring or on it: no line parts them."""
  generator = np.random.default_rng(seed)
  y = np.arange(count) % 2
  angle = generator.uniform(0, 2 * np.pi, count)
  radius = np.where(y, 2.0, 0.5) + 0.1 * generator.normal(size=count)
  x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
  return x.astype(np.float32), y.astype(np.int32)


def dataset(count=200):
  x, y = ring(count)
  return base.Dataset("ring", x, y, ("in", "on"))


@pytest.fixture(scope="module")
def learner():
  stream = tiny_network.stream(tasks=1, num_classes=2, inputs=2)
  return session.assemble(
    stream, NETWORK, recipes.finetune(), base.Training()
  ).learner


@pytest.fixture
def weights():
  """A trunk that feels the radius, and one that hardly feels anything."""
  angle = np.linspace(0, 2 * np.pi, tiny_network.WIDTH, endpoint=False)
  zeros = np.zeros(tiny_network.WIDTH, np.float32)
  kernel = 2 * np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
  passing = np.eye(tiny_network.WIDTH, dtype=np.float32)
  head = {"kernel": np.zeros((tiny_network.WIDTH, 2), np.float32)}
  head["bias"] = np.zeros(2, np.float32)
  stats = {unit: {"calls": np.float32(0)} for unit in tiny_network.UNITS[:2]}

  def build(kernel, bias):
    return {
      "first": {"kernel": kernel, "bias": bias},
      "second": {"kernel": passing, "bias": zeros},
      "head": head,
    }, stats

  return build(kernel, zeros - 2), build(1e-3 * kernel, zeros)


def test_points_that_a_line_parts_are_told_apart():
  x, y = ring(60)
  other, labels = ring(40, seed=1)
  assert probe.linear(x, y, other, labels) < 0.8
  assert probe.linear(x**2, y, other**2, labels) == 1
  # Scales of features do not matter.
  scale = np.array([1e-4, 1e4])
  assert probe.linear(scale * x**2, y, scale * other**2, labels) == 1


def test_three_classes_are_told_apart():
  x, y = np.repeat(np.eye(3), 5, axis=0), np.repeat([0, 1, 2], 5)
  assert probe.linear(x, y, x, y) == 1


def test_one_class_cannot_be_told_from_others():
  x, y = ring(10)
  with pytest.raises(ValueError, match=r"of classes \[0\]"):
    probe.linear(x, 0 * y, x, y)


def test_a_trunk_must_beat_random_weights(learner, weights):
  verdict = probe.gate(learner, *weights, "second", dataset())
  assert verdict.trained > 0.85 and verdict.drawn < 0.75
  assert verdict.passed
  turned = probe.gate(learner, *weights[::-1], "second", dataset())
  assert turned[:2] == (verdict.drawn, verdict.trained) and not turned.passed
  same = probe.gate(
    learner, weights[0], weights[0], "first", dataset(), most=100, seed=1
  )
  assert same.trained == same.drawn and not same.passed


def test_the_margin_decides():
  assert probe.Verdict(0.875, 0.75, 0.125).passed
  assert not probe.Verdict(0.875, 0.76, 0.125).passed


@pytest.mark.parametrize("unit", ["head", "third"])
def test_the_unit_is_one_of_the_trunk(learner, weights, unit):
  with pytest.raises(ValueError, match="choose from first, second"):
    probe.gate(learner, *weights, unit, dataset())


def test_what_is_assumed():
  parameters = inspect.signature(probe.gate).parameters
  assert parameters["most"].default == 2000
  assert parameters["margin"].default == 0.1
  assert parameters["seed"].default == 0


def test_a_fifth_of_some_examples_judges(learner, weights, monkeypatch):
  shapes = []

  def noted(x, y, other, labels):
    shapes.append((x.shape[0], len(y), other.shape[0], len(labels)))
    return 0.5

  monkeypatch.setattr(probe, "linear", noted)
  probe.gate(learner, *weights, "second", dataset(), most=100)
  train, _, judged, _ = shapes[0]
  assert train + judged == 100 and abs(judged - 20) <= 1
  assert shapes[0] == shapes[1] == (train, train, judged, judged)


def test_what_is_taken_unless_told_otherwise():
  assert signatures.defaults(probe.gate) == {
    "most": 2000,
    "margin": 0.1,
    "seed": 0,
  }
