"""Labels, and classes without examples, through whole runs."""

import dataclasses
import math

import numpy as np
import pytest

import jcl
from jcl.run import loop, session


def blobs(labels):
  """Training and test data of four classes, told by `labels` [4]."""
  y = np.arange(80) % 4
  x = np.random.default_rng(0).normal(size=(80, 4)) + 2 * np.eye(4)[y]
  y = np.asarray(labels)[y]
  return x[:64], y[:64], x[64:], y[64:]


def network_of(stream):
  return jcl.build_network(
    "mlp", stream.example_shape, stream.num_classes, width=8, depth=1
  )


def scores(result):
  """What was measured, NaN as text so that it equals itself."""
  return [
    (r.accuracy, r.accuracy_task, str(r.accuracy_class), r.loss, r.memory)
    for r in result.records
  ]


def test_how_labels_are_written_changes_nothing_to_the_bit():
  found = []
  for labels in ([0, 1, 2, 3], [7, 400123, 731001, 731555]):
    stream = jcl.class_incremental(jcl.arrays(*blobs(labels)), tasks=2)
    assert stream.class_names == tuple(map(str, labels))
    result = jcl.learn(stream, network_of(stream), jcl.recipes.er(buffer=9))
    found.append(scores(result))
  assert found[0] == found[1]


@pytest.fixture(scope="module")
def gappy():
  """A first and a last class that have test examples only."""
  x, y, x_test, y_test = blobs([1, 2, 3, 4])
  x_test = np.concatenate([x_test, x_test[:6]])
  y_test = np.concatenate([y_test, np.repeat([0, 5], 3)])
  names = ["first", "a", "b", "c", "d", "last"]
  return jcl.class_incremental(
    jcl.arrays(x, y, x_test, y_test, class_names=names), tasks=2
  )


@pytest.mark.parametrize("head", ["seen", "all"])
def test_only_classes_that_train_are_in_any_mask(gappy, head):
  network = network_of(gappy)
  job = session.assemble(
    gappy, network, jcl.recipes.finetune(), jcl.base.Training(head=head)
  )
  assert gappy.task_classes == ((1, 2), (3, 4))
  for index, seen in enumerate([[0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]]):
    scope = loop.scope_of(job, index)
    assert np.asarray(scope.seen).tolist() == [bool(each) for each in seen]
    allowed = seen if head == "seen" else [0, 1, 1, 1, 1, 0]
    assert np.asarray(scope.head).tolist() == [bool(each) for each in allowed]


def test_outputs_of_classes_that_never_train_are_never_read(gappy):
  """Were one in a mask, nothing else would ever be predicted."""
  found = []
  for loud in (0.0, 1e6):
    network = network_of(gappy)

    def apply(*args, network=network, loud=loud, **kwargs):
      out = network.apply(*args, **kwargs)
      logits = out.logits.at[:, np.array([0, 5])].set(loud)
      return out._replace(logits=logits)

    result = jcl.learn(
      gappy,
      dataclasses.replace(network, apply=apply, blocks=None),
      jcl.recipes.finetune(),
      head="all",
    )
    initial = result.summary["initial"]
    found.append((scores(result), initial))
  assert found[0] == found[1]
  last = result.records[-1]
  assert math.isnan(last.accuracy_class[0])
  assert sum(result.summary["test_sizes"]) == 16
