"""Checks of a run's arguments: one sentence names the one that is wrong."""

from collections.abc import Callable, Iterable, Mapping
import os
from typing import Annotated, Any

from jcl import base
from jcl.options import bounds, errors, parameters, spec
from jcl.options.errors import UsageError
from jcl.streams import stream as stream_lib

# A random key of JAX takes no seed above.
_Seed = Annotated[int, bounds.Range(0, 2**63 - 1)]

_PARTS: dict[str, tuple[Any, str]] = {
  "stream": (
    stream_lib.Stream,
    "a stream, such as jcl.class_incremental(source, tasks=5)",
  ),
  "network": (
    base.Network,
    "a network, such as jcl.build_network('mlp', stream.example_shape, "
    "stream.num_classes) or jcl.from_linen(module, ...)",
  ),
  "method": (base.Method, "a recipe, such as jcl.recipes.er(buffer=500)"),
}


def check_parts(**parts: Any) -> None:
  """Checks that stream, network and method are such.

  Args:
    **parts: by name, "stream", "network" or "method".

  Raises:
    ValueError: for a part of another type.
  """
  for name, given in parts.items():
    kind, words = _PARTS[name]
    if not isinstance(given, kind):
      raise UsageError(
        f"{name}={errors.short(given)}: give {words}"
        + ("; this is a function, which is to be called" * callable(given))
      )


def seed(value: Any) -> int:
  """Returns a seed as a number; ValueError for anything else."""
  return spec.value("seed", value, _Seed)


def check_folder(workdir: Any) -> None:
  """Raises ValueError for anything but the path of a folder or None."""
  if workdir is None:
    return
  if not isinstance(workdir, str | os.PathLike) or "\0" in os.fspath(workdir):
    raise UsageError(
      f"workdir={errors.short(workdir)}: give the path of a folder, or None "
      "to keep everything in memory"
    )


def check_names(
  function: Callable[..., Any],
  given: Mapping[str, Any],
  fields: Iterable[str],
  options: Iterable[str],
) -> None:
  """Checks the names of the further keywords of a function of `jcl`.

  Args:
    function: whose own keywords a message may suggest.
    given: further keywords of the call.
    fields: names that further keywords may have.
    options: names that belong in the argument `options` instead.

  Raises:
    ValueError: for a name that is not in `fields`.
  """
  title = f"jcl.{function.__name__}"
  for name in given:
    if name in options:
      raise UsageError(
        f"{title} has no option {name!r}: write options=jcl.Options({name}=...)"
      )
  spec.known(title, given, [*parameters.keywords(function), *fields])
