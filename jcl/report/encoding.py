"""Writes records and summaries as values for JSON; `decoding` reads them.

NaN is written as null, the infinities as "inf" and "-inf".
"""

from collections.abc import Mapping
import dataclasses
import math
import os
from typing import Any

import numpy as np

from jcl import base


def to_json(record: base.Record) -> dict[str, Any]:
  """Encodes a record for `json.dump`; `decoding.record` decodes it."""
  return encode(record)


def encode(value: Any) -> Any:
  """Encodes dataclasses, arrays, paths and non-finite numbers for JSON.

  >>> encode({"loss": math.nan, "row": np.array([0.5, math.inf])})
  {'loss': None, 'row': [0.5, 'inf']}
  """
  kind = type(value)
  if kind is float and math.isfinite(value) or kind in (int, str, bool):
    return value  # tested first, since most values are plain
  if isinstance(value, list | tuple):
    return [encode(item) for item in value]
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
      field.name: encode(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
  if isinstance(value, Mapping):
    return {str(key): encode(item) for key, item in value.items()}
  if isinstance(value, np.ndarray | np.generic):
    return encode(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None if math.isnan(value) else str(value)
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  return value
