"""Streams in time order: whose examples keep it, and whose are shuffled."""

import dataclasses

import numpy as np
import pytest
import tiny_hierarchy
import tiny_network

from jcl import base, recipes
from jcl.run import loop, session
from jcl.streams import scenarios, sources

PARTS, EPOCHS = 3, 2
SIZE = 16  # examples of a part
MIRO = "miro:em=20,sb=12,grid=20x12/10x8,warmup=1,trial_epochs=1,held_out=2"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  tiny_hierarchy.read_at_once(monkeypatch)


def assemble(text, *, ordered=True, per_class=12):
  source = tiny_network.source(per_class=per_class)
  stream = scenarios.time_ordered(source, parts=PARTS)
  return session.assemble(
    dataclasses.replace(stream, ordered=ordered),
    tiny_network.build(),
    recipes.build(text),
    base.Training(epochs=EPOCHS, batch_size=4, learning_rate=0.1),
    options=session.Options(steps_per_dispatch=32, progress=False),
  )


def put(job, folder):
  """Runs to the end; returns what was put on the device to learn from.

  Two lists by experience: ids before it begins, which trials and a memory that
  is filled first put there, and ids of its epochs. Each is a list of the stream
  rows of a dispatch, which holds an epoch.
  """
  ids: list[list[int]] = []
  width, on_device = job.learner.stream_rows, job.learner.put_batches

  def spy(batches):
    rows, weight = batches.ids[:, :width], batches.weight[:, :width]
    ids.append(rows[weight > 0].tolist())
    return on_device(batches)

  job.learner.put_batches = spy
  before, shown = [], []
  with session.fed(job, folder) as running:
    state, place = loop.start(running)
    for event in loop.run(running, state, place):
      if event.kind == "begin":
        before.append(list(ids))
      if event.kind == "steps" and place.epoch == EPOCHS:
        shown.append(list(ids))
      if event.kind != "steps":
        ids.clear()
  return before, shown


@pytest.mark.parametrize(
  "text",
  [
    "finetune",
    "er:buffer=8,minibatch=2",
    "icarl:buffer=8,minibatch=2",
    "lwf",
    "er:minibatch=2+carm:em=8,sb=16",
  ],
)
def test_what_an_experience_brings_keeps_its_order(text, tmp_path):
  _, shown = put(assemble(text), tmp_path)
  for part, epochs in enumerate(shown):
    expected = list(range(part * SIZE, (part + 1) * SIZE))
    assert epochs == [expected, expected]


@pytest.mark.parametrize(
  "text",
  [
    "joint",
    "gdumb:buffer=12",
    "gdumb:buffer=12+carm:em=12,sb=12",
    "carm:em=12,sb=12",
    "lwf+carm:em=12,sb=12",
    "ram_only:em=12,sb=12",
    "storage_only",
    MIRO,
    MIRO.replace("miro", "frugal").replace("grid=20x12/10x8,", ""),
  ],
)
def test_what_spans_experiences_is_shuffled(text, tmp_path):
  _, shown = put(assemble(text), tmp_path)
  assert len(shown) == PARTS
  for epochs in shown:
    assert len(epochs) == EPOCHS
    for epoch in epochs:
      assert len(set(epoch)) == len(epoch) >= 12
      assert epoch != sorted(epoch)
  if text in ("joint", "storage_only"):
    for part, epochs in enumerate(shown):
      assert set(epochs[0]) == set(range((part + 1) * SIZE))
      assert epochs[0] != epochs[1]


def test_a_memory_is_offered_examples_in_their_order(tmp_path):
  before, _ = put(assemble("gdumb:buffer=12"), tmp_path)
  assert before == [
    [list(range(part * SIZE, (part + 1) * SIZE))] for part in range(PARTS)
  ]


@pytest.mark.parametrize("ordered", [True, False])
def test_trials_show_new_examples_as_training_will(ordered, tmp_path):
  text = f"er:minibatch=2+{MIRO},share=0.5"
  job = assemble(text, ordered=ordered, per_class=60)
  before, _ = put(job, tmp_path)
  assert len(before[1]) >= 3  # a warm-up, and an epoch of each candidate
  for epoch in before[1]:
    assert len(epoch) > 3 and min(epoch) >= 80  # of this part only
    assert (epoch == sorted(epoch)) == ordered


def test_more_data_is_no_worse_where_classes_come_one_by_one(digits, learn):
  def by_class(data):
    rows = np.argsort(data.y, kind="stable")
    return np.asarray(data.x)[rows], data.y[rows]

  source = sources.arrays(
    *by_class(digits.train), *by_class(digits.test), scale=16.0
  )
  stream = scenarios.time_ordered(source, parts=5)
  reached = {
    text: learn(recipes.build(text), stream=stream, epochs=4).average_accuracy
    for text in ("joint", "er:buffer=200", "finetune")
  }
  assert reached["joint"] >= reached["er:buffer=200"] > 0.6
  assert reached["finetune"] < 0.3
