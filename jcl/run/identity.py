"""Identity of runs: compares a run with the one that made a folder.

Data are the same where their content is, wherever their files lie. Settings are
the same where those that both versions of the program know agree, and all
others are at their defaults.
"""

from collections.abc import Iterator, Mapping, Sequence
import hashlib
import json
from typing import Any

import numpy as np

from jcl import base
from jcl.options import errors, spec

_SAMPLED = 64  # inputs that a digest reads of large data
_WHOLE = 2**22  # bytes of inputs up to which a digest reads all of them
_SHOWN = 3  # differences that a message lists
_SURROUNDINGS = ("device", "versions")  # that are told where they differ

# Settings that only say where data lie: they may differ where contents agree.
_PLACES = ("data", "stream.name")


def content(datasets: Sequence[base.Dataset]) -> str:
  """Returns a digest of data sets, the same wherever they were read from.

  The digest covers shapes, dtypes, all labels and all inputs up to 4 MiB. Of
  more inputs it covers 64, evenly spaced: changes in others go unnoticed.
  """
  digest = hashlib.sha256()
  for data in datasets:
    about = [list(data.x.shape), str(data.x.dtype), float(data.scale)]
    digest.update(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(data.y, "<i4").tobytes())
  ends = np.cumsum([len(data) for data in datasets])
  rows = np.arange(ends[-1])
  size = sum(
    np.dtype(d.x.dtype).itemsize * np.prod(d.x.shape) for d in datasets
  )
  if size > _WHOLE:
    rows = np.unique(np.linspace(0, ends[-1] - 1, _SAMPLED).astype(int))
  for data, end in zip(datasets, ends, strict=True):
    chosen = rows[(rows >= end - len(data)) & (rows < end)] - (end - len(data))
    if len(chosen):
      x = np.asarray(data.x[chosen])
      digest.update(x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes())
  return digest.hexdigest()[:16]


def differences(
  theirs: Mapping[str, Any],
  mine: Mapping[str, Any],
  defaults: Mapping[str, Any] | None = None,
) -> list[str]:
  """Returns the differences between two settings, a few words each.

  Args:
    theirs: settings that a folder keeps, written by any version.
    mine: settings of this run.
    defaults: of the settings that versions may gain or lose, nested like the
      settings. A setting missing from `theirs` was at its default; a setting
      that this version lacks is a difference unless it was false, 0, empty or
      None.
  """
  old, new = dict(_leaves(theirs)), dict(_leaves(mine))
  known = dict(_leaves(defaults or {}))
  groups = {key.rpartition(".")[0] for key in known}
  same = old.get("content") is not None and (
    old.get("content") == new.get("content")
  )
  found = []
  for key in sorted(old.keys() | new.keys()):
    was, now = old.get(key, known.get(key)), new.get(key)
    dropped = key not in new and key.rpartition(".")[0] in groups
    if was == now or (key == "content" and key not in old):
      continue
    if same and key in _PLACES and _placeless(was) == _placeless(now):
      continue
    if key == "content":
      found.append("labels or inputs of the data are others")
    elif not dropped:
      found.append(
        f"{key} was {errors.short(was)} and is now {errors.short(now)}"
      )
    elif was:
      found.append(
        f"{key} was {errors.short(was)}, which this version does not know"
      )
  return found


def moved(noted: Mapping[str, Any], about: Mapping[str, Any]) -> str:
  """Tells where machine or versions are not those that a run began with.

  Args:
    noted: the last summary of the run.
    about: what the run's summary is to say now.

  Returns:
    One line; "" where they are the same, or where one of the two is unknown.
  """
  old, new = noted.get("environment"), about.get("environment")
  if not (isinstance(old, dict) and new):
    return ""
  known = [name for name in _SURROUNDINGS if old.get(name)]
  return told(
    differences(
      {name: old[name] for name in known},
      {name: new.get(name) for name in known},
    )
  )


def told(found: Sequence[str]) -> str:
  """Returns differences as one line: the first few, and how many follow."""
  more = len(found) - _SHOWN
  shown = "; ".join(found[:_SHOWN])
  return f"{shown}; and {more} more" if more > 0 else shown


def _placeless(value: Any) -> Any:
  """Returns a data set's name and options but "path", None for a plain name."""
  if not isinstance(value, str) or ":" not in value:
    return None
  name, options = spec.parse(value)
  options.pop("path", None)
  return name, options


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator:
  for key, item in value.items():
    here = f"{path}.{key}" if path else str(key)
    if isinstance(item, Mapping):
      yield from _leaves(item, here)
    else:
      yield here, item
