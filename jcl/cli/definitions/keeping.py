"""Flags of folders and what is kept, and of how steps are carried out."""

from jcl.cli.definitions import declaring

WORKDIR = declaring.text(
  "workdir",
  None,
  "where everything is written; default runs/NAME-HASH, or the first folder "
  "that is reported; merge needs one",
  group=declaring.FOLDERS,
  identifies=(),
  by=(*declaring.RUNS, "report", "merge"),
)
RESUME = declaring.boolean(
  "resume",
  True,
  "go on from what --workdir holds; --noresume starts over",
  group=declaring.FOLDERS,
  identifies=(),
  by=declaring.RUNS,
)
declaring.integer(
  "accumulate",
  1,
  "parts that a batch is cut into to save memory",
  group=declaring.EXECUTION,
  identifies=(declaring.LEARN,),
)
declaring.integer(
  "steps_per_dispatch",
  0,
  "updates per call of the device; 0 chooses",
  group=declaring.EXECUTION,
  identifies=(declaring.LEARN,),
)
declaring.choice(
  "executor",
  "auto",
  ["auto", "pieces", "whole"],
  "how steps are compiled: one program per choice of tensors, or in pieces "
  "that serve every choice; auto takes pieces where XLA convolves on a CPU",
  group=declaring.EXECUTION,
  identifies=(declaring.LEARN,),
)
declaring.integer(
  "lead",
  -1,
  "updates between choosing tensors and training them, while programs are "
  "compiled beside; -1: as long as compiling takes by the profile, else 32",
  group=declaring.EXECUTION,
  identifies=(declaring.LEARN,),
)
CACHE_DIR = declaring.text(
  "cache_dir",
  None,
  "where profiles, compiled programs and outputs of frozen trunks are kept "
  "between runs; default jcl in the user's cache folder, 'none' for nowhere",
  group=declaring.FOLDERS,
  identifies=(),
  by=(*declaring.RUNS, declaring.DEVICE),
)
declaring.integer(
  "evaluate_every",
  0,
  "updates between evaluations; 0: ends of experiences",
  group=declaring.FOLDERS,
  identifies=(declaring.LEARN,),
)
declaring.number(
  "checkpoint_seconds",
  60.0,
  "time between checkpoints mid-experience",
  group=declaring.FOLDERS,
  identifies=(),
)
declaring.integer(
  "diagnose",
  0,
  "held-out examples of an experience, such as 256, by which the report shows "
  "what each experience made every unit lose and change; 0 for none",
  group=declaring.FOLDERS,
  identifies=(declaring.LEARN,),
)
# The two that stand for commands of their own, for `python run.py`.
LIST = declaring.boolean(
  "list",
  False,
  "print every choice and stop",
  group="",
  identifies=(),
  by=(),
)
ESTIMATE = declaring.boolean(
  "estimate",
  False,
  "print what the run would take and stop",
  group="",
  identifies=(),
  by=(),
)
