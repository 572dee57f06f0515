"""Learns a stream of experiences under a cost budget and reports on it.

Without flags: the ten digits of scikit-learn in five experiences of two, by
experience replay and, beside it, by plain fine-tuning.

  python run.py
  python run.py --recipe=derpp:buffer=500 --compare=er:buffer=500 --seed=0,1,2
  python run.py --data=fashion_mnist --data_dir=~/data --model=mlp:width=400
  python run.py --stream=domain_by_group --data=gas_drift --data_dir=~/data
  python run.py --estimate            what it would take, without learning
  python run.py --list                every recipe, data set, stream, model
  python run.py report DIR...         rebuilds the report of finished runs
  python run.py serve dacapo frozen   serves a drifting stream while learning

Choices take options in one notation, `name:option=value,option=value`. The
fields of the hyper-parameters are options of every recipe, so that runs beside
each other can differ: `--compare=er:buffer=200,learning_rate=0.03`.

Everything goes to --workdir: a folder per recipe and seed with `records.jsonl`,
`curve.jsonl`, `summary.json`, TensorBoard events and checkpoints, and above
them `report.html`, `pictures/` and `summary.json` over all runs. The same
command again goes on where it stopped, also after a kill.
"""

import os
import sys


def _is_begun_by(argv: list[str], command: list[str]) -> bool:
  """Tells whether a command was `python [options] run.py ...` and no more.

  A notebook's `%run`, `runpy`, a debugger, a profiler and coverage run this
  file in a process of their own, which it must not replace.

  Args:
    argv: as the program sees its arguments, this file first.
    command: as Python was started.
  """
  options = command[1 : len(command) - len(argv)]
  if command[1 + len(options) :] != argv:
    return False
  simple, valued = set("-bBdEIOPqRsSuvx"), ("-W", "-X")
  return all(
    set(word) <= simple or word[:2] in valued or before in valued
    for before, word in zip(command, options, strict=False)
  )


def _is_this_file(path: str) -> bool:
  try:
    return os.path.samefile(path, __file__)
  except OSError:
    return False


# A step takes its working memory anew and gives it back. In small pages that
# is a tenth of a ResNet's step, and the C library asks for huge ones only where
# it is told to before it starts (glibc from 2.35 on).
if __name__ == "__main__" and sys.platform == "linux" and sys.executable:
  if (
    "GLIBC_TUNABLES" not in os.environ
    and _is_begun_by(sys.argv, sys.orig_argv)
    and _is_this_file(sys.argv[0])
  ):
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
import re
import time
from typing import Annotated, Any

from absl import app, flags, logging

from jcl import base
from jcl.cost.meters import find
from jcl.errors import UsageError
from jcl.options import kinds, spec
from jcl.run import surroundings

FLAGS = flags.FLAGS

_RECIPE = flags.DEFINE_string(
  "recipe", "er", "how to learn, such as er:buffer=500,minibatch=32"
)
_COMPARE = flags.DEFINE_multi_string(
  "compare",
  ["finetune"],
  "recipe to run beside it; may be repeated; --compare=none for none",
)
_DATA = flags.DEFINE_string(
  "data", "digits", "data set, such as cifar100:labels=coarse; see --list"
)
_STREAM = flags.DEFINE_string(
  "stream",
  "class_incremental",
  "how the data is dealt out, such as class_incremental:tasks=10",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the data sets")
_DOWNLOAD = flags.DEFINE_bool(
  "download", False, "fetch the data set if it is missing, and verify it"
)
_MODEL = flags.DEFINE_string(
  "model",
  "auto",
  "network, such as mlp:width=400; auto: mlp for vectors and grey images, "
  "slim_resnet18 for colour images or where a recipe needs convolutions, "
  "conv1d for series",
)
_WEIGHTS = flags.DEFINE_string(
  "weights",
  None,
  "safetensors file that the model begins with, named as torchvision's ResNets "
  "or timm's ViTs (with --model=vit:gelu=exact); the head is drawn anew",
)
_BASE_CLASSES = flags.DEFINE_integer(
  "base_classes",
  0,
  "classes that the model learns at once before the others are streamed, for "
  "recipes that begin with a trained network; kept in the work directory",
)
_BASE_EPOCHS = flags.DEFINE_integer("base_epochs", 30, "passes over them")
_SEED = flags.DEFINE_list("seed", ["0"], "seed, or several: 0,1,2")
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "where everything is written; default runs/NAME-HASH"
)
_RESUME = flags.DEFINE_bool(
  "resume", True, "go on from what --workdir holds; --noresume starts over"
)
_EPOCHS = flags.DEFINE_integer(
  "epochs",
  None,
  "passes over an experience; default the recipe's, else 1 (10 for digits)",
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", None, "examples per update; default the recipe's, else 10"
)
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate",
  None,
  "step size; default the recipe's, else 0.03 for sgd and 0.001 for adam",
)
_OPTIMIZER = flags.DEFINE_enum(
  "optimizer",
  None,
  ["sgd", "adam", "adamw"],
  "update rule; default the recipe's, else sgd",
)
_SCHEDULE = flags.DEFINE_string(
  "schedule",
  None,
  "what the learning rate does in each experience: constant (default), linear "
  "or cosine, with a warmup and a floor in shares, such as "
  "cosine:warmup=0.1,floor=0.01",
)
_MOMENTUM = flags.DEFINE_float("momentum", None, "of sgd; default 0")
_WEIGHT_DECAY = flags.DEFINE_float(
  "weight_decay", None, "L2 coefficient; default 0"
)
_CLIP = flags.DEFINE_float(
  "clip", None, "bound on each gradient entry; default none"
)
_HEAD = flags.DEFINE_enum(
  "head",
  None,
  ["seen", "all"],
  "outputs in play: of classes that have arrived (default), or all of them",
)
_NORMS = flags.DEFINE_enum(
  "norms",
  None,
  ["batch", "frozen", "moving"],
  "statistics of normalisers in training: of the batch (default), or the "
  "running ones, left as they are",
)
_PRECISION = flags.DEFINE_enum(
  "precision",
  "float32",
  ["float32", "bfloat16"],
  "of computation; parameters stay float32",
)
_AUGMENT = flags.DEFINE_enum(
  "augment",
  "none",
  ["none", "flip", "crop", "crop_flip"],
  "of images, on the device; replayed ones too",
)
_ACCUMULATE = flags.DEFINE_integer(
  "accumulate", 1, "parts that a batch is cut into to save memory"
)
_STEPS_PER_DISPATCH = flags.DEFINE_integer(
  "steps_per_dispatch", 0, "updates per call of the device; 0 chooses"
)
_EXECUTOR = flags.DEFINE_enum(
  "executor",
  "auto",
  ["auto", "pieces", "whole"],
  "how steps are compiled: one program per choice of tensors, or in pieces "
  "that serve every choice; auto takes pieces where XLA convolves on a CPU",
)
_LEAD = flags.DEFINE_integer(
  "lead",
  -1,
  "updates between choosing tensors and training them, while programs are "
  "compiled beside; -1: as long as compiling takes by the profile, else 32",
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir",
  None,
  "where profiles and compiled programs are kept between runs; default jcl in "
  "the user's cache folder, 'none' for nowhere",
)
_EVALUATE_EVERY = flags.DEFINE_integer(
  "evaluate_every", 0, "updates between evaluations; 0: ends of experiences"
)
_CHECKPOINT_SECONDS = flags.DEFINE_float(
  "checkpoint_seconds", 60.0, "time between checkpoints mid-experience"
)
_MEMORY_BUDGET = flags.DEFINE_string(
  "memory_budget",
  None,
  "bytes for the memory hierarchy of recipes that have one (carm, frugal), "
  "such as 64MiB; or a file that says so, which may be rewritten while the run "
  "goes on; or auto: half of what the machine has left, and what its cgroup "
  "allows",
)
_TRUNK_CACHE = flags.DEFINE_string(
  "trunk_cache",
  "",
  "keeps the output of the frozen trunk of recipes that have one (lightcl, "
  "er+freeze) instead of computing it anew: raw, uint8 or pq:32; its memory "
  "then replays codes. Needs learned weights and --augment=none",
)
_TRUNK_BYTES = flags.DEFINE_string(
  "trunk_bytes", None, "bytes of that cache at most, such as 64MB"
)
_DIAGNOSE = flags.DEFINE_integer(
  "diagnose",
  0,
  "held-out examples of an experience, such as 256, by which the report shows "
  "what each experience made every unit lose and change; 0 for none",
)
_SECONDS_BUDGET = flags.DEFINE_float(
  "seconds_budget", None, "training seconds for each whole run"
)
_ENERGY_BUDGET = flags.DEFINE_string(
  "energy_budget",
  None,
  "joules, counted as --meter says, for each whole run, such as 1500; or a "
  "file that says so, such as 1500J, which may be rewritten while the run goes "
  "on: it is read again at every epoch",
)
_FLOPS_BUDGET = flags.DEFINE_float(
  "flops_budget", None, "floating-point operations for each whole run"
)
_TRAIN_SHARE = flags.DEFINE_float(
  "train_share", 1.0, "share of a full step's time for recipes that select"
)
_METER = flags.DEFINE_enum(
  "meter",
  "auto",
  list(find.NAMES),
  "where joules come from; rails: power monitors at a board's input, as on a "
  "Jetson; nvml: counters of NVIDIA GPUs (pip install nvidia-ml-py); rapl: "
  "counters of the processor (root only on most machines); modelled: seconds "
  "times watts, with no sensor; auto: the first of these that measures what "
  "computes. A sensor sees all programs: let nothing else run. A run may be "
  "taken up again with another meter and then says 'partly measured'",
)
_IDLE_WATTS = flags.DEFINE_float(
  "idle_watts", None, "power of an idle device, where no meter measures it"
)
_BUSY_WATTS = flags.DEFINE_float(
  "busy_watts", None, "power of a busy device, where no meter measures it"
)
_LIST = flags.DEFINE_bool("list", False, "print every choice and stop")
_ESTIMATE = flags.DEFINE_bool(
  "estimate", False, "print what the run would take and stop"
)

_SCENARIOS = flags.DEFINE_list(
  "scenario", ["S6"], "serve: streams, of none, S1 to S6, ES1 and ES2"
)
_TEACHER = flags.DEFINE_string(
  "teacher", "", "serve: network that labels; default larger than the student"
)
_RETRAIN = flags.DEFINE_string(
  "retrain",
  "finetune",
  "serve: recipe of retraining, such as freeze:until=0.5 or elastic:rho=0.5",
)
_ORACLE = flags.DEFINE_bool(
  "oracle", False, "serve: have the truth label instead of the teacher"
)
_PAIR = flags.DEFINE_enum(
  "pair",
  "resnet18",
  ["resnet18", "resnet34", "vit_b32"],
  "serve: published student for whose work, and its teacher's, time passes",
)
_LIVE = flags.DEFINE_bool(
  "live",
  False,
  "serve: on the wall clock, a thread answering frames as they come; it takes "
  "as long as the stream, 28 segments",
)
_FPS = flags.DEFINE_integer(
  "fps", 30, "serve: frames per second", lower_bound=1
)
_SEGMENT_SECONDS = flags.DEFINE_integer(
  "segment_seconds",
  60,
  "serve: of a segment, 28 of which make a stream; "
  "systems count in seconds and labels, which are to be given with it",
  lower_bound=5,
)

_NOTES = 5  # printed lines about what reading the data changed

# What flags take, beside those that are fields of the hyper-parameters.
_TAKEN: dict[str, Any] = {
  "base_classes": kinds.Natural,
  "base_epochs": kinds.Count,
  "accumulate": kinds.Count,
  "steps_per_dispatch": kinds.Natural,
  "lead": Annotated[int, kinds.Range(-1)],
  "evaluate_every": kinds.Natural,
  "checkpoint_seconds": kinds.OrInfinity,
  "diagnose": kinds.Natural,
  "seconds_budget": kinds.AboveZeroOrInfinity | None,
  "flops_budget": kinds.AboveZeroOrInfinity | None,
  "train_share": kinds.PositiveShare,
  "idle_watts": kinds.NonNegative | None,
  "busy_watts": kinds.Positive | None,
  "fps": kinds.Count,
  "segment_seconds": kinds.Count,
}

# Passes over an experience where neither flag nor recipe names them.
_EPOCHS_BY_DATA = {"digits": 10}


def main(argv: list[str]) -> int:
  surroundings.open_streams()
  with surroundings.lasting_output():
    return _main(argv)


def _main(argv: list[str]) -> int:
  # Libraries tell at this level what they try and every step of a save.
  logging.get_absl_handler().addFilter(
    lambda record: (
      record.levelno > 20
      or not (record.name.startswith("jax") or "/orbax/" in record.pathname)
    )
  )
  try:
    _check_flags()
    if argv[1:2] == ["report"]:
      return _report([Path(folder) for folder in argv[2:]])
    if argv[1:2] == ["serve"]:
      return _serve(argv[2:] or ["dacapo", "dacapo_spatial", "ekya", "frozen"])
    if argv[1:]:
      raise UsageError(
        f"unexpected arguments {argv[1:]}: flags begin with --; the commands "
        "are `report DIR...` and `serve SYSTEM...`"
      )
    if _LIST.value:
      return _list()
    return _learn()
  except KeyboardInterrupt:
    return _fail("interrupted before the first checkpoint", 130)
  except Exception as error:
    from jcl.run import checkpoint, loop, session, workdir

    expected = (
      UsageError,
      checkpoint.CheckpointError,
      workdir.WorkdirError,
      loop.NonFiniteLossError,
      session.Interrupted,
    )
    if not isinstance(error, expected) or logging.level_debug():
      raise
    signal_number = getattr(error, "number", None)
    return _fail(str(error), 128 + signal_number if signal_number else 2)


def _fail(message: str, code: int) -> int:
  print(f"run.py: {message}", file=sys.stderr)
  return code


def _list() -> int:
  from jcl import recipes
  from jcl.control.drift import systems
  from jcl.networks import catalogue
  from jcl.streams import scenarios, sources

  for title, lines in (
    ("Recipes (--recipe, --compare)", recipes.describe()),
    ("Data sets (--data)", sources.describe()),
    ("Streams (--stream)", scenarios.describe()),
    ("Models (--model)", catalogue.describe()),
    ("Systems (serve)", systems.describe()),
  ):
    print(title)
    for name, line in lines.items():
      print(f"  {name:20} {line}")
    print()
  return 0


def _learn() -> int:
  from jcl import recipes
  from jcl.cost import devices
  from jcl.run import identity, session, workdir
  from jcl.train.kernels import lowering

  started = time.monotonic()
  _keep_programs()
  compared = [text for text in _COMPARE.value if text not in ("none", "")]
  texts = list(dict.fromkeys([_RECIPE.value, *compared]))
  for text in texts:
    recipes.build(text)  # a mistake here is told before any data is read
  device = devices.detect(_IDLE_WATTS.value, _BUSY_WATTS.value)
  print(devices.describe(device), flush=True)
  print(f"convolutions by {lowering.describe()}", flush=True)
  meter = _meter(device)
  source = _source()
  both = (source.train, source.test)
  content = identity.content([each for each in both if each is not None])
  before, source = _split(source)
  stream = _stream(source, _seeds()[0])
  _print_notes(stream.notes)
  methods = [recipes.build(text) for text in texts]
  if _TRUNK_CACHE.value and not any(m.trunk is not None for m in methods):
    raise UsageError(
      f"--trunk_cache={_TRUNK_CACHE.value}: none of {', '.join(texts)} freezes "
      "a trunk; give a recipe such as lightcl or er+freeze:until=0.7"
    )
  # Recipes can be compared only where all train one and the same model.
  convolutional = any(method.convolutional for method in methods)
  build = _build(stream.example_shape, convolutional)
  networks = {
    columns: _network(stream, build, columns)
    for columns in {method.columns for method in methods}
  }
  if convolutional and False in networks and _MODEL.value == "auto":
    print(f"model: {networks[False].name}, which convolves", flush=True)
  if before is not None and False in networks:
    # For the checks ahead of all work.
    networks[False] = dataclasses.replace(networks[False], pretrained=True)
  # Building every kind of run once tells mistakes before any work; each run is
  # built again when its turn comes, since its clock starts then.
  first = {
    text: _assemble(source, networks, text, _seeds()[0], device, meter.meter)
    for text in texts
  }
  if _ESTIMATE.value:
    return _estimate(first)
  _print_meter(first[texts[0]].ledger, meter)
  del first
  name = f"{_slug(_DATA.value)}-{_slug(texts[0])}"
  shared = {**_shared(), "content": content}
  folder = _folder(name, [_chosen(shared), texts])
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  runs = []
  with workdir.locked(folder):
    workdir.claim(folder, shared, _RESUME.value, _defaults())
    if before is not None and False in networks:
      networks[False] = _pretrained(
        before, build, networks[False], folder / "pretrained"
      )
    for seed in _seeds():
      for text in texts:
        runs.append(folder / _slug(text) / f"seed_{seed}")
        setting = _assemble(source, networks, text, seed, device, meter.meter)
        context = {"recipe": _recipe(text), "environment": {"flags": _flags()}}
        options = _options(recipes.build(text))
        session.run(setting, runs[-1], options, context)
        if seed == _seeds()[0]:
          _print_profile(text, setting.learner.network, runs[-1])
    _write_report(runs, folder)
  print(f"took {time.monotonic() - started:.0f} s")
  return 0


def _check_flags() -> None:
  """Raises UsageError for a number that a flag does not take."""
  for name, hint in {**spec.fields(base.Training), **_TAKEN}.items():
    value = getattr(FLAGS, name, None)
    if isinstance(value, int | float):
      spec.value(f"--{name}", value, hint)


def _seeds() -> list[int]:
  text = f"--seed={kinds.shown(kinds.Text(','.join(_SEED.value)))}"
  try:
    seeds = [int(text) for text in _SEED.value]
  except ValueError:
    raise UsageError(
      f"{text}: write whole numbers, as in --seed=0,1,2"
    ) from None
  fits = seeds and min(seeds) >= 0 and max(seeds) < 2**32
  if not fits or len(set(seeds)) < len(seeds):
    raise UsageError(
      f"{text}: write different numbers from 0 and below 2**32, as in "
      "--seed=0,1,2"
    )
  return seeds


def _source():
  from jcl.streams import sources

  name, options = spec.read(_DATA.value)
  download = {"download": True} if _DOWNLOAD.value else {}
  return sources.load(name, _DATA_DIR.value, **{**options, **download})


def _print_notes(notes) -> None:
  """Prints what reading the data left out or converted, in a few lines."""
  for note in notes[:_NOTES]:
    print(f"data: {note}")
  if len(notes) > _NOTES:
    print(f"data: and {len(notes) - _NOTES} more such notes, in the report")


def _stream(source, seed: int):
  from jcl.streams import scenarios

  name, options = spec.read(_STREAM.value)
  return scenarios.build(name, source, **{"seed": seed, **options})


def _split(source):
  """Returns what is learned at once, or None, and what is streamed."""
  from jcl.run import pretraining

  if not _BASE_CLASSES.value:
    return None, source
  if _WEIGHTS.value is not None:
    raise UsageError(
      "--base_classes learns the weights that a run begins with: leave out "
      "--weights"
    )
  return pretraining.split(source, _BASE_CLASSES.value)


def _pretrained(
  source, build, network: base.Network, folder: Path
) -> base.Network:
  """Returns the model with weights learned on `source`."""
  from jcl.run import pretraining

  shape, classes = source.train.x.shape[1:], source.train.num_classes
  print(f"pre-training on {classes} classes", flush=True)
  weights = pretraining.learned(
    source,
    build(shape, classes),
    folder,
    _options(),
    epochs=_BASE_EPOCHS.value,
    batch_size=min(64, len(source.train)),
    optimizer="adam",
  )
  print(f"accuracy on them: {pretraining.accuracy(folder):.3f}", flush=True)
  return pretraining.begun(network, *weights)


def _build(shape, convolutional: bool = False):
  """Returns what makes the model for inputs of this shape."""
  from jcl.networks import catalogue

  model, options = catalogue.read(_MODEL.value, shape, convolutional)
  return functools.partial(catalogue.build, model, **options)


def _network(stream, build, columns: bool) -> base.Network:
  """Returns the model of a recipe, the same for every seed."""
  from jcl.networks import external, precision, progressive

  if columns:
    network = progressive.progressive(
      build, stream.example_shape, stream.task_classes, stream.num_classes
    )
  else:
    network = build(stream.example_shape, stream.num_classes)
  if _WEIGHTS.value is not None:
    network = external.with_file(network, _WEIGHTS.value)
  return precision.with_precision(network, _PRECISION.value)


def _meter(device):
  """Returns what counts joules, and why nothing else does."""
  from jcl.cost.meters import modelled

  power = modelled.Power(device.idle_watts, device.busy_watts, device.source)
  return find.find(_METER.value, power, platform=device.platform)


def _print_meter(ledger, found) -> None:
  reasons = "; ".join(f"not {kind}: {why}" for kind, why in found.unused)
  print(f"joules: {ledger.source}; {reasons}", flush=True)


def _assemble(source, networks, text: str, seed: int, device, meter):
  """Puts one run together from the flags."""
  from jcl import recipes
  from jcl.control import limits
  from jcl.replay.tiers import limits as live
  from jcl.run import session

  training = base.Training(
    learning_rate=_LEARNING_RATE.value,
    batch_size=_BATCH_SIZE.value,
    epochs=_EPOCHS.value,
    optimizer=_OPTIMIZER.value,
    schedule=_SCHEDULE.value,
    momentum=_MOMENTUM.value,
    weight_decay=_WEIGHT_DECAY.value,
    clip=_CLIP.value,
    head=_HEAD.value,
    norms=_NORMS.value,
  )
  method = recipes.build(text)
  default = base.Training(epochs=_EPOCHS_BY_DATA.get(source.train.name))
  complete = session.complete(method, training.over(default))
  budgets = {
    "seconds": _SECONDS_BUDGET.value,
    "flops": _FLOPS_BUDGET.value,
  }
  total = dataclasses.replace(
    base.UNLIMITED, **{k: v for k, v in budgets.items() if v is not None}
  )
  controller = limits.within(
    complete.epochs,
    total,
    _TRAIN_SHARE.value,
    live.parse(_ENERGY_BUDGET.value, "joules"),
  )
  return session.assemble(
    _stream(source, seed),
    networks[method.columns],
    method,
    complete,
    seed,
    _options(method),
    controller,
    device,
    meter,
  )


def _print_profile(text: str, network: base.Network, folder: Path) -> None:
  """Prints what a run's choices of tensors went by, where it made any."""
  if not (folder / "profile.json").exists():
    return
  from jcl.report import profile
  from jcl.train.profiling import store

  kept = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
  times = store.from_json(kept)
  print(f"\n{text}: {profile.describe(times)}")
  print(profile.as_text(profile.table(times, network.tensors)))
  print(f"profile: {folder / 'profile.csv'}, {folder / 'profile.png'}\n")


def _options(method: base.Method | None = None):
  """How a run is carried out; a trunk's output is kept where there is one."""
  from jcl.run import session

  frozen = method is not None and method.trunk is not None

  return session.Options(
    augment=_AUGMENT.value,
    accumulate=_ACCUMULATE.value,
    steps_per_dispatch=_STEPS_PER_DISPATCH.value,
    executor=_EXECUTOR.value,
    lead=_LEAD.value,
    cache_dir=_cache_dir(),
    evaluate_every=_EVALUATE_EVERY.value,
    checkpoint_seconds=_CHECKPOINT_SECONDS.value,
    memory_budget=_MEMORY_BUDGET.value,
    trunk_cache=_TRUNK_CACHE.value if frozen else "",
    trunk_bytes=_TRUNK_BYTES.value if frozen else None,
    diagnose=_DIAGNOSE.value,
    resume=_RESUME.value,
  )


def _keep_programs() -> None:
  """Has JAX keep compiled programs on disk, unless its own setting says how."""
  import jax

  folder = _cache_dir()
  if folder is not None and jax.config.jax_compilation_cache_dir is None:
    compiled = Path(folder) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _cache_dir() -> str | None:
  if _CACHE_DIR.value == "none":
    return None
  if _CACHE_DIR.value:
    return str(Path(_CACHE_DIR.value).expanduser())
  home = surroundings.cache_folder()
  return None if home is None else str(home / "jcl")


def _recipe(text: str) -> dict:
  from jcl import recipes

  name, options = recipes.parse(text)
  return {"name": name, "options": options}


def _flags() -> dict[str, object]:
  """Returns every flag of this command with its value."""
  return {flag.name: flag.value for flag in _own_flags()}


def _own_flags() -> list[Any]:
  """Returns the flags that this file defines, however it was started."""
  module = FLAGS.find_module_defining_flag(_RECIPE.name)
  return FLAGS.flags_by_module_dict()[module]


def _shared() -> dict[str, object]:
  """Flags that all runs of one work directory have in common."""
  own = {
    "recipe",
    "compare",
    "seed",
    "workdir",
    "resume",
    "estimate",
    "list",
    "download",
    "data_dir",
    "checkpoint_seconds",
    "cache_dir",
    "memory_budget",
    "meter",
    "scenario",
    "teacher",
    "retrain",
    "oracle",
    "pair",
    "live",
    "fps",
    "segment_seconds",
  }
  return {k: v for k, v in _flags().items() if k not in own}


def _defaults() -> dict[str, object]:
  """Returns every flag of this command with its default."""
  return {flag.name: flag.default for flag in _own_flags()}


def _chosen(shared: dict[str, object]) -> dict[str, object]:
  """Returns the settings that name a work directory: those not at defaults.

  The name stays the same where a file moves or a later version has more flags.
  """
  defaults = _defaults()
  chosen = {k: v for k, v in shared.items() if v != defaults.get(k)}
  name, options = spec.parse(_DATA.value)
  options.pop("path", None)
  return {**chosen, "data": [name, options]}


def _folder(name: str, settings: object) -> Path:
  """Returns the work directory: that of the flag, or one by its settings."""
  if _WORKDIR.value:
    return Path(_WORKDIR.value).expanduser()
  told = json.dumps(settings, sort_keys=True)
  digest = hashlib.sha256(told.encode()).hexdigest()[:8]
  return Path("runs") / f"{name}-{digest}"


def _slug(text: str) -> str:
  return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", text).strip("-")


def _estimate(settings: dict) -> int:
  from jcl import recipes
  from jcl.run import estimate, session

  for text, setting in settings.items():
    setting = session.profiled(setting, _options(recipes.build(text)))
    print(f"\n{text}\n{estimate.text(estimate.of(setting))}")
  return 0


def _serve(texts: list[str]) -> int:
  from jcl.control.drift import times
  from jcl.run import console, workdir
  from jcl.serving import runs, setup
  from jcl.streams import drifting

  _keep_programs()
  seconds = times.published(_PAIR.value, fps=_FPS.value)
  for text in texts:
    # A mistake here is told before any work.
    runs.build(text, seconds, _LIVE.value)
  for name in _SCENARIOS.value:
    drifting.ladder(name, seed=0, segments=1)
  source = _source()
  student = "" if _MODEL.value == "auto" else _MODEL.value
  cast = setup.cast(source, student, _TEACHER.value)
  cast = cast._replace(recipe=_RETRAIN.value)
  about = {
    "data": _DATA.value,
    **cast._asdict(),
    "labels": "oracle" if _ORACLE.value else "teacher",
    "clock": "the wall's" if _LIVE.value else "virtual",
    "frames per second": _FPS.value,
    "seconds of a segment": _SEGMENT_SECONDS.value,
    "times": seconds.source,
    "updates take": setup.UPDATES,
  }
  folder = _folder(f"serve-{_slug(_DATA.value)}", about)
  with workdir.explained(folder):
    folder.mkdir(parents=True, exist_ok=True)
  with (
    workdir.explained(folder, writing=False),
    workdir.locked(folder),
  ):
    workdir.claim(folder, about, _RESUME.value)
    on = setup.Stage(source, cast, folder / "weights")
    seconds = seconds.training(on.student.training_share)
    found = []
    for seed in _seeds():
      for name in _SCENARIOS.value:
        script = runs.Script(name, _FPS.value, _SEGMENT_SECONDS.value)
        for text in texts:
          path = folder / name / _slug(text) / f"seed_{seed}"
          with console.counted(f"{name} {text}", "frame", _LIVE.value) as count:
            found.append(
              runs.run(
                on, script, text, seconds, seed, path,
                oracle=_ORACLE.value, about=about,
                live=_LIVE.value, progress=count,
              )
            )  # fmt: skip
          score = runs.row(found[-1])["score"]
          print(f"{name}  {text}  seed {seed}: {score:.1f} %", flush=True)
    with workdir.explained(folder):
      target, frame = runs.write(on, found, folder, about)
  print(f"\nscore in %\n{runs.table(frame).to_string()}")
  print(f"report: {target}")
  return 0


def _report(folders: list[Path]) -> int:
  from jcl.report import page

  if not folders:
    raise UsageError("report needs folders: python run.py report DIR...")
  folders = [folder.expanduser() for folder in folders]
  target = _folder("", None) if _WORKDIR.value else folders[0]
  _write_report(page.find_runs(folders), target)
  return 0


def _write_report(folders: list[Path], target: Path) -> None:
  from jcl.report import page, summary, table
  from jcl.run import workdir

  runs = [summary.read_run(folder) for folder in folders]
  with workdir.explained(target):
    target.mkdir(parents=True, exist_ok=True)
    path = page.write(runs, target)
  print(table.text(table.comparison(runs)))
  print(table.energy(runs))
  print(f"report: {path}")


if __name__ == "__main__":
  app.run(main)
