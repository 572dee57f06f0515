"""Scripts under experiments/ as modules."""

import importlib.util
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "experiments"


def load(name: str) -> Any:
  """Returns a script as a module, by its name without the suffix."""
  spec = importlib.util.spec_from_file_location(
    f"{name}_study", FOLDER / f"{name}.py"
  )
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
