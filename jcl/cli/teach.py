"""Help: what commands there are, what each does, and the flags it reads."""

import shutil
import textwrap
from typing import NamedTuple

from absl import flags as absl_flags

from jcl.cli import definitions, flags

_WIDTHS = 60, 100  # characters of a line, at least and at most
_COLUMN = 28  # at which explanations begin


class Lesson(NamedTuple):
  """The help of a command.

  Attributes:
    usage: how it is called.
    line: what it does, in a line.
    more: what else there is to know.
    examples: command lines.
  """

  usage: str
  line: str
  more: str
  examples: tuple[str, ...]


LESSONS = {
  "learn": Lesson(
    "jcl learn [--flags]",
    "learns a stream of experiences and reports on it",
    "Without flags: the ten digits of scikit-learn in five experiences of two, "
    "by experience replay and, beside it, by plain fine-tuning. Fields of the "
    "hyper-parameters are options of every recipe, so that runs beside each "
    "other can differ: --compare=er:buffer=200,learning_rate=0.03. Everything "
    "goes to --workdir; the same command again goes on where it stopped, also "
    "after a kill.",
    (
      "jcl learn --recipe=derpp:buffer=500 --compare=er:buffer=500 "
      "--seed=0,1,2",
      "jcl learn --data=csv:path=table.csv,label=class --stream=blurry",
    ),
  ),
  "sweep": Lesson(
    "jcl sweep [--flags]",
    "learns recipes, seeds and values beside each other",
    "Takes the flags of jcl learn. --seed, numbers of training and budgets "
    "take lists: every recipe runs with every combination of their values and "
    "every seed. Runs share the machine's processors, each worker a process "
    "with its own; a run is to the bit what it is alone with as many threads. "
    "Finished runs are not run again, and the same command, or one with more "
    "values, goes on where it stopped. sweep.csv has means and spreads, "
    "report.html grows as runs end. Seconds are those of a busy machine: "
    "measure them with --workers=1.",
    (
      "jcl sweep --recipe=er --compare=finetune --seed=0,1,2,3",
      "jcl sweep --compare=derpp --learning_rate=0.01,0.03,0.1 --seed=0,1,2",
      "jcl sweep --recipe=auto --compare=none --flops_budget=1e9,2e9,4e9",
    ),
  ),
  "serve": Lesson(
    "jcl serve [SYSTEM...] [--flags]",
    "serves a drifting stream of frames while learning from it",
    "Systems share one accelerator among answering, labelling and retraining. "
    "Without names: dacapo, dacapo_spatial, ekya and frozen.",
    (
      "jcl serve dacapo:drift=robust frozen --scenario=S3,S6",
      "jcl serve auto dacapo:drift=robust --scenario=none,S6",
      "jcl serve dacapo frozen --live --segment_seconds=5 --fps=10",
    ),
  ),
  "device": Lesson(
    "jcl device DIR [--flags]",
    "learns what arrives over HTTP or in a folder, and answers",
    "DIR is the learner's folder. The first start makes it, with the recipe "
    "(er:buffer=500 unless told), the model and the training that the flags "
    "say; later ones need DIR alone. It can be killed at any time: what it "
    "acknowledged is there, what a folder brought comes once, and the next "
    "start goes on. A browser that opens the address sees what it does. "
    "Requests: POST /observe, /predict, /label and /end, GET /status and "
    "/report, with JSON, a PNG or JPEG, or a .npy file.",
    (
      "jcl device box --recipe=er:buffer=500 --budget=2kJ/day",
      "jcl device box --watch=photos --image_size=32 --experience=100",
      "jcl device box --host=0.0.0.0 --token_file=token.txt",
      """curl -H 'Content-Type: application/json' \\
      -d '{"x": [[0.5, 1.5]], "label": ["door"]}' localhost:8000/observe""",
      "curl -X POST -T a.png -H 'Content-Type: image/png' "
      "localhost:8000/predict",
    ),
  ),
  "report": Lesson(
    "jcl report DIR... [--workdir=DIR]",
    "rebuilds the report of finished runs",
    "Finds every run below the folders, and writes one report into the first "
    "of them or into --workdir.",
    ("jcl report runs/a runs/b --workdir=runs/both",),
  ),
  "estimate": Lesson(
    "jcl estimate [--flags]",
    "tells what runs would take, without learning",
    "Compiles a step and says what memory, operations, time and energy a run "
    "of each recipe would take.",
    ("jcl estimate --data=cifar100 --data_dir=DIR --model=resnet18",),
  ),
  "convert": Lesson(
    "jcl convert FILE.pth FILE.safetensors [--flags]",
    "makes a safetensors file of one that PyTorch saved",
    "Needs no PyTorch and executes nothing of the file: what is no dictionary "
    "of tensors on the CPU, as torch.save(model.state_dict(), FILE) writes it, "
    "is refused. --weights takes either file.",
    ("jcl convert resnet50.pth resnet50.safetensors",),
  ),
  "export": Lesson(
    "jcl export RUN_OR_MODEL FILE [--flags]",
    "makes a program of a trained model that runs without jcl",
    "Takes the folder of a run that has ended, or a file of result.save(FILE). "
    "The program takes raw inputs, normalises them and gives the scores of "
    "classes; it is tried, and its scores are compared, before the file gets "
    "its name. FILE.safetensors holds StableHLO and the weights, and eight "
    "lines of Python with jax, flatbuffers and safetensors read it; FILE.onnx "
    "is for ONNX Runtime.",
    (
      "jcl export runs/NAME-HASH/er/seed_0 er.safetensors",
      "jcl export model.npz model.onnx --format=onnx",
    ),
  ),
  "merge": Lesson(
    "jcl merge RUN...",
    "makes one model of runs that were solved from sums",
    "Takes folders of runs by ncm, slda, ridge, ranpac or randumb that have "
    "ended, with the same network, seed, classes and normalisation, or of "
    "earlier merges. DIR gets the model that one run would have learned from "
    "all examples, but for rounding, and statistics.npz, all that a device has "
    "to send. Recipes that learn by updates do not merge.",
    ("jcl merge devices/a devices/b --workdir=merged",),
  ),
  "list": Lesson(
    "jcl list",
    "lists every recipe, data set, stream, model and system",
    "Each with a line about it, and its options with their defaults.",
    ("jcl list",),
  ),
}
_NOTATION = (
  "Choices take options in one notation, name:option=value,option=value, such "
  "as --recipe=er:buffer=500 or --model=mlp:width=400."
)


def text(command: str | None) -> str:
  """Returns the help of a command, or of all of them where it is None."""
  width = min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[1])
  if command is None:
    return _overview(width)
  lesson = LESSONS[command]
  parts = [
    f"{lesson.usage}: {lesson.line}",
    textwrap.fill(lesson.more, width),
    _examples(lesson.examples),
  ]
  groups = [
    (group, list(flags.of(command, group))) for group in definitions.GROUPS
  ]
  if any(names for group, names in groups if group == definitions.DATA):
    parts.append(textwrap.fill(_NOTATION, width))
  for group, names in groups:
    if names:
      lines = [_row(*_about(name), width) for name in names]
      parts.append("\n".join([group, *lines]))
  return "\n\n".join(parts)


def _overview(width: int) -> str:
  rows = [_row(lesson.usage, lesson.line, width) for lesson in LESSONS.values()]
  return "\n\n".join(
    [
      "jcl: continual learning under a cost budget",
      "\n".join(rows),
      textwrap.fill(_NOTATION, width),
      _examples(("jcl learn", *LESSONS["learn"].examples[:1])),
      "jcl COMMAND --help lists the flags of a command.",
    ]
  )


def _examples(lines: tuple[str, ...]) -> str:
  title = "Example" if len(lines) == 1 else "Examples"
  return "\n".join([title, *(f"  {line}" for line in lines)])


def _about(name: str) -> tuple[str, str]:
  """Returns how a flag is written, and what it does."""
  flag, about = flags.VALUES[name], definitions.ALL[name].help
  if flag.boolean:
    return f"--{'[no]' if flag.default else ''}{name}", about
  values = ""
  if isinstance(flag, absl_flags.EnumFlag):
    values = f" [{'|'.join(flag.parser.enum_values)}]"
  default = flag.default
  if isinstance(default, list):
    default = ",".join(default)
  shown = default if default not in (None, "") else "..."
  return f"--{name}={shown}", f"{about}{values}"


def _row(left: str, right: str, width: int) -> str:
  """Returns two columns; the left one has a line of its own where it is long.

  Args:
    left: begins at column 2.
    right: wrapped, from `_COLUMN` on.
    width: characters of a line.
  """
  indent = " " * _COLUMN
  wrapped = textwrap.fill(
    right, width, initial_indent=indent, subsequent_indent=indent
  )
  if len(left) > _COLUMN - 4:
    return f"  {left}\n{wrapped}"
  return f"  {left}{wrapped[2 + len(left) :]}"
