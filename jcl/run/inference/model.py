"""Trained models, and their predictions from raw inputs."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jcl import base
from jcl.networks import shrink
from jcl.options import errors
from jcl.options.errors import UsageError
from jcl.train import augment as augmentation
from jcl.train import background
from jcl.train import evaluate as evaluation

Format = Literal["stablehlo", "onnx"]  # of an exported program

# Rows of a compiled program: inputs are padded to the smallest that holds them.
ROWS = (1, 16, 256)


class Inputs(NamedTuple):
  """Inputs of a network: raw examples, and how they are normalised."""

  network: base.Network  # of raw inputs, frozen trunk included
  mean: np.ndarray  # broadcasts to one example
  std: np.ndarray
  dtype: np.dtype  # of raw inputs, uint8 or float32


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """Trained classifier of raw inputs, as the run's own tests judged it.

  The model normalises inputs as the run did, reads scores by the method's
  predictor, such as the nearest mean of exemplars, and predicts no class that
  was not learned.
  """

  inputs: Inputs
  params: base.Params  # of the whole network
  stats: base.Stats
  predictor: base.Predictor
  fitted: Any  # result of the predictor's `fit`
  class_names: tuple[str, ...]  # [C]
  seen: np.ndarray  # [C] bool, classes that were learned
  # Rows of the programs that inputs are padded for, ascending.
  rows: tuple[int, ...] = ROWS
  # Compiled predictions, by rows.
  programs: dict[int, Callable[..., Any]] = dataclasses.field(
    default_factory=dict, repr=False
  )

  def predict(self, x: Any, among: Sequence[Any] | None = None) -> np.ndarray:
    """Predicts the classes of raw inputs, by name.

    Args:
      x: [N, ...] as the data that was learned: not normalised.
      among: names of the classes to choose among, as for a task that is known;
        None: all that were learned.

    Returns:
      [N] str; [N] int64 where all names are whole numbers, as are those of
      `jcl.arrays(x, y)` without `class_names`, so that they compare with y.

    Raises:
      ValueError: for inputs of another shape or dtype, for no inputs, for
        values that are not finite, and for an unknown class.
    """
    return self.labels[np.argmax(self.predict_scores(x, among), axis=-1)]

  def predict_scores(
    self, x: Any, among: Sequence[Any] | None = None
  ) -> np.ndarray:
    """Computes scores of raw inputs [N, C] float32, the predicted one largest.

    Scores are logits where the method predicts by logits, and minus infinity
    for classes that are not to be predicted. Arguments and errors are those of
    `predict`; column c is that of `class_names[c]`.
    """
    allowed = self.seen if among is None else self._among(among)
    x = self._readable(x)
    found, start = [], 0
    while start < len(x):
      part = self._checked(x, start, min(start + self.rows[-1], len(x)))
      found.append(self._scores(part))
      start += len(part)
    return np.where(allowed, np.concatenate(found), -np.inf).astype(np.float32)

  def computes_like(self, other: "Model") -> bool:
    """Returns whether programs of one model serve the other one."""
    one, two = self.inputs, other.inputs
    same_predictor = self.predictor is other.predictor or (
      self.predictor.name == other.predictor.name != ""
    )
    return (
      same_predictor
      and one.network is two.network
      and one.dtype == two.dtype
      and np.array_equal(one.mean, two.mean)
      and np.array_equal(one.std, two.std)
      and self.shapes == other.shapes
    )

  def following(self, before: "Model") -> "Model":
    """Returns this model, whose first predictions need no compiling.

    Programs of an earlier model serve where both are of one kind, and else
    those for as many rows as that one has are compiled.
    """
    if self.computes_like(before):
      return dataclasses.replace(self, programs=before.programs)
    for rows in list(before.programs):
      shape = rows, *self.inputs.network.input_shape
      self._scores(np.zeros(shape, self.inputs.dtype))
    return self

  @property
  def scores_fn(self) -> Callable[..., jax.Array]:
    """The pure function `(params, stats, fitted, x) -> scores [N, C]`.

    It takes raw inputs in the model's dtype and scores all classes.
    """
    network, mean, std, _ = self.inputs
    apply = evaluation.apply_fn(network, augmentation.Preprocess(mean, std))

    def scores(params, stats, fitted, x):
      found = self.predictor.scores(apply, params, stats, x, fitted)
      return jnp.asarray(found, jnp.float32)

    return scores

  def export(
    self,
    path: str | os.PathLike[str],
    *,
    format: Format = "stablehlo",
  ) -> Path:
    """Writes a program that runs without jcl; see `inference.export.export`."""
    from jcl.run.inference import export  # which reads models

    return export.export(self, path, format=format)

  @functools.cached_property
  def shapes(self) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the arrays, by path; programs are compiled for them."""
    return _shapes((self.params, self.stats, self.fitted))

  def __getstate__(self) -> NoReturn:
    raise TypeError(
      "a model holds functions, which do not pickle: write "
      "jcl.Result.save(path) of its run, and jcl.load_model(path)"
    )

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """Names of the classes, [C] str or, where all are numbers, [C] int64."""
    try:
      numbers = np.array([int(name) for name in self.class_names], np.int64)
    except (ValueError, OverflowError):
      return np.array(self.class_names)
    written = tuple(map(str, numbers.tolist()))
    are_numbers = written == self.class_names
    return numbers if are_numbers else np.array(self.class_names)

  def _among(self, names: Sequence[Any]) -> np.ndarray:
    wanted = {str(name) for name in np.ravel(np.asarray(names)).tolist()}
    known = {
      n for n, seen in zip(self.class_names, self.seen, strict=True) if seen
    }
    if not wanted or wanted - known:
      what = errors.some(sorted(wanted - known)) if wanted else "none"
      raise UsageError(
        f"among={what}: give classes that were learned, of "
        f"{errors.some(sorted(known))}"
      )
    return np.array([name in wanted for name in self.class_names])

  def _readable(self, x: Any) -> Any:
    """Returns an array, or a reader on demand, whose shape is checked."""
    if np.ma.is_masked(x):
      place = ", ".join(map(str, np.argwhere(np.ma.getmaskarray(x))[0]))
      raise UsageError(
        f"x[{place}] is masked: every input must be known, so fill or leave "
        "out such examples"
      )
    on_demand = hasattr(x, "dtype") and hasattr(x, "shape")
    if not on_demand or hasattr(x, "__dlpack__") or hasattr(x, "iloc"):
      try:
        x = np.asarray(x)
      except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
          f"inputs that are no array ({errors.short(str(error), 90)}): give "
          f"[N, {self._shape}] of {self.inputs.dtype}"
        ) from error
    shape, expected = tuple(x.shape), tuple(self.inputs.network.input_shape)
    if shape == expected:
      raise UsageError(
        f"inputs of shape {shape} are one example, without an axis that counts "
        "them: write x[None]"
      )
    if not shape or shape[1:] != expected:
      raise UsageError(
        f"inputs have shape {shape}: give [N, {self._shape}], N examples like "
        "those that were learned"
      )
    if not shape[0]:
      raise UsageError(f"inputs of shape {shape} are no example: give one")
    return x

  @property
  def _shape(self) -> str:
    return ", ".join(map(str, self.inputs.network.input_shape))

  def _checked(self, x: Any, start: int, stop: int) -> np.ndarray:
    """Returns rows of the inputs in the model's dtype."""
    rows = np.asarray(x[np.arange(start, stop)])
    if rows.dtype.kind not in "biuf" and "float" not in rows.dtype.name:
      raise UsageError(
        f"inputs are of dtype {rows.dtype}: give {self.inputs.dtype}"
      )
    if self.inputs.dtype == np.uint8:
      return _as_bytes(rows)
    with np.errstate(over="ignore"):  # what overflows is told as infinite
      rows = rows.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
      place = ", ".join(map(str, (start + wrong[0][0], *wrong[0][1:])))
      raise UsageError(
        f"x[{place}] is {rows[tuple(wrong[0])]}: every input must be finite, "
        "so fill or leave out such examples"
      )
    return rows

  def _scores(self, x: np.ndarray) -> np.ndarray:
    rows = next(size for size in self.rows if len(x) <= size)
    padded = np.concatenate([x, np.repeat(x[:1], rows - len(x), axis=0)])
    args = self.params, self.stats, self.fitted, padded
    if rows not in self.programs:
      compiled = background.compile_program(self.scores_fn, args)
      self.programs[rows] = compiled.call
    return np.asarray(self.programs[rows](*args))[: len(x)]


def of(
  inputs: Inputs,
  params: base.Params,
  stats: base.Stats,
  predictor: base.Predictor,
  fitted: Any,
  class_names: Sequence[str],
  seen: np.ndarray,
) -> Model:
  """Returns the model of trained arrays, whose network may have been pruned.

  Args:
    inputs: with the network before any pruning.
    params: of the network.
    stats: of the network.
    predictor: of the method.
    fitted: result of its `fit`.
    class_names: [C].
    seen: [C] bool, classes that were learned.
  """
  if _shapes((params, stats)) != _drawn(inputs.network.init):
    inputs = inputs._replace(network=shrink.fitted(inputs.network))
  return Model(
    inputs, params, stats, predictor, fitted, tuple(class_names), seen
  )


@functools.lru_cache(maxsize=8)  # JAX keeps something of each call
def _drawn(init: Callable[..., Any]) -> Mapping[str, tuple[int, ...]]:
  """Returns the shapes of what a network draws."""
  return _shapes(jax.eval_shape(init, jax.random.key(0)))


def _shapes(tree: Any) -> Mapping[str, tuple[int, ...]]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}


def _as_bytes(rows: np.ndarray) -> np.ndarray:
  if rows.dtype == np.uint8:
    return rows
  if rows.dtype.kind not in "iu":
    raise UsageError(
      f"inputs are of dtype {rows.dtype}, and bytes from 0 to 255 were "
      "learned: give them as they were read, uint8, neither scaled nor "
      "normalised"
    )
  if rows.min() < 0 or rows.max() > 255:
    raise UsageError(
      f"inputs reach from {rows.min()} to {rows.max()}, and bytes from 0 to "
      "255 were learned: give uint8"
    )
  return rows.astype(np.uint8)
