"""A linear classifier and batches for it, small enough to check by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base

C, D = 5, 3


def forward(params, stats, x, key=None, evaluate=False):
  """Linear in two units; its statistics count the calls."""
  del key
  hidden = jnp.asarray(x, jnp.float32) @ params["body"]["kernel"]
  logits = hidden + params["head"]["bias"]
  calls = stats["calls"] + (not evaluate)
  return base.Output(logits, {"calls": calls}, {})


STATS = {"calls": jnp.float32(0)}


def params(seed=0):
  generator = np.random.default_rng(seed)
  return {
    "body": {"kernel": jnp.asarray(generator.normal(size=(D, C)), jnp.float32)},
    "head": {"bias": jnp.asarray(generator.normal(size=C), jnp.float32)},
  }


def logits(tree, x):
  """The classifier's outputs in float64."""
  kernel = np.asarray(tree["body"]["kernel"], np.float64)
  return np.asarray(x, np.float64) @ kernel + np.asarray(tree["head"]["bias"])


def batch(labels, *, seed=1, weight=None, task=0) -> base.Batch:
  generator = np.random.default_rng(seed)
  count = len(labels)
  return base.Batch(
    x=generator.normal(size=(count, D)).astype(np.float32),
    y=np.asarray(labels, np.int32),
    task=np.full(count, task, np.int32),
    ids=np.arange(count, dtype=np.int32),
    weight=np.ones(count, np.float32)
    if weight is None
    else np.asarray(weight, np.float32),
    extras={
      "logits": generator.normal(size=(count, C)).astype(np.float32),
    },
  )


def pad(part: base.Batch, count=3) -> base.Batch:
  """Adds rows of weight 0 that hold other inputs and labels."""
  more = batch(np.arange(count) % C, seed=99, weight=np.zeros(count))
  return jax.tree.map(lambda *rows: np.concatenate(rows), part, more)


def scope(task=1, current=(2, 3), seen=(0, 1, 2, 3), head=None) -> base.Scope:
  """Five classes; by default the second experience, and one still to come."""

  def mask(classes):
    return np.isin(np.arange(C), classes)

  return base.Scope(
    np.int32(task),
    mask(current),
    mask(seen),
    mask(seen if head is None else head),
  )


FIRST = scope(task=0, current=(0, 1), seen=(0, 1))


def log_softmax(values, classes=range(C)):
  """In float64, over some of the outputs; minus infinity at others."""
  values = np.asarray(values, np.float64)
  result = np.full_like(values, -np.inf)
  kept = values[:, list(classes)]
  kept = kept - kept.max(axis=1, keepdims=True)
  result[:, list(classes)] = kept - np.log(
    np.exp(kept).sum(axis=1, keepdims=True)
  )
  return result


def nll(values, labels, classes=range(C)):
  """Mean surprise about the labels, in float64."""
  rows = np.arange(len(labels))
  return -log_softmax(values, classes)[rows, np.asarray(labels)].mean()


def sigmoid(values):
  return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def inputs(tree, now, memory=(), where=None, state=(), seed=0):
  """What a loss on this classifier reads."""
  where = scope() if where is None else where
  key = jax.random.key(seed)
  return base.LossInputs(tree, STATS, now, memory, where, state, key)


def call(objective, tree, now, memory, where, state=None, seed=0):
  """Runs an objective's loss on this classifier."""
  if state is None:
    state = objective.init(tree, STATS)
  return objective.loss(forward, inputs(tree, now, memory, where, state, seed))
