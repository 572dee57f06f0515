"""Flags of training."""

from jcl.cli.definitions import declaring

SEED = declaring.several(
  "seed",
  ["0"],
  "seed, or several: 0,1,2",
  group=declaring.TRAINING,
  identifies=(),  # a work directory holds runs of several seeds
  by=(*declaring.RUNS, declaring.DEVICE),
)
declaring.varied_integer(
  "epochs",
  None,
  "passes over an experience; default the recipe's, else 1 (10 for digits)",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.varied_integer(
  "batch_size",
  None,
  "examples per update; default the recipe's, else 10",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.varied_number(
  "learning_rate",
  None,
  "step size; default the recipe's, else 0.03 for sgd and 0.001 for adam",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.choice(
  "optimizer",
  None,
  ["sgd", "adam", "adamw"],
  "update rule; default the recipe's, else sgd",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.text(
  "schedule",
  None,
  "what the learning rate does in each experience: constant (default), linear "
  "or cosine, with a warmup and a floor in shares, such as "
  "cosine:warmup=0.1,floor=0.01",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.varied_number(
  "momentum",
  None,
  "of sgd; default 0",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.varied_number(
  "weight_decay",
  None,
  "L2 coefficient; default 0",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.varied_number(
  "clip",
  None,
  "bound on each gradient entry; default none",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.choice(
  "head",
  None,
  ["seen", "all"],
  "outputs in play: of classes that have arrived (default), or all of them",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.choice(
  "norms",
  None,
  ["batch", "frozen", "moving"],
  "statistics of normalisers in training: of the batch (default), or the "
  "running ones, left as they are",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.choice(
  "augment",
  "none",
  ["none", "flip", "crop", "crop_flip"],
  "of images, on the device; replayed ones too",
  group=declaring.TRAINING,
  identifies=(declaring.LEARN,),
)
