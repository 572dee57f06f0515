"""What recipes have in common that compare a classifier with a network."""

from jcl import base
from jcl.options.errors import UsageError


def check(behind: base.Method, part: str, does: str, examples: str) -> None:
  """Raises UsageError for a recipe whose network cannot be judged as it goes.

  Args:
    behind: recipe that is to be judged.
    part: what stands behind it, which the message begins with.
    does: what that does with the network's outputs.
    examples: recipes that can be judged.
  """
  if behind.predictor.name != "logits":
    raise UsageError(
      f"{part} {does}, and the recipe predicts by "
      f"{behind.predictor.name.split(':')[0]}: put it behind one that predicts "
      "by outputs, such as er or derpp"
    )
  if behind.replay.on_host or behind.replay.when == "never":
    raise UsageError(
      f"{part} judges by examples in the device's memory, and the recipe has "
      f"none: put it behind one that has, such as {examples}"
    )
