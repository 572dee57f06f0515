"""Networks that get a column for every experience.

Rusu et al., "Progressive Neural Networks", 2016,
https://arxiv.org/abs/1606.04671: each task is learned by a column of its own,
which also reads the outputs of the columns before it. The earlier columns stay
as they are, so that nothing is forgotten and parameters grow with the number of
tasks.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple, cast

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.networks import check, layers, order
from jcl.options import errors
from jcl.options.errors import UsageError


class _Lateral(nn.Module):
  """Adds the inputs of a unit in earlier columns to its own input (eq. 2).

  The inputs [..., D] of earlier columns are scaled by a learned number each,
  joined, projected to D, rectified and projected once more. On images both
  projections are 1x1 convolutions.
  """

  @nn.compact
  def __call__(self, x: jax.Array, earlier: Sequence[jax.Array]) -> jax.Array:
    small = nn.initializers.normal(0.1, jnp.float32)
    scale = self.param("scale", small, (len(earlier),))
    joined = jnp.concatenate(
      [scale[i] * part for i, part in enumerate(earlier)], axis=-1
    )
    hidden = nn.relu(layers.Dense(x.shape[-1], name="project")(joined))
    return x + layers.Dense(x.shape[-1], use_bias=False, name="out")(hidden)


def progressive(
  column: Callable[[tuple[int, ...], int], base.Network],
  input_shape: tuple[int, ...],
  classes: Sequence[Sequence[int]],
  num_classes: int | None = None,
) -> base.Network:
  """Builds a network of one column per experience, with laterals.

  Its units are `column_0`, `column_1`, ..., each with its own outputs: the
  logit of a class comes from the column that owns the class. The selection
  decides which column learns (`recipes.pnn`). Logits of different columns are
  hardly comparable: this network is for task-incremental streams.

  Parameters are `{column: {unit: arrays}}`, where a column's laterals stand
  beside its units as `lateral_UNIT`. No gradient flows into earlier columns.
  While some columns train, the columns after the last of them are not computed,
  and their logits are 0. A tap gives a column's own logits.

  Departures: laterals are added to a unit's input instead of its sum ahead of
  the nonlinearity, so that any unit can be a layer; columns do not read the
  outputs of earlier heads.

  Args:
    column: builds the network of a column, a plain chain, from the shape of an
      example and a number of classes, such as
      `functools.partial(mlp.mlp, width=30)`. Narrow columns keep the cost of
      the whole network low.
    input_shape: of one example, without the batch axis.
    classes: classes of each column, in the order of the experiences, such as
      `stream.task_classes`; each class once.
    num_classes: C, such as `stream.num_classes`; None: as many as `classes`
      lists. The logit of a class that no column owns is 0.

  Raises:
    ValueError: where the classes are not dealt out like this, or the network
      of a column is no chain.

  >>> from jcl.networks import mlp
  >>> network = progressive(mlp.mlp, (4,), classes=[[0, 1], [2, 3]])
  >>> network.units, network.num_classes
  (('column_0', 'column_1'), 4)
  """
  owned = [[int(label) for label in own] for own in classes]
  num_classes, place = _places(owned, num_classes)
  members = [column(tuple(input_shape), len(own)) for own in owned]
  chains = [member.blocks or () for member in members]
  if not all(chains):
    raise UsageError(
      f"progressive: network {members[0].name!r} is no plain chain of units; "
      "build columns with mlp, conv1d, mobilenet, vit or a resnet"
    )
  columns = _Columns(
    f"progressive_{members[0].name}",
    tuple(f"column_{index}" for index in range(len(members))),
    members,
    chains,
    _outputs(members[0], input_shape),
    num_classes,
    place,
  )
  init = functools.partial(_init, columns)
  apply = functools.partial(_apply, columns)
  params, stats = jax.eval_shape(init, jax.random.key(0))
  tensors = order.tensors(
    lambda params, stats, x: apply(params, stats, x).logits,
    params,
    stats,
    jax.ShapeDtypeStruct((1, *input_shape), jnp.float32),
  )
  return base.Network(
    columns.name,
    columns.names,
    tensors,
    init,
    apply,
    tuple(input_shape),
    num_classes,
    features=None,
    origin=members[0].origin
    and {"columns": owned, "column": members[0].origin},
  )


class _Columns(NamedTuple):
  """The columns of a progressive network, one entry each."""

  name: str  # of the network
  names: tuple[str, ...]
  members: Sequence[base.Network]
  chains: Sequence[tuple[base.Block, ...]]
  shapes: Sequence[tuple[int, ...]]  # of each unit's output, one example
  num_classes: int
  place: np.ndarray  # [C] see `_places`


def _places(
  owned: Sequence[Sequence[int]], num_classes: int | None
) -> tuple[int, np.ndarray]:
  """Returns C, and each class's position [C] among the columns' outputs.

  Classes of no column come last.

  Raises:
    ValueError: where the classes are not dealt out one column each.
  """
  listed = [label for own in owned for label in own]
  every = set(range(len(listed) if num_classes is None else num_classes))
  once = len(set(listed)) == len(listed) and set(listed) <= every
  if not owned or not all(owned) or not once:
    raise UsageError(
      f"progressive: columns own classes {errors.some(owned)}; give each "
      "column one at least, and each class from 0 on to one column, such as "
      "stream.task_classes of a task-incremental stream"
    )
  return len(every), np.argsort([*listed, *sorted(every - set(listed))])


def _init(columns: _Columns, key: base.Key) -> tuple[base.Params, base.Stats]:
  """Draws the parameters and statistics of all columns and laterals."""
  params, stats = {}, {}
  pairs = zip(columns.names, columns.members, strict=True)
  for index, (own, member) in enumerate(pairs):
    column_key, lateral_key = jax.random.split(jax.random.fold_in(key, index))
    params[own], stats[own] = member.init(column_key)
    for i, block in enumerate(columns.chains[index][1:] if index else ()):
      x = jnp.zeros(columns.shapes[i], jnp.float32)
      params[own][f"lateral_{block.name}"] = _Lateral().init(
        jax.random.fold_in(lateral_key, i), x, [x] * index
      )["params"]
  return params, {own: held for own, held in stats.items() if held}


def _apply(
  columns: _Columns,
  params: base.Params,
  stats: base.Stats,
  x: jax.Array,
  *,
  training: Sequence[str] = (),
  key: base.Key | None = None,
  taps: Sequence[str] = (),
) -> base.Output:
  """Runs the columns up to the last one that trains; see `base.Network`."""
  names = columns.names
  check.known(columns.name, "unit", (*training, *taps), names)
  asked = [i for i, own in enumerate(names) if own in (*training, *taps)]
  count = 1 + max(asked) if training else len(names)
  earlier: list[list[jax.Array]] = []
  stats = dict(stats)
  for index, own in enumerate(names[:count]):
    outputs, updated = _run_column(
      columns.chains[index],
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
  missing = columns.num_classes - joined.shape[-1]
  logits = jnp.pad(joined, ((0, 0), (0, missing)))[:, columns.place]
  tapped = {tap: earlier[names.index(tap)][-1] for tap in taps}
  return base.Output(logits, stats, tapped)


def _run_column(
  chain: Sequence[base.Block],
  params: base.Params,
  stats: base.Stats,
  x: jax.Array,
  earlier: Sequence[Sequence[jax.Array]],
  training: bool,
  key: base.Key | None,
) -> tuple[list[jax.Array], dict[str, Any]]:
  """Returns the output of each unit of a column, and its statistics.

  Args:
    chain: units of the column.
    params: of the column.
    stats: of the column.
    x: [B, ...] inputs of the network.
    earlier: outputs of each unit of each earlier column.
    training: whether the column trains.
    key: of the column.
  """
  outputs, updated = [], dict(stats)
  for i, block in enumerate(chain):
    if earlier and i:
      before = [jax.lax.stop_gradient(other[i - 1]) for other in earlier]
      weights = {"params": params[f"lateral_{block.name}"]}
      x = cast(jax.Array, _Lateral().apply(weights, x, before))
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


def _outputs(
  network: base.Network, input_shape: tuple[int, ...]
) -> list[tuple[int, ...]]:
  """Returns the shape of the output of each unit of a chain, one example."""

  def taps(params, stats, x):
    return network.apply(params, stats, x, taps=network.units).taps

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  params, stats = jax.eval_shape(network.init, jax.random.key(0))
  found = jax.eval_shape(taps, params, stats, x)
  return [found[unit].shape for unit in network.units]
