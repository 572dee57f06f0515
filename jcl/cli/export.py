"""`jcl export`: a trained model as a program for other runtimes."""

from pathlib import Path

from jcl.cli import definitions, show
from jcl.options.errors import UsageError
from jcl.run.inference import export, files


def command(arguments: list[str]) -> int:
  """Exports RUN_OR_MODEL to PATH; returns the exit status."""
  if len(arguments) != 2:
    raise UsageError(
      "export takes a model and a new file, such as `jcl export "
      f"runs/.../er/seed_0 er.safetensors`; got {len(arguments)}"
    )
  source, target = (Path(each).expanduser() for each in arguments)
  path = export.target(target, definitions.FORMAT.value)
  if path.exists() and not definitions.OVERWRITE.value:
    raise UsageError(
      f"{path} is there already: give another name, or --overwrite"
    )
  made = files.load(source)
  try:
    made.export(path, format=definitions.FORMAT.value)
  except OSError as error:
    raise UsageError(
      f"{path} cannot be written: {error.strerror or error}"
    ) from error
  show.exported(made, path)
  return 0
