"""Published hyper-parameters, by protocol, recipe and memory size.

"split_mnist": class-incremental Split-MNIST, five experiences of two digits,
one epoch, batches of ten, an MLP 784-100-100-10, all ten outputs from the
start. This is the protocol of Buzzega et al., "Dark Experience for General
Continual Learning", NeurIPS 2020, https://arxiv.org/abs/2004.07211, with the
values that its authors state. Options not in the table keep the recipe's
defaults.
"""

from typing import Any

from jcl.options import plain
from jcl.options.errors import UsageError

_MNIST: dict[tuple[str, int], dict[str, Any]] = {
  ("finetune", 0): {"learning_rate": 0.03},
  ("joint", 0): {"learning_rate": 0.03},
  ("ewc", 0): {"learning_rate": 0.03, "strength": 90.0, "decay": 1.0},
  ("si", 0): {
    "learning_rate": 0.1,
    "strength": 1.0,
    "damping": 0.9,
    "clip": 1.0,
  },
  ("lwf", 0): {
    "learning_rate": 0.03,
    "strength": 1.0,
    "temperature": 2.0,
    "weight_decay": 0.0005,
  },
  ("er", 200): {"learning_rate": 0.01, "minibatch": 10},
  ("er", 500): {"learning_rate": 0.1, "minibatch": 10},
  ("der", 200): {"learning_rate": 0.03, "minibatch": 10, "alpha": 0.2},
  ("der", 500): {"learning_rate": 0.03, "minibatch": 128, "alpha": 1.0},
  ("derpp", 200): {
    "learning_rate": 0.03,
    "minibatch": 128,
    "alpha": 0.2,
    "beta": 1.0,
  },
  ("derpp", 500): {
    "learning_rate": 0.03,
    "minibatch": 10,
    "alpha": 1.0,
    "beta": 0.5,
  },
  ("agem", 200): {"learning_rate": 0.1, "minibatch": 128},
  ("agem", 500): {"learning_rate": 0.1, "minibatch": 128},
  ("icarl", 200): {"learning_rate": 0.1, "minibatch": 10},
  ("icarl", 500): {"learning_rate": 0.1, "minibatch": 10},
}
_PROTOCOL = {"batch_size": 10, "epochs": 1, "optimizer": "sgd", "head": "all"}
PRESETS = {"split_mnist": (_MNIST, _PROTOCOL)}


def options(preset: str, recipe: str, buffer: Any) -> dict[str, Any]:
  """Returns the options that a preset gives to a recipe.

  Raises:
    ValueError: for an unknown preset, or one without values for this recipe
      and this memory size.

  >>> options("split_mnist", "er", 500)["learning_rate"]
  0.1
  """
  if preset not in PRESETS:
    raise UsageError(
      f"preset {plain.shown(preset)} is not known: choose from "
      f"{', '.join(PRESETS)}"
    )
  table, protocol = PRESETS[preset]
  for key in ((recipe, buffer), (recipe, 0)):
    if key in table:
      return {**protocol, **table[key]}
  known = ", ".join(
    f"{name}:buffer={size}" if size else name for name, size in table
  )
  raise UsageError(
    f"preset {preset!r} has no values for {recipe} with buffer={buffer}: it "
    f"has them for {known}"
  )
