"""`jcl convert`: a file of PyTorch's as safetensors, without running it."""

from pathlib import Path

import numpy as np

from jcl.cli import definitions, show
from jcl.networks import external, torch_files
from jcl.options.errors import UsageError
from jcl.report import lines

_WANTED = ".safetensors"


def command(arguments: list[str]) -> int:
  """Converts FILE.pth to FILE.safetensors; returns the exit status."""
  if len(arguments) != 2:
    raise UsageError(
      "convert takes two files, such as "
      f"`jcl convert resnet50.pth resnet50{_WANTED}`; got {len(arguments)}"
    )
  source, target = map(Path, arguments)
  _check(source, target)
  arrays = torch_files.read(str(source), definitions.SHA256.value)
  write(arrays, target)
  show.converted(arrays, target)
  return 0


def write(arrays: dict[str, np.ndarray], target: Path) -> None:
  """Writes arrays to a safetensors file, as a whole or not at all.

  Raises:
    UsageError: where the library is missing, or the file cannot be written.
  """
  content = external.safetensors().save(arrays)
  try:
    with lines.replacing(target) as file:
      file.write(content)
  except OSError as error:
    raise UsageError(
      f"{target} cannot be written: {error.strerror or error}"
    ) from error


def _check(source: Path, target: Path) -> None:
  """Raises UsageError, ahead of any work, for names that do not serve."""
  if source.suffix not in torch_files.SUFFIXES:
    raise UsageError(
      f"{source}: give a file of PyTorch's first, which ends in "
      f"{' or '.join(torch_files.SUFFIXES)}"
    )
  if target.suffix != _WANTED:
    raise UsageError(
      f"{target}: give the new file second, which ends in {_WANTED}"
    )
  if target.exists() and not definitions.OVERWRITE.value:
    raise UsageError(
      f"{target} is there already: give another name, or --overwrite"
    )
