"""Networks that get a column for every experience.

Rusu et al., "Progressive Neural Networks", 2016, arXiv 1606.04671: a column of
its own learns each task, reading what the columns before it make of the input;
those stay as they are, so that nothing is forgotten and parameters grow with
the number of tasks.
"""

from collections.abc import Callable, Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jcl import base, errors
from jcl.errors import UsageError
from jcl.networks import check, order


class _Lateral(nn.Module):
  """Adds to a unit's input what earlier columns have there (eq. 2).

  With h the outputs [..., D] of the unit before it, those of earlier columns
  are joined, scaled by a learned number each, projected to D, rectified and
  mapped once more. On images that is a 1x1 convolution.
  """

  @nn.compact
  def __call__(self, x, earlier):
    small = nn.initializers.normal(0.1, jnp.float32)
    scale = self.param("scale", small, (len(earlier),))
    joined = jnp.concatenate(
      [scale[i] * part for i, part in enumerate(earlier)], axis=-1
    )
    hidden = nn.relu(nn.Dense(x.shape[-1], name="project")(joined))
    return x + nn.Dense(x.shape[-1], use_bias=False, name="out")(hidden)


def progressive(
  column: Callable[[tuple[int, ...], int], base.Network],
  input_shape: tuple[int, ...],
  classes: Sequence[Sequence[int]],
  num_classes: int | None = None,
) -> base.Network:
  """Builds a network of one column per experience, with laterals.

  Its units are `column_0`, `column_1`, ..., each with its own outputs: the
  logit of a class is that of the column which owns the class. Which column
  learns is up to the selection (`recipes.pnn`). Comparing logits of different
  columns means little: this is for task-incremental streams.

  Parameters are `{column: {unit: arrays}}`, where a column's laterals stand
  beside its units as `lateral_UNIT`. No gradient flows into earlier columns.
  While some columns train, those behind the last of them are not computed:
  their logits are 0 then. A tap gives a column's own logits.

  Departures: laterals join a unit's input instead of its sum ahead of the
  nonlinearity, so that any unit can be a layer; columns take no outputs of
  earlier heads.

  Args:
    column: builds the network of a column from the shape of an example and a
      number of classes; a plain chain, such as
      `functools.partial(mlp.mlp, width=30)`. Narrow columns keep the whole
      affordable.
    input_shape: of one example, without the batch axis.
    classes: those of each column, in the order of the experiences, such as
      `stream.task_classes`, each once.
    num_classes: C, such as `stream.num_classes`; None: as many as `classes`
      lists. The logit of a class that no column owns is 0.

  Raises:
    ValueError: where the classes are not dealt out like this, or the network
      of a column is no chain.
  """
  owned = [[int(label) for label in own] for own in classes]
  listed = [label for own in owned for label in own]
  every = set(range(len(listed) if num_classes is None else num_classes))
  num_classes = len(every)
  once = len(set(listed)) == len(listed) and set(listed) <= every
  if not owned or not all(owned) or not once:
    raise UsageError(
      f"progressive: columns own classes {errors.some(owned)}; give each "
      "column one at least, and each class from 0 on to one column, such as "
      "stream.task_classes of a task-incremental stream"
    )
  members = [column(tuple(input_shape), len(own)) for own in owned]
  chains = [member.blocks or () for member in members]
  if not all(chains):
    raise UsageError(
      f"progressive: network {members[0].name!r} is no plain chain of units; "
      "build columns with mlp, conv1d, mobilenet, vit or a resnet"
    )
  name = f"progressive_{members[0].name}"
  names = tuple(f"column_{index}" for index in range(len(members)))
  # Each class's position among the joined outputs; classes of no column last.
  place = np.argsort([*listed, *sorted(every - set(listed))])

  def run(index, params, stats, x, earlier, training, key):
    """Returns what each unit of a column puts out, and its statistics."""
    outputs, updated = [], dict(stats)
    for i, block in enumerate(chains[index]):
      if index and i:
        before = [jax.lax.stop_gradient(other[i - 1]) for other in earlier]
        weights = {"params": params[f"lateral_{block.name}"]}
        x = _Lateral().apply(weights, x, before)
      x, new = block.apply(
        params.get(block.name, {}),
        stats.get(block.name, {}),
        x,
        training,
        None if key is None else jax.random.fold_in(key, i),
      )
      if new:
        updated[block.name] = new
      outputs.append(x)
    return outputs, updated

  shapes = _outputs(members[0], input_shape)

  def init(key):
    params, stats = {}, {}
    for index, (own, member) in enumerate(zip(names, members, strict=True)):
      column_key, lateral_key = jax.random.split(jax.random.fold_in(key, index))
      params[own], stats[own] = member.init(column_key)
      for i, block in enumerate(chains[index][1:] if index else ()):
        x = jnp.zeros(shapes[i], jnp.float32)
        params[own][f"lateral_{block.name}"] = _Lateral().init(
          jax.random.fold_in(lateral_key, i), x, [x] * index
        )["params"]
    return params, {own: held for own, held in stats.items() if held}

  def apply(params, stats, x, *, training=(), key=None, taps=()):
    check.known(name, "unit", (*training, *taps), names)
    asked = [i for i, own in enumerate(names) if own in (*training, *taps)]
    count = 1 + max(asked) if training else len(names)
    earlier: list[list[jax.Array]] = []
    stats = dict(stats)
    for index, own in enumerate(names[:count]):
      outputs, updated = run(
        index,
        params[own],
        stats.get(own, {}),
        x,
        earlier,
        own in training,
        None if key is None else jax.random.fold_in(key, index),
      )
      if updated:
        stats[own] = updated
      earlier.append(outputs)
    joined = jnp.concatenate([outputs[-1] for outputs in earlier], axis=-1)
    missing = num_classes - joined.shape[-1]
    logits = jnp.pad(joined, ((0, 0), (0, missing)))[:, place]
    tapped = {tap: earlier[names.index(tap)][-1] for tap in taps}
    return base.Output(logits, stats, tapped)

  params, stats = jax.eval_shape(init, jax.random.key(0))
  tensors = order.tensors(
    lambda params, stats, x: apply(params, stats, x).logits,
    params,
    stats,
    jax.ShapeDtypeStruct((1, *input_shape), jnp.float32),
  )
  return base.Network(
    name,
    names,
    tensors,
    init,
    apply,
    tuple(input_shape),
    num_classes,
    features=None,
    origin=members[0].origin
    and {"columns": owned, "column": members[0].origin},
  )


def _outputs(network: base.Network, input_shape) -> list[tuple[int, ...]]:
  """Returns the shapes of what the units of a chain put out, one example."""

  def taps(params, stats, x):
    return network.apply(params, stats, x, taps=network.units).taps

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  found = jax.eval_shape(taps, params, stats, x)
  return [found[unit].shape for unit in network.units]
